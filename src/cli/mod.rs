//! The command line: what was typed becomes what is valid, and is handed down.

mod client;
mod config;
mod edge;
mod health;
mod keys;
mod limits;
mod manual;
mod publish;
mod reload;
mod serve;
mod stream;
mod tail;
mod tokens;
mod top;
mod trust;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use config::{Settled, Unsettled};

use crate::journal;

/// Fanfare: a broadcast server. Publishers hand events in over HTTP or WebSocket; every matching subscriber, over
/// WebSocket or server-sent events, gets each event once, in one order, or is told exactly what it missed.
#[derive(Parser)]
#[command(name = "fanfare", version, after_help = EXAMPLES)]
pub struct Flags {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Try it:
  fanfare serve --demo                                         # then open http://127.0.0.1:8080/
  fanfare tail http://127.0.0.1:8080 'repo:**'                 # in a second terminal
  fanfare publish http://127.0.0.1:8080 repo:alice/demo push '{\"commits\":3}'
  fanfare top http://127.0.0.1:8081                            # how it does; the same in a browser, at this address
  curl -N 'http://127.0.0.1:8080/events?channel=repo:alice/demo'

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 cannot connect, 4 refused by the server.";

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(Box<serve::ServeFlags>),
    /// Look at a configuration: check, print, example.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Publish one event and print the sequence number it got.
    Publish(publish::PublishFlags),
    /// Follow channels: one JSON event a line on standard output.
    Tail(tail::TailFlags),
    /// Watch how a server does, in the terminal.
    Top(top::TopFlags),
    /// Make keys: for whoever signs tokens, and for programs.
    Keys(keys::KeysFlags),
    /// Print a signed token, for development.
    Token(keys::MintFlags),
    /// Ask the running server of this configuration whether it takes work: exit code 0 if it does, 1 if not. The flags are
    /// those of `fanfare serve`.
    Health(Box<serve::ServeFlags>),
    /// Print what a shell completes commands and flags by.
    Completions(manual::CompletionsFlags),
    /// Print the manual page, or write those of all commands.
    Man(manual::ManFlags),
}

/// Runs what `arguments` ask for, the program's name first.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    let outcome = match Settled::of(arguments) {
        Ok((flags, settled)) => carry_out(flags, settled, arguments),
        // It knows by itself whether it is an answer or a fault.
        Err(Unsettled::Typed(error)) => error.exit(),
        Err(Unsettled::Faults(faults)) => Err(config::faults(&faults)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Whoever reads the log of a server that does not start finds out there.
            if journal::is_open() {
                journal::last_words("server", &format!("{failure:#}"));
            } else {
                eprintln!("fanfare: {failure:#}");
            }
            ExitCode::from(exit_code(&failure))
        }
    }
}

fn carry_out(flags: Flags, settled: Settled, arguments: &[OsString]) -> anyhow::Result<()> {
    match flags.command {
        Command::Serve(flags) => serve::run(&flags, settled, arguments),
        Command::Config(command) => config::run(&command, &settled),
        Command::Publish(flags) => publish::run(&flags),
        Command::Tail(flags) => tail::run(&flags),
        Command::Top(flags) => top::run(&flags),
        Command::Keys(flags) => keys::run(&flags),
        Command::Token(flags) => keys::mint(&flags),
        Command::Health(flags) => health::run(&flags),
        Command::Completions(flags) => manual::completions(&flags),
        Command::Man(flags) => manual::man(&flags),
    }
}

/// A failure that has an exit code of its own.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be reached, or stopped talking.
    #[error("{0}")]
    Connect(String),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
}

fn exit_code(failure: &anyhow::Error) -> u8 {
    match failure.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => 2,
        Some(Failure::Connect(_)) => 3,
        Some(Failure::Refused(_)) => 4,
        None => 1,
    }
}
