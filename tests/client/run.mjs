// Every check of the JavaScript client.
//
//   FANFARE_BIN=<server binary> [FANFARE_SEED=n] node run.mjs
//
// Types, unit tests against a scripted server, and the endurance check against the real one: here and in Chromium,
// over WebSocket and over SSE.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

async function main() {
  await node('node_modules/typescript/bin/tsc', '--project', '.');
  await node('--test', '--test-reporter=spec');
  for (const where of ['node', 'chromium']) {
    for (const transport of ['ws', 'sse']) await node('endurance/main.mjs', where, transport);
  }
}

async function node(...words) {
  const child = spawn(process.execPath, [...WEBSOCKET_FLAG, ...words], { cwd: HERE, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  if (code !== 0) process.exit(code ?? 1);
}

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** Before version 22 node has a WebSocket only if it is asked for. */
const WEBSOCKET_FLAG = typeof WebSocket === 'undefined' ? ['--experimental-websocket'] : [];

await main();
