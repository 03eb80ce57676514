// What the suites share: a server as a process of its own, and what the system says of it.

import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

export const PATIENCE_MS = 60_000;

/** Ticks of the processor's clock in a second. */
const TICKS = 100;

/** Fails the suite. */
export function check(condition, message) {
  if (!condition) throw new Error(message);
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A running server, on free ports. */
export class Server {
  /** Starts `FANFARE_BIN` with these flags. */
  static async start(...flags) {
    const program = process.env.FANFARE_BIN;
    check(program, 'FANFARE_BIN names the server');
    const addresses = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
    // The suites call it by many names.
    const env = { ...process.env, FANFARE_ALLOW_HOST: 'any' };
    const child = spawn(program, ['serve', ...addresses, ...flags], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    const server = new Server();
    server.child = child;
    server.pid = child.pid;
    server.exited = new Promise((resolve) => child.on('exit', resolve));
    await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code) => reject(new Error(`the server has ended with ${code}`)));
      createInterface(child.stderr).on('line', (line) => {
        server.port ??= port(line, 'listening on http://');
        server.admin ??= port(line, 'admin on http://');
        if (server.admin) resolve();
      });
    });
    return server;
  }

  /** Ends it now. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** Seconds of processor time it has taken. */
  cpuSeconds() {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  }

  /** Resident memory in MiB. */
  residentMib() {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))[1]) / 1024;
  }

  descriptors() {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** The counters. */
  async stats() {
    return JSON.parse((await ask(this.admin, 'GET /stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).text.split('\r\n\r\n')[1]);
  }

  async waitUntil(what, condition) {
    const begin = Date.now();
    while (!condition(await this.stats())) {
      check(Date.now() - begin < PATIENCE_MS, `waited in vain: ${what}`);
      await sleep(20);
    }
  }
}

function port(line, prefix) {
  const [, rest] = line.split(prefix);
  return rest === undefined ? undefined : Number(/:(\d+)/.exec(rest)[1]);
}

/** Sends `request` over a connection of its own and resolves when that has ended: how, and what had come. */
export function ask(to, request, { from } = {}) {
  return new Promise((resolve) => {
    const socket = connect({ port: to, host: '127.0.0.1', localAddress: from });
    const begin = Date.now();
    let text = '';
    let end = 'hung';
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.on('connect', () => socket.write(request));
    socket.on('data', (data) => {
      text += data.toString('latin1');
    });
    socket.on('end', () => {
      end = 'ended';
    });
    socket.on('error', (error) => {
      end = error.code;
    });
    socket.on('close', () => resolve({ text, end, ms: Date.now() - begin }));
  });
}

/** Runs a suite: prints what it returns as its figures, or fails. */
export async function run(suite) {
  try {
    const figures = await suite();
    for (const [name, value] of Object.entries(figures)) console.log(`${name}: ${value}`);
    process.exit(0);
  } catch (error) {
    console.error(`FAILED: ${error.stack}`);
    process.exit(1);
  }
}
