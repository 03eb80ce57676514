//! A publisher over one kept-alive connection.

use std::net::SocketAddr;

use super::http::{Answer, Http, post_text};

/// Publishes, and knows what it got.
pub(crate) struct Publisher {
    http: Http,
}

impl Publisher {
    /// Connects to `address`.
    pub(crate) fn connect(address: SocketAddr) -> Publisher {
        Publisher { http: Http::connect(address) }
    }

    /// Publishes one event of kind `k` and returns its sequence number.
    pub(crate) fn publish(&mut self, channel: &str, data: &str) -> u64 {
        self.publish_kind(channel, "k", data)
    }

    /// Publishes one event and returns its sequence number.
    pub(crate) fn publish_kind(&mut self, channel: &str, kind: &str, data: &str) -> u64 {
        let body = format!(r#"{{"channel":"{channel}","event":"{kind}","data":{data}}}"#);
        let answer = self.request("/publish", &body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["seq"].as_u64().unwrap()
    }

    /// Publishes `count` events at once, with the numbers from 0 as data, and returns the first and last sequence
    /// number.
    pub(crate) fn publish_many(&mut self, channel: &str, count: usize) -> (u64, u64) {
        self.publish_batch(channel, &(0..count).map(|number| number.to_string()).collect::<Vec<_>>())
    }

    /// Publishes one event for each of `data` at once, and returns the first and last sequence number.
    pub(crate) fn publish_batch(&mut self, channel: &str, data: &[String]) -> (u64, u64) {
        let answer = self.try_publish_batch(channel, data);
        assert_eq!(answer.status, 202, "{}", answer.text());
        range_of(&answer)
    }

    /// Publishes one event for each of `data` at once, and returns the answer, whatever it is.
    pub(crate) fn try_publish_batch(&mut self, channel: &str, data: &[String]) -> Answer {
        self.request("/publish", &batch_body(channel, data))
    }

    /// Posts JSON.
    pub(crate) fn request(&mut self, path: &str, body: &str) -> Answer {
        self.http.send(post_text(path, "application/json", body));
        self.http.answer()
    }
}

/// The body of a batch.
pub(crate) fn batch_body(channel: &str, data: &[String]) -> String {
    let events: Vec<String> =
        data.iter().map(|data| format!(r#"{{"channel":"{channel}","event":"k","data":{data}}}"#)).collect();
    format!("[{}]", events.join(","))
}

/// First and last sequence number of an accepted batch.
pub(crate) fn range_of(answer: &Answer) -> (u64, u64) {
    let document = answer.json();
    (document["first"].as_u64().unwrap(), document["last"].as_u64().unwrap())
}
