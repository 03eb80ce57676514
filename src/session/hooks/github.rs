//! Payloads of GitHub, and of Gitea and Forgejo, which follow it.
//!
//! | event | action, or what else decides | kind |
//! | --- | --- | --- |
//! | `push` | | `push` |
//! | `create`, `delete` | `ref_type` `branch`, `tag` | `branch_created`, `tag_created`, `branch_deleted`, `tag_deleted` |
//! | `pull_request`, `pr` | `opened`, none | `pr_opened` |
//! | | `closed` | `pr_merged` if it was merged, else `pr_closed` |
//! | | `reopened` | `pr_reopened` |
//! | | any other | `pr_updated` |
//! | `pull_request_review`, `pr_review`, `pull_request_approved`, `pull_request_rejected` | | `pr_review` |
//! | `pull_request_review_comment`, `pull_request_comment`, `pr_comment` | | `pr_comment`; `pr_review` if there is a `review` |
//! | `issues`, `issue` | `opened`, none | `issue_opened` |
//! | | `closed`, `reopened` | `issue_closed`, `issue_reopened` |
//! | | `labeled`; `unlabeled`, `label_cleared` | `label_added`; `label_removed` |
//! | | any other | `issue_updated` |
//! | `issue_comment` | | `pr_comment` if the issue is a pull request, else `issue_comment` |
//! | `label` | `created`, `deleted` | `label_added`, `label_removed` |
//! | `repository` | `created`; any other but `deleted` | `repo_created`; `repo_updated` |
//! | `fork`; `star`, `watch` | | `repo_created`; `repo_updated` |
//! | `member` | `added`, `removed` | `collaborator_added`, `collaborator_removed` |
//! | `workflow_run` | `requested`, `in_progress`, `completed` | `workflow_run_…` |
//! | `workflow_job` | `queued`, `in_progress`, `completed` | `workflow_job_…` |
//! | `check_run` | `created`, `completed` | `check_run_…` |
//!
//! The names of events are read in any case.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::body::{lenient, read};
use super::{Outline, Place};
use crate::session::publish::PublishError;
use crate::words::kind;

/// What is looked at of a payload.
#[derive(Deserialize)]
struct Payload {
    #[serde(default, deserialize_with = "lenient")]
    action: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    ref_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    number: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    repository: Option<Repository>,
    #[serde(default, deserialize_with = "lenient")]
    organization: Option<Account>,
    #[serde(default, deserialize_with = "lenient")]
    sender: Option<Account>,
    #[serde(default, deserialize_with = "lenient")]
    pull_request: Option<PullRequest>,
    #[serde(default, deserialize_with = "lenient")]
    issue: Option<Issue>,
    /// Gitea says so of comments.
    #[serde(default, deserialize_with = "lenient")]
    is_pull: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    review: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

/// A person or an organisation; Gitea calls an organisation's login its `username`.
#[derive(Deserialize)]
struct Account {
    #[serde(default, deserialize_with = "lenient")]
    login: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    username: Option<String>,
}

#[derive(Deserialize)]
struct PullRequest {
    #[serde(default, deserialize_with = "lenient")]
    number: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    merged: Option<bool>,
}

#[derive(Deserialize)]
struct Issue {
    #[serde(default, deserialize_with = "lenient")]
    number: Option<u64>,
    /// There if the issue is a pull request.
    #[serde(default, deserialize_with = "lenient")]
    pull_request: Option<IgnoredAny>,
}

/// What the payload of `event` is about.
pub(super) fn outline(event: &str, payload: &str) -> Result<Outline, PublishError> {
    let payload: Payload = read(payload)?;
    let event = event.to_ascii_lowercase();
    let kind = kind_of(&event, &payload);
    let number_of_either = payload
        .pull_request
        .and_then(|pull_request| pull_request.number)
        .or_else(|| payload.issue.and_then(|issue| issue.number));
    let name = |account: Account| account.login.or(account.username);
    let place = (payload.repository.map(|repository| Place::Repository(repository.full_name)))
        .or_else(|| payload.organization.and_then(name).map(Place::Organisation))
        .or_else(|| payload.sender.and_then(name).map(Place::User));
    Ok(Outline {
        number: number_of_either.or(payload.number),
        place,
        kind,
        action: payload.action.filter(|action| !action.is_empty()),
        event,
        is_confidential: false,
    })
}

fn kind_of(event: &str, payload: &Payload) -> Option<&'static str> {
    let action = payload.action.as_deref();
    let kind = match (event, action) {
        ("create" | "delete", _) => return kind_of_reference(event, payload.ref_type.as_deref()),
        ("pull_request" | "pr", Some(action)) => match action {
            "opened" => "pr_opened",
            "reopened" => "pr_reopened",
            "closed" if payload.pull_request.as_ref().and_then(|it| it.merged) == Some(true) => "pr_merged",
            "closed" => "pr_closed",
            _ => "pr_updated",
        },
        ("pull_request_approved" | "pull_request_rejected", _) => "pr_review",
        ("pull_request_review_comment", _) => "pr_comment",
        ("pull_request_comment" | "pr_comment", _) if payload.review.is_some() => "pr_review",
        ("issues" | "issue", Some(action)) => match action {
            "opened" => "issue_opened",
            "closed" => "issue_closed",
            "reopened" => "issue_reopened",
            "labeled" => "label_added",
            "unlabeled" | "label_cleared" => "label_removed",
            _ => "issue_updated",
        },
        ("issue_comment", _) if is_about_pull_request(payload) => "pr_comment",
        ("label", Some("created")) => "label_added",
        ("label", Some("deleted")) => "label_removed",
        // That a repository is gone is no update of it.
        ("repository", Some("deleted")) => return None,
        ("repository", Some("created")) => "repo_created",
        ("repository" | "watch", _) => "repo_updated",
        ("member", Some("added")) => "collaborator_added",
        ("member", Some("removed")) => "collaborator_removed",
        ("workflow_run", Some("requested")) => "workflow_run_requested",
        ("workflow_run", Some("in_progress")) => "workflow_run_in_progress",
        ("workflow_run", Some("completed")) => "workflow_run_completed",
        ("workflow_job", Some("queued")) => "workflow_job_queued",
        ("workflow_job", Some("in_progress")) => "workflow_job_in_progress",
        ("workflow_job", Some("completed")) => "workflow_job_completed",
        ("check_run", Some("created")) => "check_run_created",
        ("check_run", Some("completed")) => "check_run_completed",
        _ => return kind::from_webhook(event),
    };
    Some(kind)
}

fn kind_of_reference(event: &str, ref_type: Option<&str>) -> Option<&'static str> {
    match (event, ref_type) {
        (_, None) => kind::from_webhook(event),
        ("create", Some("branch")) => Some("branch_created"),
        ("create", Some("tag")) => Some("tag_created"),
        ("delete", Some("branch")) => Some("branch_deleted"),
        ("delete", Some("tag")) => Some("tag_deleted"),
        _ => None,
    }
}

fn is_about_pull_request(payload: &Payload) -> bool {
    payload.is_pull == Some(true) || payload.issue.as_ref().is_some_and(|issue| issue.pull_request.is_some())
}
