//! One connection of a loop.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use arcstr::ArcStr;
use smallvec::SmallVec;

use super::Link;
use super::pace::Pace;
use super::waiting::WaitingList;
use crate::log::Form;
use crate::reader::{Sieve, Subscription};
use crate::session::authority::Principal;
use crate::session::http::HttpReader;
use crate::session::request::Door;
use crate::wire::websocket::{self, Decoder};
use crate::words::channel::Pattern;
use crate::words::dialect::Dialect;
use crate::words::filter::Filter;
use crate::words::limits::{CATCH_UP_EVENTS_MAX, Limits};
use crate::words::on_slow::OnSlow;
use crate::words::rate::Bucket;

/// A connection: a link, what is said over it, and a cursor into the log.
///
/// There may be a hundred thousand, so what few have at a time is boxed, and what many have alike is shared. What a delivery touches
/// stands first, in two lines of memory that [`Connection::expect_neighbour`] asks for.
///
/// Invariant: bytes reach the link in one order, `out` first, then frames from `next` on; `out` always ends at a frame
/// boundary.
#[repr(C, align(128))]
pub(super) struct Connection<L> {
    pub(super) link: L,
    /// The first of this turn's runs of events for it.
    pub(super) marks: u32,
    /// The cursor: every matching event below it was sent. For a live connection the loop's own position counts where
    /// that is further.
    pub(super) next: u64,
    /// Events handed to the kernel.
    pub(super) delivered: u64,
    /// Bytes handed to the kernel.
    pub(super) sent_bytes: u64,
    /// Bytes to send before any frame: answers, control frames, and the rest of a frame that was cut short.
    pub(super) out: Outbox,
    /// Bytes that arrived and could not be taken yet.
    pub(super) unread: Box<[u8]>,
    /// Bytes may have arrived that were not read.
    pub(super) readable: bool,
    /// Bytes may fit, and none wait in the link.
    pub(super) writable: bool,
    /// The peer will send nothing more, and everything it sent was read.
    pub(super) peer_done: bool,
    /// It stands in the loop's list of connections to flush.
    pub(super) in_flush: bool,
    /// It stands in the loop's list of connections to read.
    pub(super) in_input: bool,
    /// Filters may hold events back from it: the sieve is not open.
    pub(super) is_sifting: bool,
    pub(super) delivery: Delivery,
    /// Where the question stands whether a WebSocket's peer is there.
    pub(super) ping: Ping,
    pub(super) speech: Speech,
    /// What happens when it is behind.
    pub(super) pace: Pace,
    /// The peer's end has arrived behind whatever has not been read yet.
    pub(super) ending: bool,
    /// Nothing more will be read from it: what it asked last ends the conversation, once it is answered.
    pub(super) deaf: bool,
    /// Our half has been closed.
    pub(super) finished: bool,
    /// It counts against the bound on connections.
    pub(super) has_place: bool,
    /// The last request waits for a service elsewhere: nothing is read until its answer is there.
    pub(super) awaits_service: bool,
    pub(super) clock: Clock,
    pub(super) session: Session,
    /// Requests whose answer is still due, in order.
    pub(super) waiting: WaitingList,
    pub(super) subscriptions: SmallVec<[Subscription; 1]>,
    /// What must be true of every event it gets.
    pub(super) filter: Option<Arc<Filter>>,
    /// Older events that it is being sent before it goes on from `next`; its input waits meanwhile.
    pub(super) replay: Option<Box<Replay>>,
    /// Who it is, once it is a stream.
    pub(super) details: Option<Details>,
    /// Tells this connection from an earlier one of the same number.
    pub(super) generation: u32,
    /// Gaps told, as far as they can be counted here.
    pub(super) gaps: u16,
    pub(super) door: Door,
    /// Tokens that it has shown in a row and that were not good.
    pub(super) bad_tokens: u8,
}

/// What is spoken.
pub(super) enum Session {
    /// Requests and answers.
    Http(HttpReader),
    /// A WebSocket.
    WebSocket(Listening),
    /// A stream of server-sent events: the peer has nothing more to say.
    Sse,
    /// An operator who is told once a second how the server does, and has nothing more to say.
    Watching,
    /// Goodbye has been said; what still arrives is thrown away.
    Closing,
    /// Lent out while its input is being read.
    Taken,
}

