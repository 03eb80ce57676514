//! The `fanfare` command.

#[cfg(not(fanfare_loom))]
fn main() -> std::process::ExitCode {
    fanfare::cli::run(&std::env::args_os().collect::<Vec<_>>())
}

/// Under loom only the models run.
#[cfg(fanfare_loom)]
fn main() {}
