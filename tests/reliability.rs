//! The tables of faults name the test that shows what happens at each: the tests must be there.

use std::path::Path;

/// The rows of the tables of faults: fault, what happens, what shows it.
fn rows() -> Vec<[String; 3]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/RELIABILITY.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let rows = rows.filter(|line| !line.starts_with("| ---") && !line.starts_with("| fault |"));
    rows.map(|row| {
        let cells = row.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")).expect(row);
        let cells: Vec<String> =
            cells.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned()).collect();
        match <[String; 3]>::try_from(cells) {
            Ok(cells) => cells,
            Err(cells) => panic!("{row}: {cells:?}"),
        }
    })
    .collect()
}

#[test]
fn every_test_that_the_tables_of_faults_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for [fault, _, shown] in rows() {
        for word in shown.split('`').skip(1).step_by(2) {
            let (file, function) =
                word.split_once("::").map_or((word, None), |(file, name)| (file, Some(name)));
            let text = std::fs::read_to_string(root.join(file));
            let text = text.unwrap_or_else(|error| panic!("{fault}: {file}: {error}"));
            let function = function.filter(|name| !text.contains(&format!("fn {name}(")));
            assert_eq!(function, None, "{fault}: {file} has none");
            assert!(file.ends_with(".mjs") != word.contains("::"), "{fault}: {word} names no function");
            found += 1;
        }
    }
    assert!(70 < found, "the tables have been read: {found}");
}

#[test]
fn a_fault_without_a_test_says_so() {
    let rows = rows();
    assert!(40 < rows.len(), "the tables have been read: {}", rows.len());
    for [fault, happens, shown] in &rows {
        assert_eq!(shown.contains('`'), shown != "not yet", "{fault}: {shown}");
        assert!(happens != "not defined yet" || shown == "not yet", "{fault}: what happens?");
    }
}

#[test]
fn every_suite_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = std::fs::read_to_string(root.join("tests/run")).unwrap();
    for entry in std::fs::read_dir(root.join("tests/suites")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            assert!(run.contains(&name), "tests/run does not run {name}");
        }
    }
}
