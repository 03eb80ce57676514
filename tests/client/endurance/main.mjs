// The endurance check: whatever breaks, nothing is lost silently.
//
//   FANFARE_BIN=<server binary> [FANFARE_SEED=n] node endurance/main.mjs node|chromium ws|sse
//
// 10,000 events are accepted while the server is killed and restarted 20 times, each time as another log, and all
// connections are cut 50 times. Every event that the publisher got an answer for has to be received once and in order,
// or to lie in a gap that the client was told about; and nothing else may be received.

import assert from 'node:assert/strict';
import { Proxy } from './proxy.mjs';
import { CHANNEL, Publisher } from './publisher.mjs';
import { receiveHere, receiveInChromium } from './receiver.mjs';
import { Server } from './server.mjs';

async function main([where, transport]) {
  const begin = performance.now();
  const seed = Number(process.env.FANFARE_SEED ?? 1);
  const what = `${where} over ${transport}, seed ${seed}`;
  const limit = setTimeout(() => fail(new Error(`${what}: not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  const server = new Server();
  process.on('exit', () => server.stop());
  await server.start();
  const proxy = await Proxy.start(() => server.port);
  const receive = { node: receiveHere, chromium: receiveInChromium }[where];
  const waits = { retryBaseMs: 20, retryMaxMs: 150, stableMs: 100 };
  const { record, stop } = await receive({ url: proxy.url, channels: [CHANNEL], transport, ...waits });
  const publisher = new Publisher(server);
  await play({ server, proxy, publisher, record, random: randomOf(seed) });
  const { newest } = publisher;
  await record.until((items) => hasReached(server, items, newest));
  const counts = verify(server, publisher, record.items);
  await stop();
  publisher.stop();
  await proxy.stop();
  await server.stop();
  clearTimeout(limit);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  console.log(
    `${what}: ${publisher.answered.size} accepted, ${counts.received} of them received, ${counts.inGaps} in ${counts.gaps} gaps, ` +
      `${server.generation - 1} restarts, ${proxy.cuts} cuts, ${record.opens} connections, ${seconds} s`,
  );
  process.exit(0);
}

/** One trouble after another, each while events are published; all of it follows from the seed but the timing. */
async function play({ server, proxy, publisher, record, random }) {
  const troubles = shuffled([...Array(RESTARTS).fill('restart'), ...Array(CUTS).fill('cut')], random);
  const stride = EVENTS / troubles.length;
  for (const [index, trouble] of troubles.entries()) {
    // Not evenly, but far enough apart that there are bytes to cut behind.
    await publisher.until(Math.round((index + random() / 2) * stride));
    const { newest } = publisher;
    const more = publisher.until(Math.round((index + 0.9) * stride));
    if (trouble === 'cut') {
      await proxy.cut(1 + Math.floor(random() * CUT_BYTES_MAX));
    } else {
      // Else a client that is just connecting would miss most logs as a whole, which proves little.
      if (random() < CALM_SHARE) await record.until((items) => hasReached(server, items, newest));
      await server.restart();
    }
    await more;
  }
  await publisher.until(EVENTS);
}

/** Every claim, against what was accepted. */
function verify(server, publisher, items) {
  const { answered, unknown } = publisher;
  const missing = new Map(answered);
  const gaps = [];
  let last = { generation: 0, seq: 0 };
  for (const item of items) {
    const at = placeOf(server, item.cursor);
    if (item.type === 'gap') {
      gaps.push({ ...item, at, begin: placeOf(server, item.old) });
      continue;
    }
    assert.equal(at.seq, item.seq, 'the cursor after an event is its own');
    assert.ok(isBefore(last, at), `${item.cursor} comes after generation ${last.generation}, number ${last.seq}`);
    last = at;
    const place = `${at.generation}-${at.seq}`;
    if (answered.has(place)) assert.equal(item.data, answered.get(place), `${item.cursor} is what was published`);
    else assert.ok(unknown.has(item.data), `${item.cursor} was published`);
    missing.delete(place);
  }
  for (const place of missing.keys()) {
    const [generation, seq] = place.split('-').map(Number);
    const isTold = gaps.some((gap) => isIn({ generation, seq }, gap));
    assert.ok(isTold, `${place} was neither received nor in a gap`);
  }
  const received = answered.size - missing.size;
  assert.equal(server.generation, RESTARTS + 1);
  // A log holds more than is ever published to one, so a cut alone is no reason for a gap.
  for (const { cause } of gaps) assert.equal(cause, 'epoch');
  assert.ok(gaps.length <= RESTARTS, `${gaps.length} gaps`);
  assert.ok(EVENTS <= answered.size);
  assert.ok(answered.size * RECEIVED_SHARE_LEAST < received, `only ${received} were received`);
  return { received, inGaps: missing.size, gaps: gaps.length };
}

/** An `epoch` gap is everything after the old cursor, up to where the other log's held events begin. */
function isIn(place, gap) {
  if (gap.cause === 'epoch') return isBefore(gap.begin, place) && !isBefore(gap.at, place);
  return place.generation === gap.at.generation && gap.from <= place.seq && place.seq <= gap.to;
}

function isBefore(one, other) {
  return one.generation < other.generation || (one.generation === other.generation && one.seq < other.seq);
}

function hasReached(server, items, place) {
  const last = items.at(-1);
  return place === null || (last !== undefined && !isBefore(placeOf(server, last.cursor), place));
}

/** A cursor, with the log's place among all logs instead of its name. */
function placeOf(server, cursor) {
  if (cursor === undefined) return null;
  const [, epoch, seq] = /^(.+)-(\d+)$/.exec(cursor);
  const generation = server.epochs.indexOf(epoch) + 1;
  assert.ok(0 < generation, `${cursor} is of a log of ours`);
  return { generation, seq: Number(seq) };
}

/** Numbers from 0 to 1 that follow from the seed. */
function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    // A Weyl sequence, mixed; good enough to scatter troubles.
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}

function shuffled(values, random) {
  for (let left = values.length; left > 1; left -= 1) {
    const at = Math.floor(random() * left);
    [values[at], values[left - 1]] = [values[left - 1], values[at]];
  }
  return values;
}

function fail(error) {
  console.error(`seed ${process.env.FANFARE_SEED ?? 1}:`, error);
  process.exit(1);
}

const EVENTS = 10_000;
const RESTARTS = 20;
const CUTS = 50;
/** Less than what is published between two troubles. */
const CUT_BYTES_MAX = 3_000;
const CALM_SHARE = 0.7;
const RECEIVED_SHARE_LEAST = 0.5;
const TOTAL_MS_MAX = 90_000;

main(process.argv.slice(2)).catch(fail);
