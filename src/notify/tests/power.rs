//! Power cuts: what was answered is there afterwards, and no batch is there in part.

use proptest::prelude::*;

use super::disk::Disk;
use super::twin::{Throw, Twin, play, small_limits, throw};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn after_a_power_cut_the_store_holds_whole_batches_and_every_answered_one(
        batches in prop::collection::vec(prop::collection::vec(throw(), 1..8), 1..6),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 8),
    ) {
        check(&batches, &cuts);
    }
}

fn check(batches: &[Vec<Throw>], cuts: &[(prop::sample::Index, u64)]) {
    let disk = Disk::default();
    let mut store = Store::on_backend(disk.clone(), &small_limits()).unwrap();
    let (mut twin, mut ids) = (Twin::default(), Vec::new());
    // What the store held when so many deeds were done.
    let mut history = vec![(disk.deeds(), twin.clone())];
    for throws in batches {
        play(&mut store, &mut twin, &mut ids, throws, false);
        history.push((disk.deeds(), twin.clone()));
    }
    let (first, last) = (history[0].0, disk.deeds());
    for (cut, dice) in cuts {
        let deeds = first + cut.index(last - first + 1);
        let mut dice = *dice;
        let found = disk.after_power_cut(deeds, || {
            dice = dice.rotate_left(1);
            dice & 1 == 1
        });
        let mut found = Store::on_backend(found, &small_limits()).unwrap();
        found.transact(|batch| batch.invariants()).unwrap();
        let answered = history.iter().rposition(|(end, _)| *end <= deeds).unwrap();
        // The batch that was cut may have come through.
        let may_hold = &history[answered..history.len().min(answered + 2)];
        assert!(may_hold.iter().any(|(_, twin)| twin.is_in(&mut found)), "cut after {deeds} of {last}");
    }
}
