// The operators' page while the real load generator is at work: what it shows of a replay of real events, and whom it names when
// some of the clients of a run stall. With a folder for pictures the loads last for minutes, so that there is something to see.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { readingClient, stalledClient } from './clients.mjs';
import { assertCalm, picture, PLACES, text, walk, watch } from './look.mjs';
import { adminAddress, startServer, stopServer } from './server.mjs';
import { mint } from './tokens.mjs';

/** Real events one by one: figures that move, and channels under their names, with as many events as they had. */
export async function replay(browser, folder) {
  const address = await startServer('127.0.0.1:0');
  const readers = await Promise.all(Array.from({ length: READERS }, () => readingClient(address, 'channel=*')));
  const { page, complaints } = await open(browser);
  await text(page, '#status-text', /^Live$/);
  await text(page, '#channels-empty', /No events/);

  const seconds = folder === undefined ? 5 : 55;
  const events = REPLAY_RATE * seconds;
  const replayed = loadgen('replay', address, '--loop', '--rate', `${REPLAY_RATE}/s`, '--limit', String(events));
  await page.waitForFunction(() => document.querySelector('#events-chart path.line')?.getAttribute('d').includes('L'));
  const at = await page.locator('#events-more').textContent();
  await page.waitForFunction((was) => document.querySelector('#events-more').textContent !== was, at);
  for (const figure of ['events', 'deliveries', 'bytes', 'p99', 'span']) await text(page, `#${figure}`, /^[1-9]/);
  await text(page, '#verdict-title', /^All is well$/);
  if (folder !== undefined) {
    await pause(40_000);
    await picture(page, folder, 'replay');
  }
  assert.match((await replayed.ended).said, new RegExp(`^published ${events},`, 'm'));

  await text(page, '#events-more', new RegExp(`^${events.toLocaleString('en-GB')} since start`));
  await text(page, '#deliveries-more', new RegExp(`^${written(events * READERS)} since start`));
  const shown = await page.locator('#channels li').evaluateAll((items) =>
    items.map((item) => [item.children[0].textContent, Number(item.children[1].textContent.split(' ')[0].replaceAll(',', ''))]),
  );
  const had = await eventsByChannel(address);
  assert.ok(3 <= shown.length, `several are named: ${shown}`);
  // The busiest of each second are named, so the first has all of its events; others may have been left out for a second.
  if (folder === undefined) assert.equal(shown[0][1], had.get(shown[0][0]), `${shown[0]}`);
  shown.forEach(([name, count]) => assert.ok(0 < count && count <= had.get(name), `${name}: ${count} of ${had.get(name)}`));
  await assertCalm(page, complaints);
  await page.close();
  readers.forEach((reader) => reader.abort());
  await stopServer();
  console.log(`dashboard: a replay of ${events} events, ${shown.length} channels with their names`);
}

