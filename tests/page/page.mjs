// The page of a running instance, in a real Chromium.
//
//   node tests/page/page.mjs PROGRAM OUTPUT
//
// Starts `PROGRAM demo`, looks at its page as its users do, and leaves screenshots in the folder
// OUTPUT. Prints a line a test and, at the end, "N passed, M failed".

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { Demo } from './demo.mjs';

const [program, output] = process.argv.slice(2);
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const DESKTOP = { width: 1400, height: 1000 };
const PHONE = { width: 390, height: 844 };
/** Longer than anything takes that is not measured. */
const LIMIT_MS = 30_000;

mkdirSync(output, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // Chromium's sandbox does not work for root, as whom containers run their tests.
  args: process.getuid() === 0 ? ['--no-sandbox'] : [],
});

/** A page, and what its console and network complained of. */
async function open(demo, { viewport = DESKTOP, colorScheme = 'light', hash = '', prepare } = {}) {
  const context = await browser.newContext({ viewport, colorScheme });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  const complaints = [];
  page.on('console', (message) => {
    // Chromium notes every 404, and an asset has no book before its first order.
    if (message.location().url.includes('/books/keyboard-')) return;
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(demo.url)) complaints.push(`asked another site: ${request.url()}`);
  });
  await prepare?.(page);
  await page.goto(`${demo.url}/${hash}`);
  return { page, complaints, close: () => context.close() };
}

const text = (page, selector) => page.locator(selector).first().textContent();

/** Waits until the text at a selector is another one than `before`. */
const changed = (page, selector, before) => page.waitForFunction(
  ([at, old]) => {
    const found = document.querySelector(at)?.textContent ?? '';
    return found !== '' && found !== old;
  },
  [selector, before],
);

const running = (page) => page.locator('#state', { hasText: /^running$/ }).waitFor();

const shot = (page, name, options) => page.screenshot({ path: join(output, `${name}.png`), ...options });

/** What axe-core calls serious or worse. */
async function faults(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
  assert.ok(passes.length > 20, `axe-core looked at ${passes.length} rules only`);
  return violations
    .filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}

/** Presses Tab until the element of that id has the focus. */
async function tabTo(page, id) {
  for (let presses = 0; presses < 60; presses += 1) {
    if (await page.evaluate(() => document.activeElement.id || document.activeElement.name) === id) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`the keyboard does not reach ${id}`);
}

