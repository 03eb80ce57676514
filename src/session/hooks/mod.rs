//! Webhooks of code forges: verified over the raw body, then mapped to a channel and a kind.
//!
//! # Contract       [`map`] looks at nothing but the signature until that has been found good, and keeps the payload as
//!   it was sent
//! # Bounds         one HMAC over the body for each of at most [`SECRETS_MAX`] secrets; the payload is read once
//!
//! | path | from | proof | event | delivery |
//! | --- | --- | --- | --- | --- |
//! | `/hooks/github` | GitHub | `X-Hub-Signature-256: sha256=<hex>` | `X-GitHub-Event` | `X-GitHub-Delivery` |
//! | `/hooks/gitea` | Gitea, Forgejo | `X-Forgejo-Signature` or `X-Gitea-Signature: <hex>`, or as above | `X-Forgejo-Event`, `X-Gitea-Event` or `X-GitHub-Event` | the same with `-Delivery` |
//! | `/hooks/gitlab` | GitLab | `X-Gitlab-Token` | `X-Gitlab-Event` | `Idempotency-Key`, else `X-Gitlab-Event-UUID` |
//!
//! Of several such headers the first in this order counts.
//!
//! **Channel**: `repo:<full name>` if the payload names a repository, else `org:<organisation>`, else `user:<sender>`, else
//! `github:<event>` (`gitea:`, `gitlab:`). **Kind**: the table of [`github`] or [`gitlab`]; what stands in neither is
//! `github.<event>` and, if there is one and it fits, `.<action>`. **`ids`**: the number of the pull request or issue.
//! **`tags`**: the action. **`event_id`**: the delivery.

mod body;
pub mod github;
pub mod gitlab;
mod secrets;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::mapped::{Mapped, checked_event_id, is_label, refused};
use super::publish::PublishError;
use crate::wire::http::RequestHead;
use crate::words::channel::Channel;
use crate::words::kind::{self, KIND_BYTES_MAX};
use crate::words::limits::LABEL_BYTES_MAX;

pub use secrets::{SECRETS_MAX, SecretError, Secrets};

/// Who sends webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// GitHub.
    GitHub,
    /// Gitea and Forgejo.
    Gitea,
    /// GitLab.
    GitLab,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 3] = [Source::GitHub, Source::Gitea, Source::GitLab];

    /// The source whose webhooks come to `path`.
    ///
    /// ```
    /// use fanfare::session::hooks::Source;
    ///
    /// assert_eq!(Source::of_path("/hooks/gitea"), Some(Source::Gitea));
    /// assert_eq!(Source::of_path("/hooks/"), None);
    /// ```
    #[must_use]
    pub fn of_path(path: &str) -> Option<Source> {
        let name = path.strip_prefix("/hooks/")?;
        Source::ALL.into_iter().find(|source| source.name() == name)
    }

    /// The word for it in paths, and before what has no better name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Source::GitHub => "github",
            Source::Gitea => "gitea",
            Source::GitLab => "gitlab",
        }
    }

    /// The headers that may name the event; the first one present counts.
    fn event_headers(self) -> &'static [&'static str] {
        match self {
            Source::GitHub => &["x-github-event"],
            Source::Gitea => &["x-forgejo-event", "x-gitea-event", "x-github-event"],
            Source::GitLab => &["x-gitlab-event"],
        }
    }

    /// The headers that may name the delivery; the first one present counts. A delivery that is repeated keeps its name.
    fn delivery_headers(self) -> &'static [&'static str] {
        match self {
            Source::GitHub => &["x-github-delivery"],
            Source::Gitea => &["x-forgejo-delivery", "x-gitea-delivery", "x-github-delivery"],
            Source::GitLab => &["idempotency-key", "x-gitlab-event-uuid"],
        }
    }
}

/// What a webhook brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// An event to publish.
    Event(Mapped<'a>),
    /// A question whether we are here: to be answered, and not published.
    Ping,
}

