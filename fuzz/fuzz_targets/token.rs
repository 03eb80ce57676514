//! Arbitrary tokens, and arbitrary headers and claims that are well signed: whatever is believed says what it must.

#![no_main]

#[path = "../bodies/token.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
