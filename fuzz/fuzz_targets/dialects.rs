//! Every event that can be published is one line of JSON in every dialect, with its data as it was.

#![no_main]

#[path = "../bodies/dialects.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
