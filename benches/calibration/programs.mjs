// The programs that are calibrated: servers on the first processor, the generator on the second.

import { execFile, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';

const { LOADGEN_BIN, FANFARE_BIN } = process.env;
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
const PROFILES = new URL('../side-by-side/', import.meta.url).pathname;

const running = new Set();

/** Ends every server that was started and is still there. */
export function endAll() {
  for (const child of running) child.kill('SIGKILL');
}

/** A program's words, on one processor where there are two. */
function pinned(processor, program, words) {
  return cpus().length < 2 ? [program, words] : ['taskset', ['-c', String(processor), program, ...words]];
}

/** Starts a server and resolves once it has said what `find` looks for in its lines. */
function start(program, words, find) {
  const child = spawn(...pinned(0, program, words), { stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  return new Promise((resolve, reject) => {
    const said = [];
    child.on('error', reject);
    child.on('exit', (code) => {
      running.delete(child);
      reject(new Error(`${program} ended with ${code}: ${said.join('\n')}`));
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (said.length < 50) said.push(line);
      const found = find(said);
      if (found !== null) resolve({ ...found, pid: child.pid, end: () => end(child) });
    });
  });
}

function end(child) {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.removeAllListeners('exit');
    child.on('exit', () => {
      running.delete(child);
      resolve();
    });
    child.kill('SIGKILL');
  });
}

/** A floor with these flags: `{address, pid, end}`. */
export function startFloor(...flags) {
  return start(LOADGEN_BIN, ['floor', '--bind', '127.0.0.1:0', ...flags], (lines) => {
    const found = /listening on (\S+)/.exec(lines.join('\n'));
    return found === null ? null : { address: `http://${found[1]}` };
  });
}

/** A Fanfare of one loop: `{address, admin, pid, end}`. */
export function startFanfare() {
  const words = ['serve', '--loops', '1', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
  return start(FANFARE_BIN, words, (lines) => {
    const text = lines.join('\n');
    const address = /(?<!admin )listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(text);
    const admin = /admin on (http:\/\/127\.0\.0\.1:\d+)/.exec(text);
    return address === null || admin === null ? null : { address: address[1], admin: admin[1] };
  });
}

/** What is typed to speak to a floor. */
export const FLOOR = ['--protocol', `${PROFILES}floor-each.json`];

/** Runs the generator; its exit code and what it wrote. */
export function loadgen(...words) {
  return new Promise((resolve, reject) => {
    const options = { maxBuffer: OUTPUT_BYTES_MAX };
    execFile(...pinned(1, LOADGEN_BIN, words), options, (error, output, errors) => {
      if (error !== null && typeof error.code !== 'number') return reject(error);
      resolve({ code: error?.code ?? 0, output, errors });
    });
  });
}

/** The same where it tells its result as JSON. */
export async function result(...words) {
  const { code, output, errors } = await loadgen(...words, '--json', '-', '--quiet');
  try {
    return { code, report: JSON.parse(output) };
  } catch {
    throw new Error(`loadgen ${words.join(' ')} ended with ${code}: ${errors}`);
  }
}

/** A latency of a report by its name. */
export function latency(report, name) {
  const row = report.latency_ms.find((each) => each.name === name);
  if (row === undefined) throw new Error(`the report has no latency ${name}`);
  return row;
}

/** Thousands apart. */
export function grouped(number) {
  return Math.round(number).toLocaleString('en-US');
}
