//! The program as it is used: run from a command line against a server.

mod agent;
mod commands;
mod compare;
mod count;
mod floor;
mod foreign;
mod front;
mod objectives;
mod outputs;
mod peers;
mod real;
mod replay;
mod run;
mod side_by_side;
mod stub;
