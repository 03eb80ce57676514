//! What encryption costs: the CPU time of a loop for each delivery and each handshake, beside the same without, in turns.
//!
//! The clients do as little as they can: behind its handshake each throws away what comes, unread and still encrypted. Linux.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fanfare::engine::Draft;
use fanfare::server::{Certificate, Config, Server, Shown};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::json;

/// Subscribers of one channel.
const SUBSCRIBERS: usize = 200;

/// Pairs of runs.
const PAIRS: usize = 9;

/// Events of one run, by how many are published at once.
const SHAPES: [(usize, usize); 3] = [(1, 400), (10, 4_000), (60, 12_000)];

fn main() {
    // Anything else than a benchmark asks for it, such as `cargo test --benches`, wants to know that it runs.
    let pairs = if std::env::args().any(|argument| argument == "--bench") { PAIRS } else { 1 };
    let certificate = Own::new();
    println!(
        "{SUBSCRIBERS} subscribers over WebSocket, events of about 190 bytes; medians of {pairs} pairs\n"
    );
    println!("| | plain | TLS | ratio (lowest to highest) |\n| --- | --- | --- | --- |");
    let mut connects = Pairs::default();
    let mut shapes = SHAPES.map(|_| Pairs::default());
    for _ in 0..pairs {
        let plain = Run::of(None);
        let secure = Run::of(Some(&certificate));
        connects.push(plain.connect_us, secure.connect_us);
        for (pairs, (plain, secure)) in
            shapes.iter_mut().zip(plain.delivery_us.iter().zip(&secure.delivery_us))
        {
            pairs.push(*plain, *secure);
        }
    }
    connects.print("µs of the loop for a connect");
    for ((at_once, _), pairs) in SHAPES.iter().zip(&shapes) {
        pairs.print(&format!("µs of the loop for a delivery, {at_once} at once"));
    }
}

/// Figures without and with encryption, pair by pair.
#[derive(Default)]
struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    fn push(&mut self, plain: f64, secure: f64) {
        self.0.push((plain, secure));
    }

    fn print(&self, name: &str) {
        let sorted = |figure: &dyn Fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = self.0.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let median = |all: &[f64]| all[all.len() / 2];
        let (plain, secure) = (sorted(&|pair| pair.0), sorted(&|pair| pair.1));
        let ratios = sorted(&|pair| pair.1 / pair.0);
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} ({:.2} to {:.2}) |",
            median(&plain),
            median(&secure),
            median(&ratios),
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
}

/// One server's figures.
struct Run {
    connect_us: f64,
    /// By shape.
    delivery_us: Vec<f64>,
}

impl Run {
    fn of(certificate: Option<&Own>) -> Run {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            listen: anywhere,
            admin_listen: anywhere,
            certificate: certificate.map(|own| Shown::new(own.certificate.clone())),
            loops: 1,
            limits: Limits { drain_deadline: Duration::from_millis(1), ..Limits::default() },
            settings: Settings::default(),
            data_dir: None,
            demo_rate: 0,
        };
        let server = Server::start(config).expect("the server starts");
        let before_us = loop_us();
        let crowd = Crowd::connect(server.address(), certificate);
        let connect_us = (loop_us() - before_us) / SUBSCRIBERS as f64;
        let delivery_us = SHAPES.iter().map(|&shape| deliver(&server, &crowd, shape)).collect();
        crowd.leave();
        server.drain();
        server.join();
        Run { connect_us, delivery_us }
    }
}

/// Publishes, waits until all of it has been handed to the kernel, and again: the loop's time for each delivery.
fn deliver(server: &Server, crowd: &Crowd, (at_once, events): (usize, usize)) -> f64 {
    let drafts = || {
        let draft = Draft::new("repo:alice/demo", "push");
        let data = json!({"ref": "refs/heads/main", "before": "0000000", "after": "1111111", "commits": 1});
        (0..at_once).map(move |_| draft.clone().data(&data))
    };
    let (before_us, before_bytes) = (loop_us(), crowd.bytes());
    for _ in 0..events / at_once {
        let last = server.engine().publish_batch(drafts()).expect("there is room").last;
        while !server.hub().has_delivered(last) {
            std::thread::yield_now();
        }
    }
    let spent_us = loop_us() - before_us;
    assert!(before_bytes < crowd.bytes(), "they get something");
    spent_us / (events * SUBSCRIBERS) as f64
}

/// The CPU time of the only loop of the only server, in microseconds.
fn loop_us() -> f64 {
    let is_loop = |task: &Path| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == "loop-0")
    };
    // A thread that has just begun may have no name yet.
    let task = std::iter::repeat_with(|| std::fs::read_dir("/proc/self/task").expect("Linux"))
        .find_map(|tasks| tasks.flatten().map(|task| task.path()).find(|task| is_loop(task)))
        .expect("it is looked for until it is there");
    let spent = std::fs::read_to_string(task.join("schedstat")).expect("its time");
    spent.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("nanoseconds") / 1000.0
}

/// A certificate, and clients that trust it.
struct Own {
    certificate: Certificate,
    client: Arc<ClientConfig>,
}

impl Own {
    fn new() -> Own {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&chain, own.cert.pem()).expect("written");
        std::fs::write(&key, own.signing_key.serialize_pem()).expect("written");
        let certificate = Certificate::read(&chain, &key).expect("a pair");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(own.cert.der().to_vec())).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut client = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        // Each handshake is a whole one.
        client.resumption = rustls::client::Resumption::disabled();
        Own { certificate, client: Arc::new(client) }
    }
}

/// Subscribers, and the thread that reads for them.
struct Crowd {
    bytes: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    reader: std::thread::JoinHandle<()>,
}

impl Crowd {
    fn connect(address: SocketAddr, certificate: Option<&Own>) -> Crowd {
        let mut streams: Vec<TcpStream> = (0..SUBSCRIBERS).map(|_| subscribe(address, certificate)).collect();
        let (bytes, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let reader = std::thread::spawn({
            let (bytes, is_over) = (Arc::clone(&bytes), Arc::clone(&is_over));
            move || {
                let mut buffer = vec![0; 256 << 10];
                while !is_over.load(Ordering::Relaxed) {
                    for stream in &mut streams {
                        if let Ok(count) = stream.read(&mut buffer) {
                            bytes.fetch_add(count as u64, Ordering::Relaxed);
                        }
                    }
                    std::thread::yield_now();
                }
            }
        });
        Crowd { bytes, is_over, reader }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn leave(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.reader.join().expect("it reads to the end");
    }
}

/// A subscriber, confirmed; what it gets from now on is thrown away.
fn subscribe(address: SocketAddr, certificate: Option<&Own>) -> TcpStream {
    const REQUEST: &[u8] = b"GET /ws?channel=repo:alice/demo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = TcpStream::connect(address).expect("connected");
    match certificate {
        None => confirm(&mut stream, REQUEST),
        Some(own) => {
            let name = ServerName::try_from("localhost").expect("a name");
            let mut tls = ClientConnection::new(Arc::clone(&own.client), name).expect("a client");
            confirm(&mut rustls::Stream::new(&mut tls, &mut stream), REQUEST);
        }
    }
    stream.set_nonblocking(true).expect("set");
    stream
}

fn confirm(stream: &mut (impl Read + Write), request: &[u8]) {
    stream.write_all(request).expect("sent");
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while !text.windows(12).any(|part| part == b"\"subscribed\"") {
        let count = stream.read(&mut buffer).expect("an answer");
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
}
