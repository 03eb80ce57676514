// What is said of TLS, of cookies and of the end of a token, by programs that are not ours.
//
//   FANFARE_BIN=<server binary> node secure.mjs
//
// A certificate is made, and a key that signs tokens. curl and openssl have to find the certificate good, and say so if it is
// not. Then a browser, which has the token in a cookie that no page can read, opens a WebSocket and an event stream over TLS:
// both get what is published, and both end with the token, of which the browser has no newer one.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { launch } from './launch.mjs';
import { fail, startServer, stopServer } from './server.mjs';

const CHANNEL = 'repo:browser/secure';
/** How long the token of the browser is good: time enough to open two streams on a busy machine. */
const TOKEN_SECONDS = 15;

const folder = mkdtempSync(join(tmpdir(), 'fanfare-secure-'));
const path = (name) => join(folder, name);

async function main() {
  const limit = setTimeout(() => fail(new Error(`not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  try {
    makeCertificates();
    const keys = makeKeys();
    const flags = ['--tls-cert', path('chain.pem'), '--tls-key', path('server.key'), '--jwks', keys.set];
    const address = (await startServer('127.0.0.1:0', ...flags)).replace('127.0.0.1', 'localhost');
    const publisher = token(keys, '--sub', 'ci', '--publish', CHANNEL);
    checkCurl(address, publisher);
    checkOpenssl(address);
    await checkBrowser(address, publisher, keys);
  } finally {
    await stopServer();
    rmSync(folder, { recursive: true });
    clearTimeout(limit);
  }
}

// Programs

function checkCurl(address, publisher) {
  const curl = (...more) => {
    const publish = ['--json', '{"from":"curl"}', '-H', `Authorization: Bearer ${publisher}`];
    const common = ['--silent', '--max-time', '20', '--write-out', '%{http_code} %{http_version}'];
    return spawnSync('curl', [...common, ...publish, ...more, `${address}/publish/${CHANNEL}`], UTF8);
  };
  const good = curl('--cacert', path('ca.pem'));
  assert.match(good.stdout, /"seq":1.*\n?202 1\.1$/s, `${good.stdout} ${good.stderr}`);
  assert.equal(curl('--cacert', path('other.pem')).status, CURL_BAD_CERTIFICATE, 'of another authority');
}

function checkOpenssl(address) {
  const { host } = new URL(address);
  const openssl = (...more) => {
    const common = ['s_client', '-connect', host, '-servername', 'localhost', '-verify_return_error'];
    return spawnSync('openssl', [...common, ...more], { ...UTF8, input: '', timeout: 20_000 });
  };
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const flag = `-${version.toLowerCase().replace('v', '').replace('.', '_')}`;
    const said = openssl('-CAfile', path('ca.pem'), flag, '-alpn', 'h2,http/1.1').stdout;
    for (const words of ['Verify return code: 0 (ok)', 'ALPN protocol: http/1.1', version]) {
      assert.ok(said.includes(words), `${words} in ${said}`);
    }
  }
  assert.notEqual(openssl('-CAfile', path('ca.pem'), '-tls1_1').status, 0, 'TLS 1.1 is refused');
  assert.notEqual(openssl('-CAfile', path('other.pem')).status, 0, 'of another authority');
}

// Browser

async function checkBrowser(address, publisher, keys) {
  const browser = await launch(`--ignore-certificate-errors-spki-list=${fingerprint()}`);
  try {
    const context = await browser.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(STEP_MS_MAX);
    page.on('pageerror', fail);
    await page.goto(`${address}/favicon.svg`);
    const nobody = await page.evaluate(openBoth, CHANNEL);
    assert.deepEqual(nobody, { socket: 'refused', stream: 'refused' }, 'without a cookie');

    const expires = Math.floor(Date.now() / 1000) + TOKEN_SECONDS;
    const value = token(keys, '--sub', 'alice', '--subscribe', CHANNEL, '--expires', `${TOKEN_SECONDS}s`);
    const cookie = { name: '__Host-fanfare', value, url: address, httpOnly: true, secure: true, sameSite: 'Strict' };
    await context.addCookies([cookie]);
    assert.equal(await page.evaluate(() => document.cookie), '', 'no page can read it');
    const alice = await page.evaluate(openBoth, CHANNEL);
    assert.deepEqual(alice, { socket: 'open', stream: 'open' }, 'with a cookie');
    publish(address, publisher);
    await page.waitForFunction(() => self.got.socket === 1 && self.got.stream === 1);
    assert.ok(Date.now() < expires * 1000, 'the token was good until here');

    await page.waitForFunction(() => self.ended.socket !== undefined && self.ended.stream !== undefined);
    const ended = await page.evaluate(() => self.ended);
    assert.deepEqual(ended.socket.said, [4401, 'token expired']);
    // The browser has tried to resume, was refused for its old token, and does not try again.
    assert.deepEqual(ended.stream.said, 'closed');
    for (const [way, { at }] of Object.entries(ended)) {
      assert.ok((expires - 1) * 1000 <= at, `${way} has ended ${expires * 1000 - at} ms before its token`);
    }
    console.log('secure: curl, openssl and a browser find what they should');
  } finally {
    await browser.close();
  }
}

/** Runs in the page: opens a WebSocket and an event stream, and keeps in `self` what comes of them. */
async function openBoth(channel) {
  self.got = { socket: 0, stream: 0 };
  self.ended = {};
  const socket = new WebSocket(`wss://${location.host}/ws?channel=${channel}`);
  const stream = new EventSource(`/events?channel=${channel}&unnamed`);
  socket.onmessage = ({ data }) => (self.got.socket += JSON.parse(data).type === 'event');
  stream.onmessage = () => (self.got.stream += 1);
  const outcome = (source, opened, ended) =>
    new Promise((resolve) => {
      source.onopen = () => {
        source[opened] = ended;
        resolve('open');
      };
      source[opened] = () => resolve('refused');
    });
  const [first, second] = await Promise.all([
    outcome(socket, 'onclose', ({ code, reason }) => (self.ended.socket = { said: [code, reason], at: Date.now() })),
    outcome(stream, 'onerror', () => {
      if (stream.readyState === EventSource.CLOSED) self.ended.stream = { said: 'closed', at: Date.now() };
    }),
  ]);
  return { socket: first, stream: second };
}

/** By curl, since the certificate is good for nobody else here. */
function publish(address, publisher) {
  const flags = ['--silent', '--fail', '--cacert', path('ca.pem'), '-H', `Authorization: Bearer ${publisher}`];
  execFileSync('curl', [...flags, '--json', '{"from":"curl"}', `${address}/publish/${CHANNEL}`]);
}

// Keys

/** A certificate for localhost, of an authority of its own; and another authority, which has nothing to do with it. */
function makeCertificates() {
  const openssl = (...flags) => execFileSync('openssl', flags, { cwd: folder, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  for (const name of ['ca', 'other']) {
    const subject = ['-subj', `/CN=Authority ${name}`];
    openssl('req', '-x509', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '1', ...subject);
  }
  openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost');
  writeFileSync(path('extensions'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  const authority = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'extensions'];
  openssl('x509', '-req', '-in', 'server.csr', '-out', 'server.pem', '-days', '1', ...authority);
  writeFileSync(path('chain.pem'), readFileSync(path('server.pem'), 'utf8') + readFileSync(path('ca.pem'), 'utf8'));
}

/** What the browser is to know the certificate by: the digest of its key. */
function fingerprint() {
  const key = createPublicKey(readFileSync(path('server.pem'))).export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(key).digest('base64');
}

function makeKeys() {
  execFileSync(process.env.FANFARE_BIN, ['keys', 'new', '--algorithm', 'es256', '--out', path('keys')], { stdio: 'pipe' });
  const file = (end) => path(join('keys', readdirSync(path('keys')).find((name) => name.endsWith(end))));
  return { private: file('.pem'), set: file('.jwks') };
}

function token(keys, ...flags) {
  return execFileSync(process.env.FANFARE_BIN, ['token', '--key', keys.private, ...flags], UTF8).trim();
}

const UTF8 = { encoding: 'utf8' };
const CURL_BAD_CERTIFICATE = 60;
const TOTAL_MS_MAX = 150_000;
const STEP_MS_MAX = 60_000;

main().catch(fail);
