// The table of tasks: one row each, of which only what has changed is written.

import { byId, compact, row, setText } from './text.js';

const rows = new Map();

/** A task's id as something to sort by: subtopology, then partition. */
function order(id) {
  const [subtopology, partition] = id.split('_').map(Number);
  return subtopology * 1e6 + partition;
}

function add(id, body) {
  const element = row(id, '', '', '', '', '');
  const next = [...rows.keys()].filter((other) => order(other) > order(id)).sort((a, b) => order(a) - order(b))[0];
  body.insertBefore(element, next === undefined ? null : rows.get(next).element);
  rows.set(id, { element, shown: undefined });
}

function show(entry, task) {
  const [, state, rate, lag, restore, thread] = entry.element.cells;
  setText(state, task.state);
  state.className = task.state === 'running' ? 'buy' : '';
  setText(rate, compact(task.rate));
  setText(lag, compact(task.lag));
  setText(thread, task.thread);
  if (task.remaining > 0) {
    const bar = restore.querySelector('progress') ?? restore.appendChild(document.createElement('progress'));
    bar.max = task.restored + task.remaining;
    bar.value = task.restored;
    bar.ariaLabel = `Restore: ${compact(task.remaining)} records to go`;
  } else {
    setText(restore, task.restored > 0 ? `${compact(task.restored)} records` : 'none');
  }
}

/** Shows the tasks of the document. */
export function showTasks(tasks) {
  const body = byId('tasks').tBodies[0];
  for (const [id, { element }] of rows) {
    if (tasks[id]) continue;
    element.remove();
    rows.delete(id);
  }
  for (const [id, task] of Object.entries(tasks)) {
    if (!rows.has(id)) add(id, body);
    const entry = rows.get(id);
    const shown = JSON.stringify(task);
    if (entry.shown === shown) continue;
    entry.shown = shown;
    show(entry, task);
  }
}
