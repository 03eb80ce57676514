// A client of the Fanfare event server: either transport, one cursor, reconnecting until it is closed.
//
//   const feed = connect({ url: 'https://events.example', channels: ['repo:alice/demo'] });
//   feed.on('pr_opened', (event) => …);
//   for await (const item of feed) …
//
// # Contract       every event of the channels arrives once and in order, or lies in a `gap` at its place
// # Invariants     F1 the cursor covers exactly what was passed on, so whatever breaks, resuming from it is right
//                  F2 only the current link is listened to, and `#attach` alone changes it
//                  F3 until the server has confirmed a channel it is an addition, and has a `since` of its own
// # Bounds         commands in flight, the text of one block, the queue of each iterator
//
// A feed always has a link: a socket, a stream, or the rest between two of them. What a link does is reported to the
// feed; what it does after another has taken its place goes nowhere.

/** Opens a feed; see the README or the types for the options. */
export function connect(options) {
  return new Feed(options);
}

/**
 * Follows a stream of which only the newest counts, such as the figures that operators watch: it has no channels and no
 * cursor, and what was said while it was away is not asked for. `url` is that of the stream itself.
 */
export function follow(options) {
  return new Following(options);
}

/** What the server or the connection refused; `code` is stable, `message` is for people. */
export class FeedError extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'FeedError';
    this.code = code;
  }
}

class Feed extends EventTarget {
  #options;
  #link = restingLink();
  #state = 'idle';
  #ending = new AbortController();
  #isReopening = false;
  #lastCommand = 0;

  /** The channels that the cursor resumes, and those that wait for their confirmation. */
  #held = new Set();
  #additions = [];
  #filter;

  /** The text to resume from, and what it says where it is a whole cursor. */
  #since = null;
  #position = null;

  /** Failures in a row; how often of late only the WebSocket failed; opens since then. */
  #attempt = 0;
  #socketRefusals = 0;
  #fallbackOpens = 0;

  #token = null;
  #tokenReason = 'connect';
  #queues = new Set();

