// A server that says exactly what a test tells it to: HTTP by node, WebSocket frames by hand.
//
//   const fake = await FakeServer.start();
//   const peer = await fake.socket();          the next WebSocket, opened
//   await peer.command('subscribe');           its next command, which must be this one
//   const stream = await fake.stream();        the next request for a stream, not yet answered

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

export class FakeServer {
  /** What refuses WebSockets, as `[status, problem]`; `null` lets them in. */
  socketRefusal = null;
  /** What answers requests for streams that no test waits for; `null` keeps all of them for `stream`. */
  streamAnswer = null;
  /** Every request that came, as `GET /ws?…`. */
  requests = [];

  #server = createServer((request, response) => this.#take(request, response));
  #peers = new Line();
  #streams = new Line();
  #posts = new Line();
  #open = new Set();

  static async start(port = 0) {
    const fake = new FakeServer();
    fake.#server.on('upgrade', (request, socket) => fake.#upgrade(request, socket));
    fake.#server.on('connection', (socket) => {
      fake.#open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => fake.#open.delete(socket));
    });
    fake.#server.listen(port, '127.0.0.1');
    await once(fake.#server, 'listening');
    return fake;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  socket() {
    return this.#peers.next();
  }

  stream() {
    return this.#streams.next();
  }

  post() {
    return this.#posts.next();
  }

  async stop() {
    for (const socket of this.#open) socket.destroy();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  #upgrade(request, socket) {
    this.requests.push(`GET ${request.url}`);
    if (this.socketRefusal !== null) {
      const [status, problem] = this.socketRefusal;
      return socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\n\r\n${JSON.stringify(problem)}`);
    }
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}${WEBSOCKET_GUID}`)
      .digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    this.#peers.put(new Peer(socket, new URL(request.url, this.url).searchParams));
  }

  async #take(request, response) {
    this.requests.push(`${request.method} ${request.url}`);
    if (request.method === 'POST') {
      let body = '';
      for await (const piece of request) body += piece;
      return this.#posts.put({ headers: request.headers, body: JSON.parse(body), response });
    }
    const stream = new Stream(request, response, new URL(request.url, this.url).searchParams);
    if (this.streamAnswer === null) this.#streams.put(stream);
    else this.streamAnswer(stream);
  }
}

/** A request for a stream. */
class Stream {
  constructor(request, response, query) {
    Object.assign(this, { headers: request.headers, query, response, ended: once(response, 'close') });
  }

  /** Answers 200, and writes `text`. */
  open(text = '') {
    this.response.writeHead(200, { 'content-type': 'text/event-stream' });
    this.response.write(`retry: 1\n\n${text}`);
    return this;
  }

  event(epoch, message) {
    this.response.write(`id: ${epoch}-${message.seq ?? message.to}\ndata: ${JSON.stringify(message)}\n\n`);
  }

  refuse(status, problem, headers = {}) {
    this.response.writeHead(status, { 'content-type': 'application/problem+json', ...headers });
    this.response.end(JSON.stringify(problem));
  }

  cut() {
    this.response.destroy();
  }
}

/** One WebSocket, from the server's side. */
class Peer {
  #socket;
  #unread = Buffer.alloc(0);
  #commands = new Line();
  #closed;

  constructor(socket, query) {
    this.#socket = socket;
    this.query = query;
    this.#closed = new Promise((resolve) => (this.resolveClosed = resolve));
    socket.on('data', (bytes) => this.#read(bytes));
    socket.on('close', () => this.resolveClosed(null));
  }

  /** Resolves with the close code of the client, or `null` if the connection just broke. */
  get closed() {
    return this.#closed;
  }

  async command(type) {
    const command = await this.#commands.next();
    assert.equal(command.type, type, JSON.stringify(command));
    return command;
  }

  /** All of `messages` in one write. */
  say(...messages) {
    this.#socket.write(Buffer.concat(messages.map((message) => frame(OPCODE_TEXT, JSON.stringify(message)))));
  }

  /** Confirms a subscribe command whose events begin after `seq` of the log `epoch`. */
  confirm({ id, channels }, epoch, seq, ...more) {
    this.say(...channels.map((channel) => ({ type: 'subscribed', channel, seq, epoch, id })), ...more);
  }

  /** Takes the subscribe command that a connection begins with, and confirms it. */
  async begin(epoch, seq, ...more) {
    const command = await this.command('subscribe');
    this.confirm(command, epoch, seq, ...more);
    return command;
  }

  close(code, reason) {
    const payload = Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
    this.#socket.end(frame(OPCODE_CLOSE, payload));
  }

  /** What was said goes out; then the connection is gone. */
  cut() {
    this.#socket.destroySoon();
  }

  #read(bytes) {
    this.#unread = Buffer.concat([this.#unread, bytes]);
    for (;;) {
      const taken = unframe(this.#unread);
      if (taken === null) return;
      this.#unread = this.#unread.subarray(taken.size);
      if (taken.opcode === OPCODE_TEXT) this.#commands.put(JSON.parse(taken.payload.toString()));
      if (taken.opcode === OPCODE_CLOSE) {
        this.resolveClosed(taken.payload.length < 2 ? 1005 : taken.payload.readUInt16BE(0));
        this.#socket.end(frame(OPCODE_CLOSE, taken.payload));
      }
    }
  }
}

/** What comes and who waits for it, in order. */
export class Line {
  #values = [];
  #takers = [];

  put(value) {
    if (this.#takers.length > 0) this.#takers.shift()(value);
    else this.#values.push(value);
  }

  next() {
    if (this.#values.length > 0) return Promise.resolve(this.#values.shift());
    return new Promise((resolve) => this.#takers.push(resolve));
  }
}

export function event(seq, more = {}) {
  return {
    type: 'event',
    seq,
    channel: 't:a',
    event: 'message',
    data: seq,
    timestamp: 1,
    event_id: `e${seq}`,
    ...more,
  };
}

/** A frame of at most 65,535 bytes, as a server sends it. */
function frame(opcode, content) {
  const payload = Buffer.from(content);
  const isShort = payload.length < 126;
  const head = Buffer.alloc(isShort ? 2 : 4);
  head[0] = 0x80 | opcode;
  head[1] = isShort ? payload.length : 126;
  if (!isShort) head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

/** A client's frame at the beginning of `bytes`, if it is there as a whole; what the tests send is never longer. */
function unframe(bytes) {
  if (bytes.length < 2) return null;
  const isShort = (bytes[1] & 127) < 126;
  const begin = isShort ? 2 : 4;
  if (bytes.length < begin + 4) return null;
  const length = isShort ? bytes[1] & 127 : bytes.readUInt16BE(2);
  const size = begin + 4 + length;
  if (bytes.length < size) return null;
  const mask = bytes.subarray(begin, begin + 4);
  const payload = Buffer.from(bytes.subarray(begin + 4, size)).map((byte, index) => byte ^ mask[index % 4]);
  return { opcode: bytes[0] & 15, payload, size };
}

const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const OPCODE_TEXT = 1;
const OPCODE_CLOSE = 8;
