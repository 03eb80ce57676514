// Does `loadgen compare` flag a server that has become 10 % dearer, and pass one that has not?
//
// The floor burns 5 ms for every event, and 5.5 with the regression. Runs go in turns (before, after, before again), so
// that what the machine does meanwhile meets all three. At a fixed rate the regression is in the latency, at saturation in the rate.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { FLOOR, loadgen, startFloor } from './programs.mjs';

const SIDES = { before: '5ms', after: '5500us', again: '5ms' };
const LOADS = {
  fixed: { rate: '100', figures: ['e2e p50'] },
  saturated: { rate: 'max', figures: ['delivered/s'] },
};

export async function regression(quick) {
  const [rounds, duration] = quick ? [5, '1s'] : [9, '3s'];
  const folder = await mkdtemp(join(tmpdir(), 'calibration-'));
  try {
    for (let round = 1; round <= rounds; round += 1) {
      for (const [side, work] of Object.entries(SIDES)) await runSide(folder, side, work, round, duration);
    }
    const checks = [];
    for (const [load, { figures }] of Object.entries(LOADS)) {
      const named = figures.flatMap((figure) => ['--figure', figure]);
      const side = (name) => join(folder, load, name);
      const planted = await loadgen('compare', side('before'), side('after'), ...named);
      const equal = await loadgen('compare', side('before'), side('again'));
      const runs = `${rounds} runs a side of ${duration}`;
      checks.push(
        {
          what: `compare flags 10 % more work (${load} load, ${figures.join(', ')})`,
          holds: planted.code === 1,
          why: `${runs}: exit code ${planted.code}, ${lines(planted.output, figures).join('; ')}`,
          figures: { text: planted.output },
        },
        {
          what: `compare passes the same server (${load} load, all figures)`,
          holds: equal.code === 0,
          why: `${runs}: exit code ${equal.code}, ${equal.output.trim().split('\n').at(-1)}; ${lines(equal.output, figures).join('; ')}`,
          figures: { text: equal.output },
        },
      );
    }
    return checks;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** One run of each load, against a server of its own. */
async function runSide(folder, side, work, round, duration) {
  const floor = await startFloor('--each', '--work', work);
  try {
    for (const [load, { rate }] of Object.entries(LOADS)) {
      const out = join(folder, load, side);
      await mkdir(out, { recursive: true });
      const about = ['-c', '10', '-R', rate, '--outstanding', '8', '-d', duration, '--warmup', '300ms', '--pid', String(floor.pid)];
      const file = join(out, `${String(round).padStart(2, '0')}.json`);
      const { code, errors } = await loadgen('run', floor.address, ...FLOOR, ...about, '--lenient', '--quiet', '--json', file);
      if (code !== 0) throw new Error(`a run ended with ${code}: ${errors}`);
    }
  } finally {
    await floor.end();
  }
}

/** The lines of these figures, without the blanks. */
function lines(output, figures) {
  const ours = output.split('\n').filter((line) => figures.some((figure) => line.startsWith(figure)));
  return ours.map((line) => line.replace(/\s+/g, ' '));
}
