//! Every bound and deadline in one place: what it is for, what it costs, and what happens at it.
//!
//! Anything that can grow is bounded here. At a bound the server refuses (an HTTP status, an error code), moves the
//! reader on (a gap), or disconnects (a WebSocket close code): the comment of each says which.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::channel::{ChannelError, namespace_of};
use super::rate::Rate;

/// The settable bounds of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events in the visible window of the log. Beyond it the oldest leave; a reader that asks for them gets a gap.
    pub retain_events: usize,
    /// Frame bytes in the visible window of the log. Beyond it the oldest leave; as above.
    pub retain_bytes: usize,
    /// How old an event in the visible window of the log may become, by its own timestamp; at least a millisecond.
    /// Beyond it it leaves, as above. `None`: as old as it likes.
    pub retain_age: Option<Duration>,
    /// Channels with events in the log. Beyond it a publish on a new channel is refused with 503.
    pub channels_max: usize,

    /// Connections at once at the public door, over all loops. Beyond it a connection is answered 503 with `Retry-After`
    /// and closed.
    pub connections_max: usize,
    /// The same at the operators' door.
    pub admin_connections_max: usize,
    /// Connections at once from one address at the public door; of IPv6 its network of 64 bits counts. Beyond it a
    /// connection is answered 429 with `Retry-After` and closed. 0: as many as there are places, for behind a proxy all
    /// clients have one address.
    pub connections_per_address_max: usize,
    /// Subscriptions of one connection. Beyond it the command is refused with `subscription_limit`.
    pub subscriptions_max: usize,
    /// Bytes of all filters of one connection, its own and those of its subscriptions. Beyond it: 400, error
    /// `filter_limit`.
    pub filter_bytes_max: usize,

    /// Namespaces that there are besides `repo`, `user`, `org` and `memory`; any, if nothing is said. Others: 400, error
    /// `bad_channel`.
    pub namespaces: Option<Vec<String>>,
    /// Taps of this process at once. Beyond it opening one is an error.
    pub taps_max: usize,
    /// Clients in this process and registered filters at once. Beyond it connecting or registering is an error.
    pub clients_max: usize,

    /// Custom kinds that filters may name besides those with a dot. Others: 400, error `unknown_event_type`.
    pub custom_kinds: Vec<String>,

    /// Request line. Beyond it: 414.
    pub request_line_bytes_max: usize,
    /// Request head. Beyond it: 431.
    pub head_bytes_max: usize,
    /// Header fields of a request, at most 64. Beyond it: 431.
    pub headers_max: usize,
    /// Request body, and one inbound WebSocket message. Beyond it: 413, close 1009.
    pub body_bytes_max: usize,
    /// One event's `data`. Beyond it: 413, error `event_too_large`.
    pub event_bytes_max: usize,
    /// Events of one atomic batch. Beyond it: 413.
    pub batch_events_max: usize,
    /// Frames of one inbound WebSocket message. Beyond it: close 1008.
    pub fragments_max: usize,
    /// Data frames of one WebSocket client in a second. Beyond it: close 1008. `None`: as many as it likes, since publishers
    /// are held back by other bounds.
    pub frame_rate: Option<Rate>,
    /// Pings, and pongs that nobody asked for, of one WebSocket client in a second. Beyond it: close 1008. `None`: as many as it
    /// likes.
    pub control_frame_rate: Option<Rate>,
    /// Commands of one WebSocket client in a second. Beyond it: error `rate_limited`. `None`: as many as it likes.
    pub command_rate: Option<Rate>,
    /// Publishes of one connection whose answer is still due. At it, input waits.
    pub requests_in_flight_max: usize,
    /// Bytes of answers waiting for one connection to take them. At it, input waits.
    pub answers_bytes_high: usize,

    /// Submissions waiting for the sequencer. Beyond it: 503, error `overloaded`.
    pub ingest_items_max: usize,
    /// Bytes waiting for the sequencer. Beyond it: 503, error `overloaded`.
    pub ingest_bytes_max: usize,
    /// Idempotency keys that are remembered, at no more than 250 bytes each. Beyond it the oldest are forgotten, and a
    /// retry with one of them is published again; 0 remembers none.
    pub idempotency_keys_max: usize,
    /// How long an idempotency key is remembered; as above.
    pub idempotency_window: Duration,
    /// Events that the slowest loop may be behind before publishes are refused: 503, error `overloaded`.
    pub fanout_backlog_events_max: u64,
    /// How old the first event that the slowest loop has not handed on may be; as above.
    pub fanout_backlog_max: Duration,
    /// Live connections that a loop writes new events to before it looks at its input again; at least 1. The others have
    /// their turn after that, and get what was published meanwhile with it.
    pub fanout_turn_connections_max: usize,

    /// Events in one answer of `GET /history`.
    pub history_events_max: usize,
    /// Bytes of events in one answer of `GET /history`; at least one event is always given.
    pub history_bytes_max: usize,

    /// Notifications kept per user. Beyond it the oldest leave.
    pub notifications_per_user_max: u64,
    /// Users that have notifications, and users that have chosen preferences. Beyond it: 507.
    pub notification_users_max: u64,
    /// Bytes of all stored notifications, on disk or, without a data directory, in memory; their trees take more. Beyond
    /// it: 507.
    pub notification_bytes_max: u64,
    /// Requests waiting for the store of notifications. Beyond it: 503, error `overloaded`.
    pub notification_queue_max: usize,
    /// Notifications in one answer of `GET /notifications`.
    pub notification_page_max: usize,

    /// From accept, or from the first byte of a later request, to the end of its head. Beyond it: 408.
    pub head_deadline: Duration,
    /// From the end of the head to the end of the body. Beyond it: 408.
    pub body_deadline: Duration,
    /// How long a peer may take for [`ANSWER_BYTES_MIN`] of answers that wait for it, unless fewer wait. Beyond it, it is
    /// disconnected.
    pub answer_deadline: Duration,
    /// How long a kept-alive connection may be without a request before it is closed.
    pub keep_alive: Duration,
    /// From the first frame of a WebSocket message to its last. Beyond it: close 1008.
    pub message_deadline: Duration,
    /// How long a WebSocket that may do nothing yet may take to show a token. Beyond it: close 4401.
    pub auth_deadline: Duration,
    /// How often a WebSocket peer is pinged.
    pub ping_every: Duration,
    /// How long a ping that reached the kernel may go unanswered before the connection is closed.
    pub pong_deadline: Duration,
    /// After this long without an event a stream is sent its cursor.
    pub quiet_after: Duration,
    /// How long a peer may take nothing although there is something to send before it is disconnected.
    pub stall_max: Duration,
    /// The same of a stream whose policy is to be disconnected (`on_slow=close`): close 1013.
    pub slow_max: Duration,
    /// Events of its channels that may lie ahead of a stream that conflates (`on_slow=latest`) when its socket takes bytes
    /// again. Beyond it, or beyond [`WRITE_BYTES_MAX`], it gets the newest of each entity.
    pub conflate_events_max: usize,
    /// Events that a stream whose socket takes less than it is given may be behind the head. Beyond it its policy holds:
    /// a gap up to there, conflation, or close 1013. `None`: as many as the log holds.
    pub lag_events_max: Option<u64>,
    /// How old the event at the cursor of such a stream may be; as above.
    pub lag_age_max: Option<Duration>,
    /// How long a closing connection may take to say goodbye.
    pub linger_max: Duration,
    /// How long a loop that is awake may take for a turn, and the sequencer to begin a step when something waits for it; at least
    /// a millisecond. Beyond it health is red until it goes on again, and who would be served by that loop is answered 503.
    pub loop_stall_max: Duration,
    /// How long before the process ends instead. `None`: it never does.
    pub loop_stall_abort: Option<Duration>,
    /// How long a drain may take before what is left is cut.
    pub drain_deadline: Duration,
    /// The reconnect time that a server-sent-event stream begins with.
    pub retry: Duration,
    /// How much earlier or later than that single streams are told to come back, so that they do not all come at once; at
    /// most as much as that. In the dialect `engram`, which fixes the time, none is.
    pub retry_spread: Duration,
}

