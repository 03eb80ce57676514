//! The server of the play: its loops, each driven as the real driver does it, its sleep decided by the play.
//!
//! A loop that lies down is not turned before its bell rings, an edge comes or its deadline passes: a wake-up that is
//! lost shows as somebody who never catches up.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare::event_loop::EventLoop;
use fanfare::hub::Hub;
use fanfare::session::request::Door;
use fanfare::sync::bell::Waker;
use fanfare::words::cursor::Epoch;
use fanfare::words::limits::Limits;

use crate::context::Context;
use crate::link::{Conn, SimLink, Wire};
use crate::random::Random;

/// A server.
pub(crate) struct Server {
    pub(crate) context: Rc<Context>,
    seats: Vec<Seat>,
}

/// One loop and its thread.
struct Seat {
    event_loop: Option<EventLoop<SimLink>>,
    wires: Vec<Rc<RefCell<Wire>>>,
    /// Connections that wait to be accepted.
    backlog: VecDeque<Rc<RefCell<Wire>>>,
    is_rung: Arc<AtomicBool>,
    rest: Rest,
    drain_end_ms: Option<u64>,
}

/// Whether a thread blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Awake,
    /// Until then at most.
    Asleep(Option<u64>),
}

/// Remembers that it was told to wake its thread.
struct Recorder(Arc<AtomicBool>);

impl Waker for Recorder {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Server {
    /// A server of so many loops.
    pub(crate) fn new(random: Random, limits: Limits, loops: usize) -> Server {
        let rung: Vec<Arc<AtomicBool>> = (0..loops).map(|_| Arc::default()).collect();
        let wakers = rung.iter().map(|rung| Box::new(Recorder(Arc::clone(rung))) as Box<dyn Waker>).collect();
        let hub = Hub::new(limits, Epoch::from_bits(random.next()), wakers);
        let context = Rc::new(Context::new(random, Arc::clone(&hub)));
        let seats = rung.into_iter().enumerate().map(|(index, is_rung)| Seat {
            event_loop: Some(EventLoop::new(Arc::clone(&hub), Arc::default(), index, context.now())),
            wires: Vec::new(),
            backlog: VecDeque::new(),
            is_rung,
            rest: Rest::Awake,
            drain_end_ms: None,
        });
        Server { seats: seats.collect(), context }
    }

    /// How many loops there are.
    pub(crate) fn loops(&self) -> usize {
        self.seats.len()
    }

    /// Connects to one of the loops, with so much room in each direction.
    pub(crate) fn connect(&mut self, to_server_room: usize, to_client_room: usize) -> Conn {
        let index = self.context.random.index(self.seats.len());
        let wire = Rc::new(RefCell::new(Wire::new(to_server_room, to_client_room)));
        let conn = Conn::new(&self.context, &wire);
        let seat = &mut self.seats[index];
        match seat.event_loop {
            Some(_) => seat.backlog.push_back(wire),
            None => wire.borrow_mut().server_gone_ms = Some(self.context.now_ms.get()),
        }
        conn
    }

    /// Whether the thread of a loop would go on by itself: it is awake, or something has come that ends its sleep.
    pub(crate) fn is_runnable(&self, index: usize) -> bool {
        let seat = &self.seats[index];
        let Some(_) = seat.event_loop else { return false };
        match seat.rest {
            Rest::Awake => true,
            Rest::Asleep(until_ms) => {
                seat.is_rung.load(Ordering::SeqCst)
                    || until_ms.is_some_and(|until_ms| until_ms <= self.context.now_ms.get())
                    || !seat.backlog.is_empty()
                    || seat.wires.iter().any(|wire| wire.borrow().has_edge())
            }
        }
    }

