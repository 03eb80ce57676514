//! What webhooks prove that they know.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Source;
use crate::wire::http::RequestHead;

/// Secrets of one source at once: enough to exchange them one after the other. Each costs an HMAC over every body.
pub const SECRETS_MAX: usize = 8;

/// The secrets of all sources. What is kept is keyed hashes and digests, never the secrets themselves.
#[derive(Clone, Default)]
pub struct Secrets {
    github: Vec<Hmac<Sha256>>,
    gitea: Vec<Hmac<Sha256>>,
    gitlab: Vec<[u8; 32]>,
}

/// Why a secret is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Everybody knows it.
    #[error("a webhook's secret may not be empty")]
    Empty,
    /// More than [`SECRETS_MAX`] for one source.
    #[error("at most {SECRETS_MAX} secrets may hold for one source of webhooks")]
    TooMany,
}

impl Secrets {
    /// From now on webhooks of `source` may prove themselves with `secret` too.
    ///
    /// # Errors
    /// [`SecretError`]; what was there before still holds.
    pub fn add(&mut self, source: Source, secret: &[u8]) -> Result<(), SecretError> {
        if secret.is_empty() {
            return Err(SecretError::Empty);
        }
        if SECRETS_MAX <= self.count(source) {
            return Err(SecretError::TooMany);
        }
        match source {
            Source::GitHub => self.github.push(keyed(secret)),
            Source::Gitea => self.gitea.push(keyed(secret)),
            Source::GitLab => self.gitlab.push(Sha256::digest(secret).into()),
        }
        Ok(())
    }

    /// Whether there is a secret for `source`.
    #[must_use]
    pub fn is_configured(&self, source: Source) -> bool {
        0 < self.count(source)
    }

    /// Whether a request proves that its sender knows one of the secrets. Takes the same time for any wrong proof of the
    /// right form, and looks at all secrets always.
    #[must_use]
    pub fn verify(&self, source: Source, head: &RequestHead<'_>, body: &[u8]) -> bool {
        let is_good = match source {
            Source::GitHub => {
                signature(head, GITHUB_PROOFS).map(|proof| is_signed(&self.github, &proof, body))
            }
            Source::Gitea => signature(head, GITEA_PROOFS).map(|proof| is_signed(&self.gitea, &proof, body)),
            Source::GitLab => only(head, "x-gitlab-token").map(|token| {
                // Digests have one length, so that not even that of the secret shows.
                let digest: [u8; 32] = Sha256::digest(token).into();
                any(self.gitlab.iter().map(|secret| secret.ct_eq(&digest)))
            }),
        };
        is_good.is_some_and(bool::from)
    }

    fn count(&self, source: Source) -> usize {
        match source {
            Source::GitHub => self.github.len(),
            Source::Gitea => self.gitea.len(),
            Source::GitLab => self.gitlab.len(),
        }
    }
}

/// Shows how many there are, never what they are.
impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = formatter.debug_struct("Secrets");
        for source in Source::ALL {
            counts.field(source.name(), &self.count(source));
        }
        counts.finish()
    }
}

/// Headers that may hold a signature, and what stands before its digits; the first one present counts.
type Proofs = &'static [(&'static str, &'static str)];

const GITHUB_PROOFS: Proofs = &[("x-hub-signature-256", "sha256=")];
const GITEA_PROOFS: Proofs =
    &[("x-forgejo-signature", ""), ("x-gitea-signature", ""), ("x-hub-signature-256", "sha256=")];

fn signature(head: &RequestHead<'_>, proofs: Proofs) -> Option<[u8; 32]> {
    let (name, prefix) = proofs.iter().find(|(name, _)| head.header(name).is_some())?;
    from_hex(only(head, name)?.strip_prefix(prefix)?)
}

/// The value of a header that stands there once: of two, nobody could say which one was meant.
fn only<'a>(head: &RequestHead<'a>, name: &str) -> Option<&'a str> {
    let mut values = head.headers(name);
    values.next().filter(|_| values.next().is_none())
}

fn is_signed(secrets: &[Hmac<Sha256>], proof: &[u8; 32], body: &[u8]) -> Choice {
    any(secrets.iter().map(|secret| {
        let expected: [u8; 32] = secret.clone().chain_update(body).finalize().into_bytes().into();
        expected.ct_eq(proof)
    }))
}

/// Whether one is good, without stopping at it.
fn any(choices: impl Iterator<Item = Choice>) -> Choice {
    choices.fold(Choice::from(0), |any, choice| any | choice)
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    // The key is hashed down to a block if it is longer, so that every length fits.
    <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length")
}

/// 32 bytes from 64 hexadecimal digits of either case.
fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(bytes)
}

