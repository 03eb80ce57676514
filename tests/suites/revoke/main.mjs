// Many clients of many users: when one user is revoked exactly that user's connections end, within a second, and what the others
// get comes as it came before.
//
//   FANFARE_BIN=… node tests/suites/revoke/main.mjs
//
// FANFARE_CLIENTS=5000 says how many, of a hundred users, half over WebSocket and half by event streams.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Client, openAll } from '../client.mjs';
import { Server, ask, check, run, sleep } from '../support.mjs';

const CLIENTS = Number(process.env.FANFARE_CLIENTS ?? 5000);
const USERS = 100;
const EVENTS_EVERY_MS = 200;
const SECONDS = 6;

/** Writes keys into `folder`; returns the flag that makes a server take them, and what mints a token for a user. */
function keys(folder) {
  const fanfare = (...flags) => execFileSync(process.env.FANFARE_BIN, flags, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  fanfare('keys', 'new', '--out', folder);
  const file = (end) => join(folder, readdirSync(folder).find((name) => name.endsWith(end)));
  const mint = (user) => fanfare(
    'token', '--key', file('.pem'), '--sub', user, '--subscribe', 't:a', '--publish', 't:a', '--expires', '1h',
  ).trim();
  return { flags: ['--jwks', file('.jwks'), '--admin-open'], mint };
}

function request(method, path, body, more = '') {
  return `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** A client of a user, which notes when it got which event. */
class Timed extends Client {
  constructor(number, user, token) {
    super(number, `&access_token=${token}`);
    this.user = user;
    this.got = new Map();
  }

  take(message) {
    super.take(message);
    if (message.type === 'event') this.got.set(message.seq, performance.now());
  }
}

function percentile(values, share) {
  values.sort((a, b) => a - b);
  return values[Math.min(values.length - 1, Math.floor(values.length * share))];
}

await run(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fanfare-revoke-'));
  try {
    const { flags, mint } = keys(folder);
    const server = await Server.start(...flags, '--fanout-backlog-max', '1m');
    const users = Array.from({ length: USERS }, (_, number) => `user-${number}`);
    const tokens = new Map(users.map((user) => [user, mint(user)]));
    const clients = Array.from({ length: CLIENTS }, (_, number) => {
      // Streams and WebSockets of every user.
      const user = users[Math.floor(number / 2) % USERS];
      return new Timed(number, user, tokens.get(user));
    });
    await openAll(clients, server.port);
    const bad = clients.filter((client) => client.user === 'user-7');
    const others = clients.filter((client) => client.user !== 'user-7');
    let lastEndMs;
    for (const client of bad) client.ended.then(() => { lastEndMs = performance.now(); });
    const surviving = new Set(others);
    for (const client of others) client.ended.then(() => surviving.delete(client));

    const sent = new Map();
    let revokedMs;
    const rounds = (SECONDS * 1000) / EVENTS_EVERY_MS;
    for (let round = 0; round < rounds; round += 1) {
      const at = performance.now();
      const bearer = `Authorization: Bearer ${tokens.get('user-1')}\r\n`;
      const answer = await ask(server.port, request('POST', '/publish/t:a', '1', bearer));
      check(answer.text.startsWith('HTTP/1.1 202'), `publish: ${answer.text}`);
      sent.set(JSON.parse(answer.text.split('\r\n\r\n')[1]).seq, at);
      if (round === rounds / 2) {
        revokedMs = performance.now();
        const revoked = await ask(server.admin, request('POST', '/revoke', '{"user":"user-7"}'));
        const { disconnected } = JSON.parse(revoked.text.split('\r\n\r\n')[1]);
        check(disconnected === bad.length, `${disconnected} of ${bad.length} were disconnected`);
      }
      await sleep(Math.max(0, EVENTS_EVERY_MS - (performance.now() - at)));
    }
    await Promise.all(bad.map((client) => client.ended));
    await sleep(500);
    check(lastEndMs - revokedMs < 1000, `the last one went after ${lastEndMs - revokedMs} ms`);
    check(surviving.size === others.length, `${others.length - surviving.size} others went too`);
    const sockets = bad.filter((client) => !client.isStream);
    check(sockets.every((client) => client.goodbye === 4401), 'a WebSocket was not told 4401');
    const latencies = (from, to) => others.flatMap((client) => [...sent]
      .filter(([, at]) => from <= at && at < to)
      .map(([seq, at]) => {
        check(client.got.has(seq), `an event of another user is missing: ${seq}`);
        return client.got.get(seq) - at;
      }));
    const before = latencies(0, revokedMs - 1);
    const after = latencies(revokedMs - EVENTS_EVERY_MS, Infinity);
    await server.kill();
    return {
      'clients': CLIENTS,
      'revoked': bad.length,
      'gone after, ms': Math.round(lastEndMs - revokedMs),
      'the others before: p50, p99, ms': `${percentile(before, 0.5).toFixed(1)}, ${percentile(before, 0.99).toFixed(1)}`,
      'the others after: p50, p99, ms': `${percentile(after, 0.5).toFixed(1)}, ${percentile(after, 0.99).toFixed(1)}`,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
});
