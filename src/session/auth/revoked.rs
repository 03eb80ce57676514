//! What is refused though it is signed and in time: tokens, users and keys that an operator has revoked.
//!
//! # Bounds   [`REVOCATIONS_MAX`]; beyond it a further one is refused, and said so. Each ends by itself

use std::sync::Mutex;

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;

use super::pass::Pass;
use crate::mail::Whom;
use crate::words::limits::REVOCATIONS_MAX;

/// The list of what is revoked. It outlives the authority that looks at it, so that a reload gives nothing back.
#[derive(Debug, Default)]
pub struct Revoked {
    lists: ArcSwap<Lists>,
    /// Held while a list is changed, so that no change is lost; nobody who only looks waits for it.
    writing: Mutex<()>,
}

/// Until when each is revoked, in Unix milliseconds.
#[derive(Clone, Debug, Default)]
struct Lists {
    tokens: HashTrieMapSync<String, u64>,
    users: HashTrieMapSync<String, u64>,
    keys: HashTrieMapSync<String, u64>,
}

/// There are as many revocations as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {REVOCATIONS_MAX} revocations may hold at once")]
pub struct TooManyRevoked;

impl Revoked {
    /// From now on, until `until_ms` of the Unix clock, `whom` is refused. What was revoked for longer stays so. A client is
    /// nothing that could come back, and is not kept.
    ///
    /// # Errors
    /// When there are too many; nothing was revoked then.
    pub fn add(&self, whom: &Whom, until_ms: u64, unix_ms: u64) -> Result<(), TooManyRevoked> {
        let _writing = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut lists = Lists::clone(&self.lists.load());
        if REVOCATIONS_MAX <= lists.len() {
            lists.forget_old(unix_ms);
        }
        let Some((list, name)) = lists.list_of(whom) else { return Ok(()) };
        let before = list.get(name).copied();
        list.insert_mut(name.to_owned(), until_ms.max(before.unwrap_or_default()));
        if REVOCATIONS_MAX < lists.len() {
            return Err(TooManyRevoked);
        }
        self.lists.store(lists.into());
        Ok(())
    }

    /// Whether what somebody has shown is revoked. Waits for nobody.
    #[must_use]
    pub fn holds(&self, pass: &Pass, unix_ms: u64) -> bool {
        let lists = self.lists.load();
        let is_in = |list: &HashTrieMapSync<String, u64>, name: &str| {
            list.get(name).is_some_and(|until_ms| unix_ms < *until_ms)
        };
        let is_token_in = pass.id.as_deref().is_some_and(|id| is_in(&lists.tokens, id));
        let is_user_in = pass.subject.as_deref().is_some_and(|subject| is_in(&lists.users, subject));
        is_token_in || is_user_in || is_in(&lists.keys, &pass.key)
    }
}

impl Lists {
    fn len(&self) -> usize {
        self.tokens.size() + self.users.size() + self.keys.size()
    }

    fn list_of<'a>(&mut self, whom: &'a Whom) -> Option<(&mut HashTrieMapSync<String, u64>, &'a str)> {
        match whom {
            Whom::Token(id) => Some((&mut self.tokens, id)),
            Whom::User(user) => Some((&mut self.users, user)),
            Whom::Key(name) => Some((&mut self.keys, name)),
            Whom::Client(_) => None,
        }
    }

    /// Those whose time is over were good for nothing any more.
    fn forget_old(&mut self, unix_ms: u64) {
        for list in [&mut self.tokens, &mut self.users, &mut self.keys] {
            let held = list.iter().filter(|(_, until_ms)| unix_ms < **until_ms);
            *list = held.map(|(name, until_ms)| (name.clone(), *until_ms)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::auth::{Grants, Proof};

    #[test]
    fn a_token_is_revoked_by_its_id_its_subject_or_its_key_for_a_time() {
        let pass = Pass {
            proof: Proof::Token,
            subject: Some("alice".into()),
            id: Some("t1".into()),
            key: "k1".into(),
            ..Pass::of_nobody(Grants::default())
        };
        let check = |whom: Whom, expected: bool| {
            let revoked = Revoked::default();
            revoked.add(&whom, 2000, 1000).unwrap();
            assert_eq!(revoked.holds(&pass, 1999), expected, "{whom:?}");
            assert!(!revoked.holds(&pass, 2000), "{whom:?} is over");
            revoked.add(&whom, 1500, 1000).unwrap();
            assert_eq!(revoked.holds(&pass, 1999), expected, "{whom:?}: a shorter time takes nothing back");
            revoked.add(&whom, 3000, 1000).unwrap();
            assert_eq!(revoked.holds(&pass, 2999), expected, "{whom:?}: a longer one holds");
        };
        check(Whom::Token("t1".into()), true);
        check(Whom::User("alice".into()), true);
        check(Whom::Key("k1".into()), true);
        check(Whom::Token("alice".into()), false);
        check(Whom::User("t1".into()), false);
        check(Whom::Key("".into()), false);
        check(Whom::Client("0-1".into()), false);
    }

    #[test]
    fn the_list_is_bounded_and_those_whose_time_is_over_make_room() {
        let revoked = Revoked::default();
        for number in 0..REVOCATIONS_MAX {
            revoked.add(&Whom::Token(number.to_string()), 2000 + number as u64 % 2, 1000).unwrap();
        }
        let one_more = Whom::User("one more".into());
        assert_eq!(revoked.add(&one_more, 5000, 1999), Err(TooManyRevoked));
        let mut pass = Pass { subject: Some("one more".into()), ..Pass::of_nobody(Grants::default()) };
        assert!(!revoked.holds(&pass, 1999));
        assert_eq!(revoked.add(&one_more, 5000, 2000), Ok(()));
        assert!(revoked.holds(&pass, 2000));
        pass = Pass { id: Some("1".into()), ..Pass::of_nobody(Grants::default()) };
        assert!(revoked.holds(&pass, 2000), "whose time is not over stays");
    }
}
