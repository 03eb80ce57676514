//! What a terminal shows of a run that goes on: figures in, lines out.
//!
//! # Contract       no line is wider than the terminal; where there is less room there are more lines and fewer figures

use super::screen::columns;
use crate::histogram::Summary;
use crate::report::table::{binary, grouped};

/// Where a run stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// The server.
    pub(super) target: String,
    /// How many there are to be.
    pub(super) subscribers: u64,
    /// What load was asked for.
    pub(super) load: String,
    /// What it does now, in a word.
    pub(super) doing: &'static str,
    /// For how long.
    pub(super) done_s: f64,
    /// How long that is to take, if known.
    pub(super) whole_s: Option<f64>,
    /// Whether anything is published.
    pub(super) publishes: bool,
    /// Whether somebody awaits events.
    pub(super) receives: bool,
    /// Subscribers that are open.
    pub(super) open: u64,
    /// Connections that failed, where that is what is counted.
    pub(super) failed: u64,
    /// Events accepted.
    pub(super) accepted: u64,
    /// The same per second, lately.
    pub(super) accepted_per_s: f64,
    /// Events delivered.
    pub(super) delivered: u64,
    /// The same per second, lately.
    pub(super) delivered_per_s: f64,
    /// Bytes received per second, lately.
    pub(super) bytes_per_s: f64,
    /// Deliveries that the accepted events ask for, if that can be known.
    pub(super) owed: Option<u64>,
    /// Gaps told.
    pub(super) gaps: u64,
    /// Connections that the server ended.
    pub(super) closed: u64,
    /// Length of an interval.
    pub(super) interval_s: f64,
    /// End-to-end latency of the newest interval.
    pub(super) newest: Option<Summary>,
    /// End-to-end latency so far.
    pub(super) total: Option<Summary>,
    /// The busiest loop of subscribers, and its share of a processor.
    pub(super) busiest: Option<(u32, f64)>,
    /// The publishers' share of a processor.
    pub(super) publishing_share: Option<f64>,
    /// The longest turn of any loop in its newest interval.
    pub(super) turn_ms_max: f64,
}

impl Standing {
    /// All in one line, for where nothing can be redrawn.
    pub(super) fn line(&self) -> String {
        let of = self.whole_s.map(|whole_s| format!(" of {whole_s:.0}")).unwrap_or_default();
        let mut line = format!("{} {:.0}{of} s: {} open", self.doing, self.done_s, grouped(self.open as f64));
        let mut put = |count: u64, word: &str, rate: String| {
            line.push_str(&format!(", {} {word}{rate}", grouped(count as f64)));
        };
        if 0 < self.failed {
            put(self.failed, "failed", String::new());
        }
        if self.publishes {
            put(self.accepted, "published", format!(" ({}/s)", whole(self.accepted_per_s)));
        }
        if self.receives {
            put(self.delivered, "delivered", format!(" ({}/s)", whole(self.delivered_per_s)));
        }
        if let Some(behind) = self.behind() {
            put(behind, "behind", String::new());
        }
        if let Some(newest) = &self.newest {
            line.push_str(&format!(", p99 {} ms, max {} ms", short(newest.p99_ms), short(newest.max_ms)));
        }
        line
    }

    /// Deliveries that have not come yet.
    fn behind(&self) -> Option<u64> {
        let owed = self.owed.filter(|_| self.publishes && self.receives)?;
        Some(owed.saturating_sub(self.delivered))
    }

    fn reach(&self) -> Option<f64> {
        let owed = self.owed.filter(|owed| 0 < *owed)?;
        Some((self.delivered as f64 / owed as f64).min(1.0))
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Columns that a line may take.
    pub(super) width: usize,
    /// Whether colours may be used.
    pub(super) color: bool,
}

impl View {
    /// The lines.
    pub(super) fn lines(&self, standing: &Standing) -> Vec<String> {
        let mut out = Vec::new();
        self.put_head(standing, &mut out);
        self.put_progress(standing, &mut out);
        self.put_counts(standing, &mut out);
        if 0 < standing.subscribers {
            self.put_connections(standing, &mut out);
        }
        self.put_latencies(standing, &mut out);
        self.put_generator(standing, &mut out);
        out.into_iter().map(|line| self.cut(&line)).collect()
    }

    fn put_head(&self, standing: &Standing, out: &mut Vec<String>) {
        let subscribers = format!("{} subscribers", grouped(standing.subscribers as f64));
        let parts = [self.paint(BOLD, &standing.target), subscribers, standing.load.clone()];
        self.wrap("loadgen", &parts, out);
    }

