// Commands on the open WebSocket, replays, and what becomes of both when the connection breaks.

import assert from 'node:assert/strict';
import { event } from './fake.mjs';
import { scene } from './scene.mjs';

scene('channels are added and taken away on the open connection', async ({ fake, open }) => {
  const { feed, heard } = open();
  const peer = await fake.socket();
  await peer.begin('aa', 1);
  await heard.state('open');
  const added = feed.subscribe(['t:b', 't:c', 't:a']);
  const subscribe = await peer.command('subscribe');
  assert.deepEqual(subscribe.channels, ['t:b', 't:c'], 'what is held is not asked for again');
  peer.confirm(subscribe, 'aa', 5);
  await added;
  assert.equal(feed.cursor, 'aa-5', 'all of them are at the place where the new ones begin');
  const ended = feed.unsubscribe('t:a');
  const unsubscribe = await peer.command('unsubscribe');
  peer.say({ type: 'unsubscribed', channel: 't:a', id: unsubscribe.id });
  await ended;
  peer.cut();
  const command = await (await fake.socket()).command('subscribe');
  assert.deepEqual([command.channels, command.since], [['t:b', 't:c'], 'aa-5']);
});

scene('a refused channel is not asked for again', async ({ fake, open }) => {
  const { feed, heard } = open();
  const peer = await fake.socket();
  await peer.begin('aa', 1);
  await heard.state('open');
  const added = feed.subscribe('nonsense');
  const { id } = await peer.command('subscribe');
  peer.say({ type: 'error', code: 'bad_channel', message: 'no', id });
  await assert.rejects(added, { name: 'FeedError', code: 'bad_channel', message: 'no' });
  assert.deepEqual(feed.channels, ['t:a']);
});

scene('an addition that was not confirmed is asked for on the next connection', async ({ fake, open }) => {
  const { feed, heard } = open();
  const first = await fake.socket();
  await first.begin('aa', 1);
  await heard.state('open');
  const added = feed.subscribe('t:b');
  await first.command('subscribe');
  first.cut();
  const second = await fake.socket();
  assert.deepEqual((await second.begin('aa', 1)).channels, ['t:a']);
  const again = await second.command('subscribe');
  assert.deepEqual([again.channels, again.since], [['t:b'], undefined]);
  second.confirm(again, 'aa', 4);
  await added;
});

scene('replayed events are passed on without moving the cursor', async ({ fake, open }) => {
  const { feed, heard } = open();
  const first = await fake.socket();
  await first.begin('aa', 40, event(41));
  await heard.next('event');
  const added = feed.subscribe('t:b', { since: 'aa-10' });
  const command = await first.command('subscribe');
  assert.equal(command.since, 'aa-10');
  const replay = { type: 'replay', channels: ['t:b'], from: 11, to: 41 };
  first.say(replay, { type: 'gap', from: 11, to: 14, cause: 'evicted' }, event(15), event(22), {
    type: 'pong',
    seq: 41,
  });
  await heard.next('event');
  assert.equal((await heard.next('event')).cursor, 'aa-41');
  first.cut();

  // What came of the replay does not come again, and what was held is where it was.
  const second = await fake.socket();
  assert.equal((await second.begin('aa', 41, event(42))).since, 'aa-41');
  const again = await second.command('subscribe');
  assert.deepEqual([again.channels, again.since], [['t:b'], 'aa-22']);
  second.say(replay, event(30));
  second.confirm(again, 'aa', 42, event(43));
  await added;
  for (const seq of [42, 30, 43]) assert.equal((await heard.next('event')).seq, seq);
  assert.deepEqual([heard.log, feed.cursor], [[41, 'evicted', 15, 22, 42, 30, 43], 'aa-43']);
});

scene('the first channels of a feed begin where they are asked to', async ({ fake, open }) => {
  const { feed, heard } = open({ channels: [] });
  await heard.state('idle');
  assert.deepEqual(fake.requests, [], 'a feed without channels needs no connection');
  const added = feed.subscribe('t:a', { since: 'aa-3' });
  const peer = await fake.socket();
  const command = await peer.command('subscribe');
  assert.equal(command.since, 'aa-3');
  peer.confirm(command, 'aa', 3);
  await added;
  assert.equal(feed.cursor, 'aa-3');
  const ended = feed.unsubscribe('t:a');
  const { id } = await peer.command('unsubscribe');
  peer.say(event(4), { type: 'unsubscribed', channel: 't:a', id });
  await ended;
  assert.equal(feed.cursor, null, 'what is not held has no place');
});

