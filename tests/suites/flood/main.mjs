// As many connections as one process may hold, and then many more: those are all answered 503 and none is reset, the server
// has nothing to do meanwhile, and afterwards it has what it had before.
//
//   FANFARE_BIN=… LOADGEN_BIN=… node tests/suites/flood/main.mjs
//
// FANFARE_HELD=19000 and FANFARE_REFUSED=6000 say how many.

import { spawn } from 'node:child_process';

import { Server, ask, check, run, sleep } from '../support.mjs';

const HELD = Number(process.env.FANFARE_HELD ?? 19_000);
const REFUSED = Number(process.env.FANFARE_REFUSED ?? 6_000);

/** Refused at once, at most. */
const AT_ONCE = 1500;

const IDLE_MS = 5000;

const HANDSHAKE = 'GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
  + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';
const REQUESTS = [
  HANDSHAKE,
  'GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n',
  'POST /publish/t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1',
];

async function flood(server) {
  const left = Array.from({ length: REFUSED }, (_, at) => at);
  const waits = new Map();
  let slowestMs = 0;
  const work = async () => {
    for (let at = left.pop(); at !== undefined; at = left.pop()) {
      const answer = await ask(server.port, REQUESTS[at % REQUESTS.length], { from: `127.0.0.${2 + (at % 8)}` });
      check(answer.end === 'ended', `number ${at} was not ended in order: ${answer.end}, ${answer.text}`);
      check(answer.text.startsWith('HTTP/1.1 503 '), `number ${at} was answered ${answer.text}`);
      const wait = /\r\nRetry-After: (\d+)\r\n/.exec(answer.text);
      check(wait, `number ${at} is not told when to come back`);
      waits.set(wait[1], (waits.get(wait[1]) ?? 0) + 1);
      slowestMs = Math.max(slowestMs, answer.ms);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  check(3 < waits.size, 'they all come back at once');
  return slowestMs;
}

/** What of a processor the server takes while nothing happens, in per cent. */
async function idlePercent(server) {
  const before = server.cpuSeconds();
  await sleep(IDLE_MS);
  return ((server.cpuSeconds() - before) / (IDLE_MS / 1000)) * 100;
}

await run(async () => {
  const server = await Server.start('--max-connections', String(HELD));
  const base = server.descriptors();
  const held = spawn(process.env.LOADGEN_BIN, [
    'run', `http://127.0.0.1:${server.port}`, '-c', String(HELD), '--transport', 'ws:50,sse:50', '--connect-rate', '2000/s',
    '--source-ip', '127.0.0.20..29', '--hold', '-d', '10m', '--quiet', '--lenient',
  ], { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise((resolve) => held.on('exit', resolve));
  try {
    await server.waitUntil('they are all there', (stats) => stats.streams === HELD);
    const residentMib = server.residentMib();
    const idleBefore = await idlePercent(server);
    const begin = Date.now();
    const cpuBefore = server.cpuSeconds();
    const slowestMs = await flood(server);
    const floodSeconds = (Date.now() - begin) / 1000;
    const floodCpu = server.cpuSeconds() - cpuBefore;
    const idleAfter = await idlePercent(server);
    const stats = await server.stats();
    check(stats.streams === HELD, `${stats.streams} of ${HELD} are left`);
    check(stats.connections_turned_away === REFUSED, `${stats.connections_turned_away} were turned away`);
    check(stats.accept_failures === 0, `${stats.accept_failures} failures to accept`);
    check(idleBefore < 5 && idleAfter < 5, `idle it takes ${idleBefore} % and ${idleAfter} %`);
    held.kill('SIGINT');
    await ended;
    await server.waitUntil('they are all gone', (now) => now.streams === 0 && now.connections === 1);
    const served = await ask(server.port, 'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    check(served.text.startsWith('HTTP/1.1 200 '), `afterwards it answers ${served.text}`);
    check(server.descriptors() <= base + 1, `${server.descriptors()} descriptors, and ${base} before`);
    return {
      held: HELD,
      'resident while held, MiB': residentMib.toFixed(1),
      'answered 503, none reset': REFUSED,
      'seconds of the flood': floodSeconds.toFixed(1),
      "the server's processor seconds in it": floodCpu.toFixed(2),
      'slowest answer, ms': slowestMs,
      'processor while idle at the cap, %': `${idleBefore.toFixed(1)} before, ${idleAfter.toFixed(1)} after`,
      'descriptors before and after': `${base} and ${server.descriptors()}`,
    };
  } finally {
    held.kill('SIGKILL');
    await server.kill();
  }
});
