//! The layers: imports point one way. A module of the crate uses only what stands before it.

use std::fs;
use std::path::{Path, PathBuf};

/// Every module, lowest first, and what it may use: the modules named, or nothing said, every earlier one.
const LAYERS: &[(&str, Option<&[&str]>)] = &[
    ("words", Some(&[])),
    ("wire", Some(&[])),
    ("payload", Some(&["words"])),
    ("journal", Some(&["words"])),
    ("sync", Some(&["words", "wire", "journal"])),
    ("live", Some(&["words", "sync"])),
    ("latency", Some(&["words", "wire::json", "sync"])),
    ("metrics", Some(&["latency::Counts", "latency::Histogram"])),
    ("log", Some(&["words", "wire", "sync"])),
    ("table", Some(&["words", "wire", "sync"])),
    ("reader", Some(&["words", "log"])),
    ("sequencer", Some(&["words", "wire::json", "sync", "latency", "log", "table"])),
    ("process", Some(&[])),
    ("counters", Some(&["words", "sync"])),
    ("presence", Some(&[])),
    ("admission", Some(&["words", "sync"])),
    ("mail", Some(&["wire", "sync"])),
    (
        "audience",
        Some(&[
            "words",
            "sync",
            "log",
            "table",
            "sequencer::Done",
            "sequencer::Receipt",
            "sequencer::Refusal",
        ]),
    ),
    ("hub", None),
    ("pulse", Some(&["words", "journal", "sync", "latency", "log", "sequencer", "counters", "hub"])),
    ("notify", Some(&["words", "sequencer::EventParts", "sequencer::Publication"])),
    (
        "session",
        Some(&[
            "words",
            "wire",
            "payload",
            "latency::Format",
            "metrics",
            "reader::EventView",
            "mail::Whom",
            "sequencer::Before",
            "sequencer::EventParts",
            "sequencer::IdempotencyKey",
            "sequencer::Mould",
            "sequencer::Publication",
            "sequencer::WordList",
            // Its values and no more: a session starts no worker and opens no store.
            "notify",
        ]),
    ),
    ("engine", None),
    ("web", Some(&["words", "wire"])),
    ("event_loop", None),
    ("server", None),
    ("cli", None),
];

/// What the layer at `at` may use.
fn allowed(at: usize) -> Vec<&'static str> {
    match LAYERS[at].1 {
        Some(named) => named.to_vec(),
        None => LAYERS[..at].iter().map(|(name, _)| *name).collect(),
    }
}

/// The paths after `crate::` in a text, with braces taken apart as far as one level goes.
fn used_paths(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line.trim(), " "])
        .collect();
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let path: String = rest.chars().take_while(|c| is_path(*c)).collect();
        let names = rest[path.len()..].strip_prefix('{').and_then(|names| names.split('}').next());
        match names.filter(|_| path.is_empty() || path.ends_with("::")) {
            Some(names) => {
                let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
                paths.extend(names.map(|name| format!("{path}{name}")));
            }
            None => paths.push(path),
        }
    }
    paths
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_allowed(module: &str, path: &str, allowed: &[&str]) -> bool {
    let is_at =
        |whole: &str| path == whole || path.strip_prefix(whole).is_some_and(|rest| rest.starts_with("::"));
    is_at(module) || allowed.iter().any(|whole| is_at(whole))
}

#[test]
fn modules_use_only_what_stands_before_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let mut looked_at = 0;
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(at) = LAYERS.iter().position(|(name, _)| *name == module) else {
            panic!("{inside}: the module '{module}' has no place among the layers");
        };
        let allowed = allowed(at);
        for path in used_paths(&fs::read_to_string(&file).unwrap()) {
            looked_at += 1;
            if !is_allowed(module, &path, &allowed) {
                wrong.push(format!("{inside} uses {path}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(100 < looked_at, "only {looked_at} imports were found");
}

#[test]
fn each_layer_may_use_only_earlier_ones() {
    for (at, (module, _)) in LAYERS.iter().enumerate() {
        for path in allowed(at) {
            let name = path.split("::").next().unwrap();
            assert!(LAYERS[..at].iter().any(|(earlier, _)| *earlier == name), "{module} may use {path}");
        }
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let check = |text: &str, expected: &[&str]| assert_eq!(used_paths(text), expected, "{text}");
    check("use crate::log::Log;", &["log::Log"]);
    check("use crate::log::{Log,\n    Pass};", &["log::Log", "log::Pass"]);
    check("use crate::{hub::Hub, log};", &["hub::Hub", "log"]);
    check("fn f(x: crate::wire::http::Method) {}", &["wire::http::Method"]);
    check("//! [`crate::cli`]\n/// [`crate::cli`]\n// crate::cli", &[]);
    check("pub(crate) fn f() {}", &[]);
}
