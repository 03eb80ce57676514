// The demo page in a real browser, against the real server.
//
//   FANFARE_BIN=<server binary> node page.mjs [screenshot.png]
//
// Starts the server on free ports, and asserts that events arrive over WebSocket and over SSE, that what the
// form publishes comes back under its own number, and that the browser has nothing to complain about.

import assert from 'node:assert/strict';

import { launch } from './launch.mjs';
import { fail, startServer, stopServer } from './server.mjs';

async function main([screenshot]) {
  const limit = setTimeout(() => fail(new Error(`not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  const address = await startServer('127.0.0.1:0', '--demo');
  const browser = await launch();
  try {
    await check(await browser.newPage({ viewport: { width: 1360, height: 900 } }), address, screenshot);
  } finally {
    await browser.close();
    await stopServer();
    clearTimeout(limit);
  }
}

async function check(page, address, screenshot) {
  page.setDefaultTimeout(STEP_MS_MAX);
  const complaints = await watch(page);

  const socketFrame = page.waitForEvent('websocket').then((socket) => socket.waitForEvent('framereceived'));
  const head = await page.goto(address);
  assert.equal(head.status(), 200);
  assert.match(head.headers()['content-security-policy'] ?? '', /default-src 'none'/);
  await socketFrame;
  await moreEvents(page, 'over WebSocket');

  const streamRequest = page.waitForRequest((request) => request.resourceType() === 'eventsource');
  await page.getByText('SSE', { exact: true }).click();
  assert.match((await streamRequest).url(), /[?&]last_event_id=/, 'the other transport goes on from the cursor');
  await page.locator('#status[data-state=open]').waitFor();
  await moreEvents(page, 'over SSE');

  const seq = await publish(page);
  const row = page.locator(`.row[data-seq="${seq}"]`);
  await row.waitFor();
  assert.equal(await row.locator('.kind').textContent(), KIND);
  await row.locator('summary').click();
  await row.getByText(TITLE).nth(1).waitFor();
  if (screenshot !== undefined) await page.screenshot({ path: screenshot });

  await page.fill('#kind-filter', '');
  const numbers = await page.locator('.row[data-seq]').evaluateAll((rows) => rows.map((each) => Number(each.dataset.seq)));
  assert.ok(1 < numbers.length);
  numbers.reduce((newer, older) => (assert.ok(older < newer, `${older} stands below ${newer}`), older));
  assert.equal(await page.locator('#gaps').textContent(), '0', 'gaps');
  assert.deepEqual([...complaints, ...(await page.evaluate(() => window.violations))], []);
  console.log(`page: events over both transports, own event back as ${seq}, no complaints`);
}

/** The figure on the page has to grow, so that what an earlier connection received does not count. */
async function moreEvents(page, what) {
  const received = () => Number(document.querySelector('#received').textContent.replaceAll(',', ''));
  const before = await page.evaluate(received);
  await page
    .waitForFunction((least) => least < Number(document.querySelector('#received').textContent.replaceAll(',', '')), before)
    .catch(() => assert.fail(`no events ${what}`));
}

/** Filtered to our own kind, the row cannot be pushed off the bounded list by others. */
async function publish(page) {
  await page.fill('#kind-filter', KIND);
  await page.fill('#publish-channel', 'repo:browser/check');
  await page.fill('#publish-event', KIND);
  await page.fill('#publish-data', JSON.stringify({ title: TITLE }));
  await page.locator('#publish-form button').click();
  const answer = page.locator('#answer', { hasText: 'back on this page' });
  await answer.waitFor().catch(async () => assert.fail(`answer: ${await page.locator('#answer').textContent()}`));
  return /Accepted as (\d+)/.exec(await answer.textContent())[1];
}

async function watch(page) {
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (violation) =>
      window.violations.push(`${violation.violatedDirective}: ${violation.blockedURI}`),
    );
  });
  return complaints;
}

const KIND = 'browser.check';
const TITLE = 'Sent by the browser check';
const TOTAL_MS_MAX = 60_000;
const STEP_MS_MAX = 10_000;

main(process.argv.slice(2)).catch(fail);
