// The types of `fanfare.js`.

/** Opens a feed. It connects at once, and again whenever it has to, until it is closed. */
export declare function connect<Data = Json>(options: FeedOptions): Feed<Data>;

/**
 * Follows a stream of which only the newest counts, such as the figures that operators watch: no channels, no cursor.
 * What was said while it was away is not asked for. It connects at once, and again whenever it has to.
 */
export declare function follow<Message = Json>(options: FollowOptions): Following<Message>;

/** What the server or the connection refused. */
export declare class FeedError extends Error {
  constructor(code: string, message: string);
  readonly name: 'FeedError';
  /**
   * Stable: a code of the server, or one of the client's own. `unknown`: the connection broke before the answer.
   * `not_open`: it needs an open WebSocket. `unsupported`: this transport cannot. `too_many_commands`: 1,024 wait for
   * their answers. `closed`: the feed was closed.
   */
  readonly code: string;
}

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [member: string]: Json };

export interface FeedOptions {
  /** Address of the server; its paths are looked for in the same folder. In browsers, that of the page unless given. */
  url?: string | URL;
  /** Channels and patterns; none is fine, and waits for `subscribe`. */
  channels?: string | Iterable<string>;
  /** Where to begin: a cursor, a number, or `earliest`; from now on unless given. */
  since?: string | number | null;
  /** `auto` unless given: WebSocket, and a stream where a WebSocket fails although the server answers. */
  transport?: Transport | 'auto';
  /** What to receive of the channels; everything unless given. */
  filter?: Filter | null;
  /** What the server does when this client is too slow; as the server is set unless given. */
  onSlow?: OnSlow;
  /** The access token, or what gives it. It is asked again when the server has refused the token before. */
  token?: string | null | ((reason: TokenReason) => string | null | Promise<string | null>);
  /** Closes the feed. */
  signal?: AbortSignal;
  /** First bound of the random wait before a new connection, in milliseconds; failures double it. Usually 250. */
  retryBaseMs?: number;
  /** Last bound of that wait, also of what the server asks for, in milliseconds. Usually 30,000. */
  retryMaxMs?: number;
  /** How long a connection has to last until failures before it are forgotten, in milliseconds. Usually 5,000. */
  stableMs?: number;
  /** After so much silence the connection is given up, in milliseconds. Usually 75,000. */
  silenceMs?: number;
  /** Items that an iterator holds before the feed pauses. Usually 1,024. */
  queueMax?: number;
}

/** As those of a feed. */
export interface FollowOptions
  extends Pick<FeedOptions, 'token' | 'signal' | 'retryBaseMs' | 'retryMaxMs' | 'stableMs' | 'silenceMs'> {
  /** Address of the stream itself. */
  url: string | URL;
}

/** What a followed stream fires, with the detail of each. */
export interface FollowingEventMap<Message = Json> {
  /** The data of one block, parsed. */
  message: Message;
  status: FollowingStatus;
  error: Problem;
}

export interface FollowingStatus {
  state: 'connecting' | 'open' | 'waiting' | 'closed';
  /** Failures in a row. */
  attempt: number;
  /** Until the next try, in milliseconds; only while `waiting`. */
  delayMs?: number;
}

