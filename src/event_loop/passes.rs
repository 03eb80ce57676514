//! The life of what streams have shown to be let in: it ends at its time, by an operator's word, or because another policy
//! grants less; and a client may show something newer before that.
//!
//! # Bounds   one entry for each connection whose time ends; a review looks at [`REVIEW_TURN_CONNECTIONS_MAX`] a turn

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::connection::{Connection, Session};
use super::{EventLoop, Link, Now};
use crate::log::Form;
use crate::mail::{About, Whom};
use crate::session::auth::Secret;
use crate::session::authority::{Act, Denied, Principal};
use crate::session::http::Flow;
use crate::session::reply;
use crate::wire::http::{ResponseContext, problem};
use crate::wire::websocket::push_close;
use crate::words::channel::Pattern;
use crate::words::dialect::Dialect;
use crate::words::workspace::Scope;

/// The close code of a WebSocket whose token is no longer good, or did not come.
const NOT_AUTHENTICATED: u16 = 4401;

/// Bad tokens that a WebSocket may show one after the other: to judge one takes longer than to make one up.
const BAD_TOKENS_MAX: u8 = 3;

/// How long a loop sleeps at most while anybody's time ends, in milliseconds: the wall's clock, by which it does, may be set
/// meanwhile.
const WALL_LOOK_MS: u64 = 500;

/// Connections that a loop looks at in one turn when another policy is in force.
const REVIEW_TURN_CONNECTIONS_MAX: usize = 1024;

/// When whose time ends.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    /// By the wall's clock, as tokens have it.
    by_wall: BTreeSet<(u64, u32)>,
    /// By the loop's own: those that have shown nothing yet.
    by_clock: BTreeSet<(u64, u32)>,
}

impl Expiries {
    /// Takes out somebody whose time has come, and whether that was a token's.
    fn pop_due(&mut self, now: Now) -> Option<(usize, bool)> {
        let due = |set: &mut BTreeSet<(u64, u32)>, now_ms: u64| {
            let first = set.first().filter(|(at_ms, _)| *at_ms <= now_ms)?;
            let key = first.1 as usize;
            set.pop_first();
            Some(key)
        };
        let by_wall = due(&mut self.by_wall, now.unix_ms).map(|key| (key, true));
        by_wall.or_else(|| due(&mut self.by_clock, now.mono_ms).map(|key| (key, false)))
    }

    /// Whether nobody's time ends.
    pub(super) fn is_empty(&self) -> bool {
        self.by_wall.is_empty() && self.by_clock.is_empty()
    }

    /// When to look next, in milliseconds of the loop's clock.
    pub(super) fn next_ms(&self, now: Now) -> Option<u64> {
        let by_wall = self
            .by_wall
            .first()
            .map(|(at_ms, _)| now.mono_ms + at_ms.saturating_sub(now.unix_ms).min(WALL_LOOK_MS));
        by_wall.into_iter().chain(self.by_clock.first().map(|(at_ms, _)| *at_ms)).min()
    }
}

impl<L: Link> EventLoop<L> {
    /// From now on the time of this stream's client runs.
    pub(super) fn begin_time(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(details) = &connection.details else { return };
        if let Some(expires_ms) = details.principal.expires_ms() {
            self.expiries.by_wall.insert((expires_ms, key as u32));
        } else if connection.speech.form == Form::WebSocket
            && self.settings.policy.load().authority.awaits_token(&details.principal)
        {
            let patience_ms = self.hub.limits.auth_deadline.as_millis() as u64;
            connection.clock.until_ms = self.now.mono_ms + patience_ms;
            self.expiries.by_clock.insert((connection.clock.until_ms, key as u32));
        }
    }

    /// The time of this stream's client no longer runs.
    pub(super) fn end_time(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(details) = &connection.details else { return };
        if let Some(expires_ms) = details.principal.expires_ms() {
            self.expiries.by_wall.remove(&(expires_ms, key as u32));
        }
        if self.expiries.by_clock.remove(&(connection.clock.until_ms, key as u32)) {
            connection.clock.until_ms = u64::MAX;
        }
    }

    /// Says goodbye to those whose time is over.
    pub(super) fn end_times(&mut self) {
        self.one_by_one(|this| {
            while let Some((key, is_tokens)) = this.expiries.pop_due(this.now) {
                this.handle(key);
                this.dismiss(key, if is_tokens { "token expired" } else { "no token in time" });
            }
        });
    }

