//! Faults of ours while one connection is dealt with: that connection is given up, and the loop goes on.
//!
//! # Contract     a phase that deals with connections one by one runs inside [`EventLoop::one_by_one`] and names each in
//!   [`EventLoop::handle`] first; after a panic it is called again and goes on with the next
//! # Invariants   what a panic leaves half done belongs to the connection that is given up, or is memory of the loop that is
//!   made anew here. What others share (tables, counts, presence) changes inside [`EventLoop::edit`] alone, and a panic
//!   there is handed on, as is one while a connection is given up: it ends the process, since nobody could go on

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::connection::Session;
use super::{EventLoop, Link};
use crate::log::Form;
use crate::session::http::HttpReader;
use crate::wire::http::{ResponseContext, problem};
use crate::wire::websocket::{close, push_close};
use crate::words::limits::READ_BUFFER_BYTES;

/// What the loop is at.
#[derive(Debug)]
pub(super) struct Handling {
    /// The connection that is being dealt with; none while the loop is at something that concerns all.
    key: Option<usize>,
    /// So many bytes of its outbox are whole answers; `usize::MAX` where all are.
    whole: usize,
    /// Something shared is being changed.
    is_editing: bool,
}

impl Default for Handling {
    fn default() -> Handling {
        Handling { key: None, whole: usize::MAX, is_editing: false }
    }
}

impl Handling {
    /// What is in the outbox of the connection is whole so far: what is added now may not be, until this is said again.
    pub(super) fn note_whole(&mut self, outbox_bytes: usize) {
        self.whole = outbox_bytes;
    }
}

impl<L: Link> EventLoop<L> {
    /// Runs `phase`, and again after each panic that concerned one connection alone, which is given up.
    pub(super) fn one_by_one(&mut self, mut phase: impl FnMut(&mut EventLoop<L>)) {
        while let Err(cause) = catch_unwind(AssertUnwindSafe(|| phase(self))) {
            match self.handling.key.take() {
                Some(key) if !self.handling.is_editing => self.give_up(key),
                _ => resume_unwind(cause),
            }
        }
        self.handling = Handling::default();
    }

    /// From now on it is about the connection numbered `key`.
    pub(super) fn handle(&mut self, key: usize) {
        self.handling.key = Some(key);
    }

    /// Changes something that others share.
    pub(super) fn edit<T>(&mut self, change: impl FnOnce(&mut EventLoop<L>) -> T) -> T {
        let was_editing = std::mem::replace(&mut self.handling.is_editing, true);
        let result = change(self);
        self.handling.is_editing = was_editing;
        result
    }

    /// Ends the conversation with the connection numbered `key`, about which nothing is sure.
    fn give_up(&mut self, key: usize) {
        self.hub.counters.count_panic();
        self.accesses.forget();
        let whole = std::mem::replace(&mut self.handling.whole, usize::MAX);
        // A read had lent itself the buffer; a list of events may be there without its events.
        self.buffer.resize(READ_BUFFER_BYTES, 0);
        self.sifted.clear();
        let Some(connection) = self.connections.get_mut(key) else { return };
        if matches!(connection.session, Session::Closing) {
            // It cannot even be told goodbye.
            return self.remove(key);
        }
        connection.out.truncate(whole);
        match (&connection.details, connection.speech.form) {
            (Some(_), Form::WebSocket) => {
                push_close(connection.out.tail(), close::INTERNAL_ERROR, "a fault of the server");
                self.part(key);
            }
            // The stream ends; the client resumes it.
            (Some(_), Form::Sse | Form::SseUnnamed) => self.part(key),
            (None, _) => {
                connection.session = Session::Http(HttpReader::default());
                connection.unread = Box::default();
                let answer = problem(500, "internal_error", "A fault of the server.");
                let context = ResponseContext::LAST;
                // After those before it, which have nothing to do with it.
                self.respond(key, &answer, context);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind, IoSlice};
    use std::sync::Arc;

    use super::*;
    use crate::event_loop::Now;
    use crate::hub::Hub;
    use crate::session::request::Door;
    use crate::session::settings::Settings;
    use crate::words::cursor::Epoch;
    use crate::words::limits::Limits;

    /// Takes everything and says nothing.
    struct Silent;

    impl Link for Silent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }

        fn finish(&mut self) {}
    }

    /// A loop of two connections, numbered 0 and 1.
    fn event_loop() -> EventLoop<Silent> {
        let now = Now { mono_ms: 1000, unix_ms: 1_795_316_060_000 };
        let wakers = vec![Box::new(Nobody) as Box<dyn crate::sync::bell::Waker>];
        let hub = Hub::new(Limits::default(), Epoch::from_bits(0), wakers);
        let mut event_loop = EventLoop::new(hub, Arc::new(Settings::default()), 0, now);
        for _ in 0..2 {
            event_loop.accept(Door::Public, now, |_| Silent);
        }
        event_loop
    }

    struct Nobody;

    impl crate::sync::bell::Waker for Nobody {
        fn wake(&self) {}
    }

    #[test]
    fn a_fault_concerns_the_connection_that_was_named_and_the_phase_goes_on() {
        let mut event_loop = event_loop();
        let mut keys = [0usize, 1, 0].into_iter();
        let mut seen = Vec::new();
        event_loop.one_by_one(|this| {
            for key in keys.by_ref() {
                this.handle(key);
                seen.push(key);
                assert_ne!(seen, [0], "the first one fails");
            }
        });
        assert_eq!(seen, [0, 1, 0]);
        assert_eq!(event_loop.hub.counters.panics(), 1);
        let is_closing = |event_loop: &EventLoop<Silent>, key: usize| {
            matches!(event_loop.connections[key].session, Session::Closing)
        };
        assert!(is_closing(&event_loop, 0) && !is_closing(&event_loop, 1));
        let mut is_first = true;
        event_loop.one_by_one(|this| {
            this.handle(0);
            assert!(!std::mem::take(&mut is_first), "it fails even to say goodbye");
        });
        assert!(!event_loop.connections.contains(0), "it is removed without another word");
        assert_eq!(event_loop.hub.connections(), 1);
    }

    #[test]
    fn a_fault_in_what_is_shared_is_handed_on() {
        let is_handed_on = |phase: fn(&mut EventLoop<Silent>)| {
            let mut event_loop = event_loop();
            let result = catch_unwind(AssertUnwindSafe(|| event_loop.one_by_one(phase)));
            assert_eq!(event_loop.hub.counters.panics(), 0);
            result.is_err()
        };
        assert!(is_handed_on(|this| {
            this.handle(0);
            this.edit(|_| panic!("half of a table"));
        }));
        assert!(is_handed_on(|this| {
            this.handle(0);
            this.edit(|this| {
                this.edit(|_| ());
                panic!("after an edit inside an edit");
            });
        }));
        assert!(is_handed_on(|_| panic!("of nobody in particular")));
    }

    #[test]
    fn what_was_not_whole_is_not_sent() {
        let mut event_loop = event_loop();
        let mut is_first = true;
        event_loop.one_by_one(|this| {
            if std::mem::take(&mut is_first) {
                this.handle(1);
                let connection = &mut this.connections[1];
                connection.out.tail().extend_from_slice(b"whole");
                this.handling.note_whole(connection.out.len());
                connection.out.tail().extend_from_slice(b"half an ans");
                panic!("in between");
            }
        });
        let out = String::from_utf8_lossy(event_loop.connections[1].out.as_slice()).into_owned();
        assert!(out.starts_with("wholeHTTP/1.1 500 "), "{out}");
        assert!(out.contains("\"code\":\"internal_error\""), "{out}");
    }
}
