//! Clients that stop reading: each is dealt with by the policy that it has chosen, accounts for everything that was
//! published, and costs the others nothing.

mod support;

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use fanfare::words::on_slow::OnSlow;
use serde_json::{Value, json};
use support::heap::{Counting, live_bytes};
use support::http::{Http, get};
use support::local::LocalServer;
use support::publisher::{Publisher, range_of};
use support::sse::Sse;
use support::stream::{Stream, TRANSPORTS, Transport};
use support::websocket::Client;
use support::{PATIENCE, connect_narrow, wait_until};

#[global_allocator]
static HEAP: Counting = Counting;

/// Entities that the events of a flood are about.
const ENTITIES: usize = 5;

/// Bytes of data in each event of a flood: a socket that nobody reads is full after a few hundred.
const DATA_BYTES: usize = 10_000;

/// Publishes `batches` of 50 large events on `t:a`, and something else between. Calls `on` with the numbers of each
/// batch; returns all of them.
fn flood(server: &LocalServer, batches: usize, mut on: impl FnMut(u64, u64)) -> Vec<u64> {
    let mut publisher = Publisher::connect(server.public);
    let data = "x".repeat(DATA_BYTES);
    let mut seqs = Vec::new();
    for _ in 0..batches {
        let event = |at: usize| {
            let id = at % ENTITIES;
            format!(r#"{{"channel":"t:a","event":"k","ids":[{id}],"data":"{data}"}}"#)
        };
        let body: Vec<String> = (0..50).map(event).collect();
        let answer = publisher.request("/publish", &format!("[{}]", body.join(",")));
        assert_eq!(answer.status, 202, "{}", answer.text());
        let (first, last) = range_of(&answer);
        on(first, last);
        seqs.extend(first..=last);
        publisher.publish_many("t:noise", 3);
    }
    seqs
}

/// What a client has had.
#[derive(Debug, Default)]
struct Account {
    received: Vec<u64>,
    /// The newest of each entity.
    newest: BTreeMap<u64, u64>,
    gaps: BTreeMap<String, u64>,
    matched: u64,
    /// Everything up to this was received or named; what is kept of a range that was thinned out follows its gap.
    position: u64,
}

impl Account {
    /// Reads on until everything up to `last` is accounted for.
    fn read(&mut self, stream: &mut Stream, last: u64) {
        while self.position < last {
            let message = stream.next();
            self.take(&message);
        }
    }

    fn take(&mut self, message: &Value) {
        let number = |name: &str| message[name].as_u64().unwrap_or_else(|| panic!("{name} of {message}"));
        if message["type"] == "gap" {
            let (from, to) = (number("from"), number("to"));
            assert!(self.position < from && from <= to, "{message} after {}", self.position);
            let cause = message["cause"].as_str().expect("a cause").to_owned();
            self.position = if cause == "skipped" { from - 1 } else { to };
            *self.gaps.entry(cause).or_default() += 1;
            self.matched += number("matched");
            return;
        }
        let seq = number("seq");
        assert!(self.position < seq, "{seq} after {}", self.position);
        self.position = seq;
        self.received.push(seq);
        if let Some(id) = message["ids"][0].as_u64() {
            self.newest.insert(id, seq);
        }
    }

    /// Everything that was published it has received, or was told that it has not.
    fn check(&self, published: &[u64]) {
        assert!(self.received.iter().all(|seq| published.contains(seq)));
        assert_eq!(self.received.len() as u64 + self.matched, published.len() as u64, "{:?}", self.gaps);
    }
}

fn number_of(server: &LocalServer, name: &str) -> u64 {
    get(server.admin, "/stats").json()[name].as_u64().unwrap_or_else(|| panic!("{name} is a number"))
}

/// Opens a stream of `t:a` that can hold few bytes which nobody has read.
fn open_narrow(server: &LocalServer, transport: Transport, policy: &str) -> Stream {
    let query = format!("t:a&on_slow={policy}");
    Stream::open_over(connect_narrow(server.public), transport, &query, "")
}

/// Taken for writing by the test that looks at the memory of the whole process.
static ALONE: RwLock<()> = RwLock::new(());

#[test]
fn a_stalled_client_accounts_for_everything_by_what_it_received_and_its_gaps() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let tight = Limits { retain_events: 64, retain_bytes: 1 << 20, ..Limits::default() };
    for transport in TRANSPORTS {
        for (policy, limits, cause) in [
            ("gap", tight.clone(), "lapped"),
            ("gap", Limits { lag_events_max: Some(200), ..Limits::default() }, "lapped"),
            ("latest", Limits::default(), "skipped"),
            (
                "latest",
                Limits { lag_events_max: Some(200), conflate_events_max: 5000, ..Limits::default() },
                "skipped",
            ),
        ] {
            let server = LocalServer::start(limits);
            let mut healthy = Stream::open(transport, server.public, "t:a", "");
            let mut stalled = open_narrow(&server, transport, policy);
            let published = flood(&server, 16, |first, last| healthy.assert_next(first..=last));
            let mut account = Account::default();
            let last = *published.last().unwrap();
            account.read(&mut stalled, last);
            account.check(&published);
            let what = format!("{policy} {transport:?}: {:?}", account.gaps);
            assert!(account.gaps.contains_key(cause), "{what}");
            assert_eq!(account.gaps.len(), 1, "{what}");
            assert_eq!(number_of(&server, &format!("gaps_{cause}")), account.gaps[cause], "{what}");
            let skipped = if cause == "skipped" { account.matched } else { 0 };
            assert_eq!(number_of(&server, "events_skipped"), skipped, "{what}");
            // The newest of every entity are the last there are.
            let newest: Vec<u64> = account.newest.into_values().collect();
            assert!(newest.iter().copied().eq(last + 1 - ENTITIES as u64..=last), "{what} {newest:?}");
            // It goes on as if nothing had been.
            let next = Publisher::connect(server.public).publish("t:a", "1");
            assert_eq!((stalled.next_seq(), healthy.next_seq()), (next, next), "{what}");
        }
    }
}

