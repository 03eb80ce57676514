//! `fanfare config`: looks at what the server would run with.

mod file;
mod settled;

use std::sync::Arc;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory, Subcommand};

pub(super) use settled::{Settled, Unsettled};

use super::serve::{self, ServeFlags};
use super::{Failure, Flags};
use file::{is_list, is_secret, is_switch, key_of, keys};

/// What to do with a configuration. The flags are those of `fanfare serve`.
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether a server would start with these flags, this environment and this file; or what is wrong.
    Check(Box<ServeFlags>),
    /// Print what a server would run with, as a file, and where each value comes from. Secrets are not shown.
    Print(Box<ServeFlags>),
    /// Print a file with every key, its default, and what it is for.
    Example,
}

pub(super) fn run(command: &ConfigCommand, settled: &Settled) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(flags) => {
            serve::check(flags, settled, &Arc::default())?;
            println!("ok");
        }
        ConfigCommand::Print(_) => print!("{}", effective(settled)),
        ConfigCommand::Example => print!("{}", example(serve_command(&Flags::command()))),
    }
    Ok(())
}

fn serve_command(program: &Command) -> &Command {
    // It is always there.
    program.find_subcommand("serve").unwrap_or(program)
}

/// What holds, as a file.
fn effective(settled: &Settled) -> String {
    let mut out = String::new();
    for argument in settled.arguments() {
        let values = settled.values(argument);
        let (key, source) = (key_of(argument), settled.source(argument));
        out += &match values.is_empty() {
            true => format!("# {key} is {source}\n"),
            false if is_secret(argument) => format!("# {key} = \"***\"  # {source}\n"),
            false => format!("{key} = {}  # {source}\n", toml_of(argument, &values)),
        };
    }
    out
}

/// Every key as a comment, with its default if it has one.
fn example(command: &Command) -> String {
    let mut out = String::from("# Every key of `fanfare serve`. What is left out has its default.\n");
    for argument in keys(command) {
        let help = argument.get_help().map(StyledStr::to_string).unwrap_or_default();
        out.push('\n');
        for line in help.lines() {
            out += &format!("# {line}\n");
        }
        out += &format!(
            "# {} = {}\n",
            key_of(argument),
            default_of(argument).unwrap_or_else(|| "...".to_owned())
        );
    }
    out
}

/// What a file would say for the default of a flag, if it has one.
fn default_of(argument: &Arg) -> Option<String> {
    if is_switch(argument) {
        return Some("false".to_owned());
    }
    let values = argument.get_default_values().iter();
    let values: Vec<String> = values.map(|value| value.to_string_lossy().into_owned()).collect();
    (!values.is_empty()).then(|| toml_of(argument, &values))
}

/// Values as a file would say them.
fn toml_of(argument: &Arg, values: &[String]) -> String {
    if is_switch(argument) {
        return values.concat();
    }
    let text = |value: &String| {
        // Such a number comes back as the same text.
        let number = value.parse::<i64>().ok().filter(|number| number.to_string() == *value);
        number.map_or_else(|| quoted(value), |number| number.to_string())
    };
    match values {
        [single] if !is_list(argument) => text(single),
        many => format!("[{}]", many.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")),
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    crate::wire::json::push_string(&mut out, text);
    // The escapes are those of JSON, but for this one, which JSON leaves as it is.
    String::from_utf8_lossy(&out).replace('\x7f', "\\u007f")
}

/// What is wrong, one fault a line.
pub(super) fn faults(faults: &[String]) -> anyhow::Error {
    Failure::Usage(faults.join("\n         ")).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The table of keys as the documentation has it.
    fn table() -> String {
        let program = Flags::command();
        let mut out = String::from("| key | default | what it is |\n| --- | --- | --- |\n");
        for argument in keys(serve_command(&program)) {
            let default = default_of(argument).map(|default| format!("`{default}`")).unwrap_or_default();
            let help = argument.get_help().map(StyledStr::to_string).unwrap_or_default();
            let help = help.replace('\n', " ").replace('|', "\\|");
            out += &format!("| `{}` | {default} | {help} |\n", key_of(argument));
        }
        out
    }

    #[test]
    fn the_documentation_has_every_key_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let start = text.find("| key |").expect("the table of keys");
        let end = start + text[start..].find("\n\n").map_or(text.len() - start, |at| at + 1);
        if std::env::var_os("FANFARE_BLESS").is_some() {
            std::fs::write(&path, format!("{}{}{}", &text[..start], table(), &text[end..])).unwrap();
            return;
        }
        assert_eq!(&text[start..end], table(), "FANFARE_BLESS=1 writes the table anew");
    }

    #[test]
    fn every_flag_has_the_variable_of_its_name_and_its_key_that_of_its_argument() {
        let program = Flags::command();
        for argument in keys(serve_command(&program)) {
            let variable = format!("FANFARE_{}", key_of(argument).to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(&*variable));
            if key_of(argument).ends_with("_secret") {
                assert!(is_secret(argument), "--{} is shown", argument.get_long().unwrap());
            }
        }
    }

    #[test]
    fn the_example_says_the_defaults() {
        let program = Flags::command();
        let command = serve_command(&program);
        let example = example(command);
        let settings: String = example
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| {
                line.split_once(" = ").is_some_and(|(key, value)| !key.contains(' ') && value != "...")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(settings.lines().count(), keys(command).filter_map(default_of).count());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, settings.as_bytes()).unwrap();
        let typed = ["fanfare".into(), "serve".into(), "--config".into(), file.path().into()];
        let (_, settled) = Settled::of(&typed).unwrap();
        let (_, plain) = Settled::of(&typed[..2]).unwrap();
        assert_eq!(plain.changes(&settled), [""; 0]);
        // What is printed means the same once more.
        std::fs::write(file.path(), effective(&settled)).unwrap();
        let (_, again) = Settled::of(&typed).unwrap();
        assert_eq!(again.changes(&settled), [""; 0]);
    }

    #[test]
    fn values_are_written_as_a_file_says_them() {
        let one = Arg::new("one").long("one");
        let list = Arg::new("list").long("list").value_delimiter(',');
        let check = |argument: &Arg, values: &[&str], expected: &str| {
            let values: Vec<String> = values.iter().map(|&value| value.into()).collect();
            assert_eq!(toml_of(argument, &values), expected);
        };
        check(&one, &["7"], "7");
        check(&one, &["007"], "\"007\"");
        check(&one, &["1MiB"], "\"1MiB\"");
        check(&one, &["a\"b\n\x7f"], r#""a\"b\n\u007f""#);
        check(&list, &["7", "b"], r#"["7", "b"]"#);
        check(&list, &["a"], r#"["a"]"#);
    }
}
