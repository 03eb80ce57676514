//! What a run tells: the table for people, the JSON for programs, the verdict for both.

mod objectives;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use self::objectives::Figures;

use crate::audit::Audit;
use crate::cost::Costs;
use crate::foreign::Foreign;
use crate::gauge::Measured;
use crate::histogram::{DeliveryLatencies, Latency, Summary};
use crate::objective::{Figure, Judged};
use crate::options::{OnSlow, Rate, Transport, Verify, Via};
use crate::plan::{Plan, Role};
use crate::publishing::Published;
use crate::worker::Findings;

/// The whole result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The program's version.
    version: &'static str,
    /// Unix seconds at the end of the run.
    finished_at: u64,
    target: String,
    /// The command.
    role: &'static str,
    verdict: Verdict,
    exit_code: u8,
    /// Why the figures do not stand for the server, if they do not.
    invalid: Vec<String>,
    notes: Vec<String>,
    setting: Setting,
    published: PublishedFigures,
    delivered: DeliveredFigures,
    verification: Audit,
    latency_ms: Vec<Row>,
    /// What the run had to reach, and whether it did.
    objectives: Vec<Judged>,
    /// What the run cost, where anybody tells.
    costs: Option<Costs>,
    generator: Generator,
    #[serde(skip)]
    end_to_end: Latency,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All is well.
    Pass,
    /// The figures do not stand for the server: the generator was the bottleneck, or some of the load never was.
    Invalid,
    /// The server lost, repeated, reordered or changed something.
    Failed,
    /// An objective was not reached, and nothing else was wrong.
    Missed,
    /// Somebody ended it early; what there was until then is well.
    Interrupted,
}

#[derive(Debug, Serialize)]
struct Setting {
    connections: usize,
    websocket: usize,
    sse: usize,
    slow: usize,
    channels: usize,
    publishers: u32,
    publish_via: &'static str,
    /// What the server speaks.
    protocol: String,
    /// Events per second, the most where it changes; absent at saturation.
    rate: Option<f64>,
    arrival: String,
    /// Absent where the rate does not change.
    stages: Option<String>,
    subscriptions_each: u32,
    filter: Option<f64>,
    skewed: bool,
    slow_bytes_per_s: Option<u64>,
    churn_per_s: f64,
    storm: usize,
    storm_after_s: Option<f64>,
    encrypted: bool,
    outstanding: Option<usize>,
    batch: u32,
    size: String,
    warmup_s: f64,
    duration_s: f64,
    /// Absent where the server was not asked for anything.
    on_slow: Option<&'static str>,
    resume_churn_per_s: f64,
    seed: u64,
    threads: u32,
    verify: &'static str,
    hold: bool,
}

#[derive(Debug, Default, Serialize)]
struct PublishedFigures {
    sent: u64,
    accepted: u64,
    refused: u64,
    retried: u64,
    unanswered: u64,
    unsent: u64,
    /// Of the measured part.
    accepted_per_s: f64,
    /// Mean bytes of an event's data.
    data_bytes_mean: f64,
}

#[derive(Debug, Default, Serialize)]
struct DeliveredFigures {
    total: u64,
    foreign: u64,
    /// Of the measured part.
    measured: u64,
    per_s: f64,
    bytes_per_s: f64,
    /// Received of what was expected, told gaps not counted.
    reach: Option<f64>,
    connected: f64,
    closed_by_server: u64,
    churned: u64,
    replaced: u64,
    stormed: u64,
    given_up: usize,
    /// Connections that failed, by reason, where that is what is counted.
    refusals: BTreeMap<String, u64>,
    open_at_end: u64,
    pings: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Debug, Default, Serialize)]
struct Generator {
    /// Processor share of the busiest loop of subscribers, of 1.
    cpu_share_max: f64,
    cpu_share_publishing: f64,
    turn_ms_max: f64,
    resident_bytes: Option<u64>,
}

