// Does `loadgen search` find the highest rate that holds? Beside a sweep by hand, on a server whose capacity is known.
//
// The floor burns a millisecond for every event, so that it can do 1,000 a second less its sends. Above that its queue grows for as
// long as a run lasts: a run of four seconds at 2.5 % too much ends 100 ms behind, which is the objective.

import { FLOOR, grouped, result, startFloor } from './programs.mjs';

const WORK_MS = 1;
const CAPACITY = 1000 / WORK_MS;
const OBJECTIVE = ['--slo', 'p99<100ms', '--slo', 'reach==1'];
/** What both have in common. The rate is what is judged here, so that a late generator is no fault. */
const LOAD = ['-c', '10', '--warmup', '500ms', '--lenient', ...OBJECTIVE];
const DIFFERENCE_MAX = 0.05;

export async function knee(quick) {
  const duration = quick ? '2s' : '4s';
  const step = quick ? 1.05 : 1.025;
  const floor = await startFloor('--each', '--work', `${WORK_MS}ms`);
  try {
    const swept = await sweep(floor, duration, step);
    const search = ['--from', '300', '--to', '10k', '--precision', '2%', '-d', duration];
    const { report } = await result('search', floor.address, ...FLOOR, ...LOAD, ...search);
    const found = report.rate;
    const difference = Math.abs(found / swept.held - 1);
    return [
      {
        what: `search finds the knee of a sweep to ${DIFFERENCE_MAX * 100} %`,
        holds: difference <= DIFFERENCE_MAX,
        why:
          `search: ${grouped(found)}/s (${grouped(report.bound)}/s does not hold) in ${report.steps.length} runs; ` +
          `sweep in steps of ${((step - 1) * 100).toFixed(1)} %: ${grouped(swept.held)}/s (${grouped(swept.missed)}/s does not) ` +
          `in ${swept.runs.length}; ${(difference * 100).toFixed(1)} % apart`,
        figures: { search: report, sweep: swept },
      },
      {
        what: 'what search finds is what the server can do',
        holds: 0.9 * CAPACITY <= found && found <= 1.05 * CAPACITY,
        why: `${WORK_MS} ms of work an event are ${grouped(CAPACITY)}/s less ten sends each; found ${grouped(found)}/s`,
        figures: { capacity: CAPACITY, found },
      },
    ];
  } finally {
    await floor.end();
  }
}

/** Rates from well below the capacity to well above it; a rate that is missed by chance is not yet the knee. */
async function sweep(floor, duration, step) {
  const runs = [];
  for (let rate = 0.8 * CAPACITY; rate <= 1.2 * CAPACITY; rate *= step) {
    const { report } = await result('run', floor.address, ...FLOOR, ...LOAD, '-R', rate.toFixed(1), '-d', duration);
    runs.push({ rate, holds: report.verdict === 'pass', p99_ms: report.latency_ms[0].p99_ms });
    const [last, before] = [runs.at(-1), runs.at(-2)];
    if (2 <= runs.length && !last.holds && !before.holds) break;
  }
  const held = Math.max(...runs.filter((run) => run.holds).map((run) => run.rate));
  const missed = Math.min(...runs.filter((run) => held < run.rate).map((run) => run.rate));
  return { held, missed, runs };
}
