//! Who gets in by what they show, and what that lets them do: the same over every transport.

mod support;

use fanfare::session::auth::AuthSettings;
use fanfare::words::channel::Pattern;
use fanfare::words::limits::Limits;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use support::http::{Http, ask, request_text};
use support::local::LocalServer;
use support::process::{ServerProcess, fanfare};
use support::tokens::{
    API_KEY, KEYS, SECRET, Signer, auth_settings, base64url, bearer, claims, folder, generated, now, secret,
    settings_of, with,
};
use support::websocket::{Client, HANDSHAKE};

/// A grant of everything that the transports below need.
fn everything() -> Value {
    json!({"subscribe": ["t:a"], "publish": ["t:a"], "presence": ["chat:a"], "admin": true})
}

fn start(change: impl FnOnce(&mut AuthSettings)) -> LocalServer {
    let folder = folder();
    let mut auth = auth_settings(&folder);
    change(&mut auth);
    LocalServer::start_with_settings(Limits::default(), 2, settings_of(&auth))
}

/// Every way to use a token, each of which answers 2xx or 101 to a good one that grants [`everything`].
const TRANSPORTS: &[(&str, &str, &str)] = &[
    ("GET", "/ws?channel=t:a", ""),
    ("GET", "/ws", ""),
    ("GET", "/events?channel=t:a", ""),
    ("GET", "/api/events", ""),
    ("POST", "/publish", r#"{"channel":"t:a","event":"k"}"#),
    ("POST", "/publish/t:a", "1"),
    ("GET", "/history?channel=t:a", ""),
    ("HEAD", "/history?channel=t:a", ""),
    ("GET", "/presence?channel=chat:a", ""),
    ("GET", "/notifications/count?user=alice", ""),
    ("GET", "/delivered?seq=0", ""),
    ("GET", "/stats", ""),
    ("GET", "/metrics", ""),
    ("GET", "/latency", ""),
    ("POST", "/clear", r#"{"keep":9}"#),
];

/// The status of a request with these header fields besides, its code and its challenge.
fn outcome(
    server: &LocalServer,
    (method, path, body): (&str, &str, &str),
    fields: &str,
) -> (u16, String, String) {
    let bare_path = path.split('?').next().unwrap();
    let is_admin = ["/stats", "/metrics", "/latency", "/clear", "/announce"].contains(&bare_path);
    let mut http = Http::connect(if is_admin { server.admin } else { server.public });
    if path.starts_with("/ws") || (bare_path == "/api/events" && !path.contains("channel=")) {
        http.send(
            HANDSHAKE
                .replace("GET /ws ", &format!("GET {path} "))
                .replace("Host: x\r\n", &format!("Host: x\r\n{fields}")),
        );
    } else {
        http.send(request_text(method, path, fields, body));
    }
    let answer = http.head();
    let challenge = answer.field("www-authenticate").unwrap_or_default().to_owned();
    if answer.status < 400 || method == "HEAD" {
        return (answer.status, String::new(), challenge);
    }
    let mut text = vec![0; answer.field("content-length").unwrap().parse().unwrap()];
    std::io::Read::read_exact(&mut http.into_reader(), &mut text).unwrap();
    (answer.status, String::from_utf8(text).unwrap(), challenge)
}

/// A table of tokens: name, the token, whether it is good.
fn table() -> Vec<(&'static str, String, bool)> {
    let keys = &*KEYS;
    let grants = || json!({"fanfare": everything()});
    let with_claims = |more: Value| {
        let mut all = grants();
        more.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        keys.es.token(all)
    };
    let body = claims(grants()).to_string();
    let with_header = |signer: &Signer, more: &[(&str, Value)]| {
        signer.sign(&with(signer.header(), more).to_string(), &body)
    };
    // What is signed, but says that it is signed otherwise.
    let says = |signer: &Signer, algorithm: &str| with_header(signer, &[("alg", json!(algorithm))]);
    let raw_header = |header: &str| keys.hs.sign(header, &body);
    let raw_claims = |text: &str| keys.hs.sign(&keys.hs.header().to_string(), text);
    let unsigned = |header: &str| format!("{}.{}.", base64url(header.as_bytes()), base64url(body.as_bytes()));
    let good = keys.es.token(grants());
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let other = keys.es.token(json!({"sub": "bob"}));
    let other_signature = other.rsplit('.').next().unwrap();
    let (stranger, _) = generated(fanfare::session::auth::KeyAlgorithm::Es256);
    let named_as_ours = Signer { kid: keys.es.kid.clone(), ..stranger };
    let (alien, alien_set) = generated(fanfare::session::auth::KeyAlgorithm::Es256);
    let alien_jwk = serde_json::from_str::<Value>(&alien_set).unwrap()["keys"][0].clone();
    let in_body = |text: &str, instead: &str| body.replacen(text, instead, 1);
    let exp = now() + 3600;
    let ed_public: Value = serde_json::from_slice(&keys.ed.public).unwrap();
    let hs_other = |algorithm| Signer { algorithm, ..secret(SECRET) };
    let rs_other = |algorithm| Signer { algorithm, key: keys.rs.key.clone(), kid: None, public: Vec::new() };
    let of = |name, token: String, is_good| (name, token, is_good);
    vec![
        // Signatures and algorithms.
        of("HS256", keys.hs.token(grants()), true),
        of("RS256", keys.rs.token(grants()), true),
        of("ES256", good.clone(), true),
        of("EdDSA", keys.ed.token(grants()), true),
        of("nothing", String::new(), false),
        of("a word", "nonsense".into(), false),
        of("an API key that there is not", "fk_0123456789abcdef0123456789abcdef".into(), false),
        of("dots", "..".into(), false),
        of("two parts", format!("{head}.{payload}"), false),
        of("four parts", format!("{good}.x"), false),
        of("five parts", "a.b.c.d.e".into(), false),
        of("no signature", format!("{head}.{payload}."), false),
        of("a signature cut off", good[..good.len() - 4].into(), false),
        of("a signature with padding", format!("{good}=="), false),
        of("a signature of zeros", format!("{head}.{payload}.{}", base64url(&[0; 64])), false),
        of("a signature that is not base64", format!("{head}.{payload}.!{signature}"), false),
        of("the signature of another", format!("{head}.{payload}.{other_signature}"), false),
        of(
            "the claims of another",
            format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap()),
            false,
        ),
        of("none", unsigned(r#"{"alg":"none","typ":"JWT"}"#), false),
        of("None", unsigned(r#"{"alg":"None"}"#), false),
        of("NONE", unsigned(r#"{"alg":"NONE"}"#), false),
        of("nOnE", unsigned(r#"{"alg":"nOnE"}"#), false),
        of("none, signed", says(&keys.hs, "none"), false),
        of("no algorithm", raw_header(r#"{"typ":"JWT"}"#), false),
        of("algorithm null", raw_header(r#"{"alg":null}"#), false),
        of("algorithm a list", raw_header(r#"{"alg":["HS256"]}"#), false),
        of("algorithm in small letters", says(&keys.hs, "hs256"), false),
        of("algorithm with a space", says(&keys.hs, "HS256 "), false),
        of("algorithm twice", raw_header(r#"{"alg":"none","alg":"HS256"}"#), false),
        of("HS384 with our secret", hs_other(Algorithm::HS384).token(grants()), false),
        of("HS512 with our secret", hs_other(Algorithm::HS512).token(grants()), false),
        of("RS384 with our key", rs_other(Algorithm::RS384).token(grants()), false),
        of("PS256 with our key", rs_other(Algorithm::PS256).token(grants()), false),
        of("says ES384", says(&keys.es, "ES384"), false),
        of("says RS256, is ES256", says(&keys.es, "RS256"), false),
        of("says HS256, is ES256", says(&keys.es, "HS256"), false),
        of("says ES256, is HS256", says(&keys.hs, "ES256"), false),
        of("the RSA public key as a secret", secret(&keys.rs.public).token(grants()), false),
        of(
            "the same without its last line end",
            secret(keys.rs.public.trim_ascii_end()).token(grants()),
            false,
        ),
        of(
            "its content as a secret",
            secret(pem::parse(&keys.rs.public).unwrap().contents()).token(grants()),
            false,
        ),
        of("the ECDSA set as a secret", secret(&keys.es.public).token(grants()), false),
        of(
            "the Ed25519 key as a secret",
            secret(ed_public["keys"][0]["x"].as_str().unwrap()).token(grants()),
            false,
        ),
        of("another secret", secret("another secret of as many characters").token(grants()), false),
        of("an empty secret", secret("").token(grants()), false),
        of("another key that is called as ours", named_as_ours.token(grants()), false),
        of("another key", alien.token(grants()), false),
        of(
            "a key that the token brings",
            with_header(&alien, &[("jwk", alien_jwk), ("kid", Value::Null)]),
            false,
        ),
        of(
            "a key that is elsewhere",
            with_header(&alien, &[("jku", json!("http://127.0.0.1:1/jwks"))]),
            false,
        ),
        of(
            "a certificate that is elsewhere",
            with_header(&alien, &[("x5u", json!("http://127.0.0.1:1/"))]),
            false,
        ),
        of("a certificate that the token brings", with_header(&alien, &[("x5c", json!(["AA=="]))]), false),
        of("our key by another name", with_header(&keys.es, &[("kid", json!("other"))]), false),
        of("our key by the name of a file", with_header(&keys.es, &[("kid", json!("../../es.jwks"))]), false),
        of("our key by no name", keys.es.sign(r#"{"alg":"ES256"}"#, &body), true),
        of("a key without a name, by some name", with_header(&keys.rs, &[("kid", json!("2026"))]), true),
        // Headers.
        of("typ at+jwt", with_header(&keys.es, &[("typ", json!("at+jwt"))]), true),
        of("typ application/at+jwt", with_header(&keys.es, &[("typ", json!("application/at+JWT"))]), true),
        of("typ of something else", with_header(&keys.es, &[("typ", json!("secevent+jwt"))]), false),
        of("typ a number", with_header(&keys.es, &[("typ", json!(1))]), false),
        of(
            "something critical",
            with_header(&keys.es, &[("crit", json!(["b64"])), ("b64", json!(false))]),
            false,
        ),
        of("nothing critical, said so", with_header(&keys.es, &[("crit", json!([]))]), false),
        of("encrypted", with_header(&keys.es, &[("enc", json!("A128GCM"))]), false),
        of("compressed", with_header(&keys.es, &[("zip", json!("DEF"))]), false),
        of("something else in the header", with_header(&keys.es, &[("other", json!({"a": 1}))]), true),
        of("a header that is a list", raw_header(r#"["HS256"]"#), false),
        of("a header that is not JSON", raw_header("HS256"), false),
        // Times.
        of("exp with a fraction", with_claims(json!({"exp": exp as f64 + 0.5})), true),
        of("no exp", with_claims(json!({"exp": null})), false),
        of("exp null", raw_claims(&in_body(&exp.to_string(), "null")), false),
        of("exp a text", with_claims(json!({"exp": exp.to_string()})), false),
        of("exp a list", with_claims(json!({"exp": [exp]})), false),
        of("exp true", with_claims(json!({"exp": true})), false),
        of("exp negative", with_claims(json!({"exp": -1})), false),
        of("exp now", with_claims(json!({"exp": now()})), false),
        of("exp past, within the leeway", with_claims(json!({"exp": now() - 2})), false),
        of("exp long past", with_claims(json!({"exp": 1})), false),
        of("exp too large", raw_claims(&in_body(&exp.to_string(), "1e999")), false),
        of("exp twice", raw_claims(&in_body("{", &format!("{{\"exp\":{exp},"))), false),
        of("nbf past", with_claims(json!({"nbf": now() - 10})), true),
        of("nbf to come, within the leeway", with_claims(json!({"nbf": now() + 3})), true),
        of("nbf to come", with_claims(json!({"nbf": exp})), false),
        of("nbf a text", with_claims(json!({"nbf": "0"})), false),
        of("nbf an object", with_claims(json!({"nbf": {}})), false),
        of("nbf null", raw_claims(&in_body("{", "{\"nbf\":null,")), false),
        of("iat past", with_claims(json!({"iat": now() - 10})), true),
        of("iat to come", with_claims(json!({"iat": exp})), false),
        of("iat a text", with_claims(json!({"iat": "0"})), false),
        // Who, and for whom.
        of("iss of another", with_claims(json!({"iss": "https://evil.example/"})), false),
        of("iss almost ours", with_claims(json!({"iss": "https://issuer.example"})), false),
        of("iss in other letters", with_claims(json!({"iss": "https://ISSUER.example/"})), false),
        of("iss a list", with_claims(json!({"iss": ["https://issuer.example/"]})), false),
        of("no iss", raw_claims(&in_body("\"iss\"", "\"iss2\"")), false),
        of("aud a list", with_claims(json!({"aud": ["other", "fanfare.example"]})), true),
        of("aud of another", with_claims(json!({"aud": "other.example"})), false),
        of("aud an empty list", with_claims(json!({"aud": []})), false),
        of("aud a number", with_claims(json!({"aud": 1})), false),
        of("no aud", raw_claims(&in_body("\"aud\"", "\"aud2\"")), false),
        of("sub a number", with_claims(json!({"sub": 7})), false),
        of("sub empty", with_claims(json!({"sub": ""})), false),
        of("sub too long", with_claims(json!({"sub": "x".repeat(251)})), false),
        of("jti a number", with_claims(json!({"jti": 7})), false),
        of("other claims", with_claims(json!({"scope": "x", "nested": {"a": [1]}})), true),
        // Grants.
        of("grants in a list", with_claims(json!({"fanfare": [everything()]})), true),
        of("grants a text", with_claims(json!({"fanfare": "*"})), false),
        of("grants null", raw_claims(&in_body("\"fanfare\":{", "\"fanfare\":null,\"x\":{")), false),
        of(
            "grants with an unknown member",
            with_claims(json!({"fanfare": {"admin": true, "subscirbe": []}})),
            false,
        ),
        of(
            "grants with a bad pattern",
            with_claims(json!({"fanfare": {"subscribe": ["t:a", "t:a*"]}})),
            false,
        ),
        of(
            "one bad grant in a list",
            with_claims(json!({"fanfare": [everything(), {"admin": "true"}]})),
            false,
        ),
        of("claims that are a list", raw_claims("[1]"), false),
        of("claims that are not JSON", raw_claims("exp"), false),
        of(
            "a claim that is nested deeply and means nothing here",
            raw_claims(&in_body("{", &format!("{{\"x\":{}{},", "[".repeat(500), "]".repeat(500)))),
            true,
        ),
        of("too long", with_claims(json!({"x": "x".repeat(4096)})), false),
    ]
}

#[test]
fn a_good_token_is_good_everywhere_and_a_bad_one_nowhere_and_nobody_is_told_why() {
    let server = start(|_| {});
    let table = table();
    assert!(80 <= table.len(), "{} rows", table.len());
    let mut refusals = std::collections::HashSet::new();
    for (name, token, is_good) in &table {
        for transport in TRANSPORTS {
            let (status, body, challenge) = outcome(&server, *transport, &bearer(token));
            let context = format!("{name}, {} {}", transport.0, transport.1);
            if *is_good {
                assert!((101..300).contains(&status), "{context}: {status} {body}");
                assert_eq!(challenge, "", "{context}");
                continue;
            }
            assert_eq!(status, 401, "{context}");
            assert_eq!(challenge, "Bearer realm=\"fanfare\", error=\"invalid_token\"", "{context}");
            if transport.0 != "HEAD" {
                refusals.insert(body);
            }
        }
    }
    assert_eq!(refusals.len(), 1, "all refusals are the same to the byte: {refusals:?}");
}

#[test]
fn a_token_that_is_shown_by_command_is_judged_as_any_other() {
    let server = start(|_| {});
    for (name, token, is_good) in table() {
        let mut client = Client::open(server.public, "/ws");
        let publish = r#"{"type":"publish","channel":"t:a","event":"k"}"#;
        assert_eq!(client.ask(publish)["code"], "unauthorized", "{name}");
        let answer = client.ask(&json!({"type": "auth", "token": token, "id": 1}).to_string());
        assert_eq!(answer["id"], 1, "{name}: {answer}");
        if is_good {
            assert_eq!(
                (&answer["type"], &answer["user"]),
                (&json!("authenticated"), &json!("alice")),
                "{name}"
            );
            assert_eq!(client.ask(publish)["type"], "published", "{name}");
        } else {
            assert_eq!(
                (&answer["type"], &answer["code"]),
                (&json!("error"), &json!("invalid_token")),
                "{name}"
            );
            assert_eq!(client.ask(publish)["code"], "unauthorized", "{name}");
        }
    }
}

#[test]
fn whoever_shows_nothing_gets_what_is_open_to_all_and_is_asked_for_a_token_otherwise() {
    let server = start(|_| {});
    for transport in TRANSPORTS {
        let (status, body, challenge) = outcome(&server, *transport, "");
        match transport.1 {
            "/ws" | "/api/events" => assert_eq!(status, 101, "it may still show one"),
            "/delivered?seq=0" | "/metrics" => assert_eq!(status, 200, "{}", transport.1),
            path => {
                assert_eq!(status, 401, "{path}");
                assert_eq!(challenge, "Bearer realm=\"fanfare\"", "{path}");
                assert!(
                    transport.0 == "HEAD" || body.contains("\"code\":\"unauthorized\""),
                    "{path}: {body}"
                );
            }
        }
    }
    // A page must load however old the cookie is that the browser sends along.
    for path in ["/", "/health", "/health/ready"] {
        let answer = ask(server.public, "GET", path, "Cookie: __Host-fanfare=old\r\n", "");
        assert_eq!(answer.status, 200, "{path}");
    }
    assert_eq!(ask(server.admin, "GET", "/health", "", "").status, 200);
}

#[test]
fn a_token_does_what_it_was_granted_and_no_more_and_the_right_that_is_missing_is_named() {
    let server = start(|_| {});
    let grant = json!([
        {"subscribe": ["repo:a/*", "chat:a", "memory:acme"], "publish": ["t:a", "user:bob"], "presence": ["chat:*"]},
        {"subscribe": ["t:*"], "publish": ["t:**"], "workspace": ["acme"]},
    ]);
    let token = bearer(&KEYS.es.token(json!({"fanfare": grant})));
    let event = |channel: &str, more: &str| format!(r#"{{"channel":"{channel}","event":"k"{more}}}"#);
    let notify = |user: &str| {
        json!({"user_id": user, "notification_type": "mention", "title": "t", "body": "b"}).to_string()
    };
    let check = |method: &str, path: &str, body: &str, missing: Option<&str>| {
        let (status, body, challenge) = outcome(&server, (method, path, body), &token);
        match missing {
            None => assert!((101..300).contains(&status), "{method} {path}: {status} {body}"),
            Some(right) => {
                let expected =
                    format!("Bearer realm=\"fanfare\", error=\"insufficient_scope\", scope=\"{right}\"");
                assert_eq!((status, &*challenge), (403, &*expected), "{method} {path} {body}");
                assert!(body.contains("\"code\":\"forbidden\"") && body.contains(right), "{body}");
            }
        }
    };
    let subscribe = Some("subscribe");
    for (pattern, missing) in [
        ("repo:a/b", None),
        ("repo:a/b/prs", None),
        ("repo:a/*", None),
        ("repo:a/**", None),
        ("chat:a/below", None),
        ("user:alice", None),
        ("memory:acme", None),
        ("memory:other", subscribe),
        ("memory:*", subscribe),
        ("repo:b/b", subscribe),
        ("repo:*/b", subscribe),
        ("repo:*", subscribe),
        ("repo:**", subscribe),
        ("chat:*", subscribe),
        ("user:bob", subscribe),
        ("user:*", subscribe),
        ("user:alice2", subscribe),
        ("sys:clients", subscribe),
        ("sys:announcements", subscribe),
        ("*", subscribe),
        ("t:a", subscribe),
        ("repo:a/b,repo:b/b", subscribe),
        ("t:a&workspace=acme", None),
        ("t:*&workspace=ACME", None),
        ("t:a&workspace=other", subscribe),
        ("t:a&workspace=*", subscribe),
        ("repo:a/b&workspace=acme", subscribe),
        ("user:alice&workspace=acme", subscribe),
    ] {
        check("GET", &format!("/ws?channel={pattern}"), "", missing);
        check("GET", &format!("/events?channel={pattern}"), "", missing);
        check("GET", &format!("/history?channel={pattern}"), "", missing);
    }
    check("GET", "/v1/events?workspace=acme", "", None);
    check("GET", "/v1/events?workspace=other", "", subscribe);
    check("GET", "/v1/events", "", subscribe);
    check("GET", "/api/events?channel=a/b", "", None);
    check("GET", "/api/events?channel=all", "", subscribe);
    let publish = Some("publish");
    for (body, missing) in [
        (event("t:a", ""), None),
        (event("t:a/below", ""), None),
        (event("t:b", ""), publish),
        (event("t:b", r#","workspace":"acme""#), None),
        (event("t:b", r#","workspace":"other""#), publish),
        (event("user:bob", ""), None),
        (event("user:alice", ""), publish),
        (event("chat:a", ""), publish),
        (event("memory:acme", ""), publish),
        (format!("[{},{}]", event("t:a", ""), event("t:b", "")), publish),
    ] {
        check("POST", "/publish", &body, missing);
    }
    check("POST", "/publish/t:a", "1", None);
    check("POST", "/publish/t:b", "1", publish);
    check("POST", "/publish/t:b?workspace=acme", "1", None);
    check("GET", "/presence?channel=chat:b", "", None);
    check("GET", "/presence?channel=chat:b&workspace=acme", "", Some("presence"));
    check("GET", "/presence?channel=t:a", "", Some("presence"));
    check("GET", "/notifications?user=alice", "", None);
    check("GET", "/notifications?user=bob", "", Some("admin"));
    check("POST", "/notifications/read-all?user=bob", "", Some("admin"));
    check("POST", "/notifications", &notify("bob"), None);
    check("POST", "/notifications", &notify("alice"), publish);
    check("GET", "/stats", "", Some("admin"));
    check("POST", "/announce", r#"{"message":"x"}"#, Some("admin"));
    // By command the same.
    let mut client = Client::open(server.public, &format!("/ws?access_token={}", token_of(&token)));
    for (command, code) in [
        (json!({"type": "subscribe", "channel": "repo:a/b"}), None),
        (json!({"type": "subscribe", "channels": ["repo:a/b", "repo:b/b"]}), Some("forbidden")),
        (json!({"type": "subscribe", "channel": "t:a"}), Some("forbidden")),
        (json!({"type": "subscribe", "channel": "t:a", "filter": {"workspace": "acme"}}), None),
        (json!({"type": "filter", "filter": {"workspace": "acme"}}), Some("forbidden")),
        (json!({"type": "publish", "channel": "t:b", "event": "k"}), Some("forbidden")),
        (json!({"type": "publish", "channel": "t:b", "event": "k", "workspace": "acme"}), None),
    ] {
        let answer = client.ask(&command.to_string());
        assert_eq!(answer["code"].as_str(), code, "{command}: {answer}");
    }
}

fn token_of(line: &str) -> &str {
    line.trim_end().rsplit(' ').next().unwrap()
}

#[test]
fn a_token_may_be_in_one_of_some_places_and_two_different_ones_are_refused() {
    let (one, two) = (KEYS.es.token(json!({"fanfare": everything()})), KEYS.hs.token(json!({})));
    let check = |server: &LocalServer, path: &str, fields: &str, expected: u16| {
        let (status, body, challenge) = outcome(server, ("GET", path, ""), fields);
        assert_eq!(status, expected, "{path} {fields}: {body}");
        assert!(!body.contains(&one) && !body.contains(&two), "{body}");
        if status == 400 {
            assert_eq!(challenge, "Bearer realm=\"fanfare\", error=\"invalid_request\"");
        }
    };
    let server = start(|_| {});
    let cookie = |name: &str, token: &str| format!("Cookie: a=1; {name}={token}; b=2\r\n");
    for path in ["/ws?channel=t:a", "/events?channel=t:a", "/history?channel=t:a"] {
        let good = if path.starts_with("/ws") { 101 } else { 200 };
        let query = |token: &str| format!("{path}&access_token={token}");
        check(&server, path, &bearer(&one), good);
        check(&server, path, &bearer(&one).replacen("Bearer", "bEARER", 1), good);
        check(&server, path, &cookie("__Host-fanfare", &one), good);
        check(&server, path, &cookie("other", &one), 401);
        check(&server, &query(&one), "", good);
        check(&server, &query(&one), &bearer(&one), good);
        check(&server, &query(&one), &bearer(&two), 400);
        check(&server, &query(&one), &cookie("__Host-fanfare", &two), 400);
        check(&server, &format!("{}&access_token={two}", query(&one)), "", 400);
        check(&server, path, &(bearer(&one) + &bearer(&two)), 400);
        check(&server, path, &(bearer(&one) + &cookie("__Host-fanfare", "old")), good);
        check(&server, path, "Authorization: Basic YTpi\r\n", 401);
    }
    let (short, other) =
        (format!("/api/events?token={one}&channel=a/b"), format!("/history?token={one}&channel=t:a"));
    check(&server, &short, "", 403);
    check(&server, &other, "", 401);
    let strict = start(|auth| (auth.query_tokens, auth.cookie) = (false, "mine".to_owned()));
    check(&strict, &format!("/history?channel=t:a&access_token={one}"), "", 400);
    check(&strict, &short, "", 400);
    check(&strict, "/history?channel=t:a", &bearer(&one), 200);
    check(&strict, "/history?channel=t:a", &cookie("mine", &one), 200);
    check(&strict, "/history?channel=t:a", &cookie("__Host-fanfare", &one), 401);
}

#[test]
fn every_path_takes_a_token_from_its_query() {
    let server = start(|_| {});
    let token = KEYS.es.token(json!({"fanfare": everything()}));
    for (method, path, body) in TRANSPORTS {
        let sign = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{sign}access_token={token}");
        let (status, body, _) = outcome(&server, (method, &target, body), "");
        assert!((101..300).contains(&status), "{method} {path}: {status} {body}");
    }
}

#[test]
fn api_keys_do_what_their_file_says() {
    let server = start(|_| {});
    let check = |key: &str, transport, expected: u16| {
        assert_eq!(outcome(&server, transport, &bearer(key)).0, expected, "{transport:?}");
    };
    check(API_KEY, ("POST", "/publish", r#"{"channel":"t:a","event":"k"}"#), 202);
    check(API_KEY, ("POST", "/publish", r#"{"channel":"u:a","event":"k"}"#), 403);
    check(API_KEY, ("GET", "/history?channel=t:a", ""), 403);
    check(API_KEY, ("GET", "/stats", ""), 403);
    check("fk_operator", ("GET", "/stats", ""), 200);
    check(&API_KEY.to_uppercase(), ("POST", "/publish", r#"{"channel":"t:a","event":"k"}"#), 401);
    // Their idempotency keys are their own: not even an event id of one is one of the other.
    let body = r#"{"channel":"t:a","event":"k","event_id":"e1"}"#;
    let by_key = ask(server.public, "POST", "/publish", &bearer(API_KEY), body).json()["seq"].clone();
    let again = ask(server.public, "POST", "/publish", &bearer(API_KEY), body).json()["seq"].clone();
    let token = KEYS.es.token(json!({"sub": "ci", "fanfare": {"publish": ["t:a"]}}));
    let by_user = ask(server.public, "POST", "/publish", &bearer(&token), body).json()["seq"].clone();
    assert_eq!(by_key, again);
    assert_ne!(by_key, by_user);
}

#[test]
fn some_channels_may_be_open_to_all_and_operators_may_be_trusted_on_their_own_machine() {
    let server = start(|auth| {
        auth.anonymous_subscribe = vec![Pattern::parse("repo:public/*").unwrap()];
        auth.admin_open = true;
    });
    let check = |transport, fields: &str, expected: u16| {
        assert_eq!(outcome(&server, transport, fields).0, expected, "{transport:?}");
    };
    check(("GET", "/ws?channel=repo:public/x", ""), "", 101);
    check(("GET", "/events?channel=repo:public/*", ""), "", 200);
    check(("GET", "/events?channel=repo:*", ""), "", 401);
    check(("GET", "/events?channel=repo:public/x&workspace=acme", ""), "", 401);
    check(("GET", "/events?channel=user:alice&user=alice", ""), "", 401);
    check(("POST", "/publish", r#"{"channel":"repo:public/x","event":"k"}"#), "", 401);
    check(("GET", "/stats", ""), "", 200);
    check(("GET", "/stats", ""), &bearer("bad.bad.bad"), 401);
    check(("GET", "/stats", ""), &bearer(&KEYS.es.token(json!({}))), 403);
    check(("GET", "/events?channel=repo:public/x", ""), &bearer(&KEYS.es.token(json!({}))), 403);
}

#[test]
fn a_server_with_keys_is_made_by_three_commands_and_says_no_secret() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made =
        fanfare().args(["keys", "new", "--algorithm", "es256", "--out", &path("made")]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let set: Value = serde_json::from_slice(&made.stdout).expect("the public set");
    assert!(set["keys"][0]["d"].is_null() && set["keys"][0]["kid"].is_string(), "{set}");
    let kid = set["keys"][0]["kid"].as_str().unwrap();
    let private = path(&format!("made/{kid}.pem"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&private).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    let mint = |flags: &[&str]| {
        let output = fanfare().args(["token", "--key", &private]).args(flags).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let token =
        mint(&["--sub", "alice", "--subscribe", "repo:**", "--publish", "repo:a/b", "--expires", "1h"]);
    let (set, secret, api_keys) = (path(&format!("made/{kid}.jwks")), path("token.secret"), path("api.json"));
    let mut server = ServerProcess::start(&["--jwks", &set, "--token-key", &secret, "--api-keys", &api_keys]);
    let url = format!("http://{}", server.public);
    std::fs::write(path("token"), &token).unwrap();
    let publish = |credentials: &[&str], channel: &str| {
        let output =
            fanfare().args(["publish", &url, channel, "push", "1"]).args(credentials).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains(&token), "{output:?}");
        output.status.code()
    };
    assert_eq!(publish(&["--token-file", &path("token")], "repo:a/b"), Some(0));
    assert_eq!(publish(&["--token-file", &path("token")], "repo:a/c"), Some(4));
    assert_eq!(publish(&[], "repo:a/b"), Some(4));
    let by_environment = fanfare()
        .args(["tail", &url, "repo:a/b", "--since", "earliest", "-n", "1"])
        .env("FANFARE_TOKEN", &token)
        .output()
        .unwrap();
    assert!(by_environment.status.success(), "{by_environment:?}");
    assert!(String::from_utf8_lossy(&by_environment.stdout).contains("\"push\""));
    for (method, target, fields) in [
        ("GET", format!("/ws?access_token={token}"), String::new()),
        ("GET", "/history?channel=t:a".to_owned(), bearer(API_KEY)),
        ("GET", format!("/history?channel=t:a&access_token={SECRET}"), String::new()),
        ("GET", "/history?channel=t:a".to_owned(), format!("Cookie: __Host-fanfare={SECRET}\r\n")),
        ("GET", format!("/nothing/{SECRET}?access_token={token}"), String::new()),
        ("POST", "/publish".to_owned(), bearer(API_KEY)),
    ] {
        let answer = ask(server.public, method, &target, &fields, "{");
        let shown = format!("{:?} {}", answer.fields, answer.text());
        for secret in [SECRET, API_KEY, &token] {
            assert!(!shown.contains(secret), "{target}: {shown}");
        }
    }
    server.signal("TERM");
    let said = server.last_words();
    assert!(said.contains("drained"), "{said}");
    for secret in [SECRET, API_KEY, &token] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn a_start_without_good_keys_says_which_file_is_wrong_and_shows_nothing_of_it() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        path(name)
    };
    let (signer, set) = generated(fanfare::session::auth::KeyAlgorithm::Es256);
    let private = pem::encode(&pem::Pem::new("PRIVATE KEY", signer.key.as_bytes()));
    let twice = write("twice.jwks", &set);
    let check = |flags: &[&str], expected: &[&str]| {
        let output = fanfare()
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        for words in expected {
            assert!(said.contains(words), "{flags:?}: {said} lacks {words}");
        }
        assert!(!said.contains("s3cret") && !said.contains(SECRET), "{said}");
    };
    check(&["--token-key", &path("missing")], &["missing", "No such file"]);
    check(&["--token-key", &write("short", "s3cret\n")], &["short", "at least 32"]);
    check(&["--token-key", &write("binary", &"\u{1}".repeat(64))], &["binary", "printable"]);
    check(&["--token-key", &write("private.pem", &private)], &["private.pem", "private key"]);
    check(
        &["--token-key", &write("broken.pem", "-----BEGIN PUBLIC KEY-----\ns3cret\n")],
        &["broken.pem", "PEM"],
    );
    check(&["--jwks", &write("broken.jwks", "{\"keys\":[s3cret]}")], &["broken.jwks", "not JSON (line 1"]);
    check(&["--jwks", &write("empty.jwks", "{\"keys\":[]}")], &["empty.jwks", "no key"]);
    check(&["--jwks", &path("token.secret")], &["token.secret", "not JSON"]);
    // What everybody may know is no secret, even if it is a line of text.
    let pem = std::fs::read_to_string(path("rsa.pem")).unwrap();
    let unarmoured: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let list = format!("[{}]", set.trim());
    let address = "https://issuer.example/.well-known/jwks.json";
    // Of kinds that sign no token here: P-384, X25519, and 1024 bits of RSA.
    let others = [
        "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEB4r/i9chu1IDtjG/t6n6TNjS9SmizgSNA27VuVRBklFluV/dIcCFZIADM/q8z8b9+6GGBTeFuLR3tZZzS2AmlN11CDd3lmHiqoQjfvypKGa71xPiz1SFs+UtCHudNtEd",
        "MCowBQYDK2VuAyEA6OQK2I4q9b9uPKrzQkPIPzmT90REPwkE0kWv7vOZ20E=",
        "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDRil/BwpBU2RUGglRwLngP9VYjkmotrtt3LU1eDEP3GMf2Sz94I3fdy9plGfQKlSDxgrFClwwtQVeS4WPGlVMXnD95Idv86wb6+duqgHqfCPHMHHIdsW4yCYKwUz2M9CWuc0Zf4o+egJRAEVSRPj0H3EEvlMrxwFoJdOuckVNK0QIDAQAB",
    ];
    let page = "<!doctype html><html lang=en><title>Sign in</title>";
    for public in [unarmoured.as_str(), &list, address, page].into_iter().chain(others) {
        check(&["--token-key", &write("public", public)], &["--token-key", "public", "nothing secret"]);
    }
    let kid = signer.kid.as_deref().unwrap();
    let digest = "0".repeat(64);
    let namesake = format!(r#"[{{"name":"{kid}","sha256":"{digest}","grants":{{}}}}]"#);
    check(
        &["--jwks", &twice, "--api-keys", &write("namesake.json", &namesake)],
        &["two keys are called", kid],
    );
    check(&["--token-key", folder.path().to_str().unwrap()], &["--token-key", "no regular file"]);
    let short_secret = r#"{"keys":[{"kty":"oct","k":"czNjcmV0","alg":"HS256"}]}"#;
    check(&["--jwks", &write("short.jwks", short_secret)], &["short.jwks", "at least 32"]);
    let not_on_curve = set.replace("\"x\":\"", "\"x\":\"AAAA");
    check(&["--jwks", &write("curve.jwks", &not_on_curve)], &["curve.jwks"]);
    check(&["--jwks", &twice, "--token-key", &twice], &["two keys are called"]);
    check(&["--api-keys", &write("api2.json", r#"[{"name":"s3cret"}]"#)], &["api2.json", "members"]);
    check(&["--token-key", &path("token.secret"), "--token-leeway", "61s"], &["60 seconds"]);
    check(&["--token-key", &path("token.secret"), "--token-cookie", "a b"], &["cookie"]);
    check(&["--anonymous-subscribe", "t:a"], &["mean nothing without keys"]);
    check(&["--admin-open"], &["mean nothing without keys"]);
}
