//! API keys: long random texts that programs are known by.
//!
//! The file of them holds digests and no key. Since a key is 256 random bits, a plain digest is as good as a slow one.
//!
//! # Bounds   [`API_KEYS_MAX`]

use std::sync::Arc;

use arcstr::ArcStr;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::grants::Grants;
use super::keys::without_values;
use super::pass::{Pass, Proof};
use crate::words::channel::Channel;
use crate::words::limits::{API_KEYS_MAX, USER_BYTES_MAX};

/// The API keys of a server.
#[derive(Debug, Default)]
pub struct ApiKeys(Vec<Arc<Pass>>);

/// Why a file of API keys is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// It is no list of keys.
    #[error("{0}")]
    Malformed(String),
    /// A key is named like another, or not at all.
    #[error("key {0}: its name has 1 to {USER_BYTES_MAX} characters, and is that of no other")]
    BadName(usize),
    /// What should be a digest is none.
    #[error("key {0}: its sha256 is 64 hexadecimal digits, and that of no other")]
    BadDigest(usize),
    /// Its user can be none.
    #[error("key {0}: its user is not a name as in user:<name>")]
    BadUser(usize),
    /// There are too many.
    #[error("there are more than {API_KEYS_MAX} keys")]
    TooMany,
}

/// A key as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    user: Option<String>,
    grants: Grants,
}

impl ApiKeys {
    /// Reads a list of keys.
    ///
    /// # Errors
    /// [`ApiKeyError`], which says which entry is wrong, counted from 1.
    pub fn parse(bytes: &[u8]) -> Result<ApiKeys, ApiKeyError> {
        let entries: Vec<Entry> =
            serde_json::from_slice(bytes).map_err(|error| ApiKeyError::Malformed(without_values(&error)))?;
        if API_KEYS_MAX < entries.len() {
            return Err(ApiKeyError::TooMany);
        }
        let mut keys: Vec<Arc<Pass>> = Vec::with_capacity(entries.len());
        for (number, entry) in (1..).zip(entries) {
            let is_name = (1..=USER_BYTES_MAX).contains(&entry.name.len());
            if !is_name || keys.iter().any(|key| key.key == entry.name) {
                return Err(ApiKeyError::BadName(number));
            }
            let key_digest = from_hex(&entry.sha256).ok_or(ApiKeyError::BadDigest(number))?;
            if keys.iter().any(|key| key.key_digest == key_digest) {
                return Err(ApiKeyError::BadDigest(number));
            }
            let user = entry.user.map(ArcStr::from);
            let is_user = |user: &ArcStr| Channel::parse(&["user:", user].concat()).is_ok();
            if !user.as_ref().is_none_or(is_user) {
                return Err(ApiKeyError::BadUser(number));
            }
            keys.push(Arc::new(Pass {
                proof: Proof::ApiKey,
                name: user.clone().unwrap_or_else(|| ["API key ", &entry.name].concat().into()),
                subject: user.clone(),
                user,
                id: None,
                key: entry.name.into(),
                key_digest,
                rules: 0,
                expires_ms: None,
                grants: entry.grants,
            }));
        }
        Ok(ApiKeys(keys))
    }

    /// What operators call them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pass| pass.key.as_str())
    }

    /// What the key `text` grants, if it is one. Takes the same time whichever it is, and if it is none.
    pub(super) fn find(&self, text: &str) -> Option<Arc<Pass>> {
        let digest: [u8; 32] = Sha256::digest(text).into();
        let mut place = u64::MAX;
        for (at, key) in (0..).zip(&self.0) {
            place.conditional_assign(&at, key.key_digest.ct_eq(&digest));
        }
        self.0.get(usize::try_from(place).ok()?).map(Arc::clone)
    }

    /// What the key of this digest grants now, if there still is one.
    pub(super) fn again(&self, key_digest: &[u8; 32]) -> Option<Arc<Pass>> {
        self.0.iter().find(|key| key.key_digest == *key_digest).map(Arc::clone)
    }
}

/// 32 bytes from 64 hexadecimal digits of either case.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_key_is_found_by_its_digest_alone() {
        let text = format!(
            r#"[{{"name":"ci","sha256":"{}","grants":{{"publish":["t:*"]}}}},{{"name":"bot","sha256":"{}","user":"bot","grants":[]}}]"#,
            hex("fk_one"),
            hex("fk_two").to_uppercase()
        );
        let keys = ApiKeys::parse(text.as_bytes()).unwrap();
        let name = |text: &str| keys.find(text).map(|pass| (pass.key.to_string(), pass.name.to_string()));
        assert_eq!(name("fk_one"), Some(("ci".to_owned(), "API key ci".to_owned())));
        assert_eq!(name("fk_two"), Some(("bot".to_owned(), "bot".to_owned())));
        for text in ["", "fk_", "fk_ones", "FK_ONE", &hex("fk_one")] {
            assert_eq!(name(text), None, "{text}");
        }
        assert!(keys.again(&Sha256::digest("fk_one").into()).is_some_and(|pass| pass.key == "ci"));
        assert!(keys.again(&[0; 32]).is_none());
        assert!(!format!("{keys:?}").contains("fk_one"));
    }

    #[test]
    fn a_bad_file_says_which_key_is_wrong_and_shows_nothing_of_it() {
        let digest = hex("a");
        let check = |text: &str, expected: &str| {
            let error = ApiKeys::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        };
        let one =
            |members: &str| format!(r#"[{{"name":"x","sha256":"{digest}","grants":{{}}}},{{{members}}}]"#);
        check("s3cret", "not JSON (line 1");
        check("{}", "members");
        check(r#"[{"name":"s3cret"}]"#, "members");
        check(&one(&format!(r#""name":"","sha256":"{}","grants":{{}}"#, hex("b"))), "key 2: its name");
        check(&one(&format!(r#""name":"x","sha256":"{}","grants":{{}}"#, hex("b"))), "key 2: its name");
        check(&one(r#""name":"y","sha256":"s3cret","grants":{}"#), "key 2: its sha256");
        check(&one(&format!(r#""name":"y","sha256":"{digest}","grants":{{}}"#)), "key 2: its sha256");
        check(
            &one(&format!(r#""name":"y","sha256":"{}","user":"a/b","grants":{{}}"#, hex("b"))),
            "key 2: its user",
        );
        check(&one(&format!(r#""name":"y","sha256":"{}","grants":{{"s3cret":1}}"#, hex("b"))), "members");
        check(&one(r#""name":"y","key":"s3cret","grants":{}"#), "members");
    }
}
