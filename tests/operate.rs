//! The operators' door: who is connected, what is subscribed to, announcements, clearing, counters.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};
use support::http::{Answer, Http, ask, get, post, request_text, wait_for_delivery};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::stream::{Stream, TRANSPORTS, Transport};
use support::websocket::Client;
use support::{connect_narrow, wait_until};

/// Everybody who is connected, by the user's name.
fn clients(server: &ServerProcess) -> BTreeMap<String, Value> {
    let document = get(server.admin, "/clients").json();
    assert_eq!(document["more"], false);
    let list = document["clients"].as_array().unwrap();
    list.iter().map(|one| (one["user"].as_str().unwrap_or_default().to_owned(), one.clone())).collect()
}

fn delete(address: SocketAddr, path: &str) -> Answer {
    ask(address, "DELETE", path, "", "")
}

/// Sequence numbers of what history has of a channel, and the gap if there is one.
fn history(server: &ServerProcess, query: &str) -> (Vec<u64>, Value) {
    let document = get(server.public, &format!("/history?limit=1000&{query}")).json();
    let events = document["events"].as_array().unwrap();
    let seqs = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    (seqs, document.get("gap").cloned().unwrap_or_default())
}

#[test]
fn a_client_is_shown_with_everything_that_is_known_of_it() {
    let server = ServerProcess::start(&[]);
    let before =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let sse = Sse::open(
        server.public,
        "/events?channel=t:a,t:b&user=alice",
        &format!("User-Agent: {}\r\n", "browser/1 ".repeat(20)),
    );
    let mut client = Client::open(server.public, "/ws?dialect=guts&user=bob");
    assert_eq!(client.ask(r#"{"type":"subscribe","channel":"repo:a/b"}"#)["type"], "subscribed");
    let mut nobody = Client::open(server.public, "/ws?channel=t:a");
    assert_eq!(nobody.next()["type"], "subscribed");
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    publisher.publish("t:a", "2");
    publisher.publish("repo:a/b", "3");
    wait_for_delivery(server.public, 3);
    let known = clients(&server);
    assert_eq!(known.len(), 3, "those who ask are none: {known:?}");
    let check = |user: &str, transport: &str, dialect: &str, subscriptions: u64, delivered: u64| {
        let one = &known[user];
        let got = ["transport", "dialect", "state"].map(|name| one[name].as_str().unwrap());
        assert_eq!(got, [transport, dialect, "live"], "{one}");
        let got =
            ["subscriptions", "delivered", "cursor", "lag", "gaps"].map(|name| one[name].as_u64().unwrap());
        assert_eq!(got, [subscriptions, delivered, 3, 0, 0], "{one}");
        assert!(one["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{one}");
        assert!(one["connected_at"].as_u64().is_some_and(|at| before <= at), "{one}");
        assert!(one["bytes"].as_u64().is_some_and(|bytes| 100 < bytes), "{one}");
    };
    check("alice", "sse", "native", 2, 2);
    check("bob", "websocket", "guts", 1, 1);
    check("", "websocket", "native", 1, 2);
    assert_eq!(known["alice"]["agent"], "browser/1 ".repeat(20)[..128]);
    assert_eq!((&known[""]["user"], &known[""]["agent"]), (&Value::Null, &Value::Null));
    let ids: BTreeSet<&str> = known.values().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    drop(sse);
    client.close();
    wait_until("those who are gone are not shown", || clients(&server).len() == 1);
}

#[test]
fn a_slow_client_is_shown_with_its_lag_and_its_gaps() {
    let server = ServerProcess::start(&["--retain-events", "10", "--retain-bytes", "1MiB"]);
    let mut slow = Client::open_over(connect_narrow(server.public), "/ws?channel=t:a&user=slow");
    assert_eq!(slow.next()["type"], "subscribed");
    let mut publisher = Publisher::connect(server.public);
    let large = format!("\"{}\"", "x".repeat(100_000));
    wait_until("it is behind", || {
        publisher.publish("t:a", &large);
        clients(&server)["slow"]["state"] == "lagging"
    });
    let before = clients(&server)["slow"].clone();
    publisher.publish("t:b", "1");
    let after = clients(&server)["slow"].clone();
    assert_eq!(after["lag"].as_u64(), Some(before["lag"].as_u64().unwrap() + 1), "{before} {after}");
    assert_eq!(after["cursor"], before["cursor"]);
    // Far enough for the log to overtake it.
    for _ in 0..300 {
        publisher.publish("t:a", &large);
    }
    let last = publisher.publish("t:a", "1");
    let mut gaps = 0;
    loop {
        let message = slow.next();
        gaps += u64::from(message["type"] == "gap");
        if message["seq"] == last {
            break;
        }
    }
    assert!(0 < gaps);
    assert_eq!(clients(&server)["slow"]["gaps"], gaps);
    wait_until("it has caught up", || clients(&server)["slow"]["state"] == "live");
}

#[test]
fn a_list_of_clients_may_be_cut_short() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let _streams: Vec<Stream> =
        (0..6).map(|_| Stream::open(Transport::Sse, server.public, "t:a", "")).collect();
    for limit in 1..=8 {
        let document = get(server.admin, &format!("/clients?limit={limit}")).json();
        let shown = document["clients"].as_array().unwrap().len();
        assert_eq!((shown, &document["more"]), (limit.min(6), &json!(limit < 6)), "{limit}");
    }
    for limit in ["0", "1001", "x"] {
        get(server.admin, &format!("/clients?limit={limit}")).assert_problem(400, "bad_limit", limit);
    }
}

#[test]
fn one_client_may_be_disconnected_by_its_id() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut streams: Vec<Client> =
        (0..8).map(|at| Client::open(server.public, &format!("/ws?channel=t:a&user=u{at}"))).collect();
    streams.iter_mut().for_each(|client| assert_eq!(client.next()["type"], "subscribed"));
    let known = clients(&server);
    for at in [6, 1] {
        let id = known[&format!("u{at}")]["id"].as_str().unwrap();
        let answer = delete(server.admin, &format!("/clients/{id}"));
        assert_eq!((answer.status, answer.json()), (200, json!({"disconnected": 1})));
        // It is gone for operators from then on, however long its goodbye takes.
        delete(server.admin, &format!("/clients/{id}")).assert_problem(404, "no_such_client", id);
        assert!(!clients(&server).contains_key(&format!("u{at}")));
        let told = streams.remove(at).goodbye(|text| panic!("{text}"));
        assert_eq!(told, (1008, "disconnected by an operator".to_owned()));
    }
    assert_eq!(clients(&server).len(), 6);
    Publisher::connect(server.public).publish("t:a", "1");
    streams.iter_mut().for_each(|client| assert_eq!(client.next()["data"], 1));
    for id in ["0-ff", "nonsense", "9-1"] {
        delete(server.admin, &format!("/clients/{id}")).assert_problem(404, "no_such_client", id);
    }
}

#[test]
fn all_clients_of_a_user_may_be_disconnected() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut of_alice: Vec<Client> =
        (0..6).map(|_| Client::open(server.public, "/ws?channel=t:a&user=alice")).collect();
    of_alice.iter_mut().for_each(|client| assert_eq!(client.next()["type"], "subscribed"));
    let mut sse = Sse::open(server.public, "/events?channel=t:a&user=alice", "");
    let mut bob = Stream::open(Transport::Sse, server.public, "t:a&user=bob", "");
    assert_eq!(delete(server.admin, "/users/alice").json(), json!({"disconnected": 7}));
    assert_eq!(delete(server.admin, "/users/alice").json(), json!({"disconnected": 0}));
    assert_eq!(delete(server.admin, "/users/nobody").json(), json!({"disconnected": 0}));
    for client in of_alice {
        assert_eq!(client.goodbye(|text| panic!("{text}")).0, 1008);
    }
    while let Some(block) = sse.next_block() {
        assert_eq!(block.data, None, "nothing but the beginning of the stream");
    }
    Publisher::connect(server.public).publish("t:a", "1");
    assert_eq!(bob.next()["data"], 1);
    assert_eq!(get(server.admin, "/stats").json()["subscriptions"], 1);
}

