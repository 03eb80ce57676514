//! The tree of patterns: exact names, subtrees and wildcards in one index.
//!
//! A pattern covers everything below it, so a channel's subscribers are those of every node on the way that its name
//! takes through the tree, where `*` is a second way at each step. The cost of a look-up is the number of nodes on
//! those ways: at most one per segment for exact patterns, never the number of subscriptions.

use std::sync::Arc;

use super::names::Names;
use super::subscribers::Subscribers;
use crate::words::channel::{Pattern, Step, route_steps};

/// Who subscribes to what; clones are cheap and share structure.
#[derive(Clone, Debug, Default)]
pub struct Table {
    root: Node,
    subscriptions: usize,
}

/// A node, small since nearly all are leaves.
#[derive(Clone, Debug)]
enum Node {
    /// Nothing lies below; those whose pattern ends here.
    Leaf(Subscribers),
    Inner(Arc<Inner>),
}

/// A node with something below it.
#[derive(Clone, Debug, Default)]
struct Inner {
    /// Those whose pattern ends here.
    subscribers: Subscribers,
    named: Names<Node>,
    any: Node,
}

// There is one for each channel that anybody subscribes to.
const _: () = assert!(size_of::<Node>() == 16);

impl Default for Node {
    fn default() -> Node {
        Node::Leaf(Subscribers::default())
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        matches!(self, Node::Leaf(subscribers) if subscribers.is_empty())
    }

    /// The set of those whose pattern ends here.
    fn subscribers_mut(&mut self) -> &mut Subscribers {
        match self {
            Node::Leaf(subscribers) => subscribers,
            Node::Inner(inner) => &mut Arc::make_mut(inner).subscribers,
        }
    }

    /// The node as one that may have something below it.
    fn inner_mut(&mut self) -> &mut Inner {
        if let Node::Leaf(subscribers) = self {
            let subscribers = std::mem::take(subscribers);
            *self = Node::Inner(Arc::new(Inner { subscribers, ..Inner::default() }));
        }
        match self {
            Node::Inner(inner) => Arc::make_mut(inner),
            Node::Leaf(_) => unreachable!("just made one"),
        }
    }
}

impl Table {
    /// How many (pattern, connection) pairs there are.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Subscribes `connection` to `pattern`; returns whether that is new. Cost: a path copy, microseconds whatever
    /// the size of the table.
    pub fn subscribe(&mut self, pattern: &Pattern, connection: u32) -> bool {
        let added = insert(&mut self.root, &mut pattern.steps(), connection);
        self.subscriptions += usize::from(added);
        added
    }

    /// Ends the subscription of `connection` to `pattern`; returns whether there was one. Empty nodes go.
    pub fn unsubscribe(&mut self, pattern: &Pattern, connection: u32) -> bool {
        let removed = remove(&mut self.root, &mut pattern.steps(), connection);
        self.subscriptions -= usize::from(removed);
        removed
    }

    /// Calls `on` with each set of subscribers that gets events of `route`; a connection may be in several.
    pub fn visit<'a>(&'a self, route: &str, on: &mut impl FnMut(&'a Subscribers)) {
        let steps: smallvec::SmallVec<[&str; 10]> = route_steps(route).collect();
        visit(&self.root, &steps, on);
    }

    /// The connections that get events of `route`, each once, ascending.
    pub fn collect(&self, route: &str, into: &mut Vec<u32>) {
        into.clear();
        let mut sets = 0;
        self.visit(route, &mut |subscribers| {
            sets += 1;
            subscribers.slices().for_each(|members| into.extend_from_slice(members));
        });
        if 1 < sets {
            into.sort_unstable();
            into.dedup();
        }
    }

    /// Whether anybody gets events of `route`.
    #[must_use]
    pub fn has_subscriber(&self, route: &str) -> bool {
        let mut found = false;
        self.visit(route, &mut |_| found = true);
        found
    }
}

fn insert<'a>(node: &mut Node, steps: &mut impl Iterator<Item = Step<'a>>, connection: u32) -> bool {
    let Some(step) = steps.next() else { return node.subscribers_mut().insert(connection) };
    let inner = node.inner_mut();
    let child = match step {
        Step::Any => &mut inner.any,
        Step::Named(name) => inner.named.entry(name),
    };
    insert(child, steps, connection)
}

