//! Restarts: clients that resume across them, and within one server's life, know exactly what they have and what not.

mod support;

use std::net::SocketAddr;

use serde_json::Value;
use support::http::wait_for_delivery;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS, Transport};

/// Events published while a server lives: one half before clients are cut off, the other while they are away.
const EVENTS: usize = 10;

/// A client that survives servers.
struct Survivor {
    transport: Transport,
    /// Where it stands: the epoch, and the number that it had last.
    cursor: Option<(String, u64)>,
    gaps: usize,
    events: usize,
}

impl Survivor {
    fn since(&self) -> String {
        self.cursor.as_ref().map_or(String::from("earliest"), |(epoch, seq)| format!("{epoch}-{seq}"))
    }

    /// Resumes, and takes everything up to `last`.
    fn take(&mut self, address: SocketAddr, epoch: &str, last: u64) {
        let mut stream = Stream::open(self.transport, address, "r:*", &self.since());
        let is_foreign = self.cursor.as_ref().is_some_and(|(known, _)| known != epoch);
        if is_foreign {
            let gap = stream.next();
            let expected = serde_json::json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": self.since()});
            assert_eq!(without_extras(&gap), expected);
            self.gaps += 1;
        }
        let first = if is_foreign { 1 } else { self.cursor.as_ref().map_or(1, |(_, seq)| seq + 1) };
        stream.assert_next(first..=last);
        self.events += (first..=last).count();
        self.cursor = Some((epoch.to_owned(), last));
    }
}

/// A gap's members that this is about.
fn without_extras(gap: &Value) -> Value {
    let mut gap = gap.clone();
    gap.as_object_mut()
        .expect("an object")
        .retain(|name, _| ["type", "from", "to", "cause", "old"].contains(&&**name));
    gap
}

/// Lets `clients` resume twice in the life of each of `servers` servers, one after the other.
fn check(servers: usize, clients: usize) {
    let mut survivors: Vec<Survivor> = (0..clients)
        .map(|number| Survivor { transport: TRANSPORTS[number % 2], cursor: None, gaps: 0, events: 0 })
        .collect();
    for _ in 0..servers {
        let mut server = ServerProcess::start(&[]);
        let mut publisher = Publisher::connect(server.public);
        let epoch = epoch_of(server.public);
        for _ in 0..2 {
            let (_, last) = publisher.publish_many("r:a", EVENTS / 2);
            wait_for_delivery(server.public, last);
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            let share = clients.div_ceil(threads);
            std::thread::scope(|scope| {
                for survivors in survivors.chunks_mut(share) {
                    scope.spawn(|| {
                        for survivor in survivors {
                            survivor.take(server.public, &epoch, last);
                        }
                    });
                }
            });
        }
        drop(publisher);
        server.signal("TERM");
        assert_eq!(server.wait_for_end().code(), Some(0));
    }
    for survivor in &survivors {
        assert_eq!(survivor.events, servers * EVENTS, "every event of every server, once");
        assert_eq!(survivor.gaps, servers - 1, "one gap for each restart");
    }
}

fn epoch_of(address: SocketAddr) -> String {
    let (_, answer) = support::websocket::Client::subscribed(address, "r:epoch");
    answer["epoch"].as_str().expect("an epoch").to_owned()
}

#[test]
fn five_hundred_resumes_over_five_servers_lose_and_repeat_nothing() {
    check(5, 50);
}

#[test]
#[ignore = "takes a minute; tests/run long calls it"]
fn twenty_thousand_resumes_over_a_hundred_servers_lose_and_repeat_nothing() {
    check(100, 100);
}
