//! What happened, in one sentence.

use super::table::{grouped, plural};
use super::{Report, Verdict};
use crate::timeline::END_TO_END;

impl Report {
    /// The verdict and what it rests on, in words: no figure in it needs a table to be understood.
    pub(crate) fn headline(&self) -> String {
        let word = self.verdict.word();
        let reason = match self.verdict {
            Verdict::Invalid => self.invalid.first().map(|reason| format!(": {reason}")),
            Verdict::Failed if !self.receives() => {
                self.verification.failures.first().map(|reason| format!(": {reason}"))
            }
            Verdict::Failed => Some(format!(": {} of {}", self.wrongs(), self.deliveries())),
            Verdict::Interrupted if self.receives() => Some(format!(
                " after {:.1} s: {}, {}",
                self.delivered.measured_s,
                self.deliveries(),
                self.wrongs()
            )),
            Verdict::Interrupted => Some(format!(": {}", self.done())),
            Verdict::Missed => Some(format!(": {}", self.misses())),
            Verdict::Pass => None,
        };
        match reason {
            Some(reason) => format!("{word}{reason}"),
            None if !self.receives() => format!("{word}: {}", self.done()),
            None => format!("{word}: {}{}, {}", self.deliveries(), self.p99(), self.wrongs()),
        }
    }

    /// What was done where nobody awaited an event.
    fn done(&self) -> String {
        if self.publishes() {
            let (published, refused) = (&self.published, none_or(self.published.refused));
            let many = plural(published.accepted);
            let accepted = grouped(published.accepted as f64);
            return format!("{accepted} event{many} accepted, {refused} refused");
        }
        let (delivered, setting) = (&self.delivered, &self.setting);
        let failed: u64 = delivered.refusals.values().sum();
        let failed = if failed == 0 { String::new() } else { format!(", {} failed", grouped(failed as f64)) };
        format!(
            "{} connections held for {:.0} s{failed}, {} closed by the server",
            grouped(delivered.open_at_end as f64),
            setting.duration_s,
            none_or(delivered.closed_by_server)
        )
    }

    /// The objectives that were missed, with what was measured.
    fn misses(&self) -> String {
        let missed = self.objectives.iter().filter(|judged| !judged.met);
        let told: Vec<String> =
            missed.map(|judged| format!("{} ({})", judged.objective, judged.measured())).collect();
        match told.len() {
            0 => "an objective, for too long".to_owned(),
            count => format!("objective{} {}", plural(count as u64), told.join(", ")),
        }
    }

    fn deliveries(&self) -> String {
        let (total, subscribers) = (self.delivered.total, self.setting.connections as u64);
        let (deliveries, ending) = (grouped(total as f64), if total == 1 { "y" } else { "ies" });
        let many = plural(subscribers);
        format!("{deliveries} deliver{ending} to {} subscriber{many}", grouped(subscribers as f64))
    }

    fn p99(&self) -> String {
        let row = self.latency_ms.iter().find(|row| row.name == END_TO_END);
        row.map_or_else(String::new, |row| {
            let p99_ms = row.summary.p99_ms;
            let mark = if self.is_within_clocks(END_TO_END, p99_ms) { "~" } else { "" };
            format!(", p99 {mark}{} ms", milliseconds(p99_ms))
        })
    }

    /// What was wrong with them.
    fn wrongs(&self) -> String {
        let verification = &self.verification;
        let faults = &verification.faults;
        let wrongs = [
            (verification.lost, "lost"),
            (faults.repeated, "repeated"),
            (faults.reordered, "out of order"),
            (faults.altered + faults.misrouted, "altered"),
            (verification.phantoms, "never accepted"),
            (verification.shared_numbers, "under one number with another"),
            (faults.contradicted + verification.wrong_matched, "wrongly told gaps"),
        ];
        let told: Vec<String> = wrongs
            .iter()
            .filter(|(count, _)| 0 < *count)
            .map(|(count, what)| format!("{} {what}", grouped(*count as f64)))
            .collect();
        let told_gaps = match verification.in_gaps + verification.in_gaps_of_slow {
            0 => String::new(),
            count => format!(", {} in gaps that were told", grouped(count as f64)),
        };
        // What should come of the events of others nobody here knows.
        let verify = match &*self.setting.verify {
            verify if self.role == "sub" && verify != "none" => "order",
            verify => verify,
        };
        match (verify, told.is_empty()) {
            (_, false) => told.join(", "),
            (_, true) if !verification.failures.is_empty() => "something was wrong".to_owned(),
            ("full", true) if told_gaps.is_empty() => "nothing lost".to_owned(),
            ("full", true) => format!("nothing lost without a word{told_gaps}"),
            ("order", true) => "all in order".to_owned(),
            _ => "nothing verified".to_owned(),
        }
    }
}

