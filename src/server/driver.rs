//! What stands between the kernel and an event loop: the poll, the listeners, and sleep.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use super::clock::Clock;
use super::listener::{Listener, Refused, Reserve};
use super::socket::Welcome;
use crate::counters::Traffic;
use crate::event_loop::{ConnectionId, EventLoop, Now};
use crate::hub::Hub;
use crate::session::request::Door;

/// A loop with its poll.
pub(super) struct Driver<W: Welcome> {
    hub: Arc<Hub>,
    index: usize,
    poll: Poll,
    event_loop: EventLoop<W::Link>,
    welcome: W,
    clock: Clock,
    listeners: Vec<Option<Listener>>,
    reserve: Reserve,
    /// When the drain ends, whatever is left.
    drain_end_ms: Option<u64>,
    /// From when on the loop's time awake is not counted yet.
    awake_since: Instant,
    /// When it was counted last.
    counted_ms: u64,
}

/// The waker's token; listeners stand right below it, connections count from 0.
const WAKER: Token = Token(usize::MAX);

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// Connections accepted in one turn from one listener.
const ACCEPTS_PER_TURN: usize = 256;

/// How often to look whether those who are being turned away are gone, in milliseconds: another loop's are gone unnoticed.
const CROWD_LOOK_MS: u64 = 20;

/// How often the time awake of a loop that never sleeps is counted, in milliseconds.
const COUNT_EVERY_MS: u64 = 100;

/// A poll, and what wakes it.
pub(super) fn new_poll() -> io::Result<(Poll, Arc<Waker>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    Ok((poll, waker))
}

impl<W: Welcome> Driver<W> {
    pub(super) fn new(
        hub: Arc<Hub>,
        index: usize,
        poll: Poll,
        event_loop: EventLoop<W::Link>,
        welcome: W,
        clock: Clock,
    ) -> io::Result<Driver<W>> {
        let (listeners, reserve) = (Vec::new(), Reserve::new());
        let awake_since = Instant::now();
        let (drain_end_ms, counted_ms) = (None, 0);
        Ok(Driver {
            hub,
            index,
            poll,
            event_loop,
            welcome,
            clock,
            listeners,
            reserve,
            drain_end_ms,
            awake_since,
            counted_ms,
        })
    }

    /// Accepts connections of `socket` too.
    pub(super) fn listen(&mut self, mut socket: TcpListener, door: Door) -> io::Result<()> {
        let token = Token(WAKER.0 - 1 - self.listeners.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        self.listeners.push(Some(Listener::new(socket, door)));
        Ok(())
    }

    /// Turns until the drain is over.
    pub(super) fn run(mut self) {
        self.turn_to_the_end();
        self.hub.leave_loop();
    }

    fn turn_to_the_end(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let (slept, woke) = self.sleep(&mut events);
            self.hub.desks()[self.index].begin_turn();
            self.event_loop.woke_at(woke);
            if slept {
                self.event_loop.wake();
            }
            for event in &events {
                let token = event.token();
                if token == WAKER {
                    continue;
                }
                match self.listeners.get_mut(WAKER.0 - 1 - token.0) {
                    Some(place) => place.iter_mut().for_each(Listener::ring),
                    None => {
                        let id = ConnectionId(token.0 as u64);
                        let writable = event.is_writable() || event.is_write_closed() || event.is_error();
                        self.event_loop.ready(id, event.is_readable(), writable);
                        // A closed or broken socket is found out by reading it to its end.
                        if event.is_read_closed() || event.is_error() {
                            self.event_loop.ending(id);
                        }
                    }
                }
            }
            let now = self.clock.at(woke);
            if self.hub.is_draining() {
                // Operators may watch it: theirs stays open to the end.
                self.close_public_doors();
                let deadline = self.hub.limits.drain_deadline.as_millis() as u64;
                let end_ms = *self.drain_end_ms.get_or_insert(now.mono_ms + deadline);
                if end_ms <= now.mono_ms {
                    return;
                }
            }
            self.accept(now);
            self.event_loop.turn(now);
            // Before it sleeps: nothing would wake it then but the end of the drain's time.
            if self.is_done() {
                return;
            }
        }
    }

