//! Which pages a browser may let speak to us.
//!
//! # Contract   a browser names the page's origin with every WebSocket handshake and every request across origins, and lets
//!   no page change it. Who names none is no page, or one of our own that reads; who names one is a page of this very
//!   server, or of an origin that is listed, letter for letter, or is refused. `null` is an origin like any other
//! # Bounds     [`CROSS_ORIGINS_MAX`] origins in the life of a process
//! # Why not …  patterns: every published hole in such a check was a pattern that matched more than its author thought

use std::str::FromStr;

use super::host::is_canonical_host;
use crate::wire::http::{CROSS_ORIGINS_MAX, CrossOrigin, RequestHead};

/// The origins besides our own whose pages may use this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<CrossOrigin>);

/// One that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(CrossOrigin);

/// Why a text is no origin that could be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It has another form.
    #[error(
        "an origin is a scheme, a host and perhaps a port, as in https://app.example:8443, or 'null'; \
         without a path and without '*'"
    )]
    Form,
    /// There were too many.
    #[error("at most {CROSS_ORIGINS_MAX} different origins may be listed")]
    TooMany,
}

impl FromStr for AllowedOrigin {
    type Err = OriginError;

    /// Scheme and host in any case, a port that goes without saying may be said, and so may a `/` at the end.
    fn from_str(text: &str) -> Result<AllowedOrigin, OriginError> {
        let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let text = without_usual_port(&text);
        let is_origin = text == "null"
            || text
                .split_once("://")
                .is_some_and(|(scheme, authority)| is_scheme(scheme) && is_canonical_host(authority));
        if !is_origin {
            return Err(OriginError::Form);
        }
        CrossOrigin::of(text).map(AllowedOrigin).ok_or(OriginError::TooMany)
    }
}

/// Why a request is refused for its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign;

impl Origins {
    /// Those of `listed`.
    #[must_use]
    pub fn new(listed: impl IntoIterator<Item = AllowedOrigin>) -> Origins {
        Origins(listed.into_iter().map(|AllowedOrigin(origin)| origin).collect())
    }

    /// Whether the page that sends this request may: the origin that may read the answer, if it is not our own; nothing if
    /// it is, or if no page asks.
    ///
    /// # Errors
    /// [`Foreign`] if it may not.
    pub fn admit(&self, head: &RequestHead<'_>) -> Result<Option<CrossOrigin>, Foreign> {
        let mut named = head.headers("origin");
        let origin = match (named.next(), named.next()) {
            (None, _) => return Ok(None),
            (Some(origin), None) => origin,
            (Some(_), Some(_)) => return Err(Foreign),
        };
        if origin.is_empty() {
            return if is_tool(head) { Ok(None) } else { Err(Foreign) };
        }
        if is_own(origin, head.header("host")) {
            return Ok(None);
        }
        let origin = without_usual_port(origin);
        let is_it = |listed: &&CrossOrigin| listed.as_str().eq_ignore_ascii_case(origin);
        self.0.iter().find(is_it).copied().map(Some).ok_or(Foreign)
    }
}

/// Whether a page of `origin` came from where it sends its request. The scheme cannot be told from here: behind a proxy
/// that has the certificate, pages of `https:` come over plain connections.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let (Some((scheme, authority)), Some(host)) = (origin.split_once("://"), host) else { return false };
    let Some(port) = usual_port(scheme) else { return false };
    let plain = |text| without_port(text, port);
    !authority.is_empty() && plain(authority).eq_ignore_ascii_case(plain(host))
}

/// Whether something that is no browser asks, and says who it is in a way that no page can: an empty origin proves nothing.
fn is_tool(head: &RequestHead<'_>) -> bool {
    let is_browser = head.all_headers().any(|(name, _)| {
        name.get(..SEC_FETCH.len()).is_some_and(|start| start.eq_ignore_ascii_case(SEC_FETCH))
    });
    !is_browser && head.header("authorization").is_some_and(|value| !value.is_empty())
}

/// How the names of header fields begin that every browser sends.
const SEC_FETCH: &str = "sec-fetch-";

/// The port that an origin of this scheme has unless it says so.
fn usual_port(scheme: &str) -> Option<&'static str> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Some(":80"),
        _ if scheme.eq_ignore_ascii_case("https") => Some(":443"),
        _ => None,
    }
}

fn without_usual_port(origin: &str) -> &str {
    let scheme = origin.split_once("://").map(|(scheme, _)| scheme);
    scheme.and_then(usual_port).map_or(origin, |port| without_port(origin, port))
}

