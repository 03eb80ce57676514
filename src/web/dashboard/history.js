// The pulses of the last minutes, and what they say about a window of time.

import { DELIVERIES } from '/words.js';

export class History {
  #samples = [];
  #epoch = null;

  /** Adds a pulse; one of another log begins anew. */
  add(pulse) {
    if (pulse.epoch !== this.#epoch) this.#samples = [];
    this.#epoch = pulse.epoch;
    this.#samples.push(sampleOf(pulse));
    if (SAMPLES_MAX < this.#samples.length) this.#samples.shift();
  }

  get latest() {
    return this.#samples.at(-1) ?? null;
  }

  /** The samples of the last `seconds`, by the server's clock. */
  window(seconds) {
    const sinceMs = (this.latest?.at ?? 0) - seconds * 1000;
    return this.#samples.filter(({ at }) => sinceMs < at);
  }

  /** By how much each total has grown in the last `seconds`. */
  growth(seconds) {
    const samples = this.window(seconds);
    const [first, last] = [samples[0], samples.at(-1)];
    // What the first pulse tells of has happened before the window, but for what it says of late.
    const grown = (name) => last.total[name] - first.total[name] + first.delta[name];
    return last === undefined ? {} : Object.fromEntries(Object.keys(last.total).map((name) => [name, grown(name)]));
  }

  /** The channels of the last `seconds`, those with the most events first: `[name, events]`; and how many there were in all. */
  channels(seconds) {
    const counts = new Map();
    let total = 0;
    for (const { traffic } of this.window(seconds)) {
      total += traffic.of;
      for (const { channel, workspace, events } of traffic.channels) {
        const name = workspace === undefined ? channel : `${channel} (${workspace})`;
        counts.set(name, (counts.get(name) ?? 0) + events);
      }
    }
    return { channels: [...counts].sort((a, b) => b[1] - a[1]), total };
  }

  /** How many deliveries of the last `seconds` took how long: `[from, to, count]`, in nanoseconds, ascending. */
  buckets(seconds) {
    const counts = new Map();
    for (const { heat } of this.window(seconds)) {
      for (const [from, to, count] of heat) counts.set(from, { to, count: (counts.get(from)?.count ?? 0) + count });
    }
    return [...counts].map(([from, { to, count }]) => [from, to, count]).sort((a, b) => a[0] - b[0]);
  }
}

function sampleOf(pulse) {
  const { at, elapsed_ms: elapsedMs, delta, total, latency } = pulse;
  const perSecond = (name) => (elapsedMs === 0 ? null : (delta[name] * 1000) / elapsedMs);
  const deliveries = DELIVERIES.map(perSecond);
  return {
    at,
    total,
    delta,
    events: perSecond('events'),
    deliveries: deliveries.includes(null) ? null : deliveries.reduce((sum, each) => sum + each, 0),
    bytes: perSecond('bytes'),
    live: latency.live,
    span: latency.span,
    heat: latency.heat,
    traffic: pulse.traffic,
  };
}

/** A little more than the longest window. */
const SAMPLES_MAX = 960;
