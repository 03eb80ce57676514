//! Filters: which of a channel's events a receiver wants.
//!
//! Conditions are joined by *and*, the values of one by *or*; a condition without values lets nothing through. Workspaces
//! are no condition on an event: they decide where a subscription looks at all ([`crate::words::workspace`]).

use super::labels::Labels;
use super::workspace::Scope;

/// What an event must have. The default lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Its kind is one of these.
    pub kinds: Option<Words>,
    /// One of its ids is one of these.
    pub ids: Option<Words>,
    /// Whether an event that has no ids passes `ids`.
    pub without_ids: bool,
    /// One of its tags is one of these.
    pub tags: Option<Words>,
    /// Which workspaces to look into, if that was said.
    pub scope: Option<Scope>,
}

/// A set of words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Words(Box<[Box<str>]>);

impl Words {
    /// The set of `words`.
    #[must_use]
    pub fn new(words: impl IntoIterator<Item = impl Into<Box<str>>>) -> Words {
        let mut words: Vec<Box<str>> = words.into_iter().map(Into::into).collect();
        words.sort_unstable();
        words.dedup();
        Words(words.into())
    }

    /// Whether `word` is in the set. Cost: O(log n) comparisons.
    #[must_use]
    pub fn contains(&self, word: &str) -> bool {
        self.0.binary_search_by(|known| (**known).cmp(word)).is_ok()
    }

    /// The words, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|word| &**word)
    }
}

impl Filter {
    /// Whether this lets every event of the workspaces that it names through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.kinds.is_none() && self.ids.is_none() && self.tags.is_none()
    }

    /// Whether an event with these labels passes. Cost: tens of nanoseconds; no allocation, no JSON.
    #[must_use]
    pub fn passes(&self, labels: Labels<'_>) -> bool {
        let of_kind = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(labels.kind()));
        let with_tag = || self.tags.as_ref().is_none_or(|tags| labels.tags().any(|tag| tags.contains(tag)));
        of_kind && self.passes_ids(labels) && with_tag()
    }

    /// What it costs to keep, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = [&self.kinds, &self.ids, &self.tags];
        let words = lists.into_iter().flatten().flat_map(Words::iter);
        size_of::<Filter>() + words.map(|word| size_of::<Box<str>>() + word.len()).sum::<usize>()
    }

    fn passes_ids(&self, labels: Labels<'_>) -> bool {
        let Some(ids) = &self.ids else { return true };
        let mut own = labels.ids().peekable();
        if own.peek().is_none() { self.without_ids } else { own.any(|id| ids.contains(id)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::labels::{self, Parts};

    #[test]
    fn conditions_are_joined_by_and_and_values_by_or() {
        let words = |list: &[&str]| Some(Words::new(list.iter().copied()));
        let owned = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let check = |filter: &Filter, kind: &str, ids: &[&str], tags: &[&str], expected: bool| {
            let (ids, tags) = (owned(ids), owned(tags));
            let mut bytes = Vec::new();
            labels::push(&mut bytes, &Parts { kind, ids: &ids, tags: &tags, ..Parts::default() });
            assert_eq!(filter.passes(Labels::new(&bytes)), expected, "{filter:?} {kind} {ids:?} {tags:?}");
        };
        let open = Filter::default();
        assert!(open.is_open());
        check(&open, "push", &[], &[], true);
        let kinds = Filter { kinds: words(&["push", "pr_opened"]), ..Filter::default() };
        check(&kinds, "push", &[], &[], true);
        check(&kinds, "pr_closed", &[], &[], false);
        let nothing = Filter { kinds: words(&[]), ..Filter::default() };
        check(&nothing, "push", &[], &[], false);
        let ids = Filter { ids: words(&["1", "2"]), ..Filter::default() };
        check(&ids, "k", &["2", "9"], &[], true);
        check(&ids, "k", &["9"], &[], false);
        check(&ids, "k", &[], &[], false);
        let lenient = Filter { without_ids: true, ..ids };
        check(&lenient, "k", &[], &[], true);
        check(&lenient, "k", &["9"], &[], false);
        let only_without = Filter { ids: words(&[]), without_ids: true, ..Filter::default() };
        check(&only_without, "k", &[], &[], true);
        check(&only_without, "k", &["1"], &[], false);
        let both = Filter { kinds: words(&["push"]), tags: words(&["red", "blue"]), ..Filter::default() };
        check(&both, "push", &[], &["green", "blue"], true);
        check(&both, "push", &[], &["green"], false);
        check(&both, "pull", &[], &["blue"], false);
    }
}
