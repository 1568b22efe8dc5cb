// Prints all dashboards as one JSON object: file name to dashboard. See scripts/dashboards.sh.
import { exchange } from './exchange';
import { overview } from './overview';
import { page } from './panels';
import { stores } from './stores';
import { tasks } from './tasks';

declare const console: { log(text: string): void };

const pages = { overview, tasks, stores, exchange };
const built = Object.entries(pages).map(([name, of]) => [`${name}.json`, page(of)]);
console.log(JSON.stringify(Object.fromEntries(built)));
