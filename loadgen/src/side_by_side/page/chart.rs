//! The chart of a shape: every server as a bar from the line at 1, which is the measure, on a scale of ratios.
//!
//! # Why not …      a script: a few bars need none, and they are the same on paper

use super::document::{Group, Role, Standing};
use super::ratio;
use crate::report::html::{escape, put};

/// Draws `group`; nothing if it has no ratios.
pub(super) fn chart(group: &Group<'_>) -> String {
    let standings = group.standings();
    if standings.is_empty() {
        return String::new();
    }
    let ends = standings.iter().flat_map(|one| [one.low, one.high]);
    let scale = Scale::over(ends);
    let height = HEAD + ROW * standings.len() as f64 + FOOT;
    let words = standings.iter().map(|one| format!("{} {}", one.name, ratio(one.middle)));
    let label = format!("{}: {}", group.figure(), words.collect::<Vec<_>>().join(", "));
    let mut out = String::new();
    put(
        &mut out,
        format_args!(
            "<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {height}\">\n",
            escape(&label)
        ),
    );
    put_scale(&mut out, scale, height);
    for (row, one) in standings.iter().enumerate() {
        put_standing(&mut out, scale, HEAD + ROW * row as f64, one);
    }
    out.push_str("</svg>\n");
    out
}

fn put_scale(out: &mut String, scale: Scale, height: f64) {
    for tick in scale.ticks() {
        let (at, class) = (scale.place(tick), if tick == 1.0 { "one" } else { "grid" });
        put(
            out,
            format_args!(
                "<line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{HEAD}\" y2=\"{:.1}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>\n",
                height - FOOT,
                height - 4.0
            ),
        );
    }
}

/// Name and ratio, and below them the bar with its interval.
fn put_standing(out: &mut String, scale: Scale, top: f64, standing: &Standing<'_>) {
    let Standing { name, role, low, middle, high } = standing;
    let (class, told) = match role {
        Role::Own => ("own", format!("{} ({}–{})", ratio(*middle), ratio(*low), ratio(*high))),
        Role::Other => ("other", format!("{} ({}–{})", ratio(*middle), ratio(*low), ratio(*high))),
        Role::Measure => ("measure", "1, the measure".to_owned()),
    };
    let (from, to) = (scale.place(middle.min(1.0)), scale.place(middle.max(1.0)));
    // What equals the measure is still to be seen.
    let (from, width) = if to - from < 3.0 { ((from + to) / 2.0 - 1.5, 3.0) } else { (from, to - from) };
    put(
        out,
        format_args!(
            "<text class=\"name {class}\" x=\"0\" y=\"{text:.1}\">{}</text>\
             <text x=\"{WIDTH}\" y=\"{text:.1}\" text-anchor=\"end\">{told}</text>\n\
             <rect class=\"bar {class}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"12\" rx=\"2\"/>\n",
            escape(name),
            top + 20.0,
            text = top + 14.0,
        ),
    );
    if *role != Role::Measure {
        let (low, high, line) = (scale.place(*low), scale.place(*high), top + 26.0);
        put(
            out,
            format_args!(
                "<path class=\"interval\" d=\"M{low:.1} {end:.1}v8M{low:.1} {line:.1}H{high:.1}M{high:.1} {end:.1}v8\"/>\n",
                end = line - 4.0
            ),
        );
    }
}

/// From ratios to places.
#[derive(Clone, Copy, Debug)]
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    /// One that holds `values`, 1, and a little more.
    fn over(values: impl Iterator<Item = f64>) -> Scale {
        let (least, most) = values
            .filter(|value| value.is_finite() && 0.0 < *value)
            .fold((0.8_f64, 1.25_f64), |(least, most), value| (least.min(value), most.max(value)));
        Scale { from: least / MARGIN, to: most * MARGIN }
    }

    fn place(self, value: f64) -> f64 {
        let share = (value.max(self.from) / self.from).ln() / (self.to / self.from).ln();
        INSET + share.clamp(0.0, 1.0) * (WIDTH - 2.0 * INSET)
    }

    /// Round ratios, few enough to be read.
    fn ticks(self) -> Vec<f64> {
        let steps: &[f64] = match self.to / self.from {
            range if range < 3.0 => &[1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
            range if range < 60.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let all = (-6..=6).flat_map(|decade: i32| {
            steps.iter().map(move |step| {
                // Powers of a tenth are not exact, and would be written with all their digits.
                let tick = step * 10_f64.powi(decade);
                (tick * 1e7).round() / 1e7
            })
        });
        all.filter(|tick| self.from <= *tick && *tick <= self.to).collect()
    }
}

const WIDTH: f64 = 400.0;
/// Room for half a number at either end.
const INSET: f64 = 14.0;
const HEAD: f64 = 2.0;
const ROW: f64 = 38.0;
const FOOT: f64 = 22.0;
const MARGIN: f64 = 1.08;

#[cfg(test)]
mod tests {
    use super::super::document::tests::{comparison, document, spread};
    use super::*;

    #[test]
    fn bars_begin_at_the_line_and_lie_within_the_picture() {
        let document = document(vec![
            comparison("one", Some("steady"), "floor", spread(0.8, 1.1, 1.3)),
            comparison("two", Some("steady"), "slow", spread(0.01, 0.012, 0.02)),
            comparison("three", Some("steady"), "fast", spread(3.0, 4.0, 5.0)),
        ]);
        let group = &document.groups()[0];
        let svg = chart(group);
        assert_eq!(svg.matches("<rect").count(), 4);
        assert_eq!(svg.matches("class=\"interval\"").count(), 3, "the measure has none");
        assert_eq!(svg.matches("class=\"one\"").count(), 1);
        for part in svg.split(" x=\"").skip(1) {
            let x: f64 = part.split('"').next().and_then(|number| number.parse().ok()).expect("a number");
            assert!((0.0..=WIDTH).contains(&x), "{x} in {svg}");
        }
    }

    #[test]
    fn the_line_at_1_is_always_there_and_ticks_are_few() {
        for values in [vec![1.0], vec![0.99, 1.01], vec![0.001, 3.0], vec![1.0, 90.0], vec![f64::NAN, 0.0]] {
            let scale = Scale::over(values.iter().copied());
            let ticks = scale.ticks();
            assert!(ticks.contains(&1.0) && (2..=9).contains(&ticks.len()), "{values:?}: {ticks:?}");
        }
    }
}