impl Limits {
    /// Whether there is the namespace of `channel`, which may be a pattern.
    ///
    /// # Errors
    /// [`ChannelError::BadNamespace`] if there is not.
    pub fn check_namespace(&self, channel: &str) -> Result<(), ChannelError> {
        let Some(known) = &self.namespaces else { return Ok(()) };
        let namespace = namespace_of(channel);
        let is_known =
            BUILT_IN_NAMESPACES.contains(&&*namespace) || known.iter().any(|name| *name == namespace);
        if is_known { Ok(()) } else { Err(ChannelError::BadNamespace(namespace.into_owned())) }
    }

    /// Checks what the bounds must be to each other.
    ///
    /// # Errors
    /// A sentence that names the bound.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.retain_age.is_some_and(|age| age.as_millis() == 0) {
            return Err("events must be retained for a millisecond at least");
        }
        if self.lag_age_max.is_some_and(|age| age.as_millis() == 0) {
            return Err("a stream must be allowed to be a millisecond behind at least");
        }
        if self.loop_stall_max.as_millis() == 0 {
            return Err("a loop must be given a millisecond for a turn at least");
        }
        if STEP_EVENTS_MAX < self.batch_events_max {
            return Err("a batch may have at most 1024 events");
        }
        if EVENT_BYTES_CEILING < self.event_bytes_max {
            return Err("an event's data may have at most 8 MiB");
        }
        let connections = [self.connections_max, self.admin_connections_max];
        if connections.contains(&0) || self.subscriptions_max == 0 || self.ingest_items_max == 0 {
            return Err("connections, subscriptions and waiting submissions must be allowed at least once");
        }
        if HEADERS_CEILING < self.headers_max {
            return Err("a request may have at most 64 header fields");
        }
        if self.retry < self.retry_spread {
            return Err("the spread of the reconnect time may be at most as long as that");
        }
        if HEAD_BYTES_CEILING < self.head_bytes_max || BODY_BYTES_CEILING < self.body_bytes_max {
            return Err("a request's head may have at most 65535 bytes, and its body 1 GiB");
        }
        if INGEST_ITEMS_CEILING < self.ingest_items_max {
            return Err("at most 1048576 submissions may wait");
        }
        if self.fanout_turn_connections_max == 0 {
            return Err("a loop must write to one connection in a turn at least");
        }
        if self.requests_in_flight_max == 0 || self.answers_bytes_high == 0 || self.channels_max == 0 {
            return Err("requests in flight, bytes of answers and channels must be allowed at least once");
        }
        if self.notifications_per_user_max == 0
            || self.notification_queue_max == 0
            || self.notification_page_max == 0
        {
            return Err("notifications must be allowed at least once per user, in the queue and in a page");
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            retain_events: 65_536,
            retain_bytes: 256 << 20,
            retain_age: None,
            channels_max: 1 << 20,
            connections_max: 100_000,
            admin_connections_max: 64,
            connections_per_address_max: 0,
            subscriptions_max: 100,
            filter_bytes_max: 256 << 10,
            namespaces: None,
            taps_max: 1024,
            clients_max: 10_000,
            custom_kinds: Vec::new(),
            request_line_bytes_max: 4096,
            head_bytes_max: 8192,
            headers_max: HEADERS_CEILING,
            body_bytes_max: 1 << 20,
            event_bytes_max: 256 << 10,
            batch_events_max: 1000,
            fragments_max: 64,
            frame_rate: None,
            // Whoever wants to know whether we are there asks once in seconds.
            control_frame_rate: Rate::new(10, 20).ok(),
            command_rate: None,
            requests_in_flight_max: 128,
            answers_bytes_high: 64 << 10,
            ingest_items_max: 4096,
            ingest_bytes_max: 32 << 20,
            idempotency_keys_max: 65_536,
            idempotency_window: Duration::from_secs(600),
            fanout_backlog_events_max: 16_384,
            fanout_backlog_max: Duration::from_millis(200),
            // About half a millisecond of sends: a look at the input costs a few microseconds.
            fanout_turn_connections_max: 128,
            history_events_max: 1000,
            history_bytes_max: 4 << 20,
            notifications_per_user_max: 1000,
            notification_users_max: 100_000,
            notification_bytes_max: 256 << 20,
            notification_queue_max: 1024,
            notification_page_max: 200,
            head_deadline: Duration::from_secs(5),
            body_deadline: Duration::from_secs(10),
            answer_deadline: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            message_deadline: Duration::from_secs(5),
            auth_deadline: Duration::from_secs(10),
            ping_every: Duration::from_secs(25),
            pong_deadline: Duration::from_secs(20),
            quiet_after: Duration::from_secs(30),
            stall_max: Duration::from_secs(120),
            slow_max: Duration::from_secs(10),
            conflate_events_max: CATCH_UP_EVENTS_MAX,
            lag_events_max: None,
            lag_age_max: None,
            linger_max: Duration::from_secs(2),
            loop_stall_max: Duration::from_secs(5),
            loop_stall_abort: Some(Duration::from_secs(30)),
            drain_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(3),
            retry_spread: Duration::from_secs(1),
        }
    }
}

