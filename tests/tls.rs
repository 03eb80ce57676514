//! Encrypted connections: what works without works with TLS, and nothing that is wrong with it takes the server down.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fanfare::server::{Certificate, Shown};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use support::local::LocalServer;
use support::process::ServerProcess;
use support::{PATIENCE, connect, wait_until};
use tempfile::TempDir;

/// A certificate of its own, in files.
struct Pair {
    folder: TempDir,
    der: CertificateDer<'static>,
}

impl Pair {
    fn new(serial: u64) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("cert.pem"), certificate.pem()).expect("written");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("written");
        Pair { folder, der: certificate.der().clone() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self) -> Certificate {
        Certificate::read(&self.file("cert.pem"), &self.file("key.pem")).expect("a pair")
    }
}

/// A server and what its clients trust.
struct Scene {
    server: LocalServer,
    shown: Shown,
    pair: Pair,
}

impl Scene {
    fn new(limits: Limits) -> Scene {
        let pair = Pair::new(1);
        let shown = Shown::new(pair.read());
        let server = LocalServer::start_shown(limits, 1, Settings::default(), Some(shown.clone()));
        Scene { server, shown, pair }
    }

    fn connect(&self) -> Tls {
        tls(self.server.public, &self.pair, &[b"http/1.1"]).expect("a handshake")
    }

    /// A connection whose stream of events has begun.
    fn subscribe(&self) -> Tls {
        let mut sse = self.connect();
        sse.write_all(b"GET /events?channel=t:a HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        read_to(&mut sse, "-0\n\n");
        sse
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection after its handshake, which trusts that certificate alone.
fn tls(address: SocketAddr, trusted: &Pair, protocols: &[&[u8]]) -> std::io::Result<Tls> {
    tls_of_many(address, std::slice::from_ref(trusted), protocols)
}

/// The same, which trusts all of these.
fn tls_of_many(address: SocketAddr, trusted: &[Pair], protocols: &[&[u8]]) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.der.clone()).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(client, connect(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Reads until what was read ends with `end`.
fn read_to(stream: &mut impl Read, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&text));
        });
        text.push(byte[0]);
    }
    String::from_utf8(text).expect("text")
}

