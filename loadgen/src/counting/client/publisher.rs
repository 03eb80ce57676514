//! One publisher's connection: opened, given what is due, and its answers taken.

use std::collections::VecDeque;

use anyhow::{Context, bail};
use mio::Token;

use super::fault::Fault;
use super::{Client, HANDSHAKE_NS_MAX, PUBLISHERS};
use crate::counting::answers::Answers;
use crate::counting::ledger::InFlight;
use crate::counting::request;
use crate::counting::shape::{PublishVia, Shape};
use crate::http;
use crate::link::{Link, Reading};
use crate::machine::{NS_PER_SECOND, now_ns};
use crate::side_by_side::profile::Profile;
use crate::websocket::{self, Opcode};

/// A publisher.
pub(super) struct Publisher {
    link: Link,
    outgoing: Vec<u8>,
    answers: Answers,
    /// The key of a WebSocket whose upgrade is not answered.
    key: Option<String>,
    /// Requests that are not answered.
    pub(super) in_flight: VecDeque<InFlight>,
}

impl Client<'_> {
    /// Opens all publishers, up to the answer to their upgrade.
    pub(super) fn open_publishers(&mut self) -> anyhow::Result<()> {
        for index in 0..self.load.publishers as usize {
            let token = Token(PUBLISHERS + index);
            let link = Link::open(self.server.address, None, self.poll.registry(), token)
                .with_context(|| format!("cannot connect to {}", self.server.authority))?;
            let mut publisher = Publisher {
                link,
                outgoing: Vec::new(),
                answers: Answers::default(),
                key: None,
                in_flight: VecDeque::new(),
            };
            if let (PublishVia::Ws, Some(ws)) = (self.load.via, &self.profile.publish.ws) {
                let (text, key) = request::upgrade(&ws.path, &self.server.authority, &ws.headers);
                publisher.outgoing = text.into_bytes();
                publisher.key = Some(key);
            }
            self.publishers.push(publisher);
        }
        let deadline_ns = now_ns() + HANDSHAKE_NS_MAX;
        loop {
            let mut ready = 0;
            for publisher in &mut self.publishers {
                ready += usize::from(publisher.link.is_connected()? && publisher.key.is_none());
            }
            if ready == self.publishers.len() || self.is_over() {
                return Ok(());
            }
            if deadline_ns <= now_ns() {
                bail!("publishers could not connect within ten seconds");
            }
            self.turn(now_ns() + NS_PER_SECOND / 1_000)?;
        }
    }

    /// Hands over what is due at one instant, in one write.
    pub(super) fn publish_due(&mut self, due_ns: u64) -> anyhow::Result<()> {
        let events = match self.load.shape {
            Shape::Burst { events, .. } => events,
            _ => 1,
        };
        if self.counter.from_ns <= due_ns && due_ns < self.counter.to_ns {
            self.lag.record(now_ns().saturating_sub(due_ns));
        }
        let requests = events.div_ceil(self.load.batch);
        // All at one instant go the same way, as one write.
        let index = (self.ledger.next / u64::from(events)) as usize % self.publishers.len();
        let mut left = events;
        for _ in 0..requests {
            let count = left.min(self.load.batch);
            self.enqueue(index, count, due_ns);
            left -= count;
        }
        self.flush(index)
    }

    /// Publishes until `outstanding` events are on their way.
    pub(super) fn publish_window(&mut self, outstanding: u32) -> anyhow::Result<()> {
        if self.counter.to_ns <= now_ns() {
            return Ok(());
        }
        let mut left = self.ledger.room(outstanding);
        // A batch waits until there is room for a whole one, as far as the window can have one.
        if left < self.load.batch.min(outstanding) {
            return Ok(());
        }
        let due_ns = now_ns();
        let index = self.ledger.next as usize % self.publishers.len();
        while 0 < left {
            let count = left.min(self.load.batch);
            self.enqueue(index, count, due_ns);
            left -= count;
        }
        self.flush(index)
    }

    /// Fills every connection up to its depth.
    pub(super) fn publish_depth(&mut self) -> anyhow::Result<()> {
        let Shape::Publish { depth } = self.load.shape else { return Ok(()) };
        for index in 0..self.publishers.len() {
            let flying = self.publishers[index].in_flight.len();
            // Half a window at once, so that requests are written, and read, together.
            if flying <= depth as usize / 2 {
                let due_ns = now_ns();
                for _ in flying..depth as usize {
                    self.enqueue(index, self.load.batch, due_ns);
                }
                self.flush(index)?;
            }
        }
        Ok(())
    }

    fn enqueue(&mut self, index: usize, count: u32, due_ns: u64) {
        let publisher = &mut self.publishers[index];
        let first = self.ledger.next;
        if let Some(press) = &self.press {
            press.write(first, count, due_ns, &mut publisher.outgoing);
        }
        self.ledger.publish(count);
        if self.load.via == PublishVia::Ws && self.profile.publish.ws.as_ref().is_some_and(|ws| !ws.answers) {
            self.ledger.answered += u64::from(count);
        } else {
            publisher.in_flight.push_back(InFlight { first, count, due_ns });
        }
    }

    fn flush(&mut self, index: usize) -> anyhow::Result<()> {
        let publisher = &mut self.publishers[index];
        publisher.link.flush(&mut publisher.outgoing).context("a publisher's connection broke")
    }

    /// Takes a publisher's answers.
    pub(super) fn take_publisher(&mut self, index: usize) -> anyhow::Result<()> {
        loop {
            let publisher = &mut self.publishers[index];
            publisher.link.flush(&mut publisher.outgoing).context("a publisher's connection broke")?;
            let Publisher { link, answers, key, in_flight, outgoing } = publisher;
            let (profile, ledger, via) = (self.profile, &mut self.ledger, self.load.via);
            let service = matches!(self.load.shape, Shape::Publish { .. }).then_some(&mut self.service);
            let window = self.counter.from_ns..self.counter.to_ns;
            let mut service = service;
            let mut settle = |accepted: bool, now: u64| {
                let Some(request) = in_flight.pop_front() else { return };
                if let Some(service) = service.as_mut().filter(|_| window.contains(&request.due_ns)) {
                    service.record(now.saturating_sub(request.due_ns));
                }
                ledger.settle(request, accepted);
            };
            let reading = link.read(&mut self.buffer, false, |input, _| {
                let now = now_ns();
                match via {
                    PublishVia::Http | PublishVia::HttpBatch => {
                        let ok = match via {
                            PublishVia::Http => profile.publish.http.as_ref().map(|http| &http.ok),
                            _ => profile.publish.batch.as_ref().map(|batch| &batch.ok),
                        };
                        let ok = ok.map_or(&[][..], Vec::as_slice);
                        Ok(answers.take(input, |status| settle(request::is_ok(status, ok), now))?)
                    }
                    PublishVia::Ws => {
                        take_command_answers(input, key, profile, outgoing, |accepted| settle(accepted, now))
                    }
                }
            });
            match reading {
                Ok(Reading::Drained) => return Ok(()),
                Ok(Reading::Unfinished) => {}
                Err(Fault(reason)) => bail!("a publisher's connection ended: {reason}"),
            }
        }
    }
}

