//! The life of a token: connections end when it does, unless a newer one is shown; what is revoked or no longer granted ends
//! at once.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare::session::auth::{AuthSettings, Known, Revoked, load};
use fanfare::session::authority::{Act, Authority, Denied, Development, Principal};
use fanfare::session::policy::{InForce, Policy};
use fanfare::session::request::Door;
use fanfare::session::settings::Settings;
use fanfare::wire::http::RequestHead;
use fanfare::words::channel::Pattern;
use fanfare::words::limits::{Limits, REVOCATIONS_MAX};
use serde_json::{Value, json};
use support::http::{Http, ask, get, post, request_text};
use support::local::LocalServer;
use support::rig::{Peer, Rig, publication};
use support::sse::Sse;
use support::tokens::{KEYS, auth_settings, bearer, folder, now, settings_of};
use support::wait_until;
use support::websocket::{Client, HANDSHAKE, frame};

/// What the clock of a rig says at the start, in seconds.
const START: u64 = 1_795_316_060;

/// A token of a rig that is good for so many seconds.
fn token(seconds: u64, more: Value) -> String {
    let mut claims = json!({"exp": START + seconds, "fanfare": {"subscribe": ["t:*"], "publish": ["t:*"]}});
    more.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
    KEYS.es.token(claims)
}

fn rig_of(change: impl FnOnce(&mut AuthSettings)) -> (Rig, Settings) {
    let folder = folder();
    let mut auth = auth_settings(&folder);
    change(&mut auth);
    let settings = settings_of(&auth);
    (Rig::new(Limits::default(), settings.clone()), settings)
}

fn rig() -> Rig {
    rig_of(|_| {}).0
}

/// Opens a WebSocket, or a stream of server-sent events, and returns what is said at first.
fn open(rig: &mut Rig, path: &str, token: Option<&str>) -> (Peer, String) {
    let peer = rig.connect();
    peer.listen();
    let fields = token.map(bearer).unwrap_or_default();
    let head = HANDSHAKE.replace("GET /ws ", &format!("GET {path} "));
    rig.say(&peer, head.replace("Host: x\r\n", &format!("Host: x\r\n{fields}")).as_bytes());
    rig.settle();
    let said = heard(&peer);
    (peer, said)
}

fn heard(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.heard()).into_owned()
}

/// Says a command and returns what is said to it.
fn command(rig: &mut Rig, peer: &Peer, command: &Value) -> String {
    rig.say(peer, &frame(0x81, command.to_string().as_bytes()));
    rig.settle();
    heard(peer)
}

fn auth(rig: &mut Rig, peer: &Peer, token: &str) -> String {
    command(rig, peer, &json!({"type": "auth", "token": token}))
}

/// Goes on for so long, without a look in between.
fn later(rig: &mut Rig, wait_ms: u64) {
    rig.wait_ms(wait_ms);
    rig.settle();
}

/// Asserts that a WebSocket was closed with 4401 for this reason, as the last that was said.
fn assert_closed(said: &str, reason: &str, context: &str) {
    let close = [b"\x88", &[reason.len() as u8 + 2][..], &4401_u16.to_be_bytes(), reason.as_bytes()].concat();
    assert!(said.ends_with(&*String::from_utf8_lossy(&close)), "{context}: {said:?}");
}

#[test]
fn a_stream_ends_when_its_token_does_and_not_before() {
    for dialect in ["native", "cloudevents", "guts"] {
        let mut rig = rig();
        let channel = if dialect == "guts" { "user:alice" } else { "t:a" };
        let path = format!("/ws?channel={channel}&dialect={dialect}");
        let (_, said) = open(&mut rig, &path, None);
        assert!(said.starts_with("HTTP/1.1 401"), "{dialect}: {said}");
        let (peer, said) = open(&mut rig, &path, Some(&token(2, json!({}))));
        assert!(said.starts_with("HTTP/1.1 101"), "{dialect}: {said}");
        later(&mut rig, 1999);
        assert_eq!(heard(&peer), "", "{dialect}");
        later(&mut rig, 1);
        assert_closed(&heard(&peer), "token expired", dialect);
    }
    for path in ["/events?channel=t:a", "/events?channel=t:a&unnamed", "/api/events?channel=user:alice"] {
        let mut rig = rig();
        let peer = rig.connect();
        peer.listen();
        let line = bearer(&token(2, json!({})));
        rig.say(&peer, format!("GET {path} HTTP/1.1\r\nHost: x\r\n{line}\r\n").as_bytes());
        rig.settle();
        assert!(heard(&peer).starts_with("HTTP/1.1 200"), "{path}");
        rig.publish([publication("t:b", "k")]);
        later(&mut rig, 1999);
        assert_eq!(heard(&peer), "", "{path}");
        later(&mut rig, 1);
        assert_eq!(heard(&peer), "id: aaaaaaaa-1\n\n", "{path}: where to resume");
        rig.publish([publication("t:a", "k")]);
        later(&mut rig, 10);
        assert_eq!(heard(&peer), "", "{path}: nothing more comes");
        rig.end(&peer);
        rig.settle();
        assert!(peer.is_gone(), "{path}");
    }
}

