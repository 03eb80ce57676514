// The server of a check, as a process of its own; one at a time.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const STOP_MS_MAX = 15_000;
const SAID_LINES_MAX = 100;

let server = null;
let admin = null;

/** Where operators may connect. */
export function adminAddress() {
  return admin;
}

/** Starts `FANFARE_BIN` at `listen` with these flags; resolves with its address. */
export function startServer(listen, ...flags) {
  const binary = process.env.FANFARE_BIN;
  assert.ok(binary, 'FANFARE_BIN names no server binary');
  const anywhere = flags.includes('--admin-listen') ? [] : ['--admin-listen', '127.0.0.1:0'];
  const addresses = ['--listen', listen, ...anywhere];
  server = spawn(binary, ['serve', ...addresses, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  return new Promise((resolve, reject) => {
    const said = [];
    let address = null;
    admin = null;
    server.on('error', reject);
    server.on('exit', (code) => reject(new Error(`the server ended with ${code}:\n${said.join('\n')}`)));
    createInterface({ input: server.stderr }).on('line', (line) => {
      if (said.length < SAID_LINES_MAX) said.push(line);
      const operators = /admin on (https?:\/\/127\.0\.0\.1:\d+)/.exec(line);
      if (operators !== null) admin = operators[1];
      const found = /(?<!admin )listening on (https?:\/\/127\.0\.0\.1:\d+)/.exec(line);
      address = found?.[1] ?? address;
      if (address !== null && admin !== null) resolve(address);
    });
  });
}

/** Stops it, by force if it takes too long. */
export function stopServer() {
  const stopped = server;
  if (stopped.exitCode !== null || stopped.signalCode !== null) return;
  return new Promise((resolve) => {
    const patience = setTimeout(() => stopped.kill('SIGKILL'), STOP_MS_MAX);
    stopped.on('exit', () => {
      clearTimeout(patience);
      resolve();
    });
    stopped.kill('SIGTERM');
  });
}

/** Ends the check. */
export function fail(error) {
  console.error(error);
  server?.kill('SIGKILL');
  process.exit(1);
}
