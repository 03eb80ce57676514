//! Under which names this server may be asked.
//!
//! A page may come to have any address behind its own name: the name's owner says so, and may say that it is ours
//! (DNS rebinding). To the browser its requests are then of the same origin; what gives them away is the name, in `Host`.
//!
//! # Contract   loopback names and addresses are always allowed, for they are nobody's; others if they are listed, or if
//!   nothing is listed and the door is open to others anyway. Who sends no `Host` is no browser
//! # Bounds     [`HOSTS_MAX`] names

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::words::door::Door;

/// The names by which the doors may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    listed: Vec<AllowedHost>,
    is_any_listed: bool,
    /// Whether any name will do where none is listed: at the public and at the operators' door.
    open_doors: [bool; 2],
}

/// A name that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    /// `any`: every name.
    Any,
    /// A host in lower case, and its port, if that has to be the same.
    Named(Box<str>, Option<u16>),
}

/// Names that may be listed. Beyond it a configuration is refused.
pub const HOSTS_MAX: usize = 256;

/// Why a text is no host that could be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host is a name or an address and perhaps a port, as in fan.example or [::1]:8080, or 'any'")]
pub struct HostError;

impl FromStr for AllowedHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<AllowedHost, HostError> {
        let text = text.to_ascii_lowercase();
        if text == "any" {
            return Ok(AllowedHost::Any);
        }
        if !is_canonical_host(&text) {
            return Err(HostError);
        }
        let (host, port) = split_port(&text);
        Ok(AllowedHost::Named(host.into(), port.and_then(|port| port.parse().ok())))
    }
}

impl Default for Hosts {
    /// Any.
    fn default() -> Hosts {
        Hosts { listed: Vec::new(), is_any_listed: false, open_doors: [true, true] }
    }
}

impl Hosts {
    /// Those of `listed`, for doors at these addresses: where none is listed, any name will do at an address that others
    /// can reach, and only loopback's at others.
    ///
    /// # Errors
    /// If there are more than [`HOSTS_MAX`].
    pub fn new(listed: Vec<AllowedHost>, public: IpAddr, admin: IpAddr) -> Result<Hosts, &'static str> {
        if HOSTS_MAX < listed.len() {
            return Err("at most 256 hosts may be listed");
        }
        let is_any_listed = listed.contains(&AllowedHost::Any);
        let open_doors =
            [public, admin].map(|address| listed.is_empty() && !address.to_canonical().is_loopback());
        Ok(Hosts { listed, is_any_listed, open_doors })
    }

    /// Whether a request that came in by `door` may have this `Host`, which is well formed.
    #[must_use]
    pub fn is_allowed(&self, door: Door, host: Option<&str>) -> bool {
        if self.is_any_listed || self.open_doors[door as usize] {
            return true;
        }
        let Some(host) = host else { return true };
        let (name, port) = split_port(host);
        if is_loopback(name) {
            return true;
        }
        // A port that goes without saying cannot be told from here: plain or not, that is for whoever stands before us.
        let port = port.and_then(|port| port.parse::<u16>().ok());
        self.listed.iter().any(|allowed| match allowed {
            AllowedHost::Any => true,
            AllowedHost::Named(listed, wanted) => {
                listed.eq_ignore_ascii_case(name) && (wanted.is_none() || *wanted == port)
            }
        })
    }
}

fn is_loopback(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// A host and what stands behind its last colon; colons in brackets are the host's.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// Whether this is a host with perhaps a port as browsers write it: in lower case, an address in its shortest form.
pub(super) fn is_canonical_host(text: &str) -> bool {
    let (host, port) = split_port(text);
    let is_port =
        |port: &str| port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port);
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok_and(|address| hexadecimal(address) == literal),
        None => host.split('.').all(is_label),
    };
    is_host && port.is_none_or(is_port)
}

/// An address as browsers write it: its last part never in decimals.
fn hexadecimal(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}