/// The signature of `body` by `secret` in hexadecimal digits.
#[cfg(test)]
pub(super) fn sign(secret: &[u8], body: &[u8]) -> String {
    let signature = keyed(secret).chain_update(body).finalize().into_bytes();
    signature.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    fn verify(secrets: &Secrets, source: Source, headers: &str, body: &[u8]) -> bool {
        let text = format!("POST /hooks HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        secrets.verify(source, &head, body)
    }

    fn secrets(source: Source, list: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        list.iter().for_each(|secret| secrets.add(source, secret.as_bytes()).unwrap());
        secrets
    }

    #[test]
    fn published_vectors_of_hmac_sha_256() {
        let check = |key: &[u8], body: &[u8], expected: &str| assert_eq!(sign(key, body), expected);
        // RFC 4231, cases 1, 2, 3 and 6.
        check(&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    #[test]
    fn a_github_signature_is_over_the_raw_body() {
        const GOOD: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let known = secrets(Source::GitHub, &["It's a Secret to Everybody"]);
        let check = |headers: &str, body: &str, expected: bool| {
            assert_eq!(verify(&known, Source::GitHub, headers, body.as_bytes()), expected, "{headers}");
        };
        let header = |value: &str| format!("X-Hub-Signature-256: {value}\r\n");
        let good = header(&format!("sha256={GOOD}"));
        check(&good, "Hello, World!", true);
        check(&header(&format!("sha256={}", GOOD.to_uppercase())), "Hello, World!", true);
        check(&good, "Hello, World! ", false);
        check(&good, "", false);
        check("", "Hello, World!", false);
        check(&header(GOOD), "Hello, World!", false);
        check(&header(&format!("sha1={GOOD}")), "Hello, World!", false);
        check(&header(&format!("sha256={}", &GOOD[..62])), "Hello, World!", false);
        check(&header(&format!("sha256={GOOD}00")), "Hello, World!", false);
        check(&header(&format!("sha256={}g", &GOOD[..63])), "Hello, World!", false);
        check(&header(&format!("sha256={}ü", &GOOD[..62])), "Hello, World!", false);
        check(&format!("{good}{good}"), "Hello, World!", false);
        check(&format!("X-Gitea-Signature: {GOOD}\r\n"), "Hello, World!", false);
    }

    #[test]
    fn gitea_and_forgejo_sign_under_three_names() {
        let known = secrets(Source::Gitea, &["s"]);
        let good = sign(b"s", b"body");
        let bad = sign(b"t", b"body");
        let check = |headers: &str, expected: bool| {
            assert_eq!(verify(&known, Source::Gitea, headers, b"body"), expected, "{headers}");
        };
        check(&format!("X-Gitea-Signature: {good}\r\n"), true);
        check(&format!("X-Forgejo-Signature: {good}\r\n"), true);
        check(&format!("X-Hub-Signature-256: sha256={good}\r\n"), true);
        check(&format!("X-Gitea-Signature: {bad}\r\nX-Forgejo-Signature: {good}\r\n"), true);
        check(&format!("X-Gitea-Signature: {good}\r\nX-Forgejo-Signature: {bad}\r\n"), false);
        check(&format!("X-Gitea-Signature: \r\nX-Hub-Signature-256: sha256={good}\r\n"), false);
        check(&format!("X-Gitea-Signature: {bad}\r\n"), false);
        check("", false);
    }

    #[test]
    fn a_gitlab_token_is_compared_whole() {
        let known = secrets(Source::GitLab, &["token"]);
        let check = |headers: &str, expected: bool| {
            assert_eq!(verify(&known, Source::GitLab, headers, b""), expected, "{headers}");
        };
        check("X-Gitlab-Token: token\r\n", true);
        check("X-Gitlab-Token: Token\r\n", false);
        check("X-Gitlab-Token: tok\r\n", false);
        check("X-Gitlab-Token: \r\n", false);
        check("X-Gitlab-Token: token\r\nX-Gitlab-Token: token\r\n", false);
        check("", false);
    }

    #[test]
    fn several_secrets_hold_at_once_and_only_for_their_source() {
        let known = secrets(Source::GitHub, &["old", "new"]);
        let check = |source, secret: &[u8], expected: bool| {
            let headers = format!("X-Hub-Signature-256: sha256={}\r\n", sign(secret, b"body"));
            assert_eq!(verify(&known, source, &headers, b"body"), expected);
        };
        check(Source::GitHub, b"old", true);
        check(Source::GitHub, b"new", true);
        check(Source::GitHub, b"", false);
        check(Source::Gitea, b"old", false);
        assert!(!verify(&Secrets::default(), Source::GitLab, "X-Gitlab-Token: \r\n", b""));
    }

    #[test]
    fn an_empty_secret_and_one_too_many_are_refused() {
        for source in Source::ALL {
            let mut secrets = Secrets::default();
            assert!(!secrets.is_configured(source));
            assert_eq!(secrets.add(source, b""), Err(SecretError::Empty));
            assert!(!secrets.is_configured(source));
            for at in 0..SECRETS_MAX {
                assert_eq!(secrets.add(source, &[b'a' + at as u8]), Ok(()));
            }
            assert_eq!(secrets.add(source, b"x"), Err(SecretError::TooMany));
            assert!(secrets.is_configured(source));
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let mut all = secrets(Source::GitHub, &["hush", "hush2"]);
        all.add(Source::GitLab, b"hush").unwrap();
        assert_eq!(format!("{all:?}"), "Secrets { github: 2, gitea: 0, gitlab: 1 }");
    }
}
