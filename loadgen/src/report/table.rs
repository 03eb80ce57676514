//! A report as text: the table, and the reasons for its verdict.

use std::fmt::Write;

use super::{Report, Setting, Verdict};
use crate::cost::Costs;
use crate::histogram::Summary;
use crate::options::Transport;
use crate::timeline::Row;

impl Report {
    /// Why the run did not pass, one reason per line; empty if it did.
    pub(crate) fn failures(&self) -> String {
        let mut out = self.reasons();
        for missed in self.objectives.iter().filter(|judged| !judged.met) {
            out.push_str(&format!("MISSED: {}\n", missed.line()));
        }
        out
    }

    fn reasons(&self) -> String {
        let mut out = String::new();
        for reason in &self.invalid {
            out.push_str(&format!("INVALID: {reason}\n"));
        }
        for failure in &self.verification.failures {
            out.push_str(&format!("FAILED: {failure}\n"));
        }
        out
    }

    /// The table; `color` marks the verdict.
    pub(crate) fn table(&self, color: bool) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = self.write_table(&mut out, color);
        out
    }

    /// What load was asked for.
    pub(super) fn load(&self) -> String {
        self.setting.load(&self.role)
    }

    /// The server, and how it was spoken to where that is not as usual.
    pub(super) fn server(&self) -> String {
        let setting = &self.setting;
        let mut words: Vec<&str> = Vec::new();
        if !matches!(&*setting.protocol, "" | "fanfare") {
            words.push(&setting.protocol);
        }
        if setting.encrypted {
            words.push("encrypted");
        }
        if words.is_empty() { self.target.clone() } else { format!("{} ({})", self.target, words.join(", ")) }
    }

    fn write_table(&self, out: &mut String, color: bool) -> std::fmt::Result {
        let setting = &self.setting;
        let delivered = &self.delivered;
        let (server, load) = (self.server(), self.load());
        let on_slow = setting.on_slow.as_ref().map(|on_slow| format!(" ({on_slow})")).unwrap_or_default();
        let slow = match setting.slow {
            0 => String::new(),
            slow => format!(", {slow} of them slow{on_slow}"),
        };
        write!(
            out,
            "target     {server}   {} subscribers ({} ws + {} sse{slow})   {} channel{}   {load}",
            grouped(setting.connections as f64),
            grouped(setting.websocket as f64),
            grouped(setting.sse as f64),
            setting.channels,
            plural(setting.channels as u64),
        )?;
        if !setting.hold {
            let (publishers, via) = (setting.publishers, &setting.publish_via);
            let many = plural(u64::from(publishers));
            write!(
                out,
                "   {publishers} publisher{many} ({via})   size {}   seed {}",
                setting.size, setting.seed
            )?;
        }
        writeln!(out)?;
        writeln!(
            out,
            "phase      connect {:.1}s   warm-up {:.1}s   measure {:.1}s",
            delivered.connected, setting.warmup_s, setting.duration_s
        )?;
        if !self.publishes() && !self.receives() {
            writeln!(
                out,
                "held       {} open at the end   {} closed by the server   {} pings answered   generator memory {}",
                grouped(delivered.open_at_end as f64),
                delivered.closed_by_server,
                delivered.pings,
                self.generator
                    .resident_bytes
                    .map_or_else(|| "unknown".to_owned(), |bytes| binary(bytes as f64)),
            )?;
            for (reason, count) in &delivered.refusals {
                writeln!(out, "failed     {} × {reason}", grouped(*count as f64))?;
            }
        } else {
            self.write_counts(out)?;
        }
        writeln!(out)?;
        self.write_latencies(out)?;
        self.write_verdict(out, color)
    }

    fn write_counts(&self, out: &mut String) -> std::fmt::Result {
        let (published, delivered, verification) = (&self.published, &self.delivered, &self.verification);
        if self.publishes() {
            writeln!(
                out,
                "published  {} ({}/s, {:.0} B of data each)   refused {}   retried {}   unanswered {}   unsent {}",
                grouped(published.accepted as f64),
                grouped(published.accepted_per_s),
                published.data_bytes_mean,
                grouped(published.refused as f64),
                grouped(published.retried as f64),
                published.unanswered,
                published.unsent,
            )?;
        }
        if !self.receives() {
            return Ok(());
        }
        let reach = delivered.reach.map_or_else(|| "-".to_owned(), |reach| format!("{reach:.6}"));
        writeln!(
            out,
            "delivered  {} ({}/s, {}/s)   reach {reach}   lost {}   dup {}   reorder {}   altered {}",
            grouped(delivered.total as f64),
            grouped(delivered.per_s),
            binary(delivered.bytes_per_s),
            verification.lost,
            verification.faults.repeated,
            verification.faults.reordered,
            verification.faults.altered + verification.faults.misrouted + verification.phantoms,
        )?;
        let gaps = verification.gaps;
        write!(out, "gaps       {gaps} told ({} events)", grouped(verification.in_gaps as f64))?;
        if 0 < self.setting.slow {
            let count = verification.gaps_of_slow;
            write!(out, "   slow: {count} told ({} events)", grouped(verification.in_gaps_of_slow as f64))?;
        }
        if 0.0 < self.setting.resume_churn_per_s {
            write!(out, "   resumed by cursor {}", grouped(delivered.churned as f64))?;
        }
        if 0 < delivered.replaced {
            write!(out, "   left and came anew {}", grouped(delivered.replaced as f64))?;
        }
        if 0 < delivered.stormed {
            write!(out, "   cut off by the storm {}", grouped(delivered.stormed as f64))?;
        }
        if 0 < delivered.closed_by_server {
            write!(out, "   closed by the server {}", delivered.closed_by_server)?;
        }
        if 0 < delivered.foreign {
            write!(out, "   events of others {}", grouped(delivered.foreign as f64))?;
        }
        writeln!(out)?;
        for sample in verification.gap_samples.iter().take(GAPS_SHOWN) {
            let matched =
                sample.gap.matched.map_or_else(String::new, |matched| format!(", {matched} matched"));
            let (from, to, cause) = (sample.gap.from, sample.gap.to, &sample.gap.cause);
            writeln!(out, "           subscriber {}: {from} to {to}, {cause}{matched}", sample.subscriber)?;
        }
        Ok(())
    }

    fn write_latencies(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "{:<18}", "latency (ms)")?;
        QUANTILES.iter().try_for_each(|(name, ..)| write!(out, "{name:>11}"))?;
        writeln!(out, "{:>13}", "count")?;
        for Row { name, summary } in &self.latency_ms {
            let indent =
                if Transport::ALL.iter().any(|transport| transport.name() == name) { "  " } else { "" };
            write!(out, "{:<18}", format!("{indent}{name}"))?;
            for (_, least, value) in QUANTILES {
                let value = value(summary);
                if least <= summary.count && self.is_within_clocks(name, value) {
                    write!(out, "{:>11}", format!("~{value:.3}"))?
                } else if least <= summary.count {
                    write!(out, "{value:>11.3}")?
                } else {
                    write!(out, "{:>11}", "-")?
                }
            }
            writeln!(out, "{:>13}", grouped(summary.count as f64))?;
        }
        Ok(())
    }

    fn write_verdict(&self, out: &mut String, color: bool) -> std::fmt::Result {
        let generator = &self.generator;
        writeln!(
            out,
            "generator  cpu {:.0} % busiest loop, {:.0} % publishing   longest turn {:.1} ms",
            generator.cpu_share_max * 100.0,
            generator.cpu_share_publishing * 100.0,
            generator.turn_ms_max,
        )?;
        for agent in &self.agents {
            let about: Vec<String> = agent.pairs().into_iter().map(|(_, text)| text).collect();
            writeln!(out, "agent      {}   {}", agent.address, about.join("   "))?;
        }
        if let Some(line) = self.clock_line() {
            writeln!(out, "clocks     {line}")?;
        }
        for line in self.costs.iter().flat_map(Costs::lines) {
            writeln!(out, "{line}")?;
        }
        for note in self.notes.iter().take(NOTES_SHOWN) {
            writeln!(out, "note       {note}")?;
        }
        if NOTES_SHOWN < self.notes.len() {
            writeln!(out, "note       and {} more", self.notes.len() - NOTES_SHOWN)?;
        }
        for judged in &self.objectives {
            writeln!(out, "SLO        {}", judged.line())?;
        }
        out.push_str(&self.reasons());
        let word = self.verdict.word();
        let code = match self.verdict {
            Verdict::Pass => "32",
            Verdict::Failed | Verdict::Missed => "31",
            Verdict::Invalid | Verdict::Interrupted => "33",
        };
        let word = if color { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.to_owned() };
        let checked = match (self.setting.hold, &*self.setting.verify) {
            (true, "none") if self.role == "sub" => "nothing was verified",
            (true, _) if self.role == "sub" => "every event in order",
            (true, _) => "connections held",
            _ if self.role == "pub" => "every event answered",
            (_, "full") => "every event once, in order, as sent",
            (_, "gaps") => "every event once, in order",
            (_, "order") => "every event in order",
            _ => "nothing was verified",
        };
        match self.verdict {
            Verdict::Pass => writeln!(out, "{word}       {checked}"),
            _ => writeln!(out, "{word}"),
        }
    }
}

