//! What the system says of this process, for whoever measures it.
//!
//! # Bounds     a look is a few system calls. Where the kernel does not tell the number of open descriptors at once, which it
//!   does since Linux 6.2, they are counted up to `DESCRIPTORS_COUNTED_MAX`
//! # Why not …  at each turn of a loop: nobody needs to know it but who asks

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What the system says of this process; nothing where it does not say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Processor time of all threads, since the process began.
    pub cpu: Duration,
    /// Memory that is resident, in bytes.
    pub resident_bytes: Option<u64>,
    /// Memory that is addressed, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Descriptors that are open.
    pub open_descriptors: Option<u64>,
    /// Descriptors that may be open; nothing for any number.
    pub descriptors_max: Option<u64>,
    /// When the process began, in seconds since 1970.
    pub started_unix_s: Option<f64>,
}

impl Process {
    /// Asks the system.
    #[must_use]
    pub fn look() -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let memory = fs::read_to_string("/proc/self/statm").ok();
        let page = |at: usize| Some(field(memory.as_deref()?, at)? * rustix::param::page_size() as u64);
        Process {
            cpu: Duration::new(cpu.tv_sec.unsigned_abs(), cpu.tv_nsec.unsigned_abs() as u32),
            resident_bytes: page(1),
            virtual_bytes: page(0),
            open_descriptors: open_descriptors(),
            descriptors_max: getrlimit(Resource::Nofile).current,
            started_unix_s: started_unix_s(),
        }
    }
}

/// Descriptors that are counted one by one, at most: with very many that would take long.
const DESCRIPTORS_COUNTED_MAX: usize = 4096;

fn open_descriptors() -> Option<u64> {
    let told = fs::metadata("/proc/self/fd").ok()?.len();
    if told != 0 {
        return Some(told);
    }
    // The one that is open to look is none of them.
    let counted = fs::read_dir("/proc/self/fd").ok()?.take(DESCRIPTORS_COUNTED_MAX + 1).count() - 1;
    (counted < DESCRIPTORS_COUNTED_MAX).then_some(counted as u64)
}

/// The start stands in ticks since the system's own, which is told by a clock and stays the same text from look to look.
fn started_unix_s() -> Option<f64> {
    static STARTED: OnceLock<Option<f64>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        let up = uptime().as_secs_f64();
        let started = started_ticks(&stat)? as f64 / rustix::param::clock_ticks_per_second() as f64;
        Some(((now - up + started) * 100.0).round() / 100.0)
    })
}

#[cfg(target_os = "linux")]
fn uptime() -> Duration {
    let up = clock_gettime(ClockId::Boottime);
    Duration::new(up.tv_sec.unsigned_abs(), up.tv_nsec.unsigned_abs() as u32)
}

/// Nobody asks: there is no `/proc`.
#[cfg(not(target_os = "linux"))]
fn uptime() -> Duration {
    Duration::ZERO
}

/// The 22nd field; the second is a name in brackets, with anything in it.
fn started_ticks(stat: &str) -> Option<u64> {
    field(stat.rsplit_once(')')?.1, 22 - 3)
}

fn field(text: &str, at: usize) -> Option<u64> {
    text.split_ascii_whitespace().nth(at)?.parse().ok()
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_a_past() {
        let before = Process::look();
        let files: Vec<fs::File> = (0..10).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let after = Process::look();
        // Other tests of this process open and close theirs.
        assert!(10 <= after.open_descriptors.unwrap() && files.len() == 10);
        assert!(after.open_descriptors.unwrap() <= after.descriptors_max.unwrap_or(u64::MAX));
        assert!(before.cpu <= after.cpu && after.cpu != Duration::ZERO);
        assert!(1 << 20 <= after.resident_bytes.unwrap() && after.resident_bytes < after.virtual_bytes);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let started = after.started_unix_s.unwrap();
        // Two readings of two clocks, and ticks of ten milliseconds.
        assert!(started < now + 0.5 && now - 86_400.0 < started, "{started} {now}");
        assert_eq!(before.started_unix_s, after.started_unix_s);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_moves_no_field() {
        let stat = "7 (a ) 1 2 (b) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 4711 23";
        assert_eq!(started_ticks(stat), Some(4711));
        assert_eq!(started_ticks("7 (a) S 4"), None);
        assert_eq!(started_ticks(""), None);
    }
}
