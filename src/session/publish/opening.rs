//! How events begin that were published last, so that the next that begins like them needs no second look.
//!
//! # Contract       what begins with the bytes of an [`Opening`] begins with the members that were read of these bytes, and
//!   what was found out about them still holds: they say the same channel and kind, under the same limits
//! # Bounds         two openings, of at most [`OPENING_BYTES_MAX`] each, and what is rendered of them; longer ones are read
//!   each time
//! # Why not …      a table of them: who publishes event after event nearly always says the same but for the data

use std::ops::Range;

use crate::sequencer::{Mould, Publication};

/// How the last ordinary events began: in a body, and in a command. Whoever reads publishers has these, for one set of
/// limits.
#[derive(Debug, Default)]
pub struct Openings {
    pub(super) of_bodies: Opening,
    pub(super) of_commands: Opening,
}

/// An event from its bracket to before its data, with nothing in it but what kind of command it is, its channel and its
/// kind.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Empty: nothing is known.
    text: String,
    channel: Range<usize>,
    kind: Range<usize>,
    mould: Mould,
}

impl Opening {
    /// The beginning of the last event; empty if none is known.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The channel and the kind as they stand in `text`, which begins like the last event.
    pub(super) fn said_in<'a>(&self, text: &'a str) -> (&'a str, &'a str) {
        debug_assert!(text.starts_with(&self.text));
        (&text[self.channel.clone()], &text[self.kind.clone()])
    }

    /// The event that has this data, and nothing behind it.
    pub(super) fn publication(&self, data: &str) -> Publication {
        self.mould.cast(data)
    }

    /// Remembers `text`, which says `channel` and `kind`, which are part of it, and has become `publication`.
    pub(super) fn learn(&mut self, text: &str, channel: &str, kind: &str, publication: &Publication) {
        if OPENING_BYTES_MAX < text.len() {
            return;
        }
        let place_of = |part: &str| {
            let start = part.as_ptr().addr() - text.as_ptr().addr();
            start..start + part.len()
        };
        (self.channel, self.kind) = (place_of(channel), place_of(kind));
        self.text.clear();
        self.text.push_str(text);
        self.mould.take(publication);
    }
}

/// The longest beginning that is remembered, in bytes: the longest channel and kind, and their names.
const OPENING_BYTES_MAX: usize = 512;
