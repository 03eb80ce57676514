//! Blocks of arbitrary text, read back by a parser that knows nothing of the encoder.

#![no_main]

#[path = "../bodies/sse_round_trip.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
