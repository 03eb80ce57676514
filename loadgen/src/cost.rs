//! What a run cost: the server's processor time and memory, and what else the machine was doing meanwhile.
//!
//! # Contract       three readings, before anybody connects, at the start of the measured part and at its end; what the
//! system or the server does not tell is left out, never guessed

use std::io::{self, ErrorKind};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counting::usage::{Busy, Usage};
use crate::http;
use crate::machine::now_ns;
use crate::report::table::binary;
use crate::target::Target;

/// Where the server's figures come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Nowhere.
    Unknown,
    /// The system, of this process.
    Process(u32),
    /// The server's own metrics, at this path of this target.
    Metrics(Box<Target>, String),
}

/// One reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    at_ns: u64,
    busy: Option<Busy>,
    own: Option<Usage>,
    server: Option<ServerUsage>,
    delivered: u64,
}

/// What a server has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ServerUsage {
    /// Processor time of all its threads, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Its resident memory, in bytes.
    pub(crate) resident_bytes: u64,
}

/// What came of the readings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Costs {
    /// Processors that others than the generator and the server kept busy, if the server's share is known; otherwise others
    /// than the generator.
    neighbours_cpu: Option<f64>,
    /// Processors that another machine had meanwhile.
    stolen_cpu: Option<f64>,
    /// How often a thread of the generator was interrupted for another, per second.
    involuntary_switches_per_s: Option<f64>,
    /// Processors that the server kept busy.
    server_cpu: Option<f64>,
    /// Its processor time for each delivery, in microseconds.
    server_cpu_us_per_delivery: Option<f64>,
    /// Its memory at the end, in bytes.
    server_resident_bytes: Option<u64>,
    /// By how much its memory grew while the subscribers connected, for each of them, in bytes.
    server_bytes_per_connection: Option<f64>,
}

/// The name of a figure, its value if anybody told, and how it is shown.
pub(crate) type CostFigure = (&'static str, Option<f64>, fn(f64) -> String);

impl Source {
    /// Reads everything now, when so many events have been delivered.
    ///
    /// # Errors
    /// The server's metrics cannot be read; without a source there are none to read.
    pub(crate) fn read(&self, delivered: u64) -> io::Result<Reading> {
        let server = self.ask()?;
        Ok(Reading { server, ..Reading::without_server(delivered) })
    }

    fn ask(&self) -> io::Result<Option<ServerUsage>> {
        Ok(match self {
            Source::Unknown => None,
            Source::Process(pid) => {
                let usage =
                    Usage::of(*pid).ok_or_else(|| io::Error::other(format!("there is no process {pid}")))?;
                Some(ServerUsage { cpu_ns: usage.cpu_ns, resident_bytes: usage.resident_bytes })
            }
            Source::Metrics(target, path) => Some(parse(&fetch(target, path)?).ok_or_else(|| {
                io::Error::other(
                    "the metrics have no process_cpu_seconds_total and process_resident_memory_bytes",
                )
            })?),
        })
    }
}

impl Reading {
    /// What this machine tells now, when so many events have been delivered; nothing of the server.
    pub(crate) fn without_server(delivered: u64) -> Reading {
        let own = Usage::of(std::process::id());
        Reading { at_ns: now_ns(), busy: Busy::now(), own, server: None, delivered }
    }
}

impl Costs {
    /// What lies between the readings, `subscribers` having connected between the first and the second.
    pub(crate) fn between(first: &Reading, start: &Reading, end: &Reading, subscribers: u64) -> Costs {
        let wall_ns = end.at_ns.saturating_sub(start.at_ns).max(1) as f64;
        let busy = start.busy.zip(end.busy);
        let own = start.own.zip(end.own);
        let server = start.server.zip(end.server);
        let server_ns = server.map(|(start, end)| end.cpu_ns.saturating_sub(start.cpu_ns) as f64);
        let delivered = end.delivered.saturating_sub(start.delivered);
        let grown = first.server.zip(start.server).filter(|_| 0 < subscribers).map(|(first, start)| {
            (start.resident_bytes as f64 - first.resident_bytes as f64) / subscribers as f64
        });
        Costs {
            neighbours_cpu: busy.zip(own).map(|((busy, busy_end), (own, own_end))| {
                let all_ns = busy_end.busy_ns.saturating_sub(busy.busy_ns) as f64;
                let own_ns = own_end.cpu_ns.saturating_sub(own.cpu_ns) as f64;
                ((all_ns - own_ns - server_ns.unwrap_or(0.0)) / wall_ns).max(0.0)
            }),
            stolen_cpu: busy.map(|(start, end)| end.steal_ns.saturating_sub(start.steal_ns) as f64 / wall_ns),
            involuntary_switches_per_s: own.map(|(start, end)| {
                end.involuntary_switches.saturating_sub(start.involuntary_switches) as f64 / wall_ns * 1e9
            }),
            server_cpu: server_ns.map(|ns| ns / wall_ns),
            server_cpu_us_per_delivery: server_ns
                .filter(|_| 0 < delivered)
                .map(|ns| ns / 1e3 / delivered as f64),
            server_resident_bytes: end.server.map(|server| server.resident_bytes),
            server_bytes_per_connection: grown,
        }
    }

    /// All figures, each with its name and how it is shown.
    pub(crate) fn figures(&self) -> [CostFigure; 7] {
        let percent = |share: f64| format!("{:.0} % of a processor", share * 100.0);
        // The server's share is taken off where it is known.
        let neighbours = if self.server_cpu.is_some() { "others" } else { "others and the server" };
        [
            ("server", self.server_cpu, percent),
            ("server, µs a delivery", self.server_cpu_us_per_delivery, |us| format!("{us:.2}")),
            ("server's memory", self.server_resident_bytes.map(|bytes| bytes as f64), binary),
            ("server's memory a connection", self.server_bytes_per_connection, |bytes| {
                format!("{bytes:.0} B")
            }),
            (neighbours, self.neighbours_cpu, percent),
            ("stolen by other machines", self.stolen_cpu, percent),
            ("interruptions of the generator", self.involuntary_switches_per_s, |rate| {
                format!("{rate:.0}/s")
            }),
        ]
    }

    /// The lines that a report shows.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(cpu) = self.server_cpu {
            let mut line = format!("server     cpu {:.0} %", cpu * 100.0);
            if let Some(us) = self.server_cpu_us_per_delivery {
                line.push_str(&format!(", {us:.2} µs a delivery"));
            }
            if let Some(bytes) = self.server_resident_bytes {
                line.push_str(&format!("   memory {:.1} MiB", bytes as f64 / 1_048_576.0));
            }
            if let Some(bytes) = self.server_bytes_per_connection {
                line.push_str(&format!(", {bytes:.0} B a connection"));
            }
            lines.push(line);
        }
        if let Some(neighbours) = self.neighbours_cpu {
            let whom = if self.server_cpu.is_some() { "others" } else { "others and the server" };
            let stolen = self.stolen_cpu.unwrap_or(0.0) * 100.0;
            let switches = self.involuntary_switches_per_s.unwrap_or(0.0);
            lines.push(format!(
                "machine    {whom} used {:.0} % of a processor   stolen {stolen:.0} %   the generator was interrupted {switches:.0} times/s",
                neighbours * 100.0
            ));
        }
        lines
    }
}

