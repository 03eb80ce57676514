// Server-sent events without an EventSource.

import assert from 'node:assert/strict';
import { event } from './fake.mjs';
import { scene } from './scene.mjs';

const SSE = { transport: 'sse' };

scene('ids alone move the cursor, and a new stream resumes from it', async ({ fake, open }) => {
  const { feed, heard } = open({ ...SSE, channels: ['t:a', 't:b'], filter: { tags: ['x', 'y'], ids: [] } });
  const first = await fake.stream();
  assert.deepEqual(first.query.getAll('channel'), ['t:a', 't:b']);
  assert.deepEqual([first.query.getAll('tags'), first.query.getAll('ids')], [['x', 'y'], ['']]);
  assert.equal(first.query.get('last_event_id'), null);
  first.open('id: aa-4\n\n');
  assert.deepEqual(await heard.next('cursor'), { cursor: 'aa-4' });
  first.event('aa', event(6));
  await heard.next('event');
  first.response.write('id: aa-9\n\n');
  for (;;) if ((await heard.next('cursor')).cursor === 'aa-9') break;
  first.cut();
  const second = await fake.stream();
  assert.equal(second.query.get('last_event_id'), 'aa-9');
  second.open();
  second.event('aa', event(9));
  second.event('aa', { type: 'gap', from: 10, to: 12, cause: 'lapped' });
  second.event('bb', { type: 'gap', from: null, to: null, cause: 'epoch', seq: 0, old: 'aa-12' });
  second.event('bb', event(1));
  await heard.next('event');
  assert.equal((await heard.next('gap')).cursor, 'aa-12');
  assert.equal((await heard.next('gap')).cursor, 'bb-0');
  assert.equal(feed.cursor, 'bb-1');
  assert.deepEqual(heard.log, [6, 'lapped', 0, 1]);
});

scene('blocks arrive whole however the bytes are cut and the lines end', async ({ fake, open }) => {
  const { heard } = open(SSE);
  const stream = (await fake.stream()).open();
  const json = JSON.stringify(event(1, { data: 'ä€😀' }));
  const halves = [json.slice(0, 7), json.slice(7)];
  const blocks = [
    `: a comment\r\n\r\nid: aa-1\r\nevent: message\r\ndata: ${json}\r\n\r\n`,
    `id:aa-2\rdata:${JSON.stringify(event(2))}\rnonsense\r\r`,
    `id: aa-3\ndata: ${JSON.stringify(event(3)).replace(',', ',\ndata: ')}\n\n`,
  ];
  assert.equal(halves.join(''), json);
  for (const byte of Buffer.from(blocks.join(''))) {
    stream.response.write(Buffer.from([byte]));
    // Each byte in a piece of its own, as far as the kernel lets it.
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await heard.next('event')).data, 'ä€😀');
  await heard.next('event');
  await heard.next('event');
  assert.deepEqual(heard.log, [1, 2, 3]);
});

scene('half a block is not passed on', async ({ fake, open }) => {
  const { heard } = open({ ...SSE, since: 'aa-1' });
  const first = (await fake.stream()).open();
  first.event('aa', event(2));
  await heard.next('event');
  first.response.write(`id: aa-3\ndata: ${JSON.stringify(event(3))}\n`);
  first.response.end();
  const second = await fake.stream();
  assert.equal(second.query.get('last_event_id'), 'aa-2');
  second.open();
  second.event('aa', event(3));
  await heard.next('event');
  assert.deepEqual(heard.log, [2, 3]);
});

scene('a change of channels is one new stream from the same cursor', async ({ fake, open }) => {
  const { feed, heard } = open(SSE);
  const first = (await fake.stream()).open('id: aa-4\n\n');
  await heard.next('cursor');
  const changes = [feed.subscribe('t:b'), feed.subscribe(['t:c']), feed.unsubscribe('t:a')];
  const second = await fake.stream();
  await first.ended;
  assert.deepEqual(second.query.getAll('channel'), ['t:b', 't:c']);
  second.open('id: aa-4\n\n');
  await Promise.all(changes);
  await heard.state('open');
  await feed.unsubscribe(feed.channels);
  await second.ended;
  await heard.state('idle');
});

scene('a past of its own needs a WebSocket', async ({ fake, open }) => {
  const { feed, heard } = open(SSE);
  (await fake.stream()).open('id: aa-4\n\n');
  await heard.state('open');
  await assert.rejects(feed.subscribe('t:b', { since: 'aa-1' }), { code: 'unsupported' });
  assert.deepEqual(feed.channels, ['t:a']);
});

scene('what is refused is told, and tried again', async ({ fake, open }) => {
  const { heard } = open(SSE);
  (await fake.stream()).refuse(400, { code: 'bad_channel', detail: 'no' });
  assert.deepEqual(await heard.next('error'), { code: 'bad_channel', message: 'no' });
  (await fake.stream()).refuse(502, 'not a problem document');
  assert.equal((await heard.next('error')).code, 'http_502');
  (await fake.stream()).open();
  await heard.state('open');
});

scene('without any WebSocket a feed is a stream', async ({ fake, open }) => {
  const { WebSocket } = globalThis;
  delete globalThis.WebSocket;
  try {
    assert.throws(() => open({ transport: 'ws' }), TypeError);
    const { heard } = open({ transport: 'auto' });
    (await fake.stream()).open();
    assert.equal((await heard.state('open')).transport, 'sse');
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});
