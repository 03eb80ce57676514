//! What a shell wants to know of the program: completions and manual pages, made of the command line's own description.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap_complete::Shell;

use crate::flags;

/// Options of `loadgen completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsFlags {
    /// The shell
    pub(crate) shell: Shell,
}

/// Options of `loadgen man`.
#[derive(Debug, Args)]
pub(crate) struct ManFlags {
    /// Write a page for each command into this directory, in place of the program's own page to standard output
    pub(crate) directory: Option<PathBuf>,
}

/// Prints what makes a shell complete the program's words.
///
/// # Errors
/// Standard output takes nothing.
pub(crate) fn completions(flags: &CompletionsFlags) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(flags.shell, &mut flags::command(), NAME, &mut text);
    io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// A page cannot be written.
pub(crate) fn man(flags: &ManFlags) -> anyhow::Result<ExitCode> {
    let mut command = flags::command();
    // So that parts know how they are called in full.
    command.build();
    let Some(directory) = &flags.directory else {
        io::stdout().write_all(&page(command)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
        let name = format!("{NAME}-{}", part.get_name());
        write_page(directory, &name, part.clone().display_name(name.clone()))?;
    }
    write_page(directory, NAME, command)?;
    Ok(ExitCode::SUCCESS)
}

fn write_page(directory: &Path, name: &str, command: clap::Command) -> anyhow::Result<()> {
    let path = directory.join(format!("{name}.1"));
    fs::write(&path, page(command)?).with_context(|| format!("writing {}", path.display()))
}

fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}

const NAME: &str = "loadgen";