/// Answers on a publisher's WebSocket, the one to its upgrade first.
fn take_command_answers(
    input: &[u8],
    key: &mut Option<String>,
    profile: &Profile,
    outgoing: &mut Vec<u8>,
    mut settle: impl FnMut(bool),
) -> Result<usize, Fault> {
    let mut at = 0;
    if let Some(awaited) = key {
        let Some((head, length)) = http::read_head(input)? else { return Ok(0) };
        websocket::check_upgrade(&head, awaited)?;
        *key = None;
        at = length;
    }
    let accepted = profile.publish.ws.as_ref().and_then(|ws| ws.accepted.as_deref());
    while let Some((frame, length)) = websocket::read_frame(&input[at..])? {
        at += length;
        match frame.opcode {
            Opcode::Text | Opcode::Binary => {
                settle(accepted.is_none_or(|accepted| {
                    memchr::memmem::find(frame.payload, accepted.as_bytes()).is_some()
                }))
            }
            Opcode::Close => return Err(Fault("the server closed it".to_owned())),
            // It is sent with what is published next, or with the next reading.
            Opcode::Ping => websocket::write_frame(Opcode::Pong, frame.payload, [0; 4], outgoing),
            Opcode::Pong | Opcode::Continuation => {}
        }
    }
    Ok(at)
}
