// The cursor: what moves it, what does not, and what a new connection asks for.

import assert from 'node:assert/strict';
import { event } from './fake.mjs';
import { scene } from './scene.mjs';

scene(
  'a new connection resumes after the last event, and what comes twice is passed on once',
  async ({ fake, open }) => {
    const { feed, heard } = open();
    const first = await fake.socket();
    assert.equal((await first.begin('aa', 7)).since, undefined);
    first.say(event(8), event(9));
    await heard.next('event');
    assert.equal((await heard.next('event')).cursor, 'aa-9');
    first.cut();
    const second = await fake.socket();
    assert.equal((await second.begin('aa', 9, event(9), event(10))).since, 'aa-9');
    await heard.next('event');
    assert.deepEqual(heard.log, [8, 9, 10]);
    assert.equal(feed.cursor, 'aa-10');
  },
);

scene('where nothing came the place of the subscription is resumed', async ({ fake, open }) => {
  const { heard } = open({ since: 'earliest' });
  const first = await fake.socket();
  assert.equal((await first.begin('aa', 3)).since, 'earliest');
  await heard.state('open');
  first.cut();
  assert.equal((await (await fake.socket()).command('subscribe')).since, 'aa-3');
});

scene('a connection that breaks before the gap leaves the cursor before the gap', async ({ fake, open }) => {
  const { feed, heard } = open({ since: 'aa-5' });
  const first = await fake.socket();
  await first.begin('aa', 20);
  await heard.state('open');
  first.cut();
  const second = await fake.socket();
  const gap = { type: 'gap', from: 6, to: 20, cause: 'evicted' };
  assert.equal((await second.begin('aa', 20, gap, event(21))).since, 'aa-5');
  await heard.next('event');
  assert.deepEqual(heard.log, ['evicted', 21]);
  assert.equal((await heard.next('gap')).cursor, 'aa-20');
  assert.equal(feed.cursor, 'aa-21');
});

scene('another log begins at its gap, and its low numbers are new', async ({ fake, open }) => {
  const { feed, heard } = open({ since: 'aa-50' });
  const first = await fake.socket();
  await first.begin('bb', 0);
  await heard.state('open');
  assert.equal(feed.cursor, 'aa-50', 'nothing was told of the other log yet');
  first.cut();
  const second = await fake.socket();
  const gap = { type: 'gap', from: null, to: null, cause: 'epoch', old: 'aa-50' };
  assert.equal((await second.begin('bb', 0, gap)).since, 'aa-50');
  assert.equal((await heard.next('gap')).cursor, 'bb-0');
  second.say(event(1), event(2));
  await heard.next('event');
  await heard.next('event');
  assert.deepEqual([heard.log, feed.cursor], [['epoch', 1, 2], 'bb-2']);
});

scene('a cursor past the head of its own log goes back behind the gap', async ({ fake, open }) => {
  const { feed, heard } = open({ since: 'aa-50' });
  const gap = { type: 'gap', from: null, to: null, cause: 'epoch', old: 'aa-50' };
  await (await fake.socket()).begin('aa', 4, gap, event(5));
  await heard.next('event');
  assert.deepEqual([heard.log, feed.cursor], [['epoch', 5], 'aa-5']);
});

scene('quiet cursors, pongs and announcements move the cursor, and never back', async ({ fake, open }) => {
  const { feed, heard } = open();
  const peer = await fake.socket();
  await peer.begin('aa', 7, { type: 'cursor', seq: 12 }, { type: 'pong', seq: 15 }, { type: 'cursor', seq: 14 });
  peer.say({ type: 'system', seq: 16, message: 'soon' }, { type: 'system', message: 'now' });
  await heard.next('system');
  assert.equal((await heard.next('system')).cursor, 'aa-16');
  assert.deepEqual([heard.log, feed.cursor], [[16, 'now'], 'aa-16']);
  const told = [];
  for (let index = 0; index < 4; index += 1) told.push((await heard.next('cursor')).cursor);
  assert.deepEqual(told, ['aa-7', 'aa-12', 'aa-15', 'aa-16']);
});

scene('a server that goes away says where to go on', async ({ fake, open }) => {
  open();
  const first = await fake.socket();
  await first.begin('aa', 7);
  first.close(1001, 'aa-30');
  const second = await fake.socket();
  assert.equal((await second.command('subscribe')).since, 'aa-30');
  // It had not confirmed this one, so the place is not that of our channels.
  second.close(1001, 'aa-90');
  fake.streamAnswer = (stream) => stream.refuse(503, { code: 'draining' });
  assert.equal((await (await fake.socket()).command('subscribe')).since, 'aa-30');
});

scene('events of a kind are told under its name, except where the name is our own', async ({ fake, open }) => {
  const { feed, heard } = open();
  const seen = [];
  const end = feed.on('pr_opened', ({ seq }) => seen.push(seq));
  feed.on('status', ({ seq }) => seq && seen.push(seq));
  const peer = await fake.socket();
  await peer.begin('aa', 0, event(1, { event: 'pr_opened' }), event(2, { event: 'status' }), event(3));
  for (let index = 0; index < 3; index += 1) await heard.next('event');
  end();
  peer.say(event(4, { event: 'pr_opened' }));
  await heard.next('event');
  assert.deepEqual(seen, [1]);
});
