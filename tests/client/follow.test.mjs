// Following a stream of which only the newest counts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { follow } from 'fanfare-client';
import { FakeServer, Line } from './fake.mjs';

/** Waits that are over at once. */
const QUICK = { retryBaseMs: 1, retryMaxMs: 2 };
const TEST_MS_MAX = 10_000;

/** Runs `play` with a scripted server and a stream that is followed. */
function scene(name, options, play) {
  test(name, { timeout: TEST_MS_MAX }, async () => {
    const fake = await FakeServer.start();
    const following = follow({ url: new URL('stats/events', fake.url), ...QUICK, ...options });
    const lines = new Map(['message', 'status', 'error'].map((each) => [each, new Line()]));
    for (const [each, line] of lines) following.on(each, (detail) => line.put(detail));
    const next = (each) => lines.get(each).next();
    const state = async (wanted) => {
      for (;;) {
        const status = await next('status');
        if (status.state === wanted) return status;
      }
    };
    try {
      await play({ fake, following, next, state });
    } finally {
      following.close();
      await fake.stop();
    }
  });
}

scene('messages are passed on, and a stream that ended is opened again without a cursor', {}, async ({ fake, next, state }) => {
  const first = (await fake.stream()).open('retry: 1\n\ndata: {"pulse":1}\n\n');
  assert.deepEqual(await next('message'), { pulse: 1 });
  first.cut();
  assert.equal((await state('waiting')).attempt, 1);
  const second = (await fake.stream()).open('data: {"pulse":7}\n\n');
  assert.deepEqual(await next('message'), { pulse: 7 });
  assert.deepEqual([...second.query.keys()], []);
});

const reasons = [];
const token = (reason) => `t${reasons.push(reason)}`;
scene('the token goes into a header, and another is asked for when it is refused', { token }, async ({ fake, next, state }) => {
  const first = await fake.stream();
  assert.deepEqual([first.headers.authorization, [...first.query.keys()]], ['Bearer t1', []]);
  first.refuse(401, { code: 'invalid_token', detail: 'It is not good.' });
  assert.deepEqual(await next('error'), { code: 'invalid_token', message: 'It is not good.' });
  const second = await fake.stream();
  assert.equal(second.headers.authorization, 'Bearer t2');
  second.open();
  await state('open');
  second.cut();
  assert.equal((await fake.stream()).headers.authorization, 'Bearer t2');
  assert.deepEqual(reasons, ['connect', 'unauthorized']);
});

scene('a stream that falls silent is given up', { silenceMs: 500 }, async ({ fake, next, state }) => {
  (await fake.stream()).open('data: 1\n\n');
  assert.equal(await next('message'), 1);
  await state('waiting');
  (await fake.stream()).open('data: 2\n\n');
  assert.equal(await next('message'), 2);
});

scene('what is no JSON is an error, and the stream is opened again', {}, async ({ fake, next }) => {
  (await fake.stream()).open('data: <html>\n\n');
  assert.equal((await next('error')).code, 'bad_message');
  (await fake.stream()).open('data: 2\n\n');
  assert.equal(await next('message'), 2);
});

scene('once closed it tells nothing more', {}, async ({ fake, following, next, state }) => {
  const stream = (await fake.stream()).open('data: 1\n\n');
  assert.equal(await next('message'), 1);
  following.close();
  await state('closed');
  stream.cut();
  assert.equal(following.state, 'closed');
  assert.equal(fake.requests.length, 1);
});
