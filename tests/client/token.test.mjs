// The access token: where it goes, and when a new one is asked for.

import assert from 'node:assert/strict';
import { scene } from './scene.mjs';

/** A token function that says why it was asked. */
function source() {
  const reasons = [];
  const token = (reason) => `t${reasons.push(reason)}`;
  return { reasons, token };
}

scene('a token is kept until the server refuses it', async ({ fake, open }) => {
  const { reasons, token } = source();
  const { heard } = open({ token });
  const first = await fake.socket();
  assert.equal(first.query.get('access_token'), 't1');
  await first.begin('aa', 0);
  await heard.state('open');
  first.cut();
  const second = await fake.socket();
  assert.equal(second.query.get('access_token'), 't1');
  await second.begin('aa', 0);
  await heard.state('open');
  second.close(4401, 'expired');
  assert.equal((await fake.socket()).query.get('access_token'), 't2');
  assert.deepEqual(await heard.next('error'), { code: 'unauthorized', message: 'expired' });
  assert.deepEqual(reasons, ['connect', 'unauthorized']);
});

scene('a handshake that fails by status 401 asks for a new token', async ({ fake, open }) => {
  const { reasons, token } = source();
  fake.socketRefusal = [401, {}];
  const { heard } = open({ token: async (reason) => token(reason) });
  const stream = await fake.stream();
  assert.equal(stream.headers.authorization, 'Bearer t1');
  fake.socketRefusal = null;
  stream.refuse(401, { code: 'bad_token', detail: 'It is not known.' });
  assert.equal((await fake.socket()).query.get('access_token'), 't2');
  assert.deepEqual(await heard.next('error'), { code: 'bad_token', message: 'It is not known.' });
  assert.deepEqual(reasons, ['connect', 'unauthorized']);
});

scene('a stream takes its token in the header', async ({ fake, open }) => {
  const { reasons, token } = source();
  open({ token, transport: 'sse' });
  const first = await fake.stream();
  assert.equal(first.headers.authorization, 'Bearer t1');
  assert.equal(first.query.get('access_token'), null);
  first.refuse(401, { code: 'unauthorized' });
  assert.equal((await fake.stream()).headers.authorization, 'Bearer t2');
  assert.deepEqual(reasons, ['connect', 'unauthorized']);
});

scene('a token is refreshed on the open connection', async ({ fake, open }) => {
  const { reasons, token } = source();
  const { feed, heard } = open({ token });
  const peer = await fake.socket();
  await peer.begin('aa', 0);
  await heard.state('open');
  const answers = [
    [(id) => ({ type: 'authenticated', id }), null],
    [(id) => ({ type: 'error', code: 'bad_message', message: 'unknown type', id }), null],
    [(id) => ({ type: 'error', code: 'unauthorized', message: 'no', id }), 'unauthorized'],
  ];
  for (const [answer, code] of answers) {
    const refreshed = feed.refreshToken();
    const command = await peer.command('auth');
    assert.equal(command.token, `t${reasons.length}`);
    peer.say(answer(command.id));
    if (code === null) await refreshed;
    else await assert.rejects(refreshed, { code });
  }
  assert.deepEqual(reasons, ['connect', 'refresh', 'refresh', 'refresh']);
});

scene('a channel that is no longer granted is told and not asked for again', async ({ fake, open }) => {
  const { feed, heard } = open({ channels: ['t:a', 't:b/**'] });
  const peer = await fake.socket();
  await peer.begin('aa', 0);
  await heard.state('open');
  peer.say({ type: 'unsubscribed', channel: 't:b/*', reason: 'forbidden' });
  assert.deepEqual(await heard.next('error'), { code: 'forbidden', message: 't:b/* is no longer granted.' });
  assert.deepEqual(feed.channels, ['t:a']);
});

scene('a token that cannot be had is a failure like any other', async ({ fake, open }) => {
  let asked = 0;
  const token = () => {
    asked += 1;
    if (asked === 1) throw new Error('signed out');
    return null;
  };
  const { heard } = open({ token });
  assert.deepEqual(await heard.next('error'), { code: 'cannot_connect', message: 'signed out' });
  const peer = await fake.socket();
  assert.equal(peer.query.get('access_token'), null);
  assert.equal(asked, 2);
});