/** Of a run's clients some stall: exactly they are named, most behind first, and what they miss has a name and a number. */
export async function stalls(browser, folder) {
  const files = mkdtempSync(join(tmpdir(), 'fanfare-stalls-'));
  try {
    const secret = randomBytes(24).toString('hex');
    const token = (user) => mint(secret, user, { subscribe: ['bench:*'], publish: ['bench:*'] });
    const file = (name, content) => {
      writeFileSync(join(files, name), content);
      return join(files, name);
    };
    const keys = ['--token-key', file('secret', secret), '--admin-open'];
    // Little is held, so that who stalls is soon overtaken.
    const address = await startServer('127.0.0.1:0', ...keys, '--retain-events', '1000', '--stall-max', '10m');
    const users = Array.from({ length: SUBSCRIBERS }, (_, number) => `reader-${number}`);
    // Who stalls at first is furthest behind for good.
    const stall = (user) => stalledClient(address, `channel=bench:0&access_token=${token(user)}`);
    const early = await stall('early');
    const { page, complaints } = await open(browser);
    await text(page, '#status-text', /^Live$/);

    const seconds = folder === undefined ? 25 : 100;
    const result = join(files, 'result.json');
    const run = loadgen(
      ...['run', address, '-c', String(SUBSCRIBERS), '--transport', 'ws:50,sse:50', '-R', `${RUN_RATE}/s`, '-s', '4096'],
      ...['-d', `${seconds}s`, '--warmup', '2s', '--slow', String(SLOW), '--lenient', '--no-tui', '--json', result],
      ...['--token-file', file('publisher', token('publisher')), '--subscriber-tokens', file('tokens', users.map(token).join('\n'))],
    );
    const slow = users.slice(0, SLOW);
    await names(page, (found) => isSame(found.toSorted(), ['early', ...slow].toSorted()) && found[0] === 'early');
    const late = await stall('late');
    const everybody = ['early', ...slow, 'late'];
    await names(page, (found) => isSame(found.toSorted(), everybody.toSorted()) && found[0] === 'early' && found.at(-1) === 'late');
    await text(page, '#verdict-title', new RegExp(`^${everybody.length} clients are behind$`));
    await text(page, '#verdict-text', /further than the log goes back/);
    await text(page, '#slowest-count', new RegExp(`^${everybody.length} behind$`));
    await assertTold(page, slow);
    if (folder !== undefined) {
      await pause(40_000);
      await picture(page, folder, 'stalls');
    }

    // By the keyboard from one to the next, in the order of the table, to the last of them, which is sent away.
    const ids = await page.locator('#slowest tr').evaluateAll((rows) => rows.map((row) => row.dataset.id));
    const walked = await walk(page, `Disconnect ${ids.at(-1)}`);
    assert.deepEqual(walked.slice(-ids.length), ids.map((id) => `Disconnect ${id}`), 'in the order of the table');
    // And back again in a low window, where what is above must come out from beneath the bar.
    await page.setViewportSize({ ...PLACES.desk, height: 420 });
    await page.locator('main .scroll').last().focus();
    const back = await walk(page, 'pause', 'Shift+Tab');
    assert.equal(back.filter((name) => name.startsWith('Disconnect')).length, ids.length, `${back}`);
    await page.setViewportSize(PLACES.desk);
    await page.getByRole('button', { name: `Disconnect ${ids.at(-1)}` }).focus();
    await page.keyboard.press('Enter');
    await page.locator(`#slowest tr[data-id="${ids.at(-1)}"]`).getByText('Sure?').waitFor();
    await page.keyboard.press('Enter');
    await late.gone;
    // Its row stays for as long as the keyboard is there.
    await page.keyboard.press('Tab');
    await names(page, (found) => !found.includes('late'));

    // Those of the run read on in the end, and are told what they have missed: the page counts what they were told.
    const { code, said } = await run.ended;
    assert.equal(code, 0, said);
    const { verification } = JSON.parse(readFileSync(result, 'utf8'));
    const told = verification.gaps_of_slow;
    assert.ok(SLOW <= told, `each was overtaken: ${JSON.stringify(verification)}`);
    assert.equal(verification.gaps, 0, 'and nobody else');
    const row = page.locator('#losses tr[data-name=gaps_lapped]');
    await text(page, '#losses tr[data-name=gaps_lapped] td:nth-child(3)', new RegExp(`^${told}$`));
    assert.equal(await row.getAttribute('data-level'), 'look');
    await text(page, '#losses tr[data-name=gaps_lapped] .meaning', /told exactly which events it missed/);
    await text(page, '#verdict-text', new RegExp(`^gaps: overtaken ${told} in the last 60 s`));
    await picture(page, folder, 'gaps');
    early.end();
    await text(page, '#slowest-empty', /^Nobody is behind/);
    await assertCalm(page, complaints);
    await page.close();
    console.log(`dashboard: ${everybody.length} stalled clients are named, ${walked.length} stops of the keyboard, ${told} gaps`);
  } finally {
    await stopServer();
    rmSync(files, { recursive: true });
  }
}

