//! What a connection says, as values: requests, commands, and the texts of our answers.
//!
//! Pure: bytes in, values out, answers as bytes. Whoever holds the connection decides when to call and acts on what it
//! is told; nothing here knows of sockets, clocks, tables or the log.

pub mod auth;
pub mod authority;
pub mod cloud_event;
pub mod command;
pub mod dialect;
pub mod filter;
pub mod gate;
pub mod hooks;
pub mod host;
pub mod http;
pub mod mapped;
pub mod meter;
pub mod notifications;
pub mod operate;
pub mod origin;
pub mod policy;
pub mod proxy;
pub mod publish;
pub mod rates;
pub mod reply;
pub mod request;
pub mod settings;
pub mod submit;
pub mod wish;
