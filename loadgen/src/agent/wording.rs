//! A run as it was asked for, so that another machine makes the same plan of it.
//!
//! # Contract       the command line travels and not what was made of it: an agent checks it by the same rules, and needs none
//! for a plan that somebody else has made. Its own environment says nothing, and it opens no file

use std::collections::BTreeMap;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};
use serde::{Deserialize, Serialize};

use crate::files::Files;
use crate::flags::{self, Command, Flags, RunFlags};
use crate::plan::{Plan, Role};

/// What a plan is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Wording {
    arguments: Vec<String>,
    /// The texts of the files that they name, by that name.
    files: BTreeMap<String, String>,
}

impl Wording {
    /// What was typed, with the texts of the files that it names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn of(flags: &RunFlags) -> Result<Wording, String> {
        let named = [&flags.target.token_file, &flags.target.ca, &flags.subscriber_tokens];
        let mut paths: Vec<_> = named.into_iter().flatten().cloned().collect();
        if flags.protocol.contains('/') || flags.protocol.ends_with(".json") {
            paths.push(flags.protocol.clone().into());
        }
        let mut files = BTreeMap::new();
        for path in paths {
            files.insert(path.to_string_lossy().into_owned(), Files::Here.read(&path)?);
        }
        Ok(Wording { arguments: flags.typed.clone(), files })
    }

    /// Makes the plan that the coordinator has made.
    ///
    /// # Errors
    /// Says which option is wrong, and why.
    pub(crate) fn plan(self, role: Role) -> Result<Plan, String> {
        // What stands in this machine's environment is not what was asked for.
        let command = flags::command().mut_subcommand("run", |run| {
            run.mut_args(|arg| arg.env(Resettable::Reset)).color(clap::ColorChoice::Never)
        });
        let arguments = ["loadgen".to_owned(), "run".to_owned()].into_iter().chain(self.arguments);
        let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
        let flags = Flags::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let Command::Run(flags) = flags.command else { return Err("this is no run".to_owned()) };
        Plan::of_files(role, *flags, &Files::Sent(self.files))
    }
}

/// The arguments of `run` that say what `matches` says, which may have come from the environment and may be those of
/// another command with the same options. What only concerns the process that was called is left out.
pub(crate) fn retyped(matches: &ArgMatches) -> Vec<String> {
    let command = flags::command();
    let run = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
    let mut arguments = Vec::new();
    for arg in run.filter(|arg| !LOCAL.contains(&arg.get_id().as_str())) {
        let name = arg.get_id().as_str();
        let Ok(Some(values)) = matches.try_get_raw(name) else { continue };
        if matches.value_source(name) == Some(ValueSource::DefaultValue) {
            continue;
        }
        let values = values.map(|value| value.to_string_lossy());
        match arg.get_long() {
            Some(long) if arg.get_action().takes_values() => {
                arguments.extend(values.map(|value| format!("--{long}={value}")));
            }
            Some(long) if matches.get_flag(name) => arguments.push(format!("--{long}")),
            Some(_) => {}
            None => arguments.extend(values.map(String::from)),
        }
    }
    arguments
}

/// Options of the process that publishes and reports.
const LOCAL: &[&str] = &[
    "out", "json", "csv", "hlog", "hgrm", "html", "name", "no_tui", "progress", "quiet", "pid", "metrics",
    "lenient",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(arguments: &[&str]) -> RunFlags {
        let matches = flags::command().try_get_matches_from(arguments).expect("parsed");
        let mut flags = Flags::from_arg_matches(&matches).expect("parsed");
        flags.retype(&matches);
        match flags.command {
            Command::Run(flags) | Command::Sub(flags) => *flags,
            Command::Search(flags) => flags.run,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn a_plan_made_of_the_wording_is_the_same_plan() {
        let check = |role: Role, arguments: &[&str]| {
            let arguments = [arguments, &["--agents", "127.0.0.1:1,127.0.0.1:2"]].concat();
            let flags = typed(&arguments);
            let wording = Wording::of(&flags).expect("a wording");
            let text = serde_json::to_string(&wording).expect("written");
            let wording: Wording = serde_json::from_str(&text).expect("read");
            let (one, two) = (Plan::of(role, flags).expect("a plan"), wording.plan(role).expect("a plan"));
            assert_eq!((&one.seats, &one.channels, one.threads), (&two.seats, &two.channels, two.threads));
            let rates =
                |plan: &Plan| (plan.connect_rate, plan.churn_rate, plan.turnover_rate, plan.slow_bytes_per_s);
            assert_eq!(rates(&one), rates(&two), "{arguments:?}");
            assert_eq!((&one.target.token, one.verify), (&two.target.token, two.verify));
            assert_eq!(
                (one.outputs.interval.ns, one.patience_ns),
                (two.outputs.interval.ns, two.patience_ns)
            );
        };
        let url = "http://127.0.0.1:9";
        check(Role::Whole, &["loadgen", "run", url]);
        check(
            Role::Whole,
            &[
                "loadgen",
                "run",
                url,
                "-c",
                "50",
                "--transport",
                "ws:1,sse:1",
                "-t",
                "3",
                "--channels",
                "7",
                "--token",
                "a-b",
                "--slow",
                "5%:10KB/s",
                "--churn",
                "3/s",
                "--slo",
                "p99<5ms,reach==1",
                "--slo-abort-after",
                "2s",
                "-o",
                "away",
                "--interval",
                "200ms",
                "--verify",
                "gaps",
                "--json",
                "-q",
                "--source-ip",
                "127.0.0.2..9",
            ],
        );
        check(Role::Subscribe, &["loadgen", "sub", url, "-c", "5"]);
        check(
            Role::Whole,
            &["loadgen", "search", url, "--slo", "p99<5ms", "--from", "50", "--precision", "10%"],
        );
    }

    #[test]
    fn files_travel_by_their_names_and_none_is_opened_elsewhere() {
        let path = std::env::temp_dir().join(format!("loadgen-wording-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\n").expect("written");
        let name = path.to_str().expect("text");
        let url = "http://127.0.0.1:9";
        let flags = typed(&["loadgen", "run", url, "--subscriber-tokens", name]);
        let wording = Wording::of(&flags).expect("a wording");
        std::fs::remove_file(&path).expect("removed");
        let plan = wording.clone().plan(Role::Whole).expect("a plan");
        assert_eq!(plan.target.subscriber_tokens, ["one", "two"]);
        let without = Wording { files: BTreeMap::new(), ..wording };
        assert!(without.plan(Role::Whole).is_err_and(|error| error.contains("did not send it")));
        let rubbish = Wording { arguments: vec!["--nonsense".to_owned()], ..Wording::default() };
        assert!(rubbish.plan(Role::Whole).is_err_and(|error| error.contains("--nonsense")));
    }
}
