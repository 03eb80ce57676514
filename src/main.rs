//! The `fanfare` command.

#[cfg(not(fanfare_loom))]
fn main() -> std::process::ExitCode {
    fanfare::cli::run(clap::Parser::parse())
}

/// Under loom only the models run.
#[cfg(fanfare_loom)]
fn main() {}
