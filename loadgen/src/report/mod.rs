//! What a run tells: the table for people, files for programs, pages for both; and all of these again from what was saved.
//!
//! # Contract       a report is all that is known of a run: it is saved as `result.json`, and whatever is made of it is made
//! of that, so that a saved run can be told in every form later

pub(crate) mod agents;
mod comparison;
mod csv;
mod headline;
mod hlog;
pub(crate) mod html;
mod objectives;
pub(crate) mod outputs;
pub(crate) mod saved;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use self::agents::AgentFigures;
use self::objectives::Figures;

use crate::audit::Audit;
use crate::cost::Costs;
use crate::environment::Environment;
use crate::foreign::Foreign;
use crate::gauge::Measured;
use crate::histogram::{DeliveryLatencies, Latency};
use crate::load::stages::Stages;
use crate::machine::now_ns;
use crate::objective::{Figure, Judged};
use crate::options::{OnSlow, Rate, Transport, Verify, Via};
use crate::plan::{Plan, Role};
use crate::publishing::Published;
use crate::timeline::{self, END_TO_END, INTERVALS_MAX, Interval, Kind, Row, Timeline};
use crate::worker::Findings;

/// The whole result of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The program's version.
    version: String,
    /// What the run was called, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Unix seconds at the start of the measured part.
    #[serde(default)]
    begun_at: f64,
    /// Unix seconds at the end of the run.
    finished_at: u64,
    target: String,
    /// The command.
    #[serde(default = "whole")]
    role: String,
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
    #[serde(default)]
    objectives: Vec<Judged>,
    /// What the run cost, where anybody tells.
    costs: Option<Costs>,
    generator: Generator,
    /// The processes that drove the subscribers, if it was not the one that reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    agents: Vec<AgentFigures>,
    #[serde(default)]
    environment: Environment,
    /// Length of an interval.
    #[serde(default)]
    interval_s: f64,
    /// The run over time.
    #[serde(default)]
    intervals: Vec<Interval>,
    /// The histograms of the measured part, by kind, in nanoseconds, as HdrHistogram encodes them.
    #[serde(default)]
    histograms: BTreeMap<String, String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Setting {
    connections: usize,
    websocket: usize,
    sse: usize,
    slow: usize,
    channels: usize,
    publishers: u32,
    publish_via: String,
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
    on_slow: Option<String>,
    resume_churn_per_s: f64,
    seed: u64,
    threads: u32,
    verify: String,
    hold: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DeliveredFigures {
    total: u64,
    foreign: u64,
    /// Of the measured part.
    measured: u64,
    /// How long that was.
    measured_s: f64,
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

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Generator {
    /// Processor share of the busiest loop of subscribers, of 1.
    cpu_share_max: f64,
    cpu_share_publishing: f64,
    /// The share of the time in which a loop of subscribers ran or could have run, of the one that most wanted to.
    wanted_share_max: f64,
    wanted_share_publishing: f64,
    turn_ms_max: f64,
    resident_bytes: Option<u64>,
    /// Whether it, and not the server, set the figures.
    was_bottleneck: bool,
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
    /// The run over time, without the spans; nothing if no event was ever due.
    pub(crate) timeline: Option<Timeline>,
    /// Where the measured part began, in nanoseconds of the monotonic clock.
    pub(crate) measured_from_ns: u64,
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
    /// What agents did.
    pub(crate) agents: Vec<AgentFigures>,
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
        let kinds = kinds(&latencies, published, &audit);
        let mut rows: Vec<Row> = kinds
            .iter()
            .map(|(kind, latency)| Row { name: kind.name().to_owned(), summary: latency.summary() })
            .collect();
        if 0 < end_to_end.count() {
            rows.insert(0, Row { name: END_TO_END.to_owned(), summary: end_to_end.summary() });
        }
        let published_figures = published.map_or_else(PublishedFigures::default, published_figures);
        let delivered = delivered_figures(findings, &audit, material.connecting_s);
        let figures = Figures {
            end_to_end: &end_to_end,
            kinds: &kinds,
            published: &published_figures,
            delivered: &delivered,
            subscribers: plan.seats.len(),
            audit: &audit,
        };
        let objectives = figures.judge(&plan.objectives);
        let mut generator = generator(findings, published, material.resident_bytes);
        let bottlenecks = bottlenecks(plan, &generator, &material.agents, published, &end_to_end);
        let mut notes = material.notes;
        notes.extend(findings.iter().flat_map(|one| one.abandoned.iter().cloned()));
        notes.extend(published.iter().flat_map(|published| published.notes.iter().cloned()));
        let mut interval_s = 0.0;
        let mut intervals = Vec::new();
        if let Some(mut timeline) = material.timeline {
            timeline.add_spans(audit.spans());
            let (interval_ns, coarsened) = timeline.interval_ns();
            interval_s = seconds(interval_ns);
            if coarsened {
                notes.push(format!(
                    "intervals became {interval_s} s long: {INTERVALS_MAX} are the most that are kept"
                ));
            }
            intervals = timeline.intervals();
        }
        let mut invalid = omissions(plan, findings, published, &audit, material.interrupted);
        if plan.role == Role::Connect {
            let is_bounded = plan.objectives.iter().any(|objective| *objective.figure() == Figure::Connected);
            // Whether all are connected is what is asked here, and no condition of something else.
            let missing = std::mem::take(&mut invalid);
            audit.failures.extend(missing.into_iter().filter(|_| !is_bounded && !material.interrupted));
        }
        if plan.lenient || plan.rate == Rate::Saturation {
            notes.extend(bottlenecks);
        } else {
            generator.was_bottleneck = !bottlenecks.is_empty();
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
        let finished_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_begun_s = seconds(now_ns().saturating_sub(material.measured_from_ns));
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: plan.outputs.name.clone(),
            begun_at: finished_at.as_secs_f64() - since_begun_s,
            finished_at: finished_at.as_secs(),
            target: plan.target.authority.clone(),
            role: plan.role.name().to_owned(),
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
            agents: material.agents,
            environment: Environment::look(),
            interval_s,
            intervals,
            histograms: kinds
                .into_iter()
                .map(|(kind, latency)| (kind.name().to_owned(), latency.encode()))
                .collect(),
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

    /// Whether the generator was the bottleneck, and that is not only noted.
    pub(crate) fn is_generator_bound(&self) -> bool {
        self.generator.was_bottleneck
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

    /// The latencies of this name, or of both transports together for [`END_TO_END`]; `None` if there were none.
    ///
    /// # Errors
    /// The saved text is no histogram.
    pub(crate) fn latency(&self, name: &str) -> Result<Option<Latency>, String> {
        timeline::latency(&self.histograms, name)
    }

    /// What the run is called where no file lends its name.
    fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.target.clone())
    }

    /// Whether anything was published.
    fn publishes(&self) -> bool {
        !self.setting.hold
    }

    /// Whether events were awaited, and connections not only made and held.
    fn receives(&self) -> bool {
        match &*self.role {
            "sub" => true,
            role => role != "pub" && !self.setting.hold,
        }
    }

    /// What the run did in an interval, in a word.
    fn phase_of(&self, interval: &Interval) -> &'static str {
        // Where connecting is what is measured, intervals count from its beginning.
        let is_connecting = self.role == Role::Connect.name();
        match interval.start_s - if is_connecting { self.delivered.connected } else { 0.0 } {
            start_s if start_s < -EDGE_S && is_connecting => "connecting",
            start_s if start_s < -EDGE_S => "warm-up",
            start_s if start_s < self.delivered.measured_s - EDGE_S => "measured",
            _ => "drain",
        }
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

    /// In one word.
    fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Invalid => "INVALID",
            Verdict::Failed => "FAILED",
            Verdict::Missed => "MISSED",
            Verdict::Interrupted => "INTERRUPTED",
        }
    }
}

