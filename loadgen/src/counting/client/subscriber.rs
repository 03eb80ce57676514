//! One subscriber's connection: opened, read, and counted.

use anyhow::{Context, bail};
use mio::Token;

use super::fault::Fault;
use super::findings::{HINT, Snapshot};
use super::{Client, HANDSHAKE_NS_MAX};
use crate::counting::listener::Listener;
use crate::counting::shape::Shape;
use crate::counting::stream::Counter;
use crate::counting::usage::Usage;
use crate::link::{Link, Reading};
use crate::machine::now_ns;

/// A subscriber.
pub(super) struct Subscriber {
    link: Option<Link>,
    pub(super) listener: Listener,
    outgoing: Vec<u8>,
    began_ns: u64,
    /// Whether it never reads.
    pub(super) is_stuck: bool,
    /// Whether it is among those of whom more may be there.
    pub(super) is_unfinished: bool,
}

impl Client<'_> {
    /// Opens all subscribers, 128 at once.
    pub(super) fn open_all(&mut self) -> anyhow::Result<()> {
        let (began_ns, count) = (now_ns(), self.load.subscribers as usize);
        if self.empty.is_none() {
            self.empty = self.server.pid.and_then(Usage::of);
        }
        while self.open < count && !self.is_over() {
            while self.opening < HANDSHAKES_MAX && self.subscribers.len() < count {
                self.begin_subscriber()?;
            }
            let before = self.open;
            let deadline_ns = now_ns() + HANDSHAKE_NS_MAX;
            while self.open == before && !self.is_over() {
                if deadline_ns <= now_ns() {
                    bail!("{} of {count} subscribers are not open after ten seconds", count - self.open);
                }
                self.turn(deadline_ns)?;
            }
        }
        self.connecting_ns = now_ns() - began_ns;
        Ok(())
    }

    fn begin_subscriber(&mut self) -> anyhow::Result<()> {
        let index = self.subscribers.len();
        let id = index as u32;
        let channel = match &self.profile.wildcard {
            Some(wildcard) if self.load.wildcard => wildcard.clone(),
            _ => self.profile.channel_name(self.load.channel_of(id)),
        };
        let (listener, outgoing) = Listener::new(
            self.profile,
            self.load.transport,
            &channel,
            &self.server.authority,
            self.load.is_watched(id),
        )
        .map_err(anyhow::Error::msg)?;
        let source = self.load.source.map(|source| source.of(id));
        let link = Link::open(self.server.address, source, self.poll.registry(), Token(index))
            .with_context(|| format!("cannot connect to {}", self.server.authority))?;
        self.subscribers.push(Subscriber {
            link: Some(link),
            listener,
            outgoing,
            began_ns: now_ns(),
            is_stuck: 0 < self.load.stuck && self.load.is_stuck(id),
            is_unfinished: false,
        });
        self.opening += 1;
        Ok(())
    }

    /// Takes what a subscriber was sent.
    pub(super) fn take_subscriber(&mut self, index: usize) -> anyhow::Result<()> {
        // Readiness may be told of a connection that was closed in the same turn.
        let Some(subscriber) = self.subscribers.get_mut(index) else { return Ok(()) };
        let Some(link) = &mut subscriber.link else { return Ok(()) };
        let was_open = subscriber.listener.is_open();
        if was_open && subscriber.is_stuck {
            return Ok(());
        }
        let before = subscriber.listener.progress.events;
        let outgoing = &mut subscriber.outgoing;
        let mut result = if outgoing.is_empty() { Ok(()) } else { link.flush(outgoing).map_err(Fault::from) };
        let mut reading = Reading::Drained;
        if result.is_ok() {
            let (listener, buffer) = (&mut subscriber.listener, &mut self.buffer);
            let got = receive(link, buffer, listener, outgoing, &mut self.counter, &mut self.totals);
            result = got.map(|got| reading = got);
        }
        if result.is_ok() && !outgoing.is_empty() {
            result = link.flush(outgoing).map_err(Fault::from);
        }
        let delivered = subscriber.listener.progress.events - before;
        if reading == Reading::Unfinished && !std::mem::replace(&mut subscriber.is_unfinished, true) {
            self.unfinished.push_back(index);
        }
        if !was_open && subscriber.listener.is_open() {
            self.opening -= 1;
            self.open += 1;
            self.totals.opened += 1;
            if !self.load.publishes() {
                self.service.record(now_ns() - subscriber.began_ns);
            }
        }
        if let Err(Fault(reason)) = result {
            if !subscriber.listener.is_open() {
                bail!("subscriber {index} could not subscribe: {reason}");
            }
            subscriber.link = None;
            let has_skipped = 0 < subscriber.listener.progress.skipped_bytes;
            let hint = if has_skipped { HINT } else { "" };
            self.fail(format!("subscriber {index} lost its connection: {reason}{hint}"));
        }
        if !self.subscribers[index].is_stuck && 0 < delivered {
            self.ledger.deliver(delivered);
            if let Shape::Saturation { outstanding } = self.load.shape {
                self.publish_window(outstanding)?;
            }
        }
        Ok(())
    }
}

/// Takes what came: skips what others have read, and reads what is behind it.
fn receive(
    link: &mut Link,
    buffer: &mut Vec<u8>,
    listener: &mut Listener,
    outgoing: &mut Vec<u8>,
    counter: &mut Counter,
    totals: &mut Snapshot,
) -> Result<Reading, Fault> {
    let held = link.held_bytes();
    let known = listener.known_bytes(held, counter);
    if 0 < known {
        let (skipped, reading) = link.skip(known)?;
        if 0 < skipped {
            totals.wire_bytes += skipped as u64;
            totals.readings += 1;
            counter.skip(held + skipped, &mut listener.progress);
        }
        if reading == Reading::Drained {
            return Ok(reading);
        }
    }
    link.read(buffer, false, |input, new| {
        totals.wire_bytes += new as u64;
        totals.readings += 1;
        Ok(listener.handle_input(input, now_ns(), counter, outgoing)?)
    })
}

const HANDSHAKES_MAX: usize = 128;
