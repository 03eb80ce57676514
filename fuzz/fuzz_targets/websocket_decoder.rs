//! A client's bytes, in one piece, byte by byte and in pieces of a size that the input chooses.

#![no_main]

#[path = "../bodies/websocket_decoder.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