/// What is kept of a WebSocket client's input.
#[derive(Default)]
pub(super) struct Listening {
    /// There is a decoder only while a message is half read.
    pub(super) half_read: Option<Box<HalfRead>>,
    /// What it has used of the rates that it has; nothing until then.
    pub(super) rates: Option<Box<Rates>>,
}

/// How often a WebSocket client has done lately what is bounded.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) frames: Bucket,
    pub(super) control_frames: Bucket,
    pub(super) commands: Bucket,
}

/// A message of which a part has come.
pub(super) struct HalfRead {
    pub(super) decoder: Decoder,
    /// Since when, in milliseconds of the loop's clock.
    pub(super) since_ms: u64,
}

/// How events reach a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It is no stream.
    None,
    /// By the loop's fan-out.
    Live,
    /// By itself, from its cursor, until it has caught up with the loop.
    Lagging,
}

/// In which form a stream's events are written, and in whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Speech {
    pub(super) form: Form,
    pub(super) dialect: Dialect,
}

impl Speech {
    /// How many events a stream that is behind is sent at once. In other words than the log's each is made anew, even
    /// for a peer that takes a few bytes at a time.
    pub(super) fn catch_up_events_max(self) -> usize {
        if self.dialect == Dialect::Native { CATCH_UP_EVENTS_MAX } else { CATCH_UP_EVENTS_MAX / 16 }
    }
}

impl Default for Speech {
    fn default() -> Speech {
        Speech { form: Form::WebSocket, dialect: Dialect::Native }
    }
}

/// Who a stream is.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) principal: Principal,
    /// The beginning of its `User-Agent`, which it has in common with many.
    pub(super) agent: ArcStr,
    /// In Unix milliseconds.
    pub(super) connected_ms: u64,
}

/// Older events on their way to a stream.
#[derive(Debug)]
pub(super) struct Replay {
    /// What they are of. A bracket's subscriptions are added when it ends; otherwise they are there already.
    pub(super) added: SmallVec<[Subscription; 1]>,
    /// The texts to answer with at the end of a bracket, and the command's id; nothing if there is no bracket.
    pub(super) bracket: Option<(Vec<String>, Option<String>)>,
    /// Which.
    pub(super) what: Older,
    /// The client has asked for them; otherwise they are what is kept of what it was too slow for.
    pub(super) is_asked: bool,
}

impl Replay {
    /// The first event that has not been sent, of those that a stream begins with: its cursor has not passed them. A
    /// bracket stands beside the stream, and says nothing of where that is.
    pub(super) fn unsent_of_stream(&self) -> Option<u64> {
        match &self.what {
            Older::List(list) if self.bracket.is_none() => list.front().copied(),
            _ => None,
        }
    }
}

/// Which older events.
#[derive(Debug)]
pub(super) enum Older {
    /// All wanted ones of a range.
    Range {
        /// The first that has not been sent.
        next: u64,
        /// Those before this.
        end: u64,
    },
    /// These; ascending.
    List(VecDeque<u64>),
}

/// When things happened, in milliseconds of the loop's clock.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Clock {
    /// The last event, or cursor in place of one, was sent.
    pub(super) event_ms: u64,
    /// There has been something to send since, and the peer takes nothing; 0 if it does.
    pub(super) stalled_ms: u64,
    /// When the reminder comes.
    pub(super) reminder_ms: u64,
    /// Whatever it is at must be over by then: a head, a body, a goodbye, a pause between requests.
    pub(super) until_ms: u64,
    /// The last ping was sent, or its answer came.
    pub(super) ping_ms: u64,
}

/// Where the question "are you there?" stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ping {
    /// Not asked.
    None,
    /// Asked, but the question may still wait in our own outbox.
    Queued,
    /// The kernel has it.
    Sent,
}

