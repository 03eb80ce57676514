// The asynchronous iterator, and what happens when it is not read.

import assert from 'node:assert/strict';
import { event } from './fake.mjs';
import { scene } from './scene.mjs';

scene('items come in order, gaps among them, until the feed is closed', async ({ fake, open }) => {
  const { feed } = open();
  const items = (async () => {
    const seen = [];
    for await (const item of feed) {
      seen.push(item.seq ?? item.cause);
      if (item.seq === 9) feed.close();
    }
    return seen;
  })();
  const gap = { type: 'gap', from: 3, to: 8, cause: 'lapped' };
  await (await fake.socket()).begin('aa', 0, event(1), event(2), gap, event(9));
  assert.deepEqual(await items, [1, 2, 'lapped', 9]);
  assert.deepEqual(await feed[Symbol.asyncIterator]().next(), { done: true, value: undefined });
});

scene('a full queue stops the feed, which resumes where it stopped when there is room', async ({ fake, open }) => {
  const { feed, heard } = open({ queueMax: 4 });
  const items = feed[Symbol.asyncIterator]();
  const first = await fake.socket();
  await first.begin('aa', 0, ...[1, 2, 3, 4, 5, 6].map((seq) => event(seq)));
  await heard.state('paused');
  await first.closed;
  assert.deepEqual([feed.cursor, heard.log], ['aa-4', [1, 2, 3, 4]], 'nothing is held beyond the bound');
  assert.equal((await items.next()).value.seq, 1);
  assert.equal(feed.state, 'paused');
  assert.equal((await items.next()).value.seq, 2);
  const second = await fake.socket();
  assert.equal((await second.begin('aa', 4, event(5), event(6))).since, 'aa-4');
  for (const seq of [3, 4, 5, 6]) assert.equal((await items.next()).value.seq, seq);
});

scene('an iterator that is left holds nothing back', async ({ fake, open }) => {
  const { feed, heard } = open({ queueMax: 2 });
  const items = feed[Symbol.asyncIterator]();
  await (await fake.socket()).begin('aa', 0, event(1), event(2));
  await heard.state('paused');
  await items.return();
  const second = await fake.socket();
  await second.begin('aa', 2, event(3), event(4), event(5));
  for (let index = 0; index < 5; index += 1) await heard.next('event');
  assert.deepEqual(heard.log, [1, 2, 3, 4, 5]);
});
