//! `loadgen run` against a server that keeps the protocol, and against one that breaks it.

use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::commands::interrupt;
use crate::front::Front;
use crate::stub::{Fault, Flaw, Script, Stub};
use serde_json::Value;

/// Runs the generator leniently, since test machines are busy, and returns the exit code and the JSON report.
fn run(stub: &Stub, arguments: &str) -> (i32, Value) {
    let output = command(stub, arguments).output().expect("the generator runs");
    outcome(&output)
}

fn command(stub: &Stub, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("run").arg(format!("http://{}", stub.address)).args(arguments.split_whitespace());
    command.args(["--lenient", "--quiet", "--json", "-"]);
    command
}

fn outcome(output: &Output) -> (i32, Value) {
    let code = output.status.code().expect("an exit code");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("exit {code}, {}", String::from_utf8_lossy(&output.stderr)));
    (code, report)
}

/// Checks the exit code and then some numbers of the report, each named by its path.
fn check(script: Script, arguments: &str, code: i32, numbers: &[(&str, u64)]) -> Value {
    let stub = Stub::start(script.clone());
    let (got, report) = run(&stub, arguments);
    assert_eq!(got, code, "{arguments} {script:?}: {report:#}");
    for (path, expected) in numbers {
        assert_eq!(number(&report, path), *expected, "{path} for {arguments} {script:?}: {report:#}");
    }
    report
}

