// The calibrations: `benches/calibrate` says how to call them.

import { writeFile } from 'node:fs/promises';
import { cpus, loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';

import { ceiling } from './ceiling.mjs';
import { histograms } from './histograms.mjs';
import { knee } from './knee.mjs';
import { endAll } from './programs.mjs';
import { regression } from './regression.mjs';

/** Each returns its checks: what was asked, whether it holds, and why. */
const CALIBRATIONS = { knee, regression, ceiling, histograms };

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      out: { type: 'string' },
      check: { type: 'boolean', default: false },
    },
  });
  const unknown = positionals.find((name) => !(name in CALIBRATIONS));
  if (unknown !== undefined) {
    console.error(`${unknown} is none of ${Object.keys(CALIBRATIONS).join(', ')}`);
    process.exit(2);
  }
  if (values.check) return;
  const chosen = 0 < positionals.length ? positionals : Object.keys(CALIBRATIONS);
  const checks = [];
  for (const name of chosen) {
    console.log(`\n${name}`);
    for (const check of await calibrate(name, values.quick)) {
      checks.push({ calibration: name, ...check });
      console.log(`  ${check.holds ? 'holds ' : 'FAILS '} ${check.what}\n         ${check.why}`);
    }
  }
  const failed = checks.filter((check) => !check.holds).length;
  const file = values.json ?? values.out;
  const machine = { processor: cpus()[0]?.model, cores: cpus().length, kernel: release(), load: loadavg() };
  const result = { kind: 'calibration', at: new Date().toISOString(), quick: values.quick, machine, checks };
  if (file !== undefined) await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`\n${checks.length - failed} of ${checks.length} checks hold${file === undefined ? '' : `; ${file}`}`);
  process.exitCode = failed === 0 ? 0 : 1;
}

/** A calibration that cannot be made does not hold, and is no reason to leave out the others. */
async function calibrate(name, quick) {
  try {
    return await CALIBRATIONS[name](quick);
  } catch (error) {
    return [{ what: `${name} can be calibrated`, holds: false, why: error.message }];
  }
}

// What was started must end with this, however it ends.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    endAll();
    process.exit(130);
  });
}
main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 3;
  })
  .finally(endAll);
