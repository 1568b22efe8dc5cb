// The page of a running instance: follows /events and shows the document that comes with it.

import { Chart } from './chart.js';
import { Graph } from './graph.js';
import { startMarket } from './market.js';
import { follow, json } from './server.js';
import { showTasks } from './tasks.js';
import { byId, compact, duration, row, setText } from './text.js';

const throughput = new Chart(byId('throughput'), [''], compact);
const latency = new Chart(byId('latency'), ['p50', 'p99'], duration);
let graph;
/** The document of /events, patched as it changes. */
let seen = {};

/** Applies a JSON merge patch (RFC 7396). */
function patched(target, patch) {
  if (patch === null || typeof patch !== 'object' || Array.isArray(patch)) return patch;
  const members = target !== null && typeof target === 'object' ? target : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete members[name];
    else members[name] = patched(members[name], value);
  }
  return members;
}

function take(event) {
  const data = JSON.parse(event.data);
  const before = seen.instance?.started_at_ms;
  seen = event.name === 'snapshot' ? data : patched(seen, data);
  if (seen.instance.started_at_ms !== before) drawTopology();
  show();
}

async function drawTopology() {
  try {
    graph = new Graph(byId('graph'), await json('/topology?format=json'));
    graph.show(seen.nodes);
  } catch (error) {
    byId('graph').textContent = `The topology cannot be shown: ${error.message}`;
  }
}

function show() {
  const { instance, tasks, rate, lag, nodes, dead_letters: letters } = seen;
  showState(instance.state, instance.ready ? 'good' : instance.state === 'failed' ? 'bad' : '', instance.reason);
  setText(byId('application'), `${instance.application_id} · ${instance.instance_id}`);
  document.title = `${instance.application_id} – Tidemill`;
  const ids = Object.keys(tasks);
  const running = ids.filter((id) => tasks[id].state === 'running').length;
  setText(byId('figure-rate'), compact(rate));
  setText(byId('figure-lag'), compact(lag));
  setText(byId('figure-tasks'), running === ids.length ? String(running) : `${running} of ${ids.length}`);
  showLetters(letters);
  showTasks(tasks);
  throughput.add(rate);
  showLatency(seen.latency);
  graph?.show(nodes);
}

/** End to end where records are that far, or else what a commit takes. */
function showLatency({ end_to_end: whole, commit }) {
  const measured = whole.p50 === undefined ? commit : whole;
  setText(byId('latency-of'), measured === whole ? 'until committed' : 'of commits');
  latency.add(measured.p50, measured.p99);
}

function showLetters(letters) {
  const reasons = Object.entries(letters);
  const all = reasons.reduce((sum, [, count]) => sum + count, 0);
  setText(byId('figure-letters'), compact(all));
  byId('letters').hidden = all === 0;
  byId('letters-note').hidden = all > 0;
  byId('letters').tBodies[0].replaceChildren(...reasons.map(([reason, count]) => row(reason.replaceAll('_', ' '), compact(count))));
}

function showState(text, look, reason) {
  const badge = byId('state');
  setText(badge, text);
  badge.className = `badge ${look}`;
  setText(byId('reason'), reason);
}

follow('/events', { take, connected: (is) => { if (!is) showState('reconnecting', '', ''); } });
startMarket();
