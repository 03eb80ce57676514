//! Subscription tables: who gets what.
//!
//! Each loop edits its own [`Table`] and publishes an immutable snapshot of it, at most once a turn. A snapshot shares
//! all that did not change with the one before: an edit copies the path from the root to the node it touches, and
//! nothing else.

mod names;
mod subscribers;
mod trie;

pub use subscribers::Subscribers;
pub use trie::Table;
