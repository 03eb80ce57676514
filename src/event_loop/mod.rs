//! The event loop: connections, and the turn that serves them.
//!
//! # Contract       whoever drives it calls [`EventLoop::ready`] for links that have become readable or writable and
//!   [`EventLoop::ending`] for those whose peer has sent its last, then [`EventLoop::turn`]; between turns it may
//!   sleep until [`EventLoop::deadline_ms`], unless [`EventLoop::has_work`], under the bell's protocol
//!   ([`crate::sync::bell`])
//! # Invariants     E1 a live connection has been sent every wanted event below its own `next` and the fan-out's base, and
//!   the fan-out's sweep, or the next, brings it the others
//!   E2 a lagging connection has been sent every wanted event below its own `next`
//!   E3 bytes are written in `flush` only, at frame boundaries
//! # Bounds         all of `words::limits`; each phase of a turn has a budget, and what it leaves is remembered
//!
//! A turn is always `control → input → table → sequence → fan-out → timers → flush`; it reads the clock once, before.

mod access;
mod backlog;
mod connection;
mod control;
mod exposition;
mod fan_out;
mod fault;
mod flush;
mod handed;
mod history;
mod input;
mod life;
mod link;
mod meter;
mod operate;
mod pace;
mod passes;
mod pulse;
mod recent;
mod render;
mod service;
mod slow;
mod stream;
mod timers;
mod waiting;
mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arcstr::ArcStr;
use slab::Slab;

pub use crate::words::now::Now;
pub use link::Link;

use crate::hub::{Desk, Hub};
use crate::session::auth::Known;
use crate::session::publish::Openings;
use crate::session::request::Door;
use crate::session::settings::Settings;
use crate::table::Table;
use crate::wire::http::KnownHead;
use crate::words::channel::Pattern;
use crate::words::filter::Filter;
use crate::words::limits::{READ_BUFFER_BYTES, SWEEP_EVENTS_MAX};
use access::Accesses;
use backlog::Backlog;
use connection::{Connection, Delivery, NO_MARK, Rates};
use fan_out::{FanOut, Routed};
use fault::Handling;
use flush::{Batch, Sent, Sifted};
use handed::Handed;
use passes::Expiries;
use pulse::{Slowest, Watch};
use recent::Recent;
use render::Rendered;
use service::DeliveryWait;
use timers::Timers;
use watch::OwnEvents;