const tests = {
  async 'the page shows the instance and moves while one looks'(demo) {
    const { page, complaints, close } = await open(demo);
    await running(page);
    assert.equal(await text(page, '#application'), 'tidemill-demo · demo');
    const nodes = await page.locator('.node').count();
    assert.ok(nodes > 20, `${nodes} nodes in the graph`);
    assert.equal(await page.locator('#tasks tbody tr').count(), 12);
    // Edges have rates, which change; so do trades, book and charts.
    await page.locator('.edge.live').first().waitFor({ state: 'attached' });
    await page.locator('#tape tbody tr').first().waitFor();
    await page.locator('#ladder tbody tr.bid').first().waitFor();
    const parts = ['#graph svg', '#tape tbody', '#ladder tbody', '#throughput', '#tasks tbody'];
    for (const part of parts) await changed(page, part, await text(page, part));
    const order = await page.locator('#ladder tbody tr').evaluateAll((rows) => rows.map((row) => Number(row.cells[1].textContent)));
    assert.deepEqual(order, [...order].sort((a, b) => b - a), 'the ladder descends');
    await shot(page, 'desktop-light');
    assert.deepEqual(complaints, []);
    await close();
  },

  async 'an order sent with the keyboard alone becomes a trade on the tape'(demo) {
    const { page, complaints, close } = await open(demo);
    await running(page);
    await page.locator('#market').waitFor();
    const asset = `keyboard-${Date.now()}`;
    await tabTo(page, 'asset');
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type(asset);
    await page.waitForFunction((name) => location.hash.includes(name), asset);
    const send = async (side) => {
      await tabTo(page, 'side');
      await page.keyboard.press(side === 'BUY' ? 'ArrowLeft' : 'ArrowRight');
      assert.ok(await page.locator(`input[value=${side}]`).isChecked(), side);
      await tabTo(page, 'shares');
      await page.keyboard.press('ControlOrMeta+A');
      await page.keyboard.type('7');
      await tabTo(page, 'price');
      await page.keyboard.press('ControlOrMeta+A');
      await page.keyboard.type('12.5');
      const before = await text(page, '#order-note');
      await page.keyboard.press('Enter');
      await changed(page, '#order-note', before);
      assert.match(await text(page, '#order-note'), /The brokers have it/);
    };
    await send('SELL');
    await page.locator('#ladder tbody tr.ask', { hasText: '12.5' }).waitFor();
    // Back to the start of the page, as no element follows the last.
    await page.evaluate(() => document.activeElement.blur());
    await send('BUY');
    const trade = page.locator('#tape tbody tr.yours');
    await trade.waitFor();
    const cells = await trade.first().locator('td').allTextContents();
    assert.deepEqual(cells.slice(1), ['buys', '12.5', '7']);
    await page.locator('#ladder tbody tr').first().waitFor({ state: 'detached' });
    await shot(page, 'order-became-trade');
    assert.deepEqual(complaints, []);
    await close();
  },

  async 'an order that cannot be is refused with the reason'(demo) {
    const { page, close } = await open(demo, { hash: '#asset=asset1' });
    await page.locator('#order button').click();
    assert.match(await text(page, '#order-note.bad'), /needs a price/);
    await page.locator('#price').fill('0.123456789123');
    await page.locator('#order button').click();
    await page.locator('#order-note.bad', { hasText: /price/ }).waitFor();
    await close();
  },

  async 'a phone shows the same without scrolling sideways'(demo) {
    const { page, complaints, close } = await open(demo, { viewport: PHONE, colorScheme: 'dark' });
    await running(page);
    await page.locator('#tape tbody tr').first().waitFor();
    await page.locator('.edge.live').first().waitFor({ state: 'attached' });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${over} pixels too wide`);
    await shot(page, 'phone-dark', { fullPage: true });
    assert.deepEqual(complaints, []);
    await close();
  },

  async 'axe-core finds no serious fault in any size and colour scheme'(demo) {
    for (const viewport of [DESKTOP, PHONE]) {
      for (const colorScheme of ['light', 'dark']) {
        const { page, close } = await open(demo, { viewport, colorScheme });
        await running(page);
        await page.locator('#tape tbody tr').first().waitFor();
        await page.locator('#ladder tbody tr').first().waitFor();
        assert.deepEqual(await faults(page), [], `${viewport.width} ${colorScheme}`);
        await shot(page, `${viewport.width}-${colorScheme}`);
        await close();
      }
    }
  },

  async 'a hundred tasks have a row each, of which only changes are written'(demo) {
    const task = (at, tick) => ({ state: 'running', thread: 'stream-1', restored: 0, remaining: 0, lag: (at * tick) % 90, rate: 100 + ((at + tick) % 7), stream_time_ms: 1 });
    const tasks = (tick) => Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`0_${at}`, task(at, tick)]));
    const ticks = 30;
    const document = { instance: { application_id: 'a', instance_id: 'b', started_at_ms: 1, state: 'running', ready: true, reason: '' }, nodes: {}, lag: 1, rate: 1, latency: { end_to_end: {}, commit: {} }, dead_letters: {} };
    const event = (id, name, data) => `id: 1-${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
    const patches = Array.from({ length: ticks }, (_, at) => event(at + 1, 'patch', { tasks: tasks(at + 1) }));
    const body = event(0, 'snapshot', { ...document, tasks: tasks(0) }) + patches.join('');
    let served = 0;
    const { page, close } = await open(demo, {
      prepare: (made) => made.route('**/events', (route) => {
        served += 1;
        return served === 1 ? route.fulfill({ contentType: 'text/event-stream', body }) : route.abort();
      }),
    });
    await page.locator('#tasks tbody tr').nth(99).waitFor();
    assert.equal(await page.locator('#tasks tbody tr').count(), 100);
    // A row whose task is as it was is left alone.
    const touched = await page.evaluate(async ([before, after]) => {
      const { showTasks } = await import('/page/tasks.js');
      showTasks(before);
      const observer = new MutationObserver(() => {});
      observer.observe(document.getElementById('tasks'), { subtree: true, childList: true, characterData: true, attributes: true });
      showTasks(structuredClone(before));
      showTasks(after);
      const rows = observer.takeRecords().map(({ target }) => (target.closest ? target : target.parentElement).closest('tr'));
      return [...new Set(rows.map((row) => row.cells[0].textContent))];
    }, [tasks(1), { ...tasks(1), '0_42': task(42, 2) }]);
    assert.deepEqual(touched, ['0_42']);
    // What one patch of every task costs, by the browser's own account.
    const cost = await page.evaluate(async ([first, then]) => {
      const { showTasks } = await import('/page/tasks.js');
      const started = performance.now();
      for (let at = 0; at < 50; at += 1) {
        showTasks(at % 2 === 0 ? first : then);
        document.body.getBoundingClientRect();
      }
      return (performance.now() - started) / 50;
    }, [tasks(1), tasks(2)]);
    console.log(`  a patch of 100 tasks takes ${cost.toFixed(1)} ms, layout included`);
    await close();
  },

  async 'the page asks for the token where there is one'() {
    const guarded = await Demo.start(program, { token: 'open sesame' });
    try {
      const { page, close } = await open(guarded);
      await page.locator('#token-dialog').waitFor();
      assert.deepEqual(await faults(page), []);
      await page.keyboard.type('a guess');
      await page.keyboard.press('Enter');
      await page.waitForTimeout(300);
      await page.locator('#token-dialog').waitFor();
      await page.locator('#token').fill('open sesame');
      await page.keyboard.press('Enter');
      await running(page);
      await page.locator('#tape tbody tr').first().waitFor();
      // The tab keeps it.
      await page.reload();
      await running(page);
      await close();
    } finally {
      await guarded.stop();
    }
  },

  async 'the page comes back when the instance does'() {
    let demo = await Demo.start(program);
    const { page, close } = await open(demo);
    await running(page);
    const port = demo.port;
    await demo.stop();
    await page.locator('#state', { hasText: 'reconnecting' }).waitFor();
    demo = await Demo.start(program, { port });
    try {
      await running(page);
      const rate = await text(page, '#throughput');
      await changed(page, '#throughput', rate);
      await page.locator('#tape tbody tr').first().waitFor();
    } finally {
      await close();
      await demo.stop();
    }
  },
};

const demo = await Demo.start(program);
let failed = 0;
for (const [name, run] of Object.entries(tests)) {
  const started = performance.now();
  try {
    await run(demo);
    console.log(`test ${name} ... ok (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`${error.stack}\ntest ${name} ... FAILED`);
    for (const context of browser.contexts()) {
      for (const page of context.pages()) await shot(page, `failed-${failed}`).catch(() => {});
      await context.close();
    }
  }
}
await demo.stop();
await browser.close();
console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed`);
console.log(`screenshots: ${output}`);
process.exitCode = failed === 0 ? 0 : 1;
