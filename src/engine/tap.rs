//! Taps: an owned cursor into the log, read by whoever has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::error::{OpenError, TooMany};
use super::event::Item;
use super::reader::Reader;
use super::wish::{Wish, kept};
use crate::audience::Place;
use crate::words::cursor::Since;
use crate::words::filter::Filter;

/// A cursor into the log. It costs publishers nothing however far behind it is: what has left the log meanwhile it is
/// told as a gap. It iterates: [`Iterator::next`] waits, and ends when the engine has.
pub struct Tap {
    core: Arc<Core>,
    reader: Reader,
    place: Place,
}

impl Tap {
    /// The next item, if there is one now.
    pub fn try_next(&mut self) -> Option<Item> {
        let item = self.reader.poll(&self.core.hub.log)?;
        tally(&self.core, &item);
        Some(item)
    }

    /// The next item; waits for it as long as `timeout`.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Item> {
        // A time too far off to be told is as good as none.
        self.wait(Instant::now().checked_add(timeout))
    }

    /// How many events the log has from where this tap stands, whether it wants them or not.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.core.hub.log.published().saturating_sub(self.reader.position())
    }

    /// The sequence number that it goes on after.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.reader.position().max(1) - 1
    }

    /// Moves to another place in the log, forwards or back; a gap comes first if events from there on are gone.
    pub fn seek(&mut self, since: &Since) {
        self.reader.seek(&self.core.hub.log, since);
    }

    /// From here on only what passes `filter`. Returns the sequence number after which it holds.
    pub fn set_filter(&mut self, filter: Filter) -> u64 {
        let before = self.reader.patterns().to_vec();
        let position = self.reader.set_filter(&self.core.hub.log, kept(filter));
        self.core.hub.audience.sleepers.subscribe(&self.place, &before, self.reader.patterns());
        position - 1
    }

    /// Whether the engine has ended and everything was read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.core.is_over() && self.core.hub.log.published() <= self.reader.looked_upto()
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Option<Item> {
        loop {
            // Before the look: what is published while the engine ends is found after it has.
            let is_over = self.core.is_over();
            if let Some(item) = self.try_next() {
                return Some(item);
            }
            if is_over || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return None;
            }
            let upto = self.reader.looked_upto();
            let has_news = || upto < self.core.hub.log.published();
            sleep(&self.core, &self.place, deadline, has_news);
        }
    }
}

impl Iterator for Tap {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.wait(None)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.core.hub.audience.sleepers.leave(&self.place, self.reader.patterns());
        self.core.close_tap();
    }
}

/// Counts what a reader is given.
pub(super) fn tally(core: &Core, item: &Item) {
    match item {
        Item::Gap(_) => core.hub.audience.tallies.tell_gap(),
        Item::Event(_) | Item::Announcement(_) => core.hub.audience.tallies.deliver(),
    }
}

/// Sleeps until there may be something for `place`, or `deadline`.
pub(super) fn sleep(core: &Core, place: &Place, deadline: Option<Instant>, has_news: impl FnOnce() -> bool) {
    let ended = core.hub.is_draining();
    // The end of a drain rings nobody.
    let look_up = ended.then(|| Instant::now() + DRAIN_LOOK_UP);
    let deadline = look_up.into_iter().chain(deadline).min();
    let sleepers = &core.hub.audience.sleepers;
    sleepers.sleep(place, deadline, || has_news() || core.hub.is_draining() != ended);
}

/// How often a reader looks whether a drain has ended.
const DRAIN_LOOK_UP: Duration = Duration::from_millis(20);

/// A tap that is being put together: [`Engine::tap`](super::Engine::tap).
#[must_use]
pub struct TapBuilder<'a> {
    core: &'a Arc<Core>,
    wish: Wish,
}

impl<'a> TapBuilder<'a> {
    pub(super) fn new(core: &'a Arc<Core>) -> TapBuilder<'a> {
        TapBuilder { core, wish: Wish::default() }
    }

    /// Events of these channels and patterns, instead of all in every workspace.
    pub fn channels(mut self, channels: impl IntoIterator<Item = impl AsRef<str>>) -> TapBuilder<'a> {
        self.wish.add_channels(channels);
        self
    }

    /// Events that pass this.
    pub fn filter(mut self, filter: Filter) -> TapBuilder<'a> {
        self.wish.filter = filter;
        self
    }

    /// From a cursor on, instead of from now on.
    pub fn since(mut self, since: Since) -> TapBuilder<'a> {
        self.wish.since = Some(since);
        self
    }

    /// First the newest so many events of each channel.
    pub fn last(mut self, count: usize) -> TapBuilder<'a> {
        self.wish.last = Some(count);
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`OpenError`] for what names no channel, or when as many taps are open as may be.
    pub fn open(self) -> Result<Tap, OpenError> {
        self.core.expire();
        let reader = self.wish.open(&self.core.hub, true)?;
        if !self.core.open_tap() {
            return Err(TooMany(self.core.hub.limits.taps_max).into());
        }
        let place = self.core.hub.audience.sleepers.enter();
        self.core.hub.audience.sleepers.subscribe(&place, &[], reader.patterns());
        Ok(Tap { core: Arc::clone(self.core), reader, place })
    }
}
