//! The commands that are a part of a run, or several of them, or none.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::stub::{Fault, Script, Stub};
use serde_json::Value;

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

pub(crate) fn interrupt(child: &Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Runs it and returns the exit code and the JSON.
fn outcome(arguments: &[&str]) -> (i32, Value) {
    let output = loadgen(arguments).args(["--quiet", "--lenient", "--json", "-"]).output().expect("it runs");
    (output.status.code().expect("an exit code"), json(&output))
}

fn text(arguments: &[&str]) -> (i32, String) {
    let output = loadgen(arguments).output().expect("it runs");
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8(text).expect("text"))
}

#[test]
fn one_process_measures_what_another_publishes() {
    let stub = Stub::start(Script::default());
    let url = format!("http://{}", stub.address);
    let subscribers = loadgen(&["sub", &url, "-c", "3", "--transport", "ws:2,sse:1", "-d", "1d"])
        .args(["--quiet", "--lenient", "--json", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    while stub.subscribers() < 3 {
        std::thread::yield_now();
    }
    let (code, report) = outcome(&["pub", &url, "-R", "200", "-n", "100", "-d", "1h", "--warmup", "0"]);
    assert_eq!((code, &report["published"]["accepted"]), (0, &100.into()), "{report:#}");
    assert_eq!((&report["role"], &report["verification"]["expected"]), (&"pub".into(), &0.into()));
    interrupt(&subscribers);
    let report = json(&subscribers.wait_with_output().expect("it ends"));
    assert_eq!((&report["role"], &report["verdict"]), (&"sub".into(), &"interrupted".into()), "{report:#}");
    let rows = report["latency_ms"].as_array().expect("rows");
    let measured = rows.iter().find(|row| row["name"] == "e2e").and_then(|row| row["count"].as_u64());
    assert_eq!(report["delivered"]["foreign"].as_u64(), measured, "each one says when it was due");
    assert!(measured.is_some_and(|count| 0 < count), "{report:#}");
}

#[test]
fn connecting_counts_failures_by_their_reason() {
    let stub = Stub::start(Script { subscribers_max: 5, ..Script::default() });
    let url = format!("http://{}", stub.address);
    let connect = |more: &[&str]| {
        // One after the other, so that nobody is let in because the stub has not counted yet.
        let load = ["connect", &url, "-c", "8", "--transport", "sse", "--connect-rate", "50", "-d", "100ms"];
        outcome(&[&load[..], more].concat())
    };
    let (code, report) = connect(&["--slo", "connected>=50%"]);
    assert_eq!((code, &report["delivered"]["open_at_end"]), (0, &5.into()), "{report:#}");
    let refusals = report["delivered"]["refusals"].as_object().expect("reasons");
    let (reason, count) = refusals.iter().next().expect("a reason");
    assert!(reason.contains("503") && *count == 3, "{refusals:?}");
    let (code, said) = text(&["connect", &url, "-c", "2", "-d", "100ms"]);
    assert!(code == 3 && said.contains("nobody could connect: ") && said.contains("503"), "{code} {said}");
    let stub = Stub::start(Script { subscribers_max: 1, ..Script::default() });
    let url = format!("http://{}", stub.address);
    let load = ["connect", &url, "-c", "2", "--transport", "sse", "--connect-rate", "50", "-d", "100ms"];
    assert_eq!(outcome(&load).0, 5, "without an objective all must be connected");
}

#[test]
fn connecting_alone_measures_every_handshake() {
    let stub = Stub::start(Script::default());
    let url = format!("http://{}", stub.address);
    let (code, report) = outcome(&["connect", &url, "-c", "20", "--transport", "ws:1,sse:1", "-d", "100ms"]);
    assert_eq!((code, &report["role"]), (0, &"connect".into()), "{report:#}");
    assert_eq!(
        (&report["latency_ms"][0]["name"], &report["latency_ms"][0]["count"]),
        (&"handshake".into(), &20.into())
    );
}

#[test]
fn the_search_ends_below_what_the_server_can_do() {
    // At most 250 events a second, however fast the machine is: at 400 the last of a second waits for 0.6 s.
    let stub = Stub::start(Script { event_time: Some(Duration::from_millis(4)), ..Script::default() });
    let url = format!("http://{}", stub.address);
    let output = loadgen(&["search", &url, "-c", "1", "--slo", "p99<400ms", "--lenient", "--json", "-"])
        .args(["--from", "50", "--precision", "50%", "-d", "1s", "--warmup", "0"])
        .output()
        .expect("it runs");
    let found = json(&output);
    assert_eq!(output.status.code(), Some(0), "{found:#}");
    let number = |name: &str| found[name].as_f64().unwrap_or_else(|| panic!("no {name} in {found:#}"));
    assert!(number("bound") <= 400.0 && number("bound") <= 1.5 * number("rate"), "{found:#}");
    assert!(2 <= found["steps"].as_array().expect("steps").len(), "{found:#}");
    let (code, said) = text(&["search", &url, "-c", "1"]);
    assert!(code == 2 && said.contains("--slo"), "{said}");
}

#[test]
fn a_search_that_ends_early_tells_what_it_knows() {
    let search = |stub: &Stub| {
        let mut command = loadgen(&["search", &format!("http://{}", stub.address), "-c", "1"]);
        command.args(["--slo", "p99<60s", "--lenient", "--json", "-", "--from", "100", "--warmup", "0"]);
        command
    };
    let stub = Stub::start(Script { fault: Fault::Lose(30), ..Script::default() });
    let output = search(&stub).args(["-d", "1s", "--drain", "500ms"]).output().expect("it runs");
    let found = json(&output);
    assert_eq!((output.status.code(), &found["ending"]), (Some(5), &"failed".into()), "{found:#}");
    assert_eq!(found["steps"][0]["outcome"], "failed", "{found:#}");

    let stub = Stub::start(Script::default());
    let child = search(&stub).args(["-d", "1d"]).stdout(Stdio::piped()).spawn().expect("it runs");
    while stub.published().len() < 20 {
        std::thread::yield_now();
    }
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let found = json(&output);
    assert_eq!((output.status.code(), &found["ending"]), (Some(130), &"interrupted".into()), "{found:#}");
}

#[test]
fn a_search_finds_out_first_whether_its_file_can_be_written() {
    let stub = Stub::start(Script::default());
    let url = format!("http://{}", stub.address);
    let (code, said) =
        text(&["search", &url, "-c", "1", "--slo", "p99<60s", "--json", "missing/folder/x.json"]);
    assert!(code == 3 && said.contains("missing/folder/x.json"), "{code} {said}");
    assert_eq!(stub.subscribers(), 0);
}

#[test]
fn an_interrupt_while_connecting_tells_who_has_connected() {
    let stub = Stub::start(Script::default());
    let url = format!("http://{}", stub.address);
    let child = loadgen(&["connect", &url, "-c", "1000", "--connect-rate", "20/s"])
        .args(["--quiet", "--lenient", "--json", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    while stub.subscribers() < 3 {
        std::thread::yield_now();
    }
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let report = json(&output);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(130), &"interrupted".into()), "{report:#}");
    assert!(report["latency_ms"][0]["count"].as_u64().is_some_and(|count| 2 <= count), "{report:#}");
}

#[test]
fn handshakes_are_told_over_the_time_in_which_they_were_made() {
    let stub = Stub::start(Script::default());
    let url = format!("http://{}", stub.address);
    let load = ["connect", &url, "-c", "20", "--connect-rate", "10", "-d", "100ms", "--interval", "100ms"];
    let (code, report) = outcome(&load);
    assert_eq!(code, 0, "{report:#}");
    let intervals = report["intervals"].as_array().expect("intervals").iter();
    let counts: Vec<u64> = intervals
        .filter_map(|interval| interval["latency_ms"].as_array()?.first()?["count"].as_u64())
        .collect();
    assert!(2 <= counts.len() && counts.iter().sum::<u64>() == 20, "{counts:?}");
}

#[test]
fn wrong_usage_has_its_exit_code_everywhere() {
    for arguments in [
        &["doctor", "ftp://127.0.0.1"][..],
        &["run", "ftp://127.0.0.1"],
        &["report", "a", "b", "--format", "hgrm"],
        &["report", "a", "b", "--format", "hlog"],
        &["sub", "http://127.0.0.1:1", "-n", "100"],
        &["run", "http://127.0.0.1:1", "--subscribe-path", "/x"],
    ] {
        let (code, said) = text(arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
    }
}

#[test]
fn the_doctor_looks_at_the_machine_and_the_server() {
    let stub = Stub::start(Script::default());
    let (code, said) = text(&["doctor", &format!("http://{}", stub.address), "-c", "1"]);
    assert_eq!(code, 0, "{said}");
    for part in
        ["descriptors", "ports", "clock", "reached in", "/ws upgrades", "/events streams", "answered 200"]
    {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let unused =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let (code, said) = text(&["doctor", &format!("http://{unused}")]);
    assert!(code == 3 && said.contains("cannot be reached"), "{code} {said}");
}

#[test]
fn shells_and_manuals_are_told_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, said) = text(&["completions", shell]);
        let words = ["slo-abort-after", "no-tui", "report", "hlog", "doctor", "agents", "insecure", "git"];
        assert!(code == 0 && words.iter().all(|word| said.contains(word)), "{shell}: {said}");
    }
    let (code, said) = text(&["man"]);
    assert!(code == 0 && said.contains(".TH loadgen"), "{said}");
    let directory =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("man-{}", std::process::id()));
    let (code, said) = text(&["man", directory.to_str().expect("text")]);
    assert_eq!(code, 0, "{said}");
    let page = std::fs::read_to_string(directory.join("loadgen-search.1")).expect("a page");
    assert!(page.contains("loadgen-search") && page.contains("precision"), "{page}");
    let page = std::fs::read_to_string(directory.join("loadgen-report.1")).expect("a page");
    assert!(page.contains("hgrm"), "{page}");
    std::fs::remove_dir_all(&directory).expect("removed");
}
