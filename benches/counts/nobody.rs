//! A publish that nobody matches, in crowds of different sizes.

use fanfare::sequencer::Publication;

use super::callgrind::{Counts, begin_metric, count, counted_work};
use super::crowd::{self, Rig, channel, event, quiet_channel, rig};

/// Events counted in each phase, one a step and turn.
const EVENTS: usize = 20_000;

/// Channels that they are on.
const CHANNELS: usize = 1000;

/// Who is there: clients, and subscriptions of each.
const CROWDS: [(usize, usize); 3] = [(0, 0), (10_000, 0), (10_000, 100)];

/// What is counted in each crowd, one after the other.
const PHASES: [Phase; 3] = [
    Phase { name: "publish, nobody matches, loop awake", sleeps: false, is_first: false },
    Phase { name: "publish, nobody matches, loop asleep", sleeps: true, is_first: false },
    Phase { name: "publish, nobody matches, first of its channel", sleeps: false, is_first: true },
];

struct Phase {
    name: &'static str,
    /// The loop sleeps, and is told of nothing that has no subscriber.
    sleeps: bool,
    /// Each event is the first of its channel; otherwise there were others before.
    is_first: bool,
}

/// By how much of a hundred a million subscriptions may change what a publish costs, if it is not the first of its
/// channel: that one is looked up in the table.
const PER_CENT_MAX: f64 = 1.0;

/// Publishes in every phase beside the crowd of that number, first without counting, until everything is warm.
pub(crate) fn run(crowd: usize) {
    let (clients, each) = CROWDS[crowd];
    let mut rig = rig();
    let peers = crowd::crowd(&mut rig, clients, each, quiet_channel);
    let mut number = 0;
    for phase in PHASES {
        let mut events = |count: usize| -> Vec<Publication> {
            number += count;
            let name = |number| channel(if phase.is_first { number } else { number % CHANNELS });
            (number - count..number).map(|number| event(&name(number))).collect()
        };
        for one in events(2 * CHANNELS) {
            publish_one(&mut rig, one, phase.sleeps);
        }
        let mut counted = events(EVENTS).into_iter();
        begin_metric();
        counted_work(&mut || counted.by_ref().for_each(|one| publish_one(&mut rig, one, phase.sleeps)));
        println!("{} = {EVENTS}", phase.name);
        rig.sleep(false);
    }
    assert_eq!((rig.delivered(), peers.len()), (0, clients), "nobody matches");
}

fn publish_one(rig: &mut Rig, one: Publication, sleeps: bool) {
    if sleeps {
        rig.sleep(true);
    }
    rig.publish([one]);
    if !sleeps {
        rig.turn();
    }
}

/// Whether the crowd makes no difference, and what a publish costs in the largest.
pub(crate) fn compare() -> (bool, Counts) {
    println!(
        "\ninstructions a publish that nobody matches: the sequencer's step, the announcement, the loop's turn"
    );
    let [nobody, clients, subscriptions] = ["0", "1", "2"].map(count);
    let mut is_flat = true;
    for (at, phase) in PHASES.iter().enumerate() {
        let [nobody, clients, subscriptions] = [nobody[at].1, clients[at].1, subscriptions[at].1];
        let more = (subscriptions / clients - 1.0) * 100.0;
        println!(
            "{:48} nobody {nobody:7.1}   10,000 clients {clients:7.1}   and 1,000,000 subscriptions {subscriptions:7.1}, {more:+.2} %",
            phase.name
        );
        is_flat &= phase.is_first || more.abs() <= PER_CENT_MAX;
    }
    (is_flat, subscriptions)
}