fn serial(stream: &Tls) -> Vec<u8> {
    stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn requests_streams_and_websockets_work_as_without() {
    let scene = Scene::new(Limits::default());
    let mut sse = scene.connect();
    assert_eq!(sse.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    sse.write_all(b"GET /events?channel=t:a HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    assert!(read_to(&mut sse, "\r\n\r\n").starts_with("HTTP/1.1 200 "));
    read_to(&mut sse, "-0\n\n");

    let address = scene.server.public;
    let url = format!("wss://localhost:{}/ws?channel=t:a", address.port());
    let (mut ws, _) = tungstenite::client(url, scene.connect()).expect("a websocket");
    let first = ws.read().expect("a confirmation");
    assert!(first.to_text().expect("text").contains(r#""subscribed""#), "{first}");

    let mut publisher = scene.connect();
    let body = r#"{"channel":"t:a","event":"k","data":{"n":1}}"#;
    let request = |body: &str| {
        let length = body.len();
        format!(
            "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    // Two requests in one record.
    publisher.write_all((request(body) + &request(body)).as_bytes()).expect("sent");
    for _ in 0..2 {
        assert!(read_to(&mut publisher, "\r\n\r\n").starts_with("HTTP/1.1 202 "));
        read_to(&mut publisher, "}\n");
    }
    for seq in [1, 2] {
        let event: Value =
            serde_json::from_str(ws.read().expect("an event").to_text().expect("text")).expect("JSON");
        assert_eq!((&event["seq"], &event["data"]["n"]), (&seq.into(), &1.into()));
        let block = read_to(&mut sse, "\n\n");
        assert!(block.contains(&format!("-{seq}\n")) && block.contains(r#""n":1"#), "{block}");
    }
    ws.close(None).expect("closed");
    while ws.read().is_ok() {}
}

#[test]
fn a_peer_that_does_not_read_gets_everything_later_and_in_order() {
    const EVENTS: usize = 400;
    let scene = Scene::new(Limits::default());
    let mut sse = scene.subscribe();
    let hub = scene.server.hub();
    let mut publisher = TlsPublisher::new(&scene);
    let filler = "x".repeat(20_000);
    for number in 0..EVENTS {
        publisher.publish("t:a", &format!(r#"{{"n":{number},"p":"{filler}"}}"#));
    }
    assert_eq!(hub.log.published(), EVENTS as u64 + 1);
    for number in 0..EVENTS {
        let block = read_to(&mut sse, "\n\n");
        assert!(block.contains(&format!("\"n\":{number},")), "{number}: {}", &block[..200]);
    }
}

/// Publishes by one encrypted connection, one at a time.
struct TlsPublisher(Tls);

impl TlsPublisher {
    fn new(scene: &Scene) -> TlsPublisher {
        TlsPublisher(scene.connect())
    }

    fn publish(&mut self, channel: &str, data: &str) {
        let body = format!(r#"{{"channel":"{channel}","event":"k","data":{data}}}"#);
        let length = body.len();
        let head = format!(
            "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        self.0.write_all(head.as_bytes()).expect("sent");
        self.0.write_all(body.as_bytes()).expect("sent");
        let head = read_to(&mut self.0, "\r\n\r\n");
        let body = read_to(&mut self.0, "}\n");
        assert!(head.starts_with("HTTP/1.1 202 "), "{head}{body}");
    }
}

#[test]
fn who_speaks_something_else_is_cut_off_and_nobody_else_is() {
    let scene = Scene::new(Limits { head_deadline: Duration::from_millis(300), ..Limits::default() });
    let ends = |what: &str, bytes: &[u8]| {
        let mut stream = connect(scene.server.public);
        stream.write_all(bytes).expect("sent");
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}"),
        }
        assert!(!rest.starts_with(b"HTTP"), "{what}: {rest:?}");
    };
    ends("a request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ends("garbage", &[0xff; 1000]);
    ends("nothing", b"");
    ends("half a greeting", &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01]);
    assert!(tls(scene.server.public, &scene.pair, &[b"h2"]).is_err(), "no protocol in common");
    let mut stream = scene.connect();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    assert!(read_to(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_goodbye_of_either_side_ends_the_conversation() {
    let scene = Scene::new(Limits::default());
    let mut stream = scene.connect();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    // Without the server's goodbye this would be an error.
    stream.read_to_string(&mut answer).expect("an answer and goodbye");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let mut stream = scene.connect();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    read_to(&mut stream, "\r\n\r\n");
    stream.conn.send_close_notify();
    stream.flush().expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("goodbye");
    stream.sock.shutdown(Shutdown::Both).expect("over");
}

#[test]
fn who_is_turned_away_is_told_so() {
    let check = |limits: Limits, expected: [&str; 2]| {
        let scene = Scene::new(limits);
        let _held = scene.subscribe();
        for request in [None, Some("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")] {
            let mut stream = scene.connect();
            if let Some(request) = request {
                stream.write_all(request.as_bytes()).expect("sent");
            }
            let mut answer = String::new();
            // Without the server's goodbye this would be an error.
            stream.read_to_string(&mut answer).expect("an answer and goodbye");
            assert!(expected.iter().all(|expected| answer.contains(expected)), "{answer}");
            assert!(answer.contains("\r\nRetry-After: "), "{answer}");
        }
    };
    // However long a busy machine takes for a handshake.
    let limits = Limits { linger_max: PATIENCE, ..Limits::default() };
    check(Limits { connections_max: 1, ..limits.clone() }, ["HTTP/1.1 503 ", "connections_full"]);
    check(Limits { connections_per_address_max: 1, ..limits }, ["HTTP/1.1 429 ", "too_many_connections"]);
}

#[test]
fn who_is_turned_away_and_says_nothing_makes_room_for_the_next() {
    let linger_max = Duration::from_millis(100);
    let scene = Scene::new(Limits { connections_max: 1, linger_max, ..Limits::default() });
    let _held = scene.subscribe();
    // More than are told at once.
    let _silent: Vec<TcpStream> = (0..100).map(|_| connect(scene.server.public)).collect();
    // A busy machine may take longer for a handshake than it has time.
    wait_until("the next is told", || {
        let mut answer = String::new();
        let stream = tls(scene.server.public, &scene.pair, &[]);
        let end = stream.and_then(|mut stream| stream.read_to_string(&mut answer));
        end.is_ok() && answer.contains("connections_full")
    });
}

#[test]
fn another_certificate_is_shown_to_those_who_come_later() {
    let scene = Scene::new(Limits::default());
    let mut early = scene.connect();
    let next = Pair::new(2);
    let bad = Certificate::read(&next.file("cert.pem"), &scene.pair.file("key.pem"));
    let reason = bad.expect_err("no pair").to_string();
    assert!(reason.contains("cert.pem") && reason.contains("key.pem"), "{reason}");
    let none = Certificate::read(&next.file("key.pem"), &next.file("key.pem")).expect_err("no certificate");
    assert!(none.to_string().contains("no certificate"), "{none}");
    assert_eq!(serial(&scene.connect()), scene.pair.der.to_vec(), "what is wrong changes nothing");
    scene.shown.exchange(next.read());
    assert!(tls(scene.server.public, &scene.pair, &[]).is_err(), "the old one is not shown any more");
    let late = tls(scene.server.public, &next, &[]).expect("a handshake");
    assert_eq!(serial(&late), next.der.to_vec());
    early.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    assert!(read_to(&mut early, "\r\n\r\n").starts_with("HTTP/1.1 200 "), "who was there stays");
}

#[test]
fn reloads_under_handshakes_fail_none_of_them_and_each_new_certificate_is_shown_at_once() {
    const RELOADS: usize = 20;
    let pairs: Vec<Pair> = (0..=RELOADS as u64).map(Pair::new).collect();
    let files = tempfile::tempdir().expect("a folder");
    let (chain, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let install = |certificate: &Pair, private: &Pair| {
        std::fs::copy(certificate.file("cert.pem"), &chain).expect("copied");
        std::fs::copy(private.file("key.pem"), &key).expect("copied");
    };
    install(&pairs[0], &pairs[0]);
    let (chain_name, key_name) = (chain.to_str().expect("text"), key.to_str().expect("text"));
    let server = ServerProcess::start(&["--tls-cert", chain_name, "--tls-key", key_name]);
    let reload = || {
        server.signal("HUP");
        let line: Value = serde_json::from_str(&server.wait_for_line("reloaded")).expect("JSON");
        line["message"] == "reloaded"
    };
    let is_over = AtomicBool::new(false);
    let (address, shaken) = (server.public, AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    tls_of_many(address, &pairs, &[]).expect("no handshake fails");
                    shaken.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut shown = 0;
            for number in 1..=RELOADS {
                let before = shaken.load(Ordering::Relaxed);
                wait_until("handshakes go on", || before + 4 <= shaken.load(Ordering::Relaxed));
                let is_good = !number.is_multiple_of(4);
                install(&pairs[number], &pairs[if is_good { number } else { 0 }]);
                assert_eq!(reload(), is_good, "reload {number}");
                shown = if is_good { number } else { shown };
                let stream = tls_of_many(address, &pairs, &[]).expect("a handshake");
                assert_eq!(serial(&stream), pairs[shown].der.to_vec(), "reload {number}");
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
    });
}

#[test]
fn a_peer_that_takes_nothing_keeps_no_loop_awake() {
    let scene = Scene::new(Limits::default());
    let _stuck = scene.subscribe();
    let hub = scene.server.hub();
    let mut publisher = TlsPublisher::new(&scene);
    let data = format!(r#""{}""#, "x".repeat(60_000));
    while hub.desks()[0].traffic.lagging.load(Ordering::Relaxed) == 0 {
        publisher.publish("t:a", &data);
    }
    let turns = || hub.desks()[0].turns().expect("it turns");
    // It has done what there was to do once it sleeps.
    let deadline = Instant::now() + PATIENCE;
    while !hub.desks()[0].bell.is_asleep() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let before = turns();
    std::thread::sleep(Duration::from_millis(300));
    let after = turns();
    assert!(after - before < 30, "{} turns in a third of a second", after - before);
}
