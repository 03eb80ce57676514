//! The children of a node by their names: a map that shares structure between its copies.
//!
//! Entries lie side by side in short lists, and a tree of the names' hashes, two bits a level, leads to the list. An edit
//! copies one list and the few small branches above it. About ten bytes an entry besides the entry itself, where a map
//! that allocates each entry takes a hundred and more; there is one entry for each channel that anybody subscribes to.

use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};

use ecow::EcoString;

/// The name of a child: up to 15 bytes lie in the entry itself, longer ones are shared by its copies.
type Name = EcoString;

/// Entries in a list before it is split in four.
const LIST_MAX: usize = 16;

/// Entries that four lists have together when they become one again: fewer than what splits, so that no coming and
/// going of one entry does both.
const JOIN_MAX: usize = LIST_MAX / 2;

/// Bits of a hash that choose among the children of a branch.
const BITS: u32 = 2;

/// Values by names; clones are cheap and share structure.
#[derive(Clone, Debug)]
pub(super) struct Names<V>(Shape<V>);

#[derive(Clone, Debug)]
enum Shape<V> {
    /// Owns no memory when empty.
    List(Option<Arc<Vec<(Name, V)>>>),
    Branch(Arc<[Shape<V>; 1 << BITS]>),
}

impl<V> Default for Names<V> {
    fn default() -> Names<V> {
        Names(Shape::List(None))
    }
}

impl<V: Clone> Names<V> {
    /// Whether there is no entry.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.0, Shape::List(None))
    }

    /// The value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        let mut shape = &self.0;
        let mut hash = hash_of(name);
        loop {
            match shape {
                Shape::Branch(branch) => shape = &branch[take_bits(&mut hash)],
                Shape::List(list) => {
                    let entry = list.as_ref()?.iter().find(|(known, _)| known.as_str() == name);
                    return entry.map(|(_, value)| value);
                }
            }
        }
    }

    /// The value of `name`, to be edited; `V::default()` if there was none.
    pub(super) fn entry(&mut self, name: &str) -> &mut V
    where
        V: Default,
    {
        let hash = hash_of(name);
        if self.get(name).is_none() {
            self.0.add((Name::from(name), V::default()), hash, 0);
        }
        self.0.find_mut(name, hash).expect("just put in")
    }

    /// Edits the value of `name`, if there is one, and takes it out if `edit` says so.
    pub(super) fn edit_or_remove(&mut self, name: &str, edit: impl FnOnce(&mut V) -> bool) {
        let hash = hash_of(name);
        if self.get(name).is_some() && self.0.find_mut(name, hash).is_some_and(edit) {
            self.0.remove(name, hash);
        }
    }
}

impl<V: Clone> Shape<V> {
    fn find_mut(&mut self, name: &str, mut hash: u64) -> Option<&mut V> {
        match self {
            Shape::Branch(branch) => {
                let at = take_bits(&mut hash);
                Arc::make_mut(branch)[at].find_mut(name, hash)
            }
            Shape::List(list) => {
                let at = list.as_ref()?.iter().position(|(known, _)| known.as_str() == name)?;
                Some(&mut Arc::make_mut(list.as_mut()?)[at].1)
            }
        }
    }

    /// Puts in an entry that is not there, `used` bits of whose hash have led here.
    fn add(&mut self, entry: (Name, V), mut hash: u64, used: u32) {
        match self {
            Shape::Branch(branch) => {
                let at = take_bits(&mut hash);
                Arc::make_mut(branch)[at].add(entry, hash, used + BITS);
            }
            Shape::List(list) => {
                let entries = Arc::make_mut(list.get_or_insert_default());
                // Names whose hashes are the same to the last bit stay together.
                if entries.len() < LIST_MAX || used == u64::BITS {
                    entries.reserve_exact(1);
                    entries.push(entry);
                    return;
                }
                let mut parts: [Vec<(Name, V)>; 1 << BITS] = Default::default();
                for one in entries.drain(..).chain([entry]) {
                    let mut rest = hash_of(&one.0) >> used;
                    parts[take_bits(&mut rest)].push(one);
                }
                *self = Shape::Branch(Arc::new(parts.map(Shape::list)));
            }
        }
    }

