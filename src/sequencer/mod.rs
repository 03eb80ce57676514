//! The sequencer: gives every accepted event its number, and is the log's one writer.
//!
//! A plain state machine: submissions (events to publish, or old ones to clear) and the time go in, receipts and a new
//! `published` come out. Whoever has something for it takes it from its seat (`hub`): one at a time, always.

mod idempotency;
mod ingest;
mod order;
mod publication;
mod stamp;

pub use idempotency::IdempotencyKey;
pub use ingest::{Ingest, Origin, Receipt, Submission};
pub use order::{Before, Done, Order, Refusal};
pub use publication::{EventParts, Mould, Publication, WordList};

use crate::latency::{Latency, Namer};
use crate::log::{ChannelId, Encoded, Writer};
use crate::sync::Arc;
use crate::words::accepted::Accepted;
use crate::words::cursor::Epoch;
use crate::words::limits::{Limits, STEP_EVENTS_MAX, STEP_SUBMISSIONS_MAX};
use crate::words::now::Now;
use idempotency::{Heard, IdempotencyWindow};
use stamp::Stamp;

/// The one that stamps.
pub struct Sequencer {
    writer: Writer,
    stamp: Stamp,
    /// Numbers of the channels of one submission; kept for its memory.
    routes: Vec<ChannelId>,
    idempotency: IdempotencyWindow,
    /// The time of the last step.
    stepped: Now,
    /// Which namespaces events are of, for those who measure.
    namer: Namer,
}

/// What one step did.
#[derive(Debug, Default)]
pub struct Step {
    /// Whom to answer what.
    pub receipts: Vec<(Origin, Receipt)>,
    /// The first sequence number of the step.
    pub first: u64,
    /// The sequence number after its last; equal to `first` if nothing was published.
    pub end: u64,
}

impl Sequencer {
    /// A sequencer that writes to `writer`.
    #[must_use]
    pub fn new(writer: Writer, epoch: Epoch, limits: &Limits) -> Sequencer {
        let idempotency = IdempotencyWindow::new(limits.idempotency_keys_max, limits.idempotency_window);
        Sequencer {
            writer,
            stamp: Stamp::new(epoch),
            routes: Vec::new(),
            idempotency,
            stepped: Now::default(),
            namer: Namer::new(Arc::default()),
        }
    }

    /// The same, where others measure: it numbers the namespaces of `latency`, and begins the watch of spans.
    #[must_use]
    pub fn measured(self, latency: Arc<Latency>) -> Sequencer {
        Sequencer { namer: Namer::new(latency), ..self }
    }

    /// Takes what waits in `ingest`, up to a bound, publishes it at once, and says what it did in `step` (whose old
    /// content goes). Returns whether anything was taken. What is too old leaves the window, whether or not. Cost: one
    /// copy of each event, no allocation once warm.
    ///
    /// A step that seems a little older than the one before was made by somebody who had read the clock earlier, and has its
    /// time; where the clock has been set back by more than a second, time goes back.
    pub fn step(&mut self, ingest: &Ingest, now: Now, step: &mut Step) -> bool {
        ingest.begin_step();
        let now = self.settle(now);
        step.receipts.clear();
        step.first = self.writer.next();
        self.idempotency.look(now.mono_ms);
        while step.receipts.len() < STEP_SUBMISSIONS_MAX
            && self.writer.next() - step.first < STEP_EVENTS_MAX as u64
        {
            let Some(Submission { origin, order, accepted_ns }) = ingest.try_take() else { break };
            let outcome = match order {
                Order::Publish { publications, idempotency: None } => {
                    self.append(&publications, now.unix_ms, accepted_ns)
                }
                Order::Publish { publications, idempotency: Some(key) } => {
                    self.append_once(&publications, &key, now.unix_ms, accepted_ns)
                }
                Order::Clear { before } => Ok(self.clear(before)),
            };
            step.receipts.push((origin, Receipt { token: origin.token, outcome, accepted_ns }));
        }
        step.end = self.writer.next();
        if step.first != step.end {
            if self.writer.log().published() == step.first {
                // Before anybody can have sent it.
                let accepted_ns = step.receipts.last().map_or(0, |(_, receipt)| receipt.accepted_ns);
                self.namer.latency().span.begin(step.first, accepted_ns);
            }
            self.writer.publish();
        }
        self.expire(now.unix_ms);
        !step.receipts.is_empty()
    }

    /// It is `now_unix_ms`: lets what is too old leave the window, and returns whether anything did. Every step does it;
    /// between steps it is to be called at [`Sequencer::next_expiry_ms`], or a little later. Cost: nothing when there is
    /// no bound to age.
    pub fn expire(&mut self, now_unix_ms: u64) -> bool {
        self.writer.expire(now_unix_ms)
    }

    /// When the next event will be too old, in Unix milliseconds; none if none will be.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.writer.next_expiry_ms()
    }

    /// The time of a step, by what whoever makes it takes for the time.
    fn settle(&mut self, now: Now) -> Now {
        let is_late =
            (now.unix_ms..=now.unix_ms.saturating_add(APART_MS_MAX)).contains(&self.stepped.unix_ms);
        let unix_ms = if is_late { self.stepped.unix_ms } else { now.unix_ms };
        self.stepped = Now { mono_ms: now.mono_ms.max(self.stepped.mono_ms), unix_ms };
        self.stepped
    }

    /// Appends all events of a submission, or none.
    fn append(
        &mut self,
        publications: &[Publication],
        now_unix_ms: u64,
        accepted_ns: u64,
    ) -> Result<Done, Refusal> {
        self.routes.clear();
        for publication in publications {
            self.routes.push(self.writer.intern(publication.route()).map_err(|_| Refusal::ChannelsFull)?);
        }
        let first = self.writer.next();
        for (publication, &route) in publications.iter().zip(&self.routes) {
            self.stamp.set(self.writer.next(), now_unix_ms);
            let accepted = Accepted::new(accepted_ns, self.namer.number_of(publication.channel()));
            publication.with_pieces(&self.stamp, |json, sse_head| {
                let labels = publication.labels();
                let encoded = Encoded { json, sse_head, labels, timestamp_ms: now_unix_ms, accepted };
                self.writer.append(route, &encoded);
            });
        }
        Ok(Done::Published { first, last: self.writer.next() - 1, is_repeat: false })
    }

    /// Appends all events of a submission, or none, unless that was done before.
    fn append_once(
        &mut self,
        publications: &[Publication],
        key: &IdempotencyKey,
        now_unix_ms: u64,
        accepted_ns: u64,
    ) -> Result<Done, Refusal> {
        match self.idempotency.look_up(key) {
            Heard::Same(first, last) => return Ok(Done::Published { first, last, is_repeat: true }),
            Heard::Other => return Err(Refusal::KeyReused),
            Heard::Never => {}
        }
        let done = self.append(publications, now_unix_ms, accepted_ns)?;
        if let Done::Published { first, last, .. } = done {
            self.idempotency.remember(key, first, last);
        }
        Ok(done)
    }

    /// Clears old events; those appended earlier in this step are published first, so that they count.
    fn clear(&mut self, before: Before) -> Done {
        let published = self.writer.publish();
        let before = match before {
            Before::Seq(seq) => seq,
            Before::Time { unix_ms } => self.writer.first_since(unix_ms),
            Before::Keep(newest) => published.saturating_sub(newest),
        };
        let count = self.writer.clear(before);
        Done::Cleared { count, oldest: self.writer.oldest() }
    }
}

/// How long ago those who take steps may have read the clock, in milliseconds.
const APART_MS_MAX: u64 = 1000;

#[cfg(test)]
mod tests;
