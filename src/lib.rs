//! Fanfare: a lock-free broadcast engine, and the server built on it.
//!
//! Layers, each importing only what stands before it: [`words`] and [`wire`] (names, and pure protocol code), [`payload`]
//! (what events of built-in kinds carry), [`journal`] (the process's log), [`sync`], [`log`] and [`table`] (structures), [`reader`] (cursors into the log),
//! [`sequencer`] and [`hub`] (who writes them, and what threads share), [`latency`] (how long that takes), [`metrics`] (how collectors are told), [`notify`] (what people are told one by one),
//! [`session`] (what a connection says, as values), [`engine`] (all of it inside one process, without sockets),
//! [`pulse`] (what operators who watch are told), [`event_loop`] (connections), [`server`] and [`cli`] (sockets, threads, flags).

#[cfg(not(fanfare_loom))]
pub mod admission;
#[cfg(not(fanfare_loom))]
pub mod audience;
#[cfg(not(fanfare_loom))]
pub mod cli;
#[cfg(not(fanfare_loom))]
pub mod counters;
#[cfg(not(fanfare_loom))]
pub mod engine;
#[cfg(not(fanfare_loom))]
pub mod event_loop;
#[cfg(not(fanfare_loom))]
pub mod hub;
pub mod journal;
#[cfg(not(fanfare_loom))]
pub mod latency;
pub mod live;
pub mod log;
#[cfg(not(fanfare_loom))]
pub mod mail;
#[cfg(not(fanfare_loom))]
pub mod metrics;
#[cfg(not(fanfare_loom))]
pub mod notify;
pub mod payload;
#[cfg(not(fanfare_loom))]
pub mod presence;
#[cfg(not(fanfare_loom))]
pub mod process;
#[cfg(not(fanfare_loom))]
pub mod pulse;
#[cfg(not(fanfare_loom))]
pub mod reader;
#[cfg(not(fanfare_loom))]
pub mod sequencer;
#[cfg(not(fanfare_loom))]
pub mod server;
#[cfg(not(fanfare_loom))]
pub mod session;
pub mod sync;
#[cfg(not(fanfare_loom))]
pub mod table;
#[cfg(not(fanfare_loom))]
pub mod web;
pub mod wire;
pub mod words;
