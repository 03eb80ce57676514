// A client of the event server: either transport, one cursor, reconnecting without end.
//
//   const feed = connect({ url, channels, transport: 'ws' | 'sse', since });
//   feed.addEventListener('event', ({ detail }) => …);
//
// It fires, each with a `detail`:
//   event   the event as the server wrote it; in the order of `seq`, each at most once
//   gap     {from, to, cause, matched?} for what will not come, at its place among the events
//   system  an announcement
//   cursor  {cursor}: resuming from this text misses nothing and repeats nothing
//   status  {state: 'connecting' | 'open' | 'waiting' | 'closed', attempt, delayMs?}
//   error   {code, message}: what the server refused
//
// `url` is any address of the server. `since` is a cursor, `earliest`, or nothing for only what is new.
// `close()` ends it for good; the `cursor` member is where a later connection should go on.

export function connect(options) {
  return new Feed(options);
}

class Feed extends EventTarget {
  #base;
  #channels;
  #transport;
  #since;
  #epoch = null;
  #seen = 0;
  #link = null;
  #attempt = 0;
  #retryTimer = null;

  constructor({ url, channels, transport = 'ws', since = null }) {
    super();
    if (transport !== 'ws' && transport !== 'sse') throw new TypeError(`unknown transport ${transport}`);
    if (channels.length === 0) throw new TypeError('at least one channel is needed');
    this.#base = url;
    this.#channels = channels;
    this.#transport = transport;
    this.#since = since;
    this.#startFrom(since);
    // The caller adds its listeners after the constructor returns, and must not miss the first status.
    queueMicrotask(() => this.#open());
  }

  get cursor() {
    return this.#since;
  }

  close() {
    if (this.#link === CLOSED) return;
    this.#dropLink();
    clearTimeout(this.#retryTimer);
    this.#link = CLOSED;
    this.#report('closed');
  }

  // Connecting

  #open() {
    if (this.#link === CLOSED) return;
    this.#report('connecting');
    this.#link = this.#transport === 'ws' ? this.#openSocket() : this.#openStream();
  }

  #openSocket() {
    const socket = new WebSocket(this.#address('/ws', 'since'));
    const link = { close: () => socket.close(), opened: false, epochKnown: false, silence: null };
    // A peer that vanished sends nothing, not even an end: ask it, and give up when it does not answer.
    const listen = () => {
      clearTimeout(link.silence);
      link.silence = setTimeout(() => {
        socket.send('{"type":"ping"}');
        link.silence = setTimeout(() => this.#lost(link), ANSWER_MS_MAX);
      }, SILENCE_MS_MAX);
    };
    socket.onopen = () => this.#is(link) && (this.#opened(link), listen());
    socket.onmessage = ({ data }) => this.#is(link) && (listen(), this.#receive(link, JSON.parse(data), null));
    socket.onclose = () => this.#is(link) && this.#lost(link);
    return link;
  }

  #openStream() {
    // Unnamed, because a listener per event name would need every custom name in advance.
    const stream = new EventSource(this.#address('/events', 'last_event_id', { unnamed: '' }));
    const link = { close: () => stream.close(), opened: false, epochKnown: false, retriedByBrowser: false };
    const receive = ({ data, lastEventId }) =>
      this.#is(link) && this.#receive(link, JSON.parse(data), lastEventId);
    stream.onmessage = receive;
    stream.addEventListener('gap', receive);
    stream.addEventListener('system', receive);
    stream.onopen = () => {
      link.retriedByBrowser = false;
      if (this.#is(link)) this.#opened(link);
    };
    stream.onerror = () => {
      if (!this.#is(link)) return;
      // The browser also remembers ids of blocks without data, which move a quiet cursor on and which no
      // script can see. So it may try once by itself before our back-off takes over.
      const browserTries = stream.readyState === EventSource.CONNECTING && link.opened && !link.retriedByBrowser;
      if (!browserTries) return this.#lost(link);
      link.retriedByBrowser = true;
      this.#report('connecting');
    };
    return link;
  }

  #address(path, cursorMember, extra = {}) {
    const address = new URL(path, this.#base);
    if (path === '/ws') address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
    for (const channel of this.#channels) address.searchParams.append('channel', channel);
    if (this.#since !== null) address.searchParams.set(cursorMember, this.#since);
    for (const [name, value] of Object.entries(extra)) address.searchParams.set(name, value);
    return address;
  }

  #opened(link) {
    link.opened = true;
    this.#attempt = 0;
    this.#report('open');
  }

  #lost(link) {
    if (!link.opened) this.#explain();
    this.#dropLink();
    this.#attempt += 1;
    // Half of the delay is chance, so that a restarted server does not meet all its clients at once.
    const ceiling = Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** (this.#attempt - 1));
    const delayMs = ceiling * (0.5 + Math.random() / 2);
    this.#retryTimer = setTimeout(() => this.#open(), delayMs);
    this.#report('waiting', delayMs);
  }

  // Neither WebSocket nor EventSource tells a script why it was refused; the same question by `fetch` does.
  async #explain() {
    const abort = new AbortController();
    try {
      const address = this.#address('/events', 'last_event_id');
      const answer = await fetch(address, { signal: abort.signal, headers: { accept: 'text/event-stream' } });
      if (answer.ok || this.#link === CLOSED) return;
      const problem = await answer.json();
      this.#fire('error', { code: problem.code, message: problem.detail ?? problem.title });
    } catch {
      // Unreachable, or not a problem document: the status already says that we are waiting.
    } finally {
      abort.abort();
    }
  }

  #is(link) {
    return this.#link === link;
  }

  #dropLink() {
    clearTimeout(this.#link?.silence);
    this.#link?.close?.();
    this.#link = null;
  }

  // Receiving

  #receive(link, message, idText) {
    switch (message.type) {
      case 'event':
        if (message.seq <= this.#seen) break;
        this.#fire('event', message);
        this.#advance(message.seq, idText);
        break;
      case 'gap':
        if (message.cause === 'epoch') this.#enterOtherLog(link, message, idText);
        this.#fire('gap', message);
        if (message.to !== null) this.#advance(message.to, idText);
        break;
      case 'subscribed':
        this.#learnEpoch(link, message);
        break;
      case 'cursor':
      case 'pong':
        if (message.seq !== undefined) this.#advance(message.seq, idText);
        break;
      case 'system':
        this.#fire('system', message);
        if (message.seq !== undefined) this.#advance(message.seq, idText);
        break;
      case 'error':
        this.#fire('error', { code: message.code, message: message.message });
        break;
    }
  }

  /** Over a WebSocket the epoch is only said here; over SSE every id carries it. */
  #learnEpoch(link, { epoch, seq }) {
    link.epochKnown = true;
    if (this.#epoch !== null && this.#epoch !== epoch) this.#seen = 0;
    this.#epoch = epoch;
    // Without a cursor we begin here; with one, what lies between it and here is still to come.
    this.#advance(this.#since === null ? seq : this.#seen, null);
  }

  /** Numbers begin anew there, so the old ones must neither hide its events nor be taken for a cursor of it. */
  #enterOtherLog(link, { to }, idText) {
    this.#seen = 0;
    if (!link.epochKnown) this.#epoch = null;
    if (to === null && idText) this.#advance(0, idText);
  }

  #advance(seq, idText) {
    if (idText) this.#startFrom(idText);
    this.#seen = Math.max(this.#seen, seq);
    const cursor = idText || (this.#epoch === null ? null : `${this.#epoch}-${this.#seen}`);
    if (cursor === null || cursor === this.#since) return;
    this.#since = cursor;
    this.#fire('cursor', { cursor });
  }

  /** Takes epoch and number out of a cursor; `earliest` and bare numbers carry no epoch. */
  #startFrom(cursor) {
    const parts = /^(.+)-(\d+)$/.exec(cursor ?? '');
    if (parts === null) return;
    this.#epoch = parts[1];
    this.#seen = Math.max(this.#seen, Number(parts[2]));
  }

  #report(state, delayMs) {
    this.#fire('status', { state, attempt: this.#attempt, delayMs });
  }

  #fire(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

const CLOSED = Object.freeze({});
const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 30_000;
/** Longer than the 30 s after which the server says something of itself. */
const SILENCE_MS_MAX = 45_000;
const ANSWER_MS_MAX = 10_000;
