// What every test of the client begins with: a scripted server, a feed, and what the feed has told.

import { test } from 'node:test';
import { connect } from 'fanfare-client';
import { FakeServer, Line } from './fake.mjs';

/** Runs `play` with a scripted server, and a way to make feeds that are closed at the end. */
export function scene(name, play) {
  test(name, { timeout: TEST_MS_MAX }, async () => {
    const fake = await FakeServer.start();
    const feeds = [];
    const open = (options = {}) => {
      const feed = connect({ url: fake.url, channels: 't:a', ...QUICK, ...options });
      feeds.push(feed);
      return { feed, heard: new Heard(feed) };
    };
    try {
      await play({ fake, open });
    } finally {
      feeds.forEach((feed) => feed.close());
      await fake.stop();
    }
  });
}

/** What a feed has told, by name and in the order of telling. */
class Heard {
  /** Everything but status and cursor, shortly: the number of an event, the cause of a gap, the code of an error. */
  log = [];
  #lines = new Map();

  constructor(feed) {
    for (const name of ['event', 'gap', 'system', 'cursor', 'status', 'error']) {
      const line = new Line();
      this.#lines.set(name, line);
      feed.on(name, (detail) => {
        if (!['cursor', 'status'].includes(name))
          this.log.push(detail.seq ?? detail.cause ?? detail.code ?? detail.message);
        line.put(detail);
      });
    }
  }

  next(name) {
    return this.#lines.get(name).next();
  }

  /** The next status of this state; others before it are passed over. */
  async state(state) {
    for (;;) {
      const status = await this.next('status');
      if (status.state === state) return status;
    }
  }
}

/** Waits that are over at once. */
const QUICK = { retryBaseMs: 1, retryMaxMs: 2, transport: 'ws' };
const TEST_MS_MAX = 10_000;