    /// Ends a stream whose client may no longer be here.
    fn dismiss(&mut self, key: usize, reason: &str) {
        let seq = self.first_unsent(key) - 1;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if matches!(connection.session, Session::Watching) {
            return self.part(key);
        }
        // Its session may be lent out, to whoever reads the command that leads here.
        match connection.speech.form {
            Form::WebSocket => push_close(connection.out.tail(), NOT_AUTHENTICATED, reason),
            Form::Sse | Form::SseUnnamed => self.tell_cursor(key, seq),
        }
        self.part(key);
    }

    /// The command `auth`: the client shows something newer.
    pub(super) fn authenticate(&mut self, key: usize, token: &Secret, id: Option<&str>) {
        let Some(details) = self.connections.get(key).and_then(|connection| connection.details.as_ref())
        else {
            return;
        };
        let policy = self.settings.policy.load();
        let unix_ms = self.now.unix_ms;
        match policy.authority.renew(&details.principal, token.reveal(), unix_ms, &mut self.known_tokens) {
            Err(denied) => {
                self.refuse(key, denied.code(), &denied.to_string(), id);
                let Some(connection) = self.connections.get_mut(key) else { return };
                connection.bad_tokens += u8::from(denied == Denied::BadToken);
                if BAD_TOKENS_MAX <= connection.bad_tokens {
                    self.dismiss(key, "too many bad tokens");
                }
            }
            Ok(principal) => {
                let answer = reply::authenticated(principal.user(), principal.expires_ms(), id);
                self.say(key, &answer);
                self.become_principal(key, principal);
            }
        }
    }

    /// The stream's client is this one from now on: what that may not read it no longer gets.
    fn become_principal(&mut self, key: usize, principal: Principal) {
        self.end_time(key);
        self.edit(|this| this.change_principal(key, principal));
        self.begin_time(key);
        let policy = self.settings.policy.load();
        let Some(connection) = self.connections.get(key) else { return };
        let Some(details) = &connection.details else { return };
        if matches!(connection.session, Session::Watching) {
            if policy.authority.allow(&details.principal, &Act::Administer).is_err() {
                self.dismiss(key, "no longer granted");
            }
            return;
        }
        let is_denied = |pattern: &Pattern, own: Option<&Scope>| {
            let whole = connection.filter.as_ref().and_then(|filter| filter.scope.as_ref());
            let scope = Scope::both(whole, own).filter(|scope| *scope != Scope::None);
            policy.authority.allow(&details.principal, &Act::Read { pattern, scope: scope.as_ref() }).is_err()
        };
        let own =
            |held: &crate::reader::Subscription| held.filter.as_ref().and_then(|filter| filter.scope.clone());
        let denied: SmallVec<[Pattern; 4]> = connection
            .subscriptions
            .iter()
            .filter(|held| is_denied(&held.pattern, own(held).as_ref()))
            .map(|held| held.pattern.clone())
            .collect();
        let mut added = connection.replay.iter().flat_map(|replay| &replay.added);
        let is_replay_denied = added.any(|held| is_denied(&held.pattern, own(held).as_ref()));
        // What older events are on their way was chosen for all that it had.
        let has_older = connection.replay.is_some() && !denied.is_empty();
        // Who cannot be told that a part has ended is told that all has.
        let can_be_told =
            connection.speech.form == Form::WebSocket && connection.speech.dialect != Dialect::Engram;
        if is_replay_denied || has_older || (!denied.is_empty() && !can_be_told) {
            self.dismiss(key, "no longer granted");
        } else if !denied.is_empty() {
            self.withdraw(key, &denied);
        }
    }

    /// Who is there changes with the name.
    fn change_principal(&mut self, key: usize, principal: Principal) {
        let Some(old) = self.put_principal(key, principal.clone()) else { return };
        if old.user() == principal.user() {
            return;
        }
        let held = self.connections.get(key).map(|connection| connection.subscriptions.clone());
        let held = held.unwrap_or_default();
        // First the new one: a channel that has this client alone is not vacated.
        held.iter().for_each(|held| self.tell_entry(key, held));
        self.put_principal(key, old);
        held.iter().for_each(|held| self.tell_exit(key, held));
        self.put_principal(key, principal);
    }

