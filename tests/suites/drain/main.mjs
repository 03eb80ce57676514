// A server with many clients is told to end: readiness turns red, what was accepted is delivered and answered, every client is
// told where it stands, the process ends with 0 in time, and all come back to the next one, with a gap of the cause `epoch`.
//
//   FANFARE_BIN=… node tests/suites/drain/main.mjs
//
// FANFARE_CLIENTS=5000 says how many, half over WebSocket and half by event streams.

import { connect } from 'node:net';

import { Client, openAll } from '../client.mjs';
import { Server, ask, check, run } from '../support.mjs';

const CLIENTS = Number(process.env.FANFARE_CLIENTS ?? 5000);
const DRAIN_SECONDS = 30;

const PUBLISH = 'POST /publish/t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1';

/** Publishes one after the other until the server says no or goes; counts what was accepted. */
function publish(port, counts) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('connect', () => socket.write(PUBLISH));
    socket.on('data', (data) => {
      text += data;
      const end = text.indexOf('}\n');
      const answered = /^HTTP\/1.1 (\d{3})/.exec(text);
      if (answered && answered[1] !== '202') {
        counts.refused.push(answered[1]);
        socket.destroy();
      } else if (end !== -1) {
        counts.accepted += 1;
        text = text.slice(end + 2);
        socket.write(PUBLISH);
      }
    });
    socket.on('error', () => {});
    socket.on('close', resolve);
  });
}

await run(async () => {
  const flags = ['--drain-timeout', `${DRAIN_SECONDS}s`, '--fanout-backlog-max', '1m'];
  const server = await Server.start(...flags);
  const clients = Array.from({ length: CLIENTS }, (_, number) => new Client(number));
  await openAll(clients, server.port);
  const counts = { accepted: 0, refused: [] };
  const publishers = Array.from({ length: 4 }, () => publish(server.port, counts));
  await server.waitUntil('there is something to lose', (stats) => 50 < stats.published);

  const begin = Date.now();
  server.child.kill('SIGTERM');
  const ready = [];
  const watching = (async () => {
    for (;;) {
      const answer = await ask(server.admin, 'GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      if (answer.text === '') return;
      ready.push(answer.text.slice(9, 12));
    }
  })();
  const code = await server.exited;
  const seconds = (Date.now() - begin) / 1000;
  await Promise.all([...publishers, watching, ...clients.map((client) => client.ended)]);

  check(code === 0, `it has ended with ${code}`);
  check(seconds < DRAIN_SECONDS, `it has taken ${seconds} s`);
  check(ready.includes('503') && ready.at(-1) === '503', `readiness was ${ready}`);
  check(counts.refused.every((status) => status === '503'), `publishers were told ${counts.refused}`);
  for (const client of clients) {
    const isTold = client.isStream ? client.waits.length === 2 : client.goodbye === 1001;
    check(isTold && !client.error, `not told: ${client.goodbye} ${client.waits} ${client.error}`);
    check(client.events.length === counts.accepted, `${client.events.length} of ${counts.accepted} were delivered`);
    check(client.cursor.endsWith(`-${counts.accepted}`), `${client.cursor} is not behind ${counts.accepted}`);
  }
  const waits = new Set(clients.filter((client) => client.isStream).map((client) => client.waits[1]));
  check(Math.min(1000, CLIENTS / 4) < waits.size, `only ${waits.size} times to come back`);

  const next = await Server.start(...flags);
  const again = Date.now();
  await openAll(clients, next.port);
  const backSeconds = (Date.now() - again) / 1000;
  await ask(next.port, PUBLISH.replace('Host: x', 'Host: x\r\nConnection: close'));
  await ask(next.port, 'GET /delivered?seq=1&timeout_ms=60000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  next.child.kill('SIGTERM');
  await Promise.all(clients.map((client) => client.ended));
  check((await next.exited) === 0, 'the second has not ended well');
  for (const client of clients) {
    const [gap] = client.gaps;
    check(client.gaps.length === 1 && gap.cause === 'epoch' && gap.from === null, `gaps: ${JSON.stringify(client.gaps)}`);
    check(client.events.length === counts.accepted + 1 && client.events.at(-1) === 1, 'the next event has come once');
  }
  return {
    clients: CLIENTS,
    'told where they stand': CLIENTS,
    'accepted and delivered to each': counts.accepted,
    'seconds to the end': seconds.toFixed(2),
    'looks at readiness during the drain, 503': ready.filter((status) => status === '503').length,
    'different times to come back': waits.size,
    'seconds until all were back': backSeconds.toFixed(1),
    'gaps of cause epoch': CLIENTS,
  };
});