impl<L> Connection<L> {
    pub(super) fn new(link: L, generation: u32, door: Door, now_ms: u64, limits: &Limits) -> Connection<L> {
        Connection {
            link,
            generation,
            door,
            session: Session::Http(HttpReader::default()),
            out: Outbox::default(),
            unread: Box::default(),
            waiting: WaitingList::default(),
            readable: false,
            writable: true,
            in_input: false,
            in_flush: false,
            ending: false,
            peer_done: false,
            deaf: false,
            finished: false,
            has_place: true,
            delivery: Delivery::None,
            pace: Pace::default(),
            speech: Speech::default(),
            subscriptions: SmallVec::new(),
            is_sifting: false,
            filter: None,
            replay: None,
            details: None,
            awaits_service: false,
            bad_tokens: 0,
            delivered: 0,
            sent_bytes: 0,
            gaps: 0,
            next: 0,
            marks: NO_MARK,
            clock: Clock {
                reminder_ms: u64::MAX,
                until_ms: now_ms + limits.head_deadline.as_millis() as u64,
                event_ms: now_ms,
                ping_ms: now_ms,
                stalled_ms: 0,
            },
            ping: Ping::None,
        }
    }

    /// Asks for what is touched first of the connection that lies `offset` connections further, so that it is at hand when its
    /// turn comes: the kernel's sends to others have driven it out of the near caches.
    #[inline]
    pub(super) fn expect_neighbour(&self, offset: isize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let neighbour = std::ptr::from_ref(self).wrapping_offset(offset).cast::<i8>();
            // SAFETY: asking for a line of memory reads nothing, and may be done for any address.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(neighbour);
                _mm_prefetch::<_MM_HINT_T0>(neighbour.wrapping_add(64));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Whether its input waits until some of its answers are gone.
    pub(super) fn is_paused(&self, limits: &Limits) -> bool {
        self.deaf
            || self.replay.is_some()
            || self.awaits_service
            || limits.requests_in_flight_max <= self.waiting.len()
            || limits.answers_bytes_high <= self.out.len() + self.waiting.ready_bytes()
    }

    /// How long it may take nothing.
    pub(super) fn patience(&self, limits: &Limits) -> std::time::Duration {
        let is_impatient = self.pace.on_slow() == OnSlow::Close && self.delivery != Delivery::None;
        if is_impatient { limits.slow_max.min(limits.stall_max) } else { limits.stall_max }
    }

    /// Who it is, if that is known.
    pub(super) fn user(&self) -> Option<&str> {
        self.details.as_ref()?.principal.user()
    }

    /// Whether it is somebody who was let in for longer than one request.
    pub(super) fn stays(&self) -> bool {
        self.delivery != Delivery::None || matches!(self.session, Session::Watching)
    }

    /// What its filters let through.
    pub(super) fn sieve(&self) -> Sieve<'_> {
        Sieve { filter: self.filter.as_deref(), subscriptions: &self.subscriptions }
    }

    /// After its filters have changed: whether there are any is asked for every event.
    pub(super) fn note_filters(&mut self) {
        self.is_sifting = !self.sieve().is_open();
    }

    /// What it gets: the patterns of its subscriptions in their scopes, and announcements.
    pub(super) fn patterns(&self) -> SmallVec<[Pattern; 4]> {
        let own = self.subscriptions.iter().filter_map(|subscription| subscription.scoped.clone());
        own.chain(std::iter::once(Pattern::announcements())).collect()
    }

