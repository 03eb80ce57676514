//! An event loop over links in memory, driven by hand: all that a loop does, without sockets, threads or sleep.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use fanfare::event_loop::{ConnectionId, EventLoop, Link, Now};
use fanfare::hub::{Hub, Sitter};
use fanfare::sequencer::{EventParts, Origin, Publication, Submission};
use fanfare::session::request::Door;
use fanfare::session::settings::Settings;
use fanfare::sync::bell::Waker;
use fanfare::words::channel::Channel;
use fanfare::words::cursor::Epoch;
use fanfare::words::limits::Limits;

/// One loop, its links, and the sequencer, whose seat is held outside so that its time can be told from the loop's.
pub(crate) struct Rig {
    /// The shared middle.
    pub(crate) hub: Arc<Hub>,
    event_loop: EventLoop<MemoryLink>,
    sitter: Box<Sitter>,
    now: Now,
    is_blind: Rc<Cell<bool>>,
}

impl Rig {
    /// A loop without connections; its clock stands still until told otherwise.
    pub(crate) fn new(limits: Limits, settings: Settings) -> Rig {
        let now = Now { mono_ms: 1000, unix_ms: 1_795_316_060_000 };
        let hub = Hub::new(limits, Epoch::from_bits(0), vec![Box::new(Deaf)]);
        let sitter = hub.seat().take().expect("nobody sits");
        let event_loop = EventLoop::new(Arc::clone(&hub), Arc::new(settings), 0, now);
        Rig { hub, event_loop, sitter, now, is_blind: Rc::default() }
    }

    /// A client connects.
    pub(crate) fn connect(&mut self) -> Peer {
        self.connect_from(None)
    }

    /// A client connects from this address.
    pub(crate) fn connect_from(&mut self, peer: Option<SocketAddr>) -> Peer {
        self.connect_at(Door::Public, peer)
    }

    /// An operator connects.
    pub(crate) fn connect_operator(&mut self) -> Peer {
        self.connect_at(Door::Admin, None)
    }

    fn connect_at(&mut self, door: Door, peer: Option<SocketAddr>) -> Peer {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let link = MemoryLink { wire: Rc::clone(&wire), is_blind: Rc::clone(&self.is_blind), peer };
        let id = self.event_loop.accept(door, self.now, |_| link);
        Peer { wire, id }
    }

    /// Bytes of `peer` arrive.
    pub(crate) fn say(&mut self, peer: &Peer, bytes: &[u8]) {
        peer.wire.borrow_mut().to_server.extend_from_slice(bytes);
        self.event_loop.ready(peer.id, true, false);
    }

    /// `peer` has said its last.
    pub(crate) fn end(&mut self, peer: &Peer) {
        peer.wire.borrow_mut().is_done = true;
        self.event_loop.ending(peer.id);
    }

    /// `peer` takes things again, after it had stopped.
    pub(crate) fn read_on(&mut self, peer: &Peer) {
        peer.wire.borrow_mut().is_full = false;
        self.event_loop.ready(peer.id, false, true);
    }

    /// The connection of `peer` breaks; what is under way is lost.
    pub(crate) fn cut(&mut self, peer: &Peer) {
        peer.wire.borrow_mut().is_cut = true;
        self.event_loop.ready(peer.id, true, true);
    }

    /// Publishes events, at most as many as one step takes. The loop has not seen them yet.
    pub(crate) fn publish(&mut self, events: impl IntoIterator<Item = Publication>) {
        self.submit(Submission::publish(Origin::NOBODY, events.into_iter().collect()));
        self.sequence();
    }

    /// Puts `submission` in the queue, where it waits.
    pub(crate) fn submit(&mut self, submission: Submission) {
        self.hub.submit(submission).expect("the loop keeps up");
    }

    /// Publishes whatever waits in the queue.
    pub(crate) fn sequence(&mut self) {
        while self.sitter.step(&self.hub, self.now) {
            self.sitter.announce(&self.hub, None);
        }
    }

    /// The loop wakes now, by the clock of measurements.
    pub(crate) fn wake(&mut self) {
        self.event_loop.woke_at(Instant::now());
    }

    /// One turn of the loop.
    pub(crate) fn turn(&mut self) {
        self.event_loop.turn(self.now);
    }

    /// Turns until there is nothing left to do, and publishes what the loop itself has to say.
    pub(crate) fn settle(&mut self) {
        loop {
            self.turn();
            self.sequence();
            if !self.event_loop.has_work() {
                return;
            }
        }
    }

