//! Links in memory: two pipes of bounded room, with the readiness edges that a kernel would report.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;

use fanfare::event_loop::{ConnectionId, Link};

use crate::context::Context;

/// What the kernel knows of one connection.
#[derive(Default)]
pub(crate) struct Wire {
    /// Bytes on their way to the server, and how many fit.
    to_server: VecDeque<u8>,
    to_server_room: usize,
    /// Bytes on their way to the client, and how many fit.
    to_client: VecDeque<u8>,
    to_client_room: usize,
    /// The client sends nothing more.
    client_done: bool,
    /// The client is gone altogether.
    client_gone: bool,
    /// The server sends nothing more.
    server_done: bool,
    /// When the server let go of the connection.
    pub(crate) server_gone_ms: Option<u64>,
    /// Broken off.
    is_reset: bool,
    /// The server was told that nothing fits, and will be told when something does.
    is_blocked: bool,
    /// The edges that wait to be reported.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The input has ended, which an edge reports too.
    pub(crate) closed: bool,
    pub(crate) id: Option<ConnectionId>,
}

impl Wire {
    /// A connection with so much room each way.
    pub(crate) fn new(to_server_room: usize, to_client_room: usize) -> Wire {
        Wire { to_server_room, to_client_room, ..Wire::default() }
    }

    /// Whether an edge waits to be reported.
    pub(crate) fn has_edge(&self) -> bool {
        self.readable || self.writable
    }

    /// Whether the client has left.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_reset || self.client_gone
    }

    fn free(&mut self, context: &Context) {
        // Room is reported when there is enough of it, or when nothing is left; and sometimes for no reason.
        let is_enough = self.to_client.len() * 2 <= self.to_client_room || context.random.chance(300);
        if self.is_blocked && is_enough && self.to_client.len() < self.to_client_room {
            self.is_blocked = false;
            self.writable = true;
        }
    }
}

/// The server's end.
pub(crate) struct SimLink {
    pub(crate) wire: Rc<RefCell<Wire>>,
    pub(crate) context: Rc<Context>,
    /// What it has taken in and the kernel has not, and how much that may be.
    held: VecDeque<u8>,
    holds_max: usize,
}

/// What a link may take in beyond the kernel, if it does.
const HOLDS_MAX: usize = 300;

impl SimLink {
    /// The server's end of `wire`. Some take in more than the kernel does, as an encrypted one.
    pub(crate) fn new(wire: &Rc<RefCell<Wire>>, context: &Rc<Context>, id: ConnectionId) -> SimLink {
        // Not by the dice: the plays of the seeds are otherwise what they were. Where all is calm it counts what a turn brings.
        let is_holding = !context.is_calm.get() && (id.0 as u32).is_multiple_of(4);
        let holds_max = if is_holding { HOLDS_MAX } else { 0 };
        SimLink { wire: Rc::clone(wire), context: Rc::clone(context), held: VecDeque::new(), holds_max }
    }

    /// Sends on what it holds; returns how much went.
    fn push(&mut self) -> usize {
        let mut wire = self.wire.borrow_mut();
        if wire.is_abandoned() {
            if !self.held.is_empty() {
                wire.is_reset = true;
                wire.closed = true;
                (wire.readable, wire.writable) = (true, true);
                self.held.clear();
            }
            return 0;
        }
        let count = self.held.len().min(wire.to_client_room - wire.to_client.len());
        wire.to_client.extend(self.held.drain(..count));
        wire.is_blocked |= !self.held.is_empty();
        count
    }
}

impl Link for SimLink {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.context.meanwhile();
        if self.context.fault(10) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut wire = self.wire.borrow_mut();
        if wire.is_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.to_server.is_empty() {
            let is_done = wire.client_done || wire.client_gone;
            return if is_done { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let mut count = wire.to_server.len().min(into.len());
        if self.context.fault(200) {
            count = 1 + self.context.random.index(count);
        }
        for (to, from) in into.iter_mut().zip(wire.to_server.drain(..count)) {
            *to = from;
        }
        // A short read says that there is no more; so if there is, it must count as having come later.
        wire.readable |= !wire.to_server.is_empty() && count < into.len();
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.context.meanwhile();
        if self.context.fault(10) {
            return Err(ErrorKind::Interrupted.into());
        }
        self.push();
        let mut wire = self.wire.borrow_mut();
        assert!(!wire.server_done, "nothing is written after the end");
        if !self.held.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if wire.is_reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(0 < total, "an empty write is not worth a system call");
        if wire.client_gone {
            // The first write to a peer that is gone succeeds, and provokes the reset.
            wire.is_reset = true;
            wire.closed = true;
            (wire.readable, wire.writable) = (true, true);
            return Ok(total);
        }
        let mut count = total.min(wire.to_client_room - wire.to_client.len());
        if self.context.fault(100) {
            count = self.context.random.index(count + 1);
        }
        if count < total {
            wire.is_blocked = true;
        }
        let held = (total - count).min(self.holds_max);
        if count + held == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        wire.to_client.extend(bytes.by_ref().take(count));
        self.held.extend(bytes.take(held));
        Ok(count + held)
    }

    fn has_unsent(&self) -> bool {
        !self.held.is_empty()
    }

    fn flush(&mut self) -> usize {
        self.push()
    }

    fn finish(&mut self) {
        let mut wire = self.wire.borrow_mut();
        assert!(!wire.server_done, "the end is said once");
        assert!(self.held.is_empty(), "the end is said behind everything else");
        wire.server_done = true;
    }
}

impl Drop for SimLink {
    fn drop(&mut self) {
        let mut wire = self.wire.borrow_mut();
        wire.server_gone_ms = Some(self.context.now_ms.get());
        self.context.trace(|| format!("{:?} is let go", wire.id));
        if !wire.to_server.is_empty() {
            // Closing with unread input resets: what is under way is lost.
            let kept = self.context.random.index(wire.to_client.len() + 1);
            wire.to_client.truncate(kept);
        }
    }
}

/// The client's end.
pub(crate) struct Conn {
    context: Rc<Context>,
    wire: Rc<RefCell<Wire>>,
    /// Bytes the client has written and the kernel has not taken.
    outgoing: VecDeque<u8>,
    /// Bytes the client has read and not understood yet.
    pub(crate) incoming: Vec<u8>,
    /// The client wants to send nothing more after `outgoing`.
    wants_done: bool,
    /// When everything that was sent had arrived, and the end was said.
    pub(crate) done_ms: Option<u64>,
    /// The last moment at which nothing was under way.
    still_ms: u64,
}

impl Conn {
    /// The client's end of `wire`.
    pub(crate) fn new(context: &Rc<Context>, wire: &Rc<RefCell<Wire>>) -> Conn {
        Conn {
            still_ms: context.now_ms.get(),
            context: Rc::clone(context),
            wire: Rc::clone(wire),
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            wants_done: false,
            done_ms: None,
        }
    }