/// What load the run makes, in words.
pub(crate) fn load(plan: &Plan) -> String {
    Setting::new(plan).load(plan.role.name())
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
                Via::Http => "http".to_owned(),
                Via::WebSocket => "ws".to_owned(),
            },
            rate: match plan.rate {
                Rate::PerSecond(rate) => Some(rate),
                Rate::Saturation => None,
            },
            protocol: plan.foreign.as_ref().map_or("fanfare", Foreign::name).to_owned(),
            arrival: plan.arrival.name(),
            stages: plan.asked_stages.as_ref().map(Stages::to_string),
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
            on_slow: plan.on_slow.map(|on_slow| OnSlow::name(on_slow).to_owned()),
            resume_churn_per_s: plan.churn_rate,
            seed: plan.seed,
            threads: plan.threads,
            verify: match plan.verify {
                Verify::None => "none",
                Verify::Order => "order",
                Verify::Gaps => "gaps",
                Verify::Full => "full",
            }
            .to_owned(),
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
        figures.measured_s = figures.measured_s.max(seconds(measured.wall_ns));
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

/// What was measured, in the order of a report; what was not is left out.
fn kinds(
    latencies: &DeliveryLatencies,
    published: Option<&Published>,
    audit: &Audit,
) -> Vec<(Kind, Latency)> {
    let of = |kind: Kind| match kind {
        Kind::WebSocket => Some(latencies.end_to_end[Transport::WebSocket as usize].clone()),
        Kind::Sse => Some(latencies.end_to_end[Transport::Sse as usize].clone()),
        Kind::Service => Some(latencies.service.clone()),
        Kind::Ack => published.map(|published| published.ack.clone()),
        Kind::Span => Some(audit.span()),
        Kind::Handshake => Some(latencies.handshake.clone()),
        Kind::Reconnect => Some(latencies.reconnect.clone()),
        Kind::Resumed => Some(latencies.resumed.clone()),
        Kind::SendLag => published.map(|published| published.send_lag.clone()),
    };
    let kinds = Kind::ALL.into_iter().filter_map(|kind| Some((kind, of(kind)?)));
    kinds.filter(|(_, latency)| 0 < latency.count()).collect()
}

