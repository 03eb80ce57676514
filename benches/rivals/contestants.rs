//! Who takes part: each a producer's end, its consumers, and how a pass goes.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusReader};
use crossbeam_channel::{Receiver, Sender};
use disruptor::{BusySpin, EventPoller, Producer, SingleProducerBarrier};
use fanfare::log::{ChannelId, Encoded, Form, Held, Log, Retention, Writer};
use fanfare::words::channel::{Channel, Route};
use tokio::sync::broadcast;

use super::{BATCH, EVENTS, Patience, Tally, race};

/// One way to hand events to several consumers.
pub(super) trait Contestant {
    /// What it is called in the table.
    fn name(&self) -> &'static str;

    /// Hands a pass of events to all consumers.
    fn pass(&mut self) -> Duration;
}

/// All of them, the log first.
pub(super) fn all(frame_bytes: usize, consumers: usize) -> Vec<Box<dyn Contestant>> {
    let frame = vec![b'm'; frame_bytes];
    let mut all: Vec<Box<dyn Contestant>> = vec![
        Box::new(OfLog::new("the log, batches", frame_bytes, consumers, BATCH)),
        Box::new(OfLog::new("the log, one by one", frame_bytes, consumers, 1)),
        Box::new(OfTokio::new(&frame, consumers)),
        Box::new(OfBus::new(&frame, consumers)),
        Box::new(OfCrossbeam::new(&frame, consumers)),
    ];
    let both: [(&'static str, usize); 2] =
        [("disruptor, Arc, batches", BATCH), ("disruptor, Arc, one by one", 1)];
    for (name, batch) in both {
        all.push(disruptor(name, &frame, consumers, batch));
    }
    all
}

/// The log, with as many readers as there are consumers.
struct OfLog {
    name: &'static str,
    log: Arc<Log>,
    writer: Writer,
    routes: Vec<ChannelId>,
    frame_bytes: usize,
    middle: Vec<u8>,
    batch: usize,
    /// Each reader's next event.
    cursors: Vec<u64>,
}

impl OfLog {
    fn new(name: &'static str, frame_bytes: usize, consumers: usize, batch: usize) -> OfLog {
        let retention = Retention { events: EVENTS, bytes: 256 << 20, age: None, channels_max: 1024 };
        let (log, mut writer) = Log::new(retention);
        let route = |number| Route::from(&Channel::parse(&format!("repo:a/{number}")).expect("a valid name"));
        let routes = (0..100).map(|number| writer.intern(&route(number)).expect("there is room")).collect();
        // What the frame's header and the other pieces leave.
        let header = if frame_bytes - 2 < 126 { 2 } else { 4 };
        let middle = vec![b'm'; frame_bytes - header - PIECES.iter().map(|piece| piece.len()).sum::<usize>()];
        let cursors = vec![log.published(); consumers];
        OfLog { name, log, writer, routes, frame_bytes, middle, batch, cursors }
    }
}

/// What an event's JSON has besides its data.
const PIECES: [&[u8]; 4] = [b"{\"type\":\"event\",\"seq\":", b"12345678", b"1795316060123", b",...}"];

impl Contestant for OfLog {
    fn name(&self) -> &'static str {
        self.name
    }

    fn pass(&mut self) -> Duration {
        let [begin, seq, time, end] = PIECES;
        let json: &[&[u8]] = &[begin, seq, &self.middle, time, end];
        let sse_head: &[&[u8]] =
            &[b"id: ", b"aaaaaaaa", b"-", b"12345678", b"\nevent: ", b"push", b"\ndata: "];
        let event = Encoded {
            json,
            sse_head,
            labels: &[b'l'; 24],
            timestamp_ms: 1_795_316_060_123,
            accepted: Default::default(),
        };
        let (log, writer, routes) = (&self.log, &mut self.writer, &self.routes);
        let consume = |cursor: &mut u64| read(log, cursor);
        race(&mut self.cursors, self.frame_bytes, consume, || {
            for _ in 0..EVENTS / self.batch {
                for route in &routes[..self.batch] {
                    writer.append(*route, &event);
                }
                writer.publish();
            }
        })
    }
}

/// Reads a pass of events from `cursor` on.
fn read(log: &Log, cursor: &mut u64) -> Tally {
    let (mut tally, mut patience) = (Tally::default(), Patience::default());
    while !tally.is_whole() {
        let pass = log.pass();
        if pass.published() <= *cursor {
            patience.wait();
            continue;
        }
        patience.rest();
        while *cursor < pass.published() {
            match pass.frame(*cursor, Form::WebSocket) {
                Held::Here(frame) => tally.see(frame.pieces().next().expect("it lies in one piece").bytes()),
                Held::PassFull => break,
                Held::Lapped => panic!("the window holds a pass"),
            }
            *cursor += 1;
        }
    }
    tally
}

type Frame = Arc<[u8]>;

struct OfTokio {
    sender: broadcast::Sender<Frame>,
    receivers: Vec<broadcast::Receiver<Frame>>,
    frame: Vec<u8>,
}

impl OfTokio {
    fn new(frame: &[u8], consumers: usize) -> OfTokio {
        let (sender, first) = broadcast::channel(EVENTS);
        let mut receivers = vec![first];
        receivers.resize_with(consumers, || sender.subscribe());
        OfTokio { sender, receivers, frame: frame.to_vec() }
    }
}

impl Contestant for OfTokio {
    fn name(&self) -> &'static str {
        "tokio broadcast"
    }

    fn pass(&mut self) -> Duration {
        race(
            &mut self.receivers,
            self.frame.len(),
            |receiver| {
                take_all(|| match receiver.try_recv() {
                    Ok(frame) => Some(frame),
                    Err(broadcast::error::TryRecvError::Empty) => None,
                    Err(error) => panic!("it holds a pass: {error}"),
                })
            },
            || {
                for _ in 0..EVENTS {
                    assert!(self.sender.send(Arc::from(&*self.frame)).is_ok());
                }
            },
        )
    }
}

