//! The agents of a run: what each did, and how well its clock is known.

use serde::{Deserialize, Serialize};

use super::Report;
use super::table::{binary, grouped, plural};
use crate::agent::clock::Clock;
use crate::environment::Environment;
use crate::gauge::Measured;
use crate::options::Transport;
use crate::timeline::{END_TO_END, Kind};
use crate::worker::Findings;

/// An agent's part of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AgentFigures {
    /// Where it listened, as it was named.
    pub(crate) address: String,
    /// Subscribers that it drove.
    pub(crate) subscribers: u64,
    /// Events delivered to them.
    pub(crate) delivered: u64,
    /// Processor share of its busiest loop, of 1.
    pub(crate) cpu_share_max: f64,
    /// The share of the time in which a loop of it ran or could have run, of the one that most wanted to.
    pub(crate) wanted_share_max: f64,
    /// The longest turn of any of its loops.
    pub(crate) turn_ms_max: f64,
    /// Its resident memory while all were connected.
    pub(crate) resident_bytes: Option<u64>,
    /// Its clock beside the coordinator's.
    pub(crate) clock: Clock,
    /// What it ran on.
    pub(crate) environment: Environment,
}

impl AgentFigures {
    /// Of what its loops found.
    pub(crate) fn new(
        address: String,
        subscribers: u64,
        findings: &[Findings],
        resident_bytes: Option<u64>,
        clock: Clock,
        environment: Environment,
    ) -> AgentFigures {
        let measured = findings.iter().flat_map(Findings::parts);
        let turn_ns_max = measured.clone().map(|measured| measured.turn_ns_max).max();
        let wanted = measured.clone().map(|measured| measured.wanted_share());
        AgentFigures {
            address,
            subscribers,
            delivered: findings.iter().map(|one| one.tally.delivered).sum(),
            cpu_share_max: measured.map(|measured| Measured::cpu_share(&measured)).fold(0.0, f64::max),
            wanted_share_max: wanted.fold(0.0, f64::max),
            turn_ms_max: turn_ns_max.unwrap_or_default() as f64 / 1e6,
            resident_bytes,
            clock,
            environment,
        }
    }

    /// What there is to say of it, each with its name.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let many = plural(self.subscribers);
        let mut pairs = vec![
            ("subscribers", format!("{} subscriber{many}", grouped(self.subscribers as f64))),
            ("delivered", format!("{} delivered", grouped(self.delivered as f64))),
            ("busiest loop", format!("cpu {:.0} % busiest loop", self.cpu_share_max * 100.0)),
            ("longest turn", format!("longest turn {:.1} ms", self.turn_ms_max)),
        ];
        let memory = self.resident_bytes.map_or_else(|| "unknown".to_owned(), |bytes| binary(bytes as f64));
        pairs.extend([("memory", format!("memory {memory}")), ("clock", self.clock.line())]);
        pairs
    }
}

impl Report {
    /// How wrong a latency of this name can be because clocks of several machines are in it; 0 if none are.
    pub(super) fn clock_bound_ms(&self, name: &str) -> f64 {
        let mut bounds: Vec<u64> = self.agents.iter().map(|agent| agent.clock.bound_ns).collect();
        bounds.sort_unstable_by(|one, other| other.cmp(one));
        let is_from_publisher = [END_TO_END, Kind::Service.name()].contains(&name)
            || Transport::ALL.iter().any(|one| one.name() == name);
        let bound_ns = match bounds.as_slice() {
            [] => 0,
            [worst, ..] if is_from_publisher => *worst,
            // Between two agents, each of which may be wrong in its own way; one alone is wrong in the same at both ends.
            [worst, second, ..] if name == Kind::Span.name() => worst.saturating_add(*second),
            _ => 0,
        };
        bound_ns as f64 / 1e6
    }

    /// Whether a figure of the latency `name` is less than what clocks may be apart.
    pub(super) fn is_within_clocks(&self, name: &str, ms: f64) -> bool {
        let bound_ms = self.clock_bound_ms(name);
        0.0 < bound_ms && ms < bound_ms
    }

    /// How well clocks are known, if that matters.
    pub(super) fn clock_line(&self) -> Option<String> {
        let (latency, span) = (self.clock_bound_ms(END_TO_END), self.clock_bound_ms(Kind::Span.name()));
        (0.0 < latency).then(|| {
            let span = if 0.0 < span { format!(", spans by ± {span:.3} ms") } else { String::new() };
            format!("latencies between hosts may be wrong by ± {latency:.3} ms{span}; figures below that are marked ~")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    fn report(bounds_ns: &[u64]) -> Report {
        let mut report = sample("a");
        report.agents = bounds_ns
            .iter()
            .map(|bound_ns| AgentFigures {
                clock: Clock { is_same: *bound_ns == 0, bound_ns: *bound_ns, ..Clock::default() },
                ..AgentFigures::default()
            })
            .collect();
        report
    }

    #[test]
    fn only_latencies_with_two_clocks_in_them_are_uncertain() {
        let check = |bounds_ns: &[u64], latency_ms: f64, span_ms: f64| {
            let report = report(bounds_ns);
            for (name, expected) in [
                ("e2e", latency_ms),
                ("ws", latency_ms),
                ("sse", latency_ms),
                ("service", latency_ms),
                ("span", span_ms),
                ("ack", 0.0),
                ("handshake", 0.0),
                ("send lag", 0.0),
            ] {
                assert_eq!(report.clock_bound_ms(name), expected, "{name} {bounds_ns:?}");
            }
        };
        check(&[], 0.0, 0.0);
        check(&[0, 0], 0.0, 0.0);
        check(&[2_000_000], 2.0, 0.0);
        check(&[0, 2_000_000], 2.0, 2.0);
        check(&[1_000_000, 3_000_000, 2_000_000], 3.0, 5.0);
    }

    #[test]
    fn what_is_smaller_than_the_bound_is_marked_in_every_form() {
        // The sample's 50th percentile is 2 ms and its 99th 2.1.
        let told = |bound_ns: u64| {
            let report = report(&[bound_ns]);
            (report.table(false), crate::report::html::page(&[report], &["a".to_owned()]).expect("a page"))
        };
        let (table, page) = told(2_050_000);
        assert!(table.contains(" ~2.0") && !table.contains("~2.1"), "{table}");
        assert!(table.contains("may be wrong by ± 2.050 ms") && page.contains("may be wrong by ± 2.050 ms"));
        assert!(page.contains("less than clocks may be apart\">~2.0") && !page.contains("~2.1"));
        let (table, page) = told(0);
        assert!(!table.contains('~') && table.contains("the same clock"), "{table}");
        assert!(!page.contains("may be wrong by") && page.contains("the same clock"));
        let text = serde_json::to_string(&report(&[2_050_000])).expect("written");
        assert!(text.contains(r#""bound_ns":2050000"#), "{text}");
    }
}