/// The number of a connection, with what tells it from an earlier one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    fn new(key: usize, generation: u32) -> ConnectionId {
        ConnectionId(u64::from(generation) << 32 | key as u64)
    }

    fn key(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One loop: its connections and all that it needs to serve them.
pub struct EventLoop<L> {
    hub: Arc<Hub>,
    settings: Arc<Settings>,
    index: usize,
    now: Now,
    connections: Slab<Connection<L>>,
    next_generation: u32,
    /// Who subscribes to what here; the others see a snapshot.
    table: Table,
    table_changed: bool,
    fan_out: FanOut,
    backlog: Backlog,
    /// When its sweep began, in milliseconds of the loop's clock.
    sweep_ms: u64,
    timers: Timers,
    /// Connections that may have something to read, or to go on reading.
    to_read: VecDeque<usize>,
    /// Connections that may have something to send besides what the fan-out brings them.
    to_flush: Vec<usize>,
    /// Submissions whose receipt is still due.
    in_flight: usize,
    /// Whom a fault would concern.
    handling: Handling,
    buffer: Vec<u8>,
    /// What the WebSocket client whose input is being read has used of its rates.
    rates: Option<Box<Rates>>,
    /// The request head that was read last, and how the last publications began.
    known_head: KnownHead,
    openings: Openings,
    due: Vec<u32>,
    /// The loop has got up from the sequencer's seat although work was left, which is its affair.
    owes: bool,
    stage: Stage,
    /// Events handed to the kernel.
    delivered: u64,
    /// The addresses of connections, while there is a bound on those of one.
    addresses: HashMap<usize, IpAddr, foldhash::fast::RandomState>,
    /// The clients of streams that came by trusted proxies.
    forwarded: HashMap<usize, IpAddr, foldhash::fast::RandomState>,
    /// Operators' connections.
    operators: usize,
    /// Those of them who watch, while there are any.
    watch: Option<Box<Watch>>,
    /// What they were told last of this loop's clients.
    slowest: Slowest,
    /// What the log will say of requests.
    accesses: Accesses,
    /// Requests whose answer comes from elsewhere.
    services_due: usize,
    /// Requests that wait until events were handed to the kernel.
    delivery_waits: Vec<DeliveryWait>,
    /// Events of its own on their way to the sequencer.
    own_events: OwnEvents,
    /// When the time of clients ends, and the tokens that they have shown lately.
    expiries: Expiries,
    known_tokens: Known,
    /// The first connection that has not been looked at since the policy was exchanged.
    reviewing: Option<usize>,
    /// Filters in use, each once.
    filters: HashSet<Arc<Filter>, foldhash::fast::RandomState>,
    /// At so many, those that nobody uses any more are looked for.
    filters_high: usize,
    /// What many subscribe to, and what many call themselves.
    patterns: Recent<Pattern>,
    agents: Recent<ArcStr>,
    /// Frames of this sweep in other words than the log's.
    rendered: Rendered,
    /// This turn's runs as filters let them through.
    sifted: Sifted,
    /// What this turn has handed to the kernel so far.
    sent: Sent,
    /// The same, until it is known how long that took.
    handed: Handed,
    /// Memory of the flush, kept from turn to turn: frames for many, frames for one, and numbers of events.
    batch: Batch<'static>,
    batch_of_one: Batch<'static>,
    seqs: Vec<u64>,
}

/// Where a loop stands on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// At work.
    Serving,
    /// No publish is let in any more; what was let in is finished.
    Draining,
    /// Goodbye was said to everybody who keeps up; the others have until then to catch up.
    Leaving {
        /// In milliseconds of the loop's clock.
        until_ms: u64,
    },
    /// Goodbye was said to everybody.
    Left,
}

