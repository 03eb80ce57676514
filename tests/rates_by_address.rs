//! How often addresses, users and connections may publish, command and connect, over everything that each of them has; and
//! whom a connection speaks for that a proxy has made.

mod support;

use std::net::SocketAddr;
use std::time::Instant;

use fanfare::session::policy::{InForce, Policy};
use fanfare::session::proxy::{Proxies, Trace};
use fanfare::session::rates::{Bounds, Rates};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use fanfare::words::rate::Rate;
use serde_json::json;
use support::http::{Http, get};
use support::local::LocalServer;
use support::rig::{Peer, Rig};
use support::tokens::{auth_settings, bearer, folder, secret, settings_of};
use support::websocket::{HANDSHAKE, frame};

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

fn settings(rates: Rates, trusted: &[&str]) -> Settings {
    let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
    let proxies = Proxies::new(trusted, Trace::XForwardedFor).unwrap();
    let policy = InForce::new(Policy { rates, proxies, ..Policy::default() });
    Settings { policy, ..Settings::default() }
}

fn rig(rates: Rates, trusted: &[&str]) -> Rig {
    Rig::new(Limits::default(), settings(rates, trusted))
}

/// Rates of publishes alone.
fn publishes(bounds: Bounds) -> Rates {
    Rates { publishes: bounds, ..Rates::default() }
}

/// A client at this address.
fn connect(rig: &mut Rig, address: &str) -> Peer {
    let address = SocketAddr::new(address.parse().unwrap(), 4711);
    let peer = rig.connect_from(Some(address));
    peer.listen();
    peer
}

/// What is answered to `request`.
fn ask(rig: &mut Rig, peer: &Peer, request: &str) -> String {
    rig.say(peer, request.as_bytes());
    rig.settle();
    String::from_utf8_lossy(&peer.heard()).into_owned()
}

/// The status of the answer to `request`.
fn status(rig: &mut Rig, peer: &Peer, request: &str) -> u16 {
    let answer = ask(rig, peer, request);
    let code = answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}"));
    code.parse().unwrap()
}

fn publish(query: &str, fields: &str) -> String {
    format!("POST /publish/t:a{query} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 1\r\n\r\n1")
}