    /// Whether there is anything that could be sent now.
    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty() || self.marks != NO_MARK || self.delivery == Delivery::Lagging
    }

    /// Whether something happens when the link has sent everything on, or goes on waiting for that.
    pub(super) fn waits_for_link(&self) -> bool
    where
        L: Link,
    {
        matches!(self.session, Session::Closing) || self.ping == Ping::Queued || self.link.has_unsent()
    }

    /// Whether its dialect has a word for the cursor of a quiet stream, or a comment to show that it lives.
    pub(super) fn dialect_has_cursors(&self) -> bool {
        self.speech.form != Form::WebSocket
            || matches!(self.speech.dialect, Dialect::Native | Dialect::CloudEvents)
    }

    /// The next moment at which something may be due.
    pub(super) fn deadline_ms(&self, limits: &Limits) -> u64 {
        let after =
            |since_ms: u64, wait: std::time::Duration| since_ms.saturating_add(wait.as_millis() as u64);
        let clock = &self.clock;
        let mut deadline = match self.session {
            Session::Http(_) if self.out.taken_in_time().is_some() => clock.until_ms,
            // While answers are due or under way, it is for us or for the network to be quick, not for the peer.
            Session::Http(_) if !self.waiting.is_empty() || !self.out.is_empty() => u64::MAX,
            Session::Http(_) | Session::Closing | Session::Taken => clock.until_ms,
            // A peer whose input waits cannot be heard.
            Session::WebSocket(_) if self.replay.is_some() => u64::MAX,
            Session::WebSocket(_) => match self.ping {
                Ping::None => after(clock.ping_ms, limits.ping_every),
                Ping::Sent => after(clock.ping_ms, limits.pong_deadline),
                Ping::Queued => u64::MAX,
            },
            Session::Sse | Session::Watching => u64::MAX,
        };
        if self.delivery == Delivery::Live && self.dialect_has_cursors() {
            deadline = deadline.min(after(clock.event_ms, limits.quiet_after));
        }
        if clock.stalled_ms != 0 {
            deadline = deadline.min(after(clock.stalled_ms, self.patience(limits)));
        }
        if let Session::WebSocket(Listening { half_read: Some(half_read), .. }) = &self.session
            && !self.is_paused(limits)
        {
            deadline = deadline.min(after(half_read.since_ms, limits.message_deadline));
        }
        deadline
    }
}

/// The end of a list of marks.
pub(super) const NO_MARK: u32 = u32::MAX;