#[test]
fn channels_are_shown_with_their_subscribers_on_every_loop() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    publisher.publish("t:a/b", "2");
    publisher.publish("u:c", "3");
    let body = r#"{"channel":"t:a","event":"k","workspace":"acme"}"#;
    assert_eq!(post(server.public, "/publish", body).status, 202);
    let open = |query: &str| Stream::open(Transport::WebSocket, server.public, query, "");
    let streams: Vec<Stream> = (0..12).map(|_| open("t:a")).collect();
    let _below = open("t:a/b");
    let _wild = open("t:*");
    let _inside = Sse::open(server.public, "/events?channel=t:a&workspace=acme", "");
    let loops: BTreeSet<String> = get(server.admin, "/clients").json()["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap()[..1].to_owned())
        .collect();
    assert_eq!(loops.len(), 2, "both loops have some");
    let check = |path: &str, expected: &[(&str, Option<&str>, u64, u64)], more: bool| {
        let document = get(server.admin, path).json();
        let list = document["channels"].as_array().unwrap();
        let shown: BTreeSet<_> = list
            .iter()
            .map(|one| {
                let number = |name: &str| one[name].as_u64().unwrap();
                (
                    one["channel"].as_str().unwrap(),
                    one["workspace"].as_str(),
                    number("newest"),
                    number("subscribers"),
                )
            })
            .collect();
        assert_eq!(shown, expected.iter().copied().collect(), "{path}");
        assert_eq!(document["more"], more, "{path}");
    };
    let (a, b, c) = (("t:a", None, 1, 13), ("t:a/b", None, 2, 14), ("u:c", None, 3, 0));
    let inside = ("t:a", Some("acme"), 4, 1);
    check("/channels", &[a, b, c, inside], false);
    check("/channels?channel=u:*", &[c], false);
    check("/channels?workspace=acme", &[inside], false);
    check("/channels/t:a", &[a, b, inside], false);
    check("/channels/t%3Aa%2Fb", &[b], false);
    check("/channels/t:a?workspace=acme", &[inside], false);
    check("/channels/t:never", &[], false);
    assert_eq!(get(server.admin, "/channels?limit=2").json()["more"], true);
    get(server.admin, "/channels/nonsense").assert_problem(400, "bad_channel", "nonsense");
    get(server.admin, "/channels?workspace=_x").assert_problem(400, "bad_workspace", "_x");
    drop(streams);
    wait_until("those who are gone do not count", || {
        get(server.admin, "/channels?channel=t:a/b").json()["channels"][0]["subscribers"] == 2
    });
}

