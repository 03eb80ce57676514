//! What a request publishes: our own JSON, an event's data alone, CloudEvents, webhooks; and by what a second attempt at
//! the same is known.

use super::authority::Principal;
use super::cloud_event::{self, Mode};
use super::gate::NOTE_MASK;
use super::hooks::{self, Delivery, Secrets, Source};
use super::mapped::{Mapped, bare};
use super::publish::{Framing, Heading, Openings, Publications, PublishError, parse_body, parse_data};
use super::request::{Refused, Request, malformed, query, refused};
use crate::payload;
use crate::sequencer::{IdempotencyKey, Publication};
use crate::wire::http::{RequestHead, decode_path_segment};
use crate::words::limits::{IDEMPOTENCY_KEY_BYTES_MAX, Limits};

/// What is needed to understand a submission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submitting<'a> {
    pub(super) head: &'a RequestHead<'a>,
    pub(super) body: &'a [u8],
    pub(super) principal: &'a Principal,
    pub(super) limits: &'a Limits,
}

impl Submitting<'_> {
    /// `POST /publish`.
    pub(super) fn envelope(self, openings: &mut Openings) -> Result<Request, Refused> {
        if let Some(mode) = Mode::of(self.head).map_err(|error| refusal(&error))? {
            return self.cloud_events(mode, None);
        }
        let framing = framing(self.head)?;
        let has_key = self.head.header(IDEMPOTENCY_KEY).is_some();
        if self.head.query.is_none() && !has_key {
            note(self.head, framing);
            return self.plain_envelope(framing, openings);
        }
        let (publications, is_batch) =
            parse_body(self.body, framing, self.limits, openings).map_err(|error| refusal(&error))?;
        self.request(publications, is_batch, true)
    }

    /// `POST /publish` with a head that says nothing more.
    pub(super) fn plain_envelope(
        self,
        framing: Framing,
        openings: &mut Openings,
    ) -> Result<Request, Refused> {
        let (publications, is_batch) =
            parse_body(self.body, framing, self.limits, openings).map_err(|error| refusal(&error))?;
        let key = match &*publications {
            [only] if !is_batch => key_of(self.principal, only),
            _ => None,
        };
        Ok(Request::Publish { publications, is_batch, key, hook: None })
    }

    /// `POST /publish/{channel}`: the body is an event's data, or one a line.
    pub(super) fn data(self, channel: &str) -> Result<Request, Refused> {
        let channel = decode_path_segment(channel).map_err(|error| malformed(&error))?;
        if let Some(mode) = Mode::of(self.head).map_err(|error| refusal(&error))? {
            return self.cloud_events(mode, Some(&channel));
        }
        let (mut kind, mut event_id, mut workspace) = (None, None, None);
        let (mut ids, mut tags) = (Vec::new(), Vec::new());
        let words = |value: &str| -> Vec<String> {
            value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        for (name, value) in query(self.head)? {
            match &*name {
                "event" => kind = Some(value),
                "event_id" => event_id = Some(value),
                "workspace" => workspace = Some(value),
                "ids" => ids.extend(words(&value)),
                "tags" => tags.extend(words(&value)),
                _ => {}
            }
        }
        let heading = Heading {
            channel: &channel,
            kind: kind.as_deref().unwrap_or(DEFAULT_KIND),
            event_id: event_id.as_deref(),
            workspace: workspace.as_deref(),
            ids: &ids,
            tags: &tags,
        };
        let one = |data: &[u8]| parse_data(&heading, data, self.limits).map_err(|error| refusal(&error));
        if framing(self.head)? != Framing::Lines {
            return self.request(std::iter::once(one(self.body)?).collect(), false, true);
        }
        // Each line is the data of an event: a log, say.
        let lines = self.body.split(|&b| b == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let publications: Publications =
            lines.take(self.limits.batch_events_max + 1).map(one).collect::<Result<_, _>>()?;
        if publications.is_empty() {
            return Err(refused(400, "empty_batch", "The batch has no events."));
        }
        if self.limits.batch_events_max < publications.len() {
            let detail = format!("A batch has at most {} events.", self.limits.batch_events_max);
            return Err(refused(413, "batch_too_large", &detail));
        }
        if event_id.is_some() {
            return Err(refused(400, "bad_event_id", "Each line is an event, and an id is that of one."));
        }
        self.request(publications, true, false)
    }

    /// `POST /hooks/{source}`.
    pub(super) fn hook(self, source: Source, secrets: &Secrets) -> Result<Request, Refused> {
        match hooks::map(source, self.head, self.body, secrets).map_err(|error| refusal(&error))? {
            Delivery::Ping => Ok(Request::HookPing),
            Delivery::Event(mapped) => {
                let publication = self.mapped(&mapped)?;
                // A forge sends a delivery again when it has heard no answer.
                let name = format!("hooks/{}", source.name());
                let key = mapped.event_id.as_deref();
                let key = key.map(|delivery| IdempotencyKey::new(&name, delivery, publication.rendered()));
                let publications = std::iter::once(publication).collect();
                Ok(Request::Publish { publications, is_batch: false, key, hook: Some(source) })
            }
        }
    }

    fn cloud_events(self, mode: Mode, channel: Option<&str>) -> Result<Request, Refused> {
        let from_query = query(self.head)?.into_iter().find(|(name, _)| name == "channel");
        let channel = channel.map(str::to_owned).or(from_query.map(|(_, value)| value.into_owned()));
        let events = cloud_event::parse(mode, self.head, self.body, channel.as_deref(), self.limits);
        let events = events.map_err(|error| refusal(&error))?;
        let publications = events.iter().map(|event| self.mapped(event)).collect::<Result<_, _>>()?;
        // The id of a CloudEvent is its source's own: it is no key by itself.
        self.request(publications, mode == Mode::Batch, false)
    }

    fn mapped(self, mapped: &Mapped<'_>) -> Result<Publication, Refused> {
        let heading = Heading {
            channel: &mapped.channel,
            kind: &mapped.kind,
            event_id: mapped.event_id.as_deref(),
            workspace: mapped.workspace.as_deref(),
            ids: &mapped.ids,
            tags: &mapped.tags,
        };
        parse_data(&heading, mapped.data.as_bytes(), self.limits).map_err(|error| refusal(&error))
    }

    /// The submission, with the key by which a second attempt is known: the header's, else the id of a single event.
    fn request(
        self,
        publications: Publications,
        is_batch: bool,
        is_known_by_id: bool,
    ) -> Result<Request, Refused> {
        self.validate(&publications)?;
        let mut headers = self.head.headers(IDEMPOTENCY_KEY);
        let header = headers.next();
        if headers.next().is_some() || header.is_some_and(|key| !is_key(key)) {
            let detail =
                format!("Idempotency-Key is one key of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters.");
            return Err(refused(400, "bad_idempotency_key", &detail));
        }
        let key = match (header, &*publications) {
            (Some(key), all) => {
                let what: Vec<&[u8]> = all.iter().map(Publication::rendered).collect();
                Some(IdempotencyKey::new(self.principal.name(), &format!("key {key}"), &what.concat()))
            }
            (None, [only]) if is_known_by_id && !is_batch => key_of(self.principal, only),
            (None, _) => None,
        };
        Ok(Request::Publish { publications, is_batch, key, hook: None })
    }

    /// Checks the data of built-in kinds against what they usually carry, if the publisher asks for it.
    fn validate(self, publications: &[Publication]) -> Result<(), Refused> {
        // Without a query there is nothing to collect.
        if self.head.query.is_none()
            || !query(self.head)?.iter().any(|(name, value)| name == "validate" && value != "0")
        {
            return Ok(());
        }
        for publication in publications {
            payload::validate(publication.kind(), publication.data())
                .map_err(|error| refused(400, "bad_payload", &error.to_string()))?;
        }
        Ok(())
    }
}

/// By what a second attempt to publish this one event is known: the publisher's own id of it, if there is one. It does
/// not meet keys given in headers.
#[must_use]
pub fn key_of(principal: &Principal, publication: &Publication) -> Option<IdempotencyKey> {
    let id = publication.event_id()?;
    Some(IdempotencyKey::new(principal.name(), &format!("id {id}"), publication.rendered()))
}

/// How the events lie in the body of a request whose head is like one before, which was understood: it publishes, and
/// it says nothing more than that. To be asked on the public door only.
pub(super) fn noted(head: &RequestHead<'_>) -> Option<Framing> {
    match head.note?.get() & NOTE_MASK {
        NOTE_JSON => Some(Framing::Json),
        NOTE_LINES => Some(Framing::Lines),
        _ => None,
    }
}

/// Notes for heads like this one what it asks for, wholly.
fn note(head: &RequestHead<'_>, framing: Framing) {
    if let Some(note) = head.note {
        let framing = if framing == Framing::Json { NOTE_JSON } else { NOTE_LINES };
        note.set(note.get() & !NOTE_MASK | framing);
    }
}

const NOTE_JSON: u32 = 1;
const NOTE_LINES: u32 = 2;

/// The header that has a key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

fn is_key(key: &str) -> bool {
    (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// The kind of an event published by its data alone, unless the query says another.
const DEFAULT_KIND: &str = "message";

fn refusal(error: &PublishError) -> Refused {
    refused(error.status, error.code, &error.detail)
}

/// How the events lie in the body, by its media type. Types that plain tools send unasked count as JSON.
fn framing(head: &RequestHead<'_>) -> Result<Framing, Refused> {
    let media_type = bare(head.header("content-type").unwrap_or("application/json"));
    let is_one_of = |types: &[&str]| types.iter().any(|name| media_type.eq_ignore_ascii_case(name));
    if is_one_of(&["application/json", "text/plain", "application/x-www-form-urlencoded"]) {
        Ok(Framing::Json)
    } else if is_one_of(&["application/x-ndjson", "application/jsonl"]) {
        Ok(Framing::Lines)
    } else {
        Err(refused(415, "unsupported_media_type", "Send application/json or application/x-ndjson."))
    }
}