#[test]
fn a_loop_does_not_sleep_over_the_end_of_a_token_whatever_the_clock_of_the_wall_does() {
    let mut rig = rig();
    let (peer, _) = open(&mut rig, "/ws?channel=t:a", Some(&token(3600, json!({}))));
    assert!(rig.sleeps_ms().is_some_and(|wait_ms| wait_ms <= 500), "{:?}", rig.sleeps_ms());
    rig.set_wall_clock(-7_200_000);
    later(&mut rig, 500);
    assert_eq!(heard(&peer), "", "a clock set back ends nothing");
    rig.set_wall_clock(7_200_000 + 3_599_000);
    later(&mut rig, 400);
    assert_eq!(heard(&peer), "");
    assert!(rig.sleeps_ms().is_some_and(|wait_ms| wait_ms <= 100), "{:?}", rig.sleeps_ms());
    later(&mut rig, 100);
    assert_closed(&heard(&peer), "token expired", "a clock set forward ends what it has passed");
}

#[test]
fn what_is_asked_after_the_end_is_refused_however_well_the_token_is_remembered() {
    let mut rig = rig();
    let token = token(2, json!({}));
    let request = format!("GET /history?channel=t:a HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(&token));
    for (wait_ms, status) in [(0, "200"), (1999, "200"), (1, "401"), (1000, "401")] {
        later(&mut rig, wait_ms);
        let peer = rig.connect();
        peer.listen();
        rig.say(&peer, request.as_bytes());
        rig.settle();
        let said = heard(&peer);
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{wait_ms}: {said}");
    }
    // A command that comes in the very turn in which the stream ends.
    let mut rig = self::rig();
    let (peer, _) = open(&mut rig, "/ws", Some(&token));
    rig.wait_ms(2000);
    let said = command(&mut rig, &peer, &json!({"type": "publish", "channel": "t:a", "event": "k"}));
    assert!(said.contains("\"code\":\"invalid_token\""), "{said}");
    assert_closed(&said, "token expired", "and then it ends");
    assert_eq!(rig.hub.log.published(), 1, "nothing was published");
}

#[test]
fn a_newer_token_takes_the_place_of_the_old_one() {
    let mut rig = rig();
    let (peer, _) = open(&mut rig, "/ws?channel=t:a", Some(&token(10, json!({}))));
    later(&mut rig, 9000);
    let said = auth(&mut rig, &peer, &token(20, json!({})));
    let expected =
        format!(r#"{{"type":"authenticated","user":"alice","expires_at":{}}}"#, (START + 20) * 1000);
    assert!(said.contains(&expected), "{said}");
    later(&mut rig, 9000);
    assert_eq!(heard(&peer), "", "the end of the old one is not its own");
    // What is not good, or is another's, changes nothing.
    assert!(auth(&mut rig, &peer, "a.b.c").contains("\"code\":\"invalid_token\""));
    assert!(auth(&mut rig, &peer, &token(1, json!({}))).contains("\"code\":\"invalid_token\""));
    let of_bob = token(60, json!({"sub": "bob"}));
    let said = auth(&mut rig, &peer, &of_bob);
    assert!(said.contains("\"code\":\"forbidden\"") && said.contains("opened for"), "{said}");
    rig.publish([publication("t:a", "k")]);
    rig.settle();
    assert!(heard(&peer).contains("\"seq\":1"));
    // One that ends sooner counts too.
    assert!(auth(&mut rig, &peer, &token(19, json!({}))).contains("authenticated"));
    later(&mut rig, 1000);
    assert_closed(&heard(&peer), "token expired", "of the last one");
}

#[test]
fn what_a_newer_token_no_longer_grants_ends_and_is_told_and_the_rest_goes_on() {
    let mut rig = rig();
    let (peer, _) =
        open(&mut rig, "/ws?channel=t:a&channel=t:b&channel=user:alice", Some(&token(60, json!({}))));
    let said = auth(&mut rig, &peer, &token(60, json!({"fanfare": {"subscribe": ["t:b"]}})));
    assert!(said.contains(r#"{"type":"unsubscribed","channel":"t:a","reason":"forbidden"}"#), "{said}");
    assert_eq!(said.matches("unsubscribed").count(), 1, "{said}");
    let said = command(&mut rig, &peer, &json!({"type": "list"}));
    assert!(said.contains(r#""channels":["t:b","user:alice"]"#), "{said}");
    rig.publish([publication("t:a", "k"), publication("t:b", "k"), publication("t:a", "k")]);
    rig.settle();
    let said = heard(&peer);
    assert!(said.contains("\"seq\":2") && said.matches("\"seq\"").count() == 1, "{said}");
    // What was published before it, and not sent yet, is no exception.
    rig.publish([publication("t:b", "k")]);
    let said = auth(&mut rig, &peer, &token(60, json!({"fanfare": {}})));
    assert!(said.contains(r#""channel":"t:b","reason":"forbidden""#), "{said}");
    assert!(!said.contains("\"seq\":4"), "{said}");
}

#[test]
fn a_websocket_without_a_token_must_show_one_in_time() {
    let mut rig = rig();
    let (late, said) = open(&mut rig, "/ws", None);
    assert!(said.starts_with("HTTP/1.1 101"), "{said}");
    let (in_time, _) = open(&mut rig, "/ws", None);
    let (elsewhere, _) = open(&mut rig, "/ws", Some(&token(60, json!({}))));
    later(&mut rig, 9999);
    let subscribe = json!({"type": "subscribe", "channel": "t:a"});
    assert!(command(&mut rig, &in_time, &subscribe).contains("\"code\":\"unauthorized\""));
    assert!(command(&mut rig, &late, &json!({"type": "ping"})).contains("pong"));
    assert!(auth(&mut rig, &late, "a.b.c").contains("invalid_token"));
    assert!(auth(&mut rig, &in_time, &token(60, json!({}))).contains("\"user\":\"alice\""));
    later(&mut rig, 1);
    assert_closed(&heard(&late), "no token in time", "trying does not help");
    later(&mut rig, 20_000);
    assert!(command(&mut rig, &in_time, &subscribe).contains("\"subscribed\""));
    assert!(command(&mut rig, &elsewhere, &subscribe).contains("\"subscribed\""));
    // The end of what was waiting leaves nothing behind for the next of its number.
    let (gone, _) = open(&mut rig, "/ws", None);
    rig.cut(&gone);
    rig.settle();
    let (next, _) = open(&mut rig, "/ws?channel=t:a", Some(&token(600, json!({}))));
    later(&mut rig, 10_000);
    assert!(!heard(&next).contains("no token"));
}

#[test]
fn another_policy_holds_for_those_who_are_here_already() {
    let (mut rig, settings) = rig_of(|auth| {
        auth.anonymous_subscribe = ["t:open", "t:closing"].map(|text| Pattern::parse(text).unwrap()).to_vec();
    });
    let es = token(600, json!({}));
    let hs = KEYS.hs.token(json!({"exp": START + 600, "fanfare": {"subscribe": ["t:*"]}}));
    let (by_es, _) = open(&mut rig, "/ws?channel=t:a", Some(&es));
    let (by_hs, _) = open(&mut rig, "/ws?channel=t:a", Some(&hs));
    let (nobody, _) = open(&mut rig, "/ws?channel=t:open&channel=t:closing", None);
    let stream = rig.connect();
    stream.listen();
    rig.say(&stream, b"GET /events?channel=t:open,t:closing HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.settle();
    heard(&stream);
    let mut exchange = |change: &dyn Fn(&mut AuthSettings)| {
        let folder = folder();
        let mut auth = auth_settings(&folder);
        change(&mut auth);
        let tokens = load(&auth, &Arc::<Revoked>::default()).unwrap();
        settings.policy.exchange(Policy { authority: Arc::new(tokens), ..Policy::default() });
        rig.hub.review();
        rig.settle();
    };
    exchange(&|auth| {
        auth.token_keys.retain(|path| !path.ends_with("es.jwks"));
        auth.anonymous_subscribe = vec![Pattern::parse("t:open").unwrap()];
    });
    assert_closed(&heard(&by_es), "token no longer good", "its key is gone");
    assert_eq!(heard(&by_hs), "", "its key is still there");
    let said = heard(&nobody);
    assert!(said.contains(r#"{"type":"unsubscribed","channel":"t:closing","reason":"forbidden"}"#), "{said}");
    assert_eq!(heard(&stream), "id: aaaaaaaa-0\n\n", "a stream that cannot be told ends");
    let (_, said) = open(&mut rig, "/ws?channel=t:a", Some(&es));
    assert!(said.starts_with("HTTP/1.1 401"), "remembered or not: {said}");
}

#[test]
fn who_watches_at_an_open_door_goes_on_when_something_else_changes() {
    let (mut rig, settings) = rig_of(|auth| auth.admin_open = true);
    let watcher = rig.connect_operator();
    watcher.listen();
    rig.say(&watcher, b"GET /stats/events HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.settle();
    assert!(heard(&watcher).starts_with("HTTP/1.1 200"));
    let mut exchange = |is_open: bool| {
        let folder = folder();
        let auth = AuthSettings { admin_open: is_open, ..auth_settings(&folder) };
        let tokens = load(&auth, &Arc::<Revoked>::default()).unwrap();
        settings.policy.exchange(Policy { authority: Arc::new(tokens), ..Policy::default() });
        rig.hub.review();
        later(&mut rig, 1000);
        heard(&watcher)
    };
    let said = exchange(true);
    assert!(said.contains("data: {"), "the next second is told: {said}");
    exchange(false);
    assert_eq!(exchange(true), "", "a door that was closed has nobody left");
}

#[test]
fn whoever_was_believed_must_prove_it_once_there_are_keys() {
    let policy = InForce::new(Policy { authority: Arc::new(Development), ..Policy::default() });
    let settings = Settings { policy: policy.clone(), ..Settings::default() };
    let mut rig = Rig::new(Limits::default(), settings);
    let (peer, said) = open(&mut rig, "/ws?channel=user:alice&user=alice", None);
    assert!(said.contains("subscribed"), "{said}");
    let said = auth(&mut rig, &peer, "anything");
    assert!(said.contains(r#""type":"authenticated","user":"alice","expires_at":null"#), "{said}");
    let folder = folder();
    let tokens = load(&auth_settings(&folder), &Arc::<Revoked>::default()).unwrap();
    policy.exchange(Policy { authority: Arc::new(tokens), ..Policy::default() });
    // Between the exchange and the review nobody is believed either.
    let subscribe = json!({"type": "subscribe", "channel": "user:alice", "since": "earliest"});
    assert!(command(&mut rig, &peer, &subscribe).contains("\"code\":\"unauthorized\""));
    rig.hub.review();
    rig.settle();
    let said = heard(&peer);
    assert!(
        said.contains(r#"{"type":"unsubscribed","channel":"user:alice","reason":"forbidden"}"#),
        "{said}"
    );
    later(&mut rig, 10_000);
    assert_closed(&heard(&peer), "no token in time", "as if it had come without");
}

/// Lets everybody read what belongs to single users, and nothing else.
#[derive(Debug)]
struct Less;
impl Authority for Less {
    fn identify(&self, _: &RequestHead<'_>, _: Door, _: u64, _: &mut Known) -> Result<Principal, Denied> {
        Ok(Principal::default())
    }

    fn allow(&self, _: &Principal, act: &Act<'_>) -> Result<(), Denied> {
        match act {
            Act::Read { pattern, .. } if !pattern.as_str().starts_with("user:") => Err(Denied::Forbidden),
            _ => Ok(()),
        }
    }
}

#[test]
fn who_guesses_tokens_has_to_connect_anew() {
    let mut rig = rig();
    let peer = rig.connect();
    peer.listen();
    let bad = format!("GET /history?channel=t:a HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer("a.b.c"));
    rig.say(&peer, bad.repeat(3).as_bytes());
    rig.settle();
    let said = heard(&peer);
    assert_eq!(said.matches("HTTP/1.1 401").count(), 1, "{said}");
    assert!(said.contains("\r\nConnection: close\r\n"), "{said}");

    let (peer, said) = open(&mut rig, "/ws", None);
    assert!(said.starts_with("HTTP/1.1 101"), "{said}");
    assert!(auth(&mut rig, &peer, "a.b.c").contains("invalid_token"));
    assert!(auth(&mut rig, &peer, "a.b.d").contains("invalid_token"));
    let good = token(60, json!({}));
    assert!(auth(&mut rig, &peer, &good).contains("authenticated"), "a good one begins the count anew");
    for _ in 0..2 {
        assert!(auth(&mut rig, &peer, "a.b.c").contains("invalid_token"));
    }
    assert_closed(&auth(&mut rig, &peer, "a.b.c"), "too many bad tokens", "the third");
}

#[test]
fn tokens_that_were_for_somebody_else_end_when_it_changes_for_whom_they_must_be() {
    for change in [
        |auth: &mut AuthSettings| auth.issuer = Some("https://other.example/".to_owned()),
        |auth: &mut AuthSettings| auth.audience = Some("other.example".to_owned()),
    ] {
        let folder = folder();
        let mut auth = auth_settings(&folder);
        let settings = settings_of(&auth);
        let mut rig = Rig::new(Limits::default(), settings.clone());
        let (peer, _) = open(&mut rig, "/ws?channel=t:a", Some(&token(60, json!({}))));
        settings.policy.exchange(Policy::clone(&settings_of(&auth).policy.load()));
        rig.hub.review();
        rig.settle();
        assert_eq!(heard(&peer), "", "the same once more ends nothing");
        change(&mut auth);
        settings.policy.exchange(Policy::clone(&settings_of(&auth).policy.load()));
        rig.hub.review();
        rig.settle();
        assert_closed(&heard(&peer), "token no longer good", "under other rules");
    }
}

#[test]
fn dialects_are_told_in_their_words_or_end() {
    let (mut rig, settings) = rig_of(|_| {});
    let grant =
        |patterns: &[&str]| json!({"sub": "alice", "exp": START + 60, "fanfare": {"subscribe": patterns}});
    let wide = KEYS.hs.token(grant(&["repo:*", "memory:default"]));
    let (guts, said) = open(&mut rig, "/ws?channel=repo:a/b&channel=user:alice&dialect=guts", Some(&wide));
    assert!(said.contains("subscribed"), "{said}");
    let (engram, said) = open(&mut rig, "/ws?dialect=engram", Some(&wide));
    assert!(said.starts_with("HTTP/1.1 101"), "{said}");
    settings.policy.exchange(Policy { authority: Arc::new(Less), ..Policy::default() });
    rig.hub.review();
    rig.settle();
    let said = heard(&guts);
    assert!(said.contains(r#"{"type":"unsubscribed","channel":"repo:a/b"}"#), "{said}");
    assert_closed(&heard(&engram), "no longer granted", "it has no word for a part");
}

#[test]
fn who_is_there_changes_with_the_name_that_a_token_gives() {
    let folder = folder();
    let mut auth = auth_settings(&folder);
    auth.anonymous_subscribe = vec![Pattern::parse("chat:a").unwrap()];
    let settings = Settings { sys_events: true, ..settings_of(&auth) };
    let server = LocalServer::start_with_settings(Limits::default(), 2, settings);
    let grants = json!({"subscribe": ["chat:a", "sys:channels"], "presence": ["chat:a"]});
    let token = KEYS.es.token(json!({"sub": "alice", "fanfare": grants}));
    let mut client = Client::open(server.public, "/ws?channel=chat:a");
    assert_eq!(client.next()["type"], "subscribed");
    let presence = || {
        let answer = ask(server.public, "GET", "/presence?channel=chat:a", &bearer(&token), "").json();
        (answer["anonymous"].clone(), answer["users"].clone())
    };
    assert_eq!(presence(), (json!(1), json!([])));
    client.send(&json!({"type": "auth", "token": token}).to_string());
    let said = [client.next(), client.next()];
    assert!(said.iter().any(|text| text["event"] == "presence_joined"), "{said:?}");
    assert_eq!(presence(), (json!(0), json!([{"user": "alice", "connections": 1}])));
    let told =
        ask(server.public, "GET", "/history?channel=sys:channels", &bearer(&token), "").text().to_owned();
    assert!(told.contains("channel_occupied") && !told.contains("channel_vacated"), "{told}");
    client.close();
    wait_until("alice has left", || presence() == (json!(0), json!([])));
}

#[test]
fn revoking_lets_go_of_exactly_those_who_are_meant_on_every_loop_and_keeps_them_out() {
    let folder = folder();
    let settings = settings_of(&AuthSettings { admin_open: true, ..auth_settings(&folder) });
    let server = LocalServer::start_with_settings(Limits::default(), 4, settings);
    let token = |user: &str, id: &str| {
        KEYS.es.token(json!({"sub": user, "jti": id, "fanfare": {"subscribe": ["t:a"], "publish": ["t:a"]}}))
    };
    let open = |token: &str| {
        let mut client = Client::open(server.public, &format!("/ws?channel=t:a&access_token={token}"));
        assert_eq!(client.next()["type"], "subscribed");
        client
    };
    let publish = |http: &mut Http, token: &str| {
        http.send(request_text("POST", "/publish", &bearer(token), r#"{"channel":"t:a","event":"k"}"#));
        http.answer().status
    };
    let mut kept = open(&token("carol", "c1"));
    let mut by_secret = {
        let token = KEYS.hs.token(json!({"sub": "dave", "fanfare": {"subscribe": ["t:a"]}}));
        open(&token)
    };
    let kid = KEYS.es.kid.clone().unwrap();
    for (body, user, id, count) in [
        (r#"{"jti":"a1"}"#.to_owned(), "alice", "a1", 8),
        (r#"{"user":"bob","for":"1h"}"#.to_owned(), "bob", "b1", 8),
        (format!(r#"{{"key":"{kid}"}}"#), "erin", "e1", 9),
    ] {
        let shown = token(user, id);
        let mut http = Http::connect(server.public);
        assert_eq!(publish(&mut http, &shown), 202);
        assert_eq!(publish(&mut http, &shown), 202, "remembered");
        let clients: Vec<Client> = (0..8).map(|_| open(&shown)).collect();
        let sse = Sse::open(server.public, "/events?channel=t:a", &bearer(&shown));
        drop(sse);
        wait_until("the event stream is gone", || {
            get(server.admin, "/stats").json()["streams"] == json!(8 + 2)
        });
        let answer = post(server.admin, "/revoke", &body);
        assert_eq!((answer.status, answer.json()), (200, json!({"disconnected": count})), "{body}");
        for client in clients {
            assert_eq!(client.goodbye(|_| {}), (4401, "token revoked".to_owned()), "{body}");
        }
        assert_eq!(publish(&mut http, &shown), 401, "{body}: it was remembered as good");
        let again = ask(server.public, "GET", "/history?channel=t:a", &bearer(&shown), "");
        again.assert_problem(401, "invalid_token", &body);
        if count == 8 {
            kept.settle_over_texts();
        }
    }
    assert_eq!(kept.goodbye(|_| {}).0, 4401, "the key was hers, too");
    by_secret.settle_over_texts();
    post(server.admin, "/revoke", "{}").assert_problem(400, "bad_revocation", "nobody");
    assert_eq!(post(server.public, "/revoke", r#"{"user":"x"}"#).status, 404, "only at the operators' door");
}

#[test]
fn revocations_are_bounded_and_mean_nothing_without_keys() {
    let server = LocalServer::start(Limits::default());
    post(server.admin, "/revoke", r#"{"user":"alice"}"#).assert_problem(503, "no_tokens", "no keys");
    let folder = folder();
    let revoked = Arc::<Revoked>::default();
    for number in 0..REVOCATIONS_MAX {
        let whom = fanfare::mail::Whom::Token(number.to_string());
        revoked.add(&whom, u64::MAX, 0).unwrap();
    }
    let auth = AuthSettings { admin_open: true, ..auth_settings(&folder) };
    let authority = Arc::new(load(&auth, &revoked).unwrap());
    let settings =
        Settings { policy: InForce::new(Policy { authority, ..Policy::default() }), ..Settings::default() };
    let server = LocalServer::start_with_settings(Limits::default(), 2, settings);
    post(server.admin, "/revoke", r#"{"user":"alice"}"#).assert_problem(507, "revocations_full", "full");
}

#[test]
fn on_a_running_server_a_token_ends_in_time() {
    let folder = folder();
    let server = LocalServer::start_with_settings(Limits::default(), 2, settings_of(&auth_settings(&folder)));
    let exp = now() + 2;
    let token = KEYS.hs.token(json!({"exp": exp, "fanfare": {"subscribe": ["t:a"]}}));
    let mut stream = Sse::open(server.public, "/events?channel=t:a", &bearer(&token));
    let client = Client::open(server.public, &format!("/ws?channel=t:a&access_token={token}"));
    let started = Instant::now();
    assert_eq!(client.goodbye(|_| {}), (4401, "token expired".to_owned()));
    while stream.next_block().is_some() {}
    let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(Duration::from_secs(exp) <= ended, "not before");
    assert!(started.elapsed() < Duration::from_secs(10), "and not much later, however busy the machine is");
}