    fn put_progress(&self, standing: &Standing, out: &mut Vec<String>) {
        let word = self.paint(BOLD, &format!("{:<LABEL$}", standing.doing));
        let Some(whole_s) = standing.whole_s else {
            out.push(format!("{word}{:.1} s", standing.done_s));
            return;
        };
        let share = if 0.0 < whole_s { (standing.done_s / whole_s).clamp(0.0, 1.0) } else { 1.0 };
        let time = format!("{:.1} of {whole_s:.1} s", standing.done_s);
        let room = self.width.saturating_sub(LABEL + time.len() + 2).min(BAR_COLUMNS_MAX);
        let full = (share * room as f64) as usize;
        let bar = format!("{}{}", "█".repeat(full), "░".repeat(room - full));
        out.push(format!("{word}{}  {time}", self.paint(CYAN, &bar)));
    }

    fn put_counts(&self, standing: &Standing, out: &mut Vec<String>) {
        let per_s = |rate: f64| format!("{}/s", whole(rate));
        if standing.publishes {
            let published = [grouped(standing.accepted as f64), per_s(standing.accepted_per_s)];
            self.wrap("published", &published, out);
        }
        if standing.receives {
            let rates = [per_s(standing.delivered_per_s), format!("{}/s", binary(standing.bytes_per_s))];
            self.wrap("delivered", &[&[grouped(standing.delivered as f64)], &rates[..]].concat(), out);
        }
        if let Some(behind) = standing.behind() {
            let reach = standing.reach().map_or_else(|| "-".to_owned(), |reach| format!("{reach:.6}"));
            let behind = format!("{} not yet delivered", grouped(behind as f64));
            self.wrap("reach", &[reach, behind], out);
        }
    }

    fn put_connections(&self, standing: &Standing, out: &mut Vec<String>) {
        let open = format!("{} of {}", grouped(standing.open as f64), grouped(standing.subscribers as f64));
        let alarming = |count: u64, text: String| if count == 0 { text } else { self.paint(YELLOW, &text) };
        let gaps = alarming(standing.gaps, format!("gaps {}", grouped(standing.gaps as f64)));
        let closed = alarming(standing.closed, format!("closed {}", grouped(standing.closed as f64)));
        let mut parts = vec![open];
        if standing.receives {
            parts.push(gaps);
        }
        parts.push(closed);
        if 0 < standing.failed {
            parts.push(self.paint(YELLOW, &format!("failed {}", grouped(standing.failed as f64))));
        }
        self.wrap("open", &parts, out);
    }