    /// Writes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        assert!(!self.wants_done);
        self.outgoing.extend(bytes);
    }

    /// Whether so little waits to be sent that a client would write more.
    pub(crate) fn is_ready_to_send(&self) -> bool {
        !self.wants_done && self.outgoing.len() < 4096
    }

    /// Bytes move on towards the server: all that fit, or some. Returns whether any did.
    pub(crate) fn pump(&mut self) -> bool {
        let mut wire = self.wire.borrow_mut();
        if wire.is_reset || wire.server_gone_ms.is_some() {
            self.outgoing.clear();
            return false;
        }
        let mut count = self.outgoing.len().min(wire.to_server_room - wire.to_server.len());
        if self.context.fault(300) {
            count = self.context.random.index(count + 1);
        }
        wire.to_server.extend(self.outgoing.drain(..count));
        wire.readable |= 0 < count;
        let is_done = self.wants_done && self.outgoing.is_empty() && !wire.client_done;
        if is_done {
            wire.client_done = true;
            wire.readable = true;
            wire.closed = true;
            self.done_ms = Some(self.context.now_ms.get());
        }
        0 < count || is_done
    }

    /// Reads what has arrived: all, or some. Returns whether anything had.
    pub(crate) fn pull(&mut self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let mut count = wire.to_client.len();
        if self.context.fault(300) {
            count = self.context.random.index(count + 1);
        }
        self.incoming.extend(wire.to_client.drain(..count));
        wire.free(&self.context);
        let is_quiet = wire.to_server.is_empty() && wire.to_client.is_empty() && !wire.has_edge();
        if count == 0 && self.outgoing.is_empty() && is_quiet && wire.server_gone_ms.is_none() {
            self.still_ms = self.context.now_ms.get();
        }
        0 < count
    }

    /// Whether the server has said or will say nothing more, and everything it said was read.
    pub(crate) fn is_at_end(&self) -> bool {
        let wire = self.wire.borrow();
        wire.is_reset || (wire.to_client.is_empty() && (wire.server_done || wire.server_gone_ms.is_some()))
    }

    /// For how long bytes had been under way when the server let go, if it has.
    pub(crate) fn unrest_ms(&self) -> Option<u64> {
        self.wire.borrow().server_gone_ms.map(|gone_ms| gone_ms.saturating_sub(self.still_ms))
    }

    /// When the server let go.
    pub(crate) fn server_gone_ms(&self) -> Option<u64> {
        self.wire.borrow().server_gone_ms
    }

    /// Whether the connection was broken off.
    pub(crate) fn is_reset(&self) -> bool {
        self.wire.borrow().is_reset
    }

    /// Sends nothing more.
    pub(crate) fn half_close(&mut self) {
        self.wants_done = true;
    }

    /// Whether it said that it sends nothing more.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.wants_done
    }

    /// Leaves properly: what was sent arrives, unless something that was not read makes it a reset.
    pub(crate) fn close(self) {
        let mut wire = self.wire.borrow_mut();
        if wire.to_client.is_empty() {
            wire.client_gone = true;
        } else {
            wire.to_server.clear();
            wire.is_reset = true;
        }
        wire.closed = true;
        (wire.readable, wire.writable) = (true, true);
    }

    /// Breaks off.
    pub(crate) fn cut(self) {
        let mut wire = self.wire.borrow_mut();
        wire.to_server.clear();
        wire.to_client.clear();
        wire.is_reset = true;
        wire.closed = true;
        (wire.readable, wire.writable) = (true, true);
    }
}
