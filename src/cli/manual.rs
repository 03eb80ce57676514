//! `fanfare completions` and `fanfare man`: what shells and readers of manuals are given, made of the flags themselves.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Flags;

/// Prints what a shell completes commands and flags by, to be put where the shell looks:
/// bash /usr/share/bash-completion/completions/fanfare, zsh a folder of its fpath as _fanfare,
/// fish ~/.config/fish/completions/fanfare.fish.
#[derive(Args)]
pub(super) struct CompletionsFlags {
    /// Which shell
    shell: Shell,
}

/// Prints the manual page of the program, or writes those of all its commands into a folder.
#[derive(Args)]
pub(super) struct ManFlags {
    /// Where to write them: fanfare.1, fanfare-serve.1, and so on. The folder is made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn completions(flags: &CompletionsFlags) -> anyhow::Result<()> {
    let mut out = Vec::new();
    clap_complete::generate(flags.shell, &mut Flags::command(), "fanfare", &mut out);
    print(&out)
}

pub(super) fn man(flags: &ManFlags) -> anyhow::Result<()> {
    let mut program = Flags::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = &flags.folder else {
        return print(&page(&program)?);
    };
    let context = || folder.display().to_string();
    fs::create_dir_all(folder).with_context(context)?;
    for command in with_commands(&program) {
        let name = format!("{}.1", page_name(command));
        fs::write(folder.join(&name), page(command)?)
            .with_context(|| folder.join(&name).display().to_string())?;
    }
    Ok(())
}

/// A command and all that are below it.
fn with_commands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set()).flat_map(with_commands);
    std::iter::once(command).chain(below).collect()
}

/// `fanfare config check` is described in `fanfare-config-check`.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Man::new(command.clone()).title(page_name(command).to_uppercase()).manual("Fanfare").render(&mut out)?;
    Ok(out)
}

/// Whoever reads no further has had enough.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
