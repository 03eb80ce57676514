//! Configuration: files, their faults, and what holds in the end.

mod support;

use std::io::Write;
use std::process::Output;

use support::http::get;
use support::process::{ServerProcess, fanfare};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// What `fanfare` says to these arguments with this file, and its exit code.
fn run(arguments: &[&str], text: &str, environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let config = file(text);
    let mut command = fanfare();
    command.args(arguments).env("FANFARE_CONFIG", config.path()).envs(environment.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let path = config.path().to_str().unwrap().to_owned();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&path, "F");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_was_typed_comes_before_the_environment_before_the_file_before_the_default() {
    let text =
        "max_connections = 11\nmax_channels = 12\nheaders = 13\nnamespaces = ['a', 'b']\ndemo = true\n";
    let environment = [("FANFARE_MAX_CHANNELS", "22"), ("FANFARE_HEADERS", "23"), ("FANFARE_DEMO", "false")];
    let (code, out, error) = run(&["config", "print", "--headers", "33"], text, &environment);
    assert_eq!((code, &*error), (Some(0), ""));
    for line in [
        "max_connections = 11  # F:1",
        "max_channels = 22  # environment FANFARE_MAX_CHANNELS",
        "headers = 33  # flag",
        "namespaces = [\"a\", \"b\"]  # F:4",
        "demo = false  # environment FANFARE_DEMO",
        "fragments = 64  # default",
        "body_bytes = \"1MiB\"  # default",
        "# data_dir is not set",
    ] {
        assert!(out.lines().any(|said| said == line), "{line} in {out}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_file_is_told_with_its_line() {
    let check = |text: &str, expected: &[&str]| {
        for command in [&["config", "check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let (code, out, error) = run(command, text, &[]);
            assert_eq!((code, &*out), (Some(2), ""), "{text}: {error}");
            for words in expected {
                assert!(error.contains(words), "{words:?} in {error}");
            }
            assert_eq!(error.lines().count(), expected.len(), "{error}");
        }
    };
    check("max_conections = 5", &["F:1: max_conections: there is no such key; is 'max_connections' meant?"]);
    check(
        "listen = '127.0.0.1:0'\nping_every = 5\nsys_events = 'yes'\n\nheaders = 4\nheaders = 5",
        &["F:2: ping_every: '5': ", "F:3: sys_events: true or false is expected", "F:6: duplicate key"],
    );
    check("[limits]\nheaders = 4", &["F:1: limits: there are no sections"]);
    check(
        "admin_listen = '0.0.0.0:0'\nloops = 999",
        &["--admin-listen 0.0.0.0:0", "--loops is a number from 1 to 256 (F:2)"],
    );
    check("\nretry = '1s'\nretry_spread = '2s'", &["--retry-spread is longer than --retry (F:3, F:2)"]);
    check(
        "hook_github_secrets = '/nowhere/at-all'\nstall_max = '1000h'",
        &[
            "--stall-max: durations are from 1ms to 30 days (F:2)",
            "--hook-github-secrets /nowhere/at-all: No such file or directory (os error 2) (F:1)",
        ],
    );
    check(
        "hook_github_secrets = '/dev/null'\napi_keys = '/nowhere/a'\ntls_key = '/nowhere/b'",
        &[
            "--hook-github-secrets /dev/null: it is no regular file (F:1)",
            "--api-keys /nowhere/a: No such file or directory (os error 2) (F:2)",
            "--tls-key takes --tls-cert, the file with its certificate (F:3)",
        ],
    );
}

#[test]
fn what_belongs_together_may_be_said_in_different_places() {
    let (code, _, error) =
        run(&["config", "check"], "tls_key = '/nowhere/key'", &[("FANFARE_TLS_CERT", "/nowhere/cert")]);
    assert_eq!(code, Some(2));
    assert!(error.contains("--tls-cert and --tls-key: /nowhere/cert: No such file"), "{error}");
}

#[test]
fn the_secret_of_tokens_is_said_by_file_or_variable_and_never_shown() {
    const SECRET: &str = "a secret of more than 32 characters";
    let print = ["config", "print"];
    let (_, out, _) = run(&print, &format!("token_secret = '{SECRET}'"), &[]);
    assert!(out.contains("# token_secret = \"***\"  # F:1\n"), "{out}");
    let (_, out, _) = run(&print, "", &[("FANFARE_TOKEN_SECRET", SECRET)]);
    assert!(out.contains("# token_secret = \"***\"  # environment FANFARE_TOKEN_SECRET\n"), "{out}");
    let (code, out, error) = run(&["config", "check", "--token-secret", SECRET], "", &[]);
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(error.contains("--token-secret is a secret"), "{error}");
    let (code, _, error) = run(&["config", "check"], "token_secret = 'hunter2'", &[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("at least 32") && !error.contains("hunter2"), "{error}");
    let mut command = fanfare();
    let not_text =
        std::os::unix::ffi::OsStringExt::from_vec(b"\xff0123456789012345678901234567890123".to_vec());
    let not_text: std::ffi::OsString = not_text;
    let output = command.args(["config", "check"]).env("FANFARE_TOKEN_SECRET", not_text).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "what is there and cannot be read is not as if it were not there"
    );
}

#[test]
fn a_good_configuration_is_said_to_be_so() {
    assert_eq!(run(&["config", "check"], "max_connections = 5", &[]).1, "ok\n");
    let (code, example, _) = run(&["config", "example"], "", &[]);
    assert_eq!(code, Some(0));
    assert!(example.contains("# max_connections = 100000\n"), "{example}");
    assert_eq!(run(&["config", "check"], &example, &[]).1, "ok\n", "all of it is comments");
}

#[test]
fn a_file_that_is_none_is_told() {
    let output = fanfare().args(["serve", "--config", "/nowhere/fanfare.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("/nowhere/fanfare.toml: No such file"), "{error}");
}

#[test]
fn a_server_goes_by_its_file() {
    let config = file("presence = ['room']\nhistory_events = 7\nsys_events = true\n");
    let server = ServerProcess::start(&["--config", config.path().to_str().unwrap()]);
    assert_eq!(get(server.public, "/history?channel=room:a&limit=7").status, 200);
    assert_eq!(get(server.public, "/history?channel=room:a&limit=8").status, 400);
    assert_eq!(get(server.public, "/presence?channel=room:a").status, 200);
}
