//! Arbitrary tokens, and arbitrary headers and claims that are well signed: whatever is believed says what it must.

use std::sync::{Arc, LazyLock};

use base64url::base64url;
use fanfare::session::auth::{AuthSettings, Known, Secret, Tokens, load};
use fanfare::session::authority::{Act, Authority, Denied, Principal};
use fanfare::session::request::Door;
use fanfare::wire::http::{HeadLimits, parse_head};
use fanfare::words::channel::{Channel, Pattern};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

#[path = "../../tests/support/base64url.rs"]
mod base64url;

const SECRET: &str = "a secret of more than 32 characters";

/// The time at which everything is judged.
const NOW_MS: u64 = 1_795_316_060_000;

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let token_secret = Some(Secret::new(SECRET.to_owned()));
    let settings = AuthSettings { token_secret, ..AuthSettings::default() };
    load(&settings, &Arc::default()).expect("the secret is one")
});

// The first byte chooses. Either the rest is a token, or its first line is a header and what follows are the claims.
/// Runs one input.
pub(crate) fn run(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    if choice & 1 != 0 {
        if let Ok(text) = str::from_utf8(rest)
            && let Some(outcome) = judged(text)
        {
            assert!(outcome.is_err_and(|denied| denied != Denied::Unknown), "nobody has signed {text}");
        }
        return;
    }
    let (header, claims) = rest.split_at(rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    let claims = claims.get(1..).unwrap_or_default();
    let header = if choice & 2 == 0 { br#"{"alg":"HS256"}"# } else { header };
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).expect("every length fits");
    let signature = keyed.chain_update(&message).finalize().into_bytes();
    let Some(Ok(principal)) = judged(&format!("{message}.{}", base64url(&signature))) else { return };

    // Members of a header that nobody looks at may be anything.
    let header = String::from_utf8_lossy(header);
    let Some(header) = json(&header) else { return };
    assert_eq!(header["alg"], "HS256");
    let Some(claims) = json(str::from_utf8(claims).expect("claims that are believed are a text")) else {
        return;
    };
    let in_ms = |name: &str| claims[name].as_f64().map(|seconds| seconds * 1000.0);
    assert!(in_ms("exp").is_some_and(|exp| (NOW_MS as f64) < exp), "{claims}");
    for name in ["nbf", "iat"].iter().filter(|name| claims.get(**name).is_some()) {
        assert!(in_ms(name).is_some_and(|at| at <= NOW_MS as f64 + 5001.0), "{claims}");
    }
    assert!(claims.get("aud").is_none(), "it is meant for somebody");
    if let Some(user) = principal.user() {
        assert_eq!(claims["sub"], user);
        assert!(Channel::parse(&format!("user:{user}")).is_ok());
    }
    check_grants(&principal, &claims["fanfare"]);
}

/// What is believed, which must be JSON; nothing if it has a number beyond floating point, in a member that nobody looks at.
fn json(text: &str) -> Option<Value> {
    serde_json::from_str::<&serde_json::value::RawValue>(text).expect("what is believed is JSON");
    serde_json::from_str(text).ok()
}

/// What is allowed was granted.
fn check_grants(principal: &Principal, granted: &Value) {
    let text = granted.to_string();
    let allows = |act: &Act<'_>| TOKENS.allow(principal, act).is_ok();
    for (pattern, needed) in [("t:a", "\""), ("*", "*\""), ("sys:clients", "\"")] {
        let pattern = Pattern::parse(pattern).expect("a pattern");
        if allows(&Act::Read { pattern: &pattern, scope: None }) {
            assert!(text.contains("subscribe") && text.contains(needed), "{pattern}: {text}");
        }
    }
    if allows(&Act::Publish { channel: "t:a", workspace: None }) {
        assert!(text.contains("publish"), "{text}");
    }
    if allows(&Act::Administer) {
        assert!(text.contains("\"admin\":true"), "{text}");
    }
}

/// What becomes of whoever shows `token`; nothing if it cannot stand in a head.
fn judged(token: &str) -> Option<Result<Principal, Denied>> {
    let text = format!("GET /ws HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n");
    let limits = HeadLimits { head_bytes_max: 65_535, ..HeadLimits::default() };
    let (head, length) = parse_head(text.as_bytes(), &limits).ok()??;
    let is_whole = length == text.len();
    is_whole.then(|| TOKENS.identify(&head, Door::Public, NOW_MS, &mut Known::default()))
}
