//! What `/metrics` says besides the counters: which build this is, how busy each loop has been, and what the system says of
//! the process, under the names that Prometheus knows.

use std::fmt::Write;

use crate::hub::Hub;
use crate::process::Process;
use crate::sync::Ordering;

/// Adds all of it to `text`.
pub(super) fn push(text: &mut String, hub: &Hub) {
    metric(text, "fanfare_build_info", "gauge", "The version that runs; always 1.");
    let _ = writeln!(text, "fanfare_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    let help = "Time that a loop was not asleep; its rate is the loop's busy share, from 0 to 1.";
    metric(text, "fanfare_loop_busy_seconds_total", "counter", help);
    for (index, desk) in hub.desks().iter().enumerate() {
        let seconds = desk.traffic.busy_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let _ = writeln!(text, "fanfare_loop_busy_seconds_total{{loop=\"{index}\"}} {seconds}");
    }
    push_process(text, &Process::look());
}

fn push_process(text: &mut String, process: &Process) {
    let whole = |value: Option<u64>| value.map(|value| value.to_string());
    let metrics = [
        (
            "cpu_seconds_total",
            "counter",
            "Processor time of all threads.",
            Some(process.cpu.as_secs_f64().to_string()),
        ),
        ("resident_memory_bytes", "gauge", "Memory that is resident.", whole(process.resident_bytes)),
        ("virtual_memory_bytes", "gauge", "Memory that is addressed.", whole(process.virtual_bytes)),
        ("open_fds", "gauge", "Descriptors that are open.", whole(process.open_descriptors)),
        ("max_fds", "gauge", "Descriptors that may be open.", whole(process.descriptors_max)),
        (
            "start_time_seconds",
            "gauge",
            "When the process began, in seconds since 1970.",
            process.started_unix_s.map(|seconds| seconds.to_string()),
        ),
    ];
    for (name, kind, help, value) in metrics {
        let Some(value) = value else { continue };
        let name = format!("process_{name}");
        metric(text, &name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    }
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_system_does_not_say_is_left_out() {
        let unknown = Process {
            cpu: Duration::from_millis(1500),
            resident_bytes: None,
            virtual_bytes: None,
            open_descriptors: Some(7),
            descriptors_max: None,
            started_unix_s: None,
        };
        let mut text = String::new();
        push_process(&mut text, &unknown);
        assert_eq!(
            text,
            "# HELP process_cpu_seconds_total Processor time of all threads.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total 1.5\n\
             # HELP process_open_fds Descriptors that are open.\n\
             # TYPE process_open_fds gauge\n\
             process_open_fds 7\n"
        );
    }
}
