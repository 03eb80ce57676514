//! A configuration file: what it says for which flag, and in which line.
//!
//! # Contract     every flag of the command is a key, with `_` for `-`; nothing else is. All faults of a file are found, not
//!   only the first
//! # Bounds       a file has at most [`FILE_BYTES_MAX`] bytes

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::words::file;

/// What a file says, every value of it checked by itself.
#[derive(Clone, Debug)]
pub(in crate::cli) struct File {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One key with what it is set to.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Entry {
    /// The key, which is also the name of the flag's argument.
    pub(in crate::cli) key: String,
    /// Its line, counted from 1.
    pub(in crate::cli) line: usize,
    /// Its values as they would be typed; `true` or `false` for a switch.
    pub(in crate::cli) values: Vec<String>,
}

/// The largest file that is read.
const FILE_BYTES_MAX: usize = 1 << 20;

impl File {
    /// Reads what the file says for the flags of `command`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each fault with its line.
    pub(super) fn read(path: &Path, command: &Command) -> Result<File, Vec<String>> {
        let text = text_of(path).map_err(|fault| vec![format!("{}: {fault}", path.display())])?;
        let entries = parse(&text, command).map_err(|mut faults| {
            faults.sort();
            let told = |fault: Fault| format!("{}:{}: {}", path.display(), fault.line, fault.reason);
            faults.into_iter().map(told).collect::<Vec<String>>()
        })?;
        Ok(File { path: path.to_owned(), entries })
    }

    /// What is said, in the order of the lines.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where something is said about `key`, as `file:line`.
    pub(super) fn place_of(&self, key: &str) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(format!("{}:{}", self.path.display(), entry.line))
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let bytes = file::read(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8")
    })
}

/// Something that is wrong with a file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    line: usize,
    reason: String,
}

fn parse(text: &str, command: &Command) -> Result<Vec<Entry>, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<Fault> = errors
        .iter()
        .map(|error| Fault {
            line: line_of(text, &error.span().unwrap_or_default()),
            reason: error.message().replace('\n', ", "),
        })
        .collect();
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(text, &key.span());
        // What is left of a line that could not be read means nothing.
        if faults.iter().any(|fault| fault.line == line) {
            continue;
        }
        match entry_of(command, key.get_ref(), value) {
            Ok(values) => entries.push(Entry { key: key.get_ref().to_string(), line, values }),
            Err(reasons) => {
                let reasons = reasons.into_iter();
                faults.extend(
                    reasons.map(|reason| Fault { line, reason: format!("{}: {reason}", key.get_ref()) }),
                );
            }
        }
    }
    entries.sort_by_key(|entry| entry.line);
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(span.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// The values of a key, or everything that is wrong with them.
fn entry_of(command: &Command, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Vec<String>> {
    let value = value.get_ref();
    let Some(argument) = keys(command).find(|argument| key_of(argument) == key) else {
        return Err(vec![unknown(command, key, value)]);
    };
    let expected = expected(argument);
    let wrong = |value: &DeValue<'_>| vec![format!("{expected} is expected, not {}", type_name(value))];
    if is_switch(argument) {
        return match value {
            DeValue::Boolean(on) => Ok(vec![on.to_string()]),
            other => Err(wrong(other)),
        };
    }
    let items: Vec<&DeValue<'_>> = match value {
        DeValue::Array(_) if !is_list(argument) => return Err(wrong(value)),
        DeValue::Array(items) => items.iter().map(Spanned::get_ref).collect(),
        single => vec![single],
    };
    if items.is_empty() {
        return Err(vec!["an empty list says nothing: leave the key out".to_owned()]);
    }
    let is_array = matches!(value, DeValue::Array(_));
    let (mut texts, mut reasons) = (Vec::new(), Vec::new());
    for item in items {
        let text = match item {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.to_string(),
                Err(error) => {
                    reasons.push(error.to_string());
                    continue;
                }
            },
            other => {
                reasons.extend(wrong(other));
                continue;
            }
        };
        if is_array && argument.get_value_delimiter().is_some_and(|delimiter| text.contains(delimiter)) {
            reasons.push("the members of a list are written each by itself".to_owned());
            continue;
        }
        match refusal(argument, &text) {
            Some(reason) => reasons.push(reason),
            None => texts.push(text),
        }
    }
    if reasons.is_empty() { Ok(texts) } else { Err(reasons) }
}

/// Why `text` is no value of this flag, as the flag itself would say it.
fn refusal(argument: &Arg, text: &str) -> Option<String> {
    let mut alone = Arg::new("value")
        .long("value")
        .action(ArgAction::Append)
        .value_parser(argument.get_value_parser().clone());
    if let Some(delimiter) = argument.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let command = Command::new("check").no_binary_name(true).disable_help_flag(true).arg(alone);
    let error = command.try_get_matches_from([format!("--value={text}")]).err()?;
    if is_secret(argument) {
        return Some("this is no value for it".to_owned());
    }
    let reason = match std::error::Error::source(&error) {
        Some(source) => source.to_string(),
        None => error.to_string().lines().next().unwrap_or_default().replace("error: ", ""),
    };
    Some(format!("'{text}': {reason}"))
}

/// The flags that are keys.
pub(super) fn keys(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_own = |argument: &&Arg| !["config", "help", "version"].contains(&argument.get_id().as_str());
    command.get_arguments().filter(|argument| argument.get_long().is_some()).filter(is_own)
}

