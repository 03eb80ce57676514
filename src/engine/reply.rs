//! What a client in this process is answered.

use crate::session::reply;
use crate::words::cursor::Epoch;

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What is answered.
    pub answer: Answer,
    /// The client's own id of the command, as it was written.
    pub id: Option<String>,
    pub(super) epoch: Epoch,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The subscriptions hold: everything after `seq` follows. Older events that were asked for come before it.
    Subscribed {
        /// What was asked for, in the client's words.
        channels: Vec<String>,
        /// The sequence number.
        seq: u64,
    },
    /// The subscriptions have ended, or there were none.
    Unsubscribed {
        /// What was named, in the client's words.
        channels: Vec<String>,
    },
    /// The filter holds for everything after `seq`.
    Filtered {
        /// The sequence number.
        seq: u64,
    },
    /// What the client is subscribed to.
    Subscriptions {
        /// The patterns.
        channels: Vec<String>,
        /// The sequence number it goes on after.
        seq: u64,
    },
    /// The event is in the log.
    Published {
        /// Its sequence number.
        seq: u64,
    },
    /// Yes, here.
    Pong {
        /// The sequence number the client goes on after.
        seq: u64,
    },
    /// The command was refused; everything is as before.
    Error {
        /// Stable code.
        code: &'static str,
        /// A sentence for the person who wrote the client.
        message: String,
    },
}

impl Reply {
    /// The messages that the server would send over WebSocket: one, or for subscriptions one a channel.
    #[must_use]
    pub fn to_json(&self) -> Vec<String> {
        let id = self.id.as_deref();
        match &self.answer {
            Answer::Subscribed { channels, seq } => {
                channels.iter().map(|channel| reply::subscribed(channel, *seq, self.epoch, id)).collect()
            }
            Answer::Unsubscribed { channels } => {
                channels.iter().map(|channel| reply::unsubscribed(channel, id)).collect()
            }
            Answer::Filtered { seq } => vec![reply::filtered(*seq, id)],
            Answer::Subscriptions { channels, seq } => {
                let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
                vec![reply::subscriptions(&channels, *seq, self.epoch, id)]
            }
            Answer::Published { seq } => vec![reply::published(*seq, id)],
            Answer::Pong { seq } => vec![reply::pong(*seq, id)],
            Answer::Error { code, message } => vec![reply::error(code, message, id)],
        }
    }

    /// The code, if the command was refused.
    #[must_use]
    pub fn error_code(&self) -> Option<&'static str> {
        match self.answer {
            Answer::Error { code, .. } => Some(code),
            _ => None,
        }
    }
}
