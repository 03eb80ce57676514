//! What `/metrics` says besides the counters: which build this is, how busy each loop has been, what the system says of the
//! process, under the names that Prometheus knows, and how long events take.

use crate::hub::Hub;
use crate::latency::{Pace, Snapshot, Transport, Way};
use crate::metrics::{Family, Kind, Sample, Value};
use crate::process::Process;
use crate::sync::Ordering;

/// Adds all of it to `families`.
pub(super) fn push(families: &mut Vec<Family>, hub: &Hub) {
    let version =
        Sample { labels: vec![("version", env!("CARGO_PKG_VERSION").to_owned())], value: Value::Whole(1) };
    families.push(family(
        "fanfare_build_info",
        Kind::Gauge,
        "The version that runs; always 1.",
        vec![version],
    ));
    let help = "Time that a loop was not asleep; its rate is the loop's busy share, from 0 to 1.";
    let busy = hub.desks().iter().enumerate().map(|(index, desk)| {
        let seconds = desk.traffic.busy_ns.load(Ordering::Relaxed) as f64 / 1e9;
        Sample { labels: vec![("loop", index.to_string())], value: Value::Real(seconds) }
    });
    families.push(family("fanfare_loop_busy_seconds_total", Kind::Counter, help, busy.collect()));
    push_process(families, &Process::look());
    push_latency(families, &hub.latency());
}

fn push_process(families: &mut Vec<Family>, process: &Process) {
    let metrics = [
        (
            "process_cpu_seconds_total",
            Kind::Counter,
            "Processor time of all threads.",
            Some(Value::Real(process.cpu.as_secs_f64())),
        ),
        (
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Memory that is resident.",
            process.resident_bytes.map(Value::Whole),
        ),
        (
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Memory that is addressed.",
            process.virtual_bytes.map(Value::Whole),
        ),
        (
            "process_open_fds",
            Kind::Gauge,
            "Descriptors that are open.",
            process.open_descriptors.map(Value::Whole),
        ),
        (
            "process_max_fds",
            Kind::Gauge,
            "Descriptors that may be open.",
            process.descriptors_max.map(Value::Whole),
        ),
        (
            "process_start_time_seconds",
            Kind::Gauge,
            "When the process began, in seconds since 1970.",
            process.started_unix_s.map(Value::Real),
        ),
    ];
    let known = metrics.into_iter().filter_map(|(name, kind, help, value)| Some((name, kind, help, value?)));
    families.extend(known.map(|(name, kind, help, value)| Family::single(name, kind, help, value)));
}

fn push_latency(families: &mut Vec<Family>, snapshot: &Snapshot) {
    let mut ways = Vec::new();
    for transport in Transport::ALL {
        for pace in Pace::ALL {
            let way = Way { transport, pace };
            let counts = snapshot.merged(|series| series.way == way);
            let labels = vec![("transport", transport.name().to_owned()), ("state", pace.name().to_owned())];
            ways.push(Sample { labels, value: Value::Histogram(counts) });
        }
    }
    let help =
        "From accepting an event to the return of the write that handed it to the kernel, per delivery.";
    families.push(family("fanfare_publish_to_socket_seconds", Kind::Histogram, help, ways));
    let help = "From accepting a publish to the return of the write with its answer.";
    let answers = Value::Histogram(snapshot.answers().clone());
    families.push(Family::single("fanfare_publish_to_answer_seconds", Kind::Histogram, help, answers));
    let help = "From before the first write of an event to after the last, of a sample of events.";
    let spans = Value::Histogram(snapshot.spans().clone());
    families.push(Family::single("fanfare_event_span_seconds", Kind::Histogram, help, spans));
}

fn family(name: &str, kind: Kind, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name: name.to_owned(), kind, help, samples }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Format, write};

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
        let mut families = Vec::new();
        push_process(&mut families, &unknown);
        assert_eq!(
            String::from_utf8(write(&families, Format::Text)).unwrap(),
            "# HELP process_cpu_seconds_total Processor time of all threads.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total 1.5\n\
             # HELP process_open_fds Descriptors that are open.\n\
             # TYPE process_open_fds gauge\n\
             process_open_fds 7\n"
        );
    }
}
