//! The program as it is used: run from a command line against a server.

mod floor;
mod replay;
mod run;
mod stub;
