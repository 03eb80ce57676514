//! Where the server is.

use std::borrow::Cow;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::tls::{ReadWrite, Tls, Trust};

/// A server's address, and what it takes to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port as typed, for the `Host` header.
    pub(crate) authority: String,
    /// The address to connect to.
    pub(crate) address: SocketAddr,
    /// Bearer token.
    pub(crate) token: Option<String>,
    /// Tokens of subscribers, in turn, in place of that one; none if it is theirs too.
    pub(crate) subscriber_tokens: Vec<String>,
    /// How it is encrypted, if it is.
    pub(crate) tls: Option<Tls>,
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
        Target::find(url, rest, 80, token)
    }

    /// The same, and `https://` and `wss://` too, where `trust` says whose certificates are good.
    ///
    /// # Errors
    /// As [`Target::parse`] and [`Tls::new`].
    pub(crate) fn parse_any(url: &str, token: Option<String>, trust: &Trust) -> Result<Target, String> {
        let secure = url.strip_prefix("https://").or_else(|| url.strip_prefix("wss://"));
        let plain = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://"));
        match (secure, plain) {
            (Some(rest), _) => {
                let mut target = Target::find(url, rest, 443, token)?;
                let authority = &target.authority;
                let host = match authority.rsplit_once(':') {
                    Some((host, port)) if port.parse::<u16>().is_ok() => host,
                    _ => authority,
                };
                target.tls = Some(Tls::new(host, trust)?);
                Ok(target)
            }
            (None, Some(_)) if *trust != Trust::System => {
                Err(format!("--ca and --insecure are for https:// and wss://, and {url} is neither"))
            }
            (None, Some(_)) => Target::parse(url, token),
            (None, None) => Err(format!("{url} does not begin with http://, https://, ws:// or wss://")),
        }
    }

    /// What the subscriber `id` sees of it: with a token of its own, if there are such.
    pub(crate) fn for_subscriber(&self, id: u32) -> Cow<'_, Target> {
        if self.subscriber_tokens.is_empty() {
            return Cow::Borrowed(self);
        }
        let token = self.subscriber_tokens[id as usize % self.subscriber_tokens.len()].clone();
        Cow::Owned(Target { token: Some(token), subscriber_tokens: Vec::new(), ..self.clone() })
    }

    /// Replaces the tokens of subscribers.
    ///
    /// # Errors
    /// There is none, or one is no header value.
    pub(crate) fn set_subscriber_tokens(&mut self, tokens: Vec<String>) -> Result<(), String> {
        if tokens.is_empty() {
            return Err("there are no tokens of subscribers in it".to_owned());
        }
        tokens.iter().try_for_each(|token| check_token(token))?;
        self.subscriber_tokens = tokens;
        Ok(())
    }

    /// Connects and waits for it, at most so long, as for each reading and writing afterwards; encrypted if that is asked for.
    ///
    /// # Errors
    /// What the system or the library says.
    pub(crate) fn connect(&self, patience: Duration) -> io::Result<Box<dyn ReadWrite + Send>> {
        let stream = TcpStream::connect_timeout(&self.address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.wait_on(stream)?),
            None => Box::new(stream),
        })
    }

    fn find(url: &str, rest: &str, port: u16, token: Option<String>) -> Result<Target, String> {
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(format!("{url} must be a scheme, a host and a port, and nothing else"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let lookup = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        let address = lookup
            .to_socket_addrs()
            .map_err(|error| format!("cannot find {authority}: {error}"))?
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or_else(|| format!("{authority} has no address"))?;
        token.as_deref().map_or(Ok(()), check_token)?;
        Ok(Target {
            authority: authority.to_owned(),
            address,
            token,
            subscriber_tokens: Vec::new(),
            tls: None,
        })
    }
}

fn check_token(token: &str) -> Result<(), String> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("the token has characters that a header cannot carry".to_owned())
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

    #[test]
    fn encrypted_targets_have_a_port_of_their_own_and_a_name_to_prove() {
        let check = |url: &str, trust: Trust, expected: Result<(&str, bool), &str>| {
            let got = Target::parse_any(url, None, &trust);
            match (got, expected) {
                (Ok(target), Ok((address, is_secret))) => {
                    assert_eq!(
                        (target.address.to_string().as_str(), target.tls.is_some()),
                        (address, is_secret)
                    );
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{url}: {error}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        };
        check("https://127.0.0.1", Trust::Anybody, Ok(("127.0.0.1:443", true)));
        check("wss://[::1]:8443", Trust::Anybody, Ok(("[::1]:8443", true)));
        check("ws://127.0.0.1", Trust::System, Ok(("127.0.0.1:80", false)));
        check("http://127.0.0.1", Trust::Anybody, Err("--insecure"));
        check("https://127.0.0.1", Trust::File("nowhere.pem".into()), Err("nowhere.pem"));
        check("ftp://127.0.0.1", Trust::System, Err("wss://"));
    }

    #[test]
    fn subscribers_take_their_tokens_in_turn() {
        let mut target = Target::parse("http://127.0.0.1:1", Some("all".to_owned())).expect("a target");
        assert_eq!(target.for_subscriber(3).token.as_deref(), Some("all"));
        target.set_subscriber_tokens(vec!["a".to_owned(), "b".to_owned()]).expect("tokens");
        assert_eq!(target.for_subscriber(3).token.as_deref(), Some("b"));
        assert_eq!(target.token.as_deref(), Some("all"), "that of publishers");
        assert!(target.set_subscriber_tokens(Vec::new()).is_err());
        assert!(target.set_subscriber_tokens(vec!["a b".to_owned()]).is_err());
    }
}