/// Announces something; returns its number.
fn announce(server: &ServerProcess, message: &str) -> u64 {
    let answer = post(server.admin, "/announce", &json!({"message": message}).to_string());
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["seq"].as_u64().unwrap()
}

#[test]
fn an_announcement_reaches_every_stream_whatever_it_subscribes_to() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let open = |path: &str| Client::open(server.public, path);
    let confirmed = |path: &str| {
        let mut client = open(path);
        assert_eq!(client.next()["type"], "subscribed", "{path}");
        client
    };
    let mut bare = open("/ws");
    let mut native = [
        confirmed("/ws?channel=t:a"),
        confirmed("/ws?channel=*"),
        confirmed("/ws?channel=t:a&event_types=push&tags=x&ids=7"),
        confirmed("/ws?channel=t:a&event_types="),
        confirmed("/ws?channel=t:a&workspace=acme"),
    ];
    let own = r#"{"type":"subscribe","channel":"t:b","filter":{"event_types":["push"]}}"#;
    assert_eq!(native[0].ask(own)["type"], "subscribed");
    let sse = |path: &str| Sse::open(server.public, path, "");
    let mut blocks = [
        sse("/events?channel=t:a"),
        sse("/events?channel=t:a&event_types=push&workspace=acme"),
        sse("/events?channel=*&unnamed"),
    ];
    let mut engram = [open("/ws?dialect=engram"), open("/ws?dialect=engram&event_types=progress")];
    engram[0].send(r#"{"memory_ids":[1]}"#);
    engram[0].settle();
    let mut engram_sse = sse("/v1/events?event_types=sync_failed");
    let mut guts = open("/ws?dialect=guts");
    let mut sdk = sse("/api/events?channel=repo:a/b");
    let mut cloud = confirmed("/ws?channel=t:a&dialect=cloudevents");
    // Whoever has no answer to wait for is there all the same.
    bare.settle();
    guts.settle();
    engram[1].settle();

    let epoch = get(server.admin, "/stats").json()["epoch"].as_str().unwrap().to_owned();
    let seq = announce(&server, "back at \"noon\"");
    for client in [&mut bare].into_iter().chain(&mut native) {
        let mut message = client.next();
        let timestamp = message.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.is_u64());
        let event_id = format!("{epoch}-{seq}");
        let expected =
            json!({"type": "system", "seq": seq, "message": "back at \"noon\"", "event_id": event_id});
        assert_eq!(message, expected);
    }
    for (at, sse) in blocks.iter_mut().enumerate() {
        let block = sse.next_data();
        assert_eq!(block.id, Some(format!("{epoch}-{seq}")));
        assert_eq!(block.event.as_deref(), if at == 2 { None } else { Some("system") });
        assert_eq!(
            (&block.json()["type"], &block.json()["message"]),
            (&json!("system"), &json!("back at \"noon\""))
        );
    }
    for message in [engram[0].next(), engram[1].next(), engram_sse.next_json()] {
        assert_eq!((&message["type"], &message["seq_id"]), (&json!("system"), &json!(seq)), "{message}");
        assert_eq!(message["data"], "back at \"noon\"");
    }
    let message = guts.next();
    assert_eq!((&message["type"], &message["event"]), (&json!("event"), &json!("system")), "{message}");
    assert_eq!(
        (&message["channel"], &message["data"]),
        (&json!("sys:announcements"), &json!("back at \"noon\""))
    );
    let message = sdk.next_json();
    assert_eq!((&message["type"], &message["payload"]), (&json!("system"), &json!("back at \"noon\"")));
    let message = cloud.next();
    assert_eq!((&message["type"], &message["data"]), (&json!("system"), &json!("back at \"noon\"")));
    // Once each: what comes next is the next.
    let next = announce(&server, "second");
    native.iter_mut().for_each(|client| assert_eq!(client.next()["seq"], next));
}

