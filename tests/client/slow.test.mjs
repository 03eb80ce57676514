// Being too slow: what is asked for, and what a range that was thinned out does to the cursor.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from 'fanfare-client';
import { event } from './fake.mjs';
import { scene } from './scene.mjs';

const SKIPPED = { type: 'gap', from: 8, to: 30, cause: 'skipped', matched: 20 };

scene('the policy is asked for with every subscription, and left out where none is', async ({ fake, open }) => {
  const { feed } = open({ onSlow: 'latest' });
  const peer = await fake.socket();
  assert.equal((await peer.begin('aa', 7)).on_slow, 'latest');
  feed.subscribe('t:b').catch(() => {});
  assert.equal((await peer.command('subscribe')).on_slow, 'latest');
  open();
  assert.ok(!('on_slow' in (await (await fake.socket()).command('subscribe'))));
  open({ transport: 'sse', onSlow: 'close' });
  assert.equal((await fake.stream()).query.get('on_slow'), 'close');
  open({ transport: 'sse' });
  assert.equal((await fake.stream()).query.get('on_slow'), null);
});

test('a policy that there is not is refused', () => {
  assert.throws(() => connect({ url: 'http://127.0.0.1:9', onSlow: 'skip' }), TypeError);
});

scene('what is kept of a skipped range comes after its gap, once', async ({ fake, open }) => {
  const { feed, heard } = open({ onSlow: 'latest' });
  const peer = await fake.socket();
  await peer.begin('aa', 5, event(6), SKIPPED, event(12), event(30), event(30), event(31));
  const gap = await heard.next('gap');
  assert.deepEqual([gap.cursor, gap.matched, feed.cursor], ['aa-7', 20, 'aa-31']);
  assert.deepEqual(heard.log, [6, 'skipped', 12, 30, 31]);
});

scene('a connection that breaks among what is kept resumes there, and gets the rest', async ({ fake, open }) => {
  for (const [kept, since] of [
    [[], 'aa-7'],
    [[event(12)], 'aa-12'],
  ]) {
    const { heard } = open({ onSlow: 'latest' });
    const first = await fake.socket();
    await first.begin('aa', 7, SKIPPED, ...kept);
    await heard.next('gap');
    first.cut();
    const second = await fake.socket();
    assert.equal((await second.begin('aa', 7, event(13), event(30))).since, since);
    while ((await heard.next('event')).seq !== 30);
    assert.deepEqual(heard.log, ['skipped', ...kept.map(({ seq }) => seq), 13, 30]);
  }
});

scene('over a stream the id of a skipped gap is the place before it', async ({ fake, open }) => {
  const { feed, heard } = open({ transport: 'sse', onSlow: 'latest' });
  const first = (await fake.stream()).open('id: aa-5\n\n');
  first.response.write(`id: aa-7\ndata: ${JSON.stringify(SKIPPED)}\n\n`);
  assert.equal((await heard.next('gap')).cursor, 'aa-7');
  first.event('aa', event(12));
  await heard.next('event');
  first.cut();
  assert.equal((await fake.stream()).query.get('last_event_id'), 'aa-12');
  assert.equal(feed.cursor, 'aa-12');
});

scene('a client that was closed for being slow comes back where it was told', async ({ fake, open }) => {
  const { heard } = open({ onSlow: 'close' });
  const first = await fake.socket();
  await first.begin('aa', 7, event(8));
  await heard.next('event');
  first.close(1013, 'aa-9');
  assert.equal((await (await fake.socket()).command('subscribe')).since, 'aa-9');
});
