//! Comparisons as one page: how every server fares under each shape of load, drawn and in figures.
//!
//! # Contract       the page asks nothing of any network and runs no script. Whatever comes from outside, such as names, notes and
//! what a server has said, is text and stays text

mod chart;
mod document;
pub(crate) mod summary;

use std::time::{Duration, UNIX_EPOCH};

pub(crate) use self::document::Document;
use self::document::{BarRow, Comparison, Group, Row, bar_figure};
use super::statistics::Spread;
use crate::counting::outcome::shown;
use crate::report::html::{escape, head, open_table, put, put_pairs, shell};
use crate::report::table::binary;

/// The page of `document`.
pub(crate) fn page(document: &Document) -> String {
    let mut out = String::new();
    let title = title(document);
    head(&mut out, &title, &[STYLE]);
    put(&mut out, format_args!("</head>\n<body>\n<header>\n<h1>{}</h1>\n", escape(&title)));
    put(&mut out, format_args!("<p class=\"about\">{}</p>\n", escape(&about(document))));
    put_tiles(&mut out, document);
    put_reasons(&mut out, document);
    out.push_str("</header>\n<main>\n");
    for group in document.groups() {
        put_group(&mut out, &group);
    }
    put_servers(&mut out, document);
    put_figures(&mut out, document);
    put_machine(&mut out, document);
    put(
        &mut out,
        format_args!("</main>\n<footer>\n<h2>How to read this</h2>\n{HOW}</footer>\n</body>\n</html>\n"),
    );
    out
}

/// Who is compared with how many.
fn title(document: &Document) -> String {
    let own = document.results.first().map_or("nothing", |first| &first.a.profile.name);
    let mut characters = own.chars();
    let capital: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    let own = capital + characters.as_str();
    let mut others: Vec<&str> =
        document.results.iter().map(|comparison| comparison.b.profile.name.as_str()).collect();
    others.sort_unstable();
    others.dedup();
    match others.as_slice() {
        [one] => format!("{own} beside {one}"),
        several => format!("{own} beside {} other servers", several.len()),
    }
}

/// Where and when.
fn about(document: &Document) -> String {
    let at = Duration::from_secs(document.finished_at.min(LAST_SECOND));
    let pins = match (document.pins.server, document.pins.client) {
        (Some(server), Some(client)) => format!("server on processor {server}, client on {client}"),
        _ => "processors as the system chose".to_owned(),
    };
    format!(
        "{} · {} processors · {pins} · ended {}",
        document.machine.processor,
        document.machine.cores,
        humantime::format_rfc3339_seconds(UNIX_EPOCH + at)
    )
}

fn put_tiles(out: &mut String, document: &Document) {
    let shapes = document.groups().len();
    let disturbed = document.results.iter().flat_map(|comparison| &comparison.pairs);
    let (all, disturbed) =
        disturbed.fold((0, 0), |(all, some), pair| (all + 1, some + usize::from(pair.is_disturbed)));
    let tile = |out: &mut String, name: &str, class: &str, value: usize, unit: &str| {
        put(
            out,
            format_args!(
                "<div><dt>{name}</dt><dd class=\"{class}\">{value} <small>{unit}</small></dd></div>\n"
            ),
        );
    };
    let class = |count: usize, class: &'static str| if count == 0 { "" } else { class };
    let (met, missed) = (document.bars("met"), document.bars("missed"));
    let undecided = document.bars("undecided") + document.bars("unknown");
    out.push_str("<dl class=\"tiles\">\n");
    tile(out, "met", class(met, "good"), met, "bars, whole interval within");
    tile(out, "undecided", class(undecided, "open"), undecided, "bars, interval on both sides");
    tile(out, "missed", class(missed, "bad"), missed, "bars, whole interval beyond");
    tile(out, "comparisons", "", document.results.len(), &format!("in {shapes} shapes of load"));
    tile(out, "pairs of runs", "", all, &format!("{disturbed} beside busy neighbours"));
    out.push_str("</dl>\n");
}

