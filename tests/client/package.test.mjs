// The package as npm would publish it, and its types against what is really there.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as client from 'fanfare-client';

const folder = new URL('../../src/web/client/', import.meta.url);

test('what is packed is the module, its types, what it says of itself, and its licences', () => {
  const words = ['pack', '--dry-run', '--json', '--loglevel=error', fileURLToPath(folder)];
  const [{ files }] = JSON.parse(execFileSync('npm', words, { encoding: 'utf8' }));
  const names = files.map(({ path }) => path).sort();
  assert.deepEqual(names, ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'fanfare.d.ts', 'fanfare.js', 'package.json']);
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(new URL('package.json', folder)));
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
});

test('the types name every member that a feed has, and no other', () => {
  const types = readFileSync(new URL('fanfare.d.ts', folder), 'utf8');
  const [, body] = /export interface Feed<[^{]*\{(.*?)^\}/ms.exec(types);
  const declared = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[<(:]/gm)].map(([, name]) => name);
  const feed = client.connect({ url: 'http://127.0.0.1:1' });
  const members = Object.getOwnPropertyNames(Object.getPrototypeOf(feed)).filter((name) => name !== 'constructor');
  feed.close();
  const inherited = new Set(['addEventListener']);
  assert.deepEqual(new Set(declared.filter((name) => !inherited.has(name))), new Set(members));
  const exported = [...types.matchAll(/^export declare (?:function|class) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(exported.sort(), Object.keys(client).sort());
});
