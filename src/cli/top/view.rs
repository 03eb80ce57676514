//! What is shown of a pulse, as lines of text: a function of what is known and the size of the terminal.

use std::collections::VecDeque;

use super::pulse::{Client, Pulse};

/// How a piece of text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Warn,
    Bad,
}

/// A line: pieces, each in its tone.
pub(super) struct Line(pub(super) Vec<(Tone, String)>);

/// All that is known.
pub(super) struct View {
    pulse: Option<Pulse>,
    /// Deliveries in a second, of the last pulses.
    rates: VecDeque<f64>,
    /// Why there is no news, if there is none.
    away: Option<String>,
    is_paused: bool,
    has_color: bool,
}

/// Seconds of which the rate of deliveries is drawn.
const RATES_MAX: usize = 60;

/// Columns of what a line is about.
const LABEL_COLUMNS: usize = 13;

/// What happens where something did not go as somebody wished, and what it is called.
const LOSSES: [(&str, &str); 13] = [
    ("gaps_lapped", "gaps: overtaken"),
    ("gaps_evicted", "gaps: cursor too old"),
    ("gaps_epoch", "gaps: another log"),
    ("gaps_skipped", "gaps: conflated"),
    ("events_skipped", "events conflated"),
    ("closed_slow", "closed slow"),
    ("cut_stalled", "cut off, took nothing"),
    ("publishes_refused", "publishes refused"),
    ("turned_away", "connections turned away"),
    ("accept_failures", "connections not accepted"),
    ("loop_stalls", "loops stood still"),
    ("panics", "faults"),
    ("log_lines_dropped", "log lines dropped"),
];

impl View {
    /// Nothing is known yet.
    pub(super) fn new(has_color: bool) -> View {
        View { pulse: None, rates: VecDeque::new(), away: None, is_paused: false, has_color }
    }

    /// Whether it may be in colour.
    pub(super) fn has_color(&self) -> bool {
        self.has_color
    }

    /// Takes a pulse in; while it is paused only as a sign of life.
    pub(super) fn take(&mut self, pulse: Pulse) {
        self.away = None;
        if self.is_paused {
            return;
        }
        if let Some(rate) = pulse.rate(&["websocket_events", "sse_events"]) {
            if RATES_MAX <= self.rates.len() {
                self.rates.pop_front();
            }
            self.rates.push_back(rate);
        }
        self.pulse = Some(pulse);
    }

    /// There is no news, for this reason.
    pub(super) fn lose(&mut self, why: String) {
        self.away = Some(why);
    }

    /// Stands still, or goes on.
    pub(super) fn toggle_pause(&mut self) {
        self.is_paused = !self.is_paused;
    }

