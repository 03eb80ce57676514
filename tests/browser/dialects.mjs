// Clients of the dialect `guts` in a real browser, against the real server.
//
//   FANFARE_BIN=<server binary> node dialects.mjs
//
// Both run in the server's own page, since pages of other origins are refused. One is a page's script as that system
// has it: a status dot, toasts for three seconds, and at most five attempts to reconnect, each waiting three seconds
// longer. The other is its client library's way: an unnamed event stream. The server is stopped in the middle and
// started again on the same port; both have to come back by themselves.

import assert from 'node:assert/strict';

import { launch } from './launch.mjs';
import { fail, startServer, stopServer } from './server.mjs';

async function main() {
  const limit = setTimeout(() => fail(new Error(`not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  const address = await startServer('127.0.0.1:0');
  const browser = await launch();
  try {
    await check(await browser.newPage(), address);
  } finally {
    await browser.close();
    await stopServer();
    clearTimeout(limit);
  }
}

async function check(page, address) {
  page.setDefaultTimeout(STEP_MS_MAX);
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(address);
  await page.evaluate(pageScript, CHANNEL);
  await page.evaluate(libraryScript, CHANNEL);
  await bothAreConnected(page);
  await page.locator('#socket-status[data-state=Connected]').waitFor();
  await delivered(page, address, 'pr_opened', { number: 1 });
  await page.locator('.toast', { hasText: `pr_opened on ${CHANNEL}` }).waitFor();
  await page.locator('.toast').waitFor({ state: 'detached' });

  await stopServer();
  await page.locator('#socket-status[data-state=Disconnected]').waitFor();
  const before = await page.evaluate(() => ({ opened: window.socketClient.opened, streams: window.libraryClient.opened }));
  assert.equal(await startServer(new URL(address).host), address);
  await page.waitForFunction(
    ({ opened, streams }) => opened < window.socketClient.opened && streams < window.libraryClient.opened,
    before,
  );
  await bothAreConnected(page);
  assert.equal(await page.evaluate(() => window.socketClient.attempts), 0, 'the counter begins anew');
  await delivered(page, address, 'issue_opened', { number: 2 });

  const library = await page.evaluate(() => window.libraryClient.received);
  const numbers = library.filter((event) => event.type !== 'gap').map((event) => event.payload.number);
  assert.deepEqual(numbers, [1, 2], 'each event once');
  assert.equal(library.filter((event) => event.type === 'gap').length, 1, 'the new log is told as a gap');
  assert.deepEqual(errors, []);
  console.log('dialects: both clients were served, came back after a restart, and were served again');
}

/** An acknowledgement, and the stream's first words, are what says that nothing published from now on is missed. */
async function bothAreConnected(page) {
  await page.waitForFunction(
    () => window.socketClient.subscribed === window.socketClient.opened && 0 < window.socketClient.opened,
  );
  await page.waitForFunction(() => window.libraryClient.source.readyState === EventSource.OPEN);
}

async function delivered(page, address, kind, data) {
  const answer = await fetch(`${address}/publish`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ channel: CHANNEL, event: kind, data }),
  });
  assert.equal(answer.status, 202, await answer.text());
  await page
    .waitForFunction(
      (wanted) =>
        window.socketClient.received.some((event) => event.data.number === wanted) &&
        window.libraryClient.received.some((event) => event.payload?.number === wanted),
      data.number,
    )
    .catch(async () => {
      const received = await page.evaluate(() => [window.socketClient.received, window.libraryClient.received]);
      assert.fail(`${kind} did not reach both: ${JSON.stringify(received)}`);
    });
  const [event, message] = await page.evaluate(
    (wanted) => [
      window.socketClient.received.find((each) => each.data.number === wanted),
      window.libraryClient.received.find((each) => each.payload?.number === wanted),
    ],
    data.number,
  );
  assert.deepEqual([event.channel, event.event, event.data], [CHANNEL, kind, data]);
  assert.ok(Math.abs(Date.now() / 1000 - event.timestamp) < CLOCK_SECONDS_MAX, 'whole seconds');
  assert.deepEqual([message.channel, message.type, message.payload], [CHANNEL, kind, data]);
  assert.ok(Math.abs(Date.now() - Date.parse(message.timestamp)) < 1000 * CLOCK_SECONDS_MAX, 'a date as text');
}

/** Runs in the page: that system's own client, with a log of what it saw. */
function pageScript(channel) {
  const client = { opened: 0, subscribed: 0, attempts: 0, received: [] };
  window.socketClient = client;
  const status = document.createElement('span');
  status.id = 'socket-status';
  document.body.append(status);
  const show = (state) => {
    status.dataset.state = state;
    status.textContent = state;
  };
  const toast = (text) => {
    const box = document.createElement('div');
    box.className = 'toast';
    box.textContent = text;
    document.body.append(box);
    setTimeout(() => box.remove(), 3000);
  };
  const connect = () => {
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(`${scheme}//${location.host}/ws?dialect=guts`);
    socket.onopen = () => {
      client.opened += 1;
      client.attempts = 0;
      show('Connected');
      socket.send(JSON.stringify({ type: 'subscribe', channel }));
    };
    socket.onmessage = (message) => {
      const data = JSON.parse(message.data);
      if (data.type === 'subscribed') client.subscribed += 1;
      if (data.type !== 'event') return;
      client.received.push(data);
      toast(`${data.event} on ${data.channel}`);
    };
    socket.onerror = () => show('Error');
    socket.onclose = () => {
      show('Disconnected');
      if (client.attempts === 5) return show('Unavailable');
      client.attempts += 1;
      setTimeout(connect, 3000 * client.attempts);
    };
  };
  connect();
}

/** Runs in the page: the client library's way of listening, with a log of what it heard. */
function libraryScript(channel) {
  const source = new EventSource(`/api/events?channel=${encodeURIComponent(channel)}&token=none`);
  const client = { source, opened: 0, received: [] };
  window.libraryClient = client;
  source.onopen = () => {
    client.opened += 1;
  };
  source.onmessage = (message) => client.received.push(JSON.parse(message.data));
}

const CHANNEL = 'repo:browser/check';
const CLOCK_SECONDS_MAX = 60;
const TOTAL_MS_MAX = 120_000;
const STEP_MS_MAX = 30_000;

main().catch(fail);
