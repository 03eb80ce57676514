//! Fanfare: a lock-free broadcast engine, and the server built on it.

pub mod words;
