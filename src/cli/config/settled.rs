//! What holds in the end: what was typed, before the environment, before the file, before the defaults.
//!
//! # Contract     the flags of a command are all there is to know: a flag that is added is a key of the file at once. What the
//!   file says is handed to the flags as if it had been typed, where neither a flag nor the environment says anything

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::file::{File, is_secret, is_switch, key_of, keys};
use crate::cli::Flags;

/// Flags, and where each of their values comes from.
#[derive(Debug)]
pub(in crate::cli) struct Settled {
    /// The command that was chosen.
    command: Command,
    matches: ArgMatches,
    /// The file, if there is one.
    file: Option<File>,
    /// Keys whose value is that of the file.
    from_file: Vec<String>,
}

/// Why nothing was settled.
#[derive(Debug)]
pub(in crate::cli) enum Unsettled {
    /// What was typed, or what the environment says, makes no sense; or help was asked for.
    Typed(clap::Error),
    /// What is wrong with the file, or with saying things where they do not belong.
    Faults(Vec<String>),
}

impl From<clap::Error> for Unsettled {
    fn from(error: clap::Error) -> Unsettled {
        Unsettled::Typed(error)
    }
}

impl Settled {
    /// Settles what `arguments`, the program's name first, and the environment say, and the file that they name.
    pub(in crate::cli) fn of(arguments: &[OsString]) -> Result<(Flags, Settled), Unsettled> {
        let (matches, settled) = settle(Flags::command(), arguments)?;
        Ok((Flags::from_arg_matches(&matches)?, settled))
    }

    /// The flags that may be settled, in the order of their help.
    pub(in crate::cli) fn arguments(&self) -> impl Iterator<Item = &Arg> {
        keys(&self.command)
    }

    /// Values as they were typed; nothing for a flag that is not set.
    pub(in crate::cli) fn values(&self, argument: &Arg) -> Vec<String> {
        let id = argument.get_id().as_str();
        let typed = self.matches.get_raw(id).into_iter().flatten();
        typed.map(|value| value.to_string_lossy().into_owned()).collect()
    }

    /// Where the value of a flag comes from, for people.
    pub(in crate::cli) fn source(&self, argument: &Arg) -> String {
        let key = key_of(argument);
        let place = self.file.as_ref().filter(|_| self.from_file.contains(&key));
        if let Some(place) = place.and_then(|file| file.place_of(&key)) {
            return place;
        }
        match self.matches.value_source(argument.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "flag".to_owned(),
            Some(ValueSource::EnvVariable) => argument.get_env().map_or_else(
                || "environment".to_owned(),
                |name| format!("environment {}", name.to_string_lossy()),
            ),
            Some(_) => "default".to_owned(),
            None => "not set".to_owned(),
        }
    }

    /// The keys whose values differ in `other`, which is of the same command.
    pub(in crate::cli) fn changes(&self, other: &Settled) -> Vec<String> {
        let differs = |argument: &&Arg| self.values(argument) != other.values(argument);
        self.arguments().filter(differs).map(key_of).collect()
    }

    /// Adds to a message that names flags where the file speaks of them.
    pub(in crate::cli) fn located(&self, message: &str) -> String {
        let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        let flags = words.filter_map(|word| word.strip_prefix("--")).map(|flag| flag.replace('-', "_"));
        let file = self.file.as_ref();
        let mut places: Vec<String> = flags
            .filter(|key| self.from_file.contains(key))
            .filter_map(|key| file.and_then(|file| file.place_of(&key)))
            .collect();
        places.dedup();
        if places.is_empty() { message.to_owned() } else { format!("{message} ({})", places.join(", ")) }
    }
}

fn settle(command: Command, arguments: &[OsString]) -> Result<(ArgMatches, Settled), Unsettled> {
    let matches = command.clone().try_get_matches_from(arguments)?;
    let (chosen, typed) = chosen(&command, &matches);
    refuse_typed_secrets(chosen, typed)?;
    let path = typed.try_get_one::<PathBuf>("config").ok().flatten();
    let file = path.map(|path| File::read(path, chosen)).transpose().map_err(Unsettled::Faults)?;

    let (mut all, mut from_file) = (arguments.to_vec(), Vec::new());
    for entry in file.iter().flat_map(File::entries) {
        let argument = keys(chosen).find(|argument| key_of(argument) == entry.key);
        let Some(argument) = argument.filter(|argument| !is_said(typed, argument)) else { continue };
        from_file.push(entry.key.clone());
        let flag = format!("--{}", argument.get_long().unwrap_or_default());
        match (is_switch(argument), &*entry.values) {
            (true, [on]) if on == "true" => all.push(flag.into()),
            (true, _) => {}
            (false, values) => all.extend(values.iter().map(|value| format!("{flag}={value}").into())),
        }
    }
    let chosen = chosen.clone();
    let matches = if from_file.is_empty() { matches } else { command.clone().try_get_matches_from(all)? };
    let (_, settled) = self::chosen(&command, &matches);
    let settled = Settled { command: chosen, matches: settled.clone(), file, from_file };
    Ok((matches, settled))
}

