// The real server on one port: killed without notice or told to end, and started again as another log.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export class Server {
  /** The epoch of each start, in order. */
  epochs = [];
  port = 0;
  #process = null;
  #up = Promise.resolve();
  #flags;

  /** One that will be started with these flags, besides those for its addresses. */
  constructor(flags = []) {
    this.#flags = flags;
  }

  /** Resolves when it listens. */
  get up() {
    return this.#up;
  }

  get generation() {
    return this.epochs.length;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  start() {
    this.#up = this.#start();
    return this.#up;
  }

  /** Ends it by `signal` and starts it again; resolves to the exit code that it ended with, if it had one. */
  async restart(signal = 'SIGKILL') {
    // Whoever looks from here on waits for the next start.
    let ready;
    this.#up = new Promise((resolve) => (ready = resolve));
    const gone = once(this.#process, 'exit');
    this.#process.kill(signal);
    const [code] = await gone;
    await this.#start();
    ready();
    return code;
  }

  async stop() {
    if (this.#process === null || this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await gone;
  }

  /** The port may be taken for a moment, by what is left of connections or by a client's own end of one. */
  async #start() {
    for (let tries = 1; ; tries += 1) {
      const said = await this.#spawn();
      if (said.admin !== undefined) {
        this.port = Number(new URL(said.public).port);
        const stats = await (await fetch(`${said.admin}/stats`)).json();
        this.epochs.push(stats.epoch);
        return;
      }
      assert.ok(tries < START_TRIES_MAX, `the server does not start:\n${said.lines.join('\n')}`);
      await new Promise((resolve) => setTimeout(resolve, START_PAUSE_MS));
    }
  }

  #spawn() {
    const binary = process.env.FANFARE_BIN;
    assert.ok(binary, 'FANFARE_BIN names no server binary');
    const flags = ['serve', '--listen', `127.0.0.1:${this.port}`, '--admin-listen', '127.0.0.1:0'];
    const child = spawn(binary, [...flags, ...this.#flags], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    return new Promise((resolve, reject) => {
      const said = { lines: [] };
      child.on('error', reject);
      child.on('exit', () => resolve({ lines: said.lines }));
      createInterface({ input: child.stderr }).on('line', (line) => {
        if (said.lines.length < SAID_LINES_MAX) said.lines.push(line);
        const [, door, address] = /\b(listening|admin) on (http:\/\/127\.0\.0\.1:\d+)/.exec(line) ?? [];
        if (door === 'listening') said.public = address;
        if (door === 'admin') resolve({ ...said, admin: address });
      });
    });
  }
}

const START_TRIES_MAX = 50;
const START_PAUSE_MS = 100;
const SAID_LINES_MAX = 100;