#[test]
fn an_announcement_has_its_place_in_the_order_and_is_resumed() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut live = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "t:a", ""));
    let mut publisher = Publisher::connect(server.public);
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(publisher.publish("t:a", "1"));
        order.push(announce(&server, "now"));
        publisher.publish("t:other", "1");
    }
    assert_eq!(order, [1, 2, 4, 5, 7, 8]);
    for transport in TRANSPORTS {
        let mut resumed = Stream::open(transport, server.public, "t:a", "2");
        let mut filtered = Stream::open(transport, server.public, "t:none&event_types=push", "1");
        let seqs = |stream: &mut Stream, count: usize| {
            (0..count).map(|_| stream.next()["seq"].as_u64().unwrap()).collect::<Vec<u64>>()
        };
        assert_eq!(seqs(&mut resumed, 4), [4, 5, 7, 8], "{transport:?}");
        assert_eq!(seqs(&mut filtered, 3), [2, 5, 8], "{transport:?}");
    }
    wait_for_delivery(server.public, 8);
    let mut later = Client::open(server.public, "/ws");
    let answer = later.ask(r#"{"type":"subscribe","channel":"t:none","since":4}"#);
    assert_eq!((&answer["type"], &answer["seq"]), (&json!("subscribed"), &json!(4)));
    assert_eq!([later.next()["seq"].as_u64(), later.next()["seq"].as_u64()], [Some(5), Some(8)]);
    for stream in &mut live {
        for seq in &order {
            assert_eq!(stream.next()["seq"], *seq);
        }
    }
}

