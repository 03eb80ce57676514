//! A notification as it is stored, delivered and listed.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::draft::Draft;
use super::kind::NotificationKind;
use super::user::User;

/// A notification. Its members stand in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Its name among all notifications.
    pub id: Uuid,
    /// Whom it is for.
    pub user_id: User,
    /// What it is about.
    pub notification_type: NotificationKind,
    /// One line to read.
    pub title: String,
    /// More to read.
    pub body: String,
    /// Where to go from it; `null` on the wire where there is nothing.
    pub url: Option<String>,
    /// Whether the user has read it.
    pub read: bool,
    /// When it was accepted, in Unix seconds.
    pub created_at: u64,
    /// What it refers to.
    pub metadata: Metadata,
}

impl Notification {
    /// The notification that `draft` becomes when it is accepted at `created_at` (Unix seconds): not read yet.
    #[must_use]
    pub fn new(draft: Draft, id: Uuid, created_at: u64) -> Notification {
        let Draft { user, kind, title, body, url, metadata } = draft;
        Notification {
            id,
            user_id: user,
            notification_type: kind,
            title,
            body,
            url,
            read: false,
            created_at,
            metadata,
        }
    }

    /// The user has read it.
    pub fn mark_read(&mut self) {
        self.read = true;
    }

    /// The JSON text, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("members of plain types have a JSON text")
    }
}

/// What a notification refers to; members that are absent are left out on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The repository, as `owner/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_key: Option<String>,
    /// The number of the pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pr_number: Option<u64>,
    /// The number of the issue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue_number: Option<u64>,
    /// Who caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(notification: &Notification, expected: &str) {
        assert_eq!(notification.to_json(), expected);
        assert_eq!(serde_json::from_str::<Notification>(expected).unwrap(), *notification);
    }

    #[test]
    fn the_json_has_the_members_of_the_wire_in_their_order() {
        let alice = User::parse("alice").unwrap();
        let draft = Draft::new(alice, NotificationKind::ReviewRequested, "t", "b").unwrap();
        let mut notification = Notification::new(draft.clone(), Uuid::nil(), 1_795_316_060);
        check(
            &notification,
            r#"{"id":"00000000-0000-0000-0000-000000000000","user_id":"alice","notification_type":"review_requested","title":"t","body":"b","url":null,"read":false,"created_at":1795316060,"metadata":{}}"#,
        );
        notification.mark_read();
        notification.url = Some("/a/b/pulls/7".into());
        notification.metadata = Metadata {
            repo_key: Some("a/b".into()),
            pr_number: Some(7),
            issue_number: Some(8),
            actor: Some("bob".into()),
        };
        check(
            &notification,
            r#"{"id":"00000000-0000-0000-0000-000000000000","user_id":"alice","notification_type":"review_requested","title":"t","body":"b","url":"/a/b/pulls/7","read":true,"created_at":1795316060,"metadata":{"repo_key":"a/b","pr_number":7,"issue_number":8,"actor":"bob"}}"#,
        );
    }
}
