//! The values that options have, read from text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::machine::NS_PER_SECOND;

/// How a subscriber connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// WebSocket.
    WebSocket,
    /// Server-sent events.
    Sse,
}

impl Transport {
    /// Both, in the order in which arrays hold what is kept per transport.
    pub(crate) const ALL: [Transport; 2] = [Transport::WebSocket, Transport::Sse];

    /// The short name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "ws",
            Transport::Sse => "sse",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Transport {
        match self {
            Transport::WebSocket => Transport::Sse,
            Transport::Sse => Transport::WebSocket,
        }
    }
}

/// Shares of the transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transports {
    websocket: u32,
    sse: u32,
}

impl Transports {
    /// The transport of the subscriber `id`: the shares are kept at every prefix as nearly as they can be.
    pub(crate) fn of(self, id: u32) -> Transport {
        let (share, whole) = (u64::from(self.websocket), u64::from(self.websocket) + u64::from(self.sse));
        let before = u64::from(id) * share / whole;
        let after = (u64::from(id) + 1) * share / whole;
        if before < after { Transport::WebSocket } else { Transport::Sse }
    }
}

impl FromStr for Transports {
    type Err = String;

    fn from_str(text: &str) -> Result<Transports, String> {
        let mut shares = Transports { websocket: 0, sse: 0 };
        for part in text.split(',') {
            let (name, share) = part.split_once(':').unwrap_or((part, "1"));
            let share: u32 = share.parse().map_err(|_| format!("{share:?} is not a share"))?;
            match name.trim() {
                "ws" => shares.websocket = share,
                "sse" => shares.sse = share,
                other => return Err(format!("{other:?} is neither ws nor sse")),
            }
        }
        if shares.websocket == 0 && shares.sse == 0 { Err("all shares are 0".to_owned()) } else { Ok(shares) }
    }
}

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// So many times a second, more than 0.
    PerSecond(f64),
    /// As often as the server takes it.
    Saturation,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "max" {
            return Ok(Rate::Saturation);
        }
        let number = text.strip_suffix("/s").unwrap_or(text);
        let (number, factor) = match number.as_bytes().last() {
            Some(b'k') => (&number[..number.len() - 1], 1e3),
            Some(b'M') => (&number[..number.len() - 1], 1e6),
            _ => (number, 1.0),
        };
        match number.parse::<f64>() {
            Ok(0.0) => Ok(Rate::Saturation),
            Ok(rate) if 0.0 < rate && rate * factor <= RATE_MAX => Ok(Rate::PerSecond(rate * factor)),
            _ => Err("must be a number such as 100/s, 2.5k/s or 1M, at most 10M, or max".to_owned()),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// In nanoseconds.
    pub(crate) ns: u64,
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Interval, String> {
        let interval = if text == "0" {
            Duration::ZERO
        } else {
            humantime::parse_duration(text).map_err(|error| error.to_string())?
        };
        match u64::try_from(interval.as_nanos()) {
            Ok(ns) if ns <= INTERVAL_NS_MAX => Ok(Interval { ns }),
            _ => Err("must be at most a week".to_owned()),
        }
    }
}

/// How publishers publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Pipelined requests.
    Http,
    /// Commands on a WebSocket.
    WebSocket,
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Via, String> {
        match text {
            "http" => Ok(Via::Http),
            "ws" => Ok(Via::WebSocket),
            _ => Err("must be http or ws".to_owned()),
        }
    }
}

/// What subscribers check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verify {
    /// Nothing.
    None,
    /// That sequence numbers rise.
    Order,
    /// Order and completeness: what does not come lies in a gap that was told. Content is looked at once an event.
    Gaps,
    /// Order, content, completeness.
    Full,
}

impl FromStr for Verify {
    type Err = String;

    fn from_str(text: &str) -> Result<Verify, String> {
        match text {
            "none" => Ok(Verify::None),
            "order" => Ok(Verify::Order),
            "gaps" => Ok(Verify::Gaps),
            "full" => Ok(Verify::Full),
            _ => Err("must be none, order, gaps or full".to_owned()),
        }
    }
}

