// How often and by which transport it is tried again.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from 'fanfare-client';
import { FakeServer, event } from './fake.mjs';
import { scene } from './scene.mjs';

scene('the wait is all chance, doubles to its bound, and begins anew after a stable time', async ({ fake, open }) => {
  const { random } = Math;
  Math.random = () => 0.75;
  try {
    const { heard } = open({ retryBaseMs: 4, retryMaxMs: 20, stableMs: 0 });
    fake.socketRefusal = [503, {}];
    fake.streamAnswer = (stream) => stream.refuse(503, { code: 'connections_full', detail: 'full' });
    const delays = [];
    for (let index = 0; index < 5; index += 1) delays.push((await heard.state('waiting')).delayMs);
    assert.deepEqual(delays, [3, 6, 12, 15, 15]);
    assert.equal((await heard.next('error')).code, 'connections_full');
    fake.socketRefusal = null;
    const peer = await fake.socket();
    await peer.begin('aa', 0);
    await heard.state('open');
    // The timer that forgets the failures is due before any that is set after it.
    await new Promise((resolve) => setTimeout(resolve, 1));
    peer.cut();
    assert.equal((await heard.state('waiting')).delayMs, 3);
  } finally {
    Math.random = random;
  }
});

scene('a server that asks for patience gets it, up to the bound', async ({ fake, open }) => {
  const { heard } = open({ transport: 'sse', retryBaseMs: 1, retryMaxMs: 25 });
  (await fake.stream()).refuse(503, { code: 'draining' }, { 'retry-after': '1' });
  assert.equal((await heard.state('waiting')).delayMs, 25);
  const stream = await fake.stream();
  stream.open('id: aa-1\n\n').response.end('retry: 10\n\n');
  const { delayMs } = await heard.state('waiting');
  assert.ok(10 <= delayMs && delayMs <= 14, `${delayMs}`);
});

scene(
  'two WebSockets that fail where a request succeeds make it a stream, and now and then it looks back',
  async (stage) => {
    const { fake, open } = stage;
    fake.socketRefusal = [400, {}];
    let held = null;
    fake.streamAnswer = (stream) => (held = stream.open('id: aa-1\n\n'));
    const { heard } = open({ transport: 'auto' });
    assert.equal((await heard.next('error')).code, 'no_websocket');
    assert.equal((await heard.state('open')).transport, 'sse');
    const sockets = () => fake.requests.filter((request) => request.startsWith('GET /ws')).length;
    assert.equal(sockets(), 2);

    fake.socketRefusal = null;
    fake.streamAnswer = (stream) => stream.open('id: aa-1\n\n').response.end();
    held.cut();
    const peer = await fake.socket();
    assert.equal((await peer.begin('aa', 1)).since, 'aa-1', 'one cursor for both transports');
    for (;;) if ((await heard.state('open')).transport === 'ws') break;
  },
);

test('a server that cannot be reached is no reason to leave the WebSocket', { timeout: 10_000 }, async () => {
  const gone = await FakeServer.start();
  const { url } = gone;
  await gone.stop();
  const feed = connect({ url, channels: 't:a', retryBaseMs: 1, retryMaxMs: 2 });
  const tried = [];
  await new Promise((resolve) =>
    feed.on('status', ({ state, transport }) => {
      if (state === 'connecting') tried.push(transport);
      if (tried.length === 6) resolve();
    }),
  );
  const fake = await FakeServer.start(new URL(url).port);
  try {
    await (await fake.socket()).begin('aa', 0);
    assert.deepEqual([...new Set(tried)], ['ws']);
  } finally {
    feed.close();
    await fake.stop();
  }
});

scene('silence is asked about, and then the connection is given up', async ({ fake, open }) => {
  const { heard } = open({ silenceMs: 450 });
  const first = await fake.socket();
  await first.begin('aa', 5);
  await first.command('ping');
  const second = await fake.socket();
  assert.equal((await second.begin('aa', 5)).since, 'aa-5');
  await second.command('ping');
  second.say({ type: 'pong', seq: 6 }, event(7));
  await heard.next('event');
  await second.command('ping');
});

scene('the network coming back ends the wait', async ({ fake }) => {
  const target = new EventTarget();
  Object.assign(globalThis, {
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
  });
  fake.socketRefusal = [503, {}];
  fake.streamAnswer = (stream) => stream.refuse(503, {});
  const feed = connect({
    url: fake.url,
    channels: 't:a',
    transport: 'ws',
    retryBaseMs: 3_600_000,
    retryMaxMs: 3_600_000,
  });
  try {
    await new Promise((resolve) => feed.on('status', ({ state }) => state === 'waiting' && resolve()));
    fake.socketRefusal = null;
    target.dispatchEvent(new Event('online'));
    await (await fake.socket()).begin('aa', 0);
  } finally {
    feed.close();
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

scene('closing ends everything, by call and by signal', async ({ fake, open }) => {
  const abort = new AbortController();
  const { feed, heard } = open({ signal: abort.signal });
  const peer = await fake.socket();
  await peer.begin('aa', 0);
  await heard.state('open');
  abort.abort();
  assert.equal(feed.state, 'closed');
  await peer.closed;
  const { feed: never } = open({ signal: abort.signal });
  await Promise.resolve();
  assert.equal(never.state, 'closed');
  const asked = fake.requests.length;
  feed.close();
  assert.equal(fake.requests.length, asked);
});

test('options that cannot be are refused at once', () => {
  const check = (options) =>
    assert.throws(() => connect({ url: 'http://127.0.0.1', channels: 't:a', ...options }), TypeError);
  check({ transport: 'pigeon' });
  check({ retryBaseMs: 0 });
  check({ retryMaxMs: Infinity });
  check({ silenceMs: '75000' });
  check({ queueMax: 0 });
  check({ url: undefined });
});
