// Uses the live page like a person, against the real program: TURNSTILE_PROGRAM.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {readFile} from 'node:fs/promises';
import {createInterface} from 'node:readline';
import {after, before, test} from 'node:test';
import {
  assertAccessible, choose, counter, ended, idle, lane, openPage, screenshot, startBrowser, tip,
} from './browser.mjs';

// The third process waits for two tasks: longer than the timeout, even on a slow machine.
const kQuicker = {task_duration_ms: 1200, busy_timeout_ms: 1800};
let lab;
let address;
let browser;

before(async () => {
  assert.ok(process.env.TURNSTILE_PROGRAM, 'TURNSTILE_PROGRAM must name the program');
  lab = spawn(process.env.TURNSTILE_PROGRAM, ['lab', 'serve', '--port', '0'], {stdio: ['ignore', 'pipe', 'inherit']});
  const lines = createInterface({input: lab.stdout})[Symbol.asyncIterator]();
  const {value: first} = await lines.next();
  address = /http:\/\/127\.0\.0\.1:\d+\/#token=\w+/.exec(first ?? '')?.[0];
  assert.ok(address, `no address in '${first}'`);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  if (!lab || lab.exitCode !== null) return;
  lab.kill('SIGTERM');
  await once(lab, 'exit');
});

test('direct, a lost row names the lock holder; through the queue all six rows are committed', async () => {
  const {page, assertCalm} = await openPage(browser, address);
  await assertAccessible(page, 'before anything ran');
  await screenshot(page, 'before');
  await choose(page, 'slow', kQuicker, 'direct');
  await page.locator('#run').click();

  const lost = page.locator('.run[data-mode="direct"] .lane[data-state="lost"]').first();
  await lost.waitFor();
  const state = await lost.locator('.lane-state').textContent();
  assert.match(state, /^lost \w+ to P[123]$/);
  const name = await lost.locator('.lane-name').textContent();
  const holder = /to (P\d)$/.exec(state)[1];
  assert.notEqual(holder, name);
  await screenshot(page, 'slow-lost');
  await ended(page, 'direct');
  const [committed] = (await counter(page, 'direct', 'committed').textContent()).split('/').map(Number);
  const gone = Number(await counter(page, 'direct', 'lost').textContent());
  assert.ok(gone >= 1, 'direct lost none');
  assert.equal(committed + gone, 6);

  await idle(page);
  await choose(page, 'slow', kQuicker, 'queued');
  await page.locator('#run').click();
  await ended(page, 'queued');
  assert.equal(await counter(page, 'queued', 'committed').textContent(), '6/6');
  assert.equal(await counter(page, 'queued', 'lost').textContent(), '0');
  assert.equal(await page.locator('.run[data-mode="queued"] .tail-rows li').count(), 6);

  // Both runs are shown, one above the other, and compared.
  assert.deepEqual(await page.locator('.run').evaluateAll((runs) => runs.map((run) => run.dataset.mode)), ['direct', 'queued']);
  const headline = await page.locator('.headline').textContent();
  assert.match(headline, new RegExp(`Direct lost ${gone} of 6\\. Through the queue lost none\\.`));
  assert.equal(await page.locator('.numbers').first().getByRole('row', {name: /Lost/}).locator('td').last().textContent(), '0');
  await assertAccessible(page, 'after both modes');
  await screenshot(page, 'slow-both', {fullPage: true});
  assertCalm();
  await page.close();
});

test('mouse and keys show row, duration and holder of a piece', async () => {
  const {page, assertCalm} = await openPage(browser, address);  // it shows the earlier runs
  const plot = page.locator('.run[data-mode="queued"] .plot');
  await plot.waitFor();
  await ended(page, 'queued');
  const box = await plot.locator('canvas').boundingBox();
  await page.mouse.move(box.x + box.width * 0.04, box.y + 20);
  await tip(page).waitFor();
  const words = await tip(page).textContent();
  assert.match(words, /^P1Waiting/);
  assert.match(words, /Row \w+/);
  assert.match(words, /\d+(\.\d+)? m?s, from .* to /);
  assert.match(words, /in the queue/);
  await page.mouse.move(5, 5);
  await tip(page).waitFor({state: 'hidden'});

  await plot.focus();
  await page.keyboard.press('End');
  assert.match(await tip(page).textContent(), /^P1Acknowledged/);
  await page.keyboard.press('ArrowLeft');
  assert.match(await tip(page).textContent(), /^P1Waiting/);
  await page.keyboard.press('ArrowDown');
  assert.match(await tip(page).textContent(), /^P2/);
  assert.match(await page.locator('#lanes .for-ears').textContent(), /^P2, /);
  await screenshot(page, 'keys');
  await page.keyboard.press('Escape');
  await tip(page).waitFor({state: 'hidden'});
  assertCalm();
  await page.close();
});

