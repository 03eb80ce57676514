// What suites with many clients share: clients of both transports that keep what they are told.

import { connect } from 'node:net';

const CONNECTING_AT_ONCE = 100;

/** A client that keeps what it is told, over a connection of its own. */
export class Client {
  /** Every other one is an event stream. `more`: what else its query says. */
  constructor(number, more = '') {
    this.more = more;
    this.isStream = number % 2 === 1;
    this.from = `127.0.0.${30 + (number % 8)}`;
    this.events = [];
    this.gaps = [];
    this.waits = [];
  }

  /** Connects, going on behind `cursor` if there is one; resolves when the server has answered. */
  open(port, cursor) {
    const since = cursor ? `&since=${cursor}` : '';
    const fields = this.isStream ? '' : 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
      + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    this.rest = Buffer.alloc(0);
    this.isOpen = false;
    this.goodbye = undefined;
    this.waits = [];
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: this.from });
      this.ended = new Promise((end) => socket.on('close', end));
      socket.on('connect', () => {
        socket.write(`GET ${this.isStream ? '/events' : '/ws'}?channel=t:a${since}${this.more} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`);
      });
      socket.on('error', (error) => {
        this.error = error.code;
        reject(error);
      });
      socket.on('data', (data) => {
        this.rest = Buffer.concat([this.rest, data]);
        const head = this.isOpen ? 0 : this.rest.indexOf('\r\n\r\n') + 4;
        if (!this.isOpen && head === 3) return;
        if (!this.isOpen) {
          this.isOpen = true;
          const status = this.rest.toString('latin1', 9, 12);
          if (status !== (this.isStream ? '200' : '101')) reject(new Error(`answered ${status}`));
          this.rest = this.rest.subarray(head);
          resolve();
        }
        if (this.isStream) this.takeBlocks();
        else this.takeFrames(socket);
      });
    });
  }

  take(message) {
    if (message.type === 'event') this.events.push(message.seq);
    if (message.type === 'gap') this.gaps.push(message);
  }

  takeBlocks() {
    for (let end = this.rest.indexOf('\n\n'); end !== -1; end = this.rest.indexOf('\n\n')) {
      const lines = this.rest.toString('utf8', 0, end).split('\n').map((line) => line.split(/: (.*)/s));
      this.rest = this.rest.subarray(end + 2);
      const block = Object.fromEntries(lines);
      if (block.retry) this.waits.push(Number(block.retry));
      if (block.id) this.cursor = block.id;
      if (block.data) this.take(JSON.parse(block.data));
    }
  }

  takeFrames(socket) {
    for (;;) {
      if (this.rest.length < 2) return;
      const short = this.rest[1];
      const [length, at] = short === 127 ? [Number(this.rest.length < 10 ? Infinity : this.rest.readBigUInt64BE(2)), 10]
        : short === 126 ? [this.rest.length < 4 ? Infinity : this.rest.readUInt16BE(2), 4] : [short, 2];
      if (this.rest.length < at + length) return;
      const payload = this.rest.subarray(at, at + length);
      if ((this.rest[0] & 15) === 1) this.take(JSON.parse(payload.toString('utf8')));
      if ((this.rest[0] & 15) === 8) {
        this.goodbye = payload.readUInt16BE(0);
        this.cursor = payload.toString('utf8', 2);
        // Its echo, masked with nothing.
        socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, payload[0], payload[1]]));
      }
      this.rest = this.rest.subarray(at + length);
    }
  }
}

export async function openAll(clients, port) {
  const left = [...clients];
  const work = async () => {
    for (let client = left.pop(); client !== undefined; client = left.pop()) await client.open(port, client.cursor);
  };
  await Promise.all(Array.from({ length: CONNECTING_AT_ONCE }, work));
}
