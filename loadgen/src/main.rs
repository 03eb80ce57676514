//! `loadgen`: drives a Fanfare server and reports latency one can trust.
fn main() {}
