//! The sequencer: gives every accepted event its number, and is the log's one writer.
//!
//! A plain state machine: submissions and the time go in, receipts and a new `published` come out. It runs on a thread
//! of its own, inline in the only event loop, or in a simulation; one holder at a time, always.

mod ingest;
mod publication;

pub use ingest::{Ingest, Origin, Receipt, Refusal, Submission};
pub use publication::{EventParts, Publication, WordList};

use crate::log::{Encoded, Writer};
use crate::words::cursor::Epoch;
use crate::words::limits::{STEP_EVENTS_MAX, STEP_SUBMISSIONS_MAX};

/// The one that stamps.
pub struct Sequencer {
    writer: Writer,
    epoch: Epoch,
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
    pub fn new(writer: Writer, epoch: Epoch) -> Sequencer {
        Sequencer { writer, epoch }
    }

    /// Takes what waits in `ingest`, up to a bound, publishes it at once, and says what it did in `step` (whose old
    /// content goes). Returns whether anything was taken. Cost: one copy of each event, no allocation once warm.
    pub fn step(&mut self, ingest: &Ingest, now_unix_ms: u64, step: &mut Step) -> bool {
        step.receipts.clear();
        step.first = self.writer.next();
        while step.receipts.len() < STEP_SUBMISSIONS_MAX
            && self.writer.next() - step.first < STEP_EVENTS_MAX as u64
        {
            let Some(submission) = ingest.try_take() else { break };
            let outcome = self.append(&submission, now_unix_ms);
            step.receipts.push((submission.origin, Receipt { token: submission.origin.token, outcome }));
        }
        step.end = self.writer.next();
        if step.first != step.end {
            self.writer.publish();
        }
        !step.receipts.is_empty()
    }

    /// Appends all events of a submission, or none.
    fn append(&mut self, submission: &Submission, now_unix_ms: u64) -> Result<(u64, u64), Refusal> {
        let routes: Result<smallvec::SmallVec<[_; 4]>, _> = submission
            .publications
            .iter()
            .map(|publication| self.writer.intern(publication.route()))
            .collect();
        let routes = routes.map_err(|_| Refusal::ChannelsFull)?;
        let first = self.writer.next();
        for (publication, route) in submission.publications.iter().zip(routes) {
            let seq = self.writer.next();
            publication.with_pieces(self.epoch, seq, now_unix_ms, |json, sse_head| {
                let labels = publication.labels();
                self.writer.append(route, &Encoded { json, sse_head, labels, timestamp_ms: now_unix_ms });
            });
        }
        Ok((first, self.writer.next() - 1))
    }
}