#[test]
fn publishes_of_an_address_are_bounded_over_all_its_connections() {
    let bounds = Bounds { per_address: rate("10/3"), ..Bounds::default() };
    for (one, same, other) in
        [("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]
    {
        let mut rig = rig(publishes(bounds), &[]);
        let [first, second, third] = [one, same, other].map(|address| connect(&mut rig, address));
        let request = publish("", "");
        for peer in [&first, &second, &first] {
            assert_eq!(status(&mut rig, peer, &request), 202);
        }
        for peer in [&first, &second] {
            let answer = ask(&mut rig, peer, &request);
            assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
            assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
            assert!(answer.contains(r#""code":"rate_limited""#), "{answer}");
        }
        assert_eq!(status(&mut rig, &third, &request), 202, "{other} is somebody else");
        assert_eq!(status(&mut rig, &first, "GET /history?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
        rig.wait_ms(100);
        assert_eq!(status(&mut rig, &second, &request), 202, "ten a second");
        assert_eq!(status(&mut rig, &first, &request), 429);
        assert_eq!(rig.hub.log.published(), 6, "the next number: what was refused was not published");
    }
}

#[test]
fn publishes_of_a_user_are_bounded_from_wherever_they_come() {
    let mut rig = rig(publishes(Bounds { per_user: rate("1/2"), ..Bounds::default() }), &[]);
    let peers = ["192.0.2.1", "192.0.2.2"].map(|address| connect(&mut rig, address));
    let mut check = |peer: &Peer, query: &str, expected: u16| {
        assert_eq!(status(&mut rig, peer, &publish(query, "")), expected, "{query}");
    };
    check(&peers[0], "?user=alice", 202);
    check(&peers[1], "?user=alice", 202);
    check(&peers[0], "?user=alice", 429);
    check(&peers[1], "?user=alice", 429);
    check(&peers[1], "?user=bob", 202);
    (0..10).for_each(|_| check(&peers[0], "", 202));
}

#[test]
fn publishes_of_a_connection_are_bounded_by_themselves_over_both_protocols() {
    let mut rig = rig(publishes(Bounds { per_connection: rate("1/2"), ..Bounds::default() }), &[]);
    for _ in 0..3 {
        let peer = connect(&mut rig, "192.0.2.1");
        let statuses = [(); 4].map(|()| status(&mut rig, &peer, &publish("", "")));
        assert_eq!(statuses, [202, 202, 429, 429]);
        let peer = connect(&mut rig, "192.0.2.1");
        assert_eq!(status(&mut rig, &peer, HANDSHAKE), 101);
        let command = frame(0x81, br#"{"type":"publish","channel":"t:a","event":"k","data":1,"id":7}"#);
        rig.say(&peer, &command.repeat(4));
        rig.settle();
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        assert_eq!(heard.matches(r#""type":"published""#).count(), 2, "{heard}");
        let refused = r#"{"type":"error","code":"rate_limited","message":"more publishes in a second than allowed","id":7}"#;
        assert_eq!(heard.matches(refused).count(), 2, "{heard}");
    }
    assert_eq!(rig.hub.log.published(), 1 + 3 * 4);
}

#[test]
fn what_is_refused_for_one_bound_counts_for_no_other() {
    let bounds = Bounds { per_connection: rate("1/1"), per_address: rate("1/3"), ..Bounds::default() };
    let mut rig = rig(publishes(bounds), &[]);
    let hasty = connect(&mut rig, "192.0.2.1");
    assert_eq!([(); 3].map(|()| status(&mut rig, &hasty, &publish("", ""))), [202, 429, 429]);
    let others = [(); 3].map(|()| connect(&mut rig, "192.0.2.1"));
    let statuses = others.each_ref().map(|peer| status(&mut rig, peer, &publish("", "")));
    assert_eq!(statuses, [202, 202, 429], "three of the address");
    // What the address refuses, the connection may do a moment later.
    rig.wait_ms(1000);
    assert_eq!(status(&mut rig, &others[2], &publish("", "")), 202);
}

#[test]
fn what_is_refused_to_a_user_does_not_count_for_the_address() {
    let bounds = Bounds { per_address: rate("1/3"), per_user: rate("1/1"), ..Bounds::default() };
    let mut rig = rig(publishes(bounds), &[]);
    let peer = connect(&mut rig, "192.0.2.1");
    let by = |user: &str| status(&mut rig, &peer, &publish(&format!("?user={user}"), ""));
    assert_eq!(["alice", "alice", "alice", "bob", "carol", "dave"].map(by), [202, 429, 429, 202, 202, 429]);
}

#[test]
fn who_guesses_tokens_through_a_proxy_is_bounded_on_every_path() {
    let rates = Rates {
        connects: Bounds { per_address: rate("1/2"), ..Bounds::default() },
        commands: Bounds { per_address: rate("1/2"), ..Bounds::default() },
        publishes: Bounds { per_address: rate("1/2"), ..Bounds::default() },
    };
    let folder = folder();
    let in_force = settings(rates, &["10.0.0.1/32"]);
    let proxies = in_force.policy.load().proxies.clone();
    let authority = std::sync::Arc::clone(&settings_of(&auth_settings(&folder)).policy.load().authority);
    let policy = InForce::new(Policy { rates, proxies, authority, ..Policy::default() });
    let mut rig = Rig::new(Limits::default(), Settings { policy, ..Settings::default() });
    for (client, request, expected) in [
        (1, "GET /events?channel=t:a", [401, 401, 429]),
        (2, "GET /ws?channel=t:a", [401, 401, 429]),
        (3, "GET /history?channel=t:a", [401, 401, 429]),
        (4, "POST /publish/t:a", [401, 401, 429]),
        // What is allowed is told to everybody, and no token is judged for it.
        (5, "OPTIONS /publish", [204, 204, 204]),
    ] {
        let statuses = [1, 2, 3].map(|guess| {
            let peer = connect(&mut rig, "10.0.0.1");
            let token = secret("another secret of as many characters")
                .token(json!({"exp": 4_000_000_000_u64, "guess": guess}));
            let head = format!(
                "{request} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{client}\r\n{}",
                bearer(&token)
            );
            status(&mut rig, &peer, &format!("{head}Content-Length: 0\r\n\r\n"))
        });
        assert_eq!(statuses, expected, "{request}");
    }
}

#[test]
fn a_batch_counts_as_its_events_and_what_was_too_much_is_made_up_for() {
    let mut rig = rig(publishes(Bounds { per_address: rate("10/10"), ..Bounds::default() }), &[]);
    let peer = connect(&mut rig, "192.0.2.1");
    let body = format!("[{}]", vec![r#"{"channel":"t:a","event":"k"}"#; 30].join(","));
    let batch = format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(status(&mut rig, &peer, &batch), 202, "however large, if there is one left");
    rig.wait_ms(2099);
    assert!(ask(&mut rig, &peer, &publish("", "")).contains("\r\nRetry-After: 1\r\n"));
    rig.wait_ms(1);
    assert_eq!(status(&mut rig, &peer, &publish("", "")), 202);
    assert_eq!(status(&mut rig, &peer, &batch), 429);
}

#[test]
fn commands_are_bounded_over_http_and_websocket_together_and_health_is_free() {
    let commands = Bounds { per_address: rate("1/3"), ..Bounds::default() };
    let mut rig = rig(Rates { commands, ..Rates::default() }, &[]);
    let (http, web_socket) = (connect(&mut rig, "192.0.2.1"), connect(&mut rig, "192.0.2.1"));
    assert_eq!(status(&mut rig, &web_socket, HANDSHAKE), 101);
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    let say_ping = |rig: &mut Rig| {
        rig.say(&web_socket, &ping);
        rig.settle();
        String::from_utf8_lossy(&web_socket.heard()).into_owned()
    };
    let history = "GET /history?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(status(&mut rig, &http, history), 200);
    assert!(say_ping(&mut rig).contains("pong"));
    assert_eq!(status(&mut rig, &http, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"), 404, "it counts too");
    assert_eq!(status(&mut rig, &http, history), 429);
    assert!(say_ping(&mut rig).contains(r#""code":"rate_limited""#));
    for free in ["GET /health", "GET /", "OPTIONS /history"] {
        let free = format!("{free} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(status(&mut rig, &http, &free) < 300, "{free}");
    }
    assert_eq!(status(&mut rig, &http, &publish("", "")), 202, "publishing is another matter");
    rig.wait_ms(1000);
    assert!(say_ping(&mut rig).contains("pong"));
}

#[test]
fn connections_of_an_address_are_turned_away_when_they_come_too_fast() {
    let connects = Bounds { per_address: rate("1/2"), ..Bounds::default() };
    let mut rig = rig(Rates { connects, ..Rates::default() }, &[]);
    let greet = |rig: &mut Rig, address: &str| {
        let peer = connect(rig, address);
        let answer = ask(rig, &peer, HANDSHAKE);
        (peer, answer)
    };
    let first = greet(&mut rig, "192.0.2.1");
    let second = greet(&mut rig, "192.0.2.1");
    assert!(first.1.starts_with("HTTP/1.1 101 ") && second.1.starts_with("HTTP/1.1 101 "));
    let (_, answer) = greet(&mut rig, "192.0.2.1");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: ") && answer.contains("rate_limited"), "{answer}");
    assert!(greet(&mut rig, "192.0.2.2").1.starts_with("HTTP/1.1 101 "));
    rig.wait_ms(1000);
    assert!(greet(&mut rig, "192.0.2.1").1.starts_with("HTTP/1.1 101 "));
}

#[test]
fn streams_of_a_user_are_refused_when_they_come_too_fast_over_every_transport() {
    let connects = Bounds { per_user: rate("1/2"), ..Bounds::default() };
    let mut rig = rig(Rates { connects, ..Rates::default() }, &[]);
    let handshake = HANDSHAKE.replace("/ws", "/ws?user=alice");
    let events = "GET /events?channel=t:a&user=alice HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests = [(&*handshake, 101), (events, 200), (&*handshake, 429), (events, 429)];
    for (at, (request, expected)) in requests.into_iter().enumerate() {
        let peer = connect(&mut rig, &format!("192.0.2.{at}"));
        assert_eq!(status(&mut rig, &peer, request), expected, "{request}");
    }
    let peer = connect(&mut rig, "192.0.2.9");
    assert_eq!(status(&mut rig, &peer, &handshake.replace("alice", "bob")), 101);
}

#[test]
fn a_trusted_proxy_speaks_for_its_clients_and_nobody_else_does() {
    let rates = Rates {
        publishes: Bounds { per_address: rate("1/1"), ..Bounds::default() },
        connects: Bounds { per_address: rate("1/2"), ..Bounds::default() },
        ..Rates::default()
    };
    let mut rig = rig(rates, &["10.0.0.0/8"]);
    let proxy = connect(&mut rig, "10.0.0.1");
    let mut check = |peer: &Peer, fields: &str, expected: u16| {
        assert_eq!(status(&mut rig, peer, &publish("", fields)), expected, "{fields}");
    };
    check(&proxy, "X-Forwarded-For: 192.0.2.1\r\n", 202);
    check(&proxy, "X-Forwarded-For: 192.0.2.2\r\n", 202);
    check(&proxy, "X-Forwarded-For: 192.0.2.1\r\n", 429);
    check(&proxy, "X-Forwarded-For: 6.6.6.6, 192.0.2.2\r\n", 429);
    check(&proxy, "X-Forwarded-For: 192.0.2.3, 10.9.9.9\r\n", 202);
    check(&proxy, "", 202);
    check(&proxy, "X-Forwarded-For: nonsense\r\n", 429);
    let stranger = connect(&mut rig, "192.0.2.9");
    let mut check = |fields: &str, expected: u16| {
        assert_eq!(status(&mut rig, &stranger, &publish("", fields)), expected, "{fields}");
    };
    check("X-Forwarded-For: 192.0.2.77\r\n", 202);
    check("X-Forwarded-For: 192.0.2.78\r\n", 429);

    // Connections of the proxy are many; streams of a client are counted.
    let mut open = |client: &str| {
        let peer = connect(&mut rig, "10.0.0.1");
        let handshake = HANDSHAKE.replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n\r\n"));
        status(&mut rig, &peer, &handshake)
    };
    assert_eq!([(); 4].map(|()| open("192.0.2.1")), [101, 101, 429, 429]);
    assert_eq!(open("192.0.2.2"), 101);
}

#[test]
fn places_of_an_address_are_counted_for_clients_of_a_proxy_and_given_back() {
    let limits = Limits { connections_per_address_max: 2, ..Limits::default() };
    let mut rig = Rig::new(limits, settings(Rates::default(), &["10.0.0.1/32"]));
    let mut open = |client: &str| {
        let peer = connect(&mut rig, "10.0.0.1");
        let handshake = HANDSHAKE.replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n\r\n"));
        let status = status(&mut rig, &peer, &handshake);
        (peer, status)
    };
    let held = open("192.0.2.1");
    assert_eq!((held.1, open("192.0.2.1").1, open("192.0.2.1").1), (101, 101, 429));
    assert_eq!((open("192.0.2.2").1, open("192.0.2.2").1, open("192.0.2.2").1), (101, 101, 429));
    rig.cut(&held.0);
    rig.settle();
    let mut open = |client: &str| {
        let peer = connect(&mut rig, "10.0.0.1");
        let handshake = HANDSHAKE.replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n\r\n"));
        status(&mut rig, &peer, &handshake)
    };
    assert_eq!((open("192.0.2.1"), open("192.0.2.1")), (101, 429));
}

#[test]
fn a_stream_that_is_refused_leaves_no_client_on_the_connection_of_its_proxy() {
    let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
    let mut rig = Rig::new(limits, settings(Rates::default(), &["10.0.0.1/32"]));
    let stream = |query: &str, more: &str| {
        format!(
            "GET /events?channel=t:a{query} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n{more}\r\n"
        )
    };
    let with_body = stream("", "Content-Length: 1\r\n") + "x";
    let too_many = stream("&last=99999999", "");
    for refused in [with_body, too_many] {
        let peer = connect(&mut rig, "10.0.0.1");
        assert_eq!(status(&mut rig, &peer, &refused), 400, "{refused}");
        rig.end(&peer);
        rig.settle();
        let peer = connect(&mut rig, "10.0.0.1");
        assert_eq!(status(&mut rig, &peer, &stream("", "")), 200, "its place is free: {refused}");
        rig.cut(&peer);
        rig.settle();
    }
    // Without a body the connection goes on, and nobody is on it.
    let peer = connect(&mut rig, "10.0.0.1");
    assert_eq!(status(&mut rig, &peer, &(stream("", "Content-Length: 1\r\n") + "x")), 400);
    let other = connect(&mut rig, "10.0.0.1");
    assert_eq!(status(&mut rig, &other, &stream("", "")), 200, "a place was not taken by what was refused");
}

#[test]
fn operators_are_shown_the_client_and_not_the_proxy() {
    let server =
        LocalServer::start_with_settings(Limits::default(), 2, settings(Rates::default(), &["127.0.0.0/8"]));
    let mut http = Http::connect(server.public);
    http.send("GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n");
    assert_eq!(http.head().status, 200);
    let clients = get(server.admin, "/clients").json();
    assert_eq!(clients["clients"][0]["address"], "2001:db8::7");
}

#[test]
fn loops_count_together() {
    let rates = publishes(Bounds { per_address: rate("1/5"), ..Bounds::default() });
    let server = LocalServer::start_with_settings(Limits::default(), 4, settings(rates, &[]));
    let start = Instant::now();
    let statuses: Vec<u16> = (0..40)
        .map(|_| {
            let mut http = Http::connect(server.public);
            http.send(publish("", ""));
            http.answer().status
        })
        .collect();
    let accepted = statuses.iter().filter(|status| **status == 202).count();
    let earned = start.elapsed().as_secs() as usize + 1;
    assert!((5..=5 + earned).contains(&accepted), "{accepted} in {earned} s");
    assert!(statuses.iter().all(|status| [202, 429].contains(status)), "{statuses:?}");
}

#[test]
fn rates_may_be_exchanged_while_the_server_runs() {
    let settings = settings(Rates::default(), &[]);
    let in_force = settings.policy.clone();
    let mut rig = Rig::new(Limits::default(), settings);
    let peer = connect(&mut rig, "192.0.2.1");
    (0..20).for_each(|_| assert_eq!(status(&mut rig, &peer, &publish("", "")), 202));
    let rates = publishes(Bounds { per_address: rate("1/1"), ..Bounds::default() });
    in_force.exchange(Policy { rates, ..Policy::default() });
    assert_eq!(status(&mut rig, &peer, &publish("", "")), 202, "nothing was counted before");
    assert_eq!(status(&mut rig, &peer, &publish("", "")), 429);
    in_force.exchange(Policy::default());
    assert_eq!(status(&mut rig, &peer, &publish("", "")), 202);
}