/// Verifies a webhook and maps it.
///
/// ```
/// use fanfare::session::hooks::{Delivery, Secrets, Source, map};
/// use fanfare::wire::http::{HeadLimits, parse_head};
///
/// let mut secrets = Secrets::default();
/// secrets.add(Source::GitLab, b"a shared token")?;
/// let head = b"POST /hooks/gitlab HTTP/1.1\r\nHost: h\r\nX-Gitlab-Token: a shared token\r\nX-Gitlab-Event: Push Hook\r\n\r\n";
/// let (head, _) = parse_head(head, &HeadLimits::default()).unwrap().unwrap();
/// let body = br#"{"project":{"path_with_namespace":"band/brass/trumpets"}}"#;
/// let Delivery::Event(event) = map(Source::GitLab, &head, body, &secrets)? else { unreachable!() };
/// assert_eq!((&*event.channel, &*event.kind), ("repo:band/brass/trumpets", "push"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// 503 `hook_not_configured` if there is no secret for `source`; 401 `bad_signature`, which does not say what of the proof
/// was wrong; 400 `missing_event`, `bad_json`, `bad_form`, `bad_event_id`; 415 for another media type than JSON or a form; 422
/// `bad_channel`, `bad_event`, `bad_labels` if the payload names something that has no place here.
pub fn map<'a>(
    source: Source,
    head: &RequestHead<'_>,
    body: &'a [u8],
    secrets: &Secrets,
) -> Result<Delivery<'a>, PublishError> {
    if !secrets.is_configured(source) {
        return Err(refused(503, "hook_not_configured", "No secret is configured for these webhooks."));
    }
    if !secrets.verify(source, head, body) {
        return Err(refused(401, "bad_signature", "The webhook's signature or token is not good."));
    }
    let first_of =
        |names: &[&str]| names.iter().find_map(|name| head.header(name)).filter(|value| !value.is_empty());
    let Some(event) = first_of(source.event_headers()) else {
        return Err(refused(400, "missing_event", "A header must name the webhook's event."));
    };
    if event.eq_ignore_ascii_case("ping") {
        return Ok(Delivery::Ping);
    }
    let event_id = first_of(source.delivery_headers()).map(checked_event_id).transpose()?;
    let data = body::payload(head, body)?;
    let outline = match source {
        Source::GitHub | Source::Gitea => github::outline(event, &data)?,
        Source::GitLab => gitlab::outline(event, &data)?,
    };
    Ok(Delivery::Event(outline.mapped(source, data, event_id)?))
}

/// What a payload is about.
#[derive(Debug)]
struct Outline {
    /// The event in the forge's own words.
    event: String,
    /// Where it happened.
    place: Option<Place>,
    /// The built-in kind, where one fits.
    kind: Option<&'static str>,
    /// What was done.
    action: Option<String>,
    /// The number of the pull request or issue.
    number: Option<u64>,
    /// Only some may see it.
    is_confidential: bool,
}

/// Where something happened.
#[derive(Debug)]
enum Place {
    Repository(String),
    Organisation(String),
    User(String),
}

impl Outline {
    fn mapped<'a>(
        self,
        source: Source,
        data: Cow<'a, str>,
        event_id: Option<String>,
    ) -> Result<Mapped<'a>, PublishError> {
        let channel = match &self.place {
            Some(Place::Repository(name)) => format!("repo:{name}"),
            Some(Place::Organisation(name)) => format!("org:{name}"),
            Some(Place::User(name)) => format!("user:{name}"),
            None => format!("{}:{}", source.name(), word(&self.event)),
        };
        Channel::parse(&channel).map_err(|error| refused(422, "bad_channel", error))?;
        let kind = match self.kind {
            Some(kind) => kind.to_owned(),
            None => custom_kind(source, &self.event, self.action.as_deref())?,
        };
        let confidential = self.is_confidential.then(|| "confidential".to_owned());
        let tags: Vec<_> = self.action.into_iter().chain(confidential).collect();
        if !tags.iter().all(|tag| is_label(tag)) {
            let detail =
                format!("the action must be 1 to {LABEL_BYTES_MAX} bytes without control characters");
            return Err(refused(422, "bad_labels", detail));
        }
        let ids = self.number.map(|number| number.to_string()).into_iter().collect();
        Ok(Mapped { channel, kind, data, event_id, ids, tags, workspace: None })
    }
}

/// The kind of what is no built-in one. An action that makes it too long is left out: it is among the tags as well.
fn custom_kind(source: Source, event: &str, action: Option<&str>) -> Result<String, PublishError> {
    let without_action = format!("{}.{}", source.name(), word(event));
    let whole = match action {
        Some(action) => format!("{without_action}.{}", word(action)),
        None => without_action.clone(),
    };
    let kind = if whole.len() <= KIND_BYTES_MAX { whole } else { without_action };
    kind::normalise(&kind).map_err(|error| refused(422, "bad_event", error))?;
    Ok(kind)
}

/// `text` in the letters of kinds: lower case, and `_` for what may not stand there.
fn word(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    text.chars().map(|c| letter(c.to_ascii_lowercase())).collect()
}