    /// When the first sleeping loop has its next deadline.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let deadline = |seat: &Seat| match seat.rest {
            Rest::Asleep(until_ms) => until_ms.filter(|_| seat.event_loop.is_some()),
            Rest::Awake => None,
        };
        self.seats.iter().filter_map(deadline).min()
    }

    /// Lets a runnable loop go on: it lies down, or it turns once.
    pub(crate) fn drive(&mut self, index: usize) {
        debug_assert!(self.is_runnable(index));
        let context = Rc::clone(&self.context);
        let seat = &mut self.seats[index];
        let Some(event_loop) = seat.event_loop.as_mut() else { return };
        let bell = &context.hub.desks()[index].bell;
        let has_slept = match seat.rest {
            Rest::Asleep(_) => true,
            Rest::Awake => {
                if !event_loop.has_work() {
                    context.meanwhile();
                    bell.lie_down();
                    context.meanwhile();
                    if !event_loop.has_work() {
                        let deadline_ms = event_loop.deadline_ms().into_iter().chain(seat.drain_end_ms).min();
                        seat.rest = Rest::Asleep(deadline_ms);
                        context.trace(|| format!("loop {index} lies down until {deadline_ms:?}"));
                        return;
                    }
                }
                false
            }
        };
        seat.rest = Rest::Awake;
        seat.is_rung.store(false, Ordering::SeqCst);
        context.meanwhile();
        bell.get_up();
        if has_slept {
            event_loop.wake();
        }
        seat.wires.retain(|wire| wire.borrow().server_gone_ms.is_none());
        let has_edges = seat.wires.iter().any(|wire| wire.borrow().has_edge());
        let mut has_told = false;
        for shared in &seat.wires {
            let mut wire = shared.borrow_mut();
            let Some(id) = wire.id else { continue };
            let is_late = context.fault(200) && (has_told || !has_edges);
            if (wire.has_edge() && !is_late) || context.fault(5) {
                let is_false = !wire.has_edge();
                let readable = std::mem::take(&mut wire.readable) || is_false;
                let writable = std::mem::take(&mut wire.writable) || is_false;
                if is_false {
                    context.trace(|| format!("loop {index} is told of nothing, for {id:?}"));
                }
                // What the link holds goes on its way.
                drop(wire);
                event_loop.ready(id, readable, writable);
                if std::mem::take(&mut shared.borrow_mut().closed) {
                    event_loop.ending(id);
                }
                has_told = true;
            }
        }
        let now = context.now();
        if context.hub.is_draining() {
            for wire in seat.backlog.drain(..) {
                wire.borrow_mut().server_gone_ms = Some(now.mono_ms);
            }
            let deadline_ms = context.hub.limits.drain_deadline.as_millis() as u64;
            let end_ms = *seat.drain_end_ms.get_or_insert(now.mono_ms + deadline_ms);
            if event_loop.is_done() || end_ms <= now.mono_ms {
                context.trace(|| format!("loop {index} is done"));
                seat.event_loop = None;
                return;
            }
        }
        for wire in seat.backlog.drain(..) {
            let id = event_loop.accept(Door::Public, now, |id| {
                wire.borrow_mut().id = Some(id);
                SimLink::new(&wire, &context, id)
            });
            context.trace(|| format!("loop {index} accepts {id:?}"));
            seat.wires.push(wire);
        }
        context.trace(|| format!("loop {index} turns"));
        event_loop.turn(now);
        assert_eq!(
            context.hub.counters.panics(),
            0,
            "a fault of the server, or a link that was used wrongly"
        );
        context.observe();
    }

    /// Lets whoever is outside and every loop go on until all sleep.
    pub(crate) fn drive_to_rest(&mut self) {
        while self.context.step() {}
        for index in 0..self.loops() {
            while self.is_runnable(index) {
                self.drive(index);
            }
        }
    }

    /// Whether every loop has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.seats.iter().all(|seat| seat.event_loop.is_none())
    }

    /// Connections whose client has left and that the server has not let go of.
    pub(crate) fn ghosts(&self) -> usize {
        let is_ghost = |wire: &&Rc<RefCell<Wire>>| {
            let wire = wire.borrow();
            wire.is_abandoned() && wire.server_gone_ms.is_none()
        };
        self.seats
            .iter()
            .filter(|seat| seat.event_loop.is_some())
            .flat_map(|seat| &seat.wires)
            .filter(is_ghost)
            .count()
    }
}
