// The market: an asset's book and trades, and a form to send an order. Only applications that serve
// /trades have one.

import { byId, row, setText, timeOfDay } from './text.js';
import { follow, json } from './server.js';

const LEVELS = 8;
const TRADES = 40;
const BOOK_PERIOD_MS = 1000;
/** Time to type a name before it is looked up. */
const TYPING_MS = 300;

/** Ids of the orders that were sent from here. */
const mine = new Set();
const known = new Set();
let asset = '';
let leave = new AbortController();

/** Starts with the asset of the address, or else with that of the next trade. */
export async function startMarket() {
  const field = byId('asset');
  let typing;
  field.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => choose(field.value.trim()), TYPING_MS);
  });
  byId('order').addEventListener('submit', sendOrder);
  byId('kind').addEventListener('change', () => { byId('price').disabled = byId('kind').value === 'MARKET'; });
  const wanted = new URLSearchParams(location.hash.slice(1)).get('asset');
  const there = wanted ? byId('market').hidden = false : await findAsset();
  if (there === undefined) return;
  if (wanted) choose(wanted);
  setInterval(showBook, BOOK_PERIOD_MS);
}

/** Waits for any trade and shows its asset. */
async function findAsset() {
  const search = leave;
  const found = follow('/trades', {
    signal: search.signal,
    connected: (is) => { if (is) byId('market').hidden = false; },
    take: (event) => {
      const trade = JSON.parse(event.data);
      if (search.signal.aborted || trade.asset_id === undefined) return;
      remember(trade.asset_id);
      // A name that somebody typed meanwhile stands.
      if (byId('asset').value === '') choose(trade.asset_id);
    },
  });
  return (await found) ? true : undefined;
}

function remember(name) {
  if (known.has(name)) return;
  known.add(name);
  byId('assets').append(new Option(name));
}

function choose(name) {
  if (name === asset || name === '') return;
  asset = name;
  leave.abort();
  leave = new AbortController();
  const field = byId('asset');
  if (document.activeElement !== field) field.value = name;
  remember(name);
  history.replaceState(null, '', `#${new URLSearchParams({ asset: name })}`);
  byId('tape').tBodies[0].replaceChildren();
  byId('tape-note').hidden = false;
  follow(`/trades?${new URLSearchParams({ asset: name })}`, { signal: leave.signal, take: (event) => showTrade(JSON.parse(event.data)) });
  showBook();
}

function showTrade(trade) {
  if (trade.asset_id !== asset) return;
  byId('tape-note').hidden = true;
  const element = row(timeOfDay(trade.timestamp), trade.taker_side === 'BUY' ? 'buys' : 'sells', trade.price, trade.shares);
  element.dataset.trade = trade.trade_id;
  element.cells[1].className = trade.taker_side === 'BUY' ? 'buy' : 'sell';
  if (mine.has(trade.buy_order_id) || mine.has(trade.sell_order_id)) element.className = 'yours';
  const body = byId('tape').tBodies[0];
  body.prepend(element);
  while (body.rows.length > TRADES) body.deleteRow(-1);
}

async function showBook() {
  if (asset === '' || document.hidden) return;
  const name = asset;
  try {
    const book = await json(`/books/${encodeURIComponent(name)}?depth=${LEVELS}`);
    if (name === asset) drawBook(book);
  } catch (error) {
    if (name === asset && error.status !== undefined) setText(byId('ladder-note'), error.message);
  }
}

function drawBook({ bids, asks }) {
  setText(byId('ladder-note'), bids.length + asks.length === 0 ? 'Nobody waits to trade.' : '');
  const most = Math.max(1, ...[...bids, ...asks].map((level) => level.shares));
  const level = ({ price, shares, orders }, side, at) => {
    const element = row(side, price, shares, orders);
    element.className = `${side}${side === 'bid' && at === 0 ? ' best-bid' : ''}`;
    element.cells[0].className = side === 'bid' ? 'buy' : 'sell';
    element.cells[2].className = 'bar';
    element.cells[2].style.setProperty('--share', `${(100 * shares) / most}%`);
    return element;
  };
  // Best prices meet in the middle.
  const above = asks.map((ask, at) => level(ask, 'ask', at)).reverse();
  byId('ladder').tBodies[0].replaceChildren(...above, ...bids.map((bid, at) => level(bid, 'bid', at)));
}

async function sendOrder(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  const shares = Number(form.get('shares'));
  const order = {
    investor_id: form.get('investor'),
    asset_id: asset,
    shares,
    // A sale may offer what its investor owns: the form knows of no other shares.
    current_shares: form.get('side') === 'SELL' ? shares : 0,
    order_type: form.get('side'),
    kind: form.get('kind'),
    time_in_force: form.get('time_in_force'),
  };
  if (order.kind === 'LIMIT') order.price = Number(form.get('price'));
  const note = byId('order-note');
  note.className = '';
  try {
    if (asset === '') throw new Error('Choose an asset first.');
    if (order.kind === 'LIMIT' && !(order.price > 0)) throw new Error('A limit order needs a price.');
    const sent = JSON.stringify(order);
    const answer = await json('/orders', { method: 'POST', headers: { 'content-type': 'application/json' }, body: sent });
    const id = answer.orders[0].order_id;
    mine.add(id);
    note.textContent = `The brokers have it, as ${id}.`;
  } catch (error) {
    note.className = 'bad';
    note.textContent = [error.message, ...(error.errors ?? []).map(({ detail }) => detail)].join(': ');
  }
}
