//! Request targets: path, query and host.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{error::HttpError, head::Method};

/// Decodes the percent escapes of one path segment, or of several if they are to be one.
///
/// # Errors
/// 400 if an escape is not `%` and two hexadecimal digits, or the result is not UTF-8. What the text may hold
/// beyond that, control characters among it, is for the one who gives it a meaning.
pub fn decode_path_segment(segment: &str) -> Result<Cow<'_, str>, HttpError> {
    check_escapes(segment)?;
    percent_decode_str(segment).decode_utf8().map_err(|_| ESCAPE_NOT_TEXT)
}

/// The members of a query in the order they were sent, names and values form-decoded (`+` is a space).
///
/// A member without `=` has an empty value; empty members are passed over.
pub fn query_pairs(query: &str) -> QueryPairs<'_> {
    QueryPairs { rest: query }
}

/// Iterator over the members of a query; made by [`query_pairs`].
///
/// Each member is `Err` (400) if one of its escapes is malformed or it is not UTF-8.
#[derive(Debug, Clone)]
pub struct QueryPairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for QueryPairs<'a> {
    type Item = Result<(Cow<'a, str>, Cow<'a, str>), HttpError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (member, rest) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = rest;
            if !member.is_empty() {
                let (name, value) = member.split_once('=').unwrap_or((member, ""));
                return Some(decode_form(name).and_then(|name| Ok((name, decode_form(value)?))));
            }
        }
        None
    }
}

/// Splits the target of a request line into path and query.
pub(super) fn split_target(target: &str, method: Method) -> Result<(&str, Option<&str>), HttpError> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(TARGET_BAD);
    }
    match target.as_bytes().first() {
        Some(b'/') => match target.split_once('?') {
            Some((path, query)) => Ok((path, Some(query))),
            None => Ok((target, None)),
        },
        Some(b'*') if target.len() == 1 && method == Method::Options => Ok((target, None)),
        _ => Err(TARGET_FORM),
    }
}

/// Refuses what is not a host with an optional port.
pub(super) fn check_host(value: &str) -> Result<(), HttpError> {
    let (host_is_good, port) = match value.strip_prefix('[') {
        Some(rest) => {
            let (literal, port) = rest.split_once(']').ok_or(HOST_BAD)?;
            (is_address_literal(literal), port)
        }
        None => {
            let name_end = value.find(':').unwrap_or(value.len());
            let (name, port) = value.split_at(name_end);
            (!name.is_empty() && name.bytes().all(is_name_byte) && check_escapes(name).is_ok(), port)
        }
    };
    let port_is_good = match port.strip_prefix(':') {
        Some("") => true,
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    if host_is_good && port_is_good { Ok(()) } else { Err(HOST_BAD) }
}

/// Form decoding of a name or a value.
fn decode_form(text: &str) -> Result<Cow<'_, str>, HttpError> {
    if !text.contains('+') {
        return decode_path_segment(text);
    }
    let spaced = text.replace('+', " ");
    decode_path_segment(&spaced).map(|decoded| Cow::Owned(decoded.into_owned()))
}

/// The decoder copies a malformed escape as it stands; two servers would then see two names.
fn check_escapes(text: &str) -> Result<(), HttpError> {
    let well_formed = text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes();
        2 <= digits.len() && digits[..2].iter().all(u8::is_ascii_hexdigit)
    });
    if well_formed { Ok(()) } else { Err(ESCAPE_BAD) }
}

/// What may stand between the brackets of a host: an IPv6 address, without a zone.
fn is_address_literal(literal: &str) -> bool {
    literal.parse::<std::net::Ipv6Addr>().is_ok()
}

/// The bytes of a registered name: unreserved, sub-delimiters and escapes.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte)
}

const TARGET_BAD: HttpError =
    HttpError::bad_request("bad_target", "The request target holds a byte that must be percent-encoded.");
const TARGET_FORM: HttpError = HttpError::bad_request(
    "bad_target",
    "The request target must be a path that begins with a slash, or * for OPTIONS.",
);
const ESCAPE_BAD: HttpError =
    HttpError::bad_request("bad_escape", "A percent sign must be followed by two hexadecimal digits.");
const ESCAPE_NOT_TEXT: HttpError =
    HttpError::bad_request("bad_escape", "The percent-encoded bytes are not UTF-8 text.");
const HOST_BAD: HttpError =
    HttpError::bad_request("bad_host", "The Host header is not a host with an optional port.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_form_decoded_member_by_member() {
        fn check(query: &str, expected: Result<&[(&str, &str)], u16>) {
            let pairs: Result<Vec<_>, _> = query_pairs(query).collect();
            let pairs = pairs.map_err(|error| error.status);
            let expected = expected.map(|pairs| {
                pairs
                    .iter()
                    .map(|&(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
                    .collect::<Vec<_>>()
            });
            assert_eq!(pairs, expected, "{query}");
        }
        check("", Ok(&[]));
        check("&&", Ok(&[]));
        check("channel=a&channel=b%2Fc", Ok(&[("channel", "a"), ("channel", "b/c")]));
        check("unnamed&last=", Ok(&[("unnamed", ""), ("last", "")]));
        check("a=b=c&=x", Ok(&[("a", "b=c"), ("", "x")]));
        check("q=a+b%2Bc", Ok(&[("q", "a b+c")]));
        check("q=%C3%BC", Ok(&[("q", "ü")]));
        for bad in ["q=%", "q=%2", "q=%zz", "%G0=1", "q=+%ff", "q=%C3", "q=%+1"] {
            check(bad, Err(400));
        }
    }

    #[test]
    fn a_plain_member_is_lent_and_not_copied() {
        let pairs: Vec<_> = query_pairs("channel=repo:a/b").map(Result::unwrap).collect();
        assert!(matches!(pairs[..], [(Cow::Borrowed("channel"), Cow::Borrowed("repo:a/b"))]));
    }

    #[test]
    fn a_path_segment_keeps_its_plus() {
        assert_eq!(decode_path_segment("a+b%20c").unwrap(), "a+b c");
        assert_eq!(decode_path_segment("repo:alice%2fdemo").unwrap(), "repo:alice/demo");
        assert_eq!(decode_path_segment("%e2%82").unwrap_err().status, 400);
        assert_eq!(decode_path_segment("100%").unwrap_err().status, 400);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for good in
            ["h", "a.example", "a.example:80", "a.example:", "127.0.0.1:8080", "[::1]", "[::1]:443", "a%2db"]
        {
            assert!(check_host(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            ":80",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:80:80",
            "a:-1",
            "a:+1",
            "a:65536",
            "[::1",
            "[]",
            "[::1]x",
            "[::1%eth0]",
            "ü",
            "a,b c",
            "a%2",
            "a\\b",
            "a?b",
            "a\"b",
        ];
        for bad in bad {
            assert_eq!(check_host(bad).map_err(|error| error.status), Err(400), "{bad}");
        }
    }
}