fn number(report: &Value, path: &str) -> u64 {
    let pointer = format!("/{path}");
    report.pointer(&pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report:#}"))
}

fn latency(report: &Value, name: &str, figure: &str) -> f64 {
    let rows = report["latency_ms"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    row[figure].as_f64().expect("a figure")
}

/// Short, and long enough for the faults below to happen: 60 events.
const SHORT: &str = "-c 4 --transport ws:50,sse:50 -R 200 -d 10s -n 60 --warmup 0";
/// The same without a rate.
const UNPACED: &str = "-c 4 --transport ws:50,sse:50 -d 10s -n 60 --warmup 0";

#[test]
fn a_server_that_keeps_the_protocol_passes_in_every_shape() {
    for shape in [
        "",
        "--publish-via ws",
        "--batch 7",
        "-p 3",
        "-p 2 --batch 4 -t 2",
        "--channels 3 -c 9 -t 2",
        "-s corpus",
        "-s projection",
        "-s 100000",
        "--verify order",
        "--verify gaps",
        "-s 64..4KiB",
        "-s lognormal:512,1.2",
        "--arrival poisson",
        "--arrival burst:10@50ms -p 2",
        "--arrival closed:3",
        "--slow 50%:200KB/s",
        "--verify none",
        "--source-ip 127.0.0.2..4",
        "-R max",
        "-R max --publish-via ws --outstanding 5",
    ] {
        // Bursts and answers say themselves how many events come.
        let base = if shape.contains("closed") || shape.contains("burst") { UNPACED } else { SHORT };
        let arguments = format!("{base} {shape}");
        let report = check(
            Script::default(),
            &arguments,
            0,
            &[("published/accepted", 60), ("verification/lost", 0), ("verification/gaps", 0)],
        );
        let deliveries = if shape.contains("--channels 3") { 180 } else { 240 };
        assert_eq!(number(&report, "verification/received"), deliveries, "{shape}");
        assert_eq!(number(&report, "delivered/total"), deliveries, "{shape}");
        assert_eq!(report["verdict"], "pass");
    }
}

#[test]
fn every_broken_promise_fails_the_run_and_is_counted_by_its_name() {
    let fault = |fault: Fault| Script { fault, ..Script::default() };
    for (script, path, count) in [
        (fault(Fault::Lose(30)), "verification/lost", 1),
        (fault(Fault::Lose(60)), "verification/lost", 1),
        (fault(Fault::Repeat(30)), "verification/faults/repeated", 1),
        (fault(Fault::Repeat(60)), "verification/faults/repeated", 1),
        (fault(Fault::Swap(30)), "verification/faults/reordered", 1),
        (fault(Fault::Replace(30)), "verification/faults/repeated", 1),
        (fault(Fault::Replace(30)), "verification/lost", 1),
        (fault(Fault::Alter(30)), "verification/faults/altered", 1),
        (Script { wrong_answer: true, ..fault(Fault::None) }, "verification/phantoms", 60),
        (Script { wrong_matched: true, ..fault(Fault::Gap(20, 29)) }, "verification/wrong_matched", 1),
    ] {
        for transport in ["ws", "sse"] {
            let arguments =
                format!("-c 3 --transport {transport} -R 300 -n 60 -d 10s --warmup 0 --drain 500ms");
            check(script.clone(), &arguments, 5, &[(path, count)]);
        }
    }
}

#[test]
fn a_reordered_pair_is_neither_lost_nor_repeated() {
    let script = Script { fault: Fault::Swap(30), ..Script::default() };
    check(script, SHORT, 5, &[("verification/lost", 0), ("verification/faults/repeated", 0)]);
}

#[test]
fn order_alone_is_checked_without_completeness() {
    let lose = Script { fault: Fault::Lose(30), ..Script::default() };
    let swap = Script { fault: Fault::Swap(30), ..Script::default() };
    let arguments = format!("{SHORT} --verify order");
    check(lose.clone(), &arguments, 0, &[("verification/lost", 0)]);
    check(swap, &arguments, 5, &[("verification/faults/reordered", 1)]);
    let arguments = format!("{SHORT} --verify gaps --drain 500ms");
    check(lose, &arguments, 5, &[("verification/lost", 1)]);
    let gap = Script { fault: Fault::Gap(20, 29), ..Script::default() };
    check(gap, &arguments, 0, &[("verification/lost", 0), ("verification/in_gaps", 10)]);
}

#[test]
fn a_told_gap_is_counted_and_nothing_in_it_is_expected() {
    for transport in ["ws", "sse"] {
        let script = Script { fault: Fault::Gap(20, 29), ..Script::default() };
        let arguments = format!("-c 3 --transport {transport} -R 300 -n 60 -d 10s --warmup 0");
        check(
            script,
            &arguments,
            0,
            &[
                ("verification/gaps", 1),
                ("verification/in_gaps", 10),
                ("verification/received", 170),
                ("verification/expected", 170),
                ("verification/gap_samples/0/from", 20),
                ("verification/gap_samples/0/to", 29),
            ],
        );
    }
}

#[test]
fn of_a_range_that_was_thinned_out_exactly_what_was_kept_is_expected() {
    // Of ten events the first, the fourth, the seventh and the tenth are kept.
    for (flaw, received, in_gaps) in [(Flaw::None, 174, 6), (Flaw::Overtaken, 173, 7), (Flaw::Cut, 180, 0)] {
        for transport in ["ws", "sse"] {
            let script = Script { fault: Fault::Thin(20, 29, flaw), ..Script::default() };
            let arguments = format!(
                "-c 3 --transport {transport} --on-slow latest -R 300 -n 60 -d 10s --warmup 0 --drain 2s"
            );
            check(
                script,
                &arguments,
                0,
                &[
                    ("verification/gaps", 1),
                    ("verification/in_gaps", in_gaps),
                    ("verification/received", received),
                    ("verification/expected", received),
                    ("verification/gap_samples/0/from", 20),
                ],
            );
        }
    }
}

#[test]
fn what_is_wrong_with_a_range_that_was_thinned_out_is_found() {
    let thin = |flaw: Flaw| Script { fault: Fault::Thin(20, 29, flaw), ..Script::default() };
    for (script, on_slow, path) in [
        (thin(Flaw::Lost), "latest", "verification/lost"),
        (thin(Flaw::Repeated), "latest", "verification/faults/repeated"),
        (thin(Flaw::Stray), "latest", "verification/wrong_matched"),
        (thin(Flaw::Stale), "latest", "verification/faults/contradicted"),
        (thin(Flaw::Swapped), "latest", "verification/faults/contradicted"),
        (Script { wrong_matched: true, ..thin(Flaw::None) }, "latest", "verification/wrong_matched"),
        (thin(Flaw::None), "gap", "verification/faults/contradicted"),
        (thin(Flaw::None), "close", "verification/faults/contradicted"),
    ] {
        for transport in ["ws", "sse"] {
            let arguments = format!(
                "-c 3 --transport {transport} --on-slow {on_slow} -R 300 -n 60 -d 10s --warmup 0 --drain 500ms"
            );
            check(script.clone(), &arguments, 5, &[(path, 1)]);
        }
    }
}

#[test]
fn refused_publishes_are_counted_and_must_not_be_delivered() {
    for via in ["http", "ws"] {
        let arguments = format!("{SHORT} --publish-via {via}");
        let script = Script { refuse_every: 6, retry_after: "0", ..Script::default() };
        check(script.clone(), &arguments, 0, &[("published/refused", 10), ("published/accepted", 50)]);
        let script = Script { delivers_refused: true, ..script };
        check(script, &arguments, 5, &[("published/refused", 10), ("verification/phantoms", 10)]);
    }
}

#[test]
fn at_saturation_refused_publishes_are_repeated_until_all_are_accepted() {
    let script = Script { refuse_every: 6, retry_after: "0.02", ..Script::default() };
    let report = check(script, &format!("{SHORT} -R max --outstanding 8"), 0, &[("published/accepted", 60)]);
    assert!(10 <= number(&report, "published/retried"), "{report:#}");
    assert!(20.0 <= latency(&report, "e2e", "max_ms"), "the intended time stays: {report:#}");
}

#[test]
fn a_stall_shows_in_the_latencies_of_all_events_that_were_due_in_it() {
    let script = Script { stall: Some((20, Duration::from_secs(2))), ..Script::default() };
    let report = check(script, "-c 2 -R 100 -n 300 -d 10s --warmup 0", 0, &[("published/accepted", 300)]);
    // 200 of the 300 events were due while the server stood still, evenly spread over two seconds.
    assert!(400.0 <= latency(&report, "e2e", "p50_ms"), "{report:#}");
    assert!(1_500.0 <= latency(&report, "e2e", "p90_ms"), "{report:#}");
    assert!(1_990.0 <= latency(&report, "e2e", "max_ms"), "{report:#}");
    assert_eq!(latency(&report, "e2e", "count"), 600.0);
}

#[test]
fn a_closed_loop_hides_the_stall_that_the_open_loop_shows() {
    let script = Script { stall: Some((20, Duration::from_secs(2))), ..Script::default() };
    let report =
        check(script, "-c 2 --arrival closed:1 -n 300 -d 10s --warmup 0", 0, &[("published/accepted", 300)]);
    // One of 300 requests waited, and no other one was sent meanwhile.
    assert!(latency(&report, "e2e", "p99_ms") < 1_000.0, "{report:#}");
    assert!(1_900.0 <= latency(&report, "e2e", "max_ms"), "{report:#}");
}

#[test]
fn a_rate_that_changes_brings_the_events_of_its_stages() {
    let report = check(
        Script::default(),
        "-c 2 --stages 0:100ms,400:500ms,400:250ms,0:500ms --warmup 0",
        0,
        &[("published/accepted", 300), ("published/unsent", 0), ("verification/received", 600)],
    );
    assert_eq!(report["setting"]["stages"], "0:0.1s,400:0.5s,400:0.25s,0:0.5s");
}

#[test]
fn the_same_seed_publishes_the_same_events() {
    let kinds = |seed: u32| {
        let stub = Stub::start(Script::default());
        let arguments = format!("{SHORT} -s projection --channels 5 --skew zipf:1 --seed {seed}");
        let (code, report) = run(&stub, &arguments);
        assert_eq!(code, 0, "{report:#}");
        stub.published()
    };
    let one = kinds(7);
    assert_eq!(one, kinds(7));
    assert_ne!(one, kinds(8));
    let busiest = one.iter().filter(|(channel, _)| channel == "bench:0").count();
    assert!(15 < busiest, "44 % of 60 are expected of the first of five channels: {busiest}");
}

#[test]
fn subscribers_of_several_channels_get_each_event_of_these() {
    check(
        Script::default(),
        &format!("{SHORT} -c 5 --channels 5 --subs-per-conn 2"),
        0,
        &[("verification/received", 120), ("verification/expected", 120), ("delivered/total", 120)],
    );
    let lose = Script { fault: Fault::Lose(30), ..Script::default() };
    // The first subscriber has channels 0 and 1; the 30th event, of index 29, is of the fifth.
    check(
        lose,
        &format!("{SHORT} -c 1 --transport ws --channels 5 --subs-per-conn 5 --drain 500ms"),
        5,
        &[("verification/lost", 1)],
    );
}

#[test]
fn a_filter_lets_its_share_through_and_nothing_else() {
    let arguments = format!("{SHORT} --filter 30%");
    let report = check(Script::default(), &arguments, 0, &[("published/accepted", 60)]);
    let received = number(&report, "verification/received");
    assert_eq!(received, number(&report, "verification/expected"));
    assert!((32..=112).contains(&received), "18 of 60 for each of four are expected: {received}");
}

#[test]
fn those_who_come_back_as_strangers_have_missed_what_there_was_and_no_more() {
    let report = check(
        Script::default(),
        "-c 6 --transport ws:50,sse:50 -R 300 -d 1500ms --warmup 100ms --churn 40/s",
        0,
        &[("verification/lost", 0), ("verification/faults/repeated", 0), ("verification/gaps", 0)],
    );
    assert!(20 <= number(&report, "delivered/replaced"), "{report:#}");
    assert_eq!(number(&report, "verification/received"), number(&report, "verification/expected"));
    assert!(latency(&report, "reconnect", "count") <= number(&report, "delivered/replaced") as f64);
}

#[test]
fn a_stranger_who_cannot_come_back_has_lost_nothing() {
    // The server is full with those who are there, and takes nobody back.
    let script = Script { subscribers_max: 4, ..Script::default() };
    let report =
        check(script, "-c 4 -R 100 -d 1s --warmup 0 --churn 4/s --drain 5s", 4, &[("verification/lost", 0)]);
    assert!(1 <= number(&report, "delivered/replaced"), "{report:#}");
    let reasons = report["invalid"].to_string();
    assert!(reasons.contains("not connected at the end"), "{reasons}");
    assert_eq!(report["notes"].to_string().find("had settled its last event"), None, "{report:#}");
}

#[test]
fn a_storm_that_never_came_makes_a_run_invalid() {
    // The events are out long before it is due.
    let report = check(Script::default(), &format!("{SHORT} --reconnect storm:50%@9s"), 4, &[]);
    assert!(report["invalid"].to_string().contains("storm"), "{report:#}");
}

#[test]
fn an_interrupt_while_connecting_still_reports() {
    let stub = Stub::start(Script::default());
    let mut command = command(&stub, "-c 1000 --connect-rate 20/s -R 200 -d 10m");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the generator runs");
    while stub.subscribers() < 2 {
        std::thread::yield_now();
    }
    interrupt(&child);
    let (code, report) = outcome(&child.wait_with_output().expect("it ends"));
    assert_eq!((code, &report["verdict"]), (130, &"interrupted".into()), "{report:#}");
    assert!(1.0 <= latency(&report, "handshake", "count"), "{report:#}");
}

#[test]
fn a_storm_cuts_its_share_off_at_once_and_all_come_back() {
    check(
        Script::default(),
        "-c 10 --transport ws:50,sse:50 -R 200 -d 1s --warmup 100ms --reconnect storm:50%@300ms",
        0,
        &[("delivered/stormed", 5), ("verification/lost", 0), ("delivered/open_at_end", 10)],
    );
}

#[test]
fn an_encrypted_server_is_driven_as_another_one_is() {
    let stub = Stub::start(Script::default());
    let front = Front::start(stub.address);
    let output = |trust: &[&str], arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["run", &format!("https://localhost:{}", front.address.port())])
            .args(["--lenient", "--quiet", "--json", "-"])
            .args(trust)
            .args(arguments.split_whitespace())
            .output()
            .expect("the generator runs");
        (output.status.code(), output)
    };
    let certificate = front.certificate.to_str().expect("text");
    for (trust, arguments) in [
        (&["--ca", certificate][..], format!("{SHORT} -s 100000")),
        (&["--insecure"], format!("{SHORT} --publish-via ws")),
        (&["--insecure"], format!("{SHORT} --resume-churn 20/s")),
    ] {
        let (_, output) = output(trust, &arguments);
        let (code, report) = outcome(&output);
        assert_eq!((code, number(&report, "verification/received")), (0, 240), "{report:#}");
    }
    let (code, output) = output(&[], SHORT);
    assert_eq!(code, Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate"), "{output:?}");
}

#[test]
fn subscribers_that_are_cut_off_resume_without_loss_or_repeat() {
    let report = check(
        Script::default(),
        "-c 6 --transport ws:50,sse:50 -R 300 -d 1500ms --warmup 100ms --resume-churn 40/s",
        0,
        &[("verification/lost", 0), ("verification/faults/repeated", 0), ("verification/gaps", 0)],
    );
    assert!(20 <= number(&report, "delivered/churned"), "{report:#}");
    assert_eq!(number(&report, "verification/received"), 6 * number(&report, "published/accepted"));
}

#[test]
fn subscribers_that_the_server_closes_resume_too() {
    let script = Script { close_after: 30, ..Script::default() };
    check(script, SHORT, 0, &[("delivered/closed_by_server", 4), ("verification/received", 240)]);
}

#[test]
fn load_that_never_was_makes_a_run_invalid() {
    let script = Script { publishes_max: 30, ..Script::default() };
    let report = check(
        script,
        &format!("{SHORT} --drain 300ms"),
        4,
        &[("published/accepted", 30), ("verification/lost", 0)],
    );
    assert_eq!(report["verdict"], "invalid");
    let missing = number(&report, "published/unsent") + number(&report, "published/unanswered");
    assert_eq!(missing, 30, "{report:#}");
}

#[test]
fn slow_subscribers_are_told_gaps_and_reported_apart() {
    // The first subscriber is the slow one. Only it has a window, so that nobody else is told a gap however busy the machine.
    let script =
        Script { retain: 20, fault_at: Some(Ipv4Addr::new(127, 0, 0, 2).into()), ..Script::default() };
    let stub = Stub::start(script);
    let mut command = command(
        &stub,
        "-c 3 --source-ip 127.0.0.2..4 --slow 1 -R 100 -d 10m --warmup 0 -s 200000 --drain 2m",
    );
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the generator runs");
    // 40 MB: more than the kernels hold for somebody who does not read.
    while stub.published().len() < 200 {
        std::thread::yield_now();
    }
    interrupt(&child);
    let (code, report) = outcome(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, 130, "{report:#}");
    assert_eq!(number(&report, "verification/lost"), 0, "{report:#}");
    assert_eq!(number(&report, "verification/gaps"), 0, "{report:#}");
    assert!(1 <= number(&report, "verification/gaps_of_slow"), "{report:#}");
    assert!(1 <= number(&report, "verification/in_gaps_of_slow"), "{report:#}");
}

#[test]
fn holding_only_connects() {
    let report = check(
        Script::default(),
        "-c 20 --transport ws:50,sse:50 --hold -d 300ms",
        0,
        &[("delivered/open_at_end", 20), ("delivered/total", 0), ("delivered/pings", 10)],
    );
    assert_eq!(latency(&report, "handshake", "count"), 20.0);
}

#[test]
fn what_the_server_has_used_is_told_for_each_delivery() {
    let stub = Stub::start(Script::default());
    let metrics = format!("{SHORT} --metrics http://{}/metrics", stub.address);
    let (code, report) = run(&stub, &metrics);
    assert_eq!(code, 0, "{report:#}");
    // Three looks: before connecting, at the start, at the end. Between the last two half a second was used.
    let costs = &report["costs"];
    assert_eq!(costs["server_resident_bytes"], 1_002_000, "{costs:#}");
    assert_eq!(costs["server_bytes_per_connection"], 250.0, "{costs:#}");
    assert!(0.0 < costs["server_cpu_us_per_delivery"].as_f64().expect("a cost"), "{costs:#}");
    #[cfg(target_os = "linux")]
    {
        let (code, report) = run(&stub, &format!("{SHORT} --pid {}", std::process::id()));
        assert_eq!(code, 0, "{report:#}");
        assert!(0 < number(&report, "costs/server_resident_bytes"));
        assert!(0.0 <= report["costs"]["neighbours_cpu"].as_f64().expect("a share"));
    }
}

#[test]
fn a_server_that_tells_nothing_any_more_does_not_cost_the_report() {
    let is_noted = |report: &Value| {
        let notes = report["notes"].as_array().expect("notes");
        notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("could not be read any more")))
    };
    for looks_max in [1, 2] {
        let stub = Stub::start(Script { looks_max, ..Script::default() });
        let (code, report) = run(&stub, &format!("{SHORT} --metrics http://{}/metrics", stub.address));
        assert_eq!((code, number(&report, "verification/received")), (0, 240), "{report:#}");
        assert!(is_noted(&report) && report["costs"]["server_cpu"].is_null(), "{report:#}");
    }
    #[cfg(target_os = "linux")]
    {
        let stub = Stub::start(Script::default());
        let mut server = Command::new("sleep").arg("1d").spawn().expect("a process");
        let arguments = format!("-c 4 -R 200 -d 10m --warmup 0 --pid {}", server.id());
        let child = command(&stub, &arguments).stdout(Stdio::piped()).spawn().expect("the generator runs");
        while stub.published().len() < 20 {
            std::thread::yield_now();
        }
        // Dead, and still listed by the system, since nobody has waited for it.
        server.kill().expect("killed");
        interrupt(&child);
        let (code, report) = outcome(&child.wait_with_output().expect("it ends"));
        server.wait().expect("waited for");
        assert_eq!(code, 130, "{report:#}");
        assert!(is_noted(&report) && report["costs"]["server_cpu"].is_null(), "{report:#}");
    }
}

