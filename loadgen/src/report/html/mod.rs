//! A report as one page: text and tables are written here, charts are drawn in the browser from the data that the page holds.
//!
//! # Contract       the page asks nothing of any network, and its policy forbids it to. Whatever comes from outside, such as
//! names, targets and what a server has said, is text and stays text: escaped here, and in the browser never parsed as HTML
//! # Why not …      charts written here: they could not fit themselves to a phone, and would tell nothing under a finger

mod chart;

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};

use super::comparison;
use super::headline::milliseconds;
use super::table::{QUANTILES, binary, grouped, plural};
use super::{Report, Verdict};
use crate::timeline::{END_TO_END, Interval};

/// The page of one run, or of several side by side, named by `labels`.
///
/// # Errors
/// A saved text is no histogram.
pub(crate) fn page(reports: &[Report], labels: &[String]) -> Result<String, String> {
    let data = chart::data(reports, labels)?;
    let mut out = String::new();
    let title = match reports {
        [one] => one.headline(),
        several => format!("{} runs beside each other", several.len()),
    };
    let nonce = head(&mut out, &title, &[]);
    out.push_str("</head>\n<body>\n");
    match reports {
        [one] => put_run(&mut out, one, &labels[0]),
        several => put_runs(&mut out, several, labels),
    }
    put(
        &mut out,
        format_args!(
            "<script type=\"application/json\" id=\"data\">{}</script>\n<script nonce=\"{nonce}\">\n{SCRIPT}</script>\n\
         </body>\n</html>\n",
            embedded(&data)
        ),
    );
    Ok(out)
}

/// Begins a page, up to the end of its styles, of which `more` are its own; returns the number that lets a script run.
pub(crate) fn head(out: &mut String, title: &str, more: &[&str]) -> String {
    // Only what bears the number runs, should anything ever slip through.
    let nonce = format!("{:016x}", RandomState::new().hash_one(title));
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put(
        out,
        format_args!(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{} · loadgen</title>\n<style nonce=\"{nonce}\">\n{STYLE}{}</style>\n",
            escape(title),
            more.concat()
        ),
    );
    nonce
}

fn put_run(out: &mut String, report: &Report, label: &str) {
    let (word, rest) = split_headline(report);
    put(
        out,
        format_args!(
            "<header>\n<p class=\"verdict {}\">{word}</p>\n<h1>{}</h1>\n<p class=\"about\">{}</p>\n",
            class(report.verdict),
            escape(&rest),
            about(report, label),
        ),
    );
    put_reasons(out, report);
    out.push_str("</header>\n<main>\n");
    put_tiles(out, report);
    out.push_str(CHARTS);
    put_tables(out, report);
    out.push_str("</main>\n");
    put_definitions(out);
}

/// Everything that is told of one run besides its headline and its charts.
fn put_tables(out: &mut String, report: &Report) {
    put_latencies(out, report);
    put_objectives(out, report);
    put_counts(out, report);
    put_costs(out, report);
    put_agents(out, report);
    put_intervals(out, report);
    put_setting(out, report);
    put_environment(out, report);
}

fn put_runs(out: &mut String, reports: &[Report], labels: &[String]) {
    put(
        out,
        format_args!("<header>\n<h1>{} runs beside each other</h1>\n<ul class=\"runs\">\n", reports.len()),
    );
    for (report, label) in reports.iter().zip(labels) {
        let (word, rest) = split_headline(report);
        put(
            out,
            format_args!(
                "<li><span class=\"verdict {}\">{word}</span> <strong>{}</strong>: {}\n",
                class(report.verdict),
                escape(label),
                escape(&rest)
            ),
        );
        put_reasons(out, report);
        out.push_str("</li>\n");
    }
    out.push_str("</ul>\n</header>\n<main>\n");
    out.push_str(CHARTS);
    put_comparison(out, reports, labels);
    for (report, label) in reports.iter().zip(labels) {
        put(
            out,
            format_args!(
                "<h2 class=\"run\">{}</h2>\n<p class=\"about\">{}</p>\n",
                escape(label),
                about(report, label)
            ),
        );
        put_tables(out, report);
    }
    out.push_str("</main>\n");
    put_definitions(out);
}

