// What is counted where something did not go as somebody wished, and what it means. Nothing of it is silent: whoever it
// concerns was told.

/**
 * The counter, what people call it, its level and its meaning. Levels: `chosen` is of consequence only to those who have asked for
 * it, `look` is worth a look, `fault` should not be.
 */
export const LOSSES = [
  ['gaps_lapped', 'Gaps: overtaken', 'look', 'A client was so slow that the log has passed it. It was told exactly which events it missed. Let the log hold more, or find out what keeps the client.'],
  ['gaps_evicted', 'Gaps: cursor too old', 'look', 'A client came back after longer than the log holds events, and was told what it missed.'],
  ['gaps_epoch', 'Gaps: cursor of another log', 'look', 'A client came back with a cursor from before the last start of this server.'],
  ['gaps_skipped', 'Gaps: conflated', 'chosen', 'A slow client that has chosen on_slow=latest got the newest event of each thing instead of all.'],
  ['events_skipped', 'Events left out by conflation', 'chosen', 'What those clients did not get, in events.'],
  ['closed_slow', 'Closed: slow', 'chosen', 'A client that has chosen on_slow=close was slow, and was disconnected with the place to come back to.'],
  ['cut_stalled', 'Cut off: took nothing', 'look', 'A connection took no byte for longer than --stall-max though something waited for it. Mostly its machine or network is gone.'],
  ['publishes_refused', 'Publishes refused', 'look', 'The server had too much to do, or is shutting down: publishers were told 503 and when to try again. Nothing of these was published.'],
  ['turned_away', 'Connections turned away', 'look', 'All places are taken (--connections), or one address has too many: they were told 503 or 429.'],
  ['accept_failures', 'Connections not accepted', 'fault', 'The system had no descriptor for a connection: raise the limit of open files.'],
  ['loop_stalls', 'Loops stood still', 'fault', 'A loop did not turn for too long though it was awake: the machine is overloaded, or it is a fault of the server.'],
  ['panics', 'Faults of the server', 'fault', 'Dealing with a connection has failed and it was given up. Please report it, with the log.'],
  ['log_lines_dropped', 'Lines of the server log dropped', 'look', 'Whoever reads the log of this process is too slow. Events are not concerned.'],
];

/** Members of `total` that are deliveries. */
export const DELIVERIES = ['websocket_events', 'sse_events'];

/** What each policy for slow clients is called. */
export const POLICIES = { gap: 'gets a gap', latest: 'gets the newest', close: 'is closed' };
