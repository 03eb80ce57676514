//! What a stream is told in its own dialect: events that are made anew from the log, gaps, goodbyes.

use std::collections::HashMap;

use super::connection::{Session, Speech};
use super::{EventLoop, Link};
use crate::counters::Traffic;
use crate::log::Form;
use crate::reader::EventView;
use crate::session::dialect::{cloud_event, engram, guts, sdk};
use crate::session::reply;
use crate::wire::sse::{Field, push_block, push_id_only, push_retry};
use crate::wire::websocket::{HEADER_BYTES_MAX, Opcode, push_text, write_header};
use crate::words::cursor::Gap;
use crate::words::dialect::Dialect;

/// Frames made anew in this turn, each once for all streams that want it.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    bytes: Vec<u8>,
    places: HashMap<(u64, Speech), (usize, usize), foldhash::fast::RandomState>,
    scratch: Vec<u8>,
}

/// Bytes of frames kept for other streams of the turn; beyond it each stream's are made for it alone.
const KEPT_BYTES_MAX: usize = 4 << 20;

impl Rendered {
    /// The turn is over.
    pub(super) fn clear(&mut self) {
        if self.places.is_empty() {
            return;
        }
        self.places.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// Appends the frame of `event`; returns its length. The bytes are a pure function of the event and `speech`.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, event: &EventView<'_>, speech: Speech) -> usize {
        let before = out.len();
        if let Some(&(start, end)) = self.places.get(&(event.seq, speech)) {
            out.extend_from_slice(&self.bytes[start..end]);
            return end - start;
        }
        if KEPT_BYTES_MAX < self.bytes.len() {
            render(out, event, speech, &mut self.scratch);
            return out.len() - before;
        }
        let start = self.bytes.len();
        render(&mut self.bytes, event, speech, &mut self.scratch);
        self.places.insert((event.seq, speech), (start, self.bytes.len()));
        out.extend_from_slice(&self.bytes[start..]);
        out.len() - before
    }
}

/// Appends the frame of `event`.
fn render(out: &mut Vec<u8>, event: &EventView<'_>, speech: Speech, scratch: &mut Vec<u8>) {
    if speech.form != Form::WebSocket {
        return match speech.dialect {
            Dialect::Engram => engram::push_event_block(out, event),
            Dialect::CloudEvents => cloud_event::push_event_block(out, event),
            Dialect::Native | Dialect::Guts | Dialect::Sdk => sdk::push_event_block(out, event),
        };
    }
    scratch.clear();
    match speech.dialect {
        Dialect::Engram => engram::push_event_json(scratch, event),
        Dialect::CloudEvents => cloud_event::push_event_json(scratch, event),
        Dialect::Native | Dialect::Guts | Dialect::Sdk => guts::push_event_json(scratch, event),
    }
    let mut header = [0; HEADER_BYTES_MAX];
    let len = write_header(Opcode::Text, scratch.len(), &mut header);
    out.extend_from_slice(&header[..len]);
    out.extend_from_slice(scratch);
}

impl<L: Link> EventLoop<L> {
    /// Tells a stream of events that it will not get.
    pub(super) fn tell_gap(&mut self, key: usize, gap: &Gap) {
        let epoch = self.hub.epoch;
        // Of a cursor that means nothing here the client goes on with what is held.
        let resume_at = gap.resume_after().unwrap_or_else(|| self.hub.log.oldest() - 1);
        Traffic::add(&self.hub.desks()[self.index].traffic.gaps[gap.cause.index()], 1);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.gaps = connection.gaps.saturating_add(1);
        let Speech { form, dialect } = connection.speech;
        let out = connection.out.tail();
        match (form, dialect) {
            (Form::WebSocket, Dialect::Guts | Dialect::Sdk) => push_text(out, &guts::gap(gap)),
            (Form::WebSocket, _) => push_text(out, &reply::gap(gap)),
            (_, Dialect::Engram) => engram::push_gap_block(out, gap, resume_at),
            (_, Dialect::Guts | Dialect::Sdk) => sdk::push_gap_block(out, epoch, gap, resume_at),
            (_, Dialect::Native | Dialect::CloudEvents) => {
                let id = format!("{epoch}-{resume_at}");
                let name = if form == Form::SseUnnamed { None } else { Field::new("gap").ok() };
                push_block(out, Field::new(&id).ok(), name, &reply::gap(gap));
            }
        }
    }

    /// Tells a stream that has had nothing for a while where it stands.
    pub(super) fn tell_cursor(&mut self, key: usize, seq: u64) {
        let epoch = self.hub.epoch;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Speech { form, dialect } = connection.speech;
        let out = connection.out.tail();
        match (form, dialect) {
            (Form::WebSocket, Dialect::Native | Dialect::CloudEvents) => push_text(out, &reply::cursor(seq)),
            // There is no word for it.
            (Form::WebSocket, _) => {}
            (_, Dialect::Engram) => out.extend_from_slice(engram::KEEP_ALIVE),
            _ => {
                if let Ok(id) = Field::new(&format!("{epoch}-{seq}")) {
                    push_id_only(out, id);
                }
            }
        }
    }

    /// Appends what tells an event stream when to come back.
    pub(super) fn tell_retry(&mut self, key: usize, retry_ms: u32) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        debug_assert!(matches!(connection.session, Session::Sse));
        match connection.speech.dialect {
            Dialect::Engram => engram::push_retry(connection.out.tail(), retry_ms),
            _ => push_retry(connection.out.tail(), retry_ms),
        }
    }
}
