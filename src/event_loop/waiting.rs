//! Requests of a connection whose answers are still due.

use std::collections::VecDeque;

use crate::wire::http::ResponseContext;

/// Requests whose answer is still due, in order. Eight bytes where nobody waits, as nearly everywhere; whoever publishes
/// keeps the list until [`WaitingList::give_back`].
#[derive(Debug, Default)]
pub(super) struct WaitingList(Option<Box<List>>);

#[derive(Debug, Default)]
struct List {
    waiting: VecDeque<Waiting>,
    ready_bytes: usize,
}

/// A request whose answer is still due.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A publish over HTTP.
    Http { context: ResponseContext, is_batch: bool },
    /// A publish over WebSocket.
    Command { id: Option<String> },
    /// What a service elsewhere, or time, will answer; it is the last one.
    Service { context: ResponseContext },
    /// An answer that is ready, and waits for those before it.
    Ready { answer: Vec<u8>, then_close: bool },
}

impl WaitingList {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.waiting.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of those answers that are ready and wait for others.
    pub(super) fn ready_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.ready_bytes)
    }

    pub(super) fn push_back(&mut self, waiting: Waiting) {
        let list = self.0.get_or_insert_default();
        list.ready_bytes += waiting.bytes();
        list.waiting.push_back(waiting);
    }

    pub(super) fn pop_front(&mut self) -> Option<Waiting> {
        let list = self.0.as_mut()?;
        let waiting = list.waiting.pop_front()?;
        list.ready_bytes -= waiting.bytes();
        Some(waiting)
    }

    pub(super) fn pop_back(&mut self) -> Option<Waiting> {
        let list = self.0.as_mut()?;
        let waiting = list.waiting.pop_back()?;
        list.ready_bytes -= waiting.bytes();
        Some(waiting)
    }

    /// Takes the first, if it is an answer that is ready: its bytes, and whether goodbye follows.
    pub(super) fn pop_ready(&mut self) -> Option<(Vec<u8>, bool)> {
        match self.0.as_ref()?.waiting.front()? {
            Waiting::Ready { .. } => match self.pop_front()? {
                Waiting::Ready { answer, then_close } => Some((answer, then_close)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Gives the memory back if nobody waits.
    pub(super) fn give_back(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }
}

impl Waiting {
    /// Bytes of the answer, if it is ready.
    fn bytes(&self) -> usize {
        match self {
            Waiting::Ready { answer, .. } => answer.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_ready_wait_for_those_before_them() {
        let mut list = WaitingList::default();
        let ready = |text: &str| Waiting::Ready { answer: text.into(), then_close: false };
        list.push_back(Waiting::Command { id: None });
        list.push_back(ready("abc"));
        list.push_back(ready("de"));
        assert_eq!((list.len(), list.ready_bytes()), (3, 5));
        assert_eq!(list.pop_ready(), None);
        assert!(matches!(list.pop_front(), Some(Waiting::Command { .. })));
        assert_eq!(list.pop_ready(), Some((b"abc".to_vec(), false)));
        assert_eq!(list.ready_bytes(), 2);
        list.give_back();
        assert_eq!(list.len(), 1, "somebody still waits");
        assert!(matches!(list.pop_back(), Some(Waiting::Ready { .. })));
        assert_eq!((list.ready_bytes(), list.is_empty()), (0, true));
        list.give_back();
        assert!(list.0.is_none());
    }
}
