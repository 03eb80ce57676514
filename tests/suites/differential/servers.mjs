// The servers that are compared: each answers every request that it understands by itself, once it has read all of it.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createListener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATIENCE_MS = 20_000;

/** A port that is free now. */
async function freePort() {
  const listener = createListener();
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/** Runs a program until `end` is called; it is ready when its port takes connections. */
async function run(name, command, args, port, end = () => {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  const exited = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', resolve);
  });
  const begin = Date.now();
  while (!(await takesConnections(port))) {
    const isOver = child.exitCode !== null || PATIENCE_MS < Date.now() - begin;
    if (isOver) throw new Error(`${name} does not start: ${said}`);
  }
  return {
    name,
    port,
    stop: async () => {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      await exited;
      clearTimeout(late);
      end();
    },
  };
}

function takesConnections(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true));
    socket.on('error', () => setTimeout(resolve, 20, false));
    socket.on('connect', () => socket.destroy());
  });
}

async function fanfare(program) {
  const port = await freePort();
  const args = ['serve', '--listen', `127.0.0.1:${port}`, '--admin-listen', '127.0.0.1:0', '--allow-host', 'any'];
  return run('fanfare', program, [...args, '--fanout-backlog-max', '1m'], port);
}

async function node() {
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => response.end('ok'));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
  return { name: 'node', port: server.address().port, stop };
}

function folder() {
  const path = mkdtempSync(join(tmpdir(), 'fanfare-differential-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

// It answers by a second server of its own, because then it reads a body to its end first.
async function nginx() {
  const [port, inner] = [await freePort(), await freePort()];
  const { path, remove } = folder();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((what) => `${what}_temp_path ${path}/${what};`).join('\n');
  writeFileSync(join(path, 'nginx.conf'), `
    daemon off; master_process off; pid ${path}/pid; error_log stderr emerg;
    events { worker_connections 512; }
    http {
      access_log off;
      ${temporary}
      server { listen 127.0.0.1:${inner}; location / { return 200 ok; } }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${inner}; } }
    }`);
  return run('nginx', 'nginx', ['-p', path, '-e', 'stderr', '-c', join(path, 'nginx.conf')], port, remove);
}

async function haproxy() {
  const port = await freePort();
  const { path, remove } = folder();
  writeFileSync(join(path, 'haproxy.cfg'), `
    defaults
      mode http
      option http-buffer-request
      timeout client 10s
      timeout server 10s
      timeout connect 1s
      timeout http-request 2s
    frontend all
      bind 127.0.0.1:${port}
      http-request return status 200 content-type text/plain string ok
`);
  return run('haproxy', 'haproxy', ['-db', '-q', '-f', join(path, 'haproxy.cfg')], port, remove);
}

export const references = { node, nginx, haproxy };
export { fanfare };
