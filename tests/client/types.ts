// What a program in TypeScript may write, and what it may not. This file is checked, never run.

import { connect, FeedError, follow, type Feed, type FeedItem, type Gap, type State } from 'fanfare-client';

interface Build {
  branch: string;
}

const feed: Feed = connect({
  url: new URL('https://events.example'),
  channels: new Set(['repo:alice/demo', 'user:*']),
  since: 'earliest',
  transport: 'auto',
  filter: { event_types: ['pr_opened'], ids: [7, 'x'], tags: [], workspace: 'w' },
  onSlow: 'latest',
  token: async (reason) => (reason === 'unauthorized' ? 'new' : null),
  signal: AbortSignal.timeout(1000),
  retryBaseMs: 1,
  retryMaxMs: 2,
  stableMs: 3,
  silenceMs: 4,
  queueMax: 5,
});

const off: () => void = feed.on('gap', ({ from, to, cause, matched, old }) => {
  const numbers: (number | null)[] = [from, to];
  const texts: (string | undefined)[] = [cause, old];
  const count: number | undefined = matched;
  void [numbers, texts, count];
});
feed.on('status', ({ state, attempt, transport, delayMs }) => {
  const known: State = state;
  void [known, attempt + 1, transport === 'sse', delayMs ?? 0];
});
feed.on('pr_opened', ({ seq, event_id, cursor }) => void [seq + 1, event_id.length, cursor]);
feed.on('error', ({ code, message }) => void `${code} ${message}`);
feed.addEventListener('cursor', ({ detail }) => void detail.cursor.length);
feed.addEventListener('pr_opened', ({ detail }) => void detail.channel);
off();

export async function use(): Promise<void> {
  const builds = connect<Build>({ channels: 'repo:alice/demo' });
  for await (const item of builds) {
    if (item.type === 'event') void item.data.branch.length;
    else if (item.type === 'gap') void (item satisfies Gap).cause;
    else void item.message;
    void (item satisfies FeedItem<Build>).cursor;
  }
  await feed.subscribe(['t:a'], { since: 7 });
  await feed.unsubscribe('t:a');
  await feed.setFilter(null);
  const { seq }: { seq: number } = await feed.publish({ channel: 't:a', event: 'k', data: { any: [1] }, ids: [1] });
  const answer: { seq: number } = await feed.ping();
  await feed.refreshToken();
  feed.close();
  const error = new FeedError('unknown', 'no answer');
  void [seq, answer, error.code, error instanceof Error, feed.channels.length, feed.cursor, feed.state, feed.transport];
}

const figures = follow<{ pulse: number }>({ url: 'http://127.0.0.1:8081/stats/events', token: 't', silenceMs: 5000 });
figures.on('message', ({ pulse }) => void (pulse + 1));
figures.addEventListener('status', ({ detail: { state, attempt, delayMs } }) => void [state === 'open', attempt, delayMs]);
figures.close();

// @ts-expect-error it has no channels
follow({ url: 'http://127.0.0.1:8081/stats/events', channels: ['t:a'] });
// @ts-expect-error there is no such transport
connect({ transport: 'pigeon' });
// @ts-expect-error there is no such policy
connect({ onSlow: 'skip' });
// @ts-expect-error there is no such option
connect({ channel: 't:a' });
// @ts-expect-error a filter has no such member
connect({ filter: { kinds: [] } });
// @ts-expect-error an event needs a kind
void feed.publish({ channel: 't:a' });
// @ts-expect-error nobody sets the cursor
feed.cursor = 'aa-1';
// @ts-expect-error a status has no number
feed.on('status', ({ seq }) => seq);
