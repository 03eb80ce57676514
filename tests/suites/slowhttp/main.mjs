// slowhttptest in its four modes: every slow connection is closed by the deadlines, and others are served meanwhile.
//
//   FANFARE_BIN=… node tests/suites/slowhttp/main.mjs
//
// FANFARE_SLOW=1000 says how many slow connections there are in each mode.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Server, ask, check, run, sleep } from '../support.mjs';

const SLOW = Number(process.env.FANFARE_SLOW ?? 1000);
const RATE = 500;

/** How much later than its deadline the last slow connection may be closed. */
const GRACE_SECONDS = 2;

/** The deadlines of the server under test, in seconds. */
const HEAD = 5;
const BODY = 6;
const ANSWER = 8;

/** Longer than any deadline, so that it is not slowhttptest that ends it. */
const TEST_SECONDS = 40;

const MODES = [
  { name: 'slow heads', flags: ['-H', '-i', '2'], path: '/health', deadline: HEAD },
  { name: 'slow bodies', flags: ['-B', '-i', '2', '-s', '8192'], path: '/publish/t:a', deadline: BODY },
  // The server knows no ranges: it answers, and the tool goes, so there are never many at once.
  { name: 'ranges', flags: ['-R', '-a', '10', '-b', '3000'], path: '/health', deadline: HEAD, leaves: true },
  { name: 'slow reading', flags: ['-X', '-w', '256', '-y', '512', '-n', '5', '-z', '32', '-k', '10'], path: '/page.js', deadline: ANSWER },
];

const HONEST = 'POST /publish/t:b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1';

/** Publishes now and then until `isOver`; every one must be accepted. */
async function beHonest(server, isOver) {
  const waits = [];
  while (!isOver()) {
    const answer = await ask(server.port, HONEST);
    check(answer.text.startsWith('HTTP/1.1 202 '), `an honest client was answered ${answer.text || answer.end}`);
    waits.push(answer.ms);
    await sleep(50);
  }
  return waits.sort((a, b) => a - b);
}

async function attack({ name, flags, path, deadline, leaves }) {
  const server = await Server.start(
    '--head-deadline', `${HEAD}s`, '--body-deadline', `${BODY}s`, '--answer-deadline', `${ANSWER}s`, '--keep-alive', `${HEAD}s`,
  );
  const folder = mkdtempSync(join(tmpdir(), 'fanfare-slowhttp-'));
  try {
    const child = spawn('slowhttptest', [
      ...flags, '-c', String(SLOW), '-r', String(RATE), '-l', String(TEST_SECONDS), '-p', '3', '-g', '-o', join(folder, 'out'),
      '-u', `http://127.0.0.1:${server.port}${path}`,
    ], { stdio: ['ignore', 'ignore', 'inherit'] });
    const ended = new Promise((resolve) => child.on('exit', resolve));
    let isOver = false;
    const honest = beHonest(server, () => isOver);
    let most = 0;
    let lastSeconds = 0;
    const begin = Date.now();
    const watching = (async () => {
      while (!isOver) {
        const { connections } = await server.stats();
        // Two may be the honest one and the operator, one is what the tool asks with.
        if (3 < connections) lastSeconds = (Date.now() - begin) / 1000;
        most = Math.max(most, connections);
        await sleep(50);
      }
    })();
    await ended;
    isOver = true;
    const waits = await honest;
    await watching;
    const rows = readFileSync(join(folder, 'out.csv'), 'utf8').trim().split('\n').slice(1).map((row) => row.split(',').map(Number));
    const allowed = SLOW / RATE + deadline + GRACE_SECONDS;
    check(leaves || SLOW / 2 < most, `${name}: only ${most} connections at once`);
    check(lastSeconds <= allowed, `${name}: the last was closed after ${lastSeconds} s, not ${allowed}`);
    check(rows.every((row) => row.at(-1) !== 0), `${name}: not available all the time`);
    const p99 = waits[Math.floor(waits.length * 0.99)];
    return `${most} at once, all gone after ${lastSeconds.toFixed(1)} s (allowed ${allowed}); ${waits.length} honest publishes, p99 ${p99} ms`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await server.kill();
  }
}

await run(async () => {
  const figures = {};
  for (const mode of MODES) figures[mode.name] = await attack(mode);
  return figures;
});
