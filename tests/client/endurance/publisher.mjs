// Publishes numbers, several at a time, and keeps what the server answered.

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';

export class Publisher {
  /** What was accepted: the number published, by `<generation>-<seq>`. */
  answered = new Map();
  /** Numbers without an answer: they may or may not be in the log. */
  unknown = new Set();
  /** The newest of what was accepted, as generation and seq. */
  newest = null;

  #server;
  #agent = new Agent({ keepAlive: true });
  #next = 0;
  #goal = 0;
  #waiting = [];
  #reached = () => {};

  constructor(server) {
    this.#server = server;
    for (let worker = 0; worker < WORKERS; worker += 1) {
      this.#work().catch((error) => this.failed(error));
    }
    this.failure = new Promise((_, reject) => (this.failed = reject));
    this.failure.catch(() => {});
  }

  /** Publishes until `count` events were accepted in all, and nothing is without its answer. */
  until(count) {
    this.#goal = count;
    const reached = new Promise((resolve) => (this.#reached = resolve));
    for (const go of this.#waiting.splice(0)) go();
    return Promise.race([reached, this.failure]);
  }

  stop() {
    this.#agent.destroy();
  }

  async #work() {
    for (;;) {
      while (this.#goal <= this.answered.size) {
        const going = new Promise((go) => this.#waiting.push(go));
        // What is still under way may be received before its answer is, and would then be nobody's.
        if (this.#waiting.length === WORKERS) this.#reached();
        await going;
      }
      await this.#publish(this.#next++);
    }
  }

  async #publish(number) {
    for (;;) {
      // Anew for each attempt: who is told 503 by a server that ends would try again at the next one, which may answer
      // before its generation is counted.
      await this.#server.up;
      const { generation } = this.#server;
      const { status, seq } = await this.#post({ channel: CHANNEL, event: 'tick', data: number });
      if (status === 503) {
        // It was not published; the server asks for a moment.
        await new Promise((resolve) => setTimeout(resolve, OVERLOAD_PAUSE_MS));
        continue;
      }
      if (status !== null) assert.equal(status, 202);
      // Between two generations nobody can say whose answer it was.
      if (status === null || generation !== this.#server.generation) this.unknown.add(number);
      else this.#accepted(generation, seq, number);
      return;
    }
  }

  #accepted(generation, seq, number) {
    const place = `${generation}-${seq}`;
    assert.ok(!this.answered.has(place), `${place} was given twice`);
    this.answered.set(place, number);
    const newest = this.newest;
    const isNewer = newest === null || newest.generation < generation || newest.seq < seq;
    if (isNewer) this.newest = { generation, seq };
  }

  /** The answer, with status `null` if there was none. */
  #post(message) {
    return new Promise((resolve) => {
      const options = { method: 'POST', agent: this.#agent, headers: { 'content-type': 'application/json' } };
      const post = request(`${this.#server.url}/publish`, options, (answer) => {
        let body = '';
        answer.setEncoding('utf8');
        answer.on('data', (text) => (body += text));
        answer.on('error', () => resolve({ status: null }));
        answer.on('end', () => resolve({ status: answer.statusCode, seq: JSON.parse(body).seq }));
      });
      post.on('error', () => resolve({ status: null }));
      post.end(JSON.stringify(message));
    });
  }
}

export const CHANNEL = 'test:endurance/events';
const WORKERS = 4;
const OVERLOAD_PAUSE_MS = 20;
