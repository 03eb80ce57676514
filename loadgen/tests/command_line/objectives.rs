//! What a run must reach, and when it is called off.

use std::process::Command;
use std::time::Duration;

use crate::stub::{Fault, Script, Stub};
use serde_json::Value;

/// Runs with these arguments and returns the exit code and the report.
fn run(script: Script, arguments: &[&str]) -> (i32, Value) {
    let stub = Stub::start(script);
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &format!("http://{}", stub.address), "--lenient", "--quiet", "--json", "-"])
        .args(["-c", "2", "-R", "200", "--warmup", "0"])
        .args(arguments)
        .output()
        .expect("the generator runs");
    let code = output.status.code().expect("an exit code");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("exit {code}, {}", String::from_utf8_lossy(&output.stderr)));
    (code, report)
}

#[test]
fn an_objective_that_is_missed_has_an_exit_code_of_its_own() {
    let check = |objectives: &[&str], code: i32, met: &[bool]| {
        let mut arguments = vec!["-d", "10s", "-n", "40"];
        objectives.iter().for_each(|objective| arguments.extend(["--slo", objective]));
        let (got, report) = run(Script::default(), &arguments);
        let judged = report["objectives"].as_array().expect("objectives").iter();
        let judged: Vec<bool> = judged.map(|one| one["met"].as_bool().expect("a judgement")).collect();
        assert_eq!((got, &judged[..]), (code, met), "{objectives:?}: {report:#}");
    };
    check(&["p99<60s", "reach==1", "lost==0", "refused==0", "connected==100%"], 0, &[true; 5]);
    check(&["p99<60s", "max<1ns"], 99, &[true, false]);
    check(&["deliveries>=1M/s,reach==1"], 99, &[false, true]);
    check(&["reconnect.p99<60s"], 99, &[false]);
}

#[test]
fn a_loss_is_worse_than_a_missed_objective() {
    let lose = Script { fault: Fault::Lose(30), ..Script::default() };
    let arguments = ["-d", "10s", "-n", "40", "--drain", "500ms", "--slo", "reach==1"];
    let (code, report) = run(lose, &arguments);
    assert_eq!((code, &report["objectives"][0]["met"]), (5, &false.into()), "{report:#}");
}

#[test]
fn a_server_that_stands_still_at_saturation_is_called_off() {
    let script = Script { stall: Some((20, Duration::from_secs(86_400))), ..Script::default() };
    let (code, report) = run(
        script,
        &[
            "-R",
            "max",
            "-d",
            "1d",
            "--drain",
            "100ms",
            "--verify",
            "none",
            "--slo",
            "p99<60s",
            "--slo-abort-after",
            "1s",
        ],
    );
    assert_eq!((code, &report["verdict"]), (99, &"missed".into()), "{report:#}");
}

#[test]
fn a_hopeless_run_is_called_off() {
    let (code, report) = run(Script::default(), &["-d", "1d", "--slo", "p50<1ns", "--slo-abort-after", "1s"]);
    assert_eq!((code, &report["verdict"]), (99, &"missed".into()), "{report:#}");
    let notes = report["notes"].as_array().expect("notes");
    assert!(notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("called off"))));
}
