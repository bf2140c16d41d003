// Starts Debian's Chromium for the tests of the page, and collects errors of each page.
import assert from 'node:assert/strict';
import {mkdir, mkdtemp, readFile, rm} from 'node:fs/promises';
import {createRequire} from 'node:module';
import os from 'node:os';
import path from 'node:path';
import {chromium} from 'playwright-core';

const kChromium = process.env.TURNSTILE_CHROMIUM || '/usr/bin/chromium';
export const kPatience = 60_000;  // ms, for a loaded machine
const axeSource = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const shots = process.env.TURNSTILE_SHOTS;  // directory for screenshots

export async function startBrowser() {
  const profile = await mkdtemp(path.join(os.tmpdir(), 'turnstile-page-'));
  // Switch off everything that connects to other hosts. CI has no GPU and no user namespaces.
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: kChromium, timeout: kPatience, viewport: {width: 1280, height: 900}, acceptDownloads: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  context.setDefaultTimeout(kPatience);
  return {
    context,
    async close() {
      await context.close();
      await rm(profile, {recursive: true, force: true});
    },
  };
}

// Opens a page and records what must not happen: console errors, requests to other hosts.
export async function openPage(browser, address, {viewport, colorScheme = 'light', reducedMotion = 'no-preference'} = {}) {
  const page = await browser.context.newPage();
  const troubles = [];
  if (viewport) await page.setViewportSize(viewport);
  await page.emulateMedia({colorScheme, reducedMotion});
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) troubles.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => troubles.push(`error: ${error.stack}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(new URL(address).origin) && !url.startsWith('data:') && !url.startsWith('file:')) troubles.push(`request to ${url}`);
  });
  await page.goto(address);
  await page.locator('#title').filter({hasNotText: 'Turnstile lab'}).or(page.locator('.report-title')).first().waitFor();
  return {page, troubles, assertCalm: () => assert.deepEqual(troubles, [])};
}

export async function assertAccessible(page, where) {
  const known = await page.evaluate(() => typeof window.axe === 'object');
  // Not addScriptTag: the page's Content-Security-Policy forbids it.
  if (!known) await page.evaluate(await readFile(axeSource, 'utf8'));
  const {violations, passes} = await page.evaluate(() => window.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }));
  assert.ok(passes.length > 20, `axe looked at nothing ${where}`);
  assert.deepEqual(violations.map(({id, nodes}) => `${id}: ${nodes.map(({html}) => html.slice(0, 160)).join(' | ')}`), [], where);
}

export async function screenshot(page, name, options = {}) {
  if (!shots) return;
  await mkdir(shots, {recursive: true});
  await page.screenshot({path: path.join(shots, `${name}.png`), ...options});
}

export const lane = (page, mode, name) => page.locator(`.run[data-mode="${mode}"] .gutter .lane`).filter({
  has: page.locator('.lane-name', {hasText: new RegExp(`^${name}$`)}),
});
export const counter = (page, mode, name) => page.locator(`.run[data-mode="${mode}"] [data-counter="${name}"] dd`);
export const tip = (page) => page.locator('.tip');

export async function choose(page, scenario, settings = {}, mode = 'all') {
  await page.locator(`input[name="scenario"][value="${scenario}"]`).check();
  await page.locator(`input[name="mode"][value="${mode}"]`).check();
  if (Object.keys(settings).length && !await page.locator('#settings').isVisible()) await page.locator('#settings-box summary').click();
  for (const [name, value] of Object.entries(settings)) await page.locator(`#setting-${name}`).fill(String(value));
}

// Waits until all requested runs have ended. Until then, earlier runs may still be shown.
export const idle = (page) => page.locator('#run[aria-disabled="false"]').waitFor();
export async function ended(page, mode) {
  await idle(page);
  await page.locator(`.run[data-mode="${mode}"] .run-state:not([data-state="running"])`).waitFor();
}
