// Which pages a real browser lets use the real server.
//
//   FANFARE_BIN=<server binary> node origins.mjs
//
// Pages of the server's own origin, of one that is listed, of one that is not, and one without any (`null`, in a sandboxed
// frame) each open a WebSocket on every path, an event stream on every path, ask for history, and publish. The server has to
// refuse the last two everything; what a listed page sends may have a cookie with it.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';

import { launch } from './launch.mjs';
import { fail, startServer, stopServer } from './server.mjs';

async function main() {
  const limit = setTimeout(() => fail(new Error(`not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  const [listed, foreign] = [await servePages('localhost'), await servePages('127.0.0.1')];
  const address = await startServer('127.0.0.1:0', '--allow-origin', listed);
  const browser = await launch();
  try {
    await check(browser, address, { listed, foreign });
  } finally {
    await browser.close();
    await stopServer();
    pages.forEach((each) => each.close());
    clearTimeout(limit);
  }
}

async function check(browser, address, { listed, foreign }) {
  const page = await browser.newPage();
  page.setDefaultTimeout(STEP_MS_MAX);
  const everything = Object.fromEntries([...WAYS.keys()].map((way) => [way, true]));
  const nothing = Object.fromEntries([...WAYS.keys()].map((way) => [way, false]));

  await page.goto(`${address}/favicon.svg`);
  assert.deepEqual(await attempts(page, address), everything, 'a page of the server itself');

  await page.goto(listed);
  assert.deepEqual(await attempts(page, address), everything, 'a page of a listed origin');

  await page.goto(foreign);
  assert.deepEqual(await attempts(page, address), nothing, 'a page of another origin');

  // The same address under another name is another origin, to the server too.
  const other = address.replace('127.0.0.1', 'localhost');
  await page.goto(listed);
  assert.deepEqual(await attempts(page, other), everything, 'a listed origin under another name of the server');
  await page.goto(`${address}/favicon.svg`);
  assert.deepEqual(await attempts(page, other), nothing, "a page of the server's other name");

  await page.goto(`${listed}/sandbox`);
  const frame = page.frames().find((each) => each !== page.mainFrame());
  assert.equal(await frame.evaluate(() => self.origin), 'null');
  assert.deepEqual(await attempts(frame, address), nothing, 'a page without an origin');

  assert.ok(0 < published, 'somebody has published');
  const answer = await fetch(`${address}/history?channel=${CHANNEL}`);
  const { events } = await answer.json();
  assert.equal(events.length, published, 'what allowed pages have published, and nothing of any other page');
  console.log(`origins: ${WAYS.size} ways from 6 pages, as they should be`);
}

/** Tries every way from a page, or a frame; says which have worked. */
async function attempts(place, address) {
  const outcome = {};
  for (const [way, [attempt, path]] of WAYS) {
    const target = attempt === openSocket ? address.replace('http', 'ws') + path : address + path;
    outcome[way] = await place.evaluate(attempt, target);
    if (outcome[way] && (attempt === publish || attempt === publishBlindly)) published += 1;
  }
  return outcome;
}

// What runs in the page: each says whether it has worked, and a refusal is no error.

function openSocket(target) {
  return new Promise((resolve) => {
    const socket = new WebSocket(target);
    socket.onopen = () => {
      socket.close();
      resolve(true);
    };
    socket.onerror = () => resolve(false);
  });
}

function openStream(target) {
  return new Promise((resolve) => {
    const source = new EventSource(target, { withCredentials: true });
    const end = (outcome) => {
      source.close();
      resolve(outcome);
    };
    source.onopen = () => end(true);
    source.onerror = () => end(false);
  });
}

/** With credentials: a browser gives the page nothing then unless the answer names it. */
async function read(target) {
  try {
    const answer = await fetch(target, { credentials: 'include' });
    return answer.ok && Array.isArray((await answer.json()).events);
  } catch {
    return false;
  }
}

/** Its media type and its headers make a browser ask first. */
async function publish(target) {
  try {
    const answer = await fetch(target, {
      method: 'POST',
      credentials: 'include',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': `${Math.random()}` },
      body: '{"from":"a page"}',
    });
    return answer.status === 202 && Number.isInteger((await answer.json()).seq);
  } catch {
    return false;
  }
}

/** A browser sends this without asking, and keeps the answer from the page: the server has to refuse it. */
async function publishBlindly(target) {
  try {
    const answer = await fetch(target, { method: 'POST', credentials: 'include', body: '{"from":"a page"}' });
    return answer.status === 202;
  } catch {
    return false;
  }
}

const CHANNEL = 'repo:browser/origins';

const WAYS = new Map([
  ['WebSocket /ws', [openSocket, `/ws?channel=${CHANNEL}`]],
  ['WebSocket /ws, guts', [openSocket, '/ws?dialect=guts']],
  ['WebSocket /api/events', [openSocket, '/api/events']],
  ['WebSocket /ws/subscribe', [openSocket, '/ws/subscribe']],
  ['stream /events', [openStream, `/events?channel=${CHANNEL}`]],
  ['stream /v1/events', [openStream, '/v1/events']],
  ['stream /api/events', [openStream, `/api/events?channel=${CHANNEL}`]],
  ['stream /ws/subscribe', [openStream, `/ws/subscribe?channel=${CHANNEL}`]],
  ['history', [read, `/history?channel=${CHANNEL}`]],
  ['publish', [publish, `/publish/${CHANNEL}`]],
  ['publish without asking', [publishBlindly, `/publish/${CHANNEL}`]],
]);

/** Events that pages were told they have published. */
let published = 0;

// Servers of pages

const pages = [];

/** Serves an empty page, and one with a sandboxed frame, from an origin of its own. */
function servePages(name) {
  const server = createServer((request, response) => {
    const isSandbox = request.url === '/sandbox';
    const frame = '<iframe sandbox="allow-scripts" srcdoc="<!doctype html><title>nobody</title>"></iframe>';
    response.setHeader('Content-Type', 'text/html');
    response.end(`<!doctype html><title>a page</title>${isSandbox ? frame : ''}`);
  });
  pages.push(server);
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://${name}:${server.address().port}`));
  });
}

const TOTAL_MS_MAX = 90_000;
const STEP_MS_MAX = 10_000;

main().catch(fail);
