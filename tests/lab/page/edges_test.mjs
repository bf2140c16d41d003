// Cases that real processes do not produce on demand, played by a fake server with the same interface.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';
import {
  assertAccessible, choose, counter, ended, idle, lane, openPage, screenshot, startBrowser, tip,
} from './browser.mjs';
import {startFakeServer} from './fake_server.mjs';

const seed = Number(process.env.TURNSTILE_SEED ?? 1);
const kLongestFrameMs = 100;
let browser;
let server;

before(async () => {
  console.log(`TURNSTILE_SEED=${seed}`);
  server = await startFakeServer({seed});
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

// The durations of the page's main-thread tasks during `act`, in milliseconds, from a trace.
async function traceTasks(page, act) {
  const session = await page.context().newCDPSession(page);
  const events = [];
  session.on('Tracing.dataCollected', ({value}) => events.push(...value));
  await session.send('Tracing.start', {
    traceConfig: {includedCategories: ['toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline', '__metadata']},
  });
  await act();
  const complete = new Promise((resolve) => { session.once('Tracing.tracingComplete', resolve); });
  await session.send('Tracing.end');
  await complete;
  const draws = events.filter(({name}) => name === 'FireAnimationFrame');
  const threads = new Set(draws.map(({pid, tid}) => `${pid} ${tid}`));
  return {
    frames: draws.length,
    tasks: events.filter(({name, pid, tid, dur}) => name === 'RunTask' && dur && threads.has(`${pid} ${tid}`))
      .map(({dur, tdur}) => ({wall: dur / 1000, busy: (tdur ?? dur) / 1000})),
  };
}

test('no frame over 100 ms while 64 processes with 200 rows each stream in', async () => {
  const {page, assertCalm} = await openPage(browser, server.address);
  await choose(page, 'crowd', {processes: 64, rows: 200});
  const {frames, tasks} = await traceTasks(page, async () => {
    await page.locator('#run').click();
    await ended(page, 'queued');
    await page.locator('.plot').first().hover({position: {x: 200, y: 100}});
    await tip(page).waitFor();
    await page.getByRole('button', {name: 'Zoom in'}).click();
    await page.getByRole('button', {name: 'Show all'}).click();
  });
  const longest = (of) => Math.max(...tasks.map((task) => task[of]));
  console.log(`${frames} frames, ${tasks.length} tasks; longest ${longest('wall').toFixed(1)} ms, of these busy ${longest('busy').toFixed(1)} ms`);
  assert.ok(frames > 30, `only ${frames} frames`);
  assert.ok(longest('busy') <= kLongestFrameMs);
  assert.equal(await counter(page, 'direct', 'committed').textContent(), '12,800/12,800');
  assert.equal(await counter(page, 'queued', 'committed').textContent(), '12,800/12,800');
  await screenshot(page, 'crowd', {fullPage: true});
  assertCalm();
  await page.close();
});

test('a deadlock is drawn as a cycle and described in words', async () => {
  const {page, assertCalm} = await openPage(browser, server.address, {colorScheme: 'dark'});
  await choose(page, 'deadlock', {busy_timeout_ms: 600});
  await page.locator('#run').click();
  const graph = page.locator('.run[data-mode="direct"] .graph');
  await graph.locator('.in-cycle').first().waitFor();
  assert.equal(await graph.locator('.graph-edge.cycle').count(), 2);
  assert.match(await graph.locator('svg').getAttribute('aria-label'), /Deadlock: A and B wait for each other\. A waits for B \(out9\.txt\)/);
  await idle(page);
  assert.equal(await graph.locator('.in-cycle').count(), 2, 'a cycle that was seen stays');
  assert.equal(await lane(page, 'direct', 'B').getAttribute('data-state'), 'lost');
  assert.ok(await page.locator('.run[data-mode="queued"] .graph').isHidden());
  await assertAccessible(page, 'with a graph, in the dark');
  await screenshot(page, 'deadlock', {fullPage: true});
  assertCalm();
  await page.close();
});

test('torn lines are shown and counted; a crash has its own shape and name', async () => {
  const {page, assertCalm} = await openPage(browser, server.address);
  await choose(page, 'stream');
  await page.locator('#run').click();
  await idle(page);
  assert.match(await page.locator('.run[data-mode="direct"] .tail-text .tail-title').textContent(), /3 torn/);
  assert.ok(await page.locator('.run[data-mode="direct"] .tail-lines .torn').count() > 0);
  assert.equal(await page.locator('.run[data-mode="queued"] .tail-lines .torn').count(), 0);
  await assertAccessible(page, 'with lines of out9.txt');
  await screenshot(page, 'stream', {fullPage: true});
  await choose(page, 'crash', {task_duration_ms: 200});
  await page.locator('#run').click();
  await lane(page, 'direct', 'P1').and(page.locator('[data-state="crashed"]')).waitFor();
  await idle(page);
  await screenshot(page, 'crash', {fullPage: true});
  assertCalm();
  await page.close();
});

for (const [name, viewport, colorScheme] of [['phone', {width: 360, height: 740}, 'light'], ['projector', {width: 1920, height: 1080}, 'dark'], ['laptop', {width: 1280, height: 800}, 'light']]) {
  test(`nothing is cut off on a ${name}`, async () => {
    const {page, assertCalm} = await openPage(browser, server.address, {viewport, colorScheme, reducedMotion: 'reduce'});
    await choose(page, 'slow', {task_duration_ms: 200, busy_timeout_ms: 350});
    await page.locator('#run').click();
    await ended(page, 'queued');
    const {scroll, client} = await page.evaluate(() => ({scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth}));
    assert.ok(scroll <= client, `${scroll} px wide in ${client}`);
    const canvases = await page.locator('.plot canvas').evaluateAll((all) => all.map((canvas) => canvas.getBoundingClientRect().width));
    assert.ok(canvases.every((width) => width > viewport.width * 0.4), canvases.join());
    await assertAccessible(page, `on a ${name}`);
    await screenshot(page, name, {fullPage: true});
    assertCalm();
    await page.close();
  });
}

test('a tap shows the description of a piece', async () => {
  const {page, assertCalm} = await openPage(browser, server.address);
  await choose(page, 'slow', {task_duration_ms: 150, busy_timeout_ms: 5000}, 'queued');
  await page.locator('#run').click();
  await ended(page, 'queued');
  const canvas = page.locator('.plot canvas');
  await canvas.scrollIntoViewIfNeeded();
  const box = await canvas.boundingBox();
  const at = {clientX: box.x + box.width * 0.08, clientY: box.y + 20, pointerType: 'touch', bubbles: true};
  await page.locator('.plot').dispatchEvent('pointerdown', at);
  await page.locator('.plot').dispatchEvent('pointerup', at);
  await tip(page).waitFor();
  assert.match(await tip(page).textContent(), /^P1Waiting/);
  await page.locator('h1').dispatchEvent('pointerdown', {bubbles: true});
  await tip(page).waitFor({state: 'hidden'});
  assertCalm();
  await page.close();
});

test('a wrong setting shows an error, and nothing runs', async () => {
  const {page, troubles} = await openPage(browser, server.address);
  await choose(page, 'slow');
  await page.locator('#setting-task_duration_ms').evaluate((input) => { input.removeAttribute('max'); });
  await page.locator('#setting-task_duration_ms').fill('70000');
  await page.locator('#run').click();
  await page.locator('#trouble').filter({hasText: 'task_duration_ms must be 0 to 60000, not 70000'}).waitFor();
  await idle(page);
  assert.deepEqual(troubles.filter((trouble) => !trouble.includes('400')), []);
  await page.close();
});

test('after a lost connection the page shows everything once', async () => {
  const {page} = await openPage(browser, server.address);
  await choose(page, 'slow', {task_duration_ms: 100, busy_timeout_ms: 5000}, 'direct');
  await page.locator('#run').click();
  await ended(page, 'direct');
  server.dropListeners();
  await page.locator('#connection').filter({hasText: 'does not answer'}).waitFor();
  await page.locator('#connection:empty').waitFor({state: 'attached'});
  await ended(page, 'direct');
  assert.equal(await page.locator('.run').count(), 1);
  assert.equal(await lane(page, 'direct', 'P1').locator('.lane-tally').textContent(), '2/2');
  await page.close();
});

test('row names are shown as text', async () => {
  const {page, assertCalm} = await openPage(browser, server.address);
  const bad = '<img src=x onerror=alert(1)>';
  const run = {run: 90, scenario: 'slow', title: bad, mode: 'direct', mode_title: 'Direct', settings: {}, rows_wanted: 1,
    lanes: [{name: bad, role: 'producer', rows_wanted: 1}]};
  server.tell('run', run);
  server.tell('segments', {run: 90, now_ms: 50, done: [[0, ['h', 1, 40, bad]], [0, ['l', 40, 40, bad, bad, bad]]], open: []});
  server.tell('table', {run: 90, columns: ['row'], rows: [[bad]], total: 1, from: 'events'});
  server.tell('text', {run: 90, lines: [bad], total: 1, torn: 1});
  server.tell('explain', {run: 90, text: bad});
  server.tell('graph', {run: 90, at_ms: 1, edges: [{from: bad, to: bad, resource: 'text'}], cycle: [bad]});
  server.tell('failed', {run: 90, error: bad, hint: bad});
  await page.locator('.tail-rows li', {hasText: bad}).waitFor();
  await page.locator('.plot').focus();
  assert.equal(await page.locator('img').count(), 0);
  assertCalm();
  await page.close();
});