/// Namespaces that there always are; `*` stands for all.
const BUILT_IN_NAMESPACES: &[&str] = &["repo", "user", "org", "memory", "sys", "*"];

/// The most that [`Limits::event_bytes_max`] may be: a frame is addressed by 24 bits.
pub const EVENT_BYTES_CEILING: usize = 8 << 20;

/// The most that [`Limits::head_bytes_max`] may be: places in it are 16 bits.
pub const HEAD_BYTES_CEILING: usize = 65_535;

/// The most that [`Limits::body_bytes_max`] may be.
pub const BODY_BYTES_CEILING: usize = 1 << 30;

/// The most that [`Limits::ingest_items_max`] may be: there is a place for each from the start.
pub const INGEST_ITEMS_CEILING: usize = 1 << 20;

/// The most that [`Limits::headers_max`] may be: where they lie is kept on the stack.
pub const HEADERS_CEILING: usize = 64;

/// Seconds after which somebody for whom there is no room just now is told to try again: each some other of these.
pub const RETRY_AFTER_SECONDS: RangeInclusive<u64> = 1..=5;

/// Bytes of answers that a peer must take in [`Limits::answer_deadline`]: half a KiB a second is slower than any line.
pub const ANSWER_BYTES_MIN: u32 = 16 << 10;

