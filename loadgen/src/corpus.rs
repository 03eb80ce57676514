//! Real events as NDJSON: the bundled webhook payloads, or a file of the same form.

use std::io::Read;

use anyhow::{Context, bail};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One event of the corpus.
#[derive(Debug, Deserialize)]
pub(crate) struct Specimen {
    /// The webhook's name.
    pub(crate) event: String,
    /// What happened, where the webhook says so.
    #[serde(default)]
    pub(crate) action: Option<String>,
    /// The channel to publish on.
    pub(crate) channel: String,
    /// The kind to publish as.
    pub(crate) kind: String,
    /// The data, byte for byte.
    pub(crate) payload: Box<RawValue>,
}

impl Specimen {
    /// Reads one line.
    ///
    /// # Errors
    /// The line is not of the form above; the message names what is wrong.
    pub(crate) fn parse(line: &str) -> anyhow::Result<Specimen> {
        Ok(serde_json::from_str(line)?)
    }

    /// The few members that a list of events would show, as a JSON object.
    ///
    /// # Errors
    /// The payload is not an object of the form that webhooks have.
    pub(crate) fn projection(&self) -> anyhow::Result<String> {
        let payload: Excerpt = serde_json::from_str(self.payload.get())
            .with_context(|| format!("the payload of a {} event", self.event))?;
        let subject = payload.pull_request.or(payload.issue);
        let projection = Projection {
            event: &self.event,
            action: self.action.as_deref(),
            repository: payload.repository.and_then(|repository| repository.full_name),
            sender: payload.sender.and_then(|sender| sender.login),
            number: payload.number.or(subject.as_ref().and_then(|subject| subject.number)),
            title: subject.and_then(|subject| subject.title),
        };
        Ok(serde_json::to_string(&projection)?)
    }
}

/// The bundled events: the example payloads of the webhooks that a well-known forge sends.
///
/// # Errors
/// None that a build which passed its tests can have; the bundle is checked there.
pub(crate) fn bundled() -> anyhow::Result<Vec<Specimen>> {
    let mut text = String::new();
    GzDecoder::new(BUNDLE).read_to_string(&mut text).context("unpacking the bundled events")?;
    parse_lines(&text)
}

/// Reads every line of `text`; empty lines are passed over.
///
/// # Errors
/// A line that is not an event, by number; or no line at all.
fn parse_lines(text: &str) -> anyhow::Result<Vec<Specimen>> {
    let mut specimens = Vec::new();
    for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        specimens.push(Specimen::parse(line).with_context(|| format!("line {}", place + 1))?);
    }
    if specimens.is_empty() {
        bail!("there are no events in it");
    }
    Ok(specimens)
}

#[derive(Deserialize)]
struct Excerpt {
    repository: Option<Repository>,
    sender: Option<Sender>,
    #[serde(default)]
    number: Option<u64>,
    pull_request: Option<Subject>,
    issue: Option<Subject>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: Option<String>,
}

#[derive(Deserialize)]
struct Sender {
    login: Option<String>,
}

#[derive(Deserialize)]
struct Subject {
    number: Option<u64>,
    title: Option<String>,
}

#[derive(Serialize)]
struct Projection<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

static BUNDLE: &[u8] = include_bytes!("../corpus/github-events.ndjson.gz");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_event_is_an_object_with_a_channel_and_a_projection() {
        let specimens = bundled().expect("the bundle");
        assert!(300 <= specimens.len());
        for specimen in &specimens {
            assert!(specimen.payload.get().starts_with('{'), "{}", specimen.event);
            assert!(specimen.channel.contains(':'), "{}", specimen.channel);
            let projection = specimen.projection().expect("a projection");
            assert!(projection.len() < 1_024, "{projection}");
        }
    }

    #[test]
    fn a_projection_keeps_what_a_list_shows() {
        let line = r#"{"event":"issues","action":"opened","channel":"repo:a/b","kind":"issue_opened",
            "payload":{"issue":{"number":7,"title":"It \"fails\"","body":"x"},"repository":{"full_name":"a/b"},"sender":{"login":"c"}}}"#;
        let projection = Specimen::parse(line).expect("a specimen").projection().expect("a projection");
        assert_eq!(
            projection,
            r#"{"event":"issues","action":"opened","repository":"a/b","sender":"c","number":7,"title":"It \"fails\""}"#
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let check = |text: &str, expected: &str| {
            let error = format!("{:#}", parse_lines(text).expect_err("an error"));
            assert!(error.contains(expected), "{error}");
        };
        check("", "no events");
        check("\n{\"event\":\"x\"}\n", "line 2");
        check("not json", "line 1");
    }
}
