//! Subscriptions of one reader, and the sieve that its filters make.

use std::sync::Arc;

use crate::words::channel::{ANNOUNCEMENTS, Pattern};
use crate::words::filter::Filter;
use crate::words::labels::Labels;
use crate::words::workspace::Scope;

/// One subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// What was asked for.
    pub pattern: Pattern,
    /// The pattern in its scope, as the table has it; nothing if connection and subscription look into different
    /// workspaces.
    pub scoped: Option<Pattern>,
    /// The subscription's own filter.
    pub filter: Option<Arc<Filter>>,
    /// The first sequence number that this subscription, in this form, covers.
    pub from: u64,
}

impl Subscription {
    /// A subscription to `pattern` of a reader whose own filter is `reader`.
    #[must_use]
    pub fn new(
        pattern: Pattern,
        filter: Option<Arc<Filter>>,
        reader: Option<&Filter>,
        from: u64,
    ) -> Subscription {
        let scoped = scoped(&pattern, filter.as_deref(), reader);
        Subscription { pattern, scoped, filter, from }
    }

    /// The pattern as the table would have it if the reader's own filter were `reader`.
    #[must_use]
    pub fn scoped_for(&self, reader: Option<&Filter>) -> Option<Pattern> {
        scoped(&self.pattern, self.filter.as_deref(), reader)
    }

    fn gets(&self, route: &str, labels: Labels<'_>) -> bool {
        self.scoped.as_ref().is_some_and(|pattern| pattern.matches(route))
            && self.filter.as_ref().is_none_or(|filter| filter.passes(labels))
    }
}

fn scoped(pattern: &Pattern, own: Option<&Filter>, reader: Option<&Filter>) -> Option<Pattern> {
    let scope_of = |filter: Option<&'_ Filter>| filter.and_then(|filter| filter.scope.clone());
    pattern.scoped(&Scope::both(scope_of(reader).as_ref(), scope_of(own).as_ref())?)
}

/// What the filters of a reader let through of the events that its subscriptions match.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sieve<'a> {
    /// The reader's own filter.
    pub filter: Option<&'a Filter>,
    /// Its subscriptions, whose filters count for what they match.
    pub subscriptions: &'a [Subscription],
}

impl Sieve<'_> {
    /// Whether everything passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.filter.is_none_or(Filter::is_open) && !self.has_own_filters()
    }

    /// Whether a subscription has a filter of its own.
    #[must_use]
    pub fn has_own_filters(&self) -> bool {
        self.subscriptions
            .iter()
            .any(|subscription| subscription.filter.as_ref().is_some_and(|filter| !filter.is_open()))
    }

    /// Whether an event that some subscription matches passes. Announcements always do.
    #[must_use]
    pub fn passes(&self, route: &str, labels: Labels<'_>) -> bool {
        if route == ANNOUNCEMENTS {
            return true;
        }
        let by_reader = self.filter.is_none_or(|filter| filter.passes(labels));
        by_reader
            && (!self.has_own_filters() || self.subscriptions.iter().any(|held| held.gets(route, labels)))
    }

    /// Whether the subscriptions, as they were when `seq` was routed, got it. Announcements come without any: a stream
    /// has had its own, and a pattern that they match asks for no older ones.
    #[must_use]
    pub fn covered(&self, seq: u64, route: &str, labels: Labels<'_>) -> bool {
        if route == ANNOUNCEMENTS {
            return true;
        }
        self.filter.is_none_or(|filter| filter.passes(labels))
            && self.subscriptions.iter().any(|held| held.from <= seq && held.gets(route, labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::labels::{self, Parts};

    #[test]
    fn what_a_reader_was_given_is_covered() {
        let mut bytes = Vec::new();
        labels::push(&mut bytes, &Parts { kind: "push", ..Parts::default() });
        let labels = Labels::new(&bytes);
        let pattern = Pattern::parse("t:a").expect("a pattern");
        let held = [Subscription::new(pattern, None, None, 7)];
        let sieve = Sieve { filter: None, subscriptions: &held };
        let check = |seq: u64, route: &str, expected: bool| {
            assert_eq!(sieve.covered(seq, route, labels), expected, "{seq} {route}");
        };
        check(6, "t:a", false);
        check(7, "t:a", true);
        check(7, "t:a/b", true);
        check(7, "t:b", false);
        check(1, ANNOUNCEMENTS, true);
        assert!(!Sieve::default().covered(7, "t:a", labels));
    }
}