/// A part of a name.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listed: &[&str], public: &str) -> Hosts {
        let listed = listed.iter().map(|text| text.parse().unwrap()).collect();
        Hosts::new(listed, public.parse().unwrap(), "127.0.0.1".parse().unwrap()).unwrap()
    }

    #[test]
    fn on_loopback_only_its_own_names_are_allowed() {
        let hosts = hosts(&[], "127.0.0.1");
        for door in [Door::Public, Door::Admin] {
            let check = |host: &str, expected: bool| {
                assert_eq!(hosts.is_allowed(door, Some(host)), expected, "{host} {door:?}");
            };
            for good in [
                "localhost",
                "localhost:8080",
                "LOCALHOST:1",
                "127.0.0.1",
                "127.9.8.7:80",
                "[::1]",
                "[::1]:8080",
                "[0:0:0:0:0:0:0:1]:8080",
                "localhost:",
            ] {
                check(good, true);
            }
            for bad in [
                "evil.example",
                "localhost.evil",
                "evil-localhost",
                "localhost.",
                "evil.localhost",
                "127.0.0.1.evil",
                "127.0.0.1.nip.io",
                "0.0.0.0:8080",
                "127.1",
                "2130706433",
                "0177.0.0.1",
                "[::]",
                "[::ffff:7f00:1]",
                "192.168.0.1",
            ] {
                check(bad, false);
            }
            assert!(hosts.is_allowed(door, None), "no browser");
        }
    }

    #[test]
    fn where_others_can_connect_any_name_will_do_unless_some_are_listed() {
        let open = hosts(&[], "0.0.0.0");
        assert!(open.is_allowed(Door::Public, Some("fan.example")));
        assert!(!open.is_allowed(Door::Admin, Some("fan.example")), "each door by itself");
        let listed =
            hosts(&["Fan.example", "other.example:8443", "192.0.2.1", "[2001:db8::1]:80"], "0.0.0.0");
        let check = |host: &str, expected: bool| {
            assert_eq!(listed.is_allowed(Door::Public, Some(host)), expected, "{host}");
            assert_eq!(listed.is_allowed(Door::Admin, Some(host)), expected, "{host}");
        };
        check("fan.example", true);
        check("FAN.EXAMPLE:8080", true);
        check("other.example:8443", true);
        check("other.example", false);
        check("other.example:443", false);
        check("192.0.2.1:8080", true);
        check("[2001:db8::1]:80", true);
        check("[2001:db8::1]", false);
        check("fan.example.", false);
        check("fan.example.evil", false);
        check("evil-fan.example", false);
        check("localhost:8080", true);
        let any = hosts(&["any", "fan.example"], "127.0.0.1");
        assert!(any.is_allowed(Door::Admin, Some("evil.example")));
        assert!(Hosts::default().is_allowed(Door::Admin, Some("evil.example")));
    }

    #[test]
    fn what_may_be_listed() {
        let check = |text: &str, expected: Option<(&str, Option<u16>)>| {
            let expected = expected.map(|(host, port)| AllowedHost::Named(host.into(), port));
            assert_eq!(text.parse::<AllowedHost>().ok(), expected, "{text:?}");
        };
        check("Fan.Example", Some(("fan.example", None)));
        check("fan.example:8080", Some(("fan.example", Some(8080))));
        check("192.0.2.1", Some(("192.0.2.1", None)));
        check("[2001:db8::1]:80", Some(("[2001:db8::1]", Some(80))));
        check("[::ffff:c000:201]", Some(("[::ffff:c000:201]", None)));
        for bad in
            ["", "*", "*.example", "https://fan.example", "fan.example/", "fan.example.", "a b", "a:b", ":80"]
        {
            check(bad, None);
        }
        assert_eq!("ANY".parse(), Ok(AllowedHost::Any));
        let many = vec![AllowedHost::Any; HOSTS_MAX + 1];
        let nowhere = IpAddr::from([127, 0, 0, 1]);
        assert!(Hosts::new(many, nowhere, nowhere).is_err());
    }
}
