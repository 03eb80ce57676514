//! Where the server is.

use std::net::{SocketAddr, ToSocketAddrs};

/// A server's address, and what it takes to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port as typed, for the `Host` header.
    pub(crate) authority: String,
    /// The address to connect to.
    pub(crate) address: SocketAddr,
    /// Bearer token.
    pub(crate) token: Option<String>,
}

impl Target {
    /// Reads `http://HOST[:PORT]` or `ws://HOST[:PORT]` and looks the host up.
    ///
    /// # Errors
    /// Another scheme, a path, a host that cannot be found, or a token that is no header value.
    pub(crate) fn parse(url: &str, token: Option<String>) -> Result<Target, String> {
        let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")) else {
            return Err(format!("{url} does not begin with http:// or ws://"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(format!("{url} must be a scheme, a host and a port, and nothing else"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let lookup = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let address = lookup
            .to_socket_addrs()
            .map_err(|error| format!("cannot find {authority}: {error}"))?
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or_else(|| format!("{authority} has no address"))?;
        if token.as_deref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("the token has characters that a header cannot carry".to_owned());
        }
        Ok(Target { authority: authority.to_owned(), address, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_a_host_and_a_port() {
        let check = |url: &str, expected: Option<&str>| {
            let got = Target::parse(url, None).ok().map(|target| target.address.to_string());
            assert_eq!(got.as_deref(), expected, "{url}");
        };
        check("http://127.0.0.1:8080", Some("127.0.0.1:8080"));
        check("ws://127.0.0.1:8080/", Some("127.0.0.1:8080"));
        check("http://127.0.0.1", Some("127.0.0.1:80"));
        check("http://[::1]:81", Some("[::1]:81"));
        for wrong in [
            "https://127.0.0.1",
            "127.0.0.1:80",
            "http://",
            "http://127.0.0.1:8080/ws",
            "http://a b",
            "http://u@h",
        ] {
            check(wrong, None);
        }
        assert!(Target::parse("http://127.0.0.1:1", Some("a\r\nb".to_owned())).is_err());
    }
}
