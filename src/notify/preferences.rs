//! What a user wants to be told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::kind::NotificationKind;
use super::user::User;

/// A user's choice. Its members stand in the order of the wire, the types in that of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Whose choice it is.
    pub user_id: User,
    /// The types that are stored and delivered; others are dropped.
    pub enabled_types: BTreeSet<NotificationKind>,
    /// Whether whoever sends mail may do so. Nothing here does: it is kept for others to ask.
    pub email_enabled: bool,
    /// Whether whoever pushes to devices may do so. Nothing here does: it is kept for others to ask.
    pub push_enabled: bool,
}

impl Preferences {
    /// The choice of a user who never chose.
    #[must_use]
    pub fn for_user(user: User) -> Preferences {
        let enabled_types =
            NotificationKind::ALL.into_iter().filter(|kind| kind.is_on_by_default()).collect();
        Preferences { user_id: user, enabled_types, email_enabled: false, push_enabled: false }
    }

    /// Whether the user wants notifications of `kind`.
    #[must_use]
    pub fn is_enabled(&self, kind: NotificationKind) -> bool {
        self.enabled_types.contains(&kind)
    }

    /// The JSON text, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("members of plain types have a JSON text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_members_of_the_wire_in_their_order() {
        let preferences = Preferences::for_user(User::parse("alice").unwrap());
        let json = r#"{"user_id":"alice","enabled_types":["mention","assigned","review_requested","pr_merged","new_comment","review_submitted"],"email_enabled":false,"push_enabled":false}"#;
        assert_eq!(preferences.to_json(), json);
        assert_eq!(serde_json::from_str::<Preferences>(json).unwrap(), preferences);
    }

    #[test]
    fn types_are_a_set_in_the_order_of_the_catalogue() {
        let text = r#"{"user_id":"a","enabled_types":["push","mention","push"],"email_enabled":true,"push_enabled":true}"#;
        let preferences: Preferences = serde_json::from_str(text).unwrap();
        assert!(preferences.to_json().contains(r#""enabled_types":["mention","push"],"email_enabled":true"#));
        let enabled = NotificationKind::ALL.into_iter().filter(|kind| preferences.is_enabled(*kind));
        assert!(enabled.eq([NotificationKind::Mention, NotificationKind::Push]));
    }
}