/// Whether a flag or the environment says something.
fn is_said(matches: &ArgMatches, argument: &Arg) -> bool {
    let source = matches.value_source(argument.get_id().as_str());
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// The innermost command, and what was said to it.
fn chosen<'a>(command: &'a Command, matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    match matches.subcommand() {
        Some((name, inner)) => match command.find_subcommand(name) {
            Some(command) => chosen(command, inner),
            None => (command, matches),
        },
        None => (command, matches),
    }
}

/// What stands on a command line everybody on the machine can read.
fn refuse_typed_secrets(command: &Command, matches: &ArgMatches) -> Result<(), Unsettled> {
    let is_typed =
        |argument: &&Arg| matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    let typed = keys(command).filter(|argument| is_secret(argument)).filter(is_typed);
    let faults: Vec<String> = typed
        .map(|argument| {
            let name =
                argument.get_env().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            format!(
                "--{} is a secret, and others can read a command line: say it in the file, or by {name}",
                argument.get_long().unwrap_or_default(),
            )
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Unsettled::Faults(faults)) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::{ArgAction, value_parser};

    use super::*;

    /// A program of one command whose environment is there in every process.
    fn program() -> Command {
        let config = Arg::new("config").long("config").value_parser(value_parser!(PathBuf));
        let home = Arg::new("home").long("home").env("PATH");
        let size = Arg::new("size").long("max-size").default_value("5").value_parser(value_parser!(u32));
        let names = Arg::new("names").long("names").value_delimiter(',').action(ArgAction::Append);
        let demo = Arg::new("demo").long("demo").action(ArgAction::SetTrue);
        let pin = Arg::new("pin").long("pin").hide_env_values(true).env("FANFARE_TEST_PIN");
        Command::new("x")
            .subcommand(Command::new("serve").args([config, home, size, names, demo, pin]))
            .subcommand(Command::new("other"))
    }

    fn settle_with(file: &str, typed: &[&str]) -> Result<Settled, Unsettled> {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        config.write_all(file.as_bytes()).unwrap();
        let mut arguments: Vec<OsString> = ["x", "serve", "--config"].map(Into::into).to_vec();
        arguments.push(config.path().into());
        arguments.extend(typed.iter().map(Into::into));
        settle(program(), &arguments).map(|(_, settled)| settled)
    }

    fn said(settled: &Settled, key: &str) -> (String, String) {
        let argument = settled.arguments().find(|argument| key_of(argument) == key).unwrap();
        let source = settled.source(argument);
        // Of a file the line is enough.
        let source = match source.rsplit_once(':') {
            Some((_, line)) => format!("line {line}"),
            None => source,
        };
        (settled.values(argument).join("|"), source)
    }

    #[test]
    fn a_flag_counts_before_the_environment_before_the_file_before_the_default() {
        let check = |file: &str, typed: &[&str], key: &str, value: Option<&str>, source: &str| {
            let settled = settle_with(file, typed).unwrap();
            let (got, place) = said(&settled, key);
            assert_eq!(place, source, "{file} {typed:?}");
            if let Some(value) = value {
                assert_eq!(got, value, "{file} {typed:?}");
            }
        };
        check("", &[], "max_size", Some("5"), "default");
        check("\nmax_size = 6", &[], "max_size", Some("6"), "line 2");
        check("max_size = 6", &["--max-size", "7"], "max_size", Some("7"), "flag");
        check("home = '/'", &[], "home", None, "environment PATH");
        check("home = '/'", &["--home", "a"], "home", Some("a"), "flag");
        check("names = ['a', 'b']", &[], "names", Some("a|b"), "line 1");
        check("names = 'a,b'", &[], "names", Some("a|b"), "line 1");
        check("names = ['a']", &["--names", "c"], "names", Some("c"), "flag");
        check("", &[], "names", Some(""), "not set");
        check("demo = true", &[], "demo", Some("true"), "line 1");
        check("demo = false", &[], "demo", Some("false"), "line 1");
        check("pin = '1234'", &[], "pin", Some("1234"), "line 1");
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let Err(Unsettled::Faults(faults)) = settle_with("", &["--pin", "1234"]) else {
            panic!("it was taken")
        };
        assert!(faults[0].contains("--pin") && faults[0].contains("FANFARE_TEST_PIN"), "{faults:?}");
        assert!(!faults[0].contains("1234"), "{faults:?}");
    }

    #[test]
    fn what_has_changed_and_where_it_is_said() {
        let before = settle_with("max_size = 6\nnames = ['a']", &[]).unwrap();
        let after = settle_with("names = ['a']\nmax_size = 7\ndemo = true", &[]).unwrap();
        assert_eq!(before.changes(&after), ["max_size", "demo"]);
        assert_eq!(before.changes(&before), [""; 0]);
        let message = after.located("--max-size and --home contradict each other");
        assert!(message.ends_with(":2)"), "{message}");
        assert_eq!(after.located("all is well"), "all is well");
    }
}
