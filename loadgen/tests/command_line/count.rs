//! `loadgen count` against a server that keeps the protocol, and against one that breaks it.

#[cfg(target_os = "linux")]
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use crate::stub::{Fault, Script, Stub};
use serde_json::Value;

/// How the stub is spoken to, in a file of its own that `name` tells apart; `start` is its first members.
pub(crate) fn profile(name: &str, start: &str) -> PathBuf {
    let rest = r#""channel":"b:{i}",
        "subscribe":{
            "ws":{"path":"/ws?channel={channel}","confirm":"\"subscribed\""},
            "sse":{"path":"/events?channel={channel}"}},
        "publish":{
            "http":{"path":"/publish","body":"{\"channel\":\"{channel}\",\"event\":\"m\",\"data\":\"{body}\"}","ok":[202]},
            "batch":{"path":"/publish","before":"[","join":",","after":"]",
                "item":"{\"channel\":\"{channel}\",\"event\":\"m\",\"data\":\"{body}\"}"},
            "ws":{"path":"/ws","accepted":"\"published\"",
                "send":"{\"channel\":\"{channel}\",\"event\":\"m\",\"data\":\"{body}\",\"id\":1{n}}"}}}"#;
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    std::fs::write(&path, format!(r#"{{"name":"{name}",{start},{rest}"#)).expect("written");
    path
}

/// Counts against a stub, whatever the generator's own share of the machine, and returns the exit code and the JSON. Where
/// nothing fell into the measured part, since others had the machine meanwhile, it is done again with a longer one.
fn count(name: &str, script: Script, arguments: &str) -> (i32, Value) {
    let lengths = ["", " -d 1s", " -d 4s"].map(|length| format!("{arguments}{length}"));
    let is_empty =
        |(_, report): &(i32, Value)| report["invalid"].to_string().contains("nothing was measured");
    let found = lengths
        .iter()
        .map(|arguments| count_once(name, script.clone(), arguments))
        .find(|one| !is_empty(one));
    found.unwrap_or_else(|| count_once(name, script, &format!("{arguments} -d 16s")))
}

fn count_once(name: &str, script: Script, arguments: &str) -> (i32, Value) {
    let stub = Stub::start(script);
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["count", &format!("http://{}", stub.address), "--json", "--ceiling", "0"])
        .args(["--profile".into(), profile(name, r#""url":"http://127.0.0.1:9""#)])
        .args(arguments.split_whitespace())
        .output()
        .expect("the generator runs");
    let code = output.status.code().expect("an exit code");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("exit {code}, {}", String::from_utf8_lossy(&output.stderr)));
    (code, report)
}

fn counted(report: &Value, name: &str) -> u64 {
    report["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

const SHORT: &str = "-c 4 -R 200 -d 100ms --warmup 20ms";

#[test]
fn every_delivery_is_counted_in_every_shape() {
    let check = |name: &str, arguments: &str, receivers: u64| {
        let (code, report) = count(name, Script::default(), arguments);
        assert_eq!(code, 0, "{arguments}: {report:#}");
        let published = counted(&report, "published");
        assert!(0 < published, "{arguments}: {report:#}");
        assert_eq!(counted(&report, "delivered"), published * receivers, "{arguments}: {report:#}");
        assert_eq!(counted(&report, "missed") + counted(&report, "surplus"), 0);
        if 0 < receivers {
            assert!(0 < report["latency_ms"]["count"].as_u64().expect("a count"), "{arguments}: {report:#}");
        }
    };
    check("count-steady", SHORT, 4);
    check("count-sse", "-c 4 -R 200 -d 100ms --transport sse", 4);
    check("count-burst", "-c 4 --shape burst:7 -R 50 -d 100ms", 4);
    check("count-batch", "-c 4 --shape burst:7 -R 50 -d 100ms --publish-via http-batch --batch 3", 4);
    check("count-command", "-c 4 -R 200 -d 100ms --publish-via ws", 4);
    check("count-window", "-c 4 --shape saturation:4 -d 100ms", 4);
    check("count-skip", "-c 20 --shape saturation:4 -d 100ms", 20);
    check("count-skip-sse", "-c 20 --shape saturation:4 -d 100ms --transport sse", 20);
    check("count-channels", "--topology 3x2 -R 200 -d 100ms", 2);
    check("count-answers", "--shape publish:8 -d 100ms", 0);
}

#[test]
fn steady_deliveries_are_those_that_were_due() {
    let (code, report) = count("count-due", Script::default(), "-c 3 -R 100 -d 500ms --warmup 100ms -s 300");
    assert_eq!(code, 0, "{report:#}");
    let published = counted(&report, "published");
    // Ten of the warm-up, and those of half a second or of a multiple of it.
    assert_eq!((published - 10) % 50, 0, "{report:#}");
    assert_eq!(report["latency_ms"]["count"], 3 * (published - 10));
    assert_eq!(report["figures"]["payload_bytes"].as_f64().map(f64::round), Some(300.0), "{report:#}");
}

#[test]
fn connections_are_opened_and_held_without_events() {
    for shape in ["connect", "idle"] {
        let name = format!("count-{shape}");
        let (code, report) = count(&name, Script::default(), &format!("--shape {shape} -c 5 -d 50ms"));
        assert_eq!((code, counted(&report, "published")), (0, 0), "{report:#}");
        assert!(5 <= report["latency_ms"]["count"].as_u64().expect("a count"), "{report:#}");
    }
}

#[test]
fn a_delivery_that_is_missing_or_too_many_fails_the_run() {
    let check = |name: &str, fault: Fault, missed: u64, surplus: u64, gaps: u64| {
        let script = Script { fault, ..Script::default() };
        let (code, report) = count(name, script, &format!("{SHORT} --body 40 --drain 100ms"));
        assert_eq!((code, &report["verdict"]), (5, &"failed".into()), "{report:#}");
        assert_eq!(
            (counted(&report, "missed"), counted(&report, "surplus")),
            (missed, surplus),
            "{report:#}"
        );
        assert_eq!((counted(&report, "incomplete_subscribers"), counted(&report, "gaps")), (1, gaps));
    };
    check("count-lost", Fault::Lose(9), 1, 0, 0);
    check("count-repeated", Fault::Repeat(9), 0, 1, 0);
    check("count-gap", Fault::Gap(9, 11), 3, 0, 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_delivery_that_is_missing_or_too_many_is_noticed_where_bytes_are_only_counted() {
    let check = |name: &str, fault: Fault, expected: Option<(u64, u64)>, subscriber: u8, options: &str| {
        // Of twenty, eight are watched: number 2 is, and number 0 is not.
        let fault_at = Some(Ipv4Addr::new(127, 0, 0, 2 + subscriber).into());
        let script = Script { fault, fault_at, ..Script::default() };
        let load = "-c 20 --watch 64 --source-ip 127.0.0.2..21 -R 200 -d 100ms --body 40 --drain 500ms";
        let (code, report) = count(name, script, &format!("{load} {options}"));
        assert_eq!((code, &report["verdict"]), (5, &"failed".into()), "{name}: {report:#}");
        assert!(0 < counted(&report, "skipped"), "{name}: {report:#}");
        let incomplete = counted(&report, "incomplete_subscribers");
        let Some(expected) = expected else { return assert_ne!(incomplete, 0, "{name}: {report:#}") };
        let wrong = (counted(&report, "missed"), counted(&report, "surplus"));
        assert_eq!((incomplete, wrong), (1, expected), "{name}: {report:#}");
    };
    for (who, subscriber) in [("skips", 0), ("reads", 2)] {
        for (way, options) in [("ws", ""), ("sse", "--transport sse")] {
            let named = |fault: &str| format!("count-{fault}-{who}-{way}");
            check(&named("lost"), Fault::Lose(12), Some((1, 0)), subscriber, options);
            check(&named("repeated"), Fault::Repeat(12), Some((0, 1)), subscriber, options);
            if subscriber == 0 {
                // What comes is not as long as what is left out. The rest is torn, and who else suffers is by chance.
                check(&named("told"), Fault::Gap(12, 14), None, subscriber, options);
                check(&named("short"), Fault::Lose(9), None, subscriber, options);
            }
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn bytes_that_are_no_whole_events_fail_the_run() {
    // The ninth event is a byte shorter than those behind it, so the last one seems to begin a byte too early. Whether the
    // number of events is wrong or only their bytes depends on how the last of them was met: skipped, or read.
    let script = Script {
        fault: Fault::Repeat(9),
        fault_at: Some(Ipv4Addr::new(127, 0, 0, 2).into()),
        ..Script::default()
    };
    let load = "-c 20 --watch 64 --source-ip 127.0.0.2..21 -R 200 -d 100ms --body 40 --drain 100ms";
    let (code, report) = count("count-torn", script, load);
    assert_eq!((code, &report["verdict"]), (5, &"failed".into()), "{report:#}");
    assert!(report["failures"].to_string().contains("--watch 1 reads everything"), "{report:#}");
}

#[test]
fn what_is_refused_is_not_expected() {
    let script = Script { refuse_every: 5, ..Script::default() };
    let (code, report) = count("count-refused", script, "-c 4 --shape saturation:4 -d 100ms");
    assert_eq!(code, 0, "{report:#}");
    let (published, refused) = (counted(&report, "published"), counted(&report, "refused"));
    assert!(0 < refused, "{report:#}");
    assert_eq!(counted(&report, "delivered"), 4 * (published - refused), "{report:#}");
}

#[test]
fn nothing_is_expected_of_those_that_never_read() {
    let (code, report) = count("count-stuck", Script::default(), &format!("{SHORT} --stuck 1"));
    assert_eq!(code, 0, "{report:#}");
    assert!(counted(&report, "published") * 3 <= counted(&report, "delivered"));
}

#[test]
fn a_client_that_is_too_near_to_its_own_ceiling_makes_the_run_invalid() {
    let (code, report) = count("count-invalid", Script::default(), &format!("{SHORT} --ceiling 1000000"));
    assert_eq!((code, &report["verdict"]), (4, &"invalid".into()), "{report:#}");
    assert!(0.0 < report["generator"]["ceiling_per_s"].as_f64().expect("a ceiling"));
}