    /// Whether there is nothing more to do. Who has the operators' door keeps it open until the other loops have ended.
    fn is_done(&self) -> bool {
        self.event_loop.is_done() && (self.listeners.iter().all(Option::is_none) || self.hub.is_last_loop())
    }

    /// Their places stay, since tokens count them.
    fn close_public_doors(&mut self) {
        for place in &mut self.listeners {
            if place.as_ref().is_some_and(|listener| listener.door == Door::Public) {
                *place = None;
            }
        }
    }

    /// Waits for something to do; returns whether the loop really lay down, with nothing to do, and when it got up.
    fn sleep(&mut self, events: &mut Events) -> (bool, Instant) {
        let now = Instant::now();
        let now_ms = self.clock.mono_ms(now);
        let due_ms = |listener: &Listener| {
            let is_crowded = self.hub.admission.is_crowded(listener.door);
            let earliest_ms = if is_crowded { now_ms + CROWD_LOOK_MS } else { 0 };
            listener.due_ms().map(|due_ms| due_ms.max(earliest_ms))
        };
        let accept_ms = self.listeners.iter().flatten().filter_map(due_ms).min();
        let desk = &self.hub.desks()[self.index];
        let bell = &desk.bell;
        let mut lay_down = false;
        let mut timeout = Some(Duration::ZERO);
        if !self.event_loop.has_work() {
            bell.lie_down();
            // The look after lying down is what makes it impossible to miss a ring.
            lay_down = !self.event_loop.has_work() && !self.is_done();
            if lay_down {
                let deadline =
                    self.event_loop.deadline_ms().into_iter().chain(accept_ms).chain(self.drain_end_ms).min();
                timeout = deadline.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)));
            }
        }
        // A loop that never sleeps is counted now and then.
        if lay_down || self.counted_ms + COUNT_EVERY_MS <= now_ms {
            let awake = now.duration_since(self.awake_since);
            Traffic::add(&desk.traffic.busy_ns, awake.as_nanos() as u64);
            (self.awake_since, self.counted_ms) = (now, now_ms);
        }
        // A failure leaves the events empty: the turn finds what it finds.
        if self.poll.poll(events, timeout).is_err() {
            events.clear();
        }
        bell.get_up();
        let woke = Instant::now();
        if lay_down {
            self.awake_since = woke;
        }
        (lay_down, woke)
    }

    /// Accepts what waits, within a budget.
    fn accept(&mut self, now: Now) {
        for listener in self.listeners.iter_mut().flatten() {
            if !listener.is_due(now.mono_ms) {
                continue;
            }
            for _ in 0..ACCEPTS_PER_TURN {
                if self.hub.admission.is_crowded(listener.door) {
                    break;
                }
                match listener.socket.accept() {
                    Ok((mut stream, _)) => {
                        listener.note_success();
                        let registry = self.poll.registry();
                        self.event_loop.accept(listener.door, now, |id| {
                            // Both interests once: never touched again. It fails only for want of kernel memory, and
                            // then the connection ends by its deadline.
                            let interests = Interest::READABLE | Interest::WRITABLE;
                            let _ = registry.register(&mut stream, Token(id.0 as usize), interests);
                            self.welcome.link(listener.door, stream)
                        });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        listener.note_empty();
                        break;
                    }
                    Err(error) if is_of_the_peer(&error) => {}
                    Err(error) => {
                        self.hub.counters.fail_to_accept();
                        let refused = match is_out_of_descriptors(&error) {
                            true => {
                                let is_plain = self.welcome.is_plain(listener.door);
                                self.reserve.turn_away(&listener.socket, is_plain, now.mono_ms)
                            }
                            false => Refused::Nobody,
                        };
                        match refused {
                            Refused::One => continue,
                            Refused::All => listener.note_empty(),
                            Refused::Nobody => listener.back_off(now.mono_ms),
                        }
                        break;
                    }
                }
            }
        }
    }
}

/// Whether the process, or the system, has as many descriptors as it may.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Whether only the connection that was about to be accepted is concerned.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}
