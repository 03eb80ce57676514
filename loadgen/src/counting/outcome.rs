//! What one run says: figures, whether they stand, and the table and JSON for them.

use std::fmt::Write;

use serde::Serialize;

use super::client::{Findings, Snapshot};
use super::figure::{Figures, KINDS};
use super::shape::{Load, Shape};
use super::usage::Usage;
use crate::histogram::{Latency, Summary};

/// One run against one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// What the result is of.
    kind: &'static str,
    /// The program's version.
    version: &'static str,
    /// Unix seconds at the end of the run.
    finished_at: u64,
    /// The profile's name.
    pub(crate) server: String,
    /// What was done.
    load: String,
    /// Bytes of an event's body as it was published.
    pub(crate) body_bytes: usize,
    /// What it means.
    pub(crate) verdict: Verdict,
    /// The exit code of the verdict.
    exit_code: u8,
    /// Why the figures do not stand for the server.
    pub(crate) invalid: Vec<String>,
    /// What the server did not do that it must.
    pub(crate) failures: Vec<String>,
    /// What else a reader should know.
    pub(crate) notes: Vec<String>,
    /// What was measured.
    pub(crate) figures: Figures,
    /// From when events were due to their receipt; of `publish` from request to answer, of `connect` and `idle` from
    /// connecting to the open stream.
    latency_ms: Summary,
    counts: Counts,
    /// The client itself.
    pub(crate) generator: Generator,
    /// Others on the machine.
    pub(crate) neighbours: Neighbours,
    /// The same latencies, to be put together with those of other runs.
    #[serde(skip)]
    pub(crate) latency: Latency,
}

/// What a run means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All that was expected came, and the client was not what limited it.
    Pass,
    /// The client was the bottleneck, or nothing was measured.
    Invalid,
    /// Somebody did not get what they must have, or got more.
    Failed,
    /// Somebody ended it early.
    Interrupted,
}

#[derive(Clone, Debug, Serialize)]
struct Counts {
    published: u64,
    refused: u64,
    unanswered: u64,
    delivered: u64,
    /// Of these, those that were told by their bytes alone.
    skipped: u64,
    missed: u64,
    surplus: u64,
    incomplete_subscribers: u64,
    other_messages: u64,
    gaps: u64,
    gap_samples: Vec<String>,
    measured_s: f64,
    connecting_s: f64,
    switches_voluntary: u64,
    switches_involuntary: u64,
}

/// How near the client was to its own limit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Generator {
    /// Its share of one processor.
    pub(crate) busy_share: f64,
    /// The share of the time in which it could have run and waited for its processor.
    pub(crate) waited_share: f64,
    /// What it could have done, in the unit of the result: the result, divided by its share of a processor. Where the client
    /// sets the pace itself what it waited counts as used.
    pub(crate) ceiling_per_s: f64,
    /// That in parts of the result.
    pub(crate) ceiling_ratio: f64,
    /// How late it published, in milliseconds: 99 % are no later.
    pub(crate) lag_p99_ms: f64,
}

/// What others did on the machine meanwhile.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Neighbours {
    /// Processors that neither the server nor the client used, on average.
    pub(crate) busy_cores: f64,
    /// Processors that another machine took, on average.
    pub(crate) steal_cores: f64,
}

impl Neighbours {
    /// Whether others had a tenth of a core or more.
    pub(crate) fn are_heavy(&self) -> bool {
        HEAVY_CORES <= self.busy_cores + self.steal_cores
    }
}

impl Verdict {
    /// The program's exit code for it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Invalid => 4,
            Verdict::Failed => 5,
            Verdict::Interrupted => 130,
        }
    }

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Invalid => "INVALID",
            Verdict::Failed => "FAILED",
            Verdict::Interrupted => "INTERRUPTED",
        }
    }
}

