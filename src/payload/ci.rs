//! Continuous integration: the stages of runs, jobs and checks, and the lines of a job's log.

use serde::{Deserialize, Serialize};

use crate::words::channel::{Channel, ChannelError};

/// How far a workflow run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowRun {
    /// Asked for.
    Requested,
    /// Running.
    InProgress,
    /// Over, however it ended.
    Completed,
}

impl WorkflowRun {
    /// The kind of the event that says so.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            WorkflowRun::Requested => "workflow_run_requested",
            WorkflowRun::InProgress => "workflow_run_in_progress",
            WorkflowRun::Completed => "workflow_run_completed",
        }
    }
}

/// How far a job of a workflow run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowJob {
    /// Waiting for a machine.
    Queued,
    /// Running.
    InProgress,
    /// Over, however it ended.
    Completed,
}

impl WorkflowJob {
    /// The kind of the event that says so.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            WorkflowJob::Queued => "workflow_job_queued",
            WorkflowJob::InProgress => "workflow_job_in_progress",
            WorkflowJob::Completed => "workflow_job_completed",
        }
    }
}

/// How far a check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckRun {
    /// It exists.
    Created,
    /// Over, however it ended.
    Completed,
}

impl CheckRun {
    /// The kind of the event that says so.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            CheckRun::Created => "check_run_created",
            CheckRun::Completed => "check_run_completed",
        }
    }
}

/// `data` of `log_line`: one line of a job's log. The sequence numbers of its channel keep the lines in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, in Unix seconds.
    pub timestamp: u64,
    /// The step of the job that wrote it, if it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<String>,
    /// How much it matters.
    pub level: LogLevel,
    /// The line, without its end.
    pub message: String,
}

impl LogLine {
    /// The kind of the events that carry log lines.
    pub const KIND: &'static str = "log_line";
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For whoever wrote the job.
    Debug,
    /// As expected.
    Info,
    /// Not as expected, yet it goes on.
    Warning,
    /// It cannot go on like this.
    Error,
}

/// The channel of a job's log lines: `job:<id>/log`.
///
/// ```
/// use fanfare::payload::log_channel;
///
/// assert_eq!(log_channel("4711")?.as_str(), "job:4711/log");
/// assert!(log_channel("a b").is_err());
/// # Ok::<(), fanfare::words::channel::ChannelError>(())
/// ```
///
/// # Errors
/// If `job` does not fit the grammar of channels. A `/` in it makes further segments.
pub fn log_channel(job: &str) -> Result<Channel, ChannelError> {
    Channel::parse(&format!("job:{job}/log"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::validate;
    use crate::words::kind::{self, Group};

    #[test]
    fn every_stage_has_a_built_in_kind() {
        let runs = [WorkflowRun::Requested, WorkflowRun::InProgress, WorkflowRun::Completed];
        let jobs = [WorkflowJob::Queued, WorkflowJob::InProgress, WorkflowJob::Completed];
        let checks = [CheckRun::Created, CheckRun::Completed];
        let kinds: Vec<_> = runs
            .map(WorkflowRun::kind)
            .into_iter()
            .chain(jobs.map(WorkflowJob::kind))
            .chain(checks.map(CheckRun::kind))
            .chain([LogLine::KIND])
            .collect();
        let of_ci: Vec<_> =
            kind::all().iter().copied().filter(|kind| kind::group(kind) == Some(Group::Ci)).collect();
        assert_eq!(kinds, of_ci);
    }

    #[test]
    fn a_log_line_leaves_out_an_unknown_step() {
        let check = |step: Option<&str>, level, expected: &str| {
            let line = LogLine { timestamp: 9, step: step.map(str::to_owned), level, message: "m".into() };
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(text, expected);
            assert_eq!(validate(LogLine::KIND, &text), Ok(()));
        };
        check(None, LogLevel::Warning, r#"{"timestamp":9,"level":"warning","message":"m"}"#);
        check(
            Some("build"),
            LogLevel::Debug,
            r#"{"timestamp":9,"step":"build","level":"debug","message":"m"}"#,
        );
    }
}
