//! Whatever a client or a publisher says is understood or refused, and what is refused has a code.

#![no_main]

#[path = "../bodies/commands.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
