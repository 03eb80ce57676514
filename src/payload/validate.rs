//! Whether `data` is what its kind promises.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{
    Comment, Issue, LogLine, Memory, Progress, PullRequest, Push, Review, SyncCompleted, SyncFailed,
};

/// Checks the JSON text `data` against the typed payload of a built-in kind; kinds without one always pass.
///
/// For publishers that keep to the typed payloads: webhooks carry other members under the same kinds, and do not.
///
/// # Errors
/// [`PayloadError`] with the field that is missing or of another type.
pub fn validate(kind: &str, data: &str) -> Result<(), PayloadError> {
    match kind {
        "push" => check::<Push>(data),
        "pr_opened" | "pr_closed" | "pr_merged" | "pr_updated" | "pr_reopened" => check::<PullRequest>(data),
        "pr_review" => check::<Review>(data),
        "pr_comment" | "issue_comment" => check::<Comment>(data),
        "issue_opened" | "issue_closed" | "issue_reopened" | "issue_updated" => check::<Issue>(data),
        "memory_created" | "memory_updated" | "memory_deleted" | "crossref_created" | "crossref_deleted" => {
            check::<Memory>(data)
        }
        "sync_completed" => check::<SyncCompleted>(data),
        "sync_failed" => check::<SyncFailed>(data),
        "progress" => check::<Progress>(data),
        "log_line" => check::<LogLine>(data),
        _ => Ok(()),
    }
}

/// Why `data` is not what its kind promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError {
    /// The field, if one is at fault and not the text as a whole.
    pub field: Option<String>,
    /// What is wrong, for people; names the field too.
    pub reason: String,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for PayloadError {}

fn check<'a, T: Deserialize<'a>>(data: &'a str) -> Result<(), PayloadError> {
    let whole = |reason: String| PayloadError { field: None, reason };
    serde_json::from_str::<IgnoredAny>(data).map_err(|error| whole(error.to_string()))?;
    // A list of the right values in the right order would do for a struct otherwise.
    if !data.trim_start().starts_with('{') {
        return Err(whole("the payload must be a JSON object".into()));
    }
    let mut source = serde_json::Deserializer::from_str(data);
    serde_path_to_error::deserialize::<_, T>(&mut source).map(drop).map_err(|error| refusal(&error))
}

fn refusal(error: &serde_path_to_error::Error<serde_json::Error>) -> PayloadError {
    let (path, reason) = (error.path().to_string(), error.inner().to_string());
    if path != ROOT {
        return PayloadError { reason: format!("{path}: {reason}"), field: Some(path) };
    }
    // A field that is missing has no path; the sentence about it is serde's own, with the name in back quotes.
    let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    PayloadError { field: missing.map(str::to_owned), reason }
}

/// How the path of the whole value is written.
const ROOT: &str = ".";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_field() {
        let check = |kind: &str, data: &str, expected: Result<(), Option<&str>>| {
            let outcome = validate(kind, data);
            if let Err(PayloadError { field: Some(field), reason }) = &outcome {
                assert!(reason.contains(field.as_str()), "{reason}");
            }
            assert_eq!(
                outcome.as_ref().map(|_| ()).map_err(|error| error.field.as_deref()),
                expected,
                "{data}"
            );
        };
        let pull_request = |number: &str, state: &str| {
            format!(
                r#"{{"number":{number},"title":"t","author":"a","source_branch":"s","target_branch":"m","state":{state},"more":[1]}}"#
            )
        };
        check("pr_opened", &pull_request("7", r#""open""#), Ok(()));
        check("pr_merged", &pull_request("7", r#""merged""#), Ok(()));
        check("pr_opened", &pull_request("-7", r#""open""#), Err(Some("number")));
        check("pr_opened", &pull_request("7", r#""draft""#), Err(Some("state")));
        check("pr_opened", r#"{"number":7}"#, Err(Some("title")));
        check("pr_opened", r#"[7,"t","a","s","m","open"]"#, Err(None));
        check("pr_opened", "null", Err(None));
        check("pr_opened", "{", Err(None));
        check("memory_deleted", "{} {}", Err(None));
        check(
            "issue_opened",
            r#"{"number":1,"title":"t","author":"a","state":"merged"}"#,
            Err(Some("state")),
        );
        check("push", r#"{"ref":1}"#, Err(Some("ref")));
        check("push", r#"{"before":"a"}"#, Err(Some("ref")));
        check("memory_updated", r#"{"changes":["a",7]}"#, Err(Some("changes[1]")));
        check("memory_created", r#"{"preview":null}"#, Ok(()));
        check("sync_completed", r#"{"direction":"pull","changes":[]}"#, Err(Some("changes")));
        check("progress", r#"{"progress_token":1.5,"progress":1}"#, Err(Some("progress_token")));
        check("progress", r#"{"progress_token":"t","progress":0.5,"total":1}"#, Ok(()));
        check("log_line", r#"{"timestamp":1,"level":"loud","message":""}"#, Err(Some("level")));
        check("workflow_run_completed", "null", Ok(()));
        check("custom.kind", "not even JSON", Ok(()));
    }
}