#[test]
fn what_cannot_be_set_up_has_an_exit_code_and_a_reason_of_its_own() {
    let check = |arguments: &[&str], code: i32, reason: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().expect("run");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(reason), "{arguments:?}: {text}");
    };
    // A port that was free a moment ago, and is not listened on.
    let unused =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let closed = format!("http://{unused}");
    check(&["run", &closed, "-c", "1"], 3, "refused");
    check(&["run", &closed, "-c", "0"], 3, "a publisher lost its connection");
    check(&["run", "ftp://127.0.0.1"], 2, "http://");
    check(&["run", &closed, "--batch", "2", "--publish-via", "ws"], 2, "--batch");
    check(&["run"], 2, "URL");
    check(&["run", &closed, "--metrics", &format!("{closed}/metrics"), "-c", "1"], 3, "has used");
    check(&["run", &closed, "-c", "1000000"], 3, "RLIMIT_NOFILE");
    let refusing = Stub::start(Script { status: Some(401), ..Script::default() });
    let url = format!("http://{}", refusing.address);
    check(&["run", &url, "-c", "1"], 3, "401");
    check(&["run", &url, "-c", "1", "--transport", "sse"], 3, "401");
}

#[test]
fn an_interrupt_ends_early_and_still_reports() {
    let stub = Stub::start(Script::default());
    let mut command = command(&stub, "-c 4 -R 200 -d 10m --warmup 0");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the generator runs");
    while stub.published().len() < 20 {
        std::thread::yield_now();
    }
    interrupt(&child);
    let (code, report) = outcome(&child.wait_with_output().expect("it ends"));
    assert_eq!((code, &report["verdict"]), (130, &"interrupted".into()), "{report:#}");
    assert!(20 <= number(&report, "published/accepted"));
    assert_eq!(number(&report, "verification/lost"), 0);
}

#[test]
fn the_table_and_the_percentiles_say_what_happened() {
    let stub = Stub::start(Script::default());
    let file = std::env::temp_dir().join(format!("loadgen-test-{}.hgrm", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &format!("ws://{}", stub.address), "--lenient", "--hgrm"])
        .arg(&file)
        .args(SHORT.split_whitespace())
        .output()
        .expect("the generator runs");
    let table = String::from_utf8(output.stdout).expect("text");
    for part in
        ["4 subscribers (2 ws + 2 sse)", "published  60 ", "delivered  240 ", "reach 1.000000", "PASS"]
    {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    assert!(!table.contains('\x1b'), "no colour outside a terminal");
    let percentiles = std::fs::read_to_string(&file).expect("percentiles");
    std::fs::remove_file(&file).expect("removed");
    assert!(percentiles.contains("Total count    =          240]"), "{percentiles}");
}
