//! WebSocket frames on the server side (RFC 6455).
//!
//! # Contract       frames of a client in, messages out; our own frames are written unmasked and unfragmented
//! # Invariants     a peer that breaks the protocol is told the exact close code, after every message before it

pub mod close;
mod decoder;
mod encoder;
mod header;
mod mask;
mod violation;

pub use decoder::{Decoder, Message, WebSocketLimits};
pub use encoder::{
    HEADER_BYTES_MAX, Opcode, header_len, push_binary, push_close, push_ping, push_pong, push_text,
    write_header,
};
pub use violation::Violation;
