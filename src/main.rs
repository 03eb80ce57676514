//! The `fanfare` command.

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    fanfare::cli::run(clap::Parser::parse())
}

/// Under loom only the models run.
#[cfg(loom)]
fn main() {}