/// Milliseconds for people: three digits that matter.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.3}"),
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => grouped(ms),
    }
}

fn none_or(count: u64) -> String {
    if count == 0 { "none".to_owned() } else { grouped(count as f64) }
}

#[cfg(test)]
mod tests {
    use crate::objective::Objective;
    use crate::report::tests::sample;

    use super::*;

    #[test]
    fn a_headline_says_what_happened() {
        let check = |change: fn(&mut Report), expected: &str| {
            let mut report = sample("a");
            change(&mut report);
            assert_eq!(report.headline(), expected);
        };
        check(|_| {}, "PASS: 3,000 deliveries to 1,000 subscribers, p99 2.10 ms, nothing lost");
        check(
            |report| report.setting.verify = "none".to_owned(),
            "PASS: 3,000 deliveries to 1,000 subscribers, p99 2.10 ms, nothing verified",
        );
        check(
            |report| report.verification.in_gaps_of_slow = 7,
            "PASS: 3,000 deliveries to 1,000 subscribers, p99 2.10 ms, nothing lost without a word, 7 in gaps that were told",
        );
        check(
            |report| {
                report.verdict = Verdict::Failed;
                report.verification.lost = 2;
                report.verification.faults.repeated = 1;
            },
            "FAILED: 2 lost, 1 repeated of 3,000 deliveries to 1,000 subscribers",
        );
        check(
            |report| {
                report.verdict = Verdict::Invalid;
                report.invalid.push("the generator was the bottleneck".to_owned());
            },
            "INVALID: the generator was the bottleneck",
        );
        check(
            |report| {
                report.verdict = Verdict::Interrupted;
                report.delivered.measured_s = 12.34;
            },
            "INTERRUPTED after 12.3 s: 3,000 deliveries to 1,000 subscribers, nothing lost",
        );
        let judge = |objective: &str, figure: f64| {
            objective.parse::<Objective>().expect("an objective").judge(Some(figure))
        };
        let mut missed = sample("a");
        missed.verdict = Verdict::Missed;
        assert_eq!(missed.headline(), "MISSED: an objective, for too long");
        missed.objectives = vec![judge("p99<5ms", 6.8), judge("reach==1", 1.0), judge("rate>=1k/s", 99.5)];
        assert_eq!(missed.headline(), "MISSED: objectives p99<5ms (6.800 ms), rate>=1k/s (99.500/s)");
        check(
            |report| {
                report.role = "pub".to_owned();
                report.published.accepted = 1_000;
            },
            "PASS: 1,000 events accepted, none refused",
        );
        check(
            |report| {
                report.role = "sub".to_owned();
                report.setting.hold = true;
            },
            "PASS: 3,000 deliveries to 1,000 subscribers, p99 2.10 ms, all in order",
        );
        check(
            |report| {
                report.role = "connect".to_owned();
                report.setting.hold = true;
                report.delivered.open_at_end = 900;
                report.setting.duration_s = 5.0;
                report.delivered.refusals.insert("answered 503".to_owned(), 100);
            },
            "PASS: 900 connections held for 5 s, 100 failed, none closed by the server",
        );
        check(
            |report| {
                report.setting.hold = true;
                report.delivered.open_at_end = 1_000;
                report.setting.duration_s = 300.0;
            },
            "PASS: 1,000 connections held for 300 s, none closed by the server",
        );
    }
}