/// The verdict's word and what is behind it, with a capital.
fn split_headline(report: &Report) -> (&'static str, String) {
    let word = report.verdict.word();
    let headline = report.headline();
    let rest = headline.strip_prefix(word).unwrap_or(&headline).trim_start_matches([':', ' ']);
    let mut characters = rest.chars();
    let capital = characters.next().map(|first| first.to_uppercase().collect::<String>());
    (word, capital.unwrap_or_default() + characters.as_str())
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Failed | Verdict::Missed => "failed",
        Verdict::Invalid | Verdict::Interrupted => "doubtful",
    }
}

/// Where, when and what, in a line.
fn about(report: &Report, label: &str) -> String {
    let name = if label == report.target { String::new() } else { format!("{} · ", escape(label)) };
    let at = humantime::format_rfc3339_seconds(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(report.finished_at.min(LAST_SECOND)),
    );
    let subscribers = grouped(report.setting.connections as f64);
    let many = plural(report.setting.connections as u64);
    format!(
        "{name}{} · {} · {subscribers} subscriber{many} · measured {:.1} s · ended <time datetime=\"{at}\">{at}</time>",
        escape(&report.server()),
        escape(&report.load()),
        report.delivered.measured_s,
    )
}

/// What went wrong and what else there is to say, where it is seen first.
fn put_reasons(out: &mut String, report: &Report) {
    let failures = report.verification.failures.iter().map(|text| ("failed", text.clone()));
    let missed = report.objectives.iter().filter(|judged| !judged.met);
    let missed = missed
        .map(|judged| ("failed", format!("objective missed: {} ({})", judged.objective, judged.measured())));
    let invalid = report.invalid.iter().map(|text| ("doubtful", text.clone()));
    let notes = report.notes.iter().take(NOTES_SHOWN).map(|text| ("note", text.clone()));
    let mut reasons = failures.chain(missed).chain(invalid).chain(notes).peekable();
    if reasons.peek().is_none() {
        return;
    }
    out.push_str("<ul class=\"reasons\">\n");
    for (class, text) in reasons {
        put(out, format_args!("<li class=\"{class}\">{}</li>\n", escape(&text)));
    }
    if NOTES_SHOWN < report.notes.len() {
        put(out, format_args!("<li class=\"note\">and {} more</li>\n", report.notes.len() - NOTES_SHOWN));
    }
    out.push_str("</ul>\n");
}

fn put_tiles(out: &mut String, report: &Report) {
    let mut tiles: Vec<(&str, String, &str)> = Vec::new();
    let only_connects = !report.publishes() && !report.receives();
    if only_connects {
        tiles.push(("open at the end", grouped(report.delivered.open_at_end as f64), "connections"));
    }
    if report.receives() {
        tiles.push(("delivered", grouped(report.delivered.per_s.round()), "a second"));
    }
    if report.publishes() {
        tiles.push(("published", grouped(report.published.accepted_per_s.round()), "a second"));
    }
    if let Some(reach) = report.delivered.reach {
        tiles.push(("reach", format!("{reach:.6}"), "of what was due"));
    }
    if !report.objectives.is_empty() {
        let met = report.objectives.iter().filter(|judged| judged.met).count();
        tiles.push(("objectives", format!("{met} of {}", report.objectives.len()), "met"));
    }
    let hides = |name: &str| match name {
        "handshake" => !only_connects,
        "ack" => report.receives(),
        _ => false,
    };
    for (name, quantile, title, unit) in TILES.into_iter().filter(|(name, ..)| !hides(name)) {
        let row = report.latency_ms.iter().find(|row| row.name == name);
        let figure = QUANTILES.iter().find(|(other, ..)| *other == quantile);
        if let (Some(row), Some((_, least, value))) = (row, figure)
            && *least <= row.summary.count
        {
            let value = value(&row.summary);
            let mark = if report.is_within_clocks(name, value) { "~" } else { "" };
            tiles.push((title, format!("{mark}{}", milliseconds(value)), unit));
        }
    }
    out.push_str("<dl class=\"tiles\">\n");
    for (name, value, unit) in tiles {
        put(out, format_args!("<div><dt>{name}</dt><dd>{value} <small>{unit}</small></dd></div>\n"));
    }
    out.push_str("</dl>\n");
}