async function open(browser) {
  const page = await browser.newPage({ viewport: PLACES.desk, colorScheme: 'light' });
  page.setDefaultTimeout(STEP_MS_MAX);
  const complaints = await watch(page);
  await page.goto(adminAddress());
  return { page, complaints };
}

/** Waits until the table of the slowest has such users, from top to bottom. */
async function names(page, isExpected) {
  const users = page.locator('#slowest tr:not(.gone) td:nth-child(2)');
  const until = Date.now() + STEP_MS_MAX;
  for (let found = await users.allTextContents(); !isExpected(found); found = await users.allTextContents()) {
    assert.ok(Date.now() < until, `not these: ${found}`);
    await pause(50);
  }
}

/** What the table says of each is what the server says, and it is sorted by how far behind they are. */
async function assertTold(page, slow) {
  const rows = await page.locator('#slowest tr').evaluateAll((all) => all.map((row) => ({ id: row.dataset.id, texts: [...row.children].map((cell) => cell.textContent) })));
  const { clients } = await (await fetch(new URL('/clients?sort=lag', adminAddress()))).json();
  for (const { id, texts } of rows) {
    const client = clients.find((each) => each.id === id);
    assert.equal(client?.user, texts[1], `${id} is whom the server knows by it`);
    assert.equal(client.state, 'lagging');
    assert.equal(client.transport === 'websocket' ? 'WebSocket' : 'SSE', texts[3]);
    if (slow.includes(texts[1])) assert.match(texts[6], / s$/, 'it takes nothing');
  }
  const lags = rows.map(({ texts }) => amount(texts[4]));
  assert.deepEqual(lags, lags.toSorted((a, b) => b - a), 'most behind first');
}

/** 12.3k events. */
function amount(words) {
  const [, digits, unit] = /^([\d.,]+)([kM]?) events$/.exec(words);
  return Number(digits.replaceAll(',', '')) * { '': 1, k: 1e3, M: 1e6 }[unit];
}

/** How the page writes a total. */
function written(number) {
  return number < 10_000 ? number.toLocaleString('en-GB') : `${Number((number / 1000).toPrecision(3))}k`;
}

/** How many events the log holds of each channel, without those of the channels below it. */
async function eventsByChannel(address) {
  const { channels } = await (await fetch(new URL('/channels?limit=1000', adminAddress()))).json();
  const names = channels.map(({ channel }) => channel);
  const counts = new Map(await Promise.all(names.map(async (name) => [name, await eventsOf(address, name)])));
  const below = (name) => names.filter((each) => each.startsWith(`${name}/`));
  return new Map(names.map((name) => [name, below(name).reduce((left, each) => left - counts.get(each), counts.get(name))]));
}

/** How many events the log holds of a channel, those of the channels below it included. */
async function eventsOf(address, channel) {
  let count = 0;
  for (let since = 'earliest'; since !== null; ) {
    const { events, more, next } = await (await fetch(`${address}/history?channel=${channel}&since=${since}&limit=1000`)).json();
    count += events.length;
    since = more ? next : null;
  }
  return count;
}

function loadgen(...flags) {
  const binary = process.env.LOADGEN_BIN;
  assert.ok(binary, 'LOADGEN_BIN names no load generator');
  const child = spawn(binary, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
  process.once('exit', () => child.kill('SIGKILL'));
  let said = '';
  for (const pipe of [child.stdout, child.stderr]) pipe.on('data', (piece) => (said += piece));
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, said }));
  });
  return { ended };
}

function isSame(some, others) {
  return some.length === others.length && some.every((each, at) => each === others[at]);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const READERS = 8;
const REPLAY_RATE = 40;
const SUBSCRIBERS = 12;
const SLOW = 3;
const RUN_RATE = 400;
const STEP_MS_MAX = 30_000;
