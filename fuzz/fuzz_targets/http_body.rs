//! A body in its framing, cut at arbitrary places.

#![no_main]

#[path = "../bodies/http_body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
