//! A request head, whole and dripped, and what may be said of one that was taken.

#![no_main]

#[path = "../bodies/http_head.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
