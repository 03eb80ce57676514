//! A subscriber over either transport, for what must not depend on it.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use super::sse::Sse;
use super::websocket::Client;
use super::{PATIENCE, connect};

/// How to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Over a WebSocket.
    WebSocket,
    /// As server-sent events.
    Sse,
}

/// Both.
pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::WebSocket, Transport::Sse];

/// An open subscription.
pub(crate) enum Stream {
    /// Over a WebSocket.
    WebSocket(Client),
    /// As server-sent events.
    Sse(Sse),
}

impl Stream {
    /// Subscribes to `channels` (separated by commas), after the cursor `since` unless it is empty. Returns when the
    /// subscription holds.
    pub(crate) fn open(transport: Transport, address: SocketAddr, channels: &str, since: &str) -> Stream {
        Stream::open_over(connect(address), transport, channels, since)
    }

    /// As [`Stream::open`], over `stream`.
    pub(crate) fn open_over(stream: TcpStream, transport: Transport, channels: &str, since: &str) -> Stream {
        let since = if since.is_empty() { String::new() } else { format!("&since={since}") };
        let query = format!("channel={channels}{since}");
        match transport {
            Transport::WebSocket => {
                let mut client = Client::open_over(stream, &format!("/ws?{query}"));
                for _ in channels.split(',') {
                    assert_eq!(client.next()["type"], "subscribed");
                }
                Stream::WebSocket(client)
            }
            // The answer's head is sent by the turn that subscribes.
            Transport::Sse => Stream::Sse(Sse::open_over(stream, &format!("/events?{query}"), "")),
        }
    }

    /// The next event or gap.
    pub(crate) fn next(&mut self) -> Value {
        match self {
            Stream::WebSocket(client) => {
                let start = Instant::now();
                loop {
                    let message = client.next();
                    if message["type"] != "cursor" {
                        return message;
                    }
                    assert!(start.elapsed() < PATIENCE, "nothing but silence");
                }
            }
            Stream::Sse(sse) => sse.next_json(),
        }
    }

    /// The next event's sequence number; a gap fails the test.
    pub(crate) fn next_seq(&mut self) -> u64 {
        let message = self.next();
        assert_eq!(message["type"], "event", "{message}");
        message["seq"].as_u64().unwrap()
    }

    /// Asserts that the events numbered `seqs` come next, and nothing between them.
    pub(crate) fn assert_next(&mut self, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            assert_eq!(self.next_seq(), seq);
        }
    }
}