/// What a subscriber asks the server to do when it is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSlow {
    /// Everything that is still held, and gaps for the rest.
    Gap,
    /// The newest event of each entity, where too much lies ahead.
    Latest,
    /// To close the connection.
    Close,
}

impl OnSlow {
    /// The word for it in a query.
    pub(crate) fn name(self) -> &'static str {
        match self {
            OnSlow::Gap => "gap",
            OnSlow::Latest => "latest",
            OnSlow::Close => "close",
        }
    }
}

impl FromStr for OnSlow {
    type Err = String;

    fn from_str(text: &str) -> Result<OnSlow, String> {
        let all = [OnSlow::Gap, OnSlow::Latest, OnSlow::Close];
        all.into_iter()
            .find(|one| one.name() == text)
            .ok_or_else(|| "must be gap, latest or close".to_owned())
    }
}

/// A range of IPv4 addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceRange {
    first: Ipv4Addr,
    count: u32,
}

impl SourceRange {
    /// The address of the subscriber `id`; the port is left to the system.
    pub(crate) fn of(self, id: u32) -> SocketAddr {
        let address = Ipv4Addr::from(u32::from(self.first) + id % self.count);
        SocketAddr::new(IpAddr::V4(address), 0)
    }
}

impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<SourceRange, String> {
        let wrong = || format!("{text:?} is not an address, nor a range such as 127.0.0.2..9");
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let first: Ipv4Addr = first.parse().map_err(|_| wrong())?;
        // The end may be a whole address or only its last number.
        let last: Ipv4Addr = match last.parse::<u8>() {
            Ok(number) => {
                let [a, b, c, _] = first.octets();
                Ipv4Addr::new(a, b, c, number)
            }
            Err(_) => last.parse().map_err(|_| wrong())?,
        };
        match u32::from(last).checked_sub(u32::from(first)) {
            Some(steps) if steps < SOURCES_MAX => Ok(SourceRange { first, count: steps + 1 }),
            Some(_) => Err(format!("{text:?} is more than {SOURCES_MAX} addresses")),
            None => Err(format!("{text:?} ends before it begins")),
        }
    }
}

const SOURCES_MAX: u32 = 65_536;
const RATE_MAX: f64 = 1e7;
const INTERVAL_NS_MAX: u64 = 7 * 24 * 3_600 * NS_PER_SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units() {
        let check = |text: &str, expected: Option<Rate>| {
            assert_eq!(text.parse::<Rate>().ok(), expected, "{text}");
        };
        check("100/s", Some(Rate::PerSecond(100.0)));
        check("2.5k/s", Some(Rate::PerSecond(2_500.0)));
        check("1M", Some(Rate::PerSecond(1e6)));
        check("0", Some(Rate::Saturation));
        check("0/s", Some(Rate::Saturation));
        check("max", Some(Rate::Saturation));
        for wrong in ["", "-1", "1e99", "NaN", "inf", "10/m", "k", "/s", "1 k", "11M"] {
            check(wrong, None);
        }
    }

    #[test]
    fn source_ranges_are_read_short_and_long() {
        let check = |text: &str, expected: Option<(&str, u32)>| {
            let got = text.parse::<SourceRange>().ok();
            assert_eq!(
                got.map(|range| (range.first.to_string(), range.count)),
                expected.map(|(a, n)| (a.into(), n))
            );
        };
        check("127.0.0.2", Some(("127.0.0.2", 1)));
        check("127.0.0.2..9", Some(("127.0.0.2", 8)));
        check("127.0.0.2..127.0.1.1", Some(("127.0.0.2", 256)));
        for wrong in ["127.0.0.9..2", "127.0.0.2..256", "::1", "", "10.0.0.0..11.0.0.0"] {
            check(wrong, None);
        }
    }
}
