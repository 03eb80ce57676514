// Clients of a server under load, without a browser.

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

/** A client that reads nothing after its handshake; `query` is what it subscribes to, and who it is. */
export function stalledClient(address, query) {
  const { hostname, port, host } = new URL(address);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) });
    socket.on('error', reject);
    const gone = new Promise((done) => socket.on('close', done));
    socket.once('data', (said) => {
      if (!said.toString('latin1').startsWith('HTTP/1.1 101 ')) return reject(new Error(said.toString('latin1')));
      socket.pause();
      // Whether it was let go of is seen by what it says: nobody listens any more.
      const knock = setInterval(() => socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0])), 200);
      socket.removeListener('error', reject);
      socket.on('error', () => {});
      gone.then(() => clearInterval(knock));
      resolve({ gone, end: () => socket.destroy() });
    });
    const upgrade = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n';
    socket.write(`GET /ws?${query} HTTP/1.1\r\nHost: ${host}\r\n${upgrade}Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
  });
}

/** A client that reads everything of an event stream, until it is aborted. */
export async function readingClient(address, query) {
  const abort = new AbortController();
  const answer = await fetch(`${address}/events?${query}`, { signal: abort.signal });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  answer.body.pipeTo(new WritableStream()).catch(() => {});
  return abort;
}