#[test]
fn a_client_that_is_cut_off_behind_a_skipped_gap_has_lost_nothing() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let server = LocalServer::start(Limits::default());
    let stream = connect_narrow(server.public);
    let mut sse = Sse::open_over(stream, "/events?channel=t:a&on_slow=latest", "");
    let published = flood(&server, 16, |_, _| ());
    let mut received = 0;
    let gap = loop {
        let block = sse.next_data().json();
        if block["type"] == "gap" {
            break block;
        }
        received += 1;
    };
    let from = gap["from"].as_u64().unwrap();
    assert_eq!(sse.last_event_id, format!("{}-{}", server.epoch(), from - 1), "the place before it");
    let field = format!("Last-Event-ID: {}\r\n", sse.last_event_id);
    drop(sse);
    let mut sse = Sse::open(server.public, "/events?channel=t:a&on_slow=latest", &field);
    for seq in &published[received..] {
        assert_eq!(sse.next_json()["seq"], *seq, "what is asked for is not thinned out");
    }
}

#[test]
fn a_client_that_wants_to_be_closed_is_told_where_to_come_back() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits {
        slow_max: Duration::from_millis(200),
        // Here it takes its time to read our last words.
        linger_max: PATIENCE,
        ..Limits::default()
    };
    for transport in TRANSPORTS {
        let server = LocalServer::start(limits.clone());
        let mut healthy = Stream::open(transport, server.public, "t:a", "");
        let stalled = open_narrow(&server, transport, "close");
        let published = flood(&server, 16, |first, last| healthy.assert_next(first..=last));
        wait_until("it is closed for being slow", || number_of(&server, "closed_slow") == 1);
        assert_eq!(server.hub().counters.streams(), 1, "it is no stream any more");
        let mut account = Account::default();
        let cursor = match stalled {
            Stream::WebSocket(client) => {
                let (code, reason) =
                    client.goodbye(|text| account.take(&serde_json::from_str(text).unwrap()));
                assert_eq!(code, 1013);
                reason
            }
            Stream::Sse(mut sse) => {
                while let Some(block) = sse.next_block() {
                    if block.data.is_some() {
                        account.take(&block.json());
                    }
                }
                sse.last_event_id
            }
        };
        assert_eq!(cursor, format!("{}-{}", server.epoch(), account.position), "{transport:?}");
        assert!(account.position < *published.last().unwrap(), "{transport:?}");
        let mut stream = Stream::open(transport, server.public, "t:a", &cursor);
        account.read(&mut stream, *published.last().unwrap());
        assert_eq!(account.received, published, "nothing lost and nothing twice ({transport:?})");
    }
}

