//! Which channels the log knows, each in its workspace ([`Route`]): interned by the writer alone, looked up by anybody.

use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};

use rpds::{RedBlackTreeMapSync, VectorSync};

use super::slot::ChannelId;
use crate::words::channel::{Pattern, Route, RouteName};

/// A snapshot of the known channels; copies share structure, so that one more channel costs a path, not a copy.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_name: RedBlackTreeMapSync<Route, ChannelId>,
    by_id: VectorSync<Route>,
    reuses: u64,
    /// How many known channels lie in a workspace.
    in_workspaces: usize,
}

impl Names {
    /// The name of `id`. Cost: some nanoseconds.
    #[must_use]
    pub fn name(&self, id: ChannelId) -> Option<&Route> {
        self.by_id.get(id.index())
    }

    /// The number of the channel whose route is `route`.
    #[must_use]
    pub fn id(&self, route: &str) -> Option<ChannelId> {
        self.by_name.get(route).copied()
    }

    /// How often a number was given to another channel: what is remembered by number is worthless when this changes.
    #[must_use]
    pub fn reuses(&self) -> u64 {
        self.reuses
    }

    /// Whether `pattern` matches every known channel.
    #[must_use]
    pub fn is_everything(&self, pattern: &Pattern) -> bool {
        pattern.is_everything() || (pattern.as_str() == "*" && self.in_workspaces == 0)
    }

    /// How many channels are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.size()
    }

    /// Whether no channel is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The known channels, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Route, ChannelId)> {
        self.by_name.iter().map(|(name, id)| (name, *id))
    }

    /// Calls `on` with the known channels that `pattern` matches until it breaks. Cost: what shares the pattern's
    /// literal beginning; of a pattern without wildcards, what it matches.
    pub fn matching(&self, pattern: &Pattern, on: &mut dyn FnMut(&Route, ChannelId) -> ControlFlow<()>) {
        let text = pattern.as_str();
        let prefix = pattern.literal_prefix();
        let is_literal = prefix.len() == text.len();
        if is_literal
            && let Some((name, id)) = self.by_name.get_key_value(text)
            && on(name, *id).is_break()
        {
            return;
        }
        // What is below a channel begins with its name and a slash, which many names in between do not.
        let below = if is_literal { format!("{text}/") } else { prefix.to_owned() };
        let from = (Bound::Included(below.as_str()), Bound::Unbounded);
        let range =
            self.by_name.range::<str, _>(from).take_while(|(name, _)| name.as_str().starts_with(&below));
        for (name, id) in range {
            if (is_literal || pattern.matches(name.as_str())) && on(name, *id).is_break() {
                return;
            }
        }
    }
}

/// The writer's side: gives numbers to channels and takes them back.
#[derive(Debug)]
pub(super) struct Interner {
    ids: HashMap<Route, ChannelId, foldhash::quality::RandomState>,
    /// The channel that was asked for last, since events of one often come in a row.
    last: Option<(Route, ChannelId)>,
    /// Numbers that were given back.
    free: Vec<ChannelId>,
    /// By number: the event that was next when the channel was asked for last.
    wanted_at: Vec<u64>,
    /// The number that [`Interner::forget`] looks at next.
    hand: usize,
    /// `reachable` of the last call of [`Interner::forget`] that looked at every number.
    looked_below: u64,
    channels_max: usize,
    /// What will be published next.
    names: Names,
    /// Whether `names` has changed since it was taken last.
    changed: bool,
}

impl Interner {
    pub(super) fn new(channels_max: usize) -> Interner {
        Interner {
            ids: HashMap::default(),
            last: None,
            free: Vec::new(),
            wanted_at: Vec::new(),
            hand: 0,
            looked_below: 0,
            channels_max,
            names: Names::default(),
            changed: false,
        }
    }

    /// The number of `channel`, which is wanted for the event `next` or a later one.
    pub(super) fn get(&mut self, channel: RouteName<'_>, next: u64) -> Option<ChannelId> {
        let id = match &self.last {
            Some((last, id)) if last.as_str() == channel.as_str() => *id,
            _ => {
                let (route, id) = self.ids.get_key_value(channel.as_str())?;
                self.last = Some((route.clone(), *id));
                *id
            }
        };
        self.wanted_at[id.index()] = next;
        Some(id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.channels_max <= self.names.by_id.len()
    }

    /// Gives `channel`, which is wanted for the event `next` or a later one, a number.
    ///
    /// # Errors
    /// [`ChannelsFull`] when every number is taken.
    pub(super) fn intern(&mut self, channel: RouteName<'_>, next: u64) -> Result<ChannelId, ChannelsFull> {
        if self.is_full() {
            return Err(ChannelsFull);
        }
        let channel = channel.to_route();
        let id = match self.free.pop() {
            Some(id) => {
                self.wanted_at[id.index()] = next;
                self.names.by_id.set_mut(id.index(), channel.clone());
                self.names.reuses += 1;
                id
            }
            None => {
                let id = ChannelId(self.names.by_id.len() as u32);
                self.wanted_at.push(next);
                self.names.by_id.push_back_mut(channel.clone());
                id
            }
        };
        self.names.in_workspaces += usize::from(channel.parts().0.is_some());
        self.names.by_name.insert_mut(channel.clone(), id);
        self.ids.insert(channel, id);
        self.changed = true;
        Ok(id)
    }

    /// Takes numbers back, at most [`FORGET_MAX`], of channels that have no event at or after `reachable` (`head` says
    /// which is their last) and were not wanted for one. Called when none is free; returns those that are free now.
    pub(super) fn forget(&mut self, reachable: u64, head: impl Fn(ChannelId) -> u64) -> &[ChannelId] {
        debug_assert!(self.free.is_empty());
        self.last = None;
        let count = self.names.by_id.len();
        let mut looks = if self.looked_below < reachable { count } else { 0 };
        while 0 < looks && self.free.len() < FORGET_MAX {
            looks -= 1;
            let id = ChannelId(self.hand as u32);
            self.hand = (self.hand + 1) % count;
            if head(id).max(self.wanted_at[id.index()]) < reachable {
                self.give_back(id);
            }
        }
        if looks == 0 {
            // A second look would find no more until segments have gone out of reach.
            self.looked_below = self.looked_below.max(reachable);
        }
        self.changed |= !self.free.is_empty();
        &self.free
    }

    fn give_back(&mut self, id: ChannelId) {
        if let Some(name) = self.names.by_id.get(id.index()) {
            self.names.in_workspaces -= usize::from(name.parts().0.is_some());
            self.ids.remove(name);
            self.names.by_name.remove_mut(name);
            self.free.push(id);
        }
    }

    /// The snapshot to publish, if there is a new one.
    pub(super) fn take_changed(&mut self) -> Option<Names> {
        std::mem::take(&mut self.changed).then(|| self.names.clone())
    }
}

/// Channels forgotten at once, at most: each costs about two microseconds, during which nothing is published.
const FORGET_MAX: usize = if cfg!(fanfare_loom) { 1 } else { 256 };

/// Every channel number is taken by a channel that still has events in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many channels have events in the log")]
pub struct ChannelsFull;