    /// Returns who it was.
    fn put_principal(&mut self, key: usize, principal: Principal) -> Option<Principal> {
        let connection = self.connections.get_mut(key)?;
        connection.bad_tokens = 0;
        let details = connection.details.as_mut()?;
        Some(std::mem::replace(&mut details.principal, principal))
    }

    /// Refuses somebody from now on, and lets all that are here go.
    pub(super) fn revoke(&mut self, key: usize, whom: Whom, for_ms: u64, context: ResponseContext) -> Flow {
        let now_ms = self.now.unix_ms;
        let until_ms = now_ms.saturating_add(for_ms);
        let refused = match self.settings.policy.load().authority.revoke(&whom, until_ms, now_ms) {
            None => problem(503, "no_tokens", "This server knows nobody by a token or key."),
            Some(Err(error)) => problem(507, "revocations_full", &error.to_string()),
            Some(Ok(())) => return self.ask_everybody(key, About::Revoke(whom), context),
        };
        self.respond(key, &refused, context)
    }

    /// Lets go of the clients of whom an operator has revoked; returns how many they are.
    pub(super) fn dismiss_revoked(&mut self, whom: &Whom) -> usize {
        let is_meant = |connection: &Connection<L>| {
            let details = connection.details.as_ref().filter(|_| connection.stays());
            details.and_then(|details| details.principal.pass.as_deref()).is_some_and(|pass| match whom {
                Whom::Token(id) => pass.id.as_deref() == Some(id),
                Whom::User(user) => pass.subject.as_deref() == Some(user),
                Whom::Key(name) => pass.key == *name,
                Whom::Client(_) => false,
            })
        };
        let meant = self.connections.iter().filter(|(_, connection)| is_meant(connection));
        let keys: Vec<usize> = meant.map(|(key, _)| key).collect();
        keys.iter().for_each(|key| self.dismiss(*key, "token revoked"));
        keys.len()
    }

    /// Looks at some of the streams anew, after the policy was exchanged.
    pub(super) fn review(&mut self) {
        let Some(mut next) = self.reviewing.take() else { return };
        let end = self.connections.capacity().min(next + REVIEW_TURN_CONNECTIONS_MAX);
        let policy = std::sync::Arc::clone(&self.settings.policy.load());
        self.one_by_one(|this| {
            while next < end {
                let key = next;
                next += 1;
                let Some(connection) = this.connections.get(key) else { continue };
                let details = connection.details.as_ref().filter(|_| connection.stays());
                let Some(principal) = details.map(|details| details.principal.clone()) else { continue };
                this.handle(key);
                match policy.authority.review(&principal, this.now.unix_ms) {
                    Ok(principal) => this.become_principal(key, principal),
                    // It may still say who it is.
                    Err(Denied::Unknown) => this.become_principal(key, Principal::default()),
                    Err(_) => this.dismiss(key, "token no longer good"),
                }
            }
        });
        if next < self.connections.capacity() {
            self.reviewing = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(mono_ms: u64, unix_ms: u64) -> Now {
        Now { mono_ms, unix_ms }
    }

    #[test]
    fn time_ends_by_the_wall_for_tokens_and_by_the_own_clock_for_those_without() {
        let mut expiries = Expiries::default();
        assert_eq!(expiries.next_ms(now(0, 0)), None);
        expiries.by_wall.extend([(100_000, 1), (100_500, 2)]);
        expiries.by_clock.insert((7_000, 3));
        assert_eq!(expiries.next_ms(now(5_000, 99_900)), Some(5_100));
        assert_eq!(
            expiries.next_ms(now(5_000, 10)),
            Some(5_000 + WALL_LOOK_MS),
            "the wall's clock may be set"
        );
        assert_eq!(expiries.pop_due(now(6_999, 99_999)), None);
        assert_eq!(expiries.pop_due(now(7_000, 100_000)), Some((1, true)));
        assert_eq!(expiries.pop_due(now(7_000, 100_000)), Some((3, false)));
        assert_eq!(expiries.pop_due(now(7_000, 100_000)), None);
        assert_eq!(expiries.pop_due(now(0, 100_500)), Some((2, true)));
        assert_eq!(expiries.next_ms(now(0, 0)), None);
    }
}