/// What a reader must know before he believes anything.
fn put_reasons(out: &mut String, document: &Document) {
    let mut reasons: Vec<(&str, String)> = Vec::new();
    for comparison in &document.results {
        let named = |text: &String| format!("{}: {text}", comparison.name);
        reasons.extend(comparison.failures.iter().map(|text| ("failed", named(text))));
        let missed = comparison.bars.iter().filter(|bar| bar.met == "missed");
        reasons
            .extend(missed.map(|bar| {
                ("failed", format!("{}: {} is missed ({})", comparison.name, bar.bar, told(bar)))
            }));
        reasons
            .extend(comparison.invalid.iter().map(|text| ("doubtful", format!("INVALID: {}", named(text)))));
        if comparison.verdict == "interrupted" {
            reasons.push((
                "doubtful",
                format!("{}: interrupted after {} pairs", comparison.name, comparison.pairs.len()),
            ));
        }
    }
    let not_run = document.not_run.iter();
    reasons.extend(not_run.map(|one| ("doubtful", format!("{} was not run: {}", one.name, one.reason))));
    if reasons.is_empty() {
        return;
    }
    out.push_str("<ul class=\"reasons\">\n");
    for (class, text) in reasons {
        put(out, format_args!("<li class=\"{class}\">{}</li>\n", escape(&text)));
    }
    out.push_str("</ul>\n");
}

fn put_group(out: &mut String, group: &Group<'_>) {
    let Some(first) = group.comparisons.first() else { return };
    let direction = if group.is_less_better() { "less is better" } else { "more is better" };
    put(
        out,
        format_args!(
            "<section>\n<h2>{}</h2>\n<div class=\"shape\">\n<p class=\"about load\">{}</p>\n<figure>\n\
             <p class=\"hint\">{} in parts of {}'s; {direction}</p>\n{}</figure>\n",
            escape(group.name),
            escape(&first.a.load),
            escape(&words(group.figure())),
            escape(&first.b.profile.name),
            chart::chart(group),
        ),
    );
    let names =
        ["beside", &first.a.profile.name, "the other", "ratio, 95 % interval", "bar", "others, cores"];
    open_table(out, &format!("{} in figures", escape(group.name)), &names, [].into_iter());
    for comparison in &group.comparisons {
        for (at, line) in lines(comparison, group.figure()).iter().enumerate() {
            put_line(out, comparison, line, at == 0, line.row.name == group.figure());
        }
    }
    out.push_str("</tbody></table></div>\n</div>\n</section>\n");
}

/// A line of a shape's table: a row, and a bar that goes with it.
#[derive(Debug)]
struct Line<'a> {
    row: &'a Row,
    bar: Option<&'a BarRow>,
}

/// The rows that matter of a comparison: the one that the chart shows, and those that have a bar.
fn lines<'a>(comparison: &'a Comparison, figure: &str) -> Vec<Line<'a>> {
    let of_bar = comparison
        .bars
        .iter()
        .filter_map(|bar| Some(Line { row: comparison.row(bar_figure(&bar.bar))?, bar: Some(bar) }));
    let mut lines: Vec<Line<'_>> = of_bar.collect();
    if !lines.iter().any(|line| line.row.name == figure)
        && let Some(row) = comparison.row(figure)
    {
        lines.insert(0, Line { row, bar: None });
    }
    lines
}

/// The first line of a comparison says who it is, and every line what it is about unless that is what the chart shows.
fn put_line(out: &mut String, comparison: &Comparison, line: &Line<'_>, is_first: bool, is_drawn: bool) {
    let Line { row, bar } = line;
    let mut beside = String::new();
    if is_first {
        beside.push_str(&escape(&comparison.b.profile.name));
        beside.push_str(match (comparison.failures.is_empty(), comparison.invalid.is_empty()) {
            (false, _) => " <span class=\"verdict failed\">FAILED</span>",
            (true, false) => " <span class=\"verdict doubtful\">INVALID</span>",
            (true, true) => "",
        });
    }
    if !is_drawn {
        put(&mut beside, format_args!("<small>{}</small>", escape(&words(&row.name))));
    }
    let ratio = row.ratio.map_or_else(
        || "–".to_owned(),
        |spread| {
            format!("{} <small>{}–{}</small>", ratio(spread.middle), ratio(spread.low), ratio(spread.high))
        },
    );
    let verdict = bar.map_or_else(String::new, |bar| {
        let class = match bar.met.as_str() {
            "met" => "pass",
            "missed" => "failed",
            _ => "doubtful",
        };
        format!("{} <span class=\"verdict {class}\">{}</span>", escape(&sign(&bar.bar)), escape(&bar.met))
    });
    let neighbours = match comparison.neighbours() {
        Some((middle, most)) if is_first => format!("{middle:.2} <small>≤ {most:.2}</small>"),
        _ => String::new(),
    };
    put(
        out,
        format_args!(
            "<tr><th scope=\"row\">{beside}</th><td>{}</td><td>{}</td><td>{ratio}</td><td>{verdict}</td><td>{neighbours}</td></tr>\n",
            escape(&with_unit(row.a.middle, &row.unit)),
            escape(&with_unit(row.b.middle, &row.unit)),
        ),
    );
}

