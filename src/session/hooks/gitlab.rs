//! Payloads of GitLab.
//!
//! | event | what decides | kind |
//! | --- | --- | --- |
//! | `Push Hook` | | `push`; `branch_created` if there was nothing before, `branch_deleted` if there is nothing after |
//! | `Tag Push Hook` | the same | `tag_created`, `tag_deleted` |
//! | `Merge Request Hook` | `open`, `close`, `merge`, `reopen` | `pr_opened`, `pr_closed`, `pr_merged`, `pr_reopened` |
//! | | `approved`, `approval`, `unapproved`, `unapproval` | `pr_review` |
//! | | any other | `pr_updated` |
//! | `Issue Hook` | `open`, `close`, `reopen`; any other | `issue_opened`, `issue_closed`, `issue_reopened`; `issue_updated` |
//! | `Note Hook` | on a merge request, on an issue | `pr_comment`, `issue_comment` |
//! | `Pipeline Hook` | status waiting; running; over | `workflow_run_requested`; `_in_progress`; `_completed` |
//! | `Job Hook` | status waiting; running; over | `workflow_job_queued`; `_in_progress`; `_completed` |
//! | `Member Hook` | added, removed | `collaborator_added`, `collaborator_removed` |
//! | `Project Hook` | created; renamed, transferred, updated | `repo_created`; `repo_updated` |
//!
//! `System Hook` is read as what its payload says it is. A status stands for the action where there is none. `Confidential`
//! issues and notes have the kinds of others, and the tag `confidential`.
//!
//! A project in a subgroup has a channel of three or more segments, `repo:group/subgroup/project`. Only channels of two are
//! routed by kind, so its merge requests and issues are found on the channel itself.

use serde::Deserialize;

use super::body::{lenient, read};
use super::{Outline, Place};
use crate::session::publish::PublishError;

/// What is looked at of a payload.
#[derive(Deserialize)]
struct Payload {
    #[serde(default, deserialize_with = "lenient")]
    object_kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    event_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    action: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    before: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    after: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    build_status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    project: Option<Project>,
    #[serde(default, deserialize_with = "lenient")]
    path_with_namespace: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    project_path_with_namespace: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    full_path: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    group_path: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    user: Option<User>,
    #[serde(default, deserialize_with = "lenient")]
    user_username: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    object_attributes: Option<Attributes>,
    #[serde(default, deserialize_with = "lenient")]
    merge_request: Option<Numbered>,
    #[serde(default, deserialize_with = "lenient")]
    issue: Option<Numbered>,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(default, deserialize_with = "lenient")]
    action: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    noteable_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    iid: Option<u64>,
}

#[derive(Deserialize)]
struct Numbered {
    iid: u64,
}

/// What the payload of `event` is about.
pub(super) fn outline(event: &str, payload: &str) -> Result<Outline, PublishError> {
    let mut payload: Payload = read(payload)?;
    let attributes = payload.object_attributes.take().unwrap_or_default();
    let spoken = event.to_ascii_lowercase().replace(' ', "_");
    let mut event = spoken.strip_suffix("_hook").unwrap_or(&spoken).to_owned();
    if event == "system" {
        let named = payload.event_name.as_ref().or(payload.object_kind.as_ref());
        event = named.cloned().unwrap_or(event);
    }
    let is_confidential = event.starts_with(CONFIDENTIAL);
    if is_confidential {
        event.drain(..CONFIDENTIAL.len());
    }
    let number = match event.as_str() {
        "merge_request" | "issue" => attributes.iid,
        "note" => payload.merge_request.as_ref().or(payload.issue.as_ref()).map(|numbered| numbered.iid),
        _ => None,
    };
    let kind = kind_of(&event, &payload, &attributes);
    let action = (attributes.action.or(payload.action.take()))
        .or_else(|| (event == "pipeline").then_some(attributes.status).flatten())
        .or_else(|| payload.build_status.take())
        .filter(|action| !action.is_empty());
    Ok(Outline { place: place_of(payload), kind, action, number, event, is_confidential })
}

/// What stands before an event that not everybody may see.
const CONFIDENTIAL: &str = "confidential_";

fn place_of(payload: Payload) -> Option<Place> {
    let project = (payload.project.map(|project| project.path_with_namespace))
        .or(payload.path_with_namespace)
        .or(payload.project_path_with_namespace);
    // Channels of organisations have no sub-channels: what happens in a subgroup belongs to its topmost group.
    let topmost = |path: String| path.split('/').next().unwrap_or_default().to_owned();
    (project.map(Place::Repository))
        .or_else(|| payload.full_path.or(payload.group_path).map(topmost).map(Place::Organisation))
        .or_else(|| payload.user.map(|user| user.username).or(payload.user_username).map(Place::User))
}

fn kind_of(event: &str, payload: &Payload, attributes: &Attributes) -> Option<&'static str> {
    let is_nothing = |commit: &Option<String>| {
        commit.as_ref().is_some_and(|commit| !commit.is_empty() && commit.bytes().all(|digit| digit == b'0'))
    };
    let (is_new, is_gone) = (is_nothing(&payload.before), is_nothing(&payload.after));
    match event {
        "push" if is_gone => Some("branch_deleted"),
        "push" if is_new => Some("branch_created"),
        "push" => Some("push"),
        "tag_push" if is_gone => Some("tag_deleted"),
        "tag_push" if is_new => Some("tag_created"),
        "merge_request" => Some(match attributes.action.as_deref() {
            Some("open") => "pr_opened",
            Some("close") => "pr_closed",
            Some("merge") => "pr_merged",
            Some("reopen") => "pr_reopened",
            Some("approved" | "approval" | "unapproved" | "unapproval") => "pr_review",
            _ => "pr_updated",
        }),
        "issue" => Some(match attributes.action.as_deref() {
            Some("open") => "issue_opened",
            Some("close") => "issue_closed",
            Some("reopen") => "issue_reopened",
            _ => "issue_updated",
        }),
        "note" => match attributes.noteable_type.as_deref() {
            Some("MergeRequest") => Some("pr_comment"),
            Some("Issue") => Some("issue_comment"),
            _ => None,
        },
        "pipeline" => match stage_of(attributes.status.as_deref()?)? {
            Stage::Waiting => Some("workflow_run_requested"),
            Stage::Running => Some("workflow_run_in_progress"),
            Stage::Over => Some("workflow_run_completed"),
        },
        "job" | "build" => match stage_of(payload.build_status.as_deref()?)? {
            Stage::Waiting => Some("workflow_job_queued"),
            Stage::Running => Some("workflow_job_in_progress"),
            Stage::Over => Some("workflow_job_completed"),
        },
        _ => kind_by_name(payload.event_name.as_deref()?),
    }
}

/// How far a pipeline or a job has come.
enum Stage {
    Waiting,
    Running,
    Over,
}

fn stage_of(status: &str) -> Option<Stage> {
    match status {
        "created" | "waiting_for_resource" | "preparing" | "pending" => Some(Stage::Waiting),
        "running" => Some(Stage::Running),
        "success" | "failed" | "canceled" | "skipped" => Some(Stage::Over),
        _ => None,
    }
}

/// The kind of what members, projects and system hooks name in their payloads.
fn kind_by_name(event_name: &str) -> Option<&'static str> {
    match event_name {
        "user_add_to_team" | "user_add_to_group" => Some("collaborator_added"),
        "user_remove_from_team" | "user_remove_from_group" => Some("collaborator_removed"),
        "project_create" => Some("repo_created"),
        "project_rename" | "project_transfer" | "project_update" => Some("repo_updated"),
        _ => None,
    }
}
