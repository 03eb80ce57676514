//! The demonstration feed: bundled real events, published in a circle, so that the page has something to show.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::clock::Clock;
use crate::hub::Hub;
use crate::journal;
use crate::sequencer::{Origin, Submission};
use crate::session::publish::{Envelope, publication};
use crate::words::level::Level;

/// GitHub webhook payloads, one a line; `loadgen/corpus/NOTICE` says where they come from.
const CORPUS: &[u8] = include_bytes!("../../loadgen/corpus/github-events.ndjson.gz");

#[derive(Deserialize)]
struct Line<'a> {
    channel: String,
    kind: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Publishes `rate` events a second until `stop`. An event that the server refuses, being busy or draining, is left out.
pub(super) fn run(hub: &Hub, rate: u32, clock: Clock, stop: &AtomicBool) {
    let mut text = String::new();
    if let Err(error) = flate2::read::GzDecoder::new(CORPUS).read_to_string(&mut text) {
        let message = format!("the bundled events cannot be read: {error}");
        journal::say(Level::Error, "demo", &message, &[]);
        return;
    }
    let pause = Duration::from_secs(1) / rate.max(1);
    for line in text.lines().cycle() {
        if stop.load(Ordering::Acquire) || hub.is_draining() {
            return;
        }
        if let Ok(Line { channel, kind, payload }) = serde_json::from_str(line) {
            let envelope = Envelope {
                channel: channel.into(),
                event: kind.into(),
                data: Some(payload),
                event_id: None,
                ids: None,
                tags: None,
                workspace: None,
            };
            if let Ok(publication) = publication(&envelope, &hub.limits) {
                let submission = Submission::publish(Origin::NOBODY, std::iter::once(publication).collect());
                let _ = hub.submit(submission);
                hub.sequence_outside(clock.now(), || true);
            }
        }
        std::thread::sleep(pause);
    }
}