    /// As many lines as fit, none longer than `width`.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let mut lines = vec![self.title()];
        match &self.pulse {
            Some(pulse) => self.body(pulse, width, height, &mut lines),
            None => lines.push(labelled("", "waiting for the first figures")),
        }
        lines.truncate(height.saturating_sub(1));
        while lines.len() + 1 < height {
            lines.push(Line(Vec::new()));
        }
        lines.push(Line(vec![(Tone::Faint, "q quit   p pause".to_owned())]));
        lines.truncate(height);
        lines.iter_mut().for_each(|line| line.cut(width));
        lines
    }

    fn title(&self) -> Line {
        let mut pieces = vec![(Tone::Strong, "Fanfare ".to_owned())];
        if let Some(pulse) = &self.pulse {
            pieces.push((Tone::Faint, format!("{}  log {}  ", plain(&pulse.version), plain(&pulse.epoch))));
        }
        pieces.push(match &self.away {
            Some(why) => (Tone::Bad, format!("AWAY: {}; trying again", plain(why))),
            None if self.is_paused => (Tone::Warn, "PAUSED".to_owned()),
            None if self.pulse.as_ref().is_some_and(|pulse| pulse.draining) => {
                (Tone::Bad, "SHUTTING DOWN".to_owned())
            }
            None => (Tone::Good, "LIVE".to_owned()),
        });
        Line(pieces)
    }

    fn body(&self, pulse: &Pulse, width: usize, height: usize, lines: &mut Vec<Line>) {
        lines.push(Line(Vec::new()));
        let rate = |names: &[&str], write: &dyn Fn(f64) -> String| {
            pulse.rate(names).map_or("-".to_owned(), |rate| format!("{}/s", write(rate)))
        };
        let delivered = rate(&["websocket_events", "sse_events"], &short);
        lines.push(labelled(
            "throughput",
            &format!(
                "{} in   {delivered} delivered   {}",
                rate(&["events"], &short),
                rate(&["bytes"], &bytes)
            ),
        ));
        lines.push(labelled("", &self.spark(width.saturating_sub(LABEL_COLUMNS))));
        let of = &pulse.connections;
        let kinds =
            [(of.websocket, "WebSocket"), (of.sse, "SSE"), (of.http, "HTTP"), (of.operators, "operators")];
        let kinds = kinds.iter().filter(|(count, _)| *count != 0);
        let kinds: Vec<String> = kinds.map(|(count, name)| format!("{} {name}", grouped(*count))).collect();
        let subscriptions = grouped(pulse.subscriptions);
        lines
            .push(labelled("connections", &format!("{}   {subscriptions} subscriptions", kinds.join("   "))));
        let live = &pulse.latency.live;
        let latency = match live.count {
            0 => "no delivery in the last second".to_owned(),
            _ => format!(
                "p50 {}   p99 {}   p99.9 {}   max {}",
                time(live.p50),
                time(live.p99),
                time(live.p999),
                time(live.max)
            ),
        };
        let span = &pulse.latency.span;
        let span =
            if span.count == 0 { String::new() } else { format!("   first to last {}", time(span.max)) };
        lines.push(labelled("latency", &(latency + &span)));
        let mut loops = vec![(Tone::Faint, format!("{:LABEL_COLUMNS$}", "loops"))];
        for (index, state) in pulse.loops.iter().enumerate() {
            let busy = state.busy.unwrap_or(0.0);
            let (tone, late) = match state {
                state if state.stalled_ms != 0 => {
                    (Tone::Bad, format!(" stands still for {}", duration(state.stalled_ms)))
                }
                state if state.lag_events != 0 => {
                    (Tone::Warn, format!(" {} behind", short(state.lag_events as f64)))
                }
                _ => (Tone::Plain, String::new()),
            };
            loops.push((tone, format!("{index} {} {:.0} %{late}   ", bar(busy, 10), busy * 100.0)));
        }
        lines.push(Line(loops));
        let log = &pulse.log;
        let fill = |held: u64, max: u64| 100.0 * held as f64 / max.max(1) as f64;
        lines.push(labelled(
            "log",
            &format!(
                "{} to {}   {:.0} % of events   {} ({:.0} %)   {}   {} channels",
                grouped(log.oldest),
                grouped(log.newest),
                fill(log.events, log.events_max),
                bytes(log.bytes as f64),
                fill(log.bytes, log.bytes_max),
                duration(log.age_ms),
                grouped(log.channels)
            ),
        ));
        lines.push(losses(pulse));
        lines.push(Line(Vec::new()));
        let left = height.saturating_sub(lines.len() + 2);
        clients(pulse, left * 2 / 3, lines);
        lines.push(Line(Vec::new()));
        channels(pulse, height.saturating_sub(lines.len() + 2), width, lines);
    }

    /// The rate of deliveries over the last seconds.
    fn spark(&self, columns: usize) -> String {
        let top = self.rates.iter().copied().fold(1.0, f64::max);
        let shown = self.rates.len().min(columns);
        let level = |rate: &f64| SPARKS[((rate / top * 7.0).round() as usize).min(7)];
        self.rates.iter().skip(self.rates.len() - shown).map(level).collect()
    }
}

const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

fn losses(pulse: &Pulse) -> Line {
    let mut pieces = vec![(Tone::Faint, format!("{:LABEL_COLUMNS$}", "losses"))];
    for (name, label) in LOSSES {
        let total = pulse.total.get(name).copied().unwrap_or(0);
        let late = pulse.delta.get(name).copied().unwrap_or(0);
        if total != 0 {
            let more = if late == 0 { String::new() } else { format!(" (+{})", grouped(late)) };
            let tone = if late == 0 { Tone::Plain } else { Tone::Warn };
            pieces.push((tone, format!("{label} {}{more}   ", grouped(total))));
        }
    }
    if pieces.len() == 1 {
        pieces.push((Tone::Good, "none since the start".to_owned()));
    }
    Line(pieces)
}