    /// For how long the loop would sleep at most, in milliseconds; nothing if for ever.
    pub(crate) fn sleeps_ms(&self) -> Option<u64> {
        self.event_loop.deadline_ms().map(|at_ms| at_ms.saturating_sub(self.now.mono_ms))
    }

    /// The loop sleeps from now on, or is awake again.
    pub(crate) fn sleep(&mut self, sleeps: bool) {
        let bell = &self.hub.desks()[0].bell;
        if sleeps {
            bell.lie_down();
        } else {
            bell.get_up();
            self.event_loop.wake();
        }
    }

    /// Time goes by.
    pub(crate) fn wait_ms(&mut self, wait_ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + wait_ms, unix_ms: self.now.unix_ms + wait_ms };
    }

    /// Somebody sets the wall's clock; the loop's own goes on as it did.
    pub(crate) fn set_wall_clock(&mut self, ahead_ms: i64) {
        self.now.unix_ms = self.now.unix_ms.saturating_add_signed(ahead_ms);
    }

    /// From now on links take everything and do not so much as look at their wires, whose memory lies anywhere: what
    /// is measured then is the loop.
    pub(crate) fn send_blindly(&self) {
        self.is_blind.set(true);
    }

    /// Events handed to links so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.event_loop.delivered()
    }
}

/// An event with the data `1`.
pub(crate) fn publication(channel: &str, kind: &str) -> Publication {
    let channel = Channel::parse(channel).expect("a channel");
    Publication::new(&EventParts::new(&channel, kind, b"1")).expect("an event")
}

/// The client's end of a connection.
pub(crate) struct Peer {
    wire: Rc<RefCell<Wire>>,
    id: ConnectionId,
}

impl Peer {
    /// Keeps what arrives, to be taken; otherwise it is thrown away.
    pub(crate) fn listen(&self) {
        self.wire.borrow_mut().heard = Some(Vec::new());
    }

    /// Throws away what arrives.
    pub(crate) fn ignore(&self) {
        self.wire.borrow_mut().heard = None;
    }

    /// What has arrived since the last time.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.wire.borrow_mut().heard.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes nothing any more.
    pub(crate) fn stop_reading(&self) {
        self.wire.borrow_mut().is_full = true;
    }

    /// The next time that the server reads, its own code fails.
    pub(crate) fn fail_at_read(&self) {
        self.wire.borrow_mut().fails_at_read = true;
    }

    /// The next time that the server writes, its own code fails.
    pub(crate) fn fail_at_write(&self) {
        self.wire.borrow_mut().fails_at_write = true;
    }

    /// Whether the server has let go of the connection.
    pub(crate) fn is_gone(&self) -> bool {
        self.wire.borrow().is_released
    }
}

/// What the kernel would know of a connection.
#[derive(Default)]
struct Wire {
    to_server: Vec<u8>,
    heard: Option<Vec<u8>>,
    is_done: bool,
    is_cut: bool,
    is_full: bool,
    is_released: bool,
    fails_at_read: bool,
    fails_at_write: bool,
}

/// The server's end of a connection.
struct MemoryLink {
    wire: Rc<RefCell<Wire>>,
    /// One for all links.
    is_blind: Rc<Cell<bool>>,
    peer: Option<SocketAddr>,
}

impl Link for MemoryLink {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        assert!(!std::mem::take(&mut wire.fails_at_read), "a fault that a test asked for");
        if wire.is_cut {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.to_server.is_empty() {
            return if wire.is_done { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let count = wire.to_server.len().min(into.len());
        into[..count].copy_from_slice(&wire.to_server[..count]);
        wire.to_server.drain(..count);
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_blind.get() {
            return Ok(slices.iter().map(|slice| slice.len()).sum());
        }
        let mut wire = self.wire.borrow_mut();
        assert!(!std::mem::take(&mut wire.fails_at_write), "a fault that a test asked for");
        if wire.is_cut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if wire.is_full {
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(heard) = &mut wire.heard {
            slices.iter().for_each(|slice| heard.extend_from_slice(slice));
        }
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn finish(&mut self) {}

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.wire.borrow_mut().is_released = true;
    }
}

/// Nobody blocks, so nobody needs waking.
struct Deaf;

impl Waker for Deaf {
    fn wake(&self) {}
}