fn put_latencies(out: &mut String, report: &Report) {
    if report.latency_ms.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Latency in figures</h2>\n");
    open_table(
        out,
        "Latency in milliseconds",
        &["", "count", "mean"],
        QUANTILES.iter().map(|(name, ..)| *name),
    );
    for row in &report.latency_ms {
        let summary = &row.summary;
        put(
            out,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{:.3}</td>",
                escape(&row.name),
                grouped(summary.count as f64),
                summary.mean_ms
            ),
        );
        for (_, least, value) in QUANTILES {
            if least <= summary.count && report.is_within_clocks(&row.name, value(summary)) {
                put(
                    out,
                    format_args!(
                        "<td><abbr title=\"less than clocks may be apart\">~{:.3}</abbr></td>",
                        value(summary)
                    ),
                );
            } else if least <= summary.count {
                put(out, format_args!("<td>{:.3}</td>", value(summary)));
            } else {
                out.push_str("<td><abbr title=\"too few records for this\">–</abbr></td>");
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn put_counts(out: &mut String, report: &Report) {
    let (published, delivered) = (&report.published, &report.delivered);
    let (verification, generator) = (&report.verification, &report.generator);
    let count = |number: u64| grouped(number as f64);
    let mut pairs = vec![
        ("accepted by the server", count(published.accepted)),
        ("refused", count(published.refused)),
        ("sent again after a refusal", count(published.retried)),
        ("never answered", count(published.unanswered)),
        ("due and never sent", count(published.unsent)),
        ("mean size of an event's data", binary(published.data_bytes_mean)),
        ("deliveries in all", count(delivered.total)),
        ("deliveries that were due", count(verification.expected)),
        ("received a second", binary(delivered.bytes_per_s)),
        ("lost without a word", count(verification.lost)),
        ("repeated", count(verification.faults.repeated)),
        ("out of order", count(verification.faults.reordered)),
        ("altered or on another channel", count(verification.faults.altered + verification.faults.misrouted)),
        ("gaps told", format!("{} ({} events)", count(verification.gaps), count(verification.in_gaps))),
        ("closed by the server", count(delivered.closed_by_server)),
        ("cut off and resumed", count(delivered.churned)),
        ("cut off by the storm", count(delivered.stormed)),
        ("left and came anew", count(delivered.replaced)),
        ("open at the end", count(delivered.open_at_end)),
        ("busiest loop of the generator", format!("{:.0} % of a processor", generator.cpu_share_max * 100.0)),
        ("publishing", format!("{:.0} % of a processor", generator.cpu_share_publishing * 100.0)),
        ("longest turn of the generator", format!("{:.1} ms", generator.turn_ms_max)),
    ];
    if 0 < report.setting.slow {
        let (gaps, events) = (verification.gaps_of_slow, verification.in_gaps_of_slow);
        pairs.push(("gaps told to slow subscribers", format!("{} ({} events)", count(gaps), count(events))));
    }
    let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    let refusals =
        delivered.refusals.iter().map(|(reason, number)| (format!("failed: {reason}"), count(*number)));
    out.push_str("<section>\n<h2>Counts</h2>\n");
    put_pairs(out, pairs.chain(refusals));
    out.push_str("</section>\n");
}

/// What the run had to reach, and whether it did.
fn put_objectives(out: &mut String, report: &Report) {
    if report.objectives.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Objectives</h2>\n");
    open_table(out, "What the run had to reach", &["", "", "measured"], [].into_iter());
    for judged in &report.objectives {
        let class = if judged.met { "pass" } else { "failed" };
        put(
            out,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td><span class=\"verdict {class}\">{}</span></td><td>{}</td></tr>\n",
                escape(&judged.objective),
                judged.word(),
                escape(&judged.measured())
            ),
        );
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

/// Which processes drove the subscribers, and how well their clocks are known.
fn put_agents(out: &mut String, report: &Report) {
    let Some(first) = report.agents.first() else { return };
    out.push_str("<section>\n<h2>Agents</h2>\n");
    let names: Vec<&str> = first.pairs().into_iter().map(|(name, _)| name).collect();
    open_table(out, "Who drove the subscribers", &["agent"], names.into_iter());
    for agent in &report.agents {
        put(out, format_args!("<tr><th scope=\"row\">{}</th>", escape(&agent.address)));
        for (_, text) in agent.pairs() {
            put(out, format_args!("<td>{}</td>", escape(&text)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    if let Some(line) = report.clock_line() {
        put(out, format_args!("<p>Clocks: {}.</p>\n", escape(&line)));
    }
    out.push_str("</section>\n");
}

/// What the run cost, where anybody told.
fn put_costs(out: &mut String, report: &Report) {
    let figures = report.costs.iter().flat_map(|costs| costs.figures());
    let mut pairs =
        figures.filter_map(|(name, value, shown)| Some((name.to_owned(), shown(value?)))).peekable();
    if pairs.peek().is_none() {
        return;
    }
    out.push_str("<section>\n<h2>Costs</h2>\n");
    put_pairs(out, pairs);
    out.push_str("</section>\n");
}

/// What the charts over time show, for those who cannot see them.
fn put_intervals(out: &mut String, report: &Report) {
    if report.intervals.is_empty() {
        return;
    }
    put(
        out,
        format_args!(
            "<details>\n<summary>{} intervals of {} s in figures</summary>\n",
            report.intervals.len(),
            report.interval_s
        ),
    );
    let names = [
        "from, s",
        "phase",
        "published/s",
        "delivered/s",
        "p50, ms",
        "p99, ms",
        "max, ms",
        "span p99, ms",
        "busiest",
    ];
    open_table(out, "Intervals", &names, [].into_iter());
    for interval in &report.intervals {
        put_interval(out, report.phase_of(interval), interval);
    }
    out.push_str("</tbody></table></div>\n</details>\n");
}

fn put_interval(out: &mut String, phase: &str, interval: &Interval) {
    let of = |name: &str| interval.latency_ms.iter().find(|row| row.name == name).map(|row| &row.summary);
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    put(
        out,
        format_args!(
            "<tr><th scope=\"row\">{:.1}</th><td>{phase}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{:.0} %</td></tr>\n",
            interval.start_s,
            grouped(interval.accepted_per_s().round()),
            grouped(interval.delivered_per_s().round()),
            ms(of(END_TO_END).map(|summary| summary.p50_ms)),
            ms(of(END_TO_END).map(|summary| summary.p99_ms)),
            ms(of(END_TO_END).map(|summary| summary.max_ms)),
            ms(of("span").map(|summary| summary.p99_ms)),
            interval.cpu_share_max * 100.0,
        ),
    );
}

fn put_comparison(out: &mut String, reports: &[Report], labels: &[String]) {
    out.push_str("<section>\n<h2>Figures</h2>\n");
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    open_table(
        out,
        "Figures of all runs; behind each its difference from the first",
        &[""],
        labels.into_iter(),
    );
    for line in comparison::lines(reports) {
        put(out, format_args!("<tr><th scope=\"row\">{}</th>", escape(&line.name)));
        for (place, value) in line.values.iter().enumerate() {
            let difference = line.difference(place);
            put(out, format_args!("<td>{}", escape(value)));
            if !difference.is_empty() {
                put(out, format_args!(" <small>{difference}</small>"));
            }
            out.push_str("</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

/// Every setting, by the names that the saved result has for them.
fn put_setting(out: &mut String, report: &Report) {
    out.push_str("<details>\n<summary>Settings</summary>\n");
    let setting = serde_json::to_value(&report.setting).unwrap_or_default();
    let pairs = setting.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    put_pairs(
        out,
        pairs.map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.replace('_', " "), value)
        }),
    );
    out.push_str("</details>\n");
}

fn put_environment(out: &mut String, report: &Report) {
    let environment = &report.environment;
    if environment.command.is_empty() {
        return;
    }
    let mut pairs = vec![("command".to_owned(), shell(&environment.command))];
    pairs.extend(environment.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
    pairs.push(("program".to_owned(), environment.program.clone()));
    let memory = environment.memory_bytes.map(|bytes| binary(bytes as f64));
    let known = [
        ("system", environment.system.clone()),
        ("kernel", environment.kernel.clone()),
        ("architecture", Some(environment.architecture.clone())),
        ("processor", environment.processor.clone()),
        ("processors", Some(environment.processors.to_string())),
        ("memory", memory),
        ("clock", environment.clock.clone()),
        ("load of the machine at the end (1, 5, 15 minutes)", environment.load.clone()),
    ];
    pairs.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    pairs.extend(environment.limits.iter().map(|(name, value)| (name.clone(), value.clone())));
    out.push_str("<details>\n<summary>Environment</summary>\n");
    put_pairs(out, pairs.into_iter());
    out.push_str("</details>\n");
}

/// Names with their values.
pub(crate) fn put_pairs(out: &mut String, pairs: impl Iterator<Item = (String, String)>) {
    out.push_str("<dl class=\"pairs\">\n");
    for (name, value) in pairs {
        put(out, format_args!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(&name), escape(&value)));
    }
    out.push_str("</dl>\n");
}

fn put_definitions(out: &mut String) {
    out.push_str("<footer>\n<h2>What the words mean</h2>\n<dl class=\"words\">\n");
    for (word, meaning) in WORDS {
        put(out, format_args!("<dt>{word}</dt><dd>{meaning}</dd>\n"));
    }
    out.push_str("</dl>\n</footer>\n");
}

/// A table that scrolls by itself where it is too wide; `caption` is HTML.
pub(crate) fn open_table<'a>(
    out: &mut String,
    caption: &str,
    names: &[&'a str],
    more: impl Iterator<Item = &'a str>,
) {
    put(
        out,
        format_args!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table>\n<caption>{caption}</caption>\n<thead><tr>"
        ),
    );
    for name in names.iter().copied().chain(more) {
        put(out, format_args!("<th scope=\"col\">{}</th>", escape(name)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
}

/// A command as it would be typed.
pub(crate) fn shell(arguments: &[String]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/,=@%+-*".contains(&byte);
    let quoted = arguments.iter().map(|argument| {
        if !argument.is_empty() && argument.bytes().all(plain) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Text as it stands between tags or in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// JSON that can stand in an element: nothing in it ends the element or begins a comment.
fn embedded(data: &serde_json::Value) -> String {
    let mut out = String::new();
    for character in data.to_string().chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out
}

/// Writing into a string cannot fail.
pub(crate) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Where the script draws.
const CHARTS: &str = "<div id=\"charts\"></div>\n\
    <noscript><p class=\"about\">The charts need JavaScript; all figures are in the tables.</p></noscript>\n";
/// The latencies that are seen first, those of publishing or of connecting where a run did nothing else: kind, quantile, title, unit.
const TILES: [(&str, &str, &str, &str); 9] = [
    (END_TO_END, "p50", "p50", "ms end to end"),
    (END_TO_END, "p99", "p99", "ms end to end"),
    (END_TO_END, "p99.9", "p99.9", "ms end to end"),
    (END_TO_END, "max", "max", "ms end to end"),
    ("span", "p99", "span p99", "ms first to last"),
    ("ack", "p50", "ack p50", "ms"),
    ("ack", "p99", "ack p99", "ms"),
    ("handshake", "p50", "handshake p50", "ms"),
    ("handshake", "p99", "handshake p99", "ms"),
];
const NOTES_SHOWN: usize = 20;
/// The last second of the year 9999, beyond which there is no date.
const LAST_SECOND: u64 = 253_402_300_799;
const WORDS: [(&str, &str); 11] = [
    (
        "e2e",
        "from the time an event was due to its receipt by one subscriber; a server or a generator that stalls cannot hide it",
    ),
    ("ws, sse", "the same, over WebSocket or server-sent events alone"),
    ("service", "from the time an event was really sent to its receipt"),
    ("ack", "from the sending of a publish to its answer"),
    ("span", "from the first subscriber's receipt of an event to the last one's"),
    ("handshake", "from the start of a connection to the answer that opens the stream"),
    ("reconnect", "from the loss of a connection to the open stream of the next one"),
    (
        "resumed",
        "from the time an event was due to its receipt, where the generator had cut the subscriber off meanwhile; not in e2e",
    ),
    ("send lag", "how late the generator itself was"),
    ("reach", "deliveries received of those that were due; what lies in a gap that was told is not due"),
    ("p99", "99 of 100 records are no longer than this"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::Judged;
    use crate::report::tests::sample;

    const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{2028}<!--";

    #[test]
    fn what_comes_from_outside_stays_text() {
        let mut report = sample(HOSTILE);
        report.target = HOSTILE.to_owned();
        report.notes.push(HOSTILE.to_owned());
        report.invalid.push(HOSTILE.to_owned());
        report.verification.failures.push(HOSTILE.to_owned());
        report.setting.size = HOSTILE.to_owned();
        report.environment.command = vec!["loadgen".to_owned(), HOSTILE.to_owned()];
        report.environment.variables.insert(HOSTILE.to_owned(), HOSTILE.to_owned());
        report.environment.processor = Some(HOSTILE.to_owned());
        report.latency_ms[0].name = HOSTILE.to_owned();
        report.delivered.refusals.insert(HOSTILE.to_owned(), 1);
        let judged = Judged { objective: HOSTILE.to_owned(), met: false, figure: None };
        report.objectives.push(judged);
        report.setting.arrival = HOSTILE.to_owned();
        report.setting.protocol = HOSTILE.to_owned();
        let labels = [HOSTILE.to_owned(), HOSTILE.to_owned()];
        let one = page(std::slice::from_ref(&report), &labels[..1]).expect("a page");
        let two = page(&[report, sample("b")], &labels).expect("a page");
        for html in [one, two] {
            assert_eq!(html.matches("<script").count(), 2, "its data and its own script");
            assert_eq!(html.matches("</script").count(), 2);
            assert_eq!(html.matches("<img").count() + html.matches("<!--").count(), 0);
            assert!(html.contains("&lt;/script&gt;") && html.contains(r"\u003c/script\u003e"));
        }
    }

    #[test]
    fn a_page_names_no_address_that_a_browser_would_ask() {
        let html = page(&[sample("a")], &["a".to_owned()]).expect("a page");
        for attribute in ["src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest", "WebSocket("] {
            assert!(!html.contains(attribute), "{attribute}");
        }
        assert!(!html.contains("innerHTML"));
    }

    #[test]
    fn a_page_says_in_words_what_happened() {
        let html = page(&[sample("a")], &["a".to_owned()]).expect("a page");
        assert!(html.contains(">PASS</p>"));
        assert!(html.contains("<h1>3,000 deliveries to 1,000 subscribers, p99 2.10 ms, nothing lost</h1>"));
    }

    #[test]
    fn objectives_and_costs_have_their_tables() {
        let mut report = sample("a");
        assert!(!page(&[sample("a")], &["a".to_owned()]).expect("a page").contains("<h2>Objectives</h2>"));
        report.objectives.push(Judged { objective: "p99<5ms".to_owned(), met: false, figure: Some(6.8) });
        report.costs = serde_json::from_str(r#"{"server_cpu_us_per_delivery": 4.25}"#).expect("costs");
        let html = page(&[report], &["a".to_owned()]).expect("a page");
        assert!(html.contains("objective missed: p99&lt;5ms (6.800 ms)"));
        assert!(html.contains("<span class=\"verdict failed\">FAIL</span></td><td>6.800 ms</td>"), "{html}");
        assert!(html.contains("<dt>server, µs a delivery</dt><dd>4.25</dd>"), "{html}");
    }

    #[test]
    fn commands_are_quoted_where_a_shell_would_read_them_otherwise() {
        let shell =
            |arguments: &[&str]| shell(&arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            shell(&["loadgen", "run", "ws://h:1", "--slo", "p99<5ms", "it's"]),
            r"loadgen run ws://h:1 --slo 'p99<5ms' 'it'\''s'"
        );
    }
}
