//! Which pages a browser may let speak to us.

use crate::wire::http::RequestHead;

/// Whether a request comes from no page at all (no `Origin`), or from a page of this very server.
///
/// A browser sends `Origin` with every WebSocket handshake and every cross-origin request, and lets no page change it.
/// So a page of another site can neither read events nor publish through its visitor's browser, loopback included.
#[must_use]
pub fn is_allowed(head: &RequestHead<'_>) -> bool {
    let mut origins = head.headers("origin");
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return head.header("origin").is_none();
    };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    match (authority, head.header("host")) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    #[test]
    fn only_no_origin_or_our_own_is_allowed() {
        let check = |origin_lines: &str, expected: bool| {
            let text = format!("GET /ws HTTP/1.1\r\nHost: fan.example:8080\r\n{origin_lines}\r\n");
            let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            assert_eq!(is_allowed(&head), expected, "{origin_lines:?}");
        };
        check("", true);
        check("Origin: http://fan.example:8080\r\n", true);
        check("Origin: https://FAN.example:8080\r\n", true);
        check("Origin: http://fan.example\r\n", false);
        check("Origin: http://evil.example\r\n", false);
        check("Origin: http://fan.example:8080.evil.example\r\n", false);
        check("Origin: null\r\n", false);
        check("Origin: \r\n", false);
        check("Origin: http://fan.example:8080\r\nOrigin: http://evil.example\r\n", false);
        check("Origin: file://fan.example:8080\r\n", false);
    }
}