impl Outcome {
    /// What `findings` of `load` against the server called `server` say.
    pub(crate) fn new(server: &str, load: &Load, body_bytes: usize, findings: Findings) -> Outcome {
        let (from, to) = findings.measured;
        let wall_s = to.at_ns.saturating_sub(from.at_ns) as f64 / 1e9;
        let latency = match load.shape {
            Shape::Publish { .. } | Shape::Connect | Shape::Idle => findings.service.clone(),
            _ => findings.counter.latency.clone(),
        };
        let figures = figures(load, &findings, &latency, wall_s);
        let result = ["deliveries_per_s", "publishes_per_s", "connects_per_s"];
        let result = result.iter().find_map(|name| figures.get(name)).copied().unwrap_or(0.0);
        let generator = generator(load, &findings, result, wall_s);
        let neighbours = neighbours(&from, &to, wall_s);
        let failures = failures(&findings);
        let invalid =
            if findings.interrupted { Vec::new() } else { invalid(load, &generator, result, wall_s) };
        let verdict = match (failures.is_empty(), findings.interrupted, invalid.is_empty()) {
            (_, true, _) => Verdict::Interrupted,
            (false, ..) => Verdict::Failed,
            (true, false, false) => Verdict::Invalid,
            (true, false, true) => Verdict::Pass,
        };
        let (before, after) = (from.server.unwrap_or_default(), to.server.unwrap_or_default());
        Outcome {
            kind: "count",
            version: env!("CARGO_PKG_VERSION"),
            finished_at: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            server: server.to_owned(),
            load: load.describe(),
            body_bytes,
            verdict,
            exit_code: verdict.exit_code(),
            invalid,
            failures,
            notes: notes(load, &findings, &generator, &neighbours, &latency),
            figures,
            latency_ms: latency.summary(),
            counts: Counts {
                published: findings.published,
                refused: findings.refused,
                unanswered: findings.unanswered,
                delivered: findings.counter.events,
                skipped: findings.counter.skipped,
                missed: findings.missed,
                surplus: findings.surplus,
                incomplete_subscribers: findings.incomplete,
                other_messages: findings.counter.others,
                gaps: findings.counter.gaps,
                gap_samples: findings.counter.gap_samples,
                measured_s: wall_s,
                connecting_s: findings.connecting_ns as f64 / 1e9,
                switches_voluntary: after.voluntary_switches.saturating_sub(before.voluntary_switches),
                switches_involuntary: after.involuntary_switches.saturating_sub(before.involuntary_switches),
            },
            generator,
            neighbours,
            latency,
        }
    }

    /// The table of one run.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "server     {}", self.server)?;
        writeln!(out, "load       {}, bodies of {} B", self.load, self.body_bytes)?;
        let counts = &self.counts;
        writeln!(
            out,
            "counted    {:.2} s   {} published, {} refused, {} delivered, {} missed, {} too many   {} gaps, {} other messages",
            counts.measured_s,
            counts.published,
            counts.refused,
            counts.delivered,
            counts.missed,
            counts.surplus,
            counts.gaps,
            counts.other_messages,
        )?;
        for kind in KINDS {
            if let Some(value) = self.figures.get(kind.name) {
                writeln!(out, "  {:<24}{:>16} {}", kind.name, shown(*value), kind.unit)?;
            }
        }
        writeln!(
            out,
            "generator  {:.0} % of a core, so at most {}/s ({:.1} × this result)   published {:.3} ms late at p99",
            self.generator.busy_share * 100.0,
            shown(self.generator.ceiling_per_s),
            self.generator.ceiling_ratio,
            self.generator.lag_p99_ms,
        )?;
        let Neighbours { busy_cores, steal_cores } = self.neighbours;
        writeln!(out, "neighbours {busy_cores:.2} cores busy, {steal_cores:.2} stolen")?;
        for note in &self.notes {
            writeln!(out, "note       {note}")?;
        }
        for sample in &counts.gap_samples {
            writeln!(out, "gap        {sample}")?;
        }
        for failure in &self.failures {
            writeln!(out, "FAILED     {failure}")?;
        }
        for reason in &self.invalid {
            writeln!(out, "INVALID    {reason}")?;
        }
        writeln!(out, "{}", self.verdict.word())
    }
}

