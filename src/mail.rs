//! What a loop is sent besides receipts: answers of services that work elsewhere, and questions that every loop answers
//! for its own connections.
//!
//! # Bounds   a request that waits for such an answer is the last one its connection reads until the answer is there, so
//!   that there are never more letters under way than connections, times the loops for questions

use std::sync::Mutex;

use crate::sync::Arc;
use crate::sync::{AtomicUsize, Ordering};
use crate::wire::http::Response;

/// A letter to a loop.
#[derive(Debug)]
pub enum Letter {
    /// The answer to a request of the connection that `token` names.
    Answer {
        /// What the loop knows the connection by.
        token: u64,
        /// The answer.
        answer: Box<Response>,
    },
    /// A question that every loop is asked.
    Question(Arc<Question>),
    /// The clients that are furthest behind, for those who watch.
    Slowest(Vec<Part>),
    /// Another policy is in force: who is connected is to be looked at anew.
    Review,
}

/// What every loop is asked, or told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Which clients it has, at most so many.
    Clients {
        /// At most so many.
        limit: usize,
        /// Those that are furthest behind, and these first.
        by_lag: bool,
    },
    /// Which of its clients are furthest behind, at most so many.
    Slowest {
        /// At most so many.
        limit: usize,
    },
    /// To disconnect somebody.
    Disconnect(Whom),
    /// To disconnect somebody who may not come back for now.
    Revoke(Whom),
}

/// Whom to disconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The client of this id.
    Client(String),
    /// Every client of this user.
    User(String),
    /// Every client that has shown the token of this id.
    Token(String),
    /// Every client whose token this key has signed, or that has shown the API key of this name.
    Key(String),
}

/// Part of an answer: what to sort it by, and a JSON text.
pub type Part = (u64, String);

/// A question to every loop, and the answers so far.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub about: About,
    /// The loop that asks.
    pub asker: usize,
    /// What that loop knows the waiting connection by.
    pub token: u64,
    /// JSON texts of the loops that have answered, each with what to sort it by. The lock is held for a push, by nobody
    /// who sends events.
    parts: Mutex<Vec<Part>>,
    /// Loops that have not answered.
    left: AtomicUsize,
}

impl Question {
    /// A question to `loops` loops.
    #[must_use]
    pub fn new(about: About, asker: usize, token: u64, loops: usize) -> Question {
        Question { about, asker, token, parts: Mutex::default(), left: AtomicUsize::new(loops) }
    }

    /// Adds what one loop answers; the last one gets all answers back, to put them together.
    #[must_use]
    pub fn answer(&self, part: impl IntoIterator<Item = Part>) -> Option<Vec<Part>> {
        let mut parts = self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        parts.extend(part);
        // The lock carries the parts; the count only says who was last.
        let is_last = self.left.fetch_sub(1, Ordering::Relaxed) == 1;
        is_last.then(|| std::mem::take(&mut *parts))
    }
}
