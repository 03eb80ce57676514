//! `loadgen compare` of saved results.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::floor::Floor;
use serde_json::{Value, json};

fn compare(name: &str, before: &Value, after: &Value, tolerance: &str) -> (Option<i32>, String) {
    let write = |end: &str, value: &Value| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{end}.json"));
        std::fs::write(&path, value.to_string()).expect("written");
        path
    };
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("compare")
        .args([write("before", before), write("after", after)])
        .args(["--tolerance", tolerance])
        .output()
        .expect("the generator runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_result_is_worse_if_one_figure_is() {
    let result = |cost: f64, rate: f64| json!({"verdict": "pass", "figures": {"cpu_per_delivery": cost, "deliveries_per_s": rate}});
    let check = |name: &str, after: Value, tolerance: &str, code: i32, word: &str| {
        let (got, text) = compare(name, &result(7.0, 50_000.0), &after, tolerance);
        assert_eq!(got, Some(code), "{text}");
        assert!(text.contains(word), "{text}");
    };
    check("compare-same", result(7.2, 49_000.0), "5%", 0, "same or better");
    check("compare-better", result(5.0, 49_000.0), "5%", 0, "better");
    check("compare-worse", result(5.0, 40_000.0), "5%", 1, "WORSE");
    check("compare-wide", result(7.2, 40_000.0), "30%", 0, "same or better");
    check("compare-narrow", result(7.2, 50_000.0), "1%", 1, "WORSE");
}

/// Compares two folders in one of this name.
fn compare_folders(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("compare")
        .args([folder.join("before"), folder.join("after")])
        .args(arguments)
        .output()
        .expect("the generator runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// An empty folder with a side's folder in it.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    for side in ["before", "after"] {
        std::fs::create_dir_all(folder.join(side)).expect("made");
    }
    folder
}

#[test]
fn several_results_a_side_tell_a_small_change_from_noise() {
    let folder = folder("compare-several");
    let write = |side: &str, values: [(f64, f64); 5]| {
        for (number, (p50, p99)) in values.into_iter().enumerate() {
            // Files and folders of results may stand beside each other.
            let path = folder.join(side).join(number.to_string());
            let path = match number {
                0..3 => path.with_extension("json"),
                _ => {
                    std::fs::create_dir_all(&path).expect("made");
                    path.join("result.json")
                }
            };
            let result = json!({"verdict": "pass", "figures": {"p50": p50, "p99": p99}});
            std::fs::write(path, result.to_string()).expect("written");
        }
    };
    let before = [(1.00, 5.0), (1.01, 9.0), (0.99, 4.0), (1.00, 6.0), (1.02, 7.0)];
    write("before", before);
    let check = |factor: f64, arguments: &[&str], code: i32, words: [&str; 2]| {
        write("after", before.map(|(p50, p99)| (p50 * factor, p99 * 1.1)));
        let (got, text) = compare_folders(&folder, arguments);
        assert_eq!(got, Some(code), "{text}");
        let line =
            |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(line("p50").ends_with(words[0]) && line("p99").ends_with(words[1]), "{text}");
        text
    };
    let text = check(1.0, &[], 0, ["same", "undecided"]);
    assert!(text.contains("means of 5 results before and 5 after"), "{text}");
    assert!(text.contains("same or better, as far as can be told: 1 of 2 undecided"), "{text}");
    check(1.1, &[], 1, ["WORSE", "undecided"]);
    check(0.9, &["--figure", "p50"], 0, ["better", ""]);
    let (code, text) = compare_folders(&folder, &["--figure", "speed"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("p50, p99"), "{text}");
    std::fs::remove_dir_all(folder.join("after")).expect("removed");
    std::fs::create_dir(folder.join("after")).expect("made");
    let (code, text) = compare_folders(&folder, &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("has no results in it"), "{text}");
}

#[test]
fn a_server_that_works_longer_for_every_event_is_found_to_be_worse_and_itself_the_same() {
    let folder = folder("compare-work");
    for (side, work) in [("before", "0"), ("after", "200ms")] {
        let floor = Floor::start(&["--work", work]);
        for number in 0..3 {
            let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
                .args(["run", &format!("http://{}", floor.address), "--protocol", "raw-ws", "--lenient"])
                .args(["-c", "2", "-R", "5", "-n", "4", "-d", "10s", "--warmup", "0", "--quiet", "--json"])
                .arg(folder.join(side).join(format!("{number}.json")))
                .output()
                .expect("the generator runs");
            assert!(output.status.success(), "{output:?}");
        }
    }
    let (code, text) = compare_folders(&folder, &["--figure", "e2e p50"]);
    assert_eq!(code, Some(1), "{text}");
    let (one, other) = (folder.join("before"), folder.join("after"));
    std::fs::remove_dir_all(&other).expect("removed");
    std::fs::rename(one, &other).expect("renamed");
    std::fs::create_dir(folder.join("before")).expect("made");
    for entry in std::fs::read_dir(&other).expect("read") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, folder.join("before").join(path.file_name().expect("a name"))).expect("copied");
    }
    let (code, text) = compare_folders(&folder, &[]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn results_without_a_common_figure_are_no_comparison() {
    let (code, text) = compare("compare-none", &json!({"figures": {}}), &json!({"figures": {}}), "5%");
    assert_eq!(code, Some(3), "{text}");
}