/// Levels of nesting in a JSON text that is published. Beyond it: 400.
pub const JSON_DEPTH_MAX: usize = 128;

/// Longest `event_id`, `ids` entry and `tags` entry that a publisher may set, in bytes. Beyond it: 400.
pub const LABEL_BYTES_MAX: usize = 256;

/// Entries of `ids` and of `tags`, each. Beyond it: 400.
pub const LABELS_MAX: usize = 64;

/// Values of one condition of a filter. Beyond it: 400, error `bad_filter`.
pub const FILTER_WORDS_MAX: usize = 256;

/// Bytes that one loop reads from one connection before others have their turn.
pub const READ_BUFFER_BYTES: usize = 64 << 10;

/// Events that a loop routes in one sweep over its connections; what is left is taken in the next.
pub const SWEEP_EVENTS_MAX: u64 = 1024;

/// Slices of one vectored write: the kernel's own bound.
pub const WRITE_SLICES_MAX: usize = 1024;

/// Bytes of one vectored write, so that one large backlog does not hold up the others of its turn.
pub const WRITE_BYTES_MAX: usize = 1 << 20;

/// Events sent to one lagging connection before others have their turn.
pub const CATCH_UP_EVENTS_MAX: usize = 512;

/// Descriptors looked at for one lagging connection before others have their turn.
pub const CATCH_UP_SCAN_MAX: u64 = 16_384;