test('everything can be done by keyboard, and Stop stops', async () => {
  const {page, assertCalm} = await openPage(browser, address);
  const focused = () => page.evaluate(() => document.activeElement.value || document.activeElement.id);
  const tabTo = async (wanted) => {
    for (let i = 0; i < 40; ++i) {
      await page.keyboard.press('Tab');
      if (await focused() === wanted) return;
    }
    assert.fail(`no Tab leads to ${wanted}`);
  };
  await tabTo('auto');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await tabTo('slow');
  await page.keyboard.press('ArrowLeft');
  assert.equal(await page.locator('#title').textContent(), 'Six pets');
  await page.keyboard.press('ArrowRight');
  await tabTo('all');
  await tabTo('run');
  await page.keyboard.press('Enter');
  await lane(page, 'direct', 'P1').and(page.locator(':not([data-state="idle"])')).waitFor();
  await tabTo('stop');
  await page.keyboard.press('Space');
  await idle(page);
  const states = await page.locator('.run-state').allTextContents();
  assert.ok(states.includes('stopped') && !states.includes('running'), states.join());
  assert.equal(await focused(), 'stop', 'the focus was lost');
  await assertAccessible(page, 'in the dark, stopped');
  await screenshot(page, 'dark-stopped');
  assertCalm();
  await page.close();
});

test('the colour theme can be switched and is remembered', async () => {
  const {page, assertCalm} = await openPage(browser, address);
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.locator('#theme input[value="light"]').check();
  const light = await paper();
  await page.locator('#theme input[value="dark"]').check();
  const dark = await paper();
  assert.notEqual(light, dark);
  await page.reload();
  assert.equal(await paper(), dark);
  assert.ok(await page.locator('#theme input[value="dark"]').isChecked());
  await page.locator('#theme input[value="auto"]').check();
  assert.equal(await paper(), light, 'auto is what the system says');
  assertCalm();
  await page.close();
});

test('quick runs in both modes; its report opens from disk without any request', async () => {
  const {page, assertCalm} = await openPage(browser, address);
  await choose(page, 'quick');
  await page.locator('#run').click();
  await ended(page, 'queued');
  assert.equal(await counter(page, 'direct', 'committed').textContent(), '6/6');
  assert.equal(await counter(page, 'queued', 'committed').textContent(), '6/6');
  const waiting = page.waitForEvent('download');
  await page.getByRole('link', {name: 'Save the report'}).click();
  const download = await waiting;
  const file = `${await download.path()}.html`;
  await download.saveAs(file);
  assertCalm();
  await page.close();

  const html = await readFile(file, 'utf8');
  assert.doesNotMatch(html, /\{\{/);
  const report = await openPage(browser, `file://${file}`);
  assert.deepEqual(await report.page.locator('#lanes .run').evaluateAll((runs) => runs.map((run) => run.dataset.mode)), ['direct', 'queued']);
  assert.equal(await counter(report.page, 'queued', 'committed').textContent(), '6/6');
  await report.page.waitForFunction(() => [...document.querySelectorAll('.plot canvas')].length === 2 &&
    [...document.querySelectorAll('.plot canvas')].every((canvas) =>
      canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value !== 0)));
  await assertAccessible(report.page, 'in the report');
  await screenshot(report.page, 'report', {fullPage: true});
  report.assertCalm();
  await report.page.close();
});

test('torn lines of out9.txt are shown beside the lanes, and nothing is cut off', async () => {
  const {page, assertCalm} = await openPage(browser, address, {colorScheme: 'dark'});
  await choose(page, 'stream');
  await page.locator('#run').click();
  await ended(page, 'queued');
  assert.match(await page.locator('.run[data-mode="direct"] .tail-text .tail-title').textContent(), /torn/);
  assert.doesNotMatch(await page.locator('.run[data-mode="queued"] .tail-text .tail-title').textContent(), /torn/);
  assert.equal(await page.locator('.numbers').first().getByRole('row', {name: /without a line/}).locator('td').last().textContent(), '0');
  const {scroll, client} = await page.evaluate(() => ({scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth}));
  assert.ok(scroll <= client, `${scroll} px wide in ${client}`);
  const overflowing = await page.locator('.tail-rows').evaluateAll((all) => all.filter((list) => list.scrollWidth > list.clientWidth).length);
  assert.equal(overflowing, 0);
  await screenshot(page, 'stream', {fullPage: true});
  assertCalm();
  await page.close();
});

test('the fake server of the other tests offers the same scenarios', async () => {
  const known = JSON.parse(await readFile(new URL('scenarios.json', import.meta.url), 'utf8'));
  assert.deepEqual(await (await fetch(new URL('/api/scenarios', address))).json(), known);
});

test('the lab is still running', () => assert.equal(lab.exitCode, null));
