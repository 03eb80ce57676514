//! What a process has used, and how busy the whole machine was, as the system counts it.
//!
//! # Contract       counts only grow, so that two readings make a difference; what the system does not tell is `None`
//! # Why not …      getrusage: it knows nothing of a process that is not our child, and our children only once they are over

use std::fs;
use std::path::Path;

use serde::Serialize;

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time of all its threads that live, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// How long they could have run and waited for a processor, in nanoseconds.
    pub(crate) waited_ns: u64,
    /// How often a thread of it went to sleep.
    pub(crate) voluntary_switches: u64,
    /// How often a thread of it was interrupted for another.
    pub(crate) involuntary_switches: u64,
    /// Its resident memory now, in bytes.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Of the process `pid`; `None` if there is none that lives, or the system does not tell.
    pub(crate) fn of(pid: u32) -> Option<Usage> {
        let mut usage = Usage::default();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            // A thread that ended meanwhile has no files any more.
            let path = thread.path();
            let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
            usage.voluntary_switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            usage.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            if let Some((cpu_ns, waited_ns)) = schedule(&path.join("schedstat")) {
                usage.cpu_ns += cpu_ns;
                usage.waited_ns += waited_ns;
            } else if let Ok(text) = fs::read_to_string(path.join("stat")) {
                usage.cpu_ns += stat_cpu_ns(&text).unwrap_or(0);
            }
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // One that has died, and that its parent has not waited for, is there still and has no memory.
        usage.resident_bytes = field(&status, "VmRSS:")? * 1024;
        Some(usage)
    }
}

/// How long the calling thread could have run and waited for a processor, in nanoseconds; 0 where the system does not tell.
pub(crate) fn thread_waited_ns() -> u64 {
    schedule(Path::new("/proc/thread-self/schedstat")).map_or(0, |(_, waited_ns)| waited_ns)
}

/// How busy all processors were since the machine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Busy {
    /// Processor time of everybody, in nanoseconds, to a hundredth of a second.
    pub(crate) busy_ns: u64,
    /// Time that another machine had, in nanoseconds.
    pub(crate) steal_ns: u64,
}

impl Busy {
    /// Now; `None` where the system does not tell.
    pub(crate) fn now() -> Option<Busy> {
        parse_busy(&fs::read_to_string("/proc/stat").ok()?)
    }
}

/// What the machine is, for results.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    processor: String,
    /// Processors that we may use.
    cores: usize,
    /// Name and version of the kernel.
    kernel: String,
    /// Memory, in bytes.
    memory_bytes: Option<u64>,
}

impl Machine {
    /// This one, as far as the system tells.
    pub(crate) fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Machine {
            processor: processor.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal:").map(|kibibytes| kibibytes * 1024),
        }
    }
}

/// The number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// How long a thread ran, and waited to run, in nanoseconds.
fn schedule(path: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(path).ok()?;
    let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// User and system time in `/proc/…/stat`, whose second field may itself have spaces and brackets.
fn stat_cpu_ns(text: &str) -> Option<u64> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) * TICK_NS)
}

fn parse_busy(text: &str) -> Option<Busy> {
    let numbers: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let [user, nice, system, _idle, _wait, interrupt, soft, rest @ ..] = numbers.as_slice() else {
        return None;
    };
    Some(Busy {
        busy_ns: (user + nice + system + interrupt + soft) * TICK_NS,
        steal_ns: rest.first().copied().unwrap_or(0) * TICK_NS,
    })
}

/// The kernel shows user processes a hundred ticks a second, whatever its own clock is.
const TICK_NS: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_texts_are_read() {
        let busy = parse_busy("cpu  10 1 5 900 3 2 4 7 0 0\ncpu0 1 1 1 1\n").expect("numbers");
        assert_eq!((busy.busy_ns, busy.steal_ns), (22 * TICK_NS, 7 * TICK_NS));
        assert_eq!(parse_busy("cpu x"), None);
        let stat = "7 (a) b) S 1 1 1 0 -1 4 0 0 0 0 30 12 0 0 20 0 1 0 5";
        assert_eq!(stat_cpu_ns(stat), Some(42 * TICK_NS));
        let status = "Name:\ta\nVmRSS:\t  12 kB\nvoluntary_ctxt_switches:\t3\n";
        assert_eq!((field(status, "VmRSS:"), field(status, "VmHWM:")), (Some(12), None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_this_process_uses_grows() {
        let before = Usage::of(std::process::id()).expect("usage");
        let mut sum = 0u64;
        while Usage::of(std::process::id()).expect("usage").cpu_ns <= before.cpu_ns {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(0 < before.resident_bytes);
        assert!(Usage::of(u32::MAX).is_none());
        assert!(thread_waited_ns() <= Usage::of(std::process::id()).expect("usage").waited_ns);
        assert!(Busy::now().is_some_and(|busy| 0 < busy.busy_ns));
    }
}
