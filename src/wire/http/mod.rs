//! HTTP/1 on the server side: request heads, bodies, responses and the WebSocket handshake.
//!
//! # Contract       a request is understood exactly as every other strict server understands it, or refused
//! # Invariants
//! - H1 a message has one possible framing: what two servers could read in two ways is answered 400
//! - H2 every error implies: answer it and close the connection
//!
//! # Why not …      the tokeniser's own leniency
//! It takes bare line feeds and leaves framing headers to the caller, which is how requests are smuggled past a proxy.

mod accept;
mod body;
mod cross_origin;
mod error;
mod framing;
mod head;
mod known;
mod response;
mod scanner;
mod target;

pub use accept::{WebSocketAccept, websocket_accept};
pub use body::{BodyDecoder, Progress};
pub use cross_origin::{CROSS_ORIGINS_MAX, CrossOrigin};
pub use error::HttpError;
pub use framing::BodyKind;
pub use head::{Method, RequestHead, Version, parse_head};
pub use known::KnownHead;
pub use response::{CONTINUE, Response, ResponseContext, problem, push_json, reason_phrase};
pub use scanner::{HeadLimits, HeadScanner};
pub use target::{QueryPairs, decode_path_segment, query_pairs};
