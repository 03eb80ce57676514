//! The table of features names the test that proves each: the tests must be there.

use std::path::Path;

#[test]
fn every_test_that_the_features_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/FEATURES.md")).unwrap();
    let mut found = 0;
    for word in table.split('`').skip(1).step_by(2) {
        let (file, function) = match word.split_once("::") {
            Some((file, function)) => (file, Some(function)),
            None => (word, None),
        };
        if !["tests/", "src/"].iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        if let Some(function) = function {
            assert!(text.contains(&format!("fn {function}(")), "{file} has no {function}");
        }
        found += 1;
    }
    assert!(100 < found, "the table has been read: {found}");
}

#[test]
fn what_is_not_done_says_so_and_what_is_done_is_proved() {
    let table =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FEATURES.md")).unwrap();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!((2..=3).contains(&cells.len()), "{row}");
        let is_proved = cells.get(2).is_some_and(|proof| !proof.is_empty());
        let is_excused = ["not yet", "not built", "possible as", "PERFORMANCE.md"];
        assert!(is_proved || is_excused.iter().any(|words| cells[1].contains(words)), "{row}");
    }
}
