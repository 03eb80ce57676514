//! Payloads of a repository hub: pushes, pull requests, issues, comments, reviews.

use serde::{Deserialize, Serialize};

/// `data` of `push`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The full name of what was pushed to, like `refs/heads/main`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit it stood at.
    pub before: String,
    /// The commit it stands at.
    pub after: String,
    /// Who pushed.
    pub pusher: String,
    /// How many commits came.
    pub commit_count: u64,
}

/// `data` of the kinds about a pull request as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Who opened it.
    pub author: String,
    /// Where its commits come from.
    pub source_branch: String,
    /// Where they are to go.
    pub target_branch: String,
    /// How it stands.
    pub state: PullRequestState,
}

/// How a pull request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullRequestState {
    /// Waiting for review or merge.
    Open,
    /// Closed without a merge.
    Closed,
    /// Merged.
    Merged,
}

/// `data` of the kinds about an issue as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its number in the repository.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Who opened it.
    pub author: String,
    /// How it stands.
    pub state: IssueState,
}

/// How an issue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueState {
    /// Not settled yet.
    Open,
    /// Settled.
    Closed,
}

/// `data` of `pr_comment` and `issue_comment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Its own number.
    pub id: u64,
    /// The number of the pull request or issue.
    pub parent_number: u64,
    /// Who wrote it.
    pub author: String,
    /// The beginning of its text; see [`preview`](super::preview()).
    pub body_preview: String,
}

/// `data` of `pr_review`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its own number.
    pub id: u64,
    /// The number of the pull request.
    pub pr_number: u64,
    /// Who reviewed.
    pub reviewer: String,
    /// The verdict.
    pub state: ReviewState,
}

/// The verdict of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewState {
    /// It may be merged.
    Approved,
    /// It may not be merged as it is.
    ChangesRequested,
    /// Neither.
    Commented,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::validate;

    #[test]
    fn the_wire_forms_have_their_exact_members_and_validate() {
        fn check<T: Serialize>(kind: &str, payload: &T, expected: &str) {
            let text = serde_json::to_string(payload).unwrap();
            assert_eq!(text, expected);
            assert_eq!(validate(kind, &text), Ok(()));
        }
        let push = Push {
            reference: "refs/heads/main".into(),
            before: "a1".into(),
            after: "b2".into(),
            pusher: "alice".into(),
            commit_count: 3,
        };
        check(
            "push",
            &push,
            r#"{"ref":"refs/heads/main","before":"a1","after":"b2","pusher":"alice","commit_count":3}"#,
        );
        let pull_request = PullRequest {
            number: 7,
            title: "t".into(),
            author: "bob".into(),
            source_branch: "s".into(),
            target_branch: "main".into(),
            state: PullRequestState::Merged,
        };
        check(
            "pr_merged",
            &pull_request,
            r#"{"number":7,"title":"t","author":"bob","source_branch":"s","target_branch":"main","state":"merged"}"#,
        );
        let issue = Issue { number: 8, title: "t".into(), author: "bob".into(), state: IssueState::Closed };
        check("issue_closed", &issue, r#"{"number":8,"title":"t","author":"bob","state":"closed"}"#);
        let comment = Comment { id: 1, parent_number: 8, author: "eve".into(), body_preview: "hm".into() };
        check("issue_comment", &comment, r#"{"id":1,"parent_number":8,"author":"eve","body_preview":"hm"}"#);
        let review =
            Review { id: 2, pr_number: 7, reviewer: "eve".into(), state: ReviewState::ChangesRequested };
        check("pr_review", &review, r#"{"id":2,"pr_number":7,"reviewer":"eve","state":"changes_requested"}"#);
    }
}
