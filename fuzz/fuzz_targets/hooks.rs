//! Arbitrary payloads as webhooks that prove themselves, and as CloudEvents: whatever is taken can be published.

#![no_main]

#[path = "../bodies/hooks.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
