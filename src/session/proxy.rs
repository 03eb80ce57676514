//! Whom a connection speaks for: itself, or the client of a proxy that is trusted.
//!
//! # Contract   what a header says of a client is believed as far as trusted proxies have written it: it is read from the
//!   right, and the first address that is no trusted proxy's is the client's. What cannot be read, or has more than
//!   [`HOPS_MAX`] hops, is not believed at all. Of others the header is not looked at
//! # Bounds     [`PROXIES_MAX`] networks

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::wire::http::RequestHead;

/// The proxies that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    trusted: Vec<IpNet>,
    header: Trace,
}

/// In which header proxies say for whom they speak. One only: a client could write the other itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
}

/// Networks of proxies that may be trusted. Beyond it a configuration is refused.
pub const PROXIES_MAX: usize = 256;

/// Proxies that a request may have come by. Beyond it the header is not believed.
pub const HOPS_MAX: usize = 32;

impl Trace {
    /// The one of this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Trace> {
        [Trace::XForwardedFor, Trace::Forwarded]
            .into_iter()
            .find(|trace| trace.name().eq_ignore_ascii_case(name))
    }

    /// The name of the header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Trace::XForwardedFor => "x-forwarded-for",
            Trace::Forwarded => "forwarded",
        }
    }

    fn address(self, hop: &str) -> Option<IpAddr> {
        match self {
            Trace::XForwardedFor => address(hop),
            Trace::Forwarded => {
                let pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
                let mut speaks_for = pairs.filter(|(name, _)| name.trim_ascii().eq_ignore_ascii_case("for"));
                let (Some((_, value)), None) = (speaks_for.next(), speaks_for.next()) else { return None };
                let value = value.trim_ascii();
                let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                address(bare.unwrap_or(value))
            }
        }
    }
}

impl Proxies {
    /// Those whose addresses lie in `trusted`, which say for whom they speak in `header`.
    ///
    /// # Errors
    /// If there are more than [`PROXIES_MAX`].
    pub fn new(trusted: Vec<IpNet>, header: Trace) -> Result<Proxies, &'static str> {
        if PROXIES_MAX < trusted.len() {
            return Err("at most 256 networks of proxies may be trusted");
        }
        Ok(Proxies { trusted, header })
    }

    /// Whether none is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Whether whoever connects from this address is believed.
    #[must_use]
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// The address of the client whose request this is, which came from `peer`.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, head: &RequestHead<'_>) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.is_trusted(peer) {
            return peer;
        }
        let lines: SmallVec<[&str; 4]> = head.headers(self.header.name()).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut client = peer;
        for (at, hop) in hops.enumerate() {
            match self.header.address(hop.trim_ascii()) {
                Some(address) if at < HOPS_MAX => client = address,
                _ => return peer,
            }
            if !self.is_trusted(client) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it: with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address =
        bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    fn client(header: Trace, peer: &str, lines: &str) -> String {
        let trusted = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"];
        let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let proxies = Proxies::new(trusted, header).unwrap();
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let limits = HeadLimits { head_bytes_max: 60_000, ..HeadLimits::default() };
        let (head, _) = parse_head(text.as_bytes(), &limits).unwrap().unwrap();
        proxies.client_of(peer.parse().unwrap(), &head).to_string()
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_not_trusted() {
        let check = |peer: &str, value: &str, expected: &str| {
            let got = client(Trace::XForwardedFor, peer, &format!("X-Forwarded-For: {value}\r\n"));
            assert_eq!(got, expected, "{peer} {value}");
        };
        check("198.51.100.1", "203.0.113.9", "198.51.100.1");
        check("10.1.1.1", "203.0.113.9", "203.0.113.9");
        check("::ffff:10.1.1.1", "203.0.113.9", "203.0.113.9");
        check("2001:db8::5", "2001:db9::1", "2001:db9::1");
        check("10.1.1.1", "6.6.6.6, 203.0.113.9", "203.0.113.9");
        check("10.1.1.1", "6.6.6.6, 203.0.113.9, 10.2.2.2 ,192.0.2.7", "203.0.113.9");
        check("10.1.1.1", "nonsense, 203.0.113.9", "203.0.113.9");
        check("10.1.1.1", "203.0.113.9:4711", "203.0.113.9");
        check("10.1.1.1", "[2001:db9::1]:4711", "2001:db9::1");
        check("10.1.1.1", "[2001:db9::1]", "2001:db9::1");
        check("10.1.1.1", "::ffff:203.0.113.9", "203.0.113.9");
        check("10.1.1.1", "10.2.2.2, 10.3.3.3", "10.2.2.2");
        for unreadable in
            ["", ",", "203.0.113.9,", "203.0.113.9, unknown", "203.0.113.9 198.51.100.1", "[::1"]
        {
            check("10.1.1.1", unreadable, "10.1.1.1");
        }
        check("10.1.1.1", &format!("6.6.6.6{}", ", 10.2.2.2".repeat(31)), "6.6.6.6");
        check("10.1.1.1", &format!("6.6.6.6{}", ", 10.2.2.2".repeat(32)), "10.1.1.1");
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = "X-Forwarded-For: 6.6.6.6\r\nX-Other: x\r\nX-Forwarded-For: 203.0.113.9, 10.2.2.2\r\n";
        assert_eq!(client(Trace::XForwardedFor, "10.1.1.1", lines), "203.0.113.9");
        assert_eq!(client(Trace::XForwardedFor, "10.1.1.1", ""), "10.1.1.1");
    }

    #[test]
    fn the_other_header_is_not_looked_at() {
        let check = |value: &str, expected: &str| {
            let lines = format!("Forwarded: {value}\r\nX-Forwarded-For: 6.6.6.6\r\n");
            assert_eq!(client(Trace::Forwarded, "10.1.1.1", &lines), expected, "{value}");
        };
        check("for=203.0.113.9", "203.0.113.9");
        check("For=\"203.0.113.9:80\";proto=https;by=10.1.1.1", "203.0.113.9");
        check("for=6.6.6.7, proto=http;for=203.0.113.9, for=10.2.2.2", "203.0.113.9");
        check("for=\"[2001:db9::1]:4711\"", "2001:db9::1");
        check("for=unknown", "10.1.1.1");
        check("for=_hidden", "10.1.1.1");
        check("by=203.0.113.9", "10.1.1.1");
        check("for=203.0.113.9;for=198.51.100.1", "10.1.1.1");
        let lines = "Forwarded: for=6.6.6.6\r\n";
        assert_eq!(client(Trace::XForwardedFor, "10.1.1.1", lines), "10.1.1.1");
        assert_eq!(Trace::parse("X-Forwarded-For"), Some(Trace::XForwardedFor));
        assert_eq!(Trace::parse("forwarded"), Some(Trace::Forwarded));
        assert_eq!(Trace::parse("x-real-ip"), None);
    }
}
