// The operators' page in a real browser, against the real server.
//
//   FANFARE_BIN=<server binary> node dashboard.mjs [folder for screenshots]
//
// Asserts that figures are live, that a client that stalls is named and can be disconnected by the keyboard alone, that the
// page fits a phone, says when the server is away and comes back by itself, asks for a token where one is needed, and that
// the browser has nothing to complain about.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { launch } from './launch.mjs';
import { adminAddress, fail, startServer, stopServer } from './server.mjs';

async function main([folder]) {
  const limit = setTimeout(() => fail(new Error(`not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  const browser = await launch();
  try {
    await figures(browser, folder);
    await tokens(browser);
  } finally {
    await browser.close();
    await stopServer();
    clearTimeout(limit);
  }
}

async function figures(browser, folder) {
  const address = await startServer('127.0.0.1:0', '--retain-bytes', '32MiB');
  const admin = adminAddress();
  const stalled = await stalledClient(new URL(address), 'stalled');
  const reader = await readingClient(address);
  const publisher = setInterval(() => publish(address), 50);
  const page = await browser.newPage({ viewport: { width: 1360, height: 900 }, colorScheme: 'light' });
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
  await page.evaluate(() => document.activeElement?.blur());
  const walked = [];
  for (let step = 0; step < FOCUS_STEPS_MAX; step += 1) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => {
      const at = document.activeElement;
      const box = (at.closest('label') ?? at).getBoundingClientRect();
      const ring = getComputedStyle(at.matches('.switch input') ? at.nextElementSibling : at);
      return { name: at.ariaLabel ?? at.id ?? '', text: at.textContent.trim().slice(0, 30), kind: at.name ?? '', isShown: 0 < box.width && ring.outlineStyle !== 'none' };
    });
    walked.push(stop.kind || stop.name || stop.text);
    assert.ok(stop.isShown, `focus is seen at ${JSON.stringify(stop)}`);
    if (stop.name === `Disconnect ${id}`) break;
  }
  assert.deepEqual(walked.slice(0, 4), ['Skip to the figures', 'window', 'theme', 'pause'], `the order: ${walked}`);
  assert.equal(walked.at(-1), `Disconnect ${id}`, `the button can be reached: ${walked}`);
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

  await page.setViewportSize({ width: 390, height: 844 });
  await text(page, '#events', /^[1-9]/);
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= room, `${wide} pixels do not fit ${room}`);
  if (folder !== undefined) await page.screenshot({ path: join(folder, 'dashboard-phone.png'), fullPage: true });
  assert.deepEqual([...complaints, ...(await page.evaluate(() => window.violations))], []);

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
    rmSync(folder, { recursive: true });
  }
}

/** A client that reads nothing after its handshake. */
function stalledClient(address, user) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address.hostname, port: Number(address.port) });
    socket.on('error', reject);
    const gone = new Promise((done) => socket.on('close', done));
    socket.once('data', () => {
      socket.pause();
      // Whether it was let go of is seen by what it says: nobody listens any more.
      const knock = setInterval(() => socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0])), 200);
      socket.removeListener('error', reject);
      socket.on('error', () => {});
      gone.then(() => clearInterval(knock));
      resolve({ gone });
    });
    const query = `channel=t:load&user=${user}`;
    const upgrade = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n';
    socket.write(`GET /ws?${query} HTTP/1.1\r\nHost: ${address.host}\r\n${upgrade}Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
  });
}

/** A client that reads everything. */
async function readingClient(address) {
  const abort = new AbortController();
  const answer = await fetch(`${address}/events?channel=t:load`, { signal: abort.signal });
  answer.body.pipeTo(new WritableStream()).catch(() => {});
  return abort;
}

function publish(address) {
  const body = JSON.stringify({ channel: 't:load', event: 'k', data: 'x'.repeat(200_000) });
  fetch(`${address}/publish`, { method: 'POST', headers: { 'content-type': 'application/json' }, body }).catch(() => {});
}

async function text(page, selector, pattern) {
  const found = page.locator(selector).filter({ hasText: pattern });
  await found.waitFor().catch(async () => assert.fail(`${selector}: ${await page.locator(selector).textContent()} is not ${pattern}`));
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

async function watch(page) {
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (violation) =>
      window.violations.push(`${violation.violatedDirective}: ${violation.blockedURI}`),
    );
  });
  return complaints;
}

const FOCUS_STEPS_MAX = 20;
const TOTAL_MS_MAX = 120_000;
const STEP_MS_MAX = 20_000;

main(process.argv.slice(2)).catch(fail);
