//! Every seed of every fuzz target, and every input that was once a finding, through the target's own checks.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

/// The files in a folder, if it is there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

#[test]
fn every_seed_and_every_finding_of_the_past_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, run) in bodies::TARGETS {
        let seeds = files(&folder.join("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for path in seeds.iter().chain(&files(&folder.join("regressions").join(name))) {
            let input = fs::read(path).unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
            assert!(outcome.is_ok(), "{} fails, as shown above", path.display());
        }
    }
}

#[test]
fn every_target_is_in_the_list_and_has_its_program_and_its_dictionary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut programs: Vec<String> = files(&folder.join("fuzz_targets"))
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort();
    let names: Vec<&str> = bodies::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, programs);
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is no program of the package");
        let dictionary = fs::read_to_string(folder.join("dictionaries").join(format!("{name}.dict")));
        let words = dictionary.unwrap_or_default();
        let words = words.lines().filter(|line| line.starts_with('"') && line.ends_with('"'));
        assert!(5 <= words.count(), "{name} has no dictionary");
    }
}