export interface Following<Message = Json> extends EventTarget {
  readonly state: FollowingStatus['state'];
  /** Calls `listener` with every detail of this name; the returned function ends that. */
  on<Name extends keyof FollowingEventMap>(
    name: Name,
    listener: (detail: FollowingEventMap<Message>[Name]) => void,
  ): () => void;
  addEventListener<Name extends keyof FollowingEventMap>(
    name: Name,
    listener: (event: CustomEvent<FollowingEventMap<Message>[Name]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    name: string,
    listener: ((event: CustomEvent) => void) | EventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  /** Ends it for good. */
  close(): void;
}

export type Transport = 'ws' | 'sse';

/**
 * `gap`: everything that is still held follows. `latest`: only the newest event of each channel and entity, behind a gap
 * of the cause `skipped`. `close`: the connection ends, and the feed connects again.
 */
export type OnSlow = 'gap' | 'latest' | 'close';

/** Why a token is asked for: the first connection, a refusal of the last token, or `refreshToken`. */
export type TokenReason = 'connect' | 'unauthorized' | 'refresh';

/** All members that are given have to hold; of a member's values one. An empty list holds for nothing. */
export interface Filter {
  event_types?: string[];
  ids?: (string | number)[];
  tags?: string[];
  workspace?: string;
}

/** An event, as the server wrote it. */
export interface FeedEvent<Data = Json> {
  type: 'event';
  /** Its place in the one order of everything published. */
  seq: number;
  channel: string;
  /** Its kind. */
  event: string;
  data: Data;
  /** Unix time in milliseconds when it got its number. */
  timestamp: number;
  event_id: string;
  ids?: (string | number)[];
  tags?: string[];
  /** Where to resume to get what comes after this item. */
  cursor: string | null;
}

/** What will not come, at its place among the events. */
export interface Gap {
  type: 'gap';
  /** First and last number; `null` where another log began, in which numbers begin anew. */
  from: number | null;
  to: number | null;
  /**
   * `lapped`: overtaken while this client was slow. `evicted`: no longer held. `epoch`: `old` belongs to another log.
   * `skipped`: thinned out, as `onSlow` asked for: the events of the range that were kept follow this gap, and its
   * `cursor` is the place before it.
   */
  cause: 'lapped' | 'evicted' | 'epoch' | 'skipped' | (string & {});
  /** How many events of these channels are missing, where that is known. */
  matched?: number;
  /** The cursor after which everything of the other log is missing. */
  old?: string;
  /** Where to resume to get what comes after this item. */
  cursor: string | null;
}

/** An announcement to everyone. */
export interface SystemMessage {
  type: 'system';
  seq?: number;
  message: Json;
  /** Where to resume to get what comes after this item. */
  cursor: string | null;
}

export type FeedItem<Data = Json> = FeedEvent<Data> | Gap | SystemMessage;

/**
 * `connecting`, `open` (what is held is confirmed), `waiting` for the next try, `paused` until iterators have room,
 * `idle` (there are no channels), `closed` for good.
 */
export type State = 'connecting' | 'open' | 'waiting' | 'paused' | 'idle' | 'closed';

export interface Status {
  state: State;
  /** Failures in a row. */
  attempt: number;
  transport: Transport | null;
  /** Until the next try, in milliseconds; only while `waiting`. */
  delayMs?: number;
}

/** What was refused and concerns no call that could tell it; the feed goes on trying. */
export interface Problem {
  code: string;
  message: string;
}

/** What a feed fires, with the detail of each. Every kind of event has one of its name, too. */
export interface FeedEventMap<Data = Json> {
  event: FeedEvent<Data>;
  gap: Gap;
  system: SystemMessage;
  cursor: { cursor: string };
  status: Status;
  error: Problem;
}

export interface Publication {
  channel: string;
  /** Its kind. */
  event: string;
  data?: unknown;
  event_id?: string;
  ids?: (string | number)[];
  tags?: string[];
}

export interface Feed<Data = Json> extends EventTarget, AsyncIterable<FeedItem<Data>> {
  /**
   * Resuming from this text repeats nothing and misses nothing; `null` while there is no place to resume from. What an
   * iterator still holds lies before it: to resume after an item, use the item's own.
   */
  readonly cursor: string | null;
  readonly state: State;
  readonly transport: Transport | null;
  /** What is subscribed to, confirmed or not. */
  readonly channels: string[];

  /** Calls `listener` with every detail of this name; the returned function ends that. */
  on<Name extends keyof FeedEventMap>(name: Name, listener: (detail: FeedEventMap<Data>[Name]) => void): () => void;
  /** Calls `listener` with every event of this kind. */
  on(kind: string, listener: (event: FeedEvent<Data>) => void): () => void;

  addEventListener<Name extends keyof FeedEventMap>(
    name: Name,
    listener: (event: CustomEvent<FeedEventMap<Data>[Name]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    kind: string,
    listener: ((event: CustomEvent<FeedEvent<Data>>) => void) | EventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;

  /**
   * Adds channels, from now on or from `since`; resolves when the server has confirmed them. What is between `since`
   * and the cursor comes first, out of order with the rest. Over a stream `since` is refused where there are channels.
   */
  subscribe(channels: string | Iterable<string>, options?: { since?: string | number | null }): Promise<void>;
  /** Takes channels away; some of their events may still come until it resolves. */
  unsubscribe(channels: string | Iterable<string>): Promise<void>;
  /** Replaces the filter; `null` takes it away. Over a stream a refusal is told by `error`. */
  setFilter(filter: Filter | null): Promise<void>;
  /** Publishes. Rejects with the code `unknown` where it may or may not have been published. */
  publish(event: Publication): Promise<{ seq: number }>;
  /** Asks the server for a sign of life; `seq` is how far this connection is. */
  ping(): Promise<{ seq: number }>;
  /** Asks for a new token and gives it to the server. */
  refreshToken(): Promise<void>;
  /** Ends it for good. */
  close(): void;

  /** Every item from now on until the feed is closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<FeedItem<Data>>;
}