#[test]
fn bad_announcements_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |body: &str, status: u16, code: &str| {
        post(server.admin, "/announce", body).assert_problem(status, code, body);
    };
    check("", 400, "bad_json");
    check(r#"{"text":"x"}"#, 400, "bad_json");
    check(r#"{"message":1}"#, 400, "bad_json");
    check(r#"{"message":""}"#, 400, "bad_message");
    check(r#"["x"]"#, 400, "bad_json");
    check(&json!({"message": "x".repeat(4097)}).to_string(), 413, "bad_message");
    assert_eq!(announce(&server, &"x".repeat(4096)), 1);
}

#[test]
fn what_is_cleared_is_a_gap_for_whoever_asks_for_it() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_many("t:a", 10);
    publisher.publish("t:b", "1");
    let clear = |body: Value| {
        let answer = post(server.admin, "/clear", &body.to_string());
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        answer.json()
    };
    let gap = |to: u64| json!({"type": "gap", "from": 3, "to": to, "cause": "evicted", "matched": to - 2});
    assert_eq!(clear(json!({"before": 5})), json!({"cleared": 4, "oldest": 5}));
    assert_eq!(clear(json!({"before": 5})), json!({"cleared": 0, "oldest": 5}), "it is gone already");
    assert_eq!(history(&server, "channel=t:a&after=2"), ((5..=10).collect(), gap(4)));
    assert_eq!(history(&server, "channel=t:a&after=4").1, Value::Null, "nothing after 4 was lost");
    assert_eq!(history(&server, "channel=t:b&after=2"), (vec![11], Value::Null), "nor of another channel");
    for transport in TRANSPORTS {
        let mut stream = Stream::open(transport, server.public, "t:a", "2");
        assert_eq!(stream.next(), gap(4), "{transport:?}");
        stream.assert_next(5..=10);
    }
    assert_eq!(clear(json!({"keep": 2})), json!({"cleared": 5, "oldest": 10}));
    assert_eq!(history(&server, "channel=t:a&after=2"), (vec![10], gap(9)));
    let stamp = get(server.public, "/history?channel=t:b").json()["events"][0]["timestamp"].as_u64().unwrap();
    assert_eq!(clear(json!({"before_time": 0})), json!({"cleared": 0, "oldest": 10}));
    assert_eq!(clear(json!({"before_time": stamp + 1})), json!({"cleared": 2, "oldest": 12}));
    // Numbers go on, and so do live streams.
    wait_for_delivery(server.public, 11);
    let mut live = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "t:a", ""));
    assert_eq!(clear(json!({"keep": 0})), json!({"cleared": 0, "oldest": 12}));
    assert_eq!(publisher.publish("t:a", "1"), 12);
    live.iter_mut().for_each(|stream| stream.assert_next([12]));
    assert_eq!(clear(json!({"before": 999})), json!({"cleared": 1, "oldest": 13}), "not what is to come");
    assert_eq!(publisher.publish("t:a", "1"), 13);
    assert_eq!(history(&server, "channel=t:a&after=12"), (vec![13], Value::Null));
}

