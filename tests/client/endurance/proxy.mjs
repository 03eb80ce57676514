// A TCP proxy that cuts: after a number of bytes on their way to the client it destroys every connection it has.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Proxy {
  cuts = 0;
  #server = createServer((client) => this.#join(client));
  #sockets = new Set();
  #cut = null;

  /** Forwards to what `port` says at the time of each connection. */
  static async start(port) {
    const proxy = new Proxy();
    proxy.port = port;
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Resolves when `bytes` more have gone to clients, and all connections are cut behind them. */
  cut(bytes) {
    return new Promise((done) => (this.#cut = { left: bytes, done }));
  }

  async stop() {
    this.#destroyAll();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client) {
    const server = connect(this.port(), '127.0.0.1');
    for (const [one, other] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(one);
      one.setNoDelay(true);
      one.on('error', () => {});
      one.on('close', () => {
        this.#sockets.delete(one);
        // What was received before still goes out, so that only a cut loses anything.
        other.destroySoon();
      });
      one.on('end', () => other.end());
    }
    client.on('data', (bytes) => server.write(bytes));
    server.on('data', (bytes) => this.#forward(client, server, bytes));
  }

  #forward(client, server, bytes) {
    if (this.#cut === null) {
      // A client that does not read holds the server back, as without us.
      if (!client.write(bytes)) {
        server.pause();
        client.once('drain', () => server.resume());
      }
      return;
    }
    const { left, done } = this.#cut;
    if (bytes.length < left) {
      this.#cut.left -= bytes.length;
      client.write(bytes);
      return;
    }
    this.#cut = null;
    this.cuts += 1;
    client.write(bytes.subarray(0, left), () => {
      this.#destroyAll();
      done();
    });
  }

  #destroyAll() {
    for (const socket of this.#sockets) socket.destroy();
  }
}
