//! How often what may be done, besides what one connection may by itself: what is bounded, and by whom it is paid for.

use crate::wire::http::{Method, RequestHead};
use crate::words::rate::Rate;

use super::request::PAGE_PATHS;

/// The bounds; without any nothing is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Commands of WebSocket clients, and HTTP requests that neither publish nor open a stream.
    pub commands: Bounds,
    /// Events that are published; a batch may be more than is left, and then it is made up for.
    pub publishes: Bounds,
    /// Connections, and of clients of trusted proxies streams.
    pub connects: Bounds,
}

/// The bounds on one of them. `None`: as often as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// From one connection. Of connects there is one each; commands of a WebSocket client have a bound of their own.
    pub per_connection: Option<Rate>,
    /// From one address; of IPv6 its network of 64 bits counts.
    pub per_address: Option<Rate>,
    /// By one user, if it is known who that is.
    pub per_user: Option<Rate>,
}

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toll {
    /// [`Rates::commands`].
    Command,
    /// [`Rates::publishes`].
    Publish,
    /// [`Rates::connects`].
    Connect,
}

impl Rates {
    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Rates::default()
    }

    /// The bounds on this.
    #[must_use]
    pub fn of(&self, toll: Toll) -> &Bounds {
        match toll {
            Toll::Command => &self.commands,
            Toll::Publish => &self.publishes,
            Toll::Connect => &self.connects,
        }
    }
}

impl Toll {
    /// What a request at the public door counts as; nothing for what anybody may ask at any time: the page, health, and
    /// what is allowed.
    #[must_use]
    pub fn of(head: &RequestHead<'_>) -> Option<Toll> {
        match head.path {
            _ if head.method == Method::Options => None,
            "/ws" | "/events" | "/v1/events" | "/api/events" | "/ws/subscribe" => Some(Toll::Connect),
            "/publish" => Some(Toll::Publish),
            "/healthz" | "/readyz" => None,
            path if path.starts_with("/health") || PAGE_PATHS.contains(&path) => None,
            path if path.starts_with("/publish/") || path.starts_with("/hooks/") => Some(Toll::Publish),
            _ => Some(Toll::Command),
        }
    }

    /// What is told to who does it too often.
    #[must_use]
    pub fn complaint(self) -> &'static str {
        match self {
            Toll::Command => "more commands in a second than allowed",
            Toll::Publish => "more publishes in a second than allowed",
            Toll::Connect => "more connections in a second than allowed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    #[test]
    fn what_requests_count_as() {
        let check = |request: &str, expected: Option<Toll>| {
            let text = format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n");
            let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            assert_eq!(Toll::of(&head), expected, "{request}");
        };
        check("GET /ws?channel=t:a", Some(Toll::Connect));
        check("GET /api/events", Some(Toll::Connect));
        check("POST /publish", Some(Toll::Publish));
        check("POST /publish/t:a", Some(Toll::Publish));
        check("POST /hooks/github", Some(Toll::Publish));
        check("GET /history?channel=t:a", Some(Toll::Command));
        check("GET /notifications", Some(Toll::Command));
        check("GET /nowhere", Some(Toll::Command));
        check("GET /health/ready", None);
        check("GET /readyz", None);
        check("GET /", None);
        check("GET /client.js", None);
        check("OPTIONS /publish", None);
    }
}