/// Bytes on their way out, and how many of them are gone. Owns no memory when empty. Far less than 4 GiB: the rest of a
/// frame, and answers, which pause the input long before.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: u32,
    /// Of a peer that was given some time to take a part of these: one more than the bytes that it has taken in that time,
    /// as far as they can be counted here.
    timed: Option<NonZeroU16>,
    /// The length of the pong that stands last, or 0.
    last_pong: u8,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent as usize
    }

    /// Appends a pong. `instead`: in place of the one before it, if that is the last thing here and has not begun to go out.
    pub(super) fn push_pong(&mut self, payload: &[u8], instead: bool) {
        let last_at = self.bytes.len() - usize::from(self.last_pong);
        if instead && self.last_pong != 0 && self.sent as usize <= last_at {
            self.bytes.truncate(last_at);
        }
        let at = self.bytes.len();
        websocket::push_pong(&mut self.bytes, payload);
        self.last_pong = (self.bytes.len() - at) as u8;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.sent as usize..]
    }

    /// The peer's time to take a part of this begins; it ends when everything is taken. If nothing is here, it is about what
    /// waits in the link.
    pub(super) fn begin_time(&mut self) {
        self.timed = Some(NonZeroU16::MIN);
    }

    /// Everything is taken, in the link too.
    pub(super) fn end_time(&mut self) {
        self.timed = None;
    }

    /// Bytes that had waited in the link were taken. They count where nothing else can: what goes from here to the link has
    /// counted already.
    pub(super) fn note_sent_on(&mut self, count: usize) {
        if self.timed.is_some() && self.is_empty() {
            self.count_taken(count);
        }
    }

    fn count_taken(&mut self, count: usize) {
        let counted = u16::try_from(count).unwrap_or(u16::MAX);
        self.timed = self.timed.map(|timed| timed.saturating_add(counted));
    }

    /// How many bytes were taken in the time that was given, of more than 65,534 only so many; nothing if none was given.
    pub(super) fn taken_in_time(&self) -> Option<u32> {
        self.timed.map(|timed| u32::from(timed.get()) - 1)
    }

    /// Where to append.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        self.last_pong = 0;
        &mut self.bytes
    }

    /// Takes back everything behind the first `length` bytes that are still there.
    pub(super) fn truncate(&mut self, length: usize) {
        self.last_pong = 0;
        self.bytes.truncate((self.sent as usize).saturating_add(length));
    }

    /// The first `count` bytes are gone. `is_held`: the link has them, and the time that was given for them goes on.
    pub(super) fn advance(&mut self, count: usize, is_held: bool) {
        // An outbox is one answer or frame larger than its bound: far from what fits.
        self.sent += count as u32;
        self.count_taken(count);
        debug_assert!(self.sent as usize <= self.bytes.len());
        if self.is_empty() {
            *self = Outbox { timed: self.timed.filter(|_| is_held), ..Outbox::default() };
        } else if self.bytes.len() / 2 < self.sent as usize {
            self.bytes.drain(..self.sent as usize);
            self.sent = 0;
            if self.bytes.len() < usize::from(self.last_pong) {
                self.last_pong = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_knows_what_was_taken_since_time_was_given() {
        let mut out = Outbox::default();
        out.tail().extend_from_slice(&[7; 100]);
        out.advance(10, false);
        assert_eq!(out.taken_in_time(), None);
        out.begin_time();
        out.advance(20, false);
        out.advance(50, false);
        assert_eq!((out.taken_in_time(), out.len(), out.as_slice().len()), (Some(70), 20, 20));
        out.begin_time();
        assert_eq!(out.taken_in_time(), Some(0));
        out.note_sent_on(1000);
        assert_eq!(out.taken_in_time(), Some(0), "it has counted when the link took it");
        out.advance(20, true);
        out.note_sent_on(30);
        assert_eq!((out.taken_in_time(), out.is_empty()), (Some(50), true), "the link has it");
        out.end_time();
        out.tail().extend_from_slice(&[7; 100]);
        out.begin_time();
        out.advance(100, false);
        assert_eq!((out.taken_in_time(), out.is_empty()), (None, true), "there is nothing more to take");
    }

    #[test]
    fn a_pong_takes_the_place_of_the_one_before_it_unless_that_is_on_its_way() {
        let mut outbox = Outbox::default();
        let mut check = |what: &str, act: fn(&mut Outbox), expected: &[u8]| {
            act(&mut outbox);
            assert_eq!(outbox.as_slice(), expected, "{what}");
        };
        check("the first", |outbox| outbox.push_pong(b"a", true), b"\x8a\x01a");
        check("in its place", |outbox| outbox.push_pong(b"bcd", true), b"\x8a\x03bcd");
        check("in its place, shorter", |outbox| outbox.push_pong(b"", true), b"\x8a\x00");
        check("both", |outbox| outbox.push_pong(b"e", false), b"\x8a\x00\x8a\x01e");
        check("one begins to go", |outbox| outbox.advance(1, false), b"\x00\x8a\x01e");
        check("the other does not", |outbox| outbox.push_pong(b"f", true), b"\x00\x8a\x01f");
        check("now it does", |outbox| outbox.advance(2, false), b"\x01f");
        check("so it stays", |outbox| outbox.push_pong(b"g", true), b"\x01f\x8a\x01g");
        check("a text", |outbox| outbox.tail().extend_from_slice(b"text"), b"\x01f\x8a\x01gtext");
        check("goes first", |outbox| outbox.push_pong(b"h", true), b"\x01f\x8a\x01gtext\x8a\x01h");
        check("all is gone", |outbox| outbox.advance(12, false), b"");
        check("and begins anew", |outbox| outbox.push_pong(b"i", true), b"\x8a\x01i");
    }

    #[test]
    fn what_a_delivery_touches_stands_in_two_lines_and_neighbours_where_they_are_expected() {
        let events = std::mem::offset_of!(Connection<u32>, clock) + size_of::<u64>() * 2;
        assert!(events <= 128, "the last of it ends at {events}");
        let mut slab = slab::Slab::new();
        let connection = || Connection::new(0_u32, 0, Door::Public, 0, &Limits::default());
        let keys = [slab.insert(connection()), slab.insert(connection())];
        let [first, second] = keys.map(|key| std::ptr::from_ref(&slab[key]).addr());
        assert_eq!(second - first, size_of::<Connection<u32>>());
    }

    #[test]
    fn a_connection_is_a_few_hundred_bytes() {
        // With a link of four bytes, as a socket is.
        assert!(size_of::<Connection<u32>>() <= 256, "{} bytes", size_of::<Connection<u32>>());
        assert!(size_of::<Subscription>() <= 32, "{} bytes", size_of::<Subscription>());
    }
}