impl<L: Link> EventLoop<L> {
    /// The loop of the desk numbered `index`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, settings: Arc<Settings>, index: usize, now: Now) -> EventLoop<L> {
        EventLoop {
            fan_out: FanOut::new(hub.log.published()),
            backlog: Backlog::new(),
            sweep_ms: now.mono_ms,
            handed: Handed::new(Arc::clone(&hub), index),
            timers: Timers::new(now.mono_ms),
            hub,
            settings,
            index,
            now,
            connections: Slab::new(),
            next_generation: 0,
            table: Table::default(),
            table_changed: false,
            to_read: VecDeque::new(),
            to_flush: Vec::new(),
            in_flight: 0,
            handling: Handling::default(),
            buffer: vec![0; READ_BUFFER_BYTES],
            rates: None,
            known_head: KnownHead::default(),
            openings: Openings::default(),
            due: Vec::new(),
            owes: false,
            stage: Stage::Serving,
            delivered: 0,
            addresses: HashMap::default(),
            forwarded: HashMap::default(),
            operators: 0,
            watch: None,
            slowest: Slowest::default(),
            accesses: Accesses::default(),
            services_due: 0,
            delivery_waits: Vec::new(),
            own_events: OwnEvents::default(),
            expiries: Expiries::default(),
            known_tokens: Known::default(),
            reviewing: None,
            filters: HashSet::default(),
            filters_high: stream::FILTERS_HIGH,
            patterns: Recent::default(),
            agents: Recent::default(),
            rendered: Rendered::default(),
            sifted: Sifted::default(),
            sent: Sent::default(),
            batch: Batch::roomy(),
            batch_of_one: Batch::roomy(),
            seqs: Vec::with_capacity(SWEEP_EVENTS_MAX as usize),
        }
    }

    /// Takes a new link in; its input is looked at when [`EventLoop::ready`] says that there is some. When there is no place, the link is given an
    /// answer and goodbye: poll as for others, it removes itself.
    ///
    /// `now` because its deadlines begin now, and the last turn may be long past.
    pub fn accept(
        &mut self,
        door: Door,
        now: Now,
        make_link: impl FnOnce(ConnectionId) -> L,
    ) -> ConnectionId {
        self.now = now;
        let entry = self.connections.vacant_entry();
        let id = ConnectionId::new(entry.key(), self.next_generation);
        let key = entry.key();
        self.next_generation = self.next_generation.wrapping_add(1);
        let link = make_link(id);
        entry.insert(Connection::new(link, id.generation(), door, self.now.mono_ms, &self.hub.limits));
        self.operators += usize::from(door == Door::Admin);
        if let Err(no_place) = self.give_place(key) {
            self.turn_away(key, no_place);
        }
        self.remind(key);
        id
    }

    /// The link of `id` may have become readable or writable. Of a connection that is gone it is nothing.
    pub fn ready(&mut self, id: ConnectionId, readable: bool, writable: bool) {
        let key = id.key();
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.generation != id.generation() {
            return;
        }
        connection.readable |= readable;
        if writable {
            let sent = connection.link.flush();
            connection.out.note_sent_on(sent);
        }
        if writable && !connection.writable {
            connection.writable = true;
            connection.clock.stalled_ms = 0;
            if connection.has_output() || connection.waits_for_link() {
                self.want_flush(key);
            }
        }
        if readable {
            self.want_read(key);
        }
    }

    /// The peer of `id` has sent the last of its bytes, though some may not have been read yet. Of a connection that
    /// is gone it is nothing.
    pub fn ending(&mut self, id: ConnectionId) {
        let key = id.key();
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.generation == id.generation() {
            connection.ending = true;
            connection.readable = true;
            self.want_read(key);
        }
    }

    /// One turn.
    pub fn turn(&mut self, now: Now) {
        self.now = now;
        self.backlog.see(self.hub.log.published(), now.mono_ms);
        self.take_receipts();
        self.take_letters();
        self.advance_stage();
        if self.reviewing.is_some() {
            self.review();
        }
        self.input();
        self.publish_own_events();
        self.show_table();
        self.sequence();
        self.route();
        self.expire();
        if !self.expiries.is_empty() {
            self.end_times();
        }
        if self.watch.is_some() {
            self.tell_watchers();
        }
        self.flush();
        self.desk().advance_routed(self.fan_out.base());
        let behind_ms = self.backlog.age_ms(self.fan_out.base(), now.mono_ms);
        self.desk().set_behind_ms(behind_ms);
        self.handed.look_at_span();
        self.answer_delivery_waits();
        self.handed.end_turn();
    }

    /// Whether another turn has something to do at once.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let desk = self.desk();
        !self.to_read.is_empty()
            || !self.to_flush.is_empty()
            // Edited since it was shown: the others would go by the old one for as long as this loop sleeps.
            || self.table_changed
            || self.fan_out.is_under_way()
            || self.fan_out.position() < self.hub.log.published()
            || desk.has_receipt()
            || desk.has_letter()
            || self.reviewing.is_some()
            || !self.own_events.is_empty()
            || self.owes
            || (self.index == 0 && self.hub.errand.is_left())
            || (self.stage == Stage::Serving && self.hub.is_draining())
    }

    /// When to turn even if nothing happens, in milliseconds of the loop's clock.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let drain = match self.stage {
            Stage::Draining => Some(self.now.mono_ms + DRAIN_LOOK_MS),
            Stage::Leaving { until_ms } => Some(until_ms),
            Stage::Serving | Stage::Left => None,
        };
        // One of them looks after what grows too old; the others do it in passing.
        let expiry = (self.index == 0).then(|| self.hub.next_expiry_ms(self.now.unix_ms)).flatten();
        let expiry = expiry.map(|at_unix_ms| {
            let ahead_ms = at_unix_ms.saturating_sub(self.now.unix_ms);
            self.now.mono_ms + ahead_ms.min(EXPIRY_LOOK_MS_MAX)
        });
        let watch = self.watch.as_ref().map(|watch| watch.next_ms());
        let times = [drain, expiry, watch, self.delivery_look_ms(), self.expiries.next_ms(self.now)];
        self.timers.next_ms().into_iter().chain(times.into_iter().flatten()).min()
    }

    /// What the next turn finds had come by that moment, at which the loop has looked: publishes are measured from then on. Where
    /// this is not said they are from when the first of them is read.
    pub fn woke_at(&mut self, at: Instant) {
        self.handed.woke_at(at);
    }

    /// The loop has slept: what was published meanwhile without a subscriber here is none of its business.
    pub fn wake(&mut self) {
        let routed = self.desk().routed();
        self.fan_out.skip_to(routed);
    }

    /// Whether a drain has come to its end: goodbye was said, and everybody is gone but operators, who may look on.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. } | Stage::Left) && self.connections.len() == self.operators
    }

    /// Connections of this loop.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Events handed to the kernel by this loop so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    fn desk(&self) -> &Desk {
        &self.hub.desks()[self.index]
    }

    /// Shows the others the table, if it was edited: at most once a turn.
    fn show_table(&mut self) {
        if std::mem::take(&mut self.table_changed) {
            self.desk().show_table(self.table.clone());
        }
    }

    /// Sits down at the sequencer, if there is something for it and nobody else does.
    fn sequence(&mut self) {
        let (hub, now) = (Arc::clone(&self.hub), self.now);
        if self.index == 0 {
            hub.errand.take();
            hub.expire(now.unix_ms);
        }
        self.owes = hub.sequence(now, Some(self.index), |steps, step| {
            // Who sat before may have dealt with what was submitted earlier: its answers come first.
            self.take_receipts();
            self.take_own_receipts(step);
            STEPS_PER_TURN <= steps
        });
    }

    /// Marks the live subscribers of what is new.
    fn route(&mut self) {
        let hub = Arc::clone(&self.hub);
        let pass = hub.log.pass();
        let connections = &mut self.connections;
        let mut mark = |key: u32, mark: u32| {
            let connection = connections.get_mut(key as usize)?;
            if connection.delivery != Delivery::Live {
                return None;
            }
            Some(std::mem::replace(&mut connection.marks, mark))
        };
        if !self.fan_out.is_under_way() {
            self.sweep_ms = self.now.mono_ms;
            self.handed.begin_sweep();
        }
        let routed = self.fan_out.route(&hub.log, &pass, &self.table, &mut mark);
        if routed == Routed::Lapped {
            self.send_everybody_alone(pass.published());
        }
    }

    /// The log has overtaken the loop: every live connection goes on from its own cursor, and finds its own gap.
    fn send_everybody_alone(&mut self, published: u64) {
        let position = self.fan_out.position();
        let mut keys = Vec::new();
        for (key, connection) in &mut self.connections {
            if connection.delivery == Delivery::Live {
                connection.delivery = Delivery::Lagging;
                connection.pace.excused();
                connection.next = connection.next.max(position);
                debug_assert_eq!(connection.marks, NO_MARK);
                keys.push(key);
            }
        }
        self.fan_out.skip_to(published);
        for key in keys {
            self.want_flush(key);
        }
    }

    fn want_read(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !std::mem::replace(&mut connection.in_input, true) {
            self.to_read.push_back(key);
        }
    }

    fn want_flush(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !std::mem::replace(&mut connection.in_flush, true) {
            self.to_flush.push(key);
        }
    }
}

/// How often a draining loop looks whether the others are done, in milliseconds.
const DRAIN_LOOK_MS: u64 = 10;

/// Steps of the sequencer that a loop makes in one turn: its subscribers wait meanwhile, and others may take the seat after.
const STEPS_PER_TURN: usize = 16;

/// How long the first loop may sleep while events wait to be too old, in milliseconds: the clock that
/// says so may be set meanwhile.
const EXPIRY_LOOK_MS_MAX: u64 = 60_000;
