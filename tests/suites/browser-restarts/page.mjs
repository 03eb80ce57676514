// What runs in the page: two receivers, each of which writes down what it is told.

/** Given to the browser as its text, so it can use nothing from outside. Resolves when both are connected. */
export async function listen(channel) {
  const { connect } = await import('/client.js');
  const record = { EventSource: [], WebSocket: [] };
  window.record = record;

  const source = new EventSource(`/events?channel=${encodeURIComponent(channel)}`);
  const take = (message) => record.EventSource.push({ ...JSON.parse(message.data), cursor: message.lastEventId });
  source.addEventListener('tick', take);
  source.addEventListener('gap', take);
  source.addEventListener('error', () => {
    // It comes back by itself unless it was answered something else than a stream, and then never.
    if (source.readyState === EventSource.CLOSED) record.EventSource.push({ type: 'closed' });
  });

  const waits = { retryBaseMs: 20, retryMaxMs: 150, stableMs: 100 };
  const feed = connect({ channels: [channel], transport: 'ws', ...waits });
  feed.on('event', (event) => record.WebSocket.push(event));
  feed.on('gap', (gap) => record.WebSocket.push(gap));

  await Promise.all([
    new Promise((resolve) => source.addEventListener('open', resolve, { once: true })),
    new Promise((resolve) => feed.on('status', ({ state }) => state === 'open' && resolve())),
  ]);
}
