// The operators' page in a real browser, against the real server.
//
//   FANFARE_BIN=<server binary> LOADGEN_BIN=<loadgen binary> node dashboard.mjs [folder for screenshots]
//
// Asserts that figures are live, that a client that stalls is named and can be disconnected by the keyboard alone, that the
// page fits a phone, says when the server is away and comes back by itself, asks for a token where one is needed, shows what the
// load generator does (`loads.mjs`), and that the browser has nothing to complain about.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { readingClient, stalledClient } from './clients.mjs';
import { launch } from './launch.mjs';
import { replay, stalls } from './loads.mjs';
import { assertCalm, assertFits, PLACES, text, walk, watch } from './look.mjs';
import { adminAddress, fail, startServer, stopServer } from './server.mjs';

async function main([folder]) {
  const limit = setTimeout(() => fail(new Error(`not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  const browser = await launch();
  try {
    await figures(browser, folder);
    await tokens(browser);
    await replay(browser, folder);
    await stalls(browser, folder);
  } finally {
    await browser.close();
    await stopServer();
    clearTimeout(limit);
  }
}

async function figures(browser, folder) {
  const address = await startServer('127.0.0.1:0', '--retain-bytes', '32MiB');
  const admin = adminAddress();
  const stalled = await stalledClient(address, 'channel=t:load&user=stalled');
  const reader = await readingClient(address, 'channel=t:load');
  const publisher = setInterval(() => publish(address), 50);
  const page = await browser.newPage({ viewport: PLACES.desk, colorScheme: 'light' });
  page.setDefaultTimeout(STEP_MS_MAX);
  const complaints = await watch(page);

  const head = await page.goto(admin);
  assert.match(head.headers()['content-security-policy'] ?? '', /default-src 'none'/);
  await text(page, '#status-text', /^Live$/);
  await text(page, '#events', /^[1-9]/);
  await text(page, '#p99', /(µs|ms|s)$/);
  await page.waitForFunction(() => 0 < document.querySelectorAll('#events-chart path.line[d*="L"]').length);
  await text(page, '#channels', /t:load/);
  await text(page, '#loops', /loop 0.*%/);
  await text(page, '#log-note', /Holds numbers/);
  const row = page.locator('#slowest tr').filter({ hasText: 'stalled' });
  await row.waitFor();
  await text(page, '#verdict-title', /behind/);
  if (folder !== undefined) await page.screenshot({ path: join(folder, 'dashboard-light.png'), fullPage: true });

  // The whole way by the keyboard.
  const id = await row.getAttribute('data-id');
  const walked = await walk(page, `Disconnect ${id}`);
  assert.deepEqual(walked.slice(0, 4), ['Skip to the figures', 'window', 'theme', 'pause'], `the order: ${walked}`);
  await page.keyboard.press('Enter');
  await row.getByText('Sure?').waitFor();
  // Figures go on meanwhile, and the focus stays where it is.
  const before = await page.locator('#events-more').textContent();
  await page.waitForFunction((was) => document.querySelector('#events-more').textContent !== was, before);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Sure?');
  await page.keyboard.press('Enter');
  await stalled.gone;
  await page.keyboard.press('Tab');
  await row.waitFor({ state: 'detached' });

  await page.getByRole('button', { name: 'Pause' }).click();
  await text(page, '#status-text', /^Paused$/);
  const still = await page.locator('#events-more').textContent();
  await pulses(page, 2);
  assert.equal(await page.locator('#events-more').textContent(), still, 'it stands still');
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.waitForFunction((was) => document.querySelector('#events-more').textContent !== was, still);

  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('radio', { name: 'Dark' }).check();
  assert.notEqual(await ground(), light, 'dark is dark');
  if (folder !== undefined) await page.screenshot({ path: join(folder, 'dashboard-dark.png'), fullPage: true });
  await page.reload();
  assert.notEqual(await ground(), light, 'and is remembered');

  await page.setViewportSize(PLACES.phone);
  await text(page, '#events', /^[1-9]/);
  await assertFits(page);
  if (folder !== undefined) await page.screenshot({ path: join(folder, 'dashboard-phone.png'), fullPage: true });
  await assertCalm(page, complaints);

  // A server that is away is something browsers complain about.
  clearInterval(publisher);
  reader.abort();
  await stopServer();
  await text(page, '#status-text', /away/);
  await startServer(new URL(address).host, '--admin-listen', new URL(admin).host);
  await text(page, '#status-text', /^Live$/);
  await text(page, '#events-more', /^0 since start$/);
  await page.close();
  await stopServer();
  console.log(`dashboard: live, by keyboard (${walked.length} stops), on a phone, through a restart`);
}

async function tokens(browser) {
  const folder = mkdtempSync(join(tmpdir(), 'fanfare-dashboard-'));
  try {
    const key = `fk_${randomBytes(16).toString('hex')}`;
    const sha256 = createHash('sha256').update(key).digest('hex');
    const keys = join(folder, 'keys.json');
    writeFileSync(keys, JSON.stringify([{ name: 'operator', sha256, grants: { admin: true } }]));
    await startServer('127.0.0.1:0', '--api-keys', keys);
    const page = await browser.newPage();
    page.setDefaultTimeout(STEP_MS_MAX);
    await page.goto(adminAddress());
    await page.locator('#signin').waitFor();
    await page.keyboard.type('fk_wrong');
    await page.keyboard.press('Enter');
    await text(page, '#signin-problem', /not good/);
    await page.keyboard.type(key);
    await page.keyboard.press('Enter');
    await text(page, '#status-text', /^Live$/);
    await page.locator('#signin').waitFor({ state: 'hidden' });
    assert.ok(!page.url().includes('fk_'), 'the key is not in an address');
    await page.close();
    console.log('dashboard: asks for a key, and goes on with a good one');
  } finally {
    await stopServer();
    rmSync(folder, { recursive: true });
  }
}

function publish(address) {
  const body = JSON.stringify({ channel: 't:load', event: 'k', data: 'x'.repeat(200_000) });
  fetch(`${address}/publish`, { method: 'POST', headers: { 'content-type': 'application/json' }, body }).catch(() => {});
}

/** Waits until so many more pulses have come. */
function pulses(page, count) {
  return page.evaluate(
    async (most) => {
      const { follow } = await import('/client.js');
      await new Promise((done) => {
        let seen = 0;
        const feed = follow({ url: new URL('/stats/events', location) });
        feed.on('message', () => {
          seen += 1;
          if (most < seen) {
            feed.close();
            done();
          }
        });
      });
    },
    count,
  );
}

const TOTAL_MS_MAX = 480_000;
const STEP_MS_MAX = 20_000;

main(process.argv.slice(2)).catch(fail);