/// All that a report is made of.
#[derive(Debug)]
pub(crate) struct Material<'a> {
    /// The run.
    pub(crate) plan: &'a Plan,
    /// What came of publishing, unless nothing was published.
    pub(crate) published: Option<&'a Published>,
    /// What the loops found.
    pub(crate) findings: &'a [Findings],
    /// The comparison.
    pub(crate) audit: Audit,
    /// How long connecting took.
    pub(crate) connecting_s: f64,
    /// Whether somebody ended the run early.
    pub(crate) interrupted: bool,
    /// Whether it was ended early because an objective was missed for too long.
    pub(crate) is_called_off: bool,
    /// What it cost.
    pub(crate) costs: Option<Costs>,
    /// Resident memory while all were connected.
    pub(crate) resident_bytes: Option<u64>,
    /// What else there is to say.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Works everything out.
    pub(crate) fn new(material: Material<'_>) -> Report {
        let Material { plan, published, findings, mut audit, .. } = material;
        let mut latencies = DeliveryLatencies::new();
        findings.iter().for_each(|one| latencies.merge(&one.latencies));
        let mut end_to_end = Latency::new();
        latencies.end_to_end.iter().for_each(|latency| end_to_end.merge(latency));
        let span = audit.span();
        let measured = measured(&latencies, &end_to_end, published, &span);
        let rows = rows(&measured);
        let published_figures = published.map_or_else(PublishedFigures::default, published_figures);
        let delivered = delivered_figures(findings, &audit, material.connecting_s);
        let figures = Figures {
            latencies: &measured,
            published: &published_figures,
            delivered: &delivered,
            subscribers: plan.seats.len(),
            audit: &audit,
        };
        let objectives = figures.judge(&plan.objectives);
        let generator = generator(findings, published, material.resident_bytes);
        let bottlenecks = bottlenecks(plan, &generator, published, &end_to_end);
        let mut notes = material.notes;
        notes.extend(findings.iter().flat_map(|one| one.abandoned.iter().cloned()));
        notes.extend(published.iter().flat_map(|published| published.notes.iter().cloned()));
        let mut invalid = omissions(plan, findings, published, &audit, material.interrupted);
        if plan.role == Role::Connect {
            let is_bounded = plan.objectives.iter().any(|objective| *objective.figure() == Figure::Connected);
            // Whether all are connected is what is asked here, and no condition of something else.
            let missing = std::mem::take(&mut invalid);
            audit.failures.extend(missing.into_iter().filter(|_| !is_bounded));
        }
        if plan.lenient || plan.rate == Rate::Saturation {
            notes.extend(bottlenecks);
        } else {
            invalid.extend(bottlenecks);
        }
        let is_reached = objectives.iter().all(|judged| judged.met);
        let verdict = match (audit.is_passed(), material.interrupted, invalid.is_empty()) {
            (false, ..) => Verdict::Failed,
            (true, true, _) if material.is_called_off => Verdict::Missed,
            (true, true, _) => Verdict::Interrupted,
            (true, false, false) => Verdict::Invalid,
            (true, false, true) if !is_reached => Verdict::Missed,
            (true, false, true) => Verdict::Pass,
        };
        if material.is_called_off {
            notes.push("the run was called off: an objective was missed for too long".to_owned());
        }
        Report {
            version: env!("CARGO_PKG_VERSION"),
            finished_at: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            target: plan.target.authority.clone(),
            role: plan.role.name(),
            verdict,
            exit_code: verdict.exit_code(),
            invalid,
            notes,
            setting: Setting::new(plan),
            published: published_figures,
            delivered,
            verification: audit,
            latency_ms: rows,
            objectives,
            costs: material.costs,
            generator,
            end_to_end,
        }
    }

    /// How it ended.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the run had to reach, and whether it did.
    pub(crate) fn objectives(&self) -> &[Judged] {
        &self.objectives
    }

    /// Why the figures do not stand for the server, if they do not.
    pub(crate) fn invalid(&self) -> &[String] {
        &self.invalid
    }

    /// Of the events that were due the part that was accepted.
    pub(crate) fn accepted_share(&self) -> f64 {
        let due = self.published.sent + self.published.unsent;
        self.published.accepted as f64 / due.max(1) as f64
    }

    /// The program's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// From the time an event was due to its receipt, over both transports.
    pub(crate) fn end_to_end(&self) -> &Latency {
        &self.end_to_end
    }
}

