//! What does not depend on how busy the machine is: instructions a publish, counted by valgrind, and bytes a
//! subscription, counted by the allocator.
//!
//! `cargo bench --bench counts` runs itself once more under `valgrind --tool=callgrind` for each crowd, and fails if a
//! million subscriptions that do not match change what a publish costs by more than one instruction in a hundred.

mod crowd;
#[path = "../tests/support/heap.rs"]
mod heap;

use std::process::{Command, ExitCode, Stdio};

use crowd::{Rig, channel, event, quiet_channel, rig};
use fanfare::sequencer::Publication;
use fanfare::table::Table;
use fanfare::words::channel::Pattern;
use heap::live_bytes;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Events counted in each phase, one a step and turn.
const EVENTS: usize = 20_000;

/// Channels that they are on.
const CHANNELS: usize = 1000;

/// Who is there: clients, and subscriptions of each.
const CROWDS: [(usize, usize); 3] = [(0, 0), (10_000, 0), (10_000, 100)];

/// What is counted in each crowd, one after the other.
const PHASES: [Phase; 3] = [
    Phase { name: "loop awake", sleeps: false, is_first: false },
    Phase { name: "loop asleep", sleeps: true, is_first: false },
    Phase { name: "loop awake, first event of its channel", sleeps: false, is_first: true },
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

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().position(|word| word == "--crowd") {
        Some(at) => {
            run(CROWDS[words[at + 1].parse::<usize>().expect("the number of a crowd")]);
            ExitCode::SUCCESS
        }
        None => {
            bytes();
            instructions()
        }
    }
}

/// Publishes in every phase, first without counting, until everything is warm.
fn run((clients, each): (usize, usize)) {
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
        counted_publishes(&mut rig, events(EVENTS), phase.sleeps);
        rig.sleep(false);
    }
    assert_eq!((rig.delivered(), peers.len()), (0, clients), "nobody matches");
}

/// All that is counted: callgrind knows this by its name.
#[inline(never)]
fn counted_publishes(rig: &mut Rig, events: Vec<Publication>, sleeps: bool) {
    for one in events {
        publish_one(rig, one, sleeps);
    }
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

fn instructions() -> ExitCode {
    println!(
        "\ninstructions a publish that nobody matches: the sequencer's step, the announcement, the loop's turn"
    );
    let counts = [0, 1, 2].map(count);
    let mut is_good = true;
    for (at, phase) in PHASES.iter().enumerate() {
        let [nobody, clients, subscriptions] = counts.map(|counts| counts[at] as f64 / EVENTS as f64);
        let more = (subscriptions / clients - 1.0) * 100.0;
        println!(
            "{:40} nobody {nobody:7.1}   10,000 clients {clients:7.1}   and 1,000,000 subscriptions {subscriptions:7.1}, {more:+.2} %",
            phase.name
        );
        is_good &= phase.is_first || more.abs() <= PER_CENT_MAX;
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The instructions of each phase in the crowd of that number.
fn count(crowd: usize) -> [u64; PHASES.len()] {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = tempfile::tempdir().expect("there is a place for counts");
    let file = folder.path().join("counts");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        // Two spellings of one name: of two options for the same spelling valgrind heeds the first only.
        .args(["--toggle-collect=counts::counted_publishes*", "--dump-before=*counted_publishes*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(own)
        .args(["--crowd", &crowd.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("valgrind is installed (Debian package valgrind)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Each phase is dumped when the next begins, the last one at the end; the first dump comes before all of them.
    let dumps = ["2", "3", ""].map(|extension| file.with_extension(extension));
    dumps.map(|dump| {
        let text = std::fs::read_to_string(&dump).expect("valgrind dumps each phase");
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        totals.and_then(|count| count.trim().parse().ok()).expect("a dump has a total")
    })
}

fn bytes() {
    let million = 1_000_000;
    println!("bytes a subscription, of 1,000,000");
    for (what, channels) in
        [("table, each of a channel of its own", million), ("table, 100 a channel", 10_000)]
    {
        let before = live_bytes();
        let mut table = Table::default();
        for number in 0..million {
            let pattern = Pattern::parse(&quiet_channel(number % channels)).expect("a valid pattern");
            // In an order that is nobody's favourite.
            assert!(table.subscribe(&pattern, (number as u32).wrapping_mul(7_368_787) % 4_000_037));
        }
        println!("{what:48} {:8.1}", (live_bytes() - before) as f64 / million as f64);
    }
    let mut rig = rig();
    let before = live_bytes();
    let peers = crowd::crowd(&mut rig, 10_000, 0, quiet_channel);
    println!("{:48} {:8.1}", "a WebSocket without subscriptions", (live_bytes() - before) as f64 / 10_000.0);
    drop((rig, peers));
    let mut rig = crowd::rig();
    let before = live_bytes();
    let _peers = crowd::crowd(&mut rig, 10_000, 100, quiet_channel);
    let each = (live_bytes() - before) as f64 / million as f64;
    println!("{:48} {each:8.1}", "all of 10,000 clients with 100 each");
}
