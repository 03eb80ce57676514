//! Threads that sleep, each in its own way, and answer when they are woken.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use fanfare::event_loop::{EventLoop, Link, Now};
use fanfare::hub::Hub;
use fanfare::sequencer::{Origin, Publication, Submission};
use fanfare::session::request::Door;
use fanfare::session::settings::Settings;
use fanfare::sync::bell::{Bell, Waker, fence_before_ring};
use fanfare::words::cursor::Epoch;
use fanfare::words::limits::Limits;
use mio::{Events, Poll, Token};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use super::crowd;

/// One thread that is woken, and how to wake it.
pub(super) struct Pair {
    ring: Box<dyn FnMut()>,
    answer: Arc<Bare>,
    is_over: Arc<AtomicBool>,
    sleeper: JoinHandle<()>,
}

impl Pair {
    /// Starts a thread that sleeps and answers until it is over; `ring` makes something for it to do, and wakes it.
    fn start(
        ring: impl FnMut() + 'static,
        sleep_and_answer: impl FnOnce(&Bare, &AtomicBool) + Send + 'static,
    ) -> Pair {
        let (answer, is_over) = (Arc::new(Bare::new()), Arc::new(AtomicBool::new(false)));
        let sleeper = thread::spawn({
            let (answer, is_over) = (Arc::clone(&answer), Arc::clone(&is_over));
            move || sleep_and_answer(&answer, &is_over)
        });
        Pair { ring: Box::new(ring), answer, is_over, sleeper }
    }

    /// Wakes the other thread and waits for its answer.
    pub(super) fn ping(&mut self) {
        (self.ring)();
        self.answer.wait();
    }

    /// Ends the other thread.
    pub(super) fn end(mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        (self.ring)();
        self.sleeper.join().expect("it has answered every time");
    }
}

/// An eventfd that somebody waits for by reading it.
struct Bare(OwnedFd);

impl Bare {
    fn new() -> Bare {
        Bare(eventfd(0, EventfdFlags::CLOEXEC).expect("the system has one"))
    }

    fn wake(&self) {
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).expect("it counts");
    }

    fn wait(&self) {
        rustix::io::read(&self.0, &mut [0; 8]).expect("it has been counted");
    }
}

/// The least that the system needs.
pub(super) fn bare() -> Pair {
    let ping = Arc::new(Bare::new());
    let heard = Arc::clone(&ping);
    Pair::start(
        move || ping.wake(),
        move |answer, is_over| {
            while !is_over.load(Ordering::SeqCst) {
                heard.wait();
                answer.wake();
            }
        },
    )
}

fn poll_and_waker() -> (Poll, Arc<mio::Waker>) {
    let poll = Poll::new().expect("the system has one");
    let waker = mio::Waker::new(poll.registry(), Token(0)).expect("it can be woken");
    (poll, Arc::new(waker))
}

/// The same by epoll.
pub(super) fn epoll() -> Pair {
    let (mut poll, waker) = poll_and_waker();
    Pair::start(
        move || waker.wake().expect("it counts"),
        move |answer, is_over| {
            let mut events = Events::with_capacity(8);
            while !is_over.load(Ordering::SeqCst) {
                poll.poll(&mut events, None).expect("nothing interrupts");
                answer.wake();
            }
        },
    )
}

/// What a loop is woken by.
struct ByPoll(Arc<mio::Waker>);

impl Waker for ByPoll {
    fn wake(&self) {
        self.0.wake().expect("it counts");
    }
}

/// The same by the bell: the sleeper looks for work after it has lain down, and whoever has some looks at the bell.
pub(super) fn bell() -> Pair {
    let (mut poll, waker) = poll_and_waker();
    let bell = Arc::new(Bell::new(ByPoll(waker)));
    let published = Arc::new(AtomicU64::new(0));
    let (rung, seen) = (Arc::clone(&bell), Arc::clone(&published));
    Pair::start(
        move || {
            published.fetch_add(1, Ordering::Release);
            fence_before_ring();
            rung.ring();
        },
        move |answer, is_over| {
            let mut events = Events::with_capacity(8);
            let mut done = 0;
            while !is_over.load(Ordering::SeqCst) {
                bell.lie_down();
                if seen.load(Ordering::Acquire) == done {
                    poll.poll(&mut events, None).expect("nothing interrupts");
                }
                bell.get_up();
                let now = seen.load(Ordering::Acquire);
                if now != done {
                    done = now;
                    answer.wake();
                }
            }
        },
    )
}

/// What a real loop does: it is told of an event, wakes, and writes it to the link of its only client.
pub(super) fn event_loop() -> Pair {
    let (poll, waker) = poll_and_waker();
    let wakers: Vec<Box<dyn Waker>> = vec![Box::new(ByPoll(waker))];
    let hub = Hub::new(Limits::default(), Epoch::from_bits(0), wakers);
    let (is_ready, ready) = mpsc::channel();
    let of_loop = Arc::clone(&hub);
    let pair = Pair::start(
        move || publish(&hub),
        move |answer, is_over| turn(&of_loop, poll, answer, is_over, &is_ready),
    );
    ready.recv().expect("its client has subscribed");
    pair
}

/// One event, from the queue into the log; whoever sleeps is rung.
fn publish(hub: &Hub) {
    let event: Publication = crowd::event(&crowd::channel(0));
    let submission = Submission::publish(Origin::NOBODY, std::iter::once(event).collect());
    hub.submit(submission).expect("the loop keeps up");
    hub.sequence_outside(Now { mono_ms: 0, unix_ms: UNIX_MS }, || true);
}

/// The time of day, which stands still here.
const UNIX_MS: u64 = 1_795_316_060_000;

/// The loop's thread: as the server drives it, with a client in memory.
fn turn(hub: &Arc<Hub>, mut poll: Poll, answer: &Bare, is_over: &AtomicBool, is_ready: &mpsc::Sender<()>) {
    let begin = Instant::now();
    let now = || Now { mono_ms: begin.elapsed().as_millis() as u64, unix_ms: UNIX_MS };
    let mut event_loop = EventLoop::new(Arc::clone(hub), Arc::new(Settings::default()), 0, now());
    let request = crowd::upgrade(&format!("?channel={}", crowd::channel(0)));
    let client = event_loop.accept(Door::Public, now(), |_| Only { request });
    event_loop.ready(client, true, true);
    while event_loop.has_work() {
        event_loop.turn(now());
    }
    assert_eq!(hub.counters.subscriptions(), 1);
    is_ready.send(()).expect("somebody waits");
    let mut events = Events::with_capacity(8);
    let mut answered = event_loop.delivered();
    while !is_over.load(Ordering::SeqCst) {
        let bell = &hub.desks()[0].bell;
        bell.lie_down();
        let sleeps = !event_loop.has_work();
        if sleeps {
            poll.poll(&mut events, None).expect("nothing interrupts");
        }
        bell.get_up();
        if sleeps {
            event_loop.wake();
        }
        event_loop.turn(now());
        if event_loop.delivered() != answered {
            answered = event_loop.delivered();
            answer.wake();
        }
    }
}

/// The link of the only client: it says its request, and takes everything.
struct Only {
    request: Vec<u8>,
}

impl Link for Only {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.request.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.request.len();
        into[..count].copy_from_slice(&self.request);
        self.request.clear();
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn finish(&mut self) {}
}
