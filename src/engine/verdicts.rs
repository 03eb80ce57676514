//! What a reader remembers of channels: whether it wants their events.
//!
//! A reader that keeps up looks at a few events at a time. To work out anew each time which channels its patterns match
//! would cost more than the events.

use std::collections::HashMap;

use crate::log::{ChannelId, Names};
use crate::words::channel::Pattern;

/// Channels remembered before the memory is begun anew.
const REMEMBERED_MAX: usize = 1024;

/// Verdicts on channels, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    known: HashMap<ChannelId, bool, foldhash::fast::RandomState>,
    /// The numbering of channels that they go by.
    reuses: u64,
}

impl Verdicts {
    /// Whether one of `patterns`, which are the same as for the verdicts before, matches the channel `route`.
    pub(super) fn wants(&mut self, names: &Names, patterns: &[Pattern], route: ChannelId) -> bool {
        if self.reuses != names.reuses() || REMEMBERED_MAX <= self.known.len() {
            self.forget();
            self.reuses = names.reuses();
        }
        *self.known.entry(route).or_insert_with(|| {
            let name = names.name(route);
            name.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name.as_str())))
        })
    }

    /// The patterns change.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}
