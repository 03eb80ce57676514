//! A suite: comparisons in a JSON file, run one after the other.
//!
//! ```json
//! {"comparisons": [{
//!   "name": "steady 1000 x 128 B", "a": "fanfare", "b": "floor-each",
//!   "options": "--shape steady -c 1000 -s 128", "a_options": "", "b_options": "",
//!   "pairs": 15, "bars": ["cpu_per_delivery<=1.05"]
//! }]}
//! ```
//!
//! `group` is the shape that comparisons have in common: a page shows those of one group beside each other, in parts of the other
//! server of the first. `figure` is the one that its chart shows, that of the first bar unless given.
//!
//! `options` are the load options of the command line, those of one side going over those of both; what the command line
//! says itself goes over neither: it fills what they leave open. Profiles without a `/` are looked for beside the suite.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::bar::Bar;
use super::options::SideBySideFlags;
use super::{Comparison, Side};
use crate::counting::shape::LoadFlags;

/// Comparisons that belong together.
#[derive(Debug)]
pub(super) struct Suite {
    entries: Vec<Entry>,
    directory: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    comparisons: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    figure: Option<String>,
    a: String,
    b: String,
    #[serde(default)]
    options: String,
    #[serde(default)]
    a_options: String,
    #[serde(default)]
    b_options: String,
    #[serde(default)]
    pairs: Option<u32>,
    #[serde(default)]
    bars: Vec<String>,
}

impl Suite {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no suite; the message names it.
    pub(super) fn load(path: &Path) -> Result<Suite, String> {
        let named = |error: String| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let document: Document = serde_json::from_str(&text).map_err(|error| named(error.to_string()))?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(Suite { entries: document.comparisons, directory: directory.unwrap_or(Path::new(".")).to_owned() })
    }

    /// What is in it, a line each.
    pub(super) fn list(&self) -> String {
        let line = |entry: &Entry| {
            format!(
                "{:<44} {} beside {}   {}   {}\n",
                entry.name,
                entry.a,
                entry.b,
                entry.options,
                entry.bars.join(" ")
            )
        };
        self.entries.iter().map(line).collect()
    }

    /// The comparisons that `flags` choose.
    ///
    /// # Errors
    /// Options or profiles of one are wrong, or none has such a name.
    pub(super) fn comparisons(self, flags: &SideBySideFlags) -> Result<Vec<Comparison>, String> {
        let is_chosen =
            |entry: &&Entry| flags.only.is_empty() || flags.only.iter().any(|part| entry.name.contains(part));
        let chosen: Vec<&Entry> = self.entries.iter().filter(is_chosen).collect();
        if chosen.is_empty() {
            return Err("no comparison of the suite has such a name; --list shows them".to_owned());
        }
        chosen
            .into_iter()
            .map(|entry| self.comparison(entry, flags).map_err(|error| format!("{}: {error}", entry.name)))
            .collect()
    }

    fn comparison(&self, entry: &Entry, flags: &SideBySideFlags) -> Result<Comparison, String> {
        let both = entry.options.parse::<LoadFlags>()?.over(&flags.load);
        let side =
            |name: &str, own: &str| Side::new(name, &self.directory, Some(own.parse()?), &both, flags.quick);
        let figure = entry.figure.as_deref().map(Bar::figure_named).transpose()?;
        let bars = entry.bars.iter().map(|bar| bar.parse::<Bar>()).collect::<Result<_, _>>()?;
        Ok(Comparison {
            name: entry.name.clone(),
            group: entry.group.clone(),
            figure,
            sides: [side(&entry.a, &entry.a_options)?, side(&entry.b, &entry.b_options)?],
            pairs: flags.pairs(entry.pairs),
            bars,
            seed: flags.seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: SideBySideFlags,
    }

    #[test]
    fn the_suites_that_come_with_the_program_have_valid_loads_and_profiles() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/side-by-side");
        for name in ["suite.json", "shapes.json", "others.json", "report.json"] {
            let path = directory.join(name);
            let words = ["x", "--suite", path.to_str().expect("text")];
            let flags = Line::try_parse_from(words).expect("options").flags;
            let suite = Suite::load(&path).expect("a suite");
            let count = suite.entries.len();
            let comparisons = suite.comparisons(&flags).expect("comparisons");
            assert_eq!(comparisons.len(), count, "{name}");
            let mut names: Vec<_> = comparisons.iter().map(|comparison| &comparison.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "names tell comparisons apart in {name}");
        }
    }
}
