//! `fanfare health`: for whoever may only start a program to find out, such as a container's health check.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::Failure;
use super::serve::ServeFlags;
use super::trust::Trust;

/// How long connecting, and then each read or write, may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer has so many bytes at most; what is longer is none of a server of ours.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Asks the operators' door, which is open to the end of a drain.
pub(super) fn run(flags: &ServeFlags) -> anyhow::Result<()> {
    let (door, is_encrypted) = flags.operators_door();
    if door.port() == 0 {
        let message = "--admin-listen has port 0: which one the server has taken is not known here";
        return Err(Failure::Usage(message.to_owned()).into());
    }
    let address = SocketAddr::new(reachable(door.ip()), door.port());
    let answer = ask(address, is_encrypted).with_context(|| format!("no answer from {address}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    if status != "200" {
        bail!("not ready ({status}): {body}");
    }
    println!("{body}");
    Ok(())
}

/// Where a server that listens at `address` is from here.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// By a name that every server goes by.
const REQUEST: &[u8] = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn ask(address: SocketAddr, is_encrypted: bool) -> anyhow::Result<String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if !is_encrypted {
        return exchange(stream);
    }
    let name = ServerName::IpAddress(address.ip().into());
    // Nothing secret is said, and what is heard goes no further than an exit code. The server's certificate is of its public
    // name, by which nobody asks from inside.
    let config = Trust::in_anybody().config()?;
    exchange(StreamOwned::new(ClientConnection::new(config, name)?, stream))
}

fn exchange(mut stream: impl Read + Write) -> anyhow::Result<String> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8(answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Certificate, Config, Server, Shown};
    use crate::session::settings::Settings;
    use crate::words::limits::Limits;

    #[test]
    fn a_door_that_is_encrypted_is_asked_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let [chain, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        let own = rcgen::generate_simple_self_signed(["fan.example".to_owned()]).unwrap();
        std::fs::write(&chain, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let limits = Limits { drain_deadline: Duration::from_millis(1), ..Limits::default() };
        let config = Config {
            listen: anywhere,
            admin_listen: anywhere,
            certificate: Some(Shown::new(Certificate::read(&chain, &key).unwrap())),
            loops: 1,
            limits,
            settings: Settings::default(),
            data_dir: None,
            demo_rate: 0,
        };
        let server = Server::start(config).unwrap();
        let answer = ask(server.address(), true).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""status":"ok""#), "{answer}");
        assert!(ask(server.admin_address(), false).unwrap().starts_with("HTTP/1.1 200 "), "this one is not");
        assert!(ask(server.address(), false).is_err() || ask(server.admin_address(), true).is_err());
        server.drain();
        server.join();
    }

    #[test]
    fn a_server_that_listens_everywhere_is_here() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reachable(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap());
        };
        check("0.0.0.0", "127.0.0.1");
        check("::", "::1");
        check("127.0.0.2", "127.0.0.2");
        check("192.0.2.1", "192.0.2.1");
    }
}
