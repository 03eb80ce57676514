// Sends every shape of request to this server and to others, and fails if it takes one that another refuses as malformed.
//
//   FANFARE_BIN=… node tests/suites/differential/main.mjs node [nginx] [haproxy]
//
// FANFARE_SHOW=1 prints the answers to every payload.

import { connect } from 'node:net';

import { payloads } from './payloads.mjs';
import { fanfare, references } from './servers.mjs';

/** After this long without a byte the server is taken to wait for more. */
const QUIET_MS = 400;

/** The same before the first byte: a server may think first. */
const FIRST_MS = 4000;

const AT_ONCE = 24;

/**
 * What we take although another refuses it, by the payload's name, and why the standard lets us.
 */
const EXCEPTIONS = new Map([
  // Here node answers 400 to what follows, before it has answered the first request, which is good (RFC 9112, 9.3.2).
  ['row: behind the wish to close', 'what follows the wish to close is not a request (RFC 9112, 9.6): we do not read it'],
  ['row: a body that is half a request', 'the body has the length that was said (RFC 9112, 6.3); we refuse what follows'],
  // nginx knows no `*`.
  ['line: asterisk for options', 'a server answers OPTIONS for itself as a whole (RFC 9110, 9.3.7)'],
]);

/** The status codes that `server` answers `bytes` with, interim ones left out. */
function ask(server, bytes) {
  return new Promise((resolve) => {
    const socket = connect(server.port, '127.0.0.1');
    let text = '';
    let timer = setTimeout(done, FIRST_MS);
    function done() {
      clearTimeout(timer);
      socket.destroy();
      resolve(statuses(text));
    }
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (data) => {
      text += data.toString('latin1');
      clearTimeout(timer);
      timer = setTimeout(done, QUIET_MS);
    });
    // A reset ends it, too.
    socket.on('error', done);
    socket.on('close', done);
  });
}

function statuses(text) {
  return [...text.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map((match) => Number(match[1])).filter((status) => 200 <= status);
}

function isTaken(status) {
  return 200 <= status && status < 300;
}

/** Why this is no answer to give, if it is none. */
function fault(payload, ours, theirs) {
  if (payload.good && (ours.length === 0 || !ours.every(isTaken))) return 'a good request is refused';
  for (const [name, answers] of theirs) {
    const at = answers.findIndex((status, index) => status === 400 && ours[index] !== undefined && isTaken(ours[index]));
    if (at !== -1 && !EXCEPTIONS.has(payload.name)) return `${name} refuses number ${at + 1}`;
  }
  return undefined;
}

async function main() {
  const names = process.argv.slice(2);
  const unknown = names.filter((name) => !(name in references));
  if (unknown.length !== 0 || names.length === 0 || !process.env.FANFARE_BIN) {
    throw new Error('usage: FANFARE_BIN=... main.mjs node [nginx] [haproxy]');
  }
  const distinct = new Set(payloads.map((payload) => payload.name));
  if (distinct.size !== payloads.length || payloads.length < 120) throw new Error('the list of payloads is wrong');
  const stale = [...EXCEPTIONS.keys()].filter((name) => !distinct.has(name));
  if (stale.length !== 0) throw new Error(`no payloads: ${stale}`);

  const servers = [await fanfare(process.env.FANFARE_BIN)];
  for (const name of names) servers.push(await references[name]());
  const faults = [];
  const refusals = new Map(names.map((name) => [name, 0]));
  try {
    const left = [...payloads];
    const work = async () => {
      for (let payload = left.shift(); payload !== undefined; payload = left.shift()) {
        const [ours, ...others] = await Promise.all(servers.map((server) => ask(server, payload.bytes)));
        const theirs = names.map((name, index) => [name, others[index]]);
        for (const [name, answers] of theirs) if (answers.includes(400)) refusals.set(name, refusals.get(name) + 1);
        const why = fault(payload, ours, theirs);
        const shown = [['fanfare', ours], ...theirs].map(([name, answers]) => `${name} ${answers.join(',') || '-'}`).join('; ');
        if (why !== undefined) faults.push(`${payload.name}: ${why} (${shown})`);
        if (process.env.FANFARE_SHOW) console.log(`${payload.name}: ${shown}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    // A server that refused everything, or nothing, would prove nothing.
    for (const [name, count] of refusals) {
      if (count < 20 || payloads.length - 20 < count) faults.push(`${name} has refused ${count} of ${payloads.length}`);
    }
  } finally {
    for (const server of servers) await server.stop();
  }
  const counts = [...refusals].map(([name, count]) => `${name} refused ${count}`).join(', ');
  console.log(`${payloads.length} payloads, ${faults.length} faults (${counts})`);
  for (const line of faults) console.log(`FAULT ${line}`);
  if (faults.length !== 0) process.exitCode = 1;
}

await main();