/// A number for people, with four significant digits or so.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 100.0 => format!("{value:.2}"),
        size if size < 1_000.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let (sign, digits) =
                digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .map(|group| str::from_utf8(group).unwrap_or_default())
                .collect();
            format!("{sign}{}", groups.join(","))
        }
    }
}

fn figures(load: &Load, findings: &Findings, latency: &Latency, wall_s: f64) -> Figures {
    let (from, to) = findings.measured;
    let mut figures = Figures::new();
    let mut put = |name: &'static str, value: f64| {
        if value.is_finite() {
            figures.insert(name, value);
        }
    };
    let usage = from.server.zip(to.server);
    let cpu_ns = usage.map(|(before, after)| after.cpu_ns.saturating_sub(before.cpu_ns) as f64);
    if let Some(cpu_ns) = cpu_ns {
        put("server_busy", cpu_ns / 1e9 / wall_s);
    }
    let per = |count: u64| count as f64 / wall_s;
    match load.shape {
        Shape::Connect => {
            let connects = to.opened - from.opened;
            put("connects_per_s", per(connects));
            cpu_ns.into_iter().for_each(|ns| put("cpu_per_connect", ns / 1e3 / connects as f64));
        }
        Shape::Idle => {
            if let Some((empty, held)) = findings.empty.zip(findings.connected) {
                let growth = held.resident_bytes as f64 - empty.resident_bytes as f64;
                put("rss_per_connection", growth / f64::from(load.subscribers));
            }
        }
        _ => {
            let published = to.answered - from.answered;
            put("publishes_per_s", per(published));
            let events = to.events - from.events;
            if 0 < load.subscribers {
                put("deliveries_per_s", per(events));
                put("messages_per_read", events as f64 / (to.readings - from.readings) as f64);
                put("bytes_per_delivery", (to.wire_bytes - from.wire_bytes) as f64 / events as f64);
                let read = events - (to.skipped - from.skipped);
                put("payload_bytes", (to.payload_bytes - from.payload_bytes) as f64 / read as f64);
                if let Some((before, after)) = usage {
                    let switches =
                        |usage: Usage| (usage.voluntary_switches + usage.involuntary_switches) as f64;
                    put("switches_per_delivery", (switches(after) - switches(before)) / events as f64);
                }
                if let Some(ns) = cpu_ns {
                    put("cpu_per_delivery", ns / 1e3 / events as f64);
                    put("deliveries_per_cpu_s", events as f64 / (ns / 1e9));
                }
            } else if let Some(ns) = cpu_ns {
                put("cpu_per_publish", ns / 1e3 / published as f64);
            }
            if let Some((connected, end)) = findings.connected.zip(to.server) {
                put("rss_growth", end.resident_bytes as f64 - connected.resident_bytes as f64);
            }
        }
    }
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        // A quantile says something only when several values lie behind it.
        if 2.0 <= latency.count() as f64 * (1.0 - quantile) {
            put(name, latency.quantile_ns(quantile) as f64 / 1e6);
        }
    }
    figures
}

fn generator(load: &Load, findings: &Findings, result: f64, wall_s: f64) -> Generator {
    let (from, to) = findings.measured;
    let share = |ns: u64| ns as f64 / 1e9 / wall_s.max(1e-9);
    let busy_share = share(to.cpu_ns.saturating_sub(from.cpu_ns));
    let waited_share = share(to.waited_ns.saturating_sub(from.waited_ns));
    let is_timed = matches!(load.shape, Shape::Steady { .. } | Shape::Burst { .. } | Shape::Idle);
    let used_share = if is_timed { busy_share } else { busy_share + waited_share };
    let ceiling_ratio = 1.0 / used_share.max(1e-9);
    Generator {
        busy_share,
        waited_share,
        ceiling_per_s: result * ceiling_ratio,
        ceiling_ratio,
        lag_p99_ms: findings.lag.quantile_ns(0.99) as f64 / 1e6,
    }
}