#[test]
fn a_slow_reader_below_what_was_cleared_gets_its_gap_where_it_stands() {
    let server = ServerProcess::start(&[]);
    let mut slow = Stream::open_over(connect_narrow(server.public), Transport::WebSocket, "t:a", "");
    let mut publisher = Publisher::connect(server.public);
    let large = format!("\"{}\"", "x".repeat(100_000));
    wait_until("it is behind", || {
        publisher.publish("t:a", &large);
        get(server.admin, "/clients").json()["clients"][0]["state"] == "lagging"
    });
    for _ in 0..20 {
        publisher.publish("t:a", &large);
    }
    let published = get(server.admin, "/stats").json()["published"].as_u64().unwrap();
    let answer = post(server.admin, "/clear", r#"{"keep":1}"#).json();
    assert_eq!(answer, json!({"cleared": published - 2, "oldest": published - 1}));
    let mut expected = 1;
    let gap = loop {
        let message = slow.next();
        if message["type"] == "gap" {
            break message;
        }
        assert_eq!(message["seq"], expected);
        expected += 1;
    };
    let (from, to) = (expected, published - 2);
    let matched = to - from + 1;
    assert_eq!(gap, json!({"type": "gap", "from": from, "to": to, "cause": "lapped", "matched": matched}));
    slow.assert_next([published - 1]);
}

#[test]
fn nothing_is_cleared_that_was_not_named() {
    let server = ServerProcess::start(&[]);
    Publisher::connect(server.public).publish_many("t:a", 10);
    let check = |body: &str, code: &str| {
        post(server.admin, "/clear", body).assert_problem(400, code, body);
        assert_eq!(history(&server, "channel=t:a").0.len(), 10, "{body}");
    };
    check("", "bad_json");
    check("{}", "bad_clear");
    check("[]", "bad_json");
    check("[null,null,0]", "bad_json");
    check("null", "bad_json");
    check(r#"{"before":5,"keep":1}"#, "bad_clear");
    check(r#"{"before":null}"#, "bad_clear");
    check(r#"{"befor":5}"#, "bad_json");
    check(r#"{"before":-1}"#, "bad_cursor");
    check(r#"{"before":"other-5"}"#, "bad_cursor");
    check(r#"{"before":"earliest"}"#, "bad_cursor");
    check(r#"{"before_time":"noon"}"#, "bad_time");
    check(r#"{"keep":-1}"#, "bad_json");
    ask(server.admin, "GET", "/clear", "", "").assert_problem(405, "method_not_allowed", "GET");
    // What says nothing of the log's own name may clear what it means.
    assert_eq!(post(server.admin, "/clear", r#"{"before":"3"}"#).json()["cleared"], 2);
}

#[test]
fn counters_count() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut streams = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "t:a,t:b", ""));
    let last = Publisher::connect(server.public).publish_many("t:a", 10).1;
    streams.iter_mut().for_each(|stream| stream.assert_next(1..=10));
    wait_for_delivery(server.public, last);
    let mut late = Stream::open(Transport::Sse, server.public, "t:a", "other-1");
    assert_eq!(late.next()["type"], "gap");
    late.assert_next(1..=10);
    // What has arrived is counted a moment later.
    let mut stats = Value::Null;
    wait_until("what was sent is counted", || {
        stats = get(server.admin, "/stats").json();
        stats["sse_events_sent"] == 20
    });
    let check = |name: &str, expected: u64| assert_eq!(stats[name], expected, "{name}: {stats}");
    check("oldest", 1);
    check("published", 11);
    check("streams", 3);
    check("streams_opened", 3);
    check("subscriptions", 5);
    check("subscriptions_made", 5);
    check("channels", 1);
    check("loops", 2);
    check("loop_lag_events", 0);
    check("websocket_events_sent", 10);
    check("gaps_told", 1);
    assert!(stats["bytes_sent"].as_u64().is_some_and(|bytes| 30 * 80 < bytes), "{stats}");
}

#[test]
fn metrics_are_valid_and_the_same_as_the_counters() {
    let server = ServerProcess::start(&[]);
    Publisher::connect(server.public).publish_many("t:a", 7);
    let mut http = Http::connect(server.admin);
    http.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (stats, answer) = (http.answer().json(), http.answer());
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with('\n'));
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
    };
    let (mut help, mut kinds, mut samples) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let mut histograms: BTreeMap<(&str, String), Vec<(&str, f64)>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("a name and a text");
            assert!(!words.is_empty() && help.insert(name), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name, kind).is_none() && !samples.contains_key(name), "{line}");
        } else if let Some((family, part, labels, value)) = part_of_histogram(line) {
            assert!(
                is_name(family) && kinds[family] == "histogram" && family.ends_with("_seconds"),
                "{line}"
            );
            histograms.entry((family, labels)).or_default().push((part, value));
        } else {
            let (series, value) = line.split_once(' ').expect("a name and a value");
            let name = series.split('{').next().unwrap();
            assert!(is_name(name) && help.contains(name), "{line}");
            assert_eq!(kinds[name] == "counter", name.ends_with("_total"), "{line}");
            assert!(samples.insert(series, value.parse::<f64>().expect("a number")).is_none(), "{line}");
        }
    }
    let with_samples: BTreeSet<&str> = samples
        .keys()
        .map(|series| series.split('{').next().unwrap())
        .chain(histograms.keys().map(|(family, _)| *family))
        .collect();
    assert_eq!(with_samples, kinds.keys().copied().collect(), "each has a sample");
    // Over either transport, at either pace; and answers and spans.
    assert_eq!(histograms.len(), 4 + 2, "{histograms:?}");
    histograms.iter().for_each(|(what, parts)| check_histogram(&format!("{what:?}"), parts));
    let answers = &histograms[&("fanfare_publish_to_answer_seconds", String::new())];
    assert_eq!(answers.last(), Some(&("_count", 1.0)), "a batch is answered once");
    // What has labels, or is of the process, no counter says.
    let is_counted = |series: &&str| series.starts_with("fanfare_") && !series.contains('{');
    let counted = samples.keys().filter(|series| is_counted(series)).count();
    assert_eq!(counted, stats.as_object().unwrap().len() - 1, "all but the epoch");
    for (name, value) in samples.iter().filter(|(series, _)| is_counted(series)) {
        let own = name.strip_prefix("fanfare_").expect("our own names").trim_end_matches("_total");
        // Answering the first question may have sent bytes.
        if own != "bytes_sent" {
            assert_eq!(stats[own].as_f64(), Some(*value), "{name}");
        }
    }
    assert_eq!(samples["fanfare_published"], 8.0);
    assert_eq!(samples["fanfare_events_published_total"], 7.0);
}

/// What stands at the beginning of some protocol buffers: a number in groups of seven bits, and the rest.
fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0).expect("the number ends");
    let (number, rest) = bytes.split_at(last + 1);
    (number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)), rest)
}