/// Work for lagging connections that a loop does in one turn, in events sent; each connection counts as
/// [`CATCH_UP_LOOK_EVENTS`] besides. The others come first in the next turn.
pub const CATCH_UP_TURN_EVENTS_MAX: usize = 8192;

/// What it costs to look what a lagging connection gets next, in events sent.
pub const CATCH_UP_LOOK_EVENTS: usize = 64;

/// Entities whose newest events a stream that conflates is sent in one go, and so the numbers that are remembered for it
/// until it has them: 32 KiB. Beyond it the range ends, and the next begins.
pub const CONFLATE_KEPT_MAX: usize = 4096;

/// Longest `Idempotency-Key`, in bytes. Beyond it: 400.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// Longest name of a user, in bytes: of `user:<name>`, which is a channel.
pub const USER_BYTES_MAX: usize = 250;

/// Longest token, in bytes: half of a head as it is usually bounded. Beyond it: 401.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Tokens that one loop remembers to have verified: each takes 80 bytes, and what it says. Beyond it they are verified again.
pub const KNOWN_TOKENS_MAX: usize = 4096;

/// Keys that tokens are verified with: each that fits is tried. Beyond it the start, or the reload, is refused.
pub const TOKEN_KEYS_MAX: usize = 16;

/// Shortest secret that tokens are signed with, in bytes: as many as what comes out of its hash.
pub const TOKEN_SECRET_BYTES_MIN: usize = 32;

/// How far the clock of who issues tokens may be ahead of ours, at most.
pub const TOKEN_LEEWAY_MAX: Duration = Duration::from_secs(60);

/// API keys. Beyond it the start, or the reload, is refused.
pub const API_KEYS_MAX: usize = 1024;

/// Longest file of keys, in bytes; as above.
pub const KEY_FILE_BYTES_MAX: usize = 1 << 20;

/// Tokens, users and keys that are revoked at once. Beyond it: 507 `revocations_full`.
pub const REVOCATIONS_MAX: usize = 65_536;

/// For how long something is revoked unless that is said, and at most.
pub const REVOCATION_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// See [`REVOCATION_DEFAULT`].
pub const REVOCATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Clients in one answer of `GET /clients`. Beyond it the answer says that there are more.
pub const CLIENTS_LISTED_MAX: usize = 1000;

/// Channels in one answer of `GET /channels`; as above.
pub const CHANNELS_LISTED_MAX: usize = 1000;

/// Longest `User-Agent` that is remembered of a client, in bytes; the rest is cut off.
pub const AGENT_BYTES_MAX: usize = 128;

/// Longest announcement, in bytes. Beyond it: 413.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 4096;

/// Events of its own (who came and went) that a loop keeps for want of room in the queue. Beyond it the oldest are
/// dropped, and an event on `sys:channels` says how many.
pub const OWN_EVENTS_MAX: usize = 65_536;

/// Events in an answer to `last=N`, over all channels. Beyond it: 400, error `too_many`.
pub const LAST_EVENTS_MAX: usize = 4096;

/// Descriptors looked at to find them. Beyond it: as above.
pub const LAST_LOOKS_MAX: usize = 65_536;

/// Threads of this process that may wait for the sequencer's answer at once. Beyond it a publish is refused as
/// `overloaded`.
pub const PUBLISHERS_MAX: usize = 256;

/// Bytes that wait for the socket of an encrypted connection, before they are encrypted.
pub const TLS_PENDING_BYTES_MAX: usize = 32 << 10;

/// Submissions that the sequencer takes in one step.
pub const STEP_SUBMISSIONS_MAX: usize = 256;

/// Events that the sequencer publishes at once, at most, beyond which it leaves the rest to the next step.
pub const STEP_EVENTS_MAX: usize = 1024;
