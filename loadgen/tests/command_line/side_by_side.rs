//! `loadgen side-by-side` of stubs with themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::count::profile;
use crate::stub::{Script, Stub};
use serde_json::Value;

fn side_by_side(arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["side-by-side", "--unpinned"])
        .args(arguments)
        .args(["--json", "-"])
        .output()
        .expect("the generator runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().expect("an exit code");
    (code, serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), error)
}

/// A profile of a stub that runs.
fn running(name: &str, stub: &Stub) -> String {
    let path = profile(name, &format!(r#""url":"http://{}""#, stub.address));
    path.to_str().expect("text").to_owned()
}

const SHORT: [&str; 10] = ["--pairs", "2", "-c", "3", "-R", "100", "-d", "100ms", "--ceiling", "0"];

#[test]
fn a_server_beside_itself_has_pairs_ratios_and_verdicts() {
    let stub = Stub::start(Script::default());
    let name = running("side-itself", &stub);
    let check = |bar: &str, code: i32, met: &str| {
        let arguments = [&[name.as_str(), &name, "--bar", bar], &SHORT[..]].concat();
        let (got, results, error) = side_by_side(&arguments);
        assert_eq!(got, code, "{results:#} {error}");
        let report = &results["results"][0];
        assert_eq!(report["pairs"].as_array().map(Vec::len), Some(2));
        assert_eq!(report["bars"][0]["met"], met, "{report:#}");
        let rows = report["figures"].as_array().expect("rows");
        for name in ["deliveries_per_s", "p50", "messages_per_read"] {
            let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}"));
            let ratio = &row["ratio"];
            let at = |end: &str| ratio[end].as_f64().unwrap_or_else(|| panic!("no {end} in {row:#}"));
            assert!(at("low") <= at("middle") && at("middle") <= at("high"), "{row:#}");
        }
    };
    check("deliveries_per_s>=0.01", 0, "met");
    check("deliveries_per_s>=100", 5, "missed");
    check("a:deliveries_per_s>=1", 0, "met");
    check("rss_per_connection<=1", 5, "unknown");
}

#[test]
fn messages_of_both_sides_are_equally_long() {
    let (one, other) = (Stub::start(Script::default()), Stub::start(Script::default()));
    let (one, other) = (running("side-short", &one), running("side-with-longer-channels", &other));
    let text = std::fs::read_to_string(&other).expect("the profile");
    std::fs::write(&other, text.replace("b:{i}", "a-much-longer-name:{i}")).expect("written");
    let (code, results, error) = side_by_side(&[&[one.as_str(), &other, "-s", "200"], &SHORT[..]].concat());
    assert_eq!(code, 0, "{results:#} {error}");
    for pair in results["results"][0]["pairs"].as_array().expect("pairs") {
        let bytes = |side: &str| pair[side]["figures"]["payload_bytes"].as_f64().expect("a length");
        assert!((bytes("a") - 200.0).abs() < 3.0 && (bytes("b") - 200.0).abs() < 3.0, "{pair:#}");
        assert!(pair["b"]["body_bytes"].as_u64() < pair["a"]["body_bytes"].as_u64());
    }
}

#[test]
fn a_suite_runs_what_is_chosen_with_options_of_each_side() {
    let stub = Stub::start(Script::default());
    let name = running("side-suite", &stub);
    let suite = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("suite-of-two.json");
    let entry = |title: &str| {
        format!(
            r#"{{"name":"{title}","a":"{name}","b":"side-suite","options":"-c 3","b_options":"-c 5","bars":["deliveries_per_s<=1"]}}"#
        )
    };
    let text = format!(r#"{{"comparisons":[{},{}]}}"#, entry("first"), entry("second"));
    std::fs::write(&suite, text).expect("written");
    let suite = suite.to_str().expect("text");
    let rest = ["--pairs", "1", "-R", "100", "-d", "100ms", "--ceiling", "0"];
    let (code, results, error) = side_by_side(&[&["--suite", suite, "--only", "sec"], &rest[..]].concat());
    assert_eq!(code, 0, "{results:#} {error}");
    let reports = results["results"].as_array().expect("reports");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["name"], "second");
    assert!(reports[0]["b"]["load"].as_str().is_some_and(|load| load.contains("5 ws subscribers")));
    let (code, ..) = side_by_side(&["--suite", suite, "--only", "third"]);
    assert_eq!(code, 2);
}

#[test]
fn a_report_has_every_shape_and_what_could_not_be_run() {
    let stub = Stub::start(Script::default());
    let name = running("side-report", &stub);
    let broken = profile("side-report-broken", r#""command":["{dir}/none"]"#);
    let broken = broken.to_str().expect("text");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("side-by-side-report");
    let _ = std::fs::remove_dir_all(&folder);
    let suite = folder.with_extension("json");
    let entry = |title: &str, group: &str, other: &str| {
        format!(
            r#"{{"name":"{title}","group":"{group}","figure":"deliveries_per_s","a":"{name}","b":"{other}","options":"-c 3 -d 5s"}}"#
        )
    };
    let entries = [
        entry("one", "steady <1>", &name),
        entry("two", "steady <1>", &name),
        entry("three", "steady <1>", broken),
        entry("four", "another", &name),
    ];
    std::fs::write(&suite, format!(r#"{{"comparisons":[{}]}}"#, entries.join(","))).expect("written");
    let (suite, out) = (suite.to_str().expect("text"), folder.to_str().expect("text"));
    let rest = ["--quick", "-R", "100", "--ceiling", "0", "--out", out];
    let (code, results, error) = side_by_side(&[&["--suite", suite], &rest[..]].concat());
    assert_eq!(code, 3, "{results:#} {error}");
    assert_eq!(results["results"].as_array().map(Vec::len), Some(3), "{results:#}");
    assert_eq!(results["not_run"][0]["name"], "three", "{results:#}");
    assert_eq!(results["results"][0]["pairs"].as_array().map(Vec::len), Some(3), "{results:#}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("written");
    let saved: Value = serde_json::from_str(&read("result.json")).expect("JSON");
    assert_eq!(saved, results);
    let html = read("report.html");
    assert_eq!(html.matches("<h2>steady &lt;1&gt;</h2>").count(), 1, "{html}");
    assert_eq!(html.matches("<svg role=\"img\"").count(), 2, "{html}");
    assert!(html.contains("three was not run: cannot start"), "{html}");
    let text = read("report.txt");
    assert!(text.contains("steady <1>\n") && text.contains("not run    three: "), "{text}");
    // The saved result is told again as it was.
    let again = |format: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["report", out, "--format", format])
            .output()
            .expect("the generator runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let body = |html: &str| html.split_once("<body>").map(|(_, body)| body.to_owned()).expect("a body");
    let (code, page) = again("html");
    assert!(code == Some(0) && body(&page) == body(&html), "{page}");
    let (code, summary) = again("text");
    assert!(code == Some(0) && text.starts_with(&summary), "{summary}");
    assert_eq!(again("csv").0, Some(3));
}

#[test]
fn a_server_that_does_not_start_is_told_with_its_last_words() {
    let path = profile("side-broken", r#""command":["{loadgen}","compare","{dir}/none","{dir}/none"]"#);
    let name = path.to_str().expect("text");
    let (code, _, error) = side_by_side(&[name, name]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("before it was ready") && error.contains("cannot read"), "{error}");
}

#[test]
fn the_suites_that_come_with_the_program_are_whole() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/side-by-side");
    for (name, least) in [("suite.json", 10), ("shapes.json", 10), ("others.json", 4), ("report.json", 30)] {
        let suite = directory.join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["side-by-side", "--list", "--suite", suite.to_str().expect("text")])
            .output()
            .expect("the generator runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(least <= text.lines().count(), "{text}");
    }
}

#[test]
fn a_profile_that_is_not_found_by_name_tells_where_profiles_are_said_to_be() {
    let elsewhere = env!("CARGO_TARGET_TMPDIR");
    let check = |arguments: &[&str], is_hinted: bool| {
        let (code, _, error) = side_by_side(&[arguments, &["--profiles", elsewhere]].concat());
        assert_eq!(code, 2, "{error}");
        assert_eq!(error.contains("--profiles FOLDER"), is_hinted, "{error}");
        assert!(error.contains("no-such-profile.json"), "{error}");
    };
    check(&["no-such-profile", "no-such-profile"], true);
    check(&["./no-such-profile.json", "./no-such-profile.json"], false);
}