/// The key of a flag.
pub(super) fn key_of(argument: &Arg) -> String {
    argument.get_long().unwrap_or_default().replace('-', "_")
}

/// Whether a flag is on or off and nothing else.
pub(super) fn is_switch(argument: &Arg) -> bool {
    !argument.get_action().takes_values()
}

/// Whether a flag takes several values.
pub(super) fn is_list(argument: &Arg) -> bool {
    argument.get_value_delimiter().is_some() || matches!(argument.get_action(), ArgAction::Append)
}

/// Whether what it is set to must never be shown: the flags that hide what their environment says.
pub(super) fn is_secret(argument: &Arg) -> bool {
    argument.is_hide_env_values_set()
}

fn expected(argument: &Arg) -> &'static str {
    match (is_switch(argument), is_list(argument)) {
        (true, _) => "true or false",
        (_, true) => "a list of strings",
        _ => "a string or a number",
    }
}

fn type_name(value: &DeValue<'_>) -> impl Display {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point (write it as a string)",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// There is no such key: says which may have been meant.
fn unknown(command: &Command, key: &str, value: &DeValue<'_>) -> String {
    if matches!(value, DeValue::Table(_)) {
        return "there are no sections: keys stand at the top, as in 'max_connections = 1000'".to_owned();
    }
    let known = keys(command).map(key_of);
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(known, key);
    match known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(nearest) if LIKENESS_MIN <= likeness(&nearest) => {
            format!("there is no such key; is '{nearest}' meant?")
        }
        _ => "there is no such key".to_owned(),
    }
}

/// From 0, nothing in common, to 1, the same: less is no slip of the pen.
const LIKENESS_MIN: f64 = 0.5;

#[cfg(test)]
mod tests {
    use clap::value_parser;

    use super::*;

    fn command() -> Command {
        Command::new("serve")
            .arg(Arg::new("config").long("config"))
            .arg(Arg::new("max_connections").long("max-connections").value_parser(value_parser!(u32)))
            .arg(Arg::new("kinds").long("kinds").value_delimiter(',').action(ArgAction::Append))
            .arg(Arg::new("demo").long("demo").action(ArgAction::SetTrue))
            .arg(Arg::new("pin").long("pin").hide_env_values(true).value_parser(value_parser!(u16)))
    }

    #[test]
    fn what_a_file_says() {
        let check = |text: &str, expected: &[(&str, usize, &[&str])]| {
            let entries = parse(text, &command()).unwrap();
            let got: Vec<(&str, usize, &[String])> =
                entries.iter().map(|entry| (&*entry.key, entry.line, &*entry.values)).collect();
            assert_eq!(got.len(), expected.len(), "{text}");
            for ((key, line, values), expected) in got.into_iter().zip(expected) {
                assert_eq!((key, line), (expected.0, expected.1), "{text}");
                assert_eq!(values, expected.2, "{text}");
            }
        };
        check("", &[]);
        check("# nothing\n\nmax_connections = 1_000 # a thousand", &[("max_connections", 3, &["1000"])]);
        check("max_connections = \"7\"", &[("max_connections", 1, &["7"])]);
        check("max_connections = 0x10", &[("max_connections", 1, &["16"])]);
        check("kinds = ['a', \"b\"]\ndemo = true", &[("kinds", 1, &["a", "b"]), ("demo", 2, &["true"])]);
        check("kinds = 'a,b'", &[("kinds", 1, &["a,b"])]);
        check("demo = false", &[("demo", 1, &["false"])]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line() {
        let check = |text: &str, expected: &[(usize, &str)]| {
            let mut faults = parse(text, &command()).unwrap_err();
            faults.sort();
            assert_eq!(faults.len(), expected.len(), "{text}: {faults:?}");
            for (fault, (line, words)) in faults.iter().zip(expected) {
                assert_eq!(fault.line, *line, "{text}: {fault:?}");
                assert!(fault.reason.contains(words), "{text}: {fault:?}");
            }
        };
        check("max_connection = 1", &[(1, "is 'max_connections' meant?")]);
        check("max-connections = 1", &[(1, "is 'max_connections' meant?")]);
        check("completely_else = 1", &[(1, "completely_else: there is no such key")]);
        check("config = 'other.toml'", &[(1, "there is no such key")]);
        check("\n[limits]\nmax_connections = 1", &[(2, "no sections")]);
        check("max_connections = 'many'", &[(1, "'many': invalid digit")]);
        check("max_connections = -1", &[(1, "'-1': ")]);
        check("max_connections = 1.5", &[(1, "a string or a number is expected")]);
        check("max_connections = true", &[(1, "not true or false")]);
        check("max_connections = [1]", &[(1, "not a list")]);
        check("demo = 'yes'", &[(1, "true or false is expected, not a string")]);
        check("kinds = []", &[(1, "an empty list says nothing")]);
        check("kinds = ['a', 1.5]", &[(1, "a list of strings is expected")]);
        check("kinds = ['a,b']", &[(1, "each by itself")]);
        check("demo = true\ndemo = false", &[(2, "duplicate key")]);
        check(
            "a = 1\nmax_connections = 'x'\nkinds =\ndemo = 1",
            &[(1, "a: "), (2, "'x'"), (3, ""), (4, "true or false")],
        );
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let faults = parse("pin = 'hunter2'", &command()).unwrap_err();
        assert_eq!(faults, [Fault { line: 1, reason: "pin: this is no value for it".into() }]);
    }
}
