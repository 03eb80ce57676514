//! What is shipped for operators: programs' answers for shells, manuals and health checks, the dashboard and the alerts, the
//! unit, the container, and their documentation.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::http::get;
use support::process::{ServerProcess, fanfare};
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS};

fn run(arguments: &[&str]) -> Output {
    fanfare().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Every command of the program, as one says it.
const COMMANDS: &[&str] = &[
    "serve",
    "config",
    "config check",
    "config print",
    "config example",
    "publish",
    "tail",
    "top",
    "keys",
    "keys new",
    "keys api",
    "token",
    "health",
    "completions",
    "man",
];

#[test]
fn health_is_an_exit_code() {
    let mut server = ServerProcess::start(&[]);
    let admin = server.admin.to_string();
    let check = |code: i32, said: &str| {
        let output = run(&["health", "--admin-listen", &admin]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let all = [text(&output.stdout), text(&output.stderr)].concat();
        assert!(all.contains(said), "{all}");
        assert_eq!(output.stdout.is_empty(), code != 0, "only good news are on standard output");
    };
    check(0, r#""status":"ok""#);
    // Readiness is asked for, and of the door that is open to the end.
    let _stream = Stream::open(TRANSPORTS[0], server.public, "t:a", "");
    server.signal("TERM");
    assert!(server.wait_for_end().success());
    check(1, "no answer from 127.0.0.1:");
}

#[test]
fn health_is_asked_where_the_configuration_says() {
    let server = ServerProcess::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    std::fs::write(&config, format!("admin_listen = '{}'\nmax_connections = 7\n", server.admin)).unwrap();
    let output = run(&["health", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let output =
        fanfare().arg("health").env("FANFARE_ADMIN_LISTEN", server.admin.to_string()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::write(&config, "nonsense = 1").unwrap();
    assert_eq!(run(&["health", "--config", config.to_str().unwrap()]).status.code(), Some(2));
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        for word in
            COMMANDS.iter().flat_map(|command| command.split(' ')).chain(["retain-bytes", "token-file"])
        {
            assert!(text(&output.stdout).contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/if/need/be");
    assert!(run(&["man", path.to_str().unwrap()]).status.success());
    let written: BTreeSet<String> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let page = |command: &&str| format!("fanfare-{}.1", command.replace(' ', "-"));
    let expected = COMMANDS.iter().map(page).chain(["fanfare.1".to_owned()]).collect();
    assert_eq!(written, expected);
    for name in &written {
        let page = std::fs::read_to_string(path.join(name)).unwrap();
        let title = name.trim_end_matches(".1").to_uppercase();
        assert!(
            page.contains(&format!(".TH {title} 1"))
                || page.contains(&format!(".TH {} 1", title.replace('-', "\\-"))),
            "{name}"
        );
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    let serve = std::fs::read_to_string(path.join("fanfare-serve.1")).unwrap();
    assert!(
        serve.contains("retain\\-bytes") && serve.contains("FANFARE_RETAIN_BYTES"),
        "flags and variables"
    );
    let output = run(&["man"]);
    assert_eq!(output.stdout, std::fs::read(path.join("fanfare.1")).unwrap());
}

/// What is shipped.
fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy")
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Names of metrics in an expression, or in anything else.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("fanfare_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The expressions of all panels and annotations.
fn expressions(of: &Value, found: &mut Vec<String>) {
    match of {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if ["expr", "query", "definition"].contains(&&**name) => {
                        found.push(text.clone())
                    }
                    value => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// The series of a server that has something to do, without their values.
fn series_under_load() -> Vec<String> {
    let server = ServerProcess::start(&[]);
    let _streams = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "t:a", ""));
    Publisher::connect(server.public).publish_many("t:a", 200);
    support::http::wait_for_delivery(server.public, 200);
    let answer = get(server.admin, "/metrics");
    let samples = answer.text().lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_are_there() {
    let series = series_under_load();
    let there: BTreeSet<&str> = series.iter().map(|series| series.split('{').next().unwrap()).collect();
    let dashboard: Value = serde_json::from_str(&shipped("grafana/dashboard.json")).unwrap();
    let mut all = Vec::new();
    expressions(&dashboard, &mut all);
    assert!(30 < all.len(), "{all:#?}");
    let alerts = shipped("prometheus/alerts.yml");
    all.push(alerts.clone());
    let named: BTreeSet<String> = all.iter().flat_map(|text| metrics_in(text)).collect();
    let missing: Vec<&str> = named.iter().map(|name| &**name).filter(|name| !there.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
    // What an operator would look for is shown.
    for name in
        ["fanfare_streams", "fanfare_gaps_told_total", "fanfare_lagging", "fanfare_loop_busy_seconds_total"]
    {
        assert!(named.contains(name), "{name}");
    }
    for label in [r#"fanfare_loop_busy_seconds_total{loop="0"}"#, "fanfare_build_info{version="] {
        assert!(series.iter().any(|series| series.starts_with(label)), "{label}");
    }
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(&shipped("grafana/dashboard.json")).unwrap();
    assert_eq!(dashboard["__inputs"][0]["name"], "DS_PROMETHEUS");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        let place = &panel["gridPos"];
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| place[side].as_u64().unwrap());
        assert!(x + w <= 24, "{title}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another");
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${DS_PROMETHEUS}", "{title}");
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_the_documentation_what_to_do() {
    let operating = std::fs::read_to_string(deploy().join("../OPERATING.md")).unwrap();
    let alerts = shipped("prometheus/alerts.yml");
    let mut count = 0;
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        for part in ["expr:", "severity: ", "summary:", "description:"] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        assert!(operating.contains(&format!("`{name}`")), "docs/OPERATING.md does not know {name}");
        count += 1;
    }
    assert!(10 < count, "{count}");
}

#[test]
fn the_unit_the_container_and_the_configuration_fit_the_program() {
    let unit = shipped("systemd/fanfare.service");
    for line in ["Type=notify-reload", "LimitNOFILE=1048576", "DynamicUser=yes", "ProtectSystem=strict"] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
    let config = deploy().join("etc/fanfare.toml");
    let output = run(&["config", "check", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    // What stands there as a comment is good as well.
    let comments = std::fs::read_to_string(&config).unwrap();
    let keys: String = comments
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.contains(" = "))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(2 < keys.lines().count(), "{keys}");
    let folder = tempfile::tempdir().unwrap();
    let tried = folder.path().join("fanfare.toml");
    std::fs::write(&tried, keys.replace("jwks", "#jwks")).unwrap();
    let output = run(&["config", "check", "--config", tried.to_str().unwrap()]);
    assert!(output.status.success(), "{keys}{output:?}");
    // The socket unit listens where the configuration does.
    let socket = shipped("systemd/fanfare.socket");
    for address in ["127.0.0.1:8080", "127.0.0.1:8081"] {
        assert!(
            socket.contains(&format!("ListenStream={address}\n")) && comments.contains(address),
            "{address}"
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let container = shipped("docker/Dockerfile");
    for copied in
        container.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--"))
    {
        let mut words: Vec<&str> = copied.split(' ').collect();
        words.pop();
        for word in words {
            assert!(root.join(word).exists(), "{word} is copied and not there");
        }
    }
    assert!(container.contains("HEALTHCHECK") && container.contains(r#"["/usr/bin/fanfare", "health"]"#));
    assert!(container.contains("\nUSER 65532:65532\n"), "nobody is root in it");
    for variable in container.split_ascii_whitespace().filter(|word| word.starts_with("FANFARE_")) {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        let name = name.trim_start_matches('(').trim_start_matches("FANFARE_").to_lowercase();
        let output = run(&["config", "example"]);
        assert!(text(&output.stdout).contains(&format!("# {name} = ")), "{name} {value}");
    }
}

#[test]
fn links_of_the_documentation_lead_to_what_is_shipped() {
    let docs = deploy().join("..");
    let operating = std::fs::read_to_string(docs.join("OPERATING.md")).unwrap();
    let mut found = 0;
    for target in operating.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
        if target.is_empty() || target.contains("://") {
            continue;
        }
        assert!(docs.join(target).exists(), "{target}");
        found += 1;
    }
    assert!(8 < found, "{found}");
    let readme = std::fs::read_to_string(docs.join("../README.md")).unwrap();
    assert!(readme.contains("(docs/OPERATING.md)"));
}