/// Takes a pass of events one by one.
fn take_all(mut take: impl FnMut() -> Option<Frame>) -> Tally {
    let (mut tally, mut patience) = (Tally::default(), Patience::default());
    while !tally.is_whole() {
        match take() {
            Some(frame) => {
                tally.see(&frame);
                patience.rest();
            }
            None => patience.wait(),
        }
    }
    tally
}

struct OfBus {
    bus: Bus<Frame>,
    readers: Vec<BusReader<Frame>>,
    frame: Vec<u8>,
}

impl OfBus {
    fn new(frame: &[u8], consumers: usize) -> OfBus {
        let mut bus = Bus::new(EVENTS);
        let readers = (0..consumers).map(|_| bus.add_rx()).collect();
        OfBus { bus, readers, frame: frame.to_vec() }
    }
}

impl Contestant for OfBus {
    fn name(&self) -> &'static str {
        "bus"
    }

    fn pass(&mut self) -> Duration {
        race(
            &mut self.readers,
            self.frame.len(),
            |reader| take_all(|| reader.try_recv().ok()),
            || (0..EVENTS).for_each(|_| self.bus.broadcast(Arc::from(&*self.frame))),
        )
    }
}

/// A channel for each consumer, each given the same `Arc`.
struct OfCrossbeam {
    senders: Vec<Sender<Frame>>,
    receivers: Vec<Receiver<Frame>>,
    frame: Vec<u8>,
}

impl OfCrossbeam {
    fn new(frame: &[u8], consumers: usize) -> OfCrossbeam {
        let (senders, receivers) = (0..consumers).map(|_| crossbeam_channel::bounded(EVENTS)).unzip();
        OfCrossbeam { senders, receivers, frame: frame.to_vec() }
    }
}

impl Contestant for OfCrossbeam {
    fn name(&self) -> &'static str {
        "crossbeam, bounded, one each"
    }

    fn pass(&mut self) -> Duration {
        race(
            &mut self.receivers,
            self.frame.len(),
            |receiver| take_all(|| receiver.try_recv().ok()),
            || {
                for _ in 0..EVENTS {
                    let frame: Frame = Arc::from(&*self.frame);
                    self.senders
                        .iter()
                        .for_each(|sender| sender.send(Arc::clone(&frame)).expect("it is read"));
                }
            },
        )
    }
}

struct OfDisruptor<P> {
    name: &'static str,
    producer: P,
    pollers: Vec<EventPoller<Frame, SingleProducerBarrier>>,
    frame: Vec<u8>,
    batch: usize,
}

fn disruptor(name: &'static str, frame: &[u8], consumers: usize, batch: usize) -> Box<dyn Contestant> {
    let builder = disruptor::build_single_producer(EVENTS, || Frame::from([]), BusySpin);
    let (first, builder) = builder.new_event_poller();
    let frame = frame.to_vec();
    // How many consumers there are is part of the type.
    if consumers == 1 {
        Box::new(OfDisruptor { name, producer: builder.build(), pollers: vec![first], frame, batch })
    } else {
        assert_eq!(consumers, 2);
        let (second, builder) = builder.new_event_poller();
        Box::new(OfDisruptor { name, producer: builder.build(), pollers: vec![first, second], frame, batch })
    }
}

impl<P: Producer<Frame>> Contestant for OfDisruptor<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn pass(&mut self) -> Duration {
        let (producer, frame, batch) = (&mut self.producer, &self.frame, self.batch);
        race(&mut self.pollers, frame.len(), poll_all, || {
            for _ in 0..EVENTS / batch {
                if batch == 1 {
                    producer.publish(|slot| *slot = Arc::from(&**frame));
                } else {
                    producer.batch_publish(batch, |slots| slots.for_each(|slot| *slot = Arc::from(&**frame)));
                }
            }
        })
    }
}

/// Takes a pass of events in batches as they come.
fn poll_all(poller: &mut EventPoller<Frame, SingleProducerBarrier>) -> Tally {
    let (mut tally, mut patience) = (Tally::default(), Patience::default());
    while !tally.is_whole() {
        match poller.poll() {
            Ok(mut events) => {
                (&mut events).for_each(|frame| tally.see(frame));
                patience.rest();
            }
            Err(_) => patience.wait(),
        }
    }
    tally
}