fn without_port<'a>(text: &'a str, port: &str) -> &'a str {
    text.strip_suffix(port).unwrap_or(text)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    fn origins(listed: &[&str]) -> Origins {
        Origins::new(listed.iter().map(|text| text.parse::<AllowedOrigin>().unwrap()))
    }

    /// What becomes of a request to `fan.example:8080` with these header lines: the origin that may read the answer, or
    /// an empty text.
    fn outcome(origins: &Origins, lines: &str) -> Result<&'static str, Foreign> {
        let text = format!("GET /ws HTTP/1.1\r\nHost: fan.example:8080\r\n{lines}\r\n");
        let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        origins.admit(&head).map(|origin| origin.map_or("", CrossOrigin::as_str))
    }

    #[test]
    fn only_no_origin_or_our_own_is_allowed_unless_others_are_listed() {
        let check = |lines: &str, expected: bool| {
            let expected = if expected { Ok("") } else { Err(Foreign) };
            assert_eq!(outcome(&Origins::default(), lines), expected, "{lines:?}");
        };
        check("", true);
        check("Origin: http://fan.example:8080\r\n", true);
        check("Origin: https://FAN.example:8080\r\n", true);
        check("Origin: http://fan.example\r\n", false);
        check("Origin: http://evil.example\r\n", false);
        check("Origin: http://fan.example:8080.evil.example\r\n", false);
        check("Origin: null\r\n", false);
        check("Origin: \r\n", false);
        check("Origin: http://fan.example:8080\r\nOrigin: http://fan.example:8080\r\n", false);
        check("Origin: file://fan.example:8080\r\n", false);
    }

    #[test]
    fn an_empty_origin_is_for_tools_that_say_who_they_are() {
        let check = |lines: &str, expected: bool| {
            let lines = format!("Origin:\r\n{lines}");
            assert_eq!(outcome(&Origins::default(), &lines).is_ok(), expected, "{lines:?}");
        };
        check("Authorization: Bearer x\r\n", true);
        check("Authorization:\r\n", false);
        check("Cookie: token=x\r\n", false);
        check("Authorization: Bearer x\r\nSec-Fetch-Site: cross-site\r\n", false);
        check("Authorization: Bearer x\r\nsec-fetch-mode: websocket\r\n", false);
        check("Authorization: Bearer x\r\nOrigin:\r\n", false);
    }

    #[test]
    fn a_port_that_goes_without_saying_may_be_said() {
        let check = |origin: &str, host: &str, expected: bool| {
            assert_eq!(is_own(origin, Some(host)), expected, "{origin} {host}");
        };
        check("http://a.example", "a.example:80", true);
        check("http://a.example:80", "a.example", true);
        check("https://a.example", "a.example:443", true);
        check("https://a.example", "a.example:80", false);
        check("http://a.example", "a.example:443", false);
        check("http://[::1]:8080", "[::1]:8080", true);
        check("http://[::1]", "[::1]:8080", false);
        check("http://", "", false);
        check("ftp://a.example", "a.example", false);
        assert!(!is_own("http://a.example", None));
    }

    #[test]
    fn listed_origins_are_exact() {
        let listed =
            origins(&["https://App.example/", "http://app.example:8443", "http://[::1]:3000", "null"]);
        let check = |origin: &str, expected: Result<&str, Foreign>| {
            assert_eq!(outcome(&listed, &format!("Origin: {origin}\r\n")), expected, "{origin}");
        };
        check("https://app.example", Ok("https://app.example"));
        check("https://app.example:443", Ok("https://app.example"));
        check("HTTPS://APP.EXAMPLE", Ok("https://app.example"));
        check("http://app.example:8443", Ok("http://app.example:8443"));
        check("http://[::1]:3000", Ok("http://[::1]:3000"));
        check("null", Ok("null"));
        for near in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.",
            "https://app.example/",
            "https://app.example.evil",
            "https://evil-app.example",
            "https://evilapp.example",
            "https://user@app.example",
            "https://app.example:443:443",
            "https://app.example:0443",
            "https://app.example:",
            "https:app.example",
            "app.example",
            "https://app.example https://evil.example",
            "https://app\u{ff0e}example",
            "http://[0:0:0:0:0:0:0:1]:3000",
            "http://::1:3000",
            "nul",
            "null.example",
        ] {
            check(near, Err(Foreign));
        }
        assert_eq!(outcome(&listed, "Origin: null\r\nOrigin: null\r\n"), Err(Foreign));
    }

    #[test]
    fn what_may_be_listed() {
        let check = |text: &str, expected: Option<&str>| {
            let got = text.parse::<AllowedOrigin>().ok().map(|AllowedOrigin(origin)| origin.as_str());
            assert_eq!(got, expected, "{text:?}");
        };
        check("http://a.example:80", Some("http://a.example"));
        check("https://a.example:80", Some("https://a.example:80"));
        check("capacitor://localhost", Some("capacitor://localhost"));
        check("null", Some("null"));
        for bad in [
            "",
            "*",
            "a.example",
            "https://",
            "https://*.a.example",
            "https://a.example/path",
            "https://a.example//",
            "https://a.example?x",
            "https://a.example#x",
            "https://u@a.example",
            "https://a.example:",
            "https://a.example:0",
            "https://a.example:080",
            "https://a.example:65536",
            "https://a..example",
            "https://a b",
            "https://\u{e4}.example",
            "https://[::1",
            "https://[0::1]",
            "1http://a.example",
            "://a.example",
        ] {
            check(bad, None);
        }
    }
}