/// The fields of a message, each with its number; what is no text or message is empty.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let (key, rest) = varint(message);
        let (value, rest) = match key & 7 {
            0 => (&[][..], varint(rest).1),
            1 => (&[][..], &rest[8..]),
            2 => {
                let (length, rest) = varint(rest);
                rest.split_at(length as usize)
            }
            other => panic!("no field is of type {other}"),
        };
        all.push((key >> 3, value));
        message = rest;
    }
    all
}

#[test]
fn metrics_as_protocol_buffers_are_those_of_the_text_with_native_histograms() {
    let server = ServerProcess::start(&[]);
    Publisher::connect(server.public).publish_many("t:a", 7);
    let messages =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let accept = format!("Accept: {messages},text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n");
    let (text, answer) = (get(server.admin, "/metrics"), ask(server.admin, "GET", "/metrics", &accept, ""));
    let spaced = messages.replace(';', "; ");
    assert_eq!(answer.field("content-type"), Some(&*spaced));
    let (mut rest, mut names, mut native) = (&answer.body[..], Vec::new(), 0);
    while !rest.is_empty() {
        let (length, behind) = varint(rest);
        let (family, behind) = behind.split_at(length as usize);
        for (number, value) in fields(family) {
            match number {
                1 => names.push(String::from_utf8(value.to_vec()).expect("a name")),
                // Of a metric the histogram; of that the runs of native buckets, of which an empty one has none.
                4 => {
                    native += fields(value)
                        .into_iter()
                        .filter(|(number, histogram)| {
                            *number == 7 && fields(histogram).iter().any(|field| field.0 == 12)
                        })
                        .count()
                }
                _ => {}
            }
        }
        rest = behind;
    }
    let text = text.text();
    let in_text = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    assert_eq!(names, in_text.collect::<Vec<_>>());
    assert_eq!(native, 1, "that of answers: nobody got anything");
}