fn neighbours(from: &Snapshot, to: &Snapshot, wall_s: f64) -> Neighbours {
    let Some((before, after)) = from.machine.zip(to.machine) else { return Neighbours::default() };
    let server_ns =
        from.server.zip(to.server).map_or(0, |(before, after)| after.cpu_ns.saturating_sub(before.cpu_ns));
    let ours_ns = server_ns + to.cpu_ns.saturating_sub(from.cpu_ns);
    let others_ns = after.busy_ns.saturating_sub(before.busy_ns).saturating_sub(ours_ns);
    let cores = |ns: u64| ns as f64 / 1e9 / wall_s.max(1e-9);
    Neighbours {
        busy_cores: cores(others_ns),
        steal_cores: cores(after.steal_ns.saturating_sub(before.steal_ns)),
    }
}

fn failures(findings: &Findings) -> Vec<String> {
    let mut failures = findings.failures.clone();
    if 0 < findings.incomplete {
        failures.insert(
            0,
            format!(
                "{} subscribers did not get exactly what was published: {} deliveries are missing, {} are too many",
                findings.incomplete, findings.missed, findings.surplus
            ),
        );
    }
    if 0 < findings.unanswered {
        failures.push(format!("{} events were never answered", findings.unanswered));
    }
    failures
}

fn invalid(load: &Load, generator: &Generator, result: f64, wall_s: f64) -> Vec<String> {
    let mut invalid = Vec::new();
    if wall_s <= 0.0 || (result == 0.0 && load.shape != Shape::Idle) {
        invalid.push("nothing was measured".to_owned());
    }
    if generator.ceiling_ratio < load.ceiling {
        invalid.push(format!(
            "the generator was the bottleneck: it was busy {:.0} % of the time and waited for its processor {:.0} %, so its own ceiling of {}/s is only {:.2} × the result",
            generator.busy_share * 100.0,
            generator.waited_share * 100.0,
            shown(generator.ceiling_per_s),
            generator.ceiling_ratio,
        ));
    }
    invalid
}

fn notes(
    load: &Load,
    findings: &Findings,
    generator: &Generator,
    neighbours: &Neighbours,
    latency: &Latency,
) -> Vec<String> {
    let mut notes = Vec::new();
    if 0 < findings.refused {
        notes.push(format!("the server refused {} events, which are not expected of it", findings.refused));
    }
    let p99_ms = latency.quantile_ns(0.99) as f64 / 1e6;
    let is_timed = matches!(load.shape, Shape::Steady { .. } | Shape::Burst { .. });
    if is_timed && p99_ms * LAG_SHARE_MAX < generator.lag_p99_ms {
        notes.push(format!(
            "of the p99 of {p99_ms:.3} ms up to {:.3} ms are the client's own lateness in publishing",
            generator.lag_p99_ms
        ));
    }
    let (from, to) = findings.measured;
    if let Some((before, after)) = from.server.zip(to.server) {
        let wall_ns = to.at_ns.saturating_sub(from.at_ns).max(1) as f64;
        let share = after.waited_ns.saturating_sub(before.waited_ns) as f64 / wall_ns;
        if WAITED_SHARE_MAX < share {
            notes.push(format!("the server waited for its processor {:.0} % of the time", share * 100.0));
        }
    }
    if WAITED_SHARE_MAX < generator.waited_share {
        notes.push(format!(
            "the client waited for its processor {:.0} % of the time",
            generator.waited_share * 100.0
        ));
    }
    if neighbours.are_heavy() {
        notes.push("others used the machine at the same time".to_owned());
    }
    if findings.measured.0.server.is_none() {
        notes.push("the server's process is not known (--pid), so its cost is not".to_owned());
    }
    notes
}

const WAITED_SHARE_MAX: f64 = 0.1;
const LAG_SHARE_MAX: f64 = 0.1;
const HEAVY_CORES: f64 = 0.1;