/// Who took part, and in which version.
fn put_servers(out: &mut String, document: &Document) {
    out.push_str("<section class=\"servers\">\n<h2>Servers</h2>\n");
    open_table(out, "Servers", &["", "version", "what it is", "command"], [].into_iter());
    let mut seen: Vec<&str> = Vec::new();
    for side in document.results.iter().flat_map(|comparison| [&comparison.a, &comparison.b]) {
        let profile = &side.profile;
        if seen.contains(&profile.name.as_str()) {
            continue;
        }
        seen.push(&profile.name);
        let version = side.version.as_deref().unwrap_or("–");
        put(
            out,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td class=\"wrap\">{}</td><td class=\"wrap\">{}</td><td class=\"wrap\">{}</td></tr>\n",
                escape(&profile.name),
                escape(version),
                escape(&profile.note),
                escape(&shell(&profile.command)),
            ),
        );
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

/// Everything that was measured.
fn put_figures(out: &mut String, document: &Document) {
    put(
        out,
        format_args!("<details>\n<summary>All figures of {} comparisons</summary>\n", document.results.len()),
    );
    for comparison in &document.results {
        put(out, format_args!("<h2>{}</h2>\n", escape(&comparison.name)));
        for side in [&comparison.a, &comparison.b] {
            put(
                out,
                format_args!(
                    "<p class=\"about\">{}: {}</p>\n",
                    escape(&side.profile.name),
                    escape(&side.load)
                ),
            );
        }
        let names = [
            "",
            &comparison.a.profile.name,
            &comparison.b.profile.name,
            "ratio",
            "95 % interval",
            "least to most",
        ];
        open_table(out, &escape(&comparison.name), &names, [].into_iter());
        for row in &comparison.figures {
            let ratio = row.ratio.map_or_else(
                || "<td>–</td><td></td><td></td>".to_owned(),
                |Spread { middle, low, high, min, max }| {
                    format!("<td>{middle:.3}</td><td>{low:.3}–{high:.3}</td><td>{min:.3}–{max:.3}</td>")
                },
            );
            put(
                out,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td>{ratio}</tr>\n",
                    escape(&row.name),
                    escape(&with_unit(row.a.middle, &row.unit)),
                    escape(&with_unit(row.b.middle, &row.unit)),
                ),
            );
        }
        out.push_str("</tbody></table></div>\n<ul class=\"reasons\">\n");
        for note in &comparison.notes {
            put(out, format_args!("<li class=\"note\">{}</li>\n", escape(note)));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</details>\n");
}

fn put_machine(out: &mut String, document: &Document) {
    let machine = &document.machine;
    let command: Vec<String> =
        ["loadgen".to_owned()].into_iter().chain(document.command.iter().cloned()).collect();
    let pairs = [
        ("command", shell(&command)),
        ("loadgen", document.version.clone()),
        ("processor", machine.processor.clone()),
        ("processors", machine.cores.to_string()),
        ("kernel", machine.kernel.clone()),
        ("memory", machine.memory_bytes.map_or_else(|| "unknown".to_owned(), |bytes| binary(bytes as f64))),
    ];
    out.push_str("<section>\n<h2>Machine and command</h2>\n");
    put_pairs(out, pairs.into_iter().map(|(name, value)| (name.to_owned(), value)));
    out.push_str("</section>\n");
}

/// What a bar's figure turned out to be.
fn told(bar: &BarRow) -> String {
    bar.spread.map_or_else(
        || "not measured".to_owned(),
        |spread| format!("{} in {}–{}", shown(spread.middle), shown(spread.low), shown(spread.high)),
    )
}

/// The bound of a bar, without the figure's name.
fn sign(bar: &str) -> String {
    let bound = bar.split_once(['<', '>']).map_or(bar, |(_, bound)| bound).trim_start_matches('=');
    let sign = if bar.contains('<') { "≤" } else { "≥" };
    let own = if bar.starts_with("a:") { "own " } else { "" };
    format!("{own}{sign} {bound}")
}

/// The name of a figure as one says it.
fn words(figure: &str) -> String {
    let known = [
        ("cpu_per_delivery", "CPU per delivery"),
        ("deliveries_per_s", "deliveries a second"),
        ("deliveries_per_cpu_s", "deliveries per CPU second"),
        ("publishes_per_s", "publishes a second"),
        ("cpu_per_connect", "CPU per connect"),
        ("connects_per_s", "connects a second"),
        ("rss_per_connection", "resident memory per connection"),
    ];
    let found = known.iter().find(|(name, _)| *name == figure);
    found.map_or_else(|| figure.replace('_', " "), |(_, words)| (*words).to_owned())
}

fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() { shown(value) } else { format!("{} {unit}", shown(value)) }
}

/// A ratio with three digits that say something.
pub(super) fn ratio(value: f64) -> String {
    match value {
        value if value < 0.1 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

const STYLE: &str = include_str!("page.css");
const LAST_SECOND: u64 = 253_402_300_799;
const HOW: &str = "\
<p>Two servers run in turns, A B A B, each started fresh for every run, on the same processor, with the client on another; what the \
machine does meanwhile meets both. A ratio is the first server's figure over the other's, taken pair by pair: shown are the median \
and its 95 % interval (bootstrap). p99 and p99.9 are those of all runs together. A bar is met, or missed, if the whole interval is on \
one side of it, and undecided otherwise.</p>
<p>In the charts the line at 1 is the server that the first line of the table names, mostly the floor: the kernel's sends and next to \
nothing else. The first server was measured beside it. Of the others each was measured beside the first server, and is put in \
relation to the line by that; both intervals are in theirs. The scale is one of ratios.</p>
<p>CPU is processor time of the server, kernel included. Every delivery is accounted for: one that is missing or too many fails the \
comparison. INVALID means that the client was the bottleneck. \"Others, cores\" are the processors that neither server nor client used \
and yet were busy or taken away, in the middle of all runs and at most.</p>
";

#[cfg(test)]
mod tests {
    use super::document::tests::{comparison, document, spread};
    use super::*;

    const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--";

    #[test]
    fn what_comes_from_outside_stays_text() {
        let mut value = comparison(HOSTILE, Some(HOSTILE), HOSTILE, spread(0.9, 1.0, 1.1));
        value["b"]["profile"]["note"] = HOSTILE.into();
        value["b"]["version"] = HOSTILE.into();
        value["a"]["load"] = HOSTILE.into();
        value["notes"] = vec![HOSTILE].into();
        value["failures"] = vec![HOSTILE].into();
        value["invalid"] = vec![HOSTILE].into();
        value["bars"][0]["met"] = HOSTILE.into();
        value["figures"][0]["unit"] = HOSTILE.into();
        let html = page(&document(vec![value]));
        for tag in ["<script", "<img", "<!--"] {
            assert_eq!(html.matches(tag).count(), 0, "{tag}");
        }
        assert!(html.contains("&lt;/script&gt;"));
    }

    #[test]
    fn a_page_names_no_address_that_a_browser_would_ask() {
        let html = page(&document(vec![comparison("one", None, "floor", spread(0.9, 1.0, 1.1))]));
        for attribute in ["src=", "href=", "url(", "@import", "<script"] {
            assert!(!html.contains(attribute), "{attribute}");
        }
    }

    #[test]
    fn a_shape_has_a_line_for_every_bar_and_one_for_what_is_drawn() {
        let mut other = comparison("two", Some("steady"), "slow", spread(0.4, 0.5, 0.6));
        other["bars"] = serde_json::json!([{"bar": "deliveries_per_cpu_s>=2", "met": "missed", "spread": spread(1.5, 1.6, 1.7)}]);
        let mut row = other["figures"][0].clone();
        row["name"] = "deliveries_per_cpu_s".into();
        other["figures"].as_array_mut().expect("rows").push(row);
        let document =
            document(vec![comparison("one", Some("steady"), "floor", spread(1.0, 1.02, 1.04)), other]);
        let names = |comparison: &Comparison| {
            lines(comparison, "cpu_per_delivery")
                .iter()
                .map(|line| (line.row.name.clone(), line.bar.is_some()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&document.results[0]), [("cpu_per_delivery".to_owned(), true)]);
        assert_eq!(
            names(&document.results[1]),
            [("cpu_per_delivery".to_owned(), false), ("deliveries_per_cpu_s".to_owned(), true)]
        );
        let html = page(&document);
        assert!(html.contains("<h1>Fanfare beside 2 other servers</h1>"), "{html}");
        assert!(html.contains("two: deliveries_per_cpu_s&gt;=2 is missed (1.600 in 1.500–1.700)"), "{html}");
        assert!(html.contains("beside nobody was not run: cannot start"), "{html}");
        assert!(html.contains("<td>≥ 2 <span class=\"verdict failed\">missed</span></td>"), "{html}");
        assert!(html.contains("<small>deliveries per CPU second</small></th>"), "{html}");
    }
}