#[test]
fn metrics_tell_the_process_the_version_and_how_busy_each_loop_was() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let publish_and_measure = || {
        Publisher::connect(server.public).publish_many("t:a", 500);
        let answer = get(server.admin, "/metrics");
        let samples: Vec<(String, f64)> = answer
            .text()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once(' ').unwrap())
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect();
        move |name: &str| {
            let sample = samples.iter().find(|(series, _)| series == name);
            sample.unwrap_or_else(|| panic!("no {name}")).1
        }
    };
    let (before, after) = (publish_and_measure(), publish_and_measure());
    assert_eq!(after(&format!("fanfare_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    let busy = |sample: &dyn Fn(&str) -> f64| -> f64 {
        (0..2).map(|index| sample(&format!("fanfare_loop_busy_seconds_total{{loop=\"{index}\"}}"))).sum()
    };
    assert!(0.0 < busy(&before) && busy(&before) < busy(&after), "work takes time");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    // Two loops cannot have been busy for longer than the process is there; its start is told in whole seconds.
    let lived = now - after("process_start_time_seconds") + 2.0;
    assert!(busy(&after) < lived * 2.0, "{} of {lived}", busy(&after));
    assert!(before("process_cpu_seconds_total") <= after("process_cpu_seconds_total"));
    assert!(0.0 < after("process_cpu_seconds_total"));
    assert!(f64::from(1 << 20) < after("process_resident_memory_bytes"));
    assert!(3.0 < after("process_open_fds") && after("process_open_fds") <= after("process_max_fds"));
}

/// What a line says of a histogram: its name, which part, the labels but for the bound of a bucket, the value; a bucket's part is
/// its bound.
fn part_of_histogram(line: &str) -> Option<(&str, &str, String, f64)> {
    let (name, value) = line.rsplit_once(' ')?;
    let value = value.parse().expect("a number");
    let (name, labels) =
        name.split_once('{').map_or((name, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
    let (bounds, others): (Vec<&str>, Vec<&str>) =
        labels.split(',').filter(|label| !label.is_empty()).partition(|label| label.starts_with("le="));
    let bound = bounds.first().map(|bound| bound.trim_start_matches("le=").trim_matches('"'));
    let (family, part) = match bound {
        Some(bound) => (name.strip_suffix("_bucket")?, bound),
        None => ["_sum", "_count"].into_iter().find_map(|part| Some((name.strip_suffix(part)?, part)))?,
    };
    Some((family, part, others.join(","), value))
}

/// Buckets ascend, in bound and in count, up to all; then come sum and count.
fn check_histogram(what: &str, parts: &[(&str, f64)]) {
    let [buckets @ .., ("+Inf", all), ("_sum", sum), ("_count", count)] = parts else {
        panic!("{what}: {parts:?}");
    };
    assert!(all == count && 0.0 <= *sum && (*sum == 0.0) == (*count == 0.0), "{what}: {parts:?}");
    let bounds: Vec<f64> = buckets.iter().map(|(bound, _)| bound.parse().expect("a number")).collect();
    let counts: Vec<f64> = buckets.iter().map(|(_, count)| *count).chain([*all]).collect();
    assert!(bounds.is_sorted_by(|low, high| low < high) && counts.is_sorted(), "{what}: {parts:?}");
    assert!(10 < bounds.len(), "{what}: {parts:?}");
}

#[test]
fn the_public_door_leads_to_none_of_this() {
    let server = ServerProcess::start(&[]);
    let _stream = Stream::open(Transport::Sse, server.public, "t:a&user=alice", "");
    let id = clients(&server)["alice"]["id"].as_str().unwrap().to_owned();
    for (method, path) in [
        ("GET", "/stats"),
        ("GET", "/metrics"),
        ("GET", "/latency"),
        ("GET", "/clients"),
        ("DELETE", &*format!("/clients/{id}")),
        ("DELETE", "/users/alice"),
        ("GET", "/channels"),
        ("GET", "/channels/t:a"),
        ("POST", "/announce"),
        ("POST", "/clear"),
    ] {
        let answer = ask(server.public, method, path, "", r#"{"message":"x"}"#);
        answer.assert_problem(404, "not_found", path);
        let methods = ask(server.admin, "OPTIONS", path, "", "");
        assert_eq!(methods.status, 204, "{path}");
        assert!(methods.field("allow").unwrap().contains(method), "{path}");
        ask(server.admin, "PUT", path, "", "").assert_problem(405, "method_not_allowed", path);
    }
    // And the operators' door to none of the public's.
    for path in
        ["/ws", "/events?channel=*", "/history?channel=*", "/presence?channel=t:a", "/notifications/types"]
    {
        get(server.admin, path).assert_problem(404, "not_found", path);
    }
    assert_eq!(clients(&server).len(), 1);
}

#[test]
fn neither_door_leads_to_the_other_by_any_method_or_spelling() {
    let server = ServerProcess::start(&[]);
    let operators = [
        "/stats",
        "/stats/events",
        "/dashboard",
        "/dashboard.js",
        "/metrics",
        "/latency",
        "/clients",
        "/clients/0-0",
        "/users/alice",
        "/channels",
        "/channels/t:a",
        "/announce",
        "/clear",
    ];
    // A page at `/`, and the client that it uses, are at either door.
    let publics = [
        "/page.js",
        "/page.css",
        "/ws",
        "/events",
        "/v1/events",
        "/api/events",
        "/ws/subscribe",
        "/api/realtime/stats",
        "/publish",
        "/publish/t:a",
        "/hooks/github",
        "/hooks/gitea",
        "/hooks/gitlab",
        "/history",
        "/delivered",
        "/presence",
        "/notifications",
        "/notifications/types",
    ];
    let check = |address, path: &str| {
        let mut http = Http::connect(address);
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            http.send(request_text(method, path, "", ""));
            assert_eq!(http.answer_to(method).status, 404, "{method} {path}");
        }
    };
    for path in operators {
        check(server.public, path);
        for other in [
            format!("{path}/"),
            format!("/{path}"),
            format!("/.{path}"),
            format!("/ws/..{path}"),
            format!("/admin{path}"),
            path.to_ascii_uppercase(),
            path.replace('a', "%61").replace("/st", "/%73t"),
            format!("{path}?door=admin"),
        ] {
            check(server.public, &other);
        }
    }
    for path in publics {
        check(server.admin, path);
    }
}