impl Setting {
    /// What load was asked for, in words, of a run with this role.
    pub(super) fn load(&self, role: &str) -> String {
        let outstanding = self.outstanding.unwrap_or_default();
        match (self.hold, self.rate, &self.stages) {
            (true, ..) if role == "sub" => "events of others".to_owned(),
            (true, ..) => "hold".to_owned(),
            (false, Some(rate), stages) => {
                let rate = format!("{} events/s", grouped(rate));
                let rate = match stages.as_deref() {
                    None => rate,
                    Some(stages) if stages.len() <= STAGES_BYTES_SHOWN => format!("stages {stages}"),
                    Some(stages) => format!("{} stages up to {rate}", stages.split(',').count()),
                };
                match &*self.arrival {
                    "" | "constant" => format!("open loop {rate}"),
                    arrival => format!("open loop {rate}, {arrival}"),
                }
            }
            (false, None, _) if self.arrival.starts_with("closed") => {
                format!("closed loop, {outstanding} outstanding each")
            }
            (false, None, _) => format!("saturation, {outstanding} outstanding each"),
        }
    }
}

/// The ending of a word that counts something.
pub(super) fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A figure of a latency.
type Quantile = (&'static str, u64, fn(&Summary) -> f64);

/// The figures that tables show: name, records that there must be, value. A quantile says something only when several values
/// lie behind it.
pub(super) const QUANTILES: [Quantile; 6] = [
    ("p50", 2, |summary| summary.p50_ms),
    ("p90", 10, |summary| summary.p90_ms),
    ("p99", 100, |summary| summary.p99_ms),
    ("p99.9", 1_000, |summary| summary.p999_ms),
    ("p99.99", 10_000, |summary| summary.p9999_ms),
    ("max", 1, |summary| summary.max_ms),
];

/// A number for people: groups of three digits, a decimal only where it matters.
pub(crate) fn grouped(number: f64) -> String {
    if number < 100.0 && number.fract() != 0.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.char_indices() {
        if 0 < place && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes for people.
pub(crate) fn binary(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (bytes.max(1.0).log2() / 10.0).floor().min(4.0) as usize;
    let value = bytes / 1024f64.powi(step as i32);
    if step == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", units[step]) }
}

const GAPS_SHOWN: usize = 5;
/// Of stages that are more there is only the number.
const STAGES_BYTES_SHOWN: usize = 80;
const NOTES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_for_reading() {
        let check = |number: f64, expected: &str| assert_eq!(grouped(number), expected);
        check(0.0, "0");
        check(0.5, "0.5");
        check(99.96, "100.0");
        check(1_000.4, "1,000");
        check(1_234_567.0, "1,234,567");
    }

    #[test]
    fn bytes_have_their_unit() {
        let check = |bytes: f64, expected: &str| assert_eq!(binary(bytes), expected);
        check(0.0, "0 B");
        check(1_023.0, "1023 B");
        check(1_536.0, "1.5 KiB");
        check(3.0 * 1024f64.powi(3), "3.0 GiB");
    }
}