fn clients(pulse: &Pulse, rows: usize, lines: &mut Vec<Line>) {
    if pulse.lagging == 0 {
        return lines.push(labelled("slowest", "nobody is behind"));
    }
    lines.push(Line(vec![(
        Tone::Strong,
        format!(
            "{:<12} {:<16} {:<22} {:<9} {:>9} {:>8} {:>13}",
            "SLOWEST", "user", "address", "over", "behind", "for", "takes nothing"
        ),
    )]));
    let or_none = |ms: u64| if ms == 0 { "-".to_owned() } else { duration(ms) };
    for Client { id, user, address, transport, lag, lag_ms, stalled_ms } in pulse.slowest.iter().take(rows) {
        let text = format!(
            "{:<12} {:<16} {:<22} {:<9} {:>9} {:>8} {:>13}",
            cut(&plain(id), 12),
            cut(&plain(user.as_deref().unwrap_or("-")), 16),
            cut(&plain(address.as_deref().unwrap_or("-")), 22),
            plain(transport),
            short(*lag as f64),
            or_none(*lag_ms),
            or_none(*stalled_ms)
        );
        lines.push(Line(vec![(if *stalled_ms == 0 { Tone::Plain } else { Tone::Warn }, text)]));
    }
    let more = pulse.lagging.saturating_sub(rows.min(pulse.slowest.len()) as u64);
    if more != 0 {
        lines.push(Line(vec![(Tone::Faint, format!("and {} more behind", grouped(more)))]));
    }
}

fn channels(pulse: &Pulse, rows: usize, width: usize, lines: &mut Vec<Line>) {
    let total = pulse.delta.get("events").copied().unwrap_or(0).max(1);
    lines.push(Line(vec![(Tone::Strong, "CHANNELS".to_owned())]));
    if pulse.traffic.channels.is_empty() {
        lines.push(Line(vec![(Tone::Faint, "no events in the last second".to_owned())]));
    }
    let name_columns = width.saturating_sub(32).clamp(12, 60);
    for of in pulse.traffic.channels.iter().take(rows) {
        let mut name = plain(&of.channel);
        if let Some(workspace) = &of.workspace {
            name += &format!(" ({})", plain(workspace));
        }
        let share = of.events as f64 / total as f64;
        let name = cut(&name, name_columns);
        let text = format!("{name:<name_columns$} {:>8} {}", short(of.events as f64), bar(share, 20));
        lines.push(Line(vec![(Tone::Plain, text)]));
    }
}

impl Line {
    /// Makes it no longer than `width`.
    fn cut(&mut self, width: usize) {
        let mut left = width;
        for (_, text) in &mut self.0 {
            *text = cut(text, left);
            left -= text.chars().count();
        }
    }
}

fn labelled(label: &str, text: &str) -> Line {
    Line(vec![(Tone::Faint, format!("{label:LABEL_COLUMNS$}")), (Tone::Plain, text.to_owned())])
}

fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}

/// What others have named must not move the cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn bar(share: f64, columns: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
    "█".repeat(full) + &"░".repeat(columns - full)
}

/// 12,345.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 12.3k; exact below ten thousand.
fn short(number: f64) -> String {
    match number {
        number if number < 9_999.5 => grouped(number.round() as u64),
        number if number < 999_950.0 => format!("{:.1}k", number / 1e3),
        number if number < 999_950_000.0 => format!("{:.1}M", number / 1e6),
        number => format!("{:.1}G", number / 1e9),
    }
}

/// 3.4 MB.
fn bytes(number: f64) -> String {
    match number {
        number if number < 999.5 => format!("{number:.0} B"),
        number if number < 999_950.0 => format!("{:.1} kB", number / 1e3),
        number if number < 999_950_000.0 => format!("{:.1} MB", number / 1e6),
        number => format!("{:.1} GB", number / 1e9),
    }
}

/// 340 µs, 1.2 ms, 4.5 s; of nanoseconds.
fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => duration(ns / 1_000_000),
    }
}

