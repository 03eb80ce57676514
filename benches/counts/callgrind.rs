//! Instructions of a piece of work, counted by valgrind in a process of its own.

use std::hint::black_box;
use std::process::{Command, Stdio};

/// The option by which this program knows that it is the one that is counted.
pub(crate) const CHILD: &str = "--counted";

/// Something that is counted.
pub(crate) struct Metric {
    /// What it is called in the record.
    pub(crate) name: &'static str,
    /// Prepares, says [`begin_metric`], does some of it inside [`counted_work`], and returns how often it was done.
    pub(crate) run: Box<dyn Fn() -> usize>,
}

impl Metric {
    pub(crate) fn new(name: &'static str, run: impl Fn() -> usize + 'static) -> Metric {
        Metric { name, run: Box::new(run) }
    }
}

/// Instructions each time, by name.
pub(crate) type Counts = Vec<(String, f64)>;

/// What was counted before belongs to the metric before. Callgrind knows this by its name.
#[inline(never)]
pub(crate) fn begin_metric() {
    // Something that has to be done, or no call would be left.
    black_box(1);
}

/// All that is counted. Callgrind knows this by its name.
#[inline(never)]
pub(crate) fn counted_work(work: &mut dyn FnMut()) {
    work();
    // So that the call of the work is not the last thing here, which would make it a jump.
    black_box(1);
}

/// The side that is counted: does everything, and says how often.
pub(crate) fn run(metrics: &[Metric]) {
    for metric in metrics {
        println!("{} = {}", metric.name, (metric.run)());
    }
}

/// The side that counts: runs this program once more, which is told to do `what`.
pub(crate) fn count(what: &str) -> Counts {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = tempfile::tempdir().expect("there is a place for counts");
    let file = folder.path().join("counts");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .args(["--toggle-collect=*counted_work*", "--dump-before=*begin_metric*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(own)
        .args([CHILD, what])
        .stdin(Stdio::null())
        .output()
        .expect("valgrind is installed (Debian package valgrind)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("it says names and numbers");
    let done: Vec<(&str, usize)> = said
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, times)| (name, times.parse().expect("a number")))
        .collect();
    assert!(!done.is_empty(), "nothing was counted: {said}");
    let count_of = |(at, &(name, times)): (usize, &(&str, usize))| {
        // Each metric is dumped when the next begins, the last one at the end; the first dump comes before all of them.
        let is_last = at + 1 == done.len();
        let dump = if is_last { file.clone() } else { file.with_extension((at + 2).to_string()) };
        let text = std::fs::read_to_string(&dump).expect("valgrind dumps each metric");
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total: u64 = total.and_then(|count| count.trim().parse().ok()).expect("a dump has a total");
        assert!(0 < total, "{name} was not counted");
        (name.to_owned(), total as f64 / times as f64)
    };
    done.iter().enumerate().map(count_of).collect()
}
