// Streams through an EventSource, which a test plays here; the endurance check has a browser's own.

import assert from 'node:assert/strict';
import { event, Line } from './fake.mjs';
import { scene } from './scene.mjs';

/** What the feed may use of an EventSource, and what the test does with it. */
class PlayedSource extends EventTarget {
  static CONNECTING = 0;
  static made = new Line();
  readyState = PlayedSource.CONNECTING;
  isClosed = false;

  constructor(address) {
    super();
    this.query = new URL(address).searchParams;
    PlayedSource.made.put(this);
  }

  close() {
    this.isClosed = true;
  }

  opens() {
    this.readyState = 1;
    this.onopen();
  }

  says(lastEventId, message) {
    this.dispatchEvent(Object.assign(new Event('message'), { lastEventId, data: JSON.stringify(message) }));
  }

  /** With `CONNECTING` the browser would try again by itself; with 2 it has given up. */
  fails(readyState = PlayedSource.CONNECTING) {
    this.readyState = readyState;
    this.onerror();
  }
}

function sourceScene(name, play) {
  scene(name, async (stage) => {
    globalThis.EventSource = PlayedSource;
    PlayedSource.made = new Line();
    try {
      await play(stage, (options) => stage.open({ transport: 'sse', ...options }));
    } finally {
      delete globalThis.EventSource;
    }
  });
}

sourceScene('where a new feed begins is asked before the source is opened', async ({ fake }, open) => {
  const { heard } = open({ token: 'secret' });
  const asked = await fake.stream();
  assert.equal(asked.query.get('last_event_id'), null);
  asked.open('id: aa-4\n\n');
  await asked.ended;
  const source = await PlayedSource.made.next();
  assert.equal(source.query.get('last_event_id'), 'aa-4');
  assert.equal(source.query.get('access_token'), 'secret');
  source.opens();
  await heard.state('open');
  source.says('aa-6', event(6));
  assert.equal((await heard.next('event')).cursor, 'aa-6');
});

sourceScene('a gap at the beginning is left to the source', async ({ fake }, open) => {
  open({ since: '7' });
  const gap = { type: 'gap', from: 8, to: 9, cause: 'evicted' };
  (await fake.stream()).open().event('aa', gap);
  assert.equal((await PlayedSource.made.next()).query.get('last_event_id'), '7');
});

sourceScene('a broken source may try once by itself', async (_, open) => {
  const { heard } = open({ since: 'aa-1', retryMaxMs: 600_000 });
  const first = await PlayedSource.made.next();
  first.opens();
  await heard.state('open');
  for (let index = 0; index < 2; index += 1) {
    first.fails();
    await heard.state('connecting');
    assert.ok(!first.isClosed);
    first.opens();
    await heard.state('open');
  }
  first.says('aa-3', event(3));
  first.fails();
  first.fails();
  assert.ok(first.isClosed);
  assert.equal((await heard.state('waiting')).attempt, 1);
  assert.equal((await PlayedSource.made.next()).query.get('last_event_id'), 'aa-3');
});

sourceScene('its own try takes no longer than our longest wait', async (_, open) => {
  const { heard } = open({ since: 'aa-1', retryMaxMs: 20 });
  const first = await PlayedSource.made.next();
  first.opens();
  await heard.state('open');
  first.fails();
  await heard.state('waiting');
  assert.ok(first.isClosed);
  await PlayedSource.made.next();
});

sourceScene('a quiet source is renewed, which is no failure', async (_, open) => {
  const { heard } = open({ since: 'aa-1', silenceMs: 60 });
  const first = await PlayedSource.made.next();
  first.opens();
  await heard.state('open');
  const second = await PlayedSource.made.next();
  assert.ok(first.isClosed);
  assert.equal(second.query.get('last_event_id'), 'aa-1');
  const { attempt } = await heard.state('connecting');
  assert.equal(attempt, 0);
});

sourceScene('why a source does not open is asked by a request', async ({ fake }, open) => {
  const reasons = [];
  const { heard } = open({ since: 'aa-1', token: (reason) => `t${reasons.push(reason)}` });
  (await PlayedSource.made.next()).fails(2);
  const asked = await fake.stream();
  assert.equal(asked.query.get('access_token'), 't1');
  asked.refuse(401, { code: 'unauthorized', detail: 'expired' });
  assert.deepEqual(await heard.next('error'), { code: 'unauthorized', message: 'expired' });
  assert.equal((await PlayedSource.made.next()).query.get('access_token'), 't2');
  assert.deepEqual(reasons, ['connect', 'unauthorized']);
});