fn fetch(target: &Target, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = target.connect(PATIENCE)?;
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
    http::write_common(target, &mut request);
    request.extend_from_slice(b"\r\n");
    let (head, mut got) = http::ask(&mut *stream, &request)?;
    if head.status != 200 {
        return Err(io::Error::other(format!("the metrics were answered {}", head.status)));
    }
    let mut piece = [0; 16_384];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => got.extend_from_slice(&piece[..count]),
            // Some end an encrypted connection without saying so.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        if ANSWER_BYTES_MAX < got.len() {
            return Err(io::Error::other("the metrics are longer than 16 MiB"));
        }
    }
    Ok(got)
}

/// Finds the process's two figures in the text of Prometheus; chunks around it do no harm, since lines are whole in them.
fn parse(text: &[u8]) -> Option<ServerUsage> {
    let value = |name: &str| {
        let mut lines = text.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
        let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '{']))?;
        let number = rest.rsplit_once('}').map_or(rest, |(_, number)| number);
        number.split_whitespace().next()?.parse::<f64>().ok().filter(|number| 0.0 <= *number)
    };
    Some(ServerUsage {
        cpu_ns: (value("process_cpu_seconds_total")? * 1e9) as u64,
        resident_bytes: value("process_resident_memory_bytes")? as u64,
    })
}

const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_s_figures_are_found_in_metrics() {
        let check = |text: &str, expected: Option<(u64, u64)>| {
            let got = parse(text.as_bytes()).map(|usage| (usage.cpu_ns, usage.resident_bytes));
            assert_eq!(got, expected, "{text}");
        };
        let whole = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\nx 1\nprocess_resident_memory_bytes 2048\n";
        check(whole, Some((1_500_000_000, 2_048)));
        check(
            "process_cpu_seconds_total{a=\"b c\"} 2\nprocess_resident_memory_bytes 1e3 17000\n",
            Some((2_000_000_000, 1_000)),
        );
        check("process_cpu_seconds_total 1.5\n", None);
        check("process_cpu_seconds_total x\nprocess_resident_memory_bytes 1\n", None);
    }

    #[test]
    fn costs_are_differences_and_what_is_not_told_is_left_out() {
        let reading = |at_s: u64, server: Option<(u64, u64)>, delivered: u64| Reading {
            at_ns: at_s * 1_000_000_000,
            busy: Some(Busy { busy_ns: at_s * 1_500_000_000, steal_ns: 0 }),
            own: Some(Usage {
                cpu_ns: at_s * 500_000_000,
                involuntary_switches: 7 * at_s,
                ..Usage::default()
            }),
            server: server.map(|(cpu_ns, resident_bytes)| ServerUsage { cpu_ns, resident_bytes }),
            delivered,
        };
        let first = reading(0, Some((0, 1_000)), 0);
        let (start, end) =
            (reading(1, Some((0, 51_000)), 0), reading(3, Some((1_000_000_000, 60_000)), 1_000_000));
        let costs = Costs::between(&first, &start, &end, 100);
        assert_eq!((costs.neighbours_cpu, costs.server_cpu), (Some(0.5), Some(0.5)));
        assert_eq!(costs.server_cpu_us_per_delivery, Some(1.0));
        assert_eq!(
            (costs.server_bytes_per_connection, costs.server_resident_bytes),
            (Some(500.0), Some(60_000))
        );
        assert_eq!(costs.involuntary_switches_per_s, Some(7.0));
        let costs = Costs::between(&first, &reading(1, None, 0), &reading(3, None, 5), 100);
        assert_eq!((costs.neighbours_cpu, costs.server_cpu_us_per_delivery), (Some(1.0), None));
        assert_eq!(costs.lines().len(), 1);
    }
}
