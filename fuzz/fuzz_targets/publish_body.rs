//! Bodies of requests to publish, in every form.

#![no_main]

#[path = "../bodies/publish_body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
