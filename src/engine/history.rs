//! Looking back: events after a cursor, and whether they are all.

use std::sync::Arc;

use super::core::Core;
use super::error::OpenError;
use super::event::{Event, Item};
use super::wish::Wish;
use crate::words::cursor::{Gap, GapCause, Since};
use crate::words::filter::Filter;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The events, ascending.
    pub events: Vec<Event>,
    /// Nothing that was wanted is missing between the cursor and the last of them.
    pub complete: bool,
    /// What is missing, if something is.
    pub gap: Option<Gap>,
    /// The sequence number to go on after.
    pub next: u64,
    /// There are, or may be, further ones.
    pub more: bool,
}

/// A look back that is being put together: [`Engine::history`](super::Engine::history).
#[must_use]
pub struct Query<'a> {
    core: &'a Arc<Core>,
    wish: Wish,
    limit: usize,
}

impl<'a> Query<'a> {
    pub(super) fn new(core: &'a Arc<Core>) -> Query<'a> {
        Query { core, wish: Wish::default(), limit: core.hub.limits.history_events_max }
    }

    /// Events of these channels and patterns, instead of all.
    pub fn channels(mut self, channels: impl IntoIterator<Item = impl AsRef<str>>) -> Query<'a> {
        self.wish.add_channels(channels);
        self
    }

    /// Events that pass this.
    pub fn filter(mut self, filter: Filter) -> Query<'a> {
        self.wish.filter = filter;
        self
    }

    /// Events after the number `seq` of this log.
    pub fn after(self, seq: u64) -> Query<'a> {
        self.since(Since::After { epoch: None, seq })
    }

    /// Events after a cursor; of a cursor of another log, or past the head of this one, the gap says so and everything
    /// that is held follows. From the oldest that is held unless this is said.
    pub fn since(mut self, since: Since) -> Query<'a> {
        self.wish.since = Some(since);
        self
    }

    /// The newest so many events of each channel.
    pub fn last(mut self, count: usize) -> Query<'a> {
        self.wish.last = Some(count);
        self
    }

    /// At most so many events; 1,000 unless this is said.
    pub fn limit(mut self, count: usize) -> Query<'a> {
        self.limit = count;
        self
    }

    /// Looks. Announcements are no events, and left out.
    ///
    /// # Errors
    /// [`OpenError`] for what names no channel, or asks for too much.
    pub fn read(mut self) -> Result<History, OpenError> {
        self.core.expire();
        let log = &self.core.hub.log;
        if self.wish.since.is_none() && self.wish.last.is_none() {
            self.wish.since = Some(Since::Earliest);
        }
        let end = log.published();
        let mut reader = self.wish.open(&self.core.hub, false)?;
        let (mut events, mut gap) = (Vec::new(), None);
        let mut next = reader.position().max(1) - 1;
        let mut was_overtaken = false;
        while events.len() < self.limit {
            match reader.poll(log) {
                Some(Item::Event(event)) if event.seq() < end => {
                    next = event.seq();
                    events.push(event);
                }
                Some(Item::Gap(_)) if !events.is_empty() => {
                    // Overtaken while reading: what was found stays, the rest begins after the gap.
                    was_overtaken = true;
                    break;
                }
                Some(Item::Gap(found)) => {
                    next = reader.position().max(1) - 1;
                    gap = Some(wider(gap, found));
                }
                Some(Item::Announcement(announcement)) if announcement.seq < end => next = announcement.seq,
                _ => {
                    next = next.max(end - 1);
                    break;
                }
            }
        }
        let more = was_overtaken || next + 1 < end;
        Ok(History { events, complete: gap.is_none(), gap, next, more })
    }
}

/// The gap from where `earlier` began, if there was one, to where `gap` ends.
fn wider(earlier: Option<Gap>, gap: Gap) -> Gap {
    match (earlier, gap.range) {
        // A cursor of another log says nothing of numbers.
        (Some(earlier), _) if earlier.range.is_none() => earlier,
        (Some(Gap { range: Some((first, _)), matched, cause, old }), Some((_, to))) => {
            let matched = matched.zip(gap.matched).map(|(earlier, later)| earlier + later);
            Gap { range: Some((first, to)), cause, matched, old }
        }
        (None, _) => Gap { cause: evicted(gap.cause), ..gap },
        (_, _) => gap,
    }
}

/// Nobody is slow who looks back: what he finds gone has left.
fn evicted(cause: GapCause) -> GapCause {
    if cause == GapCause::Lapped { GapCause::Evicted } else { cause }
}