#[test]
fn a_client_that_takes_not_even_our_last_words_is_let_go() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let slow_max = Duration::from_millis(100);
    let server = LocalServer::start(Limits { slow_max, linger_max: slow_max, ..Limits::default() });
    let stalled = open_narrow(&server, Transport::WebSocket, "close");
    flood(&server, 16, |_, _| ());
    wait_until("it is closed for being slow", || number_of(&server, "closed_slow") == 1);
    // What asks is a connection itself.
    wait_until("it is gone", || number_of(&server, "connections") == 1);
    drop(stalled);
}

#[test]
fn a_client_that_is_too_far_behind_is_closed_as_soon_as_it_takes_bytes() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let limits = [
        Limits { lag_events_max: Some(100), slow_max: PATIENCE, ..Limits::default() },
        Limits { lag_age_max: Some(Duration::from_millis(1)), slow_max: PATIENCE, ..Limits::default() },
    ];
    for limits in limits {
        let server = LocalServer::start(limits);
        let stalled = open_narrow(&server, Transport::WebSocket, "close");
        let published = flood(&server, 16, |_, _| ());
        let Stream::WebSocket(client) = stalled else { unreachable!("it is one") };
        let mut account = Account::default();
        let (code, reason) = client.goodbye(|text| account.take(&serde_json::from_str(text).unwrap()));
        assert_eq!((code, reason), (1013, format!("{}-{}", server.epoch(), account.position)));
        assert!(account.received.len() < published.len() && account.gaps.is_empty(), "{:?}", account.gaps);
    }
}

#[test]
fn whoever_reads_is_not_thinned_out_however_much_it_asks_for() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let server = LocalServer::start(Limits { conflate_events_max: 0, ..Limits::default() });
    let published = flood(&server, 16, |_, _| ());
    for transport in TRANSPORTS {
        let stream = connect_narrow(server.public);
        let mut stream = Stream::open_over(stream, transport, "t:a&on_slow=latest", "earliest");
        stream.assert_next(published.iter().copied());
    }
}

#[test]
fn stalled_clients_cost_a_frame_each_and_no_more() {
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits { retain_events: 64, retain_bytes: 1 << 20, ..Limits::default() };
    let server = LocalServer::start(limits);
    let mut healthy = Stream::open(Transport::WebSocket, server.public, "t:a", "");
    flood(&server, 8, |first, last| healthy.assert_next(first..=last));
    let stalled: Vec<Stream> =
        (0..60).map(|at| open_narrow(&server, TRANSPORTS[at % 2], ["gap", "latest"][at / 2 % 2])).collect();
    flood(&server, 8, |first, last| healthy.assert_next(first..=last));
    wait_until("all of them are behind", || number_of(&server, "lagging") == stalled.len() as u64);
    let before = live_bytes();
    flood(&server, 16, |first, last| healthy.assert_next(first..=last));
    assert_eq!(number_of(&server, "lagging"), stalled.len() as u64);
    let after = live_bytes();
    // Eight megabytes on a channel that sixty clients want: one queue alone would hold most of that.
    assert!(after < before + (2 << 20), "{before} bytes have become {after}");
}

