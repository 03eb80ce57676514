//! What `loadgen run` writes, and `loadgen report` makes of it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::stub::{Script, Stub};

const FILES: [&str; 6] =
    ["env.json", "intervals.csv", "latency.hgrm", "latency.hlog", "report.html", "result.json"];

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().expect("the generator runs")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// A folder that is not there yet.
fn folder(name: &str) -> PathBuf {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("outputs-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// A run into `folder` of 60 events and 240 deliveries.
fn run(stub: &Stub, folder: &Path, more: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("run").arg(format!("http://{}", stub.address)).arg("-o").arg(folder);
    command.args("-c 4 --transport ws:50,sse:50 -R 200 --warmup 0 --lenient --interval 100ms".split(' '));
    command.args(more.split_whitespace());
    command
}

fn result(folder: &Path) -> Value {
    serde_json::from_str(&read(folder, "result.json")).expect("JSON")
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn sum(intervals: &Value, member: &str) -> u64 {
    intervals.as_array().expect("intervals").iter().map(|one| one[member].as_u64().expect(member)).sum()
}

#[test]
fn a_folder_holds_everything_and_every_form_can_be_made_of_it_again() {
    let stub = Stub::start(Script::default());
    let folder = folder("all");
    let output = run(&stub, &folder, "-d 10s -n 60 --token s3cret").output().expect("the generator runs");
    let table = text(output.stdout);
    assert_eq!(
        (output.status.code(), text(output.stderr)),
        (Some(0), String::new()),
        "nothing on a pipe: {table}"
    );
    assert_eq!(names(&folder), FILES);
    for name in FILES {
        assert!(!read(&folder, name).contains("s3cret"), "{name} has the token");
    }

    let saved = result(&folder);
    let intervals = &saved["intervals"];
    assert_eq!((sum(intervals, "accepted"), sum(intervals, "delivered")), (60, 240), "{intervals:#}");
    assert!(2 < intervals.as_array().expect("intervals").len());
    let counts = intervals.as_array().expect("intervals").iter().map(|one| {
        let rows = one["latency_ms"].as_array().expect("rows");
        rows.iter().find(|row| row["name"] == "e2e").map_or(0, |row| row["count"].as_u64().expect("a count"))
    });
    assert_eq!(counts.sum::<u64>(), 240);
    assert_eq!(saved["environment"]["command"][0], "loadgen");

    let path = folder.to_str().expect("a path");
    for (format, file) in [("csv", "intervals.csv"), ("hlog", "latency.hlog"), ("hgrm", "latency.hgrm")] {
        let told = loadgen(&["report", path, "--format", format]);
        let [told, written] = [text(told.stdout), read(&folder, file)];
        // A run without a name is called after its target at first, and after its folder later.
        let unnamed = |text: &str| {
            text.lines().map(|line| line.trim_start_matches(|c| c != ',').to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(unnamed(&told), unnamed(&written), "{format}");
    }
    let told = text(loadgen(&["report", path]).stdout);
    assert_eq!(table.strip_suffix(&format!("saved      {path}\n")), Some(&*told));
    let told: Value = serde_json::from_slice(&loadgen(&["report", path, "-f", "json"]).stdout).expect("JSON");
    assert_eq!(told, saved);
    let page = text(loadgen(&["report", path, path, "-f", "html"]).stdout);
    assert!(page.contains("2 runs beside each other"));
    let several = text(loadgen(&["report", path, path, "-f", "md"]).stdout);
    assert!(several.contains("| e2e p50, ms |") && several.contains("(+0.0 %)"), "{several}");
    let compared = loadgen(&["compare", path, path]);
    assert_eq!((compared.status.code(), text(compared.stdout).contains("same or better")), (Some(0), true));
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn an_interrupt_writes_everything_too() {
    let stub = Stub::start(Script::default());
    let folder = folder("interrupt");
    let mut command = run(&stub, &folder, "-d 10m");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the generator runs");
    while stub.published().len() < 20 {
        std::thread::yield_now();
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(names(&folder), FILES);
    let saved = result(&folder);
    assert_eq!(saved["verdict"], "interrupted");
    assert_eq!(sum(&saved["intervals"], "delivered"), saved["delivered"]["total"].as_u64().expect("a total"));
    assert!(read(&folder, "report.html").contains(">INTERRUPTED</p>"));
    assert!(read(&folder, "latency.hlog").lines().any(|line| line.starts_with("Tag=sse,")));
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn what_is_asked_for_and_what_it_costs_is_in_every_form() {
    let stub = Stub::start(Script { close_after: 10, ..Script::default() });
    let folder = folder("objectives");
    let metrics = format!("--metrics http://{}/metrics", stub.address);
    let load =
        "--warmup 0 --lenient --stages 200:100ms,400:300ms --arrival poisson --slo p99<60s --slo max<1ns";
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &format!("http://{}", stub.address), "-c", "4", "-o"])
        .arg(&folder)
        .args(load.split(' ').chain(metrics.split(' ')))
        .output()
        .expect("the generator runs");
    let table = text(output.stdout);
    assert_eq!(output.status.code(), Some(99), "{table}{}", text(output.stderr));
    let saved = result(&folder);
    assert_eq!(
        (&saved["verdict"], saved["objectives"].as_array().map(Vec::len)),
        (&"missed".into(), Some(2))
    );
    assert!(saved["costs"]["server_cpu"].is_number(), "{saved:#}");
    let path = folder.to_str().expect("a path");
    let told = |format: &str| text(loadgen(&["report", path, "--format", format]).stdout);
    let parts = ["stages 200:0.1s,400:0.3s, poisson", "reconnect", "MISSED"];
    let check = |form: &str, told: &str, more: &[&str]| {
        for part in parts.iter().chain(more) {
            assert!(told.contains(part), "{part} is not in the {form}:\n{told}");
        }
    };
    check("table", &table, &["SLO        PASS p99<60s (", "SLO        FAIL max<1ns (", "memory 1.0 MiB"]);
    check("table made again", &told("text"), &["SLO        FAIL max<1ns (", "memory 1.0 MiB"]);
    check(
        "Markdown",
        &told("md"),
        &["| p99\\<60s | PASS (", "| max\\<1ns | FAIL (", "| server's memory | 978.5 KiB |"],
    );
    let page = read(&folder, "report.html");
    check(
        "page",
        &page,
        &["objective missed: max&lt;1ns (", ">p99&lt;60s</th>", "<h2>Costs</h2>", "[0.4,400.0]"],
    );
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn the_parts_of_a_run_and_a_search_write_everything_too() {
    let stub = Stub::start(Script::default());
    let url = format!("http://{}", stub.address);
    let check = |arguments: &str, headline: &str, shown: &[&str], hidden: &[&str]| {
        let name = arguments.split(' ').next().expect("a command");
        let folder = folder(name);
        let arguments = arguments.split(' ').collect::<Vec<_>>();
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args([arguments[0], &url, "--lenient", "-o"])
            .arg(&folder)
            .args(&arguments[1..])
            .output()
            .expect("the generator runs");
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(output.stderr));
        assert_eq!(names(&folder), FILES, "{name}");
        let page = read(&folder, "report.html");
        assert!(page.contains(headline), "{name}: {headline} is not in {page}");
        let told = text(loadgen(&["report", folder.to_str().expect("a path")]).stdout);
        assert!(shown.iter().all(|part| told.contains(part)), "{name}: {shown:?} of\n{told}");
        assert!(!hidden.iter().any(|part| told.contains(part)), "{name}: {hidden:?} of\n{told}");
        fs::remove_dir_all(&folder).expect("removed");
    };
    check(
        "pub -R 200 -n 40 --warmup 0",
        "<h1>40 events accepted, none refused</h1>",
        &["published  40 ", "ack "],
        &["delivered"],
    );
    check(
        "sub -c 2 -d 100ms",
        "<h1>0 deliveries to 2 subscribers, all in order</h1>",
        &["delivered  0 ", "events of others"],
        &["published"],
    );
    check(
        "connect -c 2 -d 100ms",
        "<h1>2 connections held for 0 s, none closed by the server</h1>",
        &["held       2 open"],
        &["published", "delivered"],
    );
    let search = "search -c 2 --slo p99<60s --slo lost==0 --from 50 --to 100 -d 300ms --warmup 0";
    check(search, ">lost==0</th>", &["open loop 100 events/s", "SLO        PASS p99<60s ("], &[]);
}

#[test]
fn what_cannot_be_written_or_read_is_told_before_anything_else() {
    let stub = Stub::start(Script::default());
    let file = folder("file");
    fs::write(&file, "{}").expect("written");
    let inside = file.join("inside");
    let output = run(&stub, &inside, "-d 10s").output().expect("the generator runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(output.stderr).contains("creating"));
    assert!(stub.published().is_empty(), "nothing was published");
    let refusing = Stub::start(Script { status: Some(401), ..Script::default() });
    let empty = folder("empty");
    let output = run(&refusing, &empty, "-d 10s").output().expect("the generator runs");
    assert_eq!((output.status.code(), names(&empty)), (Some(3), Vec::new()), "no result, no file");
    fs::remove_dir_all(&empty).expect("removed");

    let path = file.to_str().expect("a path");
    for (arguments, code, reason) in [
        (&["report", path][..], 3, "is no result of a run"),
        (&["report", "/nowhere/result.json"], 3, "cannot read"),
        (&["report"], 2, "required"),
        (&["report", path, "--format", "xml"], 2, "xml"),
    ] {
        let output = loadgen(arguments);
        let said = text(output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    fs::remove_file(&file).expect("removed");
}
