//! A set of connection numbers that shares structure between its copies.
//!
//! Most channels have a few subscribers, and those lie in the set itself. More are a sorted list cut into short runs: an
//! edit copies one run and the spine above it (16 bytes per run), whatever the size of the set. Four to five bytes per
//! member, whether they came in order or not.

use std::sync::Arc;

/// Members that lie in the set itself.
const FEW_MAX: usize = 3;

/// Members in a run before it is split in two.
const RUN_MAX: usize = 256;

/// A set of connection numbers; clones are cheap and share structure.
#[derive(Clone, Debug)]
pub struct Subscribers(Members);

#[derive(Clone, Debug)]
enum Members {
    /// The first `count` count; sorted.
    Few {
        count: u8,
        members: [u32; FEW_MAX],
    },
    Many(Arc<Runs>),
}

#[derive(Clone, Debug, Default)]
struct Runs {
    /// Sorted, and so are the runs; no run is empty.
    runs: Vec<Arc<Vec<u32>>>,
    len: usize,
}

// It stands in every node of the tree.
const _: () = assert!(size_of::<Subscribers>() == 16);

impl Default for Subscribers {
    fn default() -> Subscribers {
        Subscribers(Members::Few { count: 0, members: [0; FEW_MAX] })
    }
}

impl Subscribers {
    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Members::Few { count, .. } => usize::from(*count),
            Members::Many(many) => many.len,
        }
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members in pieces, ascending.
    pub fn slices(&self) -> impl Iterator<Item = &[u32]> {
        let (few, many): (&[u32], &[Arc<Vec<u32>>]) = match &self.0 {
            Members::Few { count, members } => (&members[..usize::from(*count)], &[]),
            Members::Many(many) => (&[], &many.runs),
        };
        std::iter::once(few).chain(many.iter().map(|run| run.as_slice()))
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.slices().flatten().copied()
    }

    /// Adds `member` and returns whether it was new. Cost: O(log n) to find, one run and the spine to copy.
    pub fn insert(&mut self, member: u32) -> bool {
        match &mut self.0 {
            Members::Few { count, members } => {
                let len = usize::from(*count);
                let Err(place) = members[..len].binary_search(&member) else { return false };
                if len < FEW_MAX {
                    members.copy_within(place..len, place + 1);
                    members[place] = member;
                    *count += 1;
                } else {
                    let mut run = Vec::with_capacity(FEW_MAX + 1);
                    run.extend_from_slice(members);
                    run.insert(place, member);
                    self.0 = Members::Many(Arc::new(Runs { len: run.len(), runs: vec![Arc::new(run)] }));
                }
                true
            }
            Members::Many(many) => Arc::make_mut(many).insert(member),
        }
    }

    /// Takes `member` out and returns whether it was there.
    pub fn remove(&mut self, member: u32) -> bool {
        match &mut self.0 {
            Members::Few { count, members } => {
                let len = usize::from(*count);
                let Ok(place) = members[..len].binary_search(&member) else { return false };
                members.copy_within(place + 1..len, place);
                *count -= 1;
                true
            }
            Members::Many(many) => {
                // Looked for first: what is not there copies nothing.
                let Some((at, place)) = many.find(member) else { return false };
                let many = Arc::make_mut(many);
                many.remove(at, place);
                if many.len < FEW_MAX {
                    let mut members = [0; FEW_MAX];
                    let left = many.runs.iter().flat_map(|run| run.iter());
                    members.iter_mut().zip(left).for_each(|(member, left)| *member = *left);
                    self.0 = Members::Few { count: many.len as u8, members };
                }
                true
            }
        }
    }
}

impl Runs {
    fn insert(&mut self, member: u32) -> bool {
        let mut at = run_of(&self.runs, member);
        let Err(mut place) = self.runs[at].binary_search(&member) else { return false };
        let len = self.runs[at].len();
        if len == RUN_MAX {
            // Numbers are given in ascending order, mostly: then the full run stays full.
            let is_last = place == len && at + 1 == self.runs.len();
            let kept = if is_last { RUN_MAX } else { RUN_MAX / 2 };
            let upper = match kept < len {
                true => {
                    let run = Arc::make_mut(&mut self.runs[at]);
                    let upper = run.split_off(kept);
                    run.shrink_to_fit();
                    upper
                }
                false => Vec::new(),
            };
            self.runs.insert(at + 1, Arc::new(upper));
            if is_last || kept < place {
                at += 1;
                place -= kept;
            }
        }
        let run = Arc::make_mut(&mut self.runs[at]);
        if run.len() == run.capacity() {
            run.reserve_exact((run.len() / 4).max(4).min(RUN_MAX - run.len()));
        }
        run.insert(place, member);
        self.len += 1;
        true
    }

    /// In which run `member` is, and where in it.
    fn find(&self, member: u32) -> Option<(usize, usize)> {
        let at = run_of(&self.runs, member);
        Some((at, self.runs[at].binary_search(&member).ok()?))
    }

    fn remove(&mut self, at: usize, place: usize) {
        let run = Arc::make_mut(&mut self.runs[at]);
        run.remove(place);
        if run.is_empty() {
            self.runs.remove(at);
        } else if run.len() < run.capacity() / 2 {
            run.shrink_to_fit();
        }
        self.len -= 1;
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
                if let Members::Many(many) = &set.0 {
                    prop_assert!(many.runs.iter().all(|run| (1..=RUN_MAX).contains(&run.len())));
                    prop_assert_eq!(many.runs.iter().map(|run| run.len()).sum::<usize>(), many.len);
                }
            }
        }
    }

    #[test]
    fn a_crowd_takes_little_more_than_its_numbers_in_whatever_order_it_comes() {
        let check = |order: &dyn Fn(u32) -> u32| {
            let (mut set, mut shown) = (Subscribers::default(), Subscribers::default());
            for number in 0..10_000 {
                assert!(set.insert(order(number)));
                if number % 100 == 0 {
                    // Somebody looks at it meanwhile, so that it is copied.
                    shown = set.clone();
                }
            }
            assert_eq!(shown.len(), 9901);
            let Members::Many(many) = &set.0 else { panic!("so many are not few") };
            let held: usize = many.runs.iter().map(|run| run.capacity() * 4 + 64).sum();
            assert!(held < 10_000 * 7, "{held} bytes");
        };
        check(&|number| number);
        check(&|number| 9_999 - number);
        check(&|number| number * 7_919 % 10_000);
    }
}