/// 4.5 s, 12 min, 3.0 h; of milliseconds.
fn duration(ms: u64) -> String {
    match ms {
        0..120_000 => format!("{:.1} s", ms as f64 / 1e3),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{:.1} h", ms as f64 / 3.6e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(view: &View, width: usize, height: usize) -> Vec<String> {
        let text = |line: Line| line.0.into_iter().map(|(_, text)| text).collect::<String>();
        view.lines(width, height).into_iter().map(text).collect()
    }

    fn pulse(change: impl FnOnce(&mut serde_json::Value)) -> Pulse {
        let curve = serde_json::json!({"count": 5, "p50": 120_000, "p99": 2_500_000, "p999": 3_000_000, "max": 4_000_000});
        let mut document = serde_json::json!({
            "elapsed_ms": 500, "epoch": "e7", "version": "1.2.3", "draining": false,
            "total": {"events": 70_000, "gaps_lapped": 0}, "delta": {"events": 100, "websocket_events": 6000},
            "connections": {"websocket": 1200, "sse": 0, "http": 2, "operators": 1},
            "lagging": 1, "subscriptions": 1200,
            "log": {"oldest": 1, "newest": 70_000, "events": 70_000, "events_max": 100_000, "bytes": 5_000_000,
                "bytes_max": 50_000_000, "age_ms": 300_000, "channels": 4},
            "loops": [{"busy": 0.5, "lag_events": 0, "stalled_ms": 0}],
            "traffic": {"channels": [{"channel": "repo:a/b", "events": 75}]},
            "slowest": [{"id": "0-1f", "user": "a\u{1b}[2Jlice", "address": null, "transport": "websocket",
                "lag": 12_345, "lag_ms": 61_000, "stalled_ms": 4_000}],
            "latency": {"live": curve, "span": curve}, "unknown": true,
        });
        change(&mut document);
        Pulse::parse(&document.to_string()).unwrap()
    }

    #[test]
    fn what_is_shown() {
        let mut view = View::new(true);
        assert!(text(&view, 80, 5).concat().contains("waiting for the first figures"));
        view.take(pulse(|_| ()));
        let all = text(&view, 120, 40);
        let check = |part: &str| assert!(all.iter().any(|line| line.contains(part)), "{part} in {all:#?}");
        check("Fanfare 1.2.3  log e7  LIVE");
        check("200/s in   12.0k/s delivered");
        check("1,200 WebSocket   2 HTTP   1 operators   1,200 subscriptions");
        check("p50 120 µs   p99 2.5 ms   p99.9 3.0 ms   max 4.0 ms   first to last 4.0 ms");
        check("0 █████░░░░░ 50 %");
        check("1 to 70,000   70 % of events   5.0 MB (10 %)   5 min   4 channels");
        check("losses       none since the start");
        check("0-1f         a?[2Jlice");
        check("12.3k   61.0 s         4.0 s");
        check("repo:a/b");
        check("███████████████░░░░░");
    }

    #[test]
    fn it_fits_whatever_the_size() {
        let mut view = View::new(false);
        view.take(pulse(|_| ()));
        for (width, height) in [(0, 0), (1, 1), (10, 3), (40, 10), (80, 24), (300, 100)] {
            let lines = text(&view, width, height);
            assert_eq!(lines.len(), height, "{width}x{height}");
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}x{height}: {lines:#?}");
        }
    }

    #[test]
    fn it_says_that_the_server_is_away_and_stands_still_when_told() {
        let mut view = View::new(true);
        view.take(pulse(|_| ()));
        view.lose("cannot connect".into());
        assert!(text(&view, 100, 9)[0].contains("AWAY: cannot connect"));
        view.toggle_pause();
        view.take(pulse(|document| document["version"] = "2.0.0".into()));
        assert!(text(&view, 100, 9)[0].contains("1.2.3"), "it is paused");
        assert!(text(&view, 100, 9)[0].contains("PAUSED"));
        view.toggle_pause();
        view.take(pulse(|document| {
            document["version"] = "2.0.0".into();
            document["total"]["gaps_lapped"] = 3.into();
            document["delta"]["gaps_lapped"] = 1.into();
            document["lagging"] = 0.into();
        }));
        let all = text(&view, 100, 30).join("\n");
        assert!(all.contains("2.0.0") && all.contains("gaps: overtaken 3 (+1)"), "{all}");
        assert!(all.contains("nobody is behind"), "{all}");
    }
}