impl Verdict {
    fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Invalid => 4,
            Verdict::Failed => 5,
            Verdict::Missed => 99,
            Verdict::Interrupted => 130,
        }
    }
}

impl Setting {
    fn new(plan: &Plan) -> Setting {
        let of = |transport: Transport| plan.seats.iter().filter(|seat| seat.transport == transport).count();
        Setting {
            connections: plan.seats.len(),
            websocket: of(Transport::WebSocket),
            sse: of(Transport::Sse),
            slow: plan.seats.iter().filter(|seat| seat.slow).count(),
            channels: plan.channels.len(),
            publishers: plan.publishers,
            publish_via: match plan.via {
                Via::Http => "http",
                Via::WebSocket => "ws",
            },
            rate: match plan.rate {
                Rate::PerSecond(rate) => Some(rate),
                Rate::Saturation => None,
            },
            protocol: plan.foreign.as_ref().map_or("fanfare", Foreign::name).to_owned(),
            arrival: plan.arrival.name(),
            stages: plan.has_stages.then(|| plan.stages.to_string()),
            subscriptions_each: plan.subscriptions,
            filter: plan.filter,
            skewed: plan.shares.is_some(),
            slow_bytes_per_s: plan.slow_bytes_per_s,
            churn_per_s: plan.turnover_rate,
            storm: plan.seats.iter().filter(|seat| seat.storm).count(),
            storm_after_s: plan.storm_after_ns.map(seconds),
            encrypted: plan.target.tls.is_some(),
            outstanding: (plan.rate == Rate::Saturation).then_some(plan.outstanding),
            batch: plan.batch,
            size: plan.size.to_string(),
            warmup_s: seconds(plan.warmup_ns),
            duration_s: seconds(plan.duration_ns),
            on_slow: plan.on_slow.map(OnSlow::name),
            resume_churn_per_s: plan.churn_rate,
            seed: plan.seed,
            threads: plan.threads,
            verify: match plan.verify {
                Verify::None => "none",
                Verify::Order => "order",
                Verify::Gaps => "gaps",
                Verify::Full => "full",
            },
            hold: plan.hold,
        }
    }
}

fn published_figures(published: &Published) -> PublishedFigures {
    let tally = &published.tally;
    let measured = published.measured.unwrap_or_default();
    PublishedFigures {
        sent: tally.sent,
        accepted: tally.accepted,
        refused: tally.refused,
        retried: tally.retried,
        unanswered: tally.unanswered,
        unsent: published.unsent,
        accepted_per_s: per_second(measured.events, measured.wall_ns),
        data_bytes_mean: tally.data_bytes as f64 / (tally.sent + tally.retried).max(1) as f64,
    }
}

fn delivered_figures(findings: &[Findings], audit: &Audit, connecting_s: f64) -> DeliveredFigures {
    let mut figures = DeliveredFigures { connected: connecting_s, ..DeliveredFigures::default() };
    for one in findings {
        let measured = one.measured.unwrap_or_default();
        figures.total += one.tally.delivered;
        figures.foreign += one.tally.foreign;
        figures.measured += measured.events;
        figures.per_s += per_second(measured.events, measured.wall_ns);
        figures.bytes_per_s += per_second(measured.bytes, measured.wall_ns);
        figures.closed_by_server += one.closed;
        figures.churned += one.churned;
        figures.replaced += one.replaced;
        for (reason, count) in &one.refusals {
            *figures.refusals.entry(reason.clone()).or_default() += count;
        }
        figures.stormed += one.stormed;
        figures.given_up += one.abandoned.len();
        figures.open_at_end += one.open;
        figures.pings += one.tally.pings;
    }
    figures.reach = (0 < audit.expected).then(|| audit.received as f64 / audit.expected as f64);
    figures
}

