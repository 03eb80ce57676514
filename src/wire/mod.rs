//! Protocol code: bytes in, values or bytes out.
//!
//! # Contract       no socket, no clock, no thread; every function is a pure step of a state machine
//! # Invariants
//! - W1 how the input was split never changes what comes out
//! - W2 nothing is allocated from a length that a peer merely claims
//! - W3 no input panics; a bad one ends in an error that names its status or close code
//!
//! # Bounds         every decoder takes its limits as an argument and holds no more than they allow

pub mod http;
pub mod json;
pub mod sse;
pub mod websocket;