fn remove<'a>(node: &mut Node, steps: &mut impl Iterator<Item = Step<'a>>, connection: u32) -> bool {
    let Some(step) = steps.next() else { return node.subscribers_mut().remove(connection) };
    let Node::Inner(inner) = node else { return false };
    let inner = Arc::make_mut(inner);
    let removed = match step {
        Step::Any => remove(&mut inner.any, steps, connection),
        Step::Named(name) => {
            let mut removed = false;
            inner.named.edit_or_remove(name, |child| {
                removed = remove(child, steps, connection);
                child.is_empty()
            });
            removed
        }
    };
    if inner.named.is_empty() && inner.any.is_empty() {
        *node = Node::Leaf(std::mem::take(&mut inner.subscribers));
    }
    removed
}

fn visit<'a>(node: &'a Node, steps: &[&str], on: &mut impl FnMut(&'a Subscribers)) {
    let (subscribers, inner) = match node {
        Node::Leaf(subscribers) => (subscribers, None),
        Node::Inner(inner) => (&inner.subscribers, Some(inner)),
    };
    if !subscribers.is_empty() {
        on(subscribers);
    }
    let (Some((step, rest)), Some(inner)) = (steps.split_first(), inner) else { return };
    if let Some(child) = inner.named.get(step) {
        visit(child, rest, on);
    }
    visit(&inner.any, rest, on);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_connection_with_several_matching_subscriptions_is_named_once() {
        let mut table = Table::default();
        for text in ["repo:a/b", "repo:a/*", "repo:**", "*", "repo:a/b/prs"] {
            assert!(table.subscribe(&pattern(text), 7));
        }
        table.subscribe(&pattern("repo:a/c"), 8);
        let mut got = Vec::new();
        table.collect("repo:a/b/prs", &mut got);
        assert_eq!(got, [7]);
    }

    #[test]
    fn a_second_identical_subscription_changes_nothing() {
        let mut table = Table::default();
        assert!(table.subscribe(&pattern("user:a"), 1));
        assert!(!table.subscribe(&pattern("user:a"), 1));
        assert_eq!(table.subscriptions(), 1);
        assert!(table.unsubscribe(&pattern("user:a"), 1));
        assert!(!table.unsubscribe(&pattern("user:a"), 1));
        assert!(table.root.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_snapshot_is_untouched_by_later_edits() {
        let mut table = Table::default();
        table.subscribe(&pattern("user:a"), 1);
        let snapshot = table.clone();
        table.unsubscribe(&pattern("user:a"), 1);
        assert!(snapshot.has_subscriber("user:a"));
        assert!(!table.has_subscriber("user:a"));
    }

    proptest! {
        #[test]
        fn finds_what_matching_every_subscription_in_turn_would(
            subscriptions in prop::collection::vec((0u32..6, "(\\*|[pq]:(a|b|\\*)(/(a|b|\\*)){0,2}(/\\*\\*)?)"), 0..30),
            ended in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            channel in "[pq]:[abc](/[abc]){0,3}",
        ) {
            let mut table = Table::default();
            let mut twin: Vec<(u32, Pattern)> = Vec::new();
            for (connection, text) in subscriptions {
                let pattern = Pattern::parse(&text).unwrap();
                // `**` and `*` share a node, so one of the two is enough for the twin as well.
                let known = twin.iter().any(|(c, p)| *c == connection && p.steps().eq(pattern.steps()));
                prop_assert_eq!(table.subscribe(&pattern, connection), !known);
                if !known {
                    twin.push((connection, pattern));
                }
            }
            for index in ended {
                if !twin.is_empty() {
                    let (connection, pattern) = twin.swap_remove(index.index(twin.len()));
                    prop_assert!(table.unsubscribe(&pattern, connection));
                }
            }
            let mut expected: Vec<u32> = twin.iter().filter(|(_, p)| p.matches(&channel)).map(|(c, _)| *c).collect();
            expected.sort_unstable();
            expected.dedup();
            let mut got = Vec::new();
            table.collect(&channel, &mut got);
            prop_assert_eq!(got, expected);
            prop_assert_eq!(table.subscriptions(), twin.len());
        }
    }
}
