// How much can the generator itself do, and does it say so when it is asked for more?
//
// It has one processor, the floor another one: a server that writes what it was given and nothing else. Each delivery is verified.

import { FLOOR, grouped, latency, result, startFloor } from './programs.mjs';

const SUBSCRIBERS = 100;
const CONNECTIONS = 10_000;
/** Events per second; four million deliveries, more than a core can receive one by one. */
const BEYOND = 40_000;
const EXIT_INVALID = 4;

export async function ceiling(quick) {
  const floor = await startFloor('--batch');
  try {
    return [...(await deliveries(floor, quick ? '1s' : '2s')), await connections(floor)];
  } finally {
    await floor.end();
  }
}

/** The highest rate at which the generator calls itself trustworthy, and what comes of a rate far beyond. */
async function deliveries(floor, duration) {
  const load = [...FLOOR, '-c', String(SUBSCRIBERS), '--warmup', '300ms', '-d', duration];
  const objective = ['--slo', 'reach==1', '--from', '500', '--to', '200k', '--precision', '10%'];
  const search = await result('search', floor.address, ...load, ...objective);
  const { rate, bound } = search.report;
  const limited = search.report.steps.find((step) => step.rate === bound);
  // A rate may be called invalid because something else had the processor for a moment; this one is beyond any doubt.
  const beyond = Math.max(4 * (bound ?? rate ?? 0), BEYOND);
  const past = await result('run', floor.address, ...load, '-R', beyond.toFixed(0), '--drain', '1m');
  const { generator, delivered, invalid } = past.report;
  const share = generator.cpu_share_max + generator.cpu_share_publishing;
  return [
    {
      what: 'the generator states its own ceiling',
      holds: search.code === EXIT_INVALID && rate !== null,
      why:
        `trustworthy up to ${grouped(rate * SUBSCRIBERS)} verified deliveries/s to ${SUBSCRIBERS} subscribers with publishers and ` +
        `subscribers on one core; at ${grouped((bound ?? 0) * SUBSCRIBERS)}/s: ${limited?.reasons.join('; ')}`,
      figures: { deliveries_per_s: rate * SUBSCRIBERS, bound_per_s: bound * SUBSCRIBERS, steps: search.report.steps },
    },
    {
      what: `a run past the ceiling, at ${grouped(beyond * SUBSCRIBERS)}/s, is INVALID, with its exit code`,
      holds: past.code === EXIT_INVALID && past.report.verdict === 'invalid',
      why:
        `exit code ${past.code}: ${invalid.join('; ')}. It received ${grouped(delivered.per_s)} deliveries/s, ` +
        `${grouped(delivered.per_s / share)} for each core it used`,
      figures: { deliveries_per_s: delivered.per_s, per_core: delivered.per_s / share, generator, invalid },
    },
  ];
}

/** How many connections one loop opens and holds. */
async function connections(floor) {
  const source = ['--source-ip', '127.0.0.2..5'];
  const words = [...FLOOR, '-c', String(CONNECTIONS), '--connect-rate', '10k/s', '-d', '1s', ...source];
  const { code, report } = await result('connect', floor.address, ...words);
  const handshake = latency(report, 'handshake');
  const bytes = report.generator.resident_bytes / CONNECTIONS;
  return {
    what: `one loop opens and holds ${grouped(CONNECTIONS)} connections`,
    holds: code === 0 && report.delivered.open_at_end === CONNECTIONS,
    why:
      `in ${report.delivered.connected.toFixed(1)} s, handshake p50 ${handshake.p50_ms.toFixed(2)} ms; ${grouped(bytes)} B resident ` +
      `each, all of the generator counted; held at ${(report.generator.cpu_share_max * 100).toFixed(1)} % of a core`,
    figures: { connected_s: report.delivered.connected, handshake_ms: handshake, resident_bytes_each: bytes },
  };
}
