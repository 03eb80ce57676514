//! What each fuzz target does with an input, so that tests can do the same with every seed and every input that was once
//! a finding, without a fuzzer.

mod commands;
mod dialects;
mod hooks;
mod http_body;
mod http_head;
mod json_minify;
mod names;
mod publish_body;
mod session;
mod sse_round_trip;
mod token;
mod websocket_decoder;

/// A target's name, and what it does with an input: it panics if something does not hold.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    ("commands", commands::run),
    ("dialects", dialects::run),
    ("hooks", hooks::run),
    ("http_body", http_body::run),
    ("http_head", http_head::run),
    ("json_minify", json_minify::run),
    ("names", names::run),
    ("publish_body", publish_body::run),
    ("session", session::run),
    ("sse_round_trip", sse_round_trip::run),
    ("token", token::run),
    ("websocket_decoder", websocket_decoder::run),
];
