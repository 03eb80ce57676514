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
    return [await deliveries(floor, quick ? '1s' : '2s'), await connections(floor)];
  } finally {
    await floor.end();
  }
}

/** What comes of a rate far beyond what a core can receive. */
async function deliveries(floor, duration) {
  const load = [...FLOOR, '-c', String(SUBSCRIBERS), '--warmup', '300ms', '-d', duration];
  const past = await result('run', floor.address, ...load, '-R', String(BEYOND), '--drain', '1m');
  const { generator, delivered, invalid } = past.report;
  const each = delivered.per_s / used(generator);
  return {
    what: `a run past the generator's own ceiling, at ${grouped(BEYOND * SUBSCRIBERS)} deliveries/s, is INVALID, with its exit code`,
    holds: past.code === EXIT_INVALID && past.report.verdict === 'invalid' && generator.was_bottleneck,
    why:
      `the ceiling is ${grouped(delivered.per_s)} verified deliveries/s with publishers and subscribers on one core, ` +
      `${grouped(each)} for each core it used; exit code ${past.code}: ${invalid.join('; ')}`,
    figures: { deliveries_per_s: delivered.per_s, per_core: each, generator, invalid },
  };
}

/** Cores that a generator has used. */
function used(generator) {
  return generator.cpu_share_max + generator.cpu_share_publishing;
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
