//! `loadgen compare` of saved results.

use std::path::PathBuf;
use std::process::Command;

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

#[test]
fn results_without_a_common_figure_are_no_comparison() {
    let (code, text) = compare("compare-none", &json!({"figures": {}}), &json!({"figures": {}}), "5%");
    assert_eq!(code, Some(3), "{text}");
}