scene('a publication is answered, refused, or unknown', async ({ fake, open }) => {
  const { feed, heard } = open();
  const peer = await fake.socket();
  await peer.begin('aa', 0);
  await heard.state('open');
  const outcomes = [1, 2, 3].map((data) => feed.publish({ channel: 't:a', event: 'k', data }));
  const ids = [];
  for (const data of [1, 2, 3]) {
    const command = await peer.command('publish');
    assert.deepEqual([command.channel, command.event, command.data], ['t:a', 'k', data]);
    ids.push(command.id);
  }
  peer.say(
    { type: 'error', code: 'overloaded', message: 'later', id: ids[1] },
    { type: 'published', seq: 9, id: ids[0] },
  );
  peer.cut();
  assert.deepEqual(await outcomes[0], { seq: 9 });
  await assert.rejects(outcomes[1], { code: 'overloaded' });
  await assert.rejects(outcomes[2], { code: 'unknown' });
});

scene('without a WebSocket a publication is a request', async ({ fake, open }) => {
  const { feed } = open({ transport: 'sse', token: 'secret' });
  const outcome = feed.publish({ channel: 't:a', event: 'k', data: { x: 1 } });
  const { headers, body, response } = await fake.post();
  assert.deepEqual(body, { channel: 't:a', event: 'k', data: { x: 1 } });
  assert.equal(headers.authorization, 'Bearer secret');
  response.writeHead(202).end('{"seq":7}');
  assert.deepEqual(await outcome, { seq: 7 });
  const refused = feed.publish({ channel: 't:a', event: '!' });
  (await fake.post()).response.writeHead(400).end('{"code":"bad_event","detail":"no"}');
  await assert.rejects(refused, { code: 'bad_event', message: 'no' });
  const lost = feed.publish({ channel: 't:a', event: 'k' });
  (await fake.post()).response.destroy();
  await assert.rejects(lost, { code: 'unknown' });
});

scene('a filter goes before the channels, and stays as it was where the new one is refused', async ({ fake, open }) => {
  const { feed, heard } = open({ filter: { tags: ['x'] } });
  const peer = await fake.socket();
  const set = await peer.command('filter');
  assert.deepEqual(set.filter, { tags: ['x'] });
  peer.say({ type: 'filtered', seq: 0, id: set.id });
  await peer.begin('aa', 0);
  await heard.state('open');
  const refused = feed.setFilter({ event_types: ['nonsense'] });
  peer.say({ type: 'error', code: 'bad_filter', message: 'no', id: (await peer.command('filter')).id });
  await assert.rejects(refused, { code: 'bad_filter' });
  const changed = feed.setFilter({ ids: ['7'] });
  peer.say({ type: 'filtered', seq: 0, id: (await peer.command('filter')).id });
  await changed;
  peer.cut();
  const next = await fake.socket();
  const again = await next.command('filter');
  assert.deepEqual(again.filter, { ids: ['7'] });
  // Everything instead of the filter's part would be worse than nothing.
  next.say({ type: 'error', code: 'unsupported', message: 'no', id: again.id });
  next.confirm(await next.command('subscribe'), 'aa', 0, event(1));
  assert.equal((await heard.next('error')).code, 'unsupported');
  await (await fake.socket()).command('filter');
  assert.ok(!heard.log.includes(1));
});

scene('commands in flight are bounded, and a closed feed takes none', async ({ fake, open }) => {
  const { feed, heard } = open();
  const peer = await fake.socket();
  await peer.begin('aa', 0);
  await heard.state('open');
  const waiting = Array.from({ length: 1_024 }, () => feed.ping());
  await assert.rejects(feed.ping(), { code: 'too_many_commands' });
  const added = feed.subscribe('t:b');
  await assert.rejects(added, { code: 'too_many_commands' });
  feed.close();
  for (const outcome of await Promise.allSettled(waiting)) assert.equal(outcome.reason?.code, 'unknown');
  assert.ok((await peer.closed) !== undefined);
  await assert.rejects(feed.subscribe('t:b'), { code: 'closed' });
  await assert.rejects(feed.ping(), { code: 'not_open' });
});
