//! Where a request may carry a token: a header, a cookie, the query.
//!
//! A browser sends cookies unasked, so what is said in the header is meant instead of them. Everything else that differs
//! is refused: whose word should count?

use std::borrow::Cow;
use std::fmt;

use crate::session::authority::Denied;
use crate::wire::http::{RequestHead, query_pairs};

/// Where tokens are looked for.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The name of the cookie.
    pub(super) cookie: String,
    /// Whether the query is one.
    pub(super) query: bool,
}

impl Places {
    /// The token of a request, if it has one.
    pub(super) fn token_in<'a>(&self, head: &RequestHead<'a>) -> Result<Option<Cow<'a, str>>, Denied> {
        let in_header = only(head.headers("authorization").filter_map(bearer).map(Cow::Borrowed))?;
        let in_query = self.token_in_query(head)?;
        let in_cookie = match in_header {
            Some(_) => None,
            None => only(self.cookies(head).map(Cow::Borrowed))?,
        };
        let token = only(in_header.into_iter().chain(in_cookie).chain(in_query))?;
        match token {
            // Whoever leaves the place empty has meant to fill it.
            Some(token) if !is_well_formed(&token) => Err(Denied::BadToken),
            token => Ok(token),
        }
    }

    fn token_in_query<'a>(&self, head: &RequestHead<'a>) -> Result<Option<Cow<'a, str>>, Denied> {
        let Some(query) = head.query.filter(|query| query.contains("token")) else { return Ok(None) };
        let knows_short = matches!(head.path, "/api/events" | "/ws/subscribe");
        let pairs = query_pairs(query).filter_map(Result::ok);
        let mut tokens =
            pairs.filter(|(name, _)| name == "access_token" || (knows_short && name == "token")).peekable();
        if tokens.peek().is_some() && !self.query {
            return Err(Denied::NotInQuery);
        }
        only(tokens.map(|(_, value)| value))
    }

    fn cookies<'a>(&self, head: &RequestHead<'a>) -> impl Iterator<Item = &'a str> {
        let pairs = head.headers("cookie").flat_map(|value| value.split(';'));
        let named = pairs.filter_map(|pair| pair.trim().split_once('='));
        named.filter(|(name, _)| *name == self.cookie).map(|(_, value)| value).collect::<Vec<_>>().into_iter()
    }
}

/// The token of an `Authorization` header of this kind.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The one token that there is, however often.
fn only<'a>(mut tokens: impl Iterator<Item = Cow<'a, str>>) -> Result<Option<Cow<'a, str>>, Denied> {
    let first = tokens.next();
    let is_same = |token: Cow<'a, str>| first.as_ref() == Some(&token);
    if tokens.all(is_same) { Ok(first) } else { Err(Denied::TwoTokens) }
}

/// Whether these could be the characters of a token.
fn is_well_formed(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A token on its way through commands, which must not be seen where they are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    #[test]
    fn a_token_is_found_in_each_place_and_two_are_refused() {
        let places = Places { cookie: "__Host-fanfare".to_owned(), query: true };
        let check = |target: &str, fields: &str, expected: Result<Option<&str>, Denied>| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            let got = places.token_in(&head);
            assert_eq!(
                got.as_ref().map(|token| token.as_deref()),
                expected.as_ref().map(|token| *token),
                "{text}"
            );
            let no_query = Places { query: false, ..places.clone() };
            let is_in_query = target.contains("token=");
            assert_eq!(
                no_query.token_in(&head) == Err(Denied::NotInQuery),
                is_in_query && !text.contains("Bearer b\r\nAuthorization: Bearer c"),
                "{text}"
            );
        };
        check("/ws", "", Ok(None));
        check("/ws", "Authorization: Bearer a.b.c\r\n", Ok(Some("a.b.c")));
        check("/ws", "authorization: bearer   a \r\n", Ok(Some("a")));
        check("/ws", "Authorization: Basic a\r\n", Ok(None));
        check("/ws", "Authorization: Bearer\r\n", Err(Denied::BadToken));
        check("/ws", "Authorization: Bearer a b\r\n", Err(Denied::BadToken));
        check("/ws", "Authorization: Bearer b\r\nAuthorization: Bearer b\r\n", Ok(Some("b")));
        check("/ws", "Authorization: Bearer b\r\nAuthorization: Bearer c\r\n", Err(Denied::TwoTokens));
        check("/ws", "Cookie: x=1; __Host-fanfare=a; y=2\r\n", Ok(Some("a")));
        check("/ws", "Cookie: __host-fanfare=a\r\n", Ok(None));
        check("/ws", "Cookie: x__Host-fanfare=a\r\n", Ok(None));
        check("/ws", "Cookie: __Host-fanfare=a; __Host-fanfare=b\r\n", Err(Denied::TwoTokens));
        check("/ws", "Cookie: __Host-fanfare=\r\n", Err(Denied::BadToken));
        check("/ws?access_token=a", "", Ok(Some("a")));
        check("/ws?access_token=a%2Eb", "", Ok(Some("a.b")));
        check("/ws?access_token=", "", Err(Denied::BadToken));
        check("/ws?access_token=a&access_token=b", "", Err(Denied::TwoTokens));
        check("/api/events?token=a", "", Ok(Some("a")));
        check("/ws/subscribe?token=a", "", Ok(Some("a")));
        // What is said goes before what a browser sends along.
        let cookie = "Cookie: __Host-fanfare=b\r\n";
        check("/ws", &format!("{cookie}Authorization: Bearer a\r\n"), Ok(Some("a")));
        check("/ws?access_token=b", cookie, Ok(Some("b")));
        check("/ws?access_token=a", cookie, Err(Denied::TwoTokens));
        check("/ws?access_token=b", "Authorization: Bearer a\r\n", Err(Denied::TwoTokens));
        check("/ws?access_token=a", "Authorization: Bearer a\r\n", Ok(Some("a")));
    }

    #[test]
    fn the_short_word_is_a_token_in_one_dialect_alone() {
        let places = Places { cookie: "c".to_owned(), query: false };
        let head = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let check = |target: &str, expected: Result<Option<Cow<'_, str>>, Denied>| {
            let text = head(target);
            let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            assert_eq!(places.token_in(&head), expected, "{target}");
        };
        check("/ws?token=a", Ok(None));
        check("/api/events?token=a", Err(Denied::NotInQuery));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("s3cret".to_owned())), "Secret");
    }
}