    fn put_latencies(&self, standing: &Standing, out: &mut Vec<String>) {
        let Some(total) = &standing.total else { return };
        type Column = (&'static str, fn(&Summary) -> f64, bool);
        let columns: [Column; 6] = [
            ("p50", |summary| summary.p50_ms, true),
            ("p90", |summary| summary.p90_ms, false),
            ("p99", |summary| summary.p99_ms, true),
            ("p99.9", |summary| summary.p999_ms, false),
            ("p99.99", |summary| summary.p9999_ms, false),
            ("max", |summary| summary.max_ms, true),
        ];
        let all = LABEL + columns.len() * FIGURE <= self.width;
        let shown = || columns.iter().filter(|(.., always)| all || *always);
        let head: String = shown().map(|(name, ..)| format!("{name:>FIGURE$}")).collect();
        out.push(self.paint(DIM, &format!("{:<LABEL$}{head}", "e2e, ms")));
        let newest =
            standing.newest.as_ref().map(|newest| (format!("last {} s", standing.interval_s), newest));
        for (name, summary) in newest.into_iter().chain([("so far".to_owned(), total)]) {
            let figures: String =
                shown().map(|(_, figure, _)| format!("{:>FIGURE$}", short(figure(summary)))).collect();
            out.push(format!("{name:<LABEL$}{figures}"));
        }
    }

    fn put_generator(&self, standing: &Standing, out: &mut Vec<String>) {
        let percent = |share: f64, text: String| {
            if CPU_SHARE_MAX < share { self.paint(RED, &text) } else { text }
        };
        let mut parts = Vec::new();
        if let Some((thread, share)) = standing.busiest {
            parts.push(percent(share, format!("busiest loop {thread}: {:.0} %", share * 100.0)));
        }
        if let Some(share) = standing.publishing_share {
            parts.push(percent(share, format!("publishing {:.0} %", share * 100.0)));
        }
        if !parts.is_empty() {
            parts.push(format!("longest turn {} ms", short(standing.turn_ms_max)));
            self.wrap("generator", &parts, out);
        }
    }

    /// A label and parts behind it, on as many lines as it takes.
    fn wrap(&self, label: &str, parts: &[String], out: &mut Vec<String>) {
        let mut line = self.paint(DIM, &format!("{label:<LABEL$}"));
        let mut taken = LABEL;
        for part in parts {
            let more = columns(part) + SPACE.len();
            if LABEL < taken && self.width + SPACE.len() < taken + more {
                out.push(line.trim_end().to_owned());
                line = " ".repeat(LABEL);
                taken = LABEL;
            }
            line.push_str(part);
            line.push_str(SPACE);
            taken += more;
        }
        out.push(line.trim_end().to_owned());
    }

    /// What fits of a line; a colour that was begun is ended.
    fn cut(&self, line: &str) -> String {
        if columns(line) <= self.width {
            return line.to_owned();
        }
        let plain = strip(line);
        plain.chars().take(self.width).collect()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A text without its colours.
fn strip(text: &str) -> String {
    let mut out = String::new();
    for (place, piece) in text.split('\x1b').enumerate() {
        let rest = piece.split_once('m').map_or("", |(_, rest)| rest);
        out.push_str(if place == 0 { piece } else { rest });
    }
    out
}

/// Milliseconds, with as many decimals as matter.
fn short(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.3}"),
        ms if ms < 100.0 => format!("{ms:.2}"),
        ms if ms < 1_000.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn whole(rate: f64) -> String {
    grouped(rate.round())
}

const LABEL: usize = 12;
const FIGURE: usize = 9;
const SPACE: &str = "   ";
const BAR_COLUMNS_MAX: usize = 40;
/// As in the report: above it a thread queues work for itself.
const CPU_SHARE_MAX: f64 = 0.9;
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        let summary = Summary {
            count: 9,
            p50_ms: 1.912,
            p90_ms: 3.6,
            p99_ms: 12.34,
            p999_ms: 123.4,
            p9999_ms: 1_234.5,
            max_ms: 12_345.0,
            ..Summary::default()
        };
        Standing {
            target: "127.0.0.1:8080".to_owned(),
            subscribers: 1_000,
            load: "open loop 1,000 events/s".to_owned(),
            publishes: true,
            receives: true,
            doing: "measuring",
            done_s: 12.3,
            whole_s: Some(30.0),
            open: 999,
            accepted: 12_300,
            accepted_per_s: 1_000.2,
            delivered: 12_299_976,
            delivered_per_s: 1_000_120.0,
            bytes_per_s: 4.1e7,
            owed: Some(12_300_000),
            closed: 1,
            interval_s: 1.0,
            newest: Some(summary.clone()),
            total: Some(summary),
            busiest: Some((1, 0.95)),
            publishing_share: Some(0.12),
            turn_ms_max: 3.2,
            ..Standing::default()
        }
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let text = View { width: 79, color: false }.lines(&standing()).join("\n");
        for part in [
            "loadgen     127.0.0.1:8080   1,000 subscribers   open loop 1,000 events/s",
            "12.3 of 30.0 s",
            "published   12,300   1,000/s",
            "delivered   12,299,976   1,000,120/s   39.1 MiB/s",
            "reach       0.999998   24 not yet delivered",
            "open        999 of 1,000   gaps 0   closed 1",
            "e2e, ms           p50      p90      p99    p99.9   p99.99      max",
            "last 1 s        1.912    3.600    12.34    123.4     1234    12345",
            "generator   busiest loop 1: 95 %   publishing 12 %   longest turn 3.200 ms",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_that_is() {
        for width in [1, 10, 20, 30, 39, 60, 79, 200] {
            for color in [false, true] {
                for receives in [false, true] {
                    let standing = Standing { receives, failed: 3, ..standing() };
                    for line in (View { width, color }).lines(&standing) {
                        assert!(columns(&line) <= width, "{width}: {line:?}");
                        assert_eq!(line.matches("\x1b[0m").count() * 2, line.matches('\x1b').count());
                    }
                }
            }
        }
    }

    #[test]
    fn before_anything_is_known_there_are_no_empty_figures() {
        let standing = Standing { doing: "connecting", subscribers: 5, ..Standing::default() };
        let text = View { width: 79, color: false }.lines(&standing).join("\n");
        assert!(text.contains("connecting  0.0 s") && text.contains("0 of 5"), "{text}");
        assert!(!text.contains("e2e") && !text.contains("generator") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn what_a_run_does_not_do_is_not_shown() {
        let check = |publishes: bool, receives: bool, subscribers: u64, shown: [bool; 4]| {
            let standing = Standing { publishes, receives, subscribers, failed: 7, ..standing() };
            let text = View { width: 79, color: false }.lines(&standing).join("\n");
            let labels = ["\npublished ", "\ndelivered ", "\nreach ", "\nopen "];
            assert_eq!(labels.map(|label| text.contains(label)), shown, "{text}");
            assert_eq!(text.contains("failed 7"), shown[3], "{text}");
            let line = standing.line();
            assert_eq!(
                [" published (", " delivered (", " behind"].map(|word| line.contains(word)),
                shown[..3]
            );
        };
        check(true, true, 5, [true; 4]);
        check(true, false, 0, [true, false, false, false]);
        check(false, true, 5, [false, true, false, true]);
        check(false, false, 5, [false, false, false, true]);
    }

    #[test]
    fn one_line_says_it_all_where_nothing_can_be_redrawn() {
        assert_eq!(
            standing().line(),
            "measuring 12 of 30 s: 999 open, 12,300 published (1,000/s), 12,299,976 delivered (1,000,120/s), 24 behind, \
             p99 12.34 ms, max 12345 ms"
        );
    }
}