fn generator(findings: &[Findings], published: Option<&Published>, resident_bytes: Option<u64>) -> Generator {
    let loops: Vec<Measured> = findings.iter().flat_map(Findings::parts).collect();
    let publishing = published.and_then(|published| published.measured);
    let turn_ns = loops.iter().chain(&publishing).map(|measured| measured.turn_ns_max).max();
    Generator {
        cpu_share_max: loops.iter().map(Measured::cpu_share).fold(0.0, f64::max),
        cpu_share_publishing: publishing.map_or(0.0, |measured| measured.cpu_share()),
        wanted_share_max: loops.iter().map(Measured::wanted_share).fold(0.0, f64::max),
        wanted_share_publishing: publishing.map_or(0.0, |measured| measured.wanted_share()),
        turn_ms_max: turn_ns.unwrap_or_default() as f64 / 1e6,
        resident_bytes,
        was_bottleneck: false,
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
    let stormed = findings.iter().map(|one| one.stormed).sum::<u64>();
    if plan.seats.iter().any(|seat| seat.storm) && stormed == 0 && !interrupted {
        reasons.push("the storm never came: the run had ended, or nobody was there to be cut off".to_owned());
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
    agents: &[AgentFigures],
    published: Option<&Published>,
    end_to_end: &Latency,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if plan.hold && !matches!(plan.role, Role::Subscribe | Role::Connect) {
        return reasons;
    }
    let of_agent = |one: &AgentFigures| {
        (format!("agent {}", one.address), one.cpu_share_max, one.wanted_share_max, one.turn_ms_max)
    };
    let publishing = published.and_then(|published| published.measured).unwrap_or_default();
    let (used, wanted, turn_ms) = match agents {
        [] => (generator.cpu_share_max, generator.wanted_share_max, generator.turn_ms_max),
        _ => (0.0, 0.0, publishing.turn_ns_max as f64 / 1e6),
    };
    let own = ("the generator".to_owned(), used, wanted, turn_ms);
    let loops: Vec<_> = std::iter::once(own).chain(agents.iter().map(of_agent)).collect();
    for (who, used, wanted, _) in &loops {
        reasons.extend(want_of_processor(who, "a loop of subscribers", *used, *wanted));
    }
    let (used, wanted) = (generator.cpu_share_publishing, generator.wanted_share_publishing);
    reasons.extend(want_of_processor("the generator", "publishing", used, wanted));
    for (who, _, _, turn_ms) in &loops {
        if TURN_MS_MAX < *turn_ms {
            reasons.push(format!("{who} was the bottleneck: one turn of a loop took {turn_ms:.0} ms"));
        }
    }
    if let Some(published) = published
        && plan.rate != Rate::Saturation
        && 0 < end_to_end.count()
    {
        let (lag, whole) = (published.send_lag.quantile_ns(0.99), end_to_end.quantile_ns(0.99));
        // Where more than one in a hundred waited for the server, the longest lags are the server's.
        let is_own = published.tally.held_back * 100 <= published.send_lag.count();
        if is_own && (whole as f64) * SEND_LAG_SHARE_MAX < lag as f64 {
            reasons.push(format!(
                "the generator was late itself: p99 of the send lag is {:.3} ms, of the end-to-end latency {:.3} ms",
                lag as f64 / 1e6,
                whole as f64 / 1e6
            ));
        }
    }
    reasons
}

/// Why somebody was the bottleneck who used so much of a processor, and had use for so much, if he was.
fn want_of_processor(who: &str, what: &str, used: f64, wanted: f64) -> Option<String> {
    if CPU_SHARE_MAX < used {
        Some(format!("{who} was the bottleneck: {what} used {:.0} % of a processor", used * 100.0))
    } else if CPU_SHARE_MAX < wanted {
        Some(format!(
            "{who} was the bottleneck: {what} had something to do for {:.0} % of the time, and a processor for less",
            wanted * 100.0
        ))
    } else {
        None
    }
}

/// The role of results that do not state it.
fn whole() -> String {
    Role::Whole.name().to_owned()
}

fn per_second(count: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { count as f64 / seconds(ns) }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Above this share of a processor, or of the time with something to do, a thread queues work for itself.
const CPU_SHARE_MAX: f64 = 0.9;
/// Closer than this an interval's edge is that of the phase.
const EDGE_S: f64 = 0.01;
const TURN_MS_MAX: f64 = 100.0;
const SEND_LAG_SHARE_MAX: f64 = 0.1;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::flags::{Command, Flags};
    use crate::histogram::Summary;
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

    /// A result as it may have been saved: a second of warm-up and two of measuring.
    pub(super) fn sample(name: &str) -> Report {
        let latency = |ms: &[f64]| {
            let mut latency = Latency::new();
            ms.iter().for_each(|ms| latency.record((ms * 1e6) as u64));
            latency
        };
        let row = |name: &str, latency: &Latency| Row { name: name.to_owned(), summary: latency.summary() };
        let (ws, sse, lag) = (latency(&[1.0, 2.0]), latency(&[3.0]), latency(&[0.1]));
        let mut both = ws.clone();
        both.merge(&sse);
        let texts = [("ws", &ws), ("sse", &sse), ("send lag", &lag)];
        let histograms: BTreeMap<String, String> =
            texts.iter().map(|(name, latency)| ((*name).to_owned(), latency.encode())).collect();
        let interval = |start: f64, is_measured: bool| Interval {
            start_s: start,
            length_s: 1.0,
            accepted: 100,
            delivered: 1_000,
            bytes: 50_000,
            open: 1_000,
            histograms: if is_measured { histograms.clone() } else { BTreeMap::new() },
            latency_ms: if is_measured { vec![row("e2e", &both), row("ws", &ws)] } else { Vec::new() },
            ..Interval::default()
        };
        let summary = Summary { count: 100_000, p99_ms: 2.1, ..both.summary() };
        Report {
            version: "1.2.3".to_owned(),
            name: Some(name.to_owned()),
            begun_at: 1_790_000_000.25,
            finished_at: 1_790_000_002,
            target: "127.0.0.1:8080".to_owned(),
            role: whole(),
            verdict: Verdict::Pass,
            exit_code: 0,
            invalid: Vec::new(),
            notes: Vec::new(),
            setting: Setting {
                connections: 1_000,
                rate: Some(100.0),
                verify: "full".to_owned(),
                ..Setting::default()
            },
            published: PublishedFigures::default(),
            delivered: DeliveredFigures { total: 3_000, measured_s: 2.0, ..DeliveredFigures::default() },
            verification: Audit::default(),
            latency_ms: vec![Row { name: "e2e".to_owned(), summary }, row("send lag", &lag)],
            objectives: Vec::new(),
            costs: None,
            generator: Generator::default(),
            agents: Vec::new(),
            environment: Environment::default(),
            interval_s: 1.0,
            intervals: vec![interval(-1.0, false), interval(0.0, true), interval(1.0, true)],
            histograms,
        }
    }

    #[test]
    fn the_generator_says_when_it_was_the_bottleneck_itself() {
        let check = |rate: &str, generator: Generator, send_lag_ms: u64, expected: &[&str]| {
            let mut end_to_end = Latency::new();
            end_to_end.record(20_000_000);
            let reasons =
                bottlenecks(&plan(rate), &generator, &[], Some(&published(send_lag_ms)), &end_to_end);
            assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
            for (reason, part) in reasons.iter().zip(expected) {
                assert!(reason.contains(part), "{reason}");
            }
        };
        let well = || Generator { cpu_share_max: 0.9, turn_ms_max: 100.0, ..Generator::default() };
        check("100", well(), 1, &[]);
        check("100", Generator { cpu_share_max: 0.91, ..well() }, 1, &["a loop of subscribers used 91 %"]);
        check("100", Generator { cpu_share_publishing: 1.0, ..well() }, 1, &["publishing used 100 %"]);
        check("100", Generator { wanted_share_max: 0.9, ..well() }, 1, &[]);
        check("100", Generator { wanted_share_max: 0.95, ..well() }, 1, &["to do for 95 % of the time"]);
        check("100", Generator { wanted_share_publishing: 1.0, ..well() }, 1, &["publishing had something"]);
        check("100", Generator { turn_ms_max: 101.0, ..well() }, 1, &["one turn of a loop took 101 ms"]);
        check("100", well(), 3, &["p99 of the send lag is 3.0"]);
        check("max", well(), 3, &[]);
    }

    #[test]
    fn an_agent_that_was_the_bottleneck_is_named() {
        let agent = |address: &str, cpu_share_max: f64, turn_ms_max: f64| AgentFigures {
            address: address.to_owned(),
            cpu_share_max,
            turn_ms_max,
            ..AgentFigures::default()
        };
        let agents = [agent("a:1", 0.5, 200.0), agent("b:1", 0.97, 5.0), agent("c:1", 0.9, 100.0)];
        let all = Generator { cpu_share_max: 0.97, turn_ms_max: 200.0, ..Generator::default() };
        let reasons = bottlenecks(&plan("100"), &all, &agents, Some(&published(0)), &Latency::new());
        assert_eq!(
            reasons,
            [
                "agent b:1 was the bottleneck: a loop of subscribers used 97 % of a processor",
                "agent a:1 was the bottleneck: one turn of a loop took 200 ms"
            ]
        );
    }

    #[test]
    fn what_the_server_held_back_is_not_the_generator_s_lag() {
        let mut end_to_end = Latency::new();
        end_to_end.record(20_000_000);
        let check = |held_back: u64, expected: usize| {
            let mut published = published(20);
            (1..200).for_each(|_| published.send_lag.record(20_000_000));
            published.tally.held_back = held_back;
            let reasons =
                bottlenecks(&plan("100"), &Generator::default(), &[], Some(&published), &end_to_end);
            assert_eq!(reasons.len(), expected, "{held_back}: {reasons:?}");
        };
        check(0, 1);
        check(2, 1);
        check(3, 0);
    }

    #[test]
    fn a_busy_generator_shows_where_connecting_is_measured_too() {
        let plan = |role: Role, arguments: &[&str]| {
            let words = ["loadgen", "run", "http://127.0.0.1:9"].iter().chain(arguments);
            let flags = Flags::try_parse_from(words).expect("parsed");
            let Command::Run(flags) = flags.command else { panic!("another command") };
            Plan::of(role, *flags).expect("a plan")
        };
        let busy = Generator { cpu_share_max: 0.95, ..Generator::default() };
        let reasons = |plan: Plan| bottlenecks(&plan, &busy, &[], None, &Latency::new()).len();
        assert_eq!(reasons(plan(Role::Connect, &[])), 1);
        assert_eq!(reasons(plan(Role::Whole, &["--hold"])), 0, "nothing is measured");
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
                timeline: None,
                measured_from_ns: 0,
                connecting_s: 0.0,
                interrupted: false,
                is_called_off: false,
                costs: None,
                resident_bytes: None,
                agents: Vec::new(),
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
