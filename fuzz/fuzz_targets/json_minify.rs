//! Arbitrary bytes as JSON.

#![no_main]

#[path = "../bodies/json_minify.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