  constructor(options) {
    super();
    this.#options = checked(options);
    this.#filter = options.filter ?? null;
    this.#held = new Set(listOf(options.channels));
    this.#begin(textOf(options.since));
    const { signal } = options;
    const untilClosed = { signal: this.#ending.signal };
    signal?.addEventListener('abort', () => this.close(), untilClosed);
    globalThis.addEventListener?.('online', () => this.#online(), untilClosed);
    // The caller adds its listeners after the constructor returns, and must not miss the first status.
    queueMicrotask(() => (signal?.aborted ? this.close() : this.#open()));
  }

  /** Resuming from this text repeats nothing and misses nothing; `null` while there is no place to resume from. */
  get cursor() {
    return this.#since;
  }

  get state() {
    return this.#state;
  }

  get #isClosed() {
    return this.#ending.signal.aborted;
  }

  get transport() {
    return this.#link.transport;
  }

  get channels() {
    return [...new Set([...this.#held, ...this.#additions.flatMap((addition) => [...addition.channels])])];
  }

  /** Calls `listener` with the detail of each event of this name, until the returned function is called. */
  on(name, listener) {
    const listen = ({ detail }) => listener(detail);
    this.addEventListener(name, listen);
    return () => this.removeEventListener(name, listen);
  }

  close() {
    if (this.#isClosed) return;
    this.#ending.abort();
    this.#attach(restingLink());
    for (const { reject } of this.#additions.splice(0)) reject(new FeedError('closed', 'The feed was closed.'));
    this.#report('closed');
    for (const queue of this.#queues) queue.end();
  }

  // Commands

  /** Adds channels; resolves when the server has confirmed them. */
  subscribe(channels, { since } = {}) {
    const wanted = listOf(channels).filter((name) => !this.#held.has(name));
    if (this.#isClosed) return Promise.reject(new FeedError('closed', 'The feed was closed.'));
    if (wanted.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const addition = { channels: new Set(wanted), since: textOf(since), resolve, reject };
      this.#additions.push(addition);
      if (this.#link.send) this.#askFor(this.#link, addition);
      else if (this.#link.transport === 'sse' || this.#state === 'idle') this.#reopen();
    });
  }

  /** Takes channels away; some of their events may still come until it resolves. */
  unsubscribe(channels) {
    const ended = listOf(channels);
    for (const name of ended) {
      this.#held.delete(name);
      for (const addition of this.#additions) addition.channels.delete(name);
    }
    // A cursor is the place of what is held; a later first channel begins anew.
    if (this.#held.size === 0) this.#begin(null);
    if (ended.length === 0) return Promise.resolve();
    if (this.#link.transport === 'sse') this.#reopen();
    if (!this.#link.send) return Promise.resolve();
    const command = { type: 'unsubscribe', channels: ended };
    return new Promise((resolve, reject) =>
      // When the connection is lost the channels are just not asked for again.
      this.#ask(this.#link, command, { answers: ended.length, done: () => resolve(), failed: reject, lost: resolve }),
    );
  }

  /** Replaces the filter; `null` takes it away. The old one stays if the server refuses or the connection breaks. */
  async setFilter(filter) {
    if (this.#link.send) await this.#promise({ type: 'filter', filter: filter ?? {} });
    this.#filter = filter ?? null;
    if (this.#link.transport === 'sse') this.#reopen();
  }

  /** Publishes over the open WebSocket, else by a request. The code `unknown` means: it may have been published. */
  publish(message) {
    return this.#link.send ? this.#promise({ ...message, type: 'publish' }) : this.#post(message);
  }

  /** Asks the server for a sign of life; it says how far this connection is. */
  ping() {
    if (this.#link.send) return this.#promise({ type: 'ping' });
    return Promise.reject(new FeedError('not_open', 'There is no open WebSocket.'));
  }

  /** Asks for a new token and gives it to the server, without a new connection where there is a WebSocket. */
  async refreshToken() {
    this.#token = null;
    this.#tokenReason = 'refresh';
    const token = await this.#currentToken();
    if (this.#link.transport === 'sse') this.#reopen();
    if (!this.#link.send || token === null) return;
    await this.#promise({ type: 'auth', token }).catch((error) => {
      // A server without tokens does not know the command, and needs none.
      if (!['bad_message', 'unsupported'].includes(error.code)) throw error;
    });
  }

  async #post(message) {
    const token = await this.#currentToken();
    const headers = { 'content-type': 'application/json' };
    if (token !== null) headers.authorization = `Bearer ${token}`;
    const unknown = () => new FeedError('unknown', 'No answer: it may or may not have been published.');
    const answer = await fetch(new URL('publish', this.#options.url), {
      method: 'POST',
      headers,
      body: JSON.stringify(message),
    }).catch(() => Promise.reject(unknown()));
    const refusal = await refusalOf(answer);
    if (refusal !== null) throw new FeedError(refusal.code, refusal.message);
    return answer.json().catch(() => Promise.reject(unknown()));
  }

  #promise(command) {
    return new Promise((resolve, reject) => this.#ask(this.#link, command, { done: resolve, failed: reject }));
  }

  /**
   * Sends a command. Answers change the feed in `done`, at their place in the stream: a promise would come later than
   * the events that follow in the same read.
   */
  #ask(link, command, { answers = 1, done, failed, lost = failed }) {
    if (COMMANDS_MAX <= link.commands.size) {
      return failed(new FeedError('too_many_commands', `${COMMANDS_MAX} commands wait for their answers.`));
    }
    const id = ++this.#lastCommand;
    link.commands.set(id, { left: answers, done, failed, lost });
    link.send(JSON.stringify({ ...command, id }));
  }

  #askFor(link, addition) {
    const { channels, since } = addition;
    if (channels.size === 0) return this.#confirm(addition, null);
    const command = this.#subscribing(channels, since);
    this.#ask(link, command, {
      answers: channels.size,
      done: (place) => this.#confirm(addition, place),
      failed: (error) => this.#refuse(addition, error),
      // It is asked for again on the next connection.
      lost: () => {},
    });
  }

  #subscribing(channels, since) {
    // What is `undefined` is left out of the JSON.
    const { onSlow } = this.#options;
    return { type: 'subscribe', channels: [...channels], since: since ?? undefined, on_slow: onSlow };
  }

  /** From `place` on the channels are there: that is where everything that was held has got to, too. */
  #confirm(addition, place) {
    this.#additions = this.#additions.filter((each) => each !== addition);
    const isFirst = this.#held.size === 0 && addition.channels.size > 0;
    for (const name of addition.channels) this.#held.add(name);
    if (isFirst) this.#begin(addition.since);
    if (place !== null && (!isFirst || !hasNumber(this.#since))) this.#moveTo(place);
    addition.resolve();
  }

  #refuse(addition, error) {
    this.#additions = this.#additions.filter((each) => each !== addition);
    addition.reject(error);
  }

  // Connecting

  async #open() {
    if (this.#isClosed) return;
    const transport = this.#chooseTransport();
    if (transport === 'sse') this.#refuseUnstreamable();
    const link = this.#attach(restingLink());
    if (this.channels.length === 0) return this.#report('idle');
    link.transport = transport;
    this.#report('connecting');
    try {
      const token = await this.#currentToken();
      if (this.#link !== link) return;
      this.#watch(link);
      if (transport === 'ws') this.#openSocket(link, token);
      else if (typeof EventSource === 'undefined') this.#openStream(link, token);
      else await this.#openEventSource(link, token);
    } catch (error) {
      const refusal = { code: 'cannot_connect', message: String(error?.message ?? error) };
      if (this.#link === link) this.#ended(link, { refusal });
    }
  }

  #openSocket(link, token) {
    const address = this.#address('ws', token);
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(address);
    link.close = () => socket.close();
    socket.onopen = this.#ifCurrent(link, () => {
      link.send = (text) => socket.send(text);
      this.#enter(link);
    });
    socket.onmessage = this.#ifCurrent(link, ({ data }) => this.#read(link, data, null));
    socket.onclose = this.#ifCurrent(link, ({ code, reason }) => this.#ended(link, { code, reason }));
    // Node 20 does not close a WebSocket that never opened.
    socket.onerror = this.#ifCurrent(link, () => link.send || this.#ended(link));
  }

  /**
   * Asks for everything that is wanted, by commands: they have no bound on the length of an address, and their refusals
   * can be read, which those of a WebSocket's handshake cannot.
   */
  #enter(link) {
    const failed = this.#ifCurrent(link, ({ code, message }) => this.#ended(link, { refusal: { code, message } }));
    const lost = () => {};
    if (this.#filter !== null) {
      this.#ask(link, { type: 'filter', filter: this.#filter }, { done: () => {}, failed, lost });
    }
    if (this.#held.size === 0) {
      this.#entered(link);
    } else {
      const command = this.#subscribing(this.#held, this.#since);
      const done = (place) => {
        // With a number to resume from, what lies between it and here is still to come, as events or as a gap.
        if (!hasNumber(this.#since)) this.#moveTo(place);
        this.#entered(link);
      };
      this.#ask(link, command, { answers: this.#held.size, done, failed, lost });
    }
    for (const addition of [...this.#additions]) this.#askFor(link, addition);
  }

  #openStream(link, token) {
    const abort = new AbortController();
    const { additions, address, headers } = this.#streamRequest(token);
    link.close = () => abort.abort();
    const blocks = new BlockReader({
      take: this.#ifCurrent(link, (id, data) => this.#takeBlock(link, id, data)),
      retry: (ms) => (link.retryMs = ms),
    });
    const read = async () => {
      const answer = await fetch(address, { headers, signal: abort.signal, cache: 'no-store' });
      const refusal = await refusalOf(answer);
      if (refusal !== null) return refusal;
      if (this.#link === link) this.#streamOpened(link, additions);
      for await (const text of textsOf(answer)) {
        link.silentThirds = 0;
        blocks.push(text);
      }
      return null;
    };
    const ended = this.#ifCurrent(link, (refusal) => this.#ended(link, { refusal, retryMs: link.retryMs }));
    read().then(ended, (error) => ended(error instanceof FeedError ? error : null));
  }

  async #openEventSource(link, token) {
    // An EventSource hides the blocks that only carry an id, and so the place where a new feed begins.
    if (!isCursor(this.#resumePoint())) await this.#findBeginning(link, token);
    if (this.#link !== link) return;
    const { additions, address } = this.#streamRequest(token);
    const source = new EventSource(address);
    link.isBlind = true;
    link.close = () => source.close();
    const take = this.#ifCurrent(link, ({ lastEventId, data }) => this.#takeBlock(link, lastEventId, data));
    for (const name of ['message', 'gap', 'system']) source.addEventListener(name, take);
    source.onopen = this.#ifCurrent(link, () => {
      clearTimeout(link.timers.patience);
      delete link.timers.patience;
      this.#streamOpened(link, additions);
    });
    source.onerror = this.#ifCurrent(link, () => {
      // The browser alone knows what `retry:` said, and ids of quiet times. So it may try once by itself, and has as
      // long as our own back-off would take at most.
      const mayTry = source.readyState === EventSource.CONNECTING && link.isEntered && !link.timers.patience;
      if (!mayTry) return this.#ended(link);
      this.#remind(link, 'patience', this.#options.retryMaxMs, () => this.#ended(link));
      this.#report('connecting');
    });
  }

  /** Takes the id of a stream's first block as the cursor; a gap there will be told by the stream itself. */
  async #findBeginning(link, token) {
    const abort = new AbortController();
    const { address, headers } = this.#streamRequest(token);
    let first = null;
    const blocks = new BlockReader({ take: (id, data) => (first ??= { id, data }), retry: () => {} });
    link.close = () => abort.abort();
    try {
      const answer = await fetch(address, { headers, signal: abort.signal, cache: 'no-store' });
      const refusal = await refusalOf(answer);
      if (refusal !== null && this.#link === link) return this.#ended(link, { refusal });
      for await (const text of textsOf(answer)) {
        blocks.push(text);
        if (first !== null) break;
      }
    } catch {
      if (this.#link === link) this.#ended(link);
    } finally {
      abort.abort();
    }
    if (this.#link !== link || first === null || first.data !== null) return;
    if (this.#held.size > 0) this.#begin(first.id);
    else this.#additions[0].since = first.id;
  }

  /** An address knows one `since`, so an addition with its own can only be the whole of a stream. */
  #refuseUnstreamable() {
    if (this.#held.size === 0 && this.#additions.length < 2) return;
    const message = 'A stream cannot add channels with a `since` of their own; a WebSocket can.';
    for (const addition of this.#additions) {
      if (addition.since !== null) this.#refuse(addition, new FeedError('unsupported', message));
    }
  }

  #streamRequest(token) {
    // Browsers cannot set headers on an EventSource, and would ask for leave before those of a foreign request.
    const inQuery = typeof EventSource !== 'undefined';
    const address = this.#address('events', inQuery ? token : null);
    const since = this.#resumePoint();
    for (const name of this.channels) address.searchParams.append('channel', name);
    for (const [name, value] of Object.entries(this.#filter ?? {})) {
      for (const each of listOf(value, '')) address.searchParams.append(name, each);
    }
    if (since !== null) address.searchParams.set('last_event_id', since);
    if (this.#options.onSlow !== undefined) address.searchParams.set('on_slow', this.#options.onSlow);
    // Without names, because a listener for each would need every custom kind in advance.
    address.searchParams.set('unnamed', '');
    const headers = { accept: 'text/event-stream' };
    if (token !== null && !inQuery) headers.authorization = `Bearer ${token}`;
    return { additions: [...this.#additions], address, headers };
  }

  #resumePoint() {
    return this.#held.size > 0 ? this.#since : (this.#additions[0]?.since ?? null);
  }

  #streamOpened(link, additions) {
    for (const addition of additions) if (this.#additions.includes(addition)) this.#confirm(addition, null);
    this.#entered(link);
  }

  #takeBlock(link, id, data) {
    if (data !== null) return this.#read(link, data, positionOf(id));
    const place = positionOf(id);
    if (place !== null) this.#tellMove(() => this.#moveTo(place));
  }

  #address(path, token) {
    const address = new URL(path, this.#options.url);
    if (token !== null) address.searchParams.set('access_token', token);
    return address;
  }

  async #currentToken() {
    const { token } = this.#options;
    if (typeof token !== 'function') return token ?? null;
    this.#token ??= (await token(this.#tokenReason)) ?? null;
    this.#tokenReason = 'connect';
    return this.#token;
  }

  #chooseTransport() {
    const { transport } = this.#options;
    if (transport !== 'auto') return transport;
    if (typeof WebSocket === 'undefined') return 'sse';
    if (this.#socketRefusals < SOCKET_REFUSALS_MAX) return 'ws';
    this.#fallbackOpens += 1;
    return this.#fallbackOpens % SOCKET_TRY_EVERY === 0 ? 'ws' : 'sse';
  }

  // Links

  /** Everything of the link before is over; what it was asked and has not answered is told so. */
  #attach(link) {
    const before = this.#link;
    this.#link = link;
    Object.values(before.timers).forEach((timer) => clearTimeout(timer));
    before.close();
    for (const { lost } of before.commands.values()) {
      lost(new FeedError('unknown', 'The connection broke before the answer.'));
    }
    return link;
  }

  /** Sets a timer of the link, in place of the one of that name. */
  #remind(link, name, ms, act) {
    clearTimeout(link.timers[name]);
    link.timers[name] = setTimeout(act, ms);
  }

  #ifCurrent(link, handle) {
    return (...values) => {
      if (this.#link === link) handle(...values);
    };
  }

  /** Several changes in one go share one new stream. */
  #reopen() {
    if (this.#isReopening) return;
    this.#isReopening = true;
    queueMicrotask(() => {
      this.#isReopening = false;
      if (this.#link.transport === 'sse' || this.#state === 'idle') this.#open();
    });
  }

  #entered(link) {
    link.isEntered = true;
    link.silentThirds = 0;
    if (link.transport === 'ws') this.#socketRefusals = 0;
    // Only a connection that lasts proves that the trouble is over.
    this.#remind(link, 'stable', this.#options.stableMs, () => (this.#attempt = 0));
    this.#report('open');
  }

  /** A peer that vanished sends nothing, not even an end. It is asked before it is given up. */
  #watch(link) {
    this.#remind(link, 'open', OPEN_MS_MAX, () => link.isEntered || this.#ended(link));
    const look = () => {
      link.silentThirds += 1;
      if (link.silentThirds === 2) link.send?.('{"type":"ping"}');
      if (link.silentThirds < 3) return;
      // An EventSource may have been quiet as it should be, so it is renewed without a wait.
      if (link.isBlind && link.isEntered) this.#open();
      else this.#ended(link);
    };
    link.timers.silence = setInterval(look, this.#options.silenceMs / 3);
  }

  async #ended(link, { code, reason, refusal = null, retryMs = 0 } = {}) {
    const farewell = positionOf(reason);
    if (link.isEntered && link.replay === null && farewell?.epoch === this.#position?.epoch && farewell !== null) {
      this.#tellMove(() => this.#moveTo(farewell));
    }
    const rest = this.#attach(restingLink());
    this.#attempt += 1;
    const why = refusal ?? (link.isEntered ? null : await this.#explain(link, rest));
    // It may have been closed, or opened again, while we asked or by a listener.
    if (this.#link !== rest) return;
    if (code === CLOSE_UNAUTHORIZED || why?.status === 401 || why?.code === 'unauthorized') {
      this.#token = null;
      this.#tokenReason = 'unauthorized';
    }
    if (why?.code === 'no_websocket') this.#socketRefusals += 1;
    if (why !== null) this.#fire('error', { code: why.code, message: why.message });
    else if (code === CLOSE_UNAUTHORIZED) this.#fire('error', { code: 'unauthorized', message: reason });
    // A server that goes away says so to everyone at once.
    const spreadMs = code === CLOSE_GOING_AWAY ? Math.random() * GOING_AWAY_SPREAD_MS : 0;
    if (this.#link === rest) this.#wait(rest, Math.max(retryMs, spreadMs, why?.retryAfterMs ?? 0));
  }

  /**
   * Neither WebSocket nor EventSource tells a script why it did not open; the same question by `fetch` does. Nothing
   * comes back if there is no answer either: then it is not the transport that is at fault.
   */
  async #explain(link, rest) {
    if (link.transport === 'sse' && !link.isBlind) return null;
    const abort = new AbortController();
    const limit = setTimeout(() => abort.abort(), OPEN_MS_MAX);
    rest.close = () => abort.abort();
    try {
      const { address, headers } = this.#streamRequest(await this.#currentToken());
      const answer = await fetch(address, { headers, signal: abort.signal, cache: 'no-store' });
      return (await refusalOf(answer)) ?? (link.transport === 'ws' ? NO_WEBSOCKET : null);
    } catch {
      return null;
    } finally {
      clearTimeout(limit);
      abort.abort();
    }
  }

  #wait(rest, leastMs) {
    const delayMs = delayMsOf(this.#options, this.#attempt, leastMs);
    this.#remind(rest, 'retry', delayMs, () => this.#open());
    this.#report('waiting', { delayMs });
  }

  #online() {
    if (this.#state !== 'waiting') return;
    this.#attempt = 0;
    this.#open();
  }

  // Receiving

  #read(link, text, place) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.#ended(link, { refusal: { code: 'bad_message', message: 'The server sent what is not JSON.' } });
    }
    link.silentThirds = 0;
    this.#take(link, message, place);
  }

  /** `place` is the id's where there is one; over a WebSocket it follows from the message and the link's epoch. */
  #take(link, message, place) {
    const at = (seq) => place ?? { epoch: link.epoch, seq };
    switch (message.type) {
      case 'event':
        if (link.replay !== null) this.#takeReplayed(link, message, message.seq);
        else if (!this.#covers(at(message.seq))) this.#pass(message, at(message.seq));
        break;
      case 'gap':
        if (link.replay !== null) this.#takeReplayed(link, message, message.to);
        else this.#takeGap(message, at(resumeAfter(message) ?? link.base));
        break;
      case 'system':
        if (message.seq === undefined || link.replay !== null) this.#pass(message, null);
        else if (!this.#covers(at(message.seq))) this.#pass(message, at(message.seq));
        break;
      case 'replay':
        // Replays are answered in the order of their commands, so it is that of the oldest addition that asked.
        link.replay = this.#additions.find(({ since }) => since !== null) ?? {};
        break;
      case 'subscribed':
        Object.assign(link, { epoch: message.epoch, base: message.seq, replay: null });
        this.#answer(link, message, { epoch: message.epoch, seq: message.seq });
        break;
      case 'cursor':
      case 'pong':
        if (message.seq !== undefined && link.isEntered && link.replay === null) {
          this.#tellMove(() => this.#moveTo(at(message.seq)));
        }
        this.#answer(link, message, { seq: message.seq });
        break;
      case 'published':
        this.#answer(link, message, { seq: message.seq });
        break;
      case 'error':
        this.#takeError(link, message);
        break;
      case 'unsubscribed':
        // Without a reason it is the answer to a command.
        if (message.reason === undefined) this.#answer(link, message, undefined);
        else this.#takeWithdrawal(message);
        break;
      default:
        this.#answer(link, message, undefined);
    }
  }

  /**
   * Between `replay` and `subscribed` come events of added channels from before the cursor, which therefore stays. What
   * came of them moves the addition's own `since`, so that a break here repeats none.
   */
  #takeReplayed(link, message, seq) {
    if (Number.isInteger(seq)) link.replay.since = `${link.epoch}-${seq}`;
    this.#pass(message, null);
  }

  #takeGap(message, place) {
    // Numbers begin anew in another log, so the old ones must not hide its events.
    if (message.cause === 'epoch') this.#position = null;
    this.#pass(message, place);
  }

  /** The server no longer lets us have a channel: it is not asked for again. The server writes a last '**' as '*'. */
  #takeWithdrawal({ channel, reason }) {
    const isMeant = (name) => name === channel || name.replace(/\*\*$/, '*') === channel;
    for (const name of [...this.#held].filter(isMeant)) this.#held.delete(name);
    if (this.#held.size === 0) this.#begin(null);
    this.#fire('error', { code: reason, message: `${channel} is no longer granted.` });
  }

  #takeError(link, { id, code, message }) {
    const command = link.commands.get(id);
    if (command === undefined) return this.#fire('error', { code, message });
    link.commands.delete(id);
    command.failed(new FeedError(code, message));
  }

  #answer(link, { id }, value) {
    const command = link.commands.get(id);
    if (command === undefined) return;
    command.left -= 1;
    if (command.left > 0) return;
    link.commands.delete(id);
    this.#tellMove(() => command.done(value));
  }

  /** Passes an item on, with the cursor that comes after it. */
  #pass(item, place) {
    this.#tellMove(() => {
      if (place !== null) this.#moveTo(place);
      item.cursor = this.#since;
      this.#fire(item.type, item);
      // A kind that is called like one of our own events comes as `event` alone.
      if (item.type === 'event' && !OWN_EVENTS.includes(item.event)) this.#fire(item.event, item);
      for (const queue of this.#queues) queue.push(item);
    });
    // A reader that is behind is a connection that is behind: we stop here, and later resume from the cursor.
    if ([...this.#queues].some((queue) => queue.isFull)) this.#pause();
  }

  // Cursor

  #begin(since) {
    this.#since = since;
    this.#position = positionOf(since);
  }

  #covers(place) {
    return this.#position !== null && this.#position.epoch === place.epoch && place.seq <= this.#position.seq;
  }

  /** Never moves back within one log. Without channels there is nothing whose place it could be. */
  #moveTo(place) {
    if (this.#held.size > 0 && !this.#covers(place)) this.#begin(`${place.epoch}-${place.seq}`);
  }

  /** Tells the new cursor, if `change` has made one, after whatever `change` has told. */
  #tellMove(change) {
    const before = this.#since;
    change();
    if (this.#since !== before && this.#since !== null) this.#fire('cursor', { cursor: this.#since });
  }

  // Telling

  #report(state, more = {}) {
    this.#state = state;
    this.#fire('status', { state, attempt: this.#attempt, transport: this.#link.transport, ...more });
  }

  #fire(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  // Iterating

  /** Events, gaps and announcements from now on, until the feed is closed. */
  [Symbol.asyncIterator]() {
    const queue = new ItemQueue(this.#options.queueMax, () => this.#unpause());
    if (this.#isClosed) queue.end();
    else this.#queues.add(queue);
    const leave = () => {
      this.#queues.delete(queue);
      queue.end();
      this.#unpause();
    };
    return {
      next: () => queue.next(),
      return: async () => (leave(), { done: true, value: undefined }),
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  #pause() {
    if (this.#isClosed || this.#state === 'paused') return;
    this.#attach(restingLink());
    this.#report('paused');
  }

  #unpause() {
    if (this.#state === 'paused' && [...this.#queues].every((queue) => queue.hasRoom)) this.#open();
  }
}

/** A stream without a cursor: read by `fetch`, so that a token goes into a header, and read again when it has ended. */
class Following extends EventTarget {
  #options;
  #state = 'connecting';
  #ending = new AbortController();
  #attempt = 0;
  #token = null;
  #tokenReason = 'connect';

  constructor(options) {
    super();
    this.#options = checked(options);
    const { signal } = options;
    signal?.addEventListener('abort', () => this.close(), { signal: this.#ending.signal });
    queueMicrotask(() => (signal?.aborted ? this.close() : this.#run()));
  }

  get state() {
    return this.#state;
  }

  /** Calls `listener` with the detail of each event of this name, until the returned function is called. */
  on(name, listener) {
    const listen = ({ detail }) => listener(detail);
    this.addEventListener(name, listen);
    return () => this.removeEventListener(name, listen);
  }

  close() {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort();
    this.#report('closed');
  }

  async #run() {
    while (!this.#ending.signal.aborted) {
      this.#report('connecting');
      const beganMs = performance.now();
      const { refusal, retryMs } = await this.#read();
      if (this.#ending.signal.aborted) return;
      this.#attempt = performance.now() - beganMs < this.#options.stableMs ? this.#attempt + 1 : 1;
      if (refusal?.status === 401) {
        this.#token = null;
        this.#tokenReason = 'unauthorized';
      }
      if (refusal !== null) this.#fire('error', { code: refusal.code, message: refusal.message });
      const delayMs = delayMsOf(this.#options, this.#attempt, Math.max(retryMs, refusal?.retryAfterMs ?? 0));
      this.#report('waiting', { delayMs });
      await this.#rest(delayMs);
    }
  }

  /** One connection, to its end; returns what the server has refused, and when it wants us back. */
  async #read() {
    const abort = new AbortController();
    const end = () => abort.abort();
    this.#ending.signal.addEventListener('abort', end);
    let retryMs = 0;
    const blocks = new BlockReader({ take: (_, data) => this.#take(data), retry: (ms) => (retryMs = ms) });
    let silence = setTimeout(end, this.#options.silenceMs);
    try {
      const headers = { accept: 'text/event-stream' };
      const token = await this.#currentToken();
      if (token !== null) headers.authorization = `Bearer ${token}`;
      const answer = await fetch(this.#options.url, { headers, signal: abort.signal, cache: 'no-store' });
      const refusal = await refusalOf(answer);
      if (refusal !== null) return { refusal, retryMs };
      this.#report('open');
      for await (const text of textsOf(answer)) {
        clearTimeout(silence);
        silence = setTimeout(end, this.#options.silenceMs);
        blocks.push(text);
      }
      return { refusal: null, retryMs };
    } catch (error) {
      return { refusal: error instanceof FeedError ? error : null, retryMs };
    } finally {
      clearTimeout(silence);
      this.#ending.signal.removeEventListener('abort', end);
      abort.abort();
    }
  }

  #take(data) {
    if (data === null || this.#ending.signal.aborted) return;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      throw new FeedError('bad_message', 'The server sent what is not JSON.');
    }
    this.#fire('message', message);
  }

  async #currentToken() {
    const { token } = this.#options;
    if (typeof token !== 'function') return token ?? null;
    this.#token ??= (await token(this.#tokenReason)) ?? null;
    this.#tokenReason = 'connect';
    return this.#token;
  }

  /** A wait that the end, or the browser's word that there is a network again, cuts short. */
  #rest(delayMs) {
    return new Promise((resolve) => {
      const awake = new AbortController();
      const wake = () => {
        clearTimeout(timer);
        awake.abort();
        resolve();
      };
      const timer = setTimeout(wake, delayMs);
      globalThis.addEventListener?.('online', wake, { signal: awake.signal });
      this.#ending.signal.addEventListener('abort', wake, { signal: awake.signal });
    });
  }

  #report(state, more = {}) {
    this.#state = state;
    this.#fire('status', { state, attempt: this.#attempt, ...more });
  }

  #fire(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** What one reader has not taken yet; the feed stops before it would hold more than `max`. */
class ItemQueue {
  #items = [];
  #takers = [];
  #max;
  #taken;
  #hasEnded = false;

  constructor(max, taken) {
    this.#max = max;
    this.#taken = taken;
  }

  get isFull() {
    return this.#max <= this.#items.length;
  }

  /** Half of it is free, so that it is worth connecting again. */
  get hasRoom() {
    return this.#items.length * 2 <= this.#max;
  }

  push(value) {
    if (this.#takers.length > 0) this.#takers.shift()({ done: false, value });
    else this.#items.push(value);
  }

  end() {
    this.#hasEnded = true;
    for (const take of this.#takers.splice(0)) take({ done: true, value: undefined });
  }

  next() {
    if (this.#items.length > 0) {
      const value = this.#items.shift();
      this.#taken();
      return Promise.resolve({ done: false, value });
    }
    if (this.#hasEnded) return Promise.resolve({ done: true, value: undefined });
    return new Promise((take) => this.#takers.push(take));
  }
}

/** Reads the blocks of an event stream, for where there is no EventSource. Names of blocks are not looked at. */
class BlockReader {
  #take;
  #retry;
  #rest = '';
  #data = null;
  #id = null;

  constructor({ take, retry }) {
    this.#take = take;
    this.#retry = retry;
  }

  push(text) {
    // A CR at the end may be half of a line end, so it waits for what follows.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!\n|$)/);
    this.#rest = lines.pop();
    lines.forEach((line) => this.#line(line));
    if (BLOCK_CHARS_MAX < this.#rest.length + (this.#data?.length ?? 0)) {
      throw new FeedError('block_too_long', `A block has more than ${BLOCK_CHARS_MAX} characters.`);
    }
  }

  #line(line) {
    if (line === '') return this.#blockEnds();
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === 'id') this.#id = value;
    if (field === 'data') this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    if (field === 'retry' && /^\d+$/.test(value)) this.#retry(Number(value));
  }

  #blockEnds() {
    const data = this.#data;
    this.#data = null;
    if (data !== null || this.#id !== null) this.#take(this.#id, data);
  }
}

/** The link between two connections. Its members are those of all: `send` while commands can be sent, `retryMs` what
 * the stream said, `replay` the addition whose past is coming. */
function restingLink() {
  return {
    transport: null,
    close: () => {},
    send: null,
    timers: {},
    commands: new Map(),
    epoch: null,
    base: 0,
    replay: null,
    isEntered: false,
    isBlind: false,
    retryMs: 0,
    silentThirds: 0,
  };
}

function checked({ url, token, transport = 'auto', onSlow, ...numbers }) {
  if (!TRANSPORTS.includes(transport)) throw new TypeError(`unknown transport ${transport}`);
  if (onSlow !== undefined && !POLICIES.includes(onSlow)) throw new TypeError(`unknown policy ${onSlow}`);
  if (transport === 'ws' && typeof WebSocket === 'undefined') throw new TypeError('there is no WebSocket here');
  const options = { url: new URL(url ?? '', globalThis.location?.href), token, transport, onSlow };
  for (const [name, [least, standard]] of Object.entries(NUMBERS)) {
    const value = numbers[name] ?? standard;
    if (!Number.isFinite(value) || value < least) throw new TypeError(`${name} is a number from ${least}`);
    options[name] = value;
  }
  return options;
}

/** How long to wait before the next try, in milliseconds: `leastMs`, and a time that failures in a row make longer. */
function delayMsOf({ retryBaseMs, retryMaxMs }, attempt, leastMs) {
  const ceilingMs = Math.min(retryMaxMs, retryBaseMs * 2 ** (attempt - 1));
  // All of it is chance, so that a restarted server does not meet all its clients at once.
  return Math.min(retryMaxMs, leastMs + Math.random() * ceilingMs);
}

/** One or several, each once; an empty list becomes `empty`, if that is given. */
function listOf(values, empty) {
  if (values === undefined || values === null) return [];
  const list = typeof values === 'object' ? [...new Set(values)] : [values];
  return list.length === 0 && empty !== undefined ? [empty] : list;
}

function textOf(since) {
  return since === undefined || since === null ? null : String(since);
}

/** The number to resume after where this gap was the last to come. What is kept of a skipped range follows its gap. */
function resumeAfter({ cause, from, to }) {
  return cause === 'skipped' ? from - 1 : to;
}

/** The log and the number of a cursor, or nothing if the text is not a whole one. */
function positionOf(text) {
  const parts = /^(.+)-(\d+)$/.exec(text ?? '');
  return parts === null ? null : { epoch: parts[1], seq: Number(parts[2]) };
}

function isCursor(text) {
  return positionOf(text) !== null;
}

/** A bare number is one, too; `earliest` is none. */
function hasNumber(since) {
  return /\d$/.test(since ?? '');
}

/** What an answer refuses, by its problem document where it has one; nothing if it is a success. */
async function refusalOf(answer) {
  if (answer.ok) return null;
  const problem = await answer.json().catch(() => ({}));
  return {
    status: answer.status,
    code: problem.code ?? `http_${answer.status}`,
    message: problem.detail ?? problem.title ?? answer.statusText,
    retryAfterMs: 1000 * (Number(answer.headers.get('retry-after')) || 0),
  };
}

async function* textsOf(answer) {
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield decoder.decode(value, { stream: true });
  }
}

const TRANSPORTS = ['auto', 'ws', 'sse'];
const POLICIES = ['gap', 'latest', 'close'];
const NO_WEBSOCKET = { code: 'no_websocket', message: 'The server answers, but no WebSocket opens.' };
const OWN_EVENTS = ['event', 'gap', 'system', 'cursor', 'status', 'error'];

/** The least and the usual value of each option that is a number. */
const NUMBERS = {
  retryBaseMs: [1, 250],
  retryMaxMs: [1, 30_000],
  /** A connection that lived this long makes the next wait a short one. */
  stableMs: [0, 5_000],
  /** Twice the 30 s after which a quiet server says something of itself, and time for an answer. */
  silenceMs: [3, 75_000],
  queueMax: [1, 1_024],
};

/** How long opening a connection may take, until the server has confirmed what is held. */
const OPEN_MS_MAX = 15_000;
/** As long as the server spreads the ends of its streams. */
const GOING_AWAY_SPREAD_MS = 3_000;
/** So often in a row only the WebSocket has to fail before a stream is taken, of which every fourth tries it again. */
const SOCKET_REFUSALS_MAX = 2;
const SOCKET_TRY_EVERY = 4;
const COMMANDS_MAX = 1_024;
/** Far above the largest event a server takes unless it was told to take larger ones. */
const BLOCK_CHARS_MAX = 64 * 1_024 * 1_024;
const CLOSE_GOING_AWAY = 1001;
const CLOSE_UNAUTHORIZED = 4401;