#[test]
fn policies_are_chosen_by_query_by_command_and_by_the_server() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let settings = Settings { on_slow: OnSlow::Latest, ..Settings::default() };
    let server = LocalServer::start_with_settings(Limits::default(), 2, settings);
    let shown = |user: &str| {
        let list = get(server.admin, "/clients").json()["clients"].clone();
        let list = list.as_array().unwrap().clone();
        list.into_iter().find(|one| one["user"] == user).map(|one| one["on_slow"].clone())
    };
    let mut client = Client::open(server.public, "/ws?user=a");
    client.settle();
    assert_eq!(shown("a"), Some(json!("latest")), "as the server says");
    for (command, expected) in [
        (r#"{"type":"subscribe","channel":"t:a","on_slow":"close"}"#, "close"),
        (r#"{"type":"subscribe","channel":"t:b"}"#, "close"),
        (r#"{"type":"subscribe","channel":"t:b","on_slow":"gap"}"#, "gap"),
        (r#"{"type":"subscribe","channel":"t:c","last":1,"on_slow":"latest"}"#, "latest"),
    ] {
        client.send(command);
        while client.next()["type"] != "subscribed" {}
        assert_eq!(shown("a"), Some(json!(expected)), "{command}");
    }
    for (path, user) in [
        ("/ws?on_slow=gap&user=b", "b"),
        ("/ws?dialect=engram&on_slow=gap&user=c", "c"),
        ("/ws?dialect=guts&on_slow=gap&user=d", "d"),
    ] {
        let mut client = Client::open(server.public, path);
        client.settle();
        assert_eq!(shown(user), Some(json!("gap")), "{path}");
    }
    for (path, user) in [
        ("/events?channel=t:a&on_slow=close&user=e", "e"),
        ("/v1/events?on_slow=close&user=f", "f"),
        ("/api/events?channel=repo:a/b&on_slow=close&user=g", "g"),
    ] {
        let _sse = Sse::open(server.public, path, "");
        assert_eq!(shown(user), Some(json!("close")), "{path}");
    }
    for path in ["/events?channel=t:a&on_slow=late", "/v1/events?on_slow=", "/ws?on_slow=GAP"] {
        let headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let headers = if path.starts_with("/ws") { headers } else { "" };
        let mut http = Http::connect(server.public);
        http.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        http.answer().assert_problem(400, "bad_on_slow", path);
    }
    get(server.public, "/history?channel=t:a&on_slow=gap").assert_problem(
        400,
        "unknown_parameter",
        "history",
    );
    let answer = client.ask(r#"{"type":"subscribe","channel":"t:a","on_slow":"late","id":1}"#);
    assert_eq!((&answer["code"], &answer["id"]), (&json!("bad_on_slow"), &json!(1)));
}

#[test]
fn who_is_furthest_behind_is_listed_first() {
    let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let server = LocalServer::start(Limits::default());
    let mut healthy = Stream::open(Transport::WebSocket, server.public, "t:a", "");
    let first = open_narrow(&server, Transport::Sse, "gap");
    flood(&server, 8, |first, last| healthy.assert_next(first..=last));
    let second = open_narrow(&server, Transport::WebSocket, "latest");
    flood(&server, 8, |first, last| healthy.assert_next(first..=last));
    wait_until("both are behind", || number_of(&server, "lagging") == 2);
    let list = |query: &str| get(server.admin, &format!("/clients{query}")).json();
    let all = list("?sort=lag");
    let clients = all["clients"].as_array().unwrap();
    let transports: Vec<&str> = clients.iter().map(|one| one["transport"].as_str().unwrap()).collect();
    assert_eq!(transports, ["sse", "websocket", "websocket"], "{all}");
    for (one, is_behind) in clients.iter().zip([true, true, false]) {
        assert_eq!(one["state"], if is_behind { "lagging" } else { "live" }, "{one}");
        for name in ["lag", "lag_ms"] {
            assert_eq!(0 < one[name].as_u64().unwrap(), is_behind, "{name} of {one}");
        }
        wait_until("it has stalled for a while", || {
            let again = list("?sort=lag");
            let same = again["clients"].as_array().unwrap().iter().find(|same| same["id"] == one["id"]);
            (0 < same.unwrap()["stalled_ms"].as_u64().unwrap()) == is_behind
        });
    }
    assert_eq!(clients[1]["on_slow"], "latest");
    let worst = list("?sort=lag&limit=1");
    assert_eq!((&worst["clients"][0]["id"], &worst["more"]), (&clients[0]["id"], &json!(true)));
    get(server.admin, "/clients?sort=name").assert_problem(400, "bad_sort", "by name");
    drop((first, second));
    wait_until("nobody is behind any more", || number_of(&server, "lagging") == 0);
}
