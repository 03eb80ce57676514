//! A set of connection numbers that shares structure between its copies.
//!
//! A sorted list cut into short runs: an edit copies one run and the spine above it (16 bytes per run), whatever the
//! size of the set. Four to eight bytes per member.

use std::sync::Arc;

/// Members in a run before it is split in two.
const RUN_MAX: usize = 256;

/// A set of connection numbers; clones are cheap and share structure.
#[derive(Clone, Debug, Default)]
pub struct Subscribers {
    /// Sorted, and so are the runs; no run is empty.
    runs: Arc<Vec<Arc<Vec<u32>>>>,
    len: usize,
}

impl Subscribers {
    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs.iter().flat_map(|run| run.iter().copied())
    }

    /// Adds `member` and returns whether it was new. Cost: O(log n) to find, one run and the spine to copy.
    pub fn insert(&mut self, member: u32) -> bool {
        let runs = Arc::make_mut(&mut self.runs);
        if runs.is_empty() {
            runs.push(Arc::new(vec![member]));
            self.len = 1;
            return true;
        }
        let at = run_of(runs, member);
        let Err(place) = runs[at].binary_search(&member) else { return false };
        let run = Arc::make_mut(&mut runs[at]);
        run.insert(place, member);
        if RUN_MAX < run.len() {
            let upper = run.split_off(RUN_MAX / 2);
            runs.insert(at + 1, Arc::new(upper));
        }
        self.len += 1;
        true
    }

    /// Takes `member` out and returns whether it was there.
    pub fn remove(&mut self, member: u32) -> bool {
        if self.is_empty() {
            return false;
        }
        let at = run_of(&self.runs, member);
        let Ok(place) = self.runs[at].binary_search(&member) else { return false };
        let runs = Arc::make_mut(&mut self.runs);
        let run = Arc::make_mut(&mut runs[at]);
        run.remove(place);
        if run.is_empty() {
            runs.remove(at);
        }
        self.len -= 1;
        true
    }
}

/// The run that `member` belongs to: the last one that does not begin above it.
fn run_of(runs: &[Arc<Vec<u32>>], member: u32) -> usize {
    runs.partition_point(|run| run[0] <= member).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set_and_leaves_its_copies_alone(edits in prop::collection::vec((any::<bool>(), 0u32..900), 0..2000)) {
            let mut set = Subscribers::default();
            let mut twin = BTreeSet::new();
            let mut copies = Vec::new();
            for (number, (insert, member)) in edits.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(set.insert(member), twin.insert(member));
                } else {
                    prop_assert_eq!(set.remove(member), twin.remove(&member));
                }
                prop_assert_eq!(set.len(), twin.len());
                if number % 400 == 0 {
                    copies.push((set.clone(), twin.clone()));
                }
            }
            copies.push((set, twin));
            for (set, twin) in copies {
                prop_assert!(set.iter().eq(twin.into_iter()));
            }
        }
    }
}
