//! The record of what things cost, and how today compares.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::callgrind::Counts;

/// By how much of a hundred something may be dearer than it was.
const PER_CENT_MAX: f64 = 2.0;

/// Set to 1, it makes today's figures those to compare with.
const BLESS: &str = "FANFARE_BLESS";

/// What `counts.json` has.
#[derive(Deserialize, Serialize)]
struct Record {
    /// The compiler and the kind of machine, since instructions are those of both.
    rustc: String,
    /// Instructions each time, by name.
    instructions: BTreeMap<String, f64>,
}

/// Compares with the record and prints both; returns whether nothing has become dearer.
pub(crate) fn compare(counts: &Counts) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts.json");
    let rounded = |count: &f64| (count * 10.0).round() / 10.0;
    let instructions = counts.iter().map(|(name, count)| (name.clone(), rounded(count))).collect();
    let now = Record { rustc: compiler(), instructions };
    if std::env::var(BLESS).is_ok_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&now).expect("names and numbers");
        std::fs::write(&path, text + "\n").expect("the record can be written");
        println!("\nthe record is what is counted now");
    }
    let text = std::fs::read_to_string(&path).expect("the record is there; FANFARE_BLESS=1 makes one");
    let was: Record = serde_json::from_str(&text).expect("the record is as it was written");
    let is_comparable = was.rustc == now.rustc;
    println!("\n{:52} {:>10} {:>10}", "instructions each", "was", "is");
    let mut is_good = true;
    for (name, count) in &now.instructions {
        let verdict = verdict(was.instructions.get(name).copied(), *count);
        is_good &= verdict.is_good;
        println!("{name:52} {:>10} {count:10.1}  {}", verdict.was, verdict.text);
    }
    for name in was.instructions.keys().filter(|name| !now.instructions.contains_key(*name)) {
        is_good = false;
        println!("{name:52} is in the record and was not counted");
    }
    if !is_comparable {
        println!("the record is of {}, this is {}: only for your information", was.rustc, now.rustc);
        return true;
    }
    if !is_good {
        println!("\nsomething takes over {PER_CENT_MAX} % more than the record says, or is not in it");
        println!("if that is right, {BLESS}=1 cargo bench --bench counts makes it the record");
    }
    is_good
}

struct Verdict {
    is_good: bool,
    was: String,
    text: String,
}

fn verdict(was: Option<f64>, is: f64) -> Verdict {
    let Some(was) = was else {
        return Verdict { is_good: false, was: "-".into(), text: "is not in the record".into() };
    };
    let more = (is / was - 1.0) * 100.0;
    let is_good = more <= PER_CENT_MAX;
    let remark = match is_good {
        false => "  DEARER",
        true if more < -PER_CENT_MAX => "  cheaper: worth recording",
        true => "",
    };
    Verdict { is_good, was: format!("{was:.1}"), text: format!("{more:+.2} %{remark}") }
}

/// The compiler that cargo uses here, and what it compiles for.
fn compiler() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("there is a compiler");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim();
    format!("{} ({}) {}", field("release:"), field("commit-date:"), field("host:"))
}
