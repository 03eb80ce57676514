//! The program as it is used: run from a command line against a server.

mod compare;
mod count;
mod floor;
mod replay;
mod run;
mod side_by_side;
mod stub;
