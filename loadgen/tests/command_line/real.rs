//! `loadgen` against the real server, where that asks for tokens and speaks in secret: the one place where the two meet in a test, as
//! processes do, over sockets.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanfare::server::{Certificate, Config, Server, Shown};
use fanfare::session::auth::{AuthSettings, KeyAlgorithm, Revoked, SigningKey, load};
use fanfare::session::policy::{InForce, Policy};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use serde_json::{Value, json};

/// A server with keys and a certificate, and the files of those who know it.
struct Real {
    server: Option<Server>,
    key: SigningKey,
    folder: PathBuf,
}

impl Real {
    fn start() -> Real {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("real-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = |name: &str, content: &str| {
            fs::write(folder.join(name), content).expect("written");
            folder.join(name)
        };
        let new = SigningKey::generate(KeyAlgorithm::Es256).expect("a key");
        let key = SigningKey::parse(new.private.as_bytes()).expect("the same");
        let auth = AuthSettings {
            key_set: Some(file("keys.jwks", &new.public.expect("a public half"))),
            ..AuthSettings::default()
        };
        let authority = Arc::new(load(&auth, &Arc::<Revoked>::default()).expect("keys"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let chain = file("cert.pem", &made.cert.pem());
        let private = file("key.pem", &made.signing_key.serialize_pem());
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            listen: anywhere,
            admin_listen: anywhere,
            certificate: Some(Shown::new(Certificate::read(&chain, &private).expect("a pair"))),
            loops: 2,
            limits: Limits {
                drain_deadline: Duration::from_millis(1),
                // A machine that is busy with something else is no overload.
                fanout_backlog_max: Duration::from_secs(60),
                ..Limits::default()
            },
            settings: Settings {
                policy: InForce::new(Policy { authority, ..Policy::default() }),
                ..Settings::default()
            },
            data_dir: None,
            demo_rate: 0,
        };
        Real { server: Some(Server::start(config).expect("a server")), key, folder }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs until it is dropped")
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("text").to_owned()
    }

    /// Writes tokens into a file, one a line; returns its name.
    fn tokens(&self, name: &str, tokens: &[String]) -> String {
        fs::write(self.folder.join(name), tokens.join("\n")).expect("written");
        self.file(name)
    }

    /// A token that grants this.
    fn token(&self, user: &str, grants: Value) -> String {
        let claims = json!({"sub": user, "exp": FAR, "fanfare": grants});
        self.key.sign(&claims).expect("a token")
    }

    /// A token of somebody who may publish.
    fn publisher(&self) -> String {
        self.tokens("publisher", &[self.token("publisher", json!({"publish": ["bench:*"]}))])
    }

    /// A token for each of so many readers.
    fn readers(&self, count: usize) -> String {
        let reader = |number| self.token(&format!("reader-{number}"), json!({"subscribe": ["bench:*"]}));
        self.tokens("readers", &(0..count).map(reader).collect::<Vec<_>>())
    }

    /// Runs `loadgen`, which knows the server by its certificate, at this scheme.
    fn run(&self, scheme: &str, arguments: &[&str]) -> Output {
        let url = format!("{scheme}://localhost:{}", self.server().address().port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(["run", &url, "--lenient", "--quiet", "--json", "-", "--warmup", "0", "-d", "10s"]);
        command.args(["--ca", &self.file("cert.pem")]).args(arguments);
        command.output().expect("the generator runs")
    }

    fn check(&self, scheme: &str, arguments: &[&str], received: u64) -> Value {
        let output = self.run(scheme, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!(report["verification"]["received"], received, "{arguments:?}: {report:#}");
        report
    }

    fn check_refused(&self, arguments: &[&str], reason: &str) {
        let output = self.run("https", arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
        let shown = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
        assert!(!shown.contains("eyJ"), "no token is shown: {shown}");
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.drain();
            server.join();
        }
        // Whoever looks into a test that has failed may want the files.
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.folder).expect("removed");
        }
    }
}

/// When tokens of tests end, in seconds: in the year 2100.
const FAR: u64 = 4_102_444_800;

/// Five subscribers, both transports, 40 events.
const SHORT: &[&str] = &["-c", "5", "--transport", "ws:60,sse:40", "-R", "200", "-n", "40"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [SHORT, more].concat()
}

#[test]
fn each_subscriber_shows_its_own_token_over_tls() {
    let real = Real::start();
    let (publisher, readers) = (real.publisher(), real.readers(5));
    let tokens = ["--token-file", &publisher, "--subscriber-tokens", &readers];
    for (scheme, more) in [
        ("https", &[][..]),
        ("wss", &["--publish-via", "ws"]),
        ("https", &["--batch", "8", "-s", "20000"]),
        ("wss", &["--resume-churn", "20/s"]),
    ] {
        real.check(scheme, &with(&[&tokens[..], more].concat()), 200);
    }
}

#[test]
fn the_server_knows_every_subscriber_of_a_run_by_its_name() {
    let real = Real::start();
    let all = real.token("all", json!({"subscribe": ["bench:*", "sys:clients"], "publish": ["bench:*"]}));
    let (all, readers) = (real.tokens("all", &[all]), real.readers(5));
    // Who came and went is told by the log of what operators see: more subscribers than tokens show them in turn.
    let mut come: BTreeMap<String, u32> = BTreeMap::new();
    let run = ["--token-file", &all, "--subscriber-tokens", &readers, "-c", "10", "-R", "50/s", "-n", "500"];
    std::thread::scope(|scope| {
        let running = scope.spawn(|| real.check("wss", &run, 5000));
        let hub = real.server().hub();
        while hub.counters.streams() < 10 && !running.is_finished() {
            std::thread::yield_now();
        }
        let clients = clients(real.server().admin_address(), &real.token("operator", json!({"admin": true})));
        for client in clients["clients"].as_array().expect("clients") {
            let user = client["user"].as_str().expect("a name").to_owned();
            *come.entry(user).or_default() += 1;
        }
    });
    let expected: BTreeMap<String, u32> = (0..5).map(|number| (format!("reader-{number}"), 2)).collect();
    assert_eq!(come, expected);
}

/// Who is connected, as operators are told.
fn clients(admin: SocketAddr, token: &str) -> Value {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(admin).expect("the operators' door");
    let head = format!(
        "GET /clients HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn who_is_not_let_in_is_told_so_at_once() {
    let real = Real::start();
    let (publisher, readers) = (real.publisher(), real.readers(5));
    let good = ["--token-file", &publisher];
    let wrong = real.tokens("wrong", &["eyJhbGciOiJub25lIn0.e30.".to_owned()]);
    real.check_refused(&with(&[]), "401");
    real.check_refused(&with(&["--token-file", &wrong]), "401");
    real.check_refused(&with(&[&good[..], &["--subscriber-tokens", &wrong]].concat()), "401");
    // Good tokens that grant something else.
    real.check_refused(&with(&good), "403");
    let reader = real.tokens("reader", &[real.token("reader", json!({"subscribe": ["bench:*"]}))]);
    real.check_refused(&with(&["--token-file", &reader]), "403");
    // One bad token among good ones.
    let all = fs::read_to_string(&readers).expect("tokens");
    let mixed = real.tokens("mixed", &[all, "eyJhbGciOiJub25lIn0.e30.".to_owned()]);
    let tokens = [&good[..], &["--subscriber-tokens", &mixed, "-c", "6"]].concat();
    real.check_refused(&with(&tokens), "401");
}