/// All histograms that hold something, by name.
fn measured<'a>(
    latencies: &'a DeliveryLatencies,
    end_to_end: &'a Latency,
    published: Option<&'a Published>,
    span: &'a Latency,
) -> Vec<(&'static str, &'a Latency)> {
    let all = [
        ("e2e", Some(end_to_end)),
        ("ws", Some(&latencies.end_to_end[Transport::WebSocket as usize])),
        ("sse", Some(&latencies.end_to_end[Transport::Sse as usize])),
        ("service", Some(&latencies.service)),
        ("ack", published.map(|published| &published.ack)),
        ("span", Some(span)),
        ("handshake", Some(&latencies.handshake)),
        ("reconnect", Some(&latencies.reconnect)),
        ("send lag", published.map(|published| &published.send_lag)),
    ];
    let all = all.into_iter().filter_map(|(name, latency)| Some((name, latency?)));
    all.filter(|(_, latency)| 0 < latency.count()).collect()
}

fn rows(measured: &[(&'static str, &Latency)]) -> Vec<Row> {
    measured.iter().map(|(name, latency)| Row { name, summary: latency.summary() }).collect()
}

fn generator(findings: &[Findings], published: Option<&Published>, resident_bytes: Option<u64>) -> Generator {
    let loops: Vec<Measured> = findings.iter().filter_map(|one| one.measured).collect();
    let publishing = published.and_then(|published| published.measured);
    let turn_ns = loops.iter().chain(&publishing).map(|measured| measured.turn_ns_max).max();
    Generator {
        cpu_share_max: loops.iter().map(Measured::cpu_share).fold(0.0, f64::max),
        cpu_share_publishing: publishing.map_or(0.0, |measured| measured.cpu_share()),
        turn_ms_max: turn_ns.unwrap_or_default() as f64 / 1e6,
        resident_bytes,
    }
}

/// What the figures leave out, because it did not happen.
fn omissions(
    plan: &Plan,
    findings: &[Findings],
    published: Option<&Published>,
    audit: &Audit,
    interrupted: bool,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let (unsent, unanswered) =
        published.map_or((0, 0), |published| (published.unsent, published.tally.unanswered));
    if 0 < unsent && !interrupted {
        reasons.push(format!("{unsent} events were due and never sent, and the latencies leave them out"));
    }
    let vanished = unanswered.saturating_sub(audit.resolved);
    if 0 < vanished && !interrupted && plan.verify != Verify::None {
        reasons.push(format!("{vanished} events were sent, but neither answered nor delivered"));
    }
    let seats = findings.iter().map(|one| one.accounts.len() as u64).sum::<u64>();
    let open = findings.iter().map(|one| one.open).sum::<u64>();
    if open < seats {
        reasons.push(format!(
            "{} of {} subscribers were not connected at the end",
            seats - open,
            plan.seats.len()
        ));
    }
    reasons
}

/// In what the generator itself, and not the server, set the figures.
fn bottlenecks(
    plan: &Plan,
    generator: &Generator,
    published: Option<&Published>,
    end_to_end: &Latency,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if plan.hold && plan.role != Role::Subscribe {
        return reasons;
    }
    for (what, share) in
        [("a loop of subscribers", generator.cpu_share_max), ("publishing", generator.cpu_share_publishing)]
    {
        if CPU_SHARE_MAX < share {
            reasons.push(format!(
                "the generator was the bottleneck: {what} used {:.0} % of a processor",
                share * 100.0
            ));
        }
    }
    if TURN_MS_MAX < generator.turn_ms_max {
        reasons.push(format!(
            "the generator was the bottleneck: one turn of a loop took {:.0} ms",
            generator.turn_ms_max
        ));
    }
    if let Some(published) = published
        && plan.rate != Rate::Saturation
        && 0 < end_to_end.count()
    {
        let (lag, whole) = (published.send_lag.quantile_ns(0.99), end_to_end.quantile_ns(0.99));
        if (whole as f64) * SEND_LAG_SHARE_MAX < lag as f64 {
            reasons.push(format!(
                "the generator was late itself: p99 of the send lag is {:.3} ms, of the end-to-end latency {:.3} ms",
                lag as f64 / 1e6,
                whole as f64 / 1e6
            ));
        }
    }
    reasons
}

fn per_second(count: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { count as f64 / seconds(ns) }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Above this share of a processor a thread queues work for itself.
const CPU_SHARE_MAX: f64 = 0.9;
const TURN_MS_MAX: f64 = 100.0;
const SEND_LAG_SHARE_MAX: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Command, Flags};
    use crate::publisher::PressTally;
    use crate::record::Record;
    use clap::Parser;

    fn plan(rate: &str) -> Plan {
        let flags =
            Flags::try_parse_from(["loadgen", "run", "http://127.0.0.1:9", "-R", rate]).expect("parsed");
        let Command::Run(flags) = flags.command else { panic!("another command") };
        Plan::new(*flags).expect("a plan")
    }

    fn published(send_lag_ms: u64) -> Published {
        let mut send_lag = Latency::new();
        send_lag.record(send_lag_ms * 1_000_000);
        Published {
            record: Record::new(0),
            ack: Latency::new(),
            send_lag,
            tally: PressTally::default(),
            measured: None,
            unsent: 0,
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_generator_says_when_it_was_the_bottleneck_itself() {
        let check = |rate: &str, generator: Generator, send_lag_ms: u64, expected: &[&str]| {
            let mut end_to_end = Latency::new();
            end_to_end.record(20_000_000);
            let reasons = bottlenecks(&plan(rate), &generator, Some(&published(send_lag_ms)), &end_to_end);
            assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
            for (reason, part) in reasons.iter().zip(expected) {
                assert!(reason.contains(part), "{reason}");
            }
        };
        let well = || Generator { cpu_share_max: 0.9, turn_ms_max: 100.0, ..Generator::default() };
        check("100", well(), 1, &[]);
        check("100", Generator { cpu_share_max: 0.91, ..well() }, 1, &["a loop of subscribers used 91 %"]);
        check("100", Generator { cpu_share_publishing: 1.0, ..well() }, 1, &["publishing used 100 %"]);
        check("100", Generator { turn_ms_max: 101.0, ..well() }, 1, &["one turn of a loop took 101 ms"]);
        check("100", well(), 3, &["p99 of the send lag is 3.0"]);
        check("max", well(), 3, &[]);
    }

    #[test]
    fn a_bottleneck_is_a_verdict_at_a_fixed_rate_and_a_note_at_saturation() {
        let check = |rate: &str, lenient: bool, verdict: Verdict, code: u8| {
            let mut plan = plan(rate);
            plan.lenient = lenient;
            let measured = Measured { wall_ns: 100, cpu_ns: 99, ..Measured::default() };
            let published = Published { measured: Some(measured), ..published(0) };
            let report = Report::new(Material {
                plan: &plan,
                published: Some(&published),
                findings: &[],
                audit: Audit::default(),
                connecting_s: 0.0,
                interrupted: false,
                is_called_off: false,
                costs: None,
                resident_bytes: None,
                notes: Vec::new(),
            });
            assert_eq!((report.verdict, report.exit_code()), (verdict, code));
            let told = report.table(false).contains("the generator was the bottleneck: publishing used 99 %");
            assert!(told, "{}", report.table(false));
        };
        check("100", false, Verdict::Invalid, 4);
        check("100", true, Verdict::Pass, 0);
        check("max", false, Verdict::Pass, 0);
    }
}