    fn list(mut entries: Vec<(Name, V)>) -> Shape<V> {
        entries.shrink_to_fit();
        Shape::List((!entries.is_empty()).then(|| Arc::new(entries)))
    }

    /// Takes out an entry that is there.
    fn remove(&mut self, name: &str, mut hash: u64) {
        match self {
            Shape::Branch(branch) => {
                let at = take_bits(&mut hash);
                let branch = Arc::make_mut(branch);
                branch[at].remove(name, hash);
                let lens = branch.iter().map(Shape::list_len);
                // Nothing if one of them is a branch itself.
                if lens.sum::<Option<usize>>().is_some_and(|len| len <= JOIN_MAX) {
                    let lists = branch.iter().filter_map(|part| match part {
                        Shape::List(list) => list.as_ref(),
                        Shape::Branch(_) => None,
                    });
                    *self = Shape::list(lists.flat_map(|list| list.iter().cloned()).collect());
                }
            }
            Shape::List(list) => {
                let Some(entries) = list else { return };
                let entries = Arc::make_mut(entries);
                entries.retain(|(known, _)| known.as_str() != name);
                entries.shrink_to_fit();
                if entries.is_empty() {
                    *list = None;
                }
            }
        }
    }

    fn list_len(&self) -> Option<usize> {
        match self {
            Shape::List(list) => Some(list.as_ref().map_or(0, |list| list.len())),
            Shape::Branch(_) => None,
        }
    }
}

fn take_bits(hash: &mut u64) -> usize {
    let bits = *hash & ((1 << BITS) - 1);
    *hash >>= BITS;
    bits as usize
}

/// Seeded, since users choose the names; one seed, so that copies agree.
fn hash_of(name: &str) -> u64 {
    static STATE: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
    STATE.hash_one(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Every value, whatever its name.
    fn values<V: Clone + Ord>(shape: &Shape<V>) -> Vec<V> {
        let mut values: Vec<V> = match shape {
            Shape::List(list) => list.iter().flat_map(|list| list.iter().map(|(_, v)| v.clone())).collect(),
            Shape::Branch(branch) => branch.iter().flat_map(values).collect(),
        };
        values.sort();
        values
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_and_leaves_its_copies_alone(edits in prop::collection::vec((0u32..3, 0u32..200), 0..1500)) {
            let mut names: Names<u32> = Names::default();
            let mut twin: BTreeMap<String, u32> = BTreeMap::new();
            let mut copies = Vec::new();
            for (number, (what, name)) in edits.into_iter().enumerate() {
                let text = format!("{}{name}", "n".repeat(name as usize % 20));
                let value = number as u32 + 1;
                match what {
                    0 => {
                        *names.entry(&text) = value;
                        twin.insert(text.clone(), value);
                    }
                    1 => {
                        names.edit_or_remove(&text, |_| true);
                        twin.remove(&text);
                    }
                    _ => {
                        names.edit_or_remove(&text, |old| {
                            *old = value;
                            false
                        });
                        twin.entry(text.clone()).and_modify(|old| *old = value);
                    }
                }
                prop_assert_eq!(names.get(&text), twin.get(&text));
                prop_assert_eq!(names.is_empty(), twin.is_empty());
                if number % 300 == 0 {
                    copies.push((names.clone(), twin.clone()));
                }
            }
            copies.push((names.clone(), twin.clone()));
            for (names, twin) in copies {
                let mut expected: Vec<u32> = twin.values().copied().collect();
                expected.sort_unstable();
                prop_assert_eq!(values(&names.0), expected);
                prop_assert!(twin.iter().all(|(name, value)| names.get(name) == Some(value)));
            }
            for name in twin.into_keys() {
                names.edit_or_remove(&name, |_| true);
            }
            prop_assert!(names.is_empty(), "nothing is left behind");
        }
    }

    #[test]
    fn names_of_one_hash_stay_together() {
        let mut shape: Shape<u32> = Shape::List(None);
        for number in 0..LIST_MAX as u32 + 5 {
            let name = number.to_string();
            shape.add((Name::from(name), number), 0, u64::BITS);
        }
        assert_eq!(shape.list_len(), Some(LIST_MAX + 5));
    }
}
