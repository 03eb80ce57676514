//! A notification on its way in: everything but its id and its time.

use super::kind::NotificationKind;
use super::notification::Metadata;
use super::user::User;

/// Longest title, in bytes; it has at least one.
pub const TITLE_BYTES_MAX: usize = 256;

/// Longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 8192;

/// Longest address, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Longest text in the metadata, in bytes.
pub const METADATA_BYTES_MAX: usize = 256;

/// What somebody shall be told; within its bounds by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub(super) user: User,
    pub(super) kind: NotificationKind,
    pub(super) title: String,
    pub(super) body: String,
    pub(super) url: Option<String>,
    pub(super) metadata: Metadata,
}

impl Draft {
    /// A notification of `kind` for `user`, without an address and metadata.
    ///
    /// # Errors
    /// For an empty title, and for a title or body over its bound.
    pub fn new(
        user: User,
        kind: NotificationKind,
        title: impl Into<String>,
        body: impl Into<String>,
    ) -> Result<Draft, DraftError> {
        let (title, body) = (title.into(), body.into());
        if title.is_empty() || TITLE_BYTES_MAX < title.len() {
            let detail = format!("title must be 1 to {TITLE_BYTES_MAX} bytes");
            return Err(DraftError { code: "bad_title", detail });
        }
        if BODY_BYTES_MAX < body.len() {
            let detail = format!("body must be at most {BODY_BYTES_MAX} bytes");
            return Err(DraftError { code: "bad_body", detail });
        }
        Ok(Draft { user, kind, title, body, url: None, metadata: Metadata::default() })
    }

    /// With an address to go to: a path of the same site, or one that begins with `http://` or `https://`.
    ///
    /// # Errors
    /// For any other address, since a page makes a link of it: no scheme that runs a script, no blanks, not over the
    /// bound.
    pub fn url(mut self, url: impl Into<String>) -> Result<Draft, DraftError> {
        let url = url.into();
        let leads_somewhere = ["/", "http://", "https://"].iter().any(|start| url.starts_with(start));
        let has_blanks = url.chars().any(|letter| letter.is_whitespace() || letter.is_control());
        if !leads_somewhere || has_blanks || URL_BYTES_MAX < url.len() {
            let detail = format!(
                "url must begin with /, http:// or https://, without blanks, at most {URL_BYTES_MAX} bytes"
            );
            return Err(DraftError { code: "bad_url", detail });
        }
        self.url = Some(url);
        Ok(self)
    }

    /// With what it refers to.
    ///
    /// # Errors
    /// For a text over its bound.
    pub fn metadata(mut self, metadata: Metadata) -> Result<Draft, DraftError> {
        let is_too_long =
            |text: &Option<String>| text.as_ref().is_some_and(|text| METADATA_BYTES_MAX < text.len());
        if is_too_long(&metadata.repo_key) || is_too_long(&metadata.actor) {
            let detail = format!("texts of metadata must be at most {METADATA_BYTES_MAX} bytes");
            return Err(DraftError { code: "bad_metadata", detail });
        }
        self.metadata = metadata;
        Ok(self)
    }

    /// Whom it is for.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> NotificationKind {
        self.kind
    }
}

/// Why a notification is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct DraftError {
    /// Stable code.
    pub code: &'static str,
    /// A sentence for the person who wrote the client.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(title: &str, body: &str) -> Result<Draft, &'static str> {
        let alice = User::parse("alice").unwrap();
        Draft::new(alice, NotificationKind::Mention, title, body).map_err(|error| error.code)
    }

    #[test]
    fn texts_are_bounded() {
        let check = |title: usize, body: usize, expected: Result<(), &str>| {
            let got = draft(&"t".repeat(title), &"b".repeat(body));
            assert_eq!(got.map(|_| ()), expected, "{title} {body}");
        };
        check(1, 0, Ok(()));
        check(TITLE_BYTES_MAX, BODY_BYTES_MAX, Ok(()));
        check(0, 0, Err("bad_title"));
        check(TITLE_BYTES_MAX + 1, 0, Err("bad_title"));
        check(1, BODY_BYTES_MAX + 1, Err("bad_body"));
    }

    #[test]
    fn an_address_leads_to_a_page() {
        let check = |url: &str, expected: bool| {
            let got = draft("t", "b").unwrap().url(url).map_err(|error| error.code);
            assert_eq!(
                got.map(|draft| draft.url),
                if expected { Ok(Some(url.into())) } else { Err("bad_url") }
            );
        };
        check("/alice/demo/pulls/7", true);
        check("https://example.org/x?y=1#z", true);
        check("http://example.org", true);
        check("", false);
        check("javascript:alert(1)", false);
        check("data:text/html,x", false);
        check("example.org", false);
        check("/a b", false);
        check("/a\nb", false);
        check(&format!("/{}", "x".repeat(URL_BYTES_MAX - 1)), true);
        check(&format!("/{}", "x".repeat(URL_BYTES_MAX)), false);
    }

    #[test]
    fn metadata_is_bounded() {
        let check = |bytes: usize, expected: Result<(), &str>| {
            for metadata in [
                Metadata { actor: Some("x".repeat(bytes)), ..Metadata::default() },
                Metadata { repo_key: Some("x".repeat(bytes)), ..Metadata::default() },
            ] {
                let got = draft("t", "b").unwrap().metadata(metadata);
                assert_eq!(got.map(|_| ()).map_err(|error| error.code), expected);
            }
        };
        check(METADATA_BYTES_MAX, Ok(()));
        check(METADATA_BYTES_MAX + 1, Err("bad_metadata"));
    }
}
