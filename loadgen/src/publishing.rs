//! The thread that publishes: a schedule, an exact alarm, and the publishers' sockets.
//!
//! # Contract       open loop: an event is due when the schedule says so, however late the server or this thread is, and its
//! latency counts from then. At saturation each publisher keeps a fixed number of requests unsettled
//! # A turn         sleep → clock → interval → input → retries → schedule → flush → measure
//! # Why not …      in the loops of the subscribers: they are busy just when an event was published, and the next would be late

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::alarm::Alarm;
use crate::control::{Report, Shared};
use crate::gauge::{Gauge, Measured, Totals};
use crate::histogram::Latency;
use crate::interval::{Cutter, Grid, Note, PublishCounts, Publishes, Stretch};
use crate::link::{BUFFER_BYTES, Link, Reading};
use crate::load::arrival::{Arrival, Arrivals};
use crate::machine::{self, NS_PER_SECOND, now_ns};
use crate::options::Rate;
use crate::payload::Payloads;
use crate::plan::Plan;
use crate::publisher::{Failure, Press, PressTally, Publisher};
use crate::record::Record;

/// What came of publishing.
#[derive(Debug)]
pub(crate) struct Published {
    /// What became of every event.
    pub(crate) record: Record,
    /// From the sending of a request to its answer.
    pub(crate) ack: Latency,
    /// From the time a request was due to its sending.
    pub(crate) send_lag: Latency,
    /// What was counted.
    pub(crate) tally: PressTally,
    /// The measured part, if it was reached.
    pub(crate) measured: Option<Measured>,
    /// Events of the schedule that were never sent.
    pub(crate) unsent: u64,
    /// What went wrong with connections.
    pub(crate) notes: Vec<String>,
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Handle {
    starts: Sender<u64>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Publishing begins at `start_ns` of the monotonic clock, with the warm-up.
    pub(crate) fn begin(&self, start_ns: u64) {
        // A thread that has ended has said why.
        let _ = self.starts.send(start_ns);
    }

    /// Waits for the end of the thread; one that was never begun ends by itself.
    pub(crate) fn join(self) {
        drop(self.starts);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Starts the thread, which connects, reports [`Report::Ready`] and waits for its beginning. `stop` ends it early.
///
/// # Errors
/// The bundled events cannot be read, or the system has no descriptor or thread left.
pub(crate) fn spawn(
    plan: &Arc<Plan>,
    run: u64,
    shared: &Arc<Shared>,
    stop: &Arc<AtomicBool>,
    reports: Sender<Report>,
) -> anyhow::Result<Handle> {
    let (starts, inbox) = crossbeam_channel::bounded(1);
    let mut press_room = PressRoom::new(plan, run, shared, stop)?;
    let body = move || {
        let report = match press_room.run(&inbox, &reports) {
            Ok(true) => Report::Published(Box::new(press_room.finish())),
            Ok(false) => return,
            Err(reason) => Report::Failed(reason),
        };
        // Nobody listens any more only if the run has ended early.
        let _ = reports.send(report);
    };
    let thread = std::thread::Builder::new().name("publishers".to_owned()).spawn(body)?;
    Ok(Handle { starts, thread })
}

struct PressRoom {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    poll: Poll,
    alarm: Alarm,
    desks: Vec<Desk>,
    press: Press,
    buffer: Vec<u8>,
    start_ns: u64,
    /// No event is due from here on.
    end_ns: u64,
    gauge: Gauge,
    /// What was measured in intervals that are over; the press has the rest.
    ack: Latency,
    send_lag: Latency,
    /// What was counted in intervals that are over.
    handed_over: PublishCounts,
    /// Ends intervals, once publishing has begun.
    cutter: Option<Cutter>,
    /// Connections that broke.
    losses: u64,
    notes: Vec<String>,
}

/// A publisher with its connection.
struct Desk {
    publisher: Publisher,
    link: Option<Link>,
    connected: bool,
    arrivals: Arrivals,
    retry_ns: u64,
    /// When something was due last that the server left no room for.
    held_back_ns: u64,
}

impl PressRoom {
    fn new(
        plan: &Arc<Plan>,
        run: u64,
        shared: &Arc<Shared>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<PressRoom> {
        let poll = Poll::new()?;
        let alarm = Alarm::new()?;
        poll.registry().register(&mut SourceFd(&alarm.descriptor()), ALARM, Interest::READABLE)?;
        Ok(PressRoom {
            poll,
            alarm,
            desks: (0..plan.publishers).map(|id| Desk::new(id, plan)).collect(),
            press: Press {
                run,
                payloads: Payloads::new(plan.size, plan.seed)?,
                record: Record::new(plan.publishers),
                ack: Latency::new(),
                send_lag: Latency::new(),
                measured_from_ns: u64::MAX,
                tally: PressTally::default(),
            },
            buffer: vec![0; BUFFER_BYTES],
            start_ns: u64::MAX,
            end_ns: u64::MAX,
            gauge: Gauge::default(),
            ack: Latency::new(),
            send_lag: Latency::new(),
            handed_over: PublishCounts::default(),
            cutter: None,
            losses: 0,
            notes: Vec::new(),
            plan: Arc::clone(plan),
            shared: Arc::clone(shared),
            stop: Arc::clone(stop),
        })
    }

    /// Connects, publishes, and waits for the last answers; `false` if publishing was never begun.
    fn run(&mut self, starts: &Receiver<u64>, reports: &Sender<Report>) -> Result<bool, String> {
        self.connect_all()?;
        let _ = reports.send(Report::Ready);
        let Ok(start_ns) = starts.recv() else { return Ok(false) };
        self.begin(start_ns);
        self.set_alarm()?;
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            self.sleep(&mut events, Duration::from_nanos(SLEEP_NS_MAX))?;
            let turn_ns = now_ns();
            self.begin_turn(turn_ns);
            if self.stop.load(Ordering::Relaxed) {
                self.end_ns = self.end_ns.min(turn_ns);
            }
            self.input(&events)?;
            self.reconnect(turn_ns);
            self.publish(turn_ns);
            self.flush();
            self.measure(turn_ns);
            if self.is_over(turn_ns) {
                self.shared.measured_to_ns.fetch_min(turn_ns.min(self.end_ns), Ordering::Relaxed);
                self.gauge.close(now_ns(), self.totals());
                return Ok(true);
            }
            self.set_alarm()?;
        }
    }

    /// Whether all is sent and answered, or the time for it is over.
    fn is_over(&mut self, now_ns: u64) -> bool {
        if self.end_ns <= now_ns {
            self.desks.iter_mut().for_each(|desk| desk.publisher.give_up_retries());
        }
        let settled = self.desks.iter().all(|desk| desk.publisher.unsettled() == 0);
        let sent = self.desks.iter().all(|desk| self.next_due_ns(desk).is_none());
        (settled && sent) || self.end_ns.saturating_add(self.plan.drain_ns) <= now_ns
    }

    /// When the next batch of a publisher is due; `None` when it has no more. At saturation the next one is
    /// always due.
    fn next_due_ns(&self, desk: &Desk) -> Option<u64> {
        let due_ns = match self.plan.rate {
            Rate::PerSecond(_) => self.start_ns.saturating_add(desk.arrivals.next_ns()?),
            Rate::Saturation => self.start_ns.max(now_ns()),
        };
        (desk.next_event(&self.plan) < self.plan.messages_max && due_ns < self.end_ns).then_some(due_ns)
    }

    fn connect_all(&mut self) -> Result<(), String> {
        for index in 0..self.desks.len() {
            self.connect(index).map_err(|error| format!("a publisher cannot connect: {error}"))?;
        }
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let deadline_ns = now_ns() + CONNECT_NS_MAX;
        while !self.desks.iter().all(|desk| desk.connected && desk.publisher.is_ready()) {
            if deadline_ns <= now_ns() {
                return Err("the publishers could not connect within 10 s".to_owned());
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err("interrupted while connecting".to_owned());
            }
            self.sleep(&mut events, Duration::from_nanos(SLEEP_NS_MAX))?;
            self.input(&events)?;
            self.flush();
            if CONNECT_LOSSES_MAX < self.losses {
                return Err(self.notes.pop().unwrap_or_else(|| "the publishers cannot connect".to_owned()));
            }
            self.reconnect(now_ns());
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let desk = &mut self.desks[index];
        desk.connected = false;
        desk.link = Some(Link::to(&self.plan.target, None, self.poll.registry(), Token(index))?);
        desk.publisher.start(&self.plan);
        Ok(())
    }

    fn begin(&mut self, start_ns: u64) {
        let plan = &self.plan;
        let measured_from_ns = start_ns.saturating_add(plan.warmup_ns);
        self.start_ns = start_ns;
        self.press.measured_from_ns = measured_from_ns;
        self.end_ns = measured_from_ns.saturating_add(plan.duration_ns);
        if let (Rate::PerSecond(rate), Arrival::Constant) = (plan.rate, plan.arrival) {
            // The time of the last event is part of the run, though nothing is left to be sent then.
            let events = plan.messages_max.next_multiple_of(u64::from(plan.batch));
            let whole_ns = (events as f64 / rate * NS_PER_SECOND as f64) as u64;
            self.end_ns = self.end_ns.min(start_ns.saturating_add(whole_ns));
        }
        self.shared.measured_to_ns.store(self.end_ns, Ordering::Relaxed);
        let grid = Grid { origin_ns: measured_from_ns, interval_ns: self.shared.interval_ns };
        self.cutter = Some(Cutter::new(grid, now_ns()));
    }

    fn sleep(&mut self, events: &mut Events, timeout: Duration) -> Result<(), String> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(format!("polling failed: {error}")),
            _ => Ok(()),
        }
    }

    fn input(&mut self, events: &Events) -> Result<(), String> {
        for event in events.iter().filter(|event| event.token() != ALARM) {
            let ended = event.is_read_closed() || event.is_error();
            while self.read(event.token().0, ended)? == Reading::Unfinished {}
        }
        Ok(())
    }

    fn read(&mut self, index: usize, to_the_end: bool) -> Result<Reading, String> {
        let Some(desk) = self.desks.get_mut(index) else { return Ok(Reading::Drained) };
        let Some(link) = &mut desk.link else { return Ok(Reading::Drained) };
        let result = match link.is_connected() {
            Ok(false) => return Ok(Reading::Drained),
            Err(error) => Err(Failure::from(error)),
            Ok(true) => {
                desk.connected = true;
                let (plan, press) = (&self.plan, &mut self.press);
                link.read(&mut self.buffer, to_the_end, |input, _| {
                    desk.publisher.handle_input(input, now_ns(), plan, press)
                })
            }
        };
        match result {
            Ok(reading) => Ok(reading),
            Err(Failure::Hopeless(reason)) => Err(reason),
            Err(Failure::Broken(reason)) => {
                self.disconnect(index, reason);
                Ok(Reading::Drained)
            }
        }
    }

    fn disconnect(&mut self, index: usize, reason: String) {
        let desk = &mut self.desks[index];
        desk.link = None;
        desk.connected = false;
        desk.publisher.stop(&mut self.press);
        desk.retry_ns = now_ns() + RECONNECT_NS;
        self.losses += 1;
        let note = format!("a publisher lost its connection: {reason}");
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn reconnect(&mut self, now_ns: u64) {
        for index in 0..self.desks.len() {
            let desk = &mut self.desks[index];
            if desk.link.is_none() && desk.retry_ns <= now_ns {
                desk.retry_ns = now_ns + RECONNECT_NS;
                if let Err(error) = self.connect(index) {
                    self.disconnect(index, error.to_string());
                }
            }
        }
    }

    /// Publishes what is due, each publisher by its own part of the schedule.
    fn publish(&mut self, now_ns: u64) {
        let mut is_behind = false;
        for index in 0..self.desks.len() {
            if now_ns < self.end_ns {
                self.desks[index].publisher.retry(now_ns, &self.plan, &mut self.press);
            }
            while let Some(due_ns) = self.next_due_ns(&self.desks[index]) {
                let desk = &mut self.desks[index];
                let closed_loop = self.plan.rate == Rate::Saturation;
                let full = closed_loop && self.plan.outstanding <= desk.publisher.unsettled();
                if now_ns < self.start_ns || (!closed_loop && now_ns < due_ns) {
                    break;
                }
                if full {
                    break;
                }
                if !desk.connected || !desk.publisher.has_room() {
                    desk.held_back_ns = now_ns;
                    is_behind = true;
                    break;
                }
                let first = desk.next_event(&self.plan);
                let events = u64::from(self.plan.batch).min(self.plan.messages_max - first) as u32;
                desk.arrivals.pass();
                if due_ns <= desk.held_back_ns && self.press.measured_from_ns <= due_ns {
                    self.press.tally.held_back += 1;
                }
                // The clock is read anew, since making a thousand events takes a while.
                let sent_ns = machine::now_ns().max(due_ns);
                desk.publisher.publish(events, due_ns, sent_ns, &self.plan, &mut self.press);
            }
            is_behind |= 0 < self.desks[index].publisher.unsettled();
        }
        self.shared.is_behind.store(is_behind, Ordering::Relaxed);
        self.shared.accepted.store(self.press.tally.accepted, Ordering::Relaxed);
        self.shared.owed.store(self.press.tally.owed, Ordering::Relaxed);
    }

    fn flush(&mut self) {
        for index in 0..self.desks.len() {
            let desk = &mut self.desks[index];
            let Some(link) = &mut desk.link else { continue };
            if desk.publisher.outgoing().is_empty() && !link.has_unsent() {
                continue;
            }
            if let Err(error) = link.flush(desk.publisher.outgoing()) {
                self.disconnect(index, error.to_string());
            }
        }
    }

    /// Opens and closes the measured part.
    fn measure(&mut self, turn_ns: u64) {
        let now_ns = now_ns();
        self.gauge.note_turn(now_ns - turn_ns);
        if self.press.measured_from_ns <= now_ns {
            self.gauge.open(now_ns, self.totals());
        }
        if self.end_ns <= now_ns {
            self.gauge.close(now_ns, self.totals());
        }
        if let Some(cutter) = &mut self.cutter {
            cutter.end_turn(now_ns - turn_ns);
        }
    }

    /// Hands the interval over that is behind, before anything of this turn is recorded.
    fn begin_turn(&mut self, turn_ns: u64) {
        if let Some(stretch) = self.cutter.as_mut().and_then(|cutter| cutter.begin_turn(turn_ns)) {
            self.hand_over(stretch);
        }
    }

    /// Gives the recorder what the interval has brought, and keeps the sum.
    fn hand_over(&mut self, stretch: Stretch) {
        let ack = std::mem::replace(&mut self.press.ack, Latency::new());
        let send_lag = std::mem::replace(&mut self.press.send_lag, Latency::new());
        self.ack.merge(&ack);
        self.send_lag.merge(&send_lag);
        let PressTally { sent, accepted, refused, retried, .. } = self.press.tally;
        let counts = PublishCounts { sent, accepted, refused, retried };
        let since = counts.since(std::mem::replace(&mut self.handed_over, counts));
        let publishes = Publishes { stretch, ack, send_lag, counts: since };
        self.shared.note(Note::Publishes(Box::new(publishes)));
    }

    fn totals(&self) -> Totals {
        Totals { events: self.press.tally.accepted, bytes: self.press.tally.data_bytes }
    }

    fn set_alarm(&self) -> Result<(), String> {
        let alarm_ns = self.wake_ns(now_ns());
        self.alarm.set(alarm_ns).map_err(|error| format!("setting the alarm failed: {error}"))
    }

    /// When there is something to do again that no socket will tell: the next event that can be sent, the next
    /// retry, the start or the end. An event that has become due while the turn was ending is due at once.
    fn wake_ns(&self, now_ns: u64) -> u64 {
        let able = self.desks.iter().filter(|desk| desk.connected && desk.publisher.has_room());
        let work = able.flat_map(|desk| {
            // At saturation it is answers that make room for the next event.
            let closed_loop = self.plan.rate == Rate::Saturation;
            let next_ns = if closed_loop { None } else { self.next_due_ns(desk) };
            next_ns.into_iter().chain(desk.publisher.retry_due_ns())
        });
        let marks = [self.start_ns, self.end_ns].into_iter().filter(|mark_ns| now_ns < *mark_ns);
        work.chain(marks).min().unwrap_or(NEVER_NS)
    }

    /// How many events of a publisher were due before the end and have not been sent.
    fn unsent(&mut self, index: usize) -> u64 {
        let mut unsent = 0;
        // At saturation something is always due.
        while self.plan.rate != Rate::Saturation && self.next_due_ns(&self.desks[index]).is_some() {
            let desk = &mut self.desks[index];
            unsent += u64::from(self.plan.batch).min(self.plan.messages_max - desk.next_event(&self.plan));
            desk.arrivals.pass();
        }
        unsent
    }

    fn finish(&mut self) -> Published {
        let unsent = (0..self.desks.len()).map(|index| self.unsent(index)).sum();
        for desk in &mut self.desks {
            desk.publisher.stop(&mut self.press);
        }
        if let Some(stretch) = self.cutter.as_mut().map(|cutter| cutter.cut(now_ns())) {
            self.hand_over(stretch);
        }
        Published {
            record: std::mem::replace(&mut self.press.record, Record::new(0)),
            ack: self.ack.clone(),
            send_lag: self.send_lag.clone(),
            tally: self.press.tally,
            measured: self.gauge.measured(),
            unsent,
            notes: std::mem::take(&mut self.notes),
        }
    }
}

impl Desk {
    fn new(id: u32, plan: &Plan) -> Desk {
        let place = (id, plan.publishers);
        Desk {
            publisher: Publisher::new(id),
            link: None,
            connected: false,
            arrivals: Arrivals::new(plan.arrival, plan.stages.clone(), plan.seed, place, plan.batch),
            retry_ns: 0,
            held_back_ns: 0,
        }
    }

    /// The place of its next event among those of all publishers, which bounds how many there are.
    fn next_event(&self, plan: &Plan) -> u64 {
        let request = self.arrivals.past().saturating_mul(u64::from(plan.publishers));
        request.saturating_add(u64::from(self.publisher.id())).saturating_mul(u64::from(plan.batch))
    }
}

/// An alarm that is as good as none: a century.
const NEVER_NS: u64 = 100 * 365 * 24 * 3_600 * NS_PER_SECOND;
const ALARM: Token = Token(usize::MAX);
const EVENTS_PER_TURN: usize = 256;
const SLEEP_NS_MAX: u64 = NS_PER_SECOND / 10;
const CONNECT_NS_MAX: u64 = 10 * NS_PER_SECOND;
/// How many connections may break before publishing has begun.
const CONNECT_LOSSES_MAX: u64 = 3;
const RECONNECT_NS: u64 = NS_PER_SECOND / 10;
const NOTES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Command, Flags};
    use clap::Parser;

    /// A connected publisher of 100 events a second, begun at `start_ns`.
    fn press_room(start_ns: u64) -> (std::net::TcpListener, PressRoom) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let flags = Flags::try_parse_from(["loadgen", "run", &url, "--duration", "1h"]).expect("parsed");
        let Command::Run(flags) = flags.command else { panic!("another command") };
        let plan = Arc::new(Plan::new(*flags).expect("a plan"));
        let (shared, stop) = (
            Arc::new(Shared::new(NS_PER_SECOND, crossbeam_channel::unbounded().0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut room = PressRoom::new(&plan, 1, &shared, &stop).expect("a press room");
        room.connect_all().expect("connected");
        room.begin(start_ns);
        (listener, room)
    }

    #[test]
    fn what_is_due_is_published_and_the_alarm_is_set_for_what_follows() {
        let start_ns = now_ns();
        let at = |ms: u64| start_ns + ms * 1_000_000;
        let (_listener, mut room) = press_room(start_ns);
        room.publish(at(25));
        assert_eq!(room.press.tally.sent, 3, "those of 0, 10 and 20 ms");
        assert_eq!(room.wake_ns(at(26)), at(30));
        assert_eq!(room.wake_ns(at(31)), at(30), "due while the turn was ending, and not forgotten");
        room.publish(at(31));
        assert_eq!((room.press.tally.sent, room.wake_ns(at(31))), (4, at(40)));
    }

    #[test]
    fn nothing_is_published_before_the_start_or_without_a_connection() {
        let start_ns = now_ns() + 3_600 * NS_PER_SECOND;
        let (_listener, mut room) = press_room(start_ns);
        room.publish(start_ns - 1);
        assert_eq!((room.press.tally.sent, room.wake_ns(start_ns - 1)), (0, start_ns));
        room.disconnect(0, "for the test".to_owned());
        room.publish(start_ns + 1);
        assert_eq!((room.press.tally.sent, room.wake_ns(start_ns + 1)), (0, room.end_ns));
    }

    #[test]
    fn what_was_due_and_never_sent_is_counted() {
        let start_ns = now_ns();
        let (_listener, mut room) = press_room(start_ns);
        room.publish(start_ns + 25_000_000);
        room.end_ns = start_ns + 1_000_000_000;
        assert_eq!((room.press.tally.sent, room.finish().unsent), (3, 97));
    }
}
