//! What the store is, said simply: a vector per user.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::notify::answer::{Answer, Counts, Refusal};
use crate::notify::preferences::Preferences;

/// A simple twin of the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Twin {
    /// Oldest first.
    notifications: BTreeMap<User, Vec<Notification>>,
    preferences: BTreeMap<User, Preferences>,
}

impl Twin {
    /// Does what was done, and says whether it is what should have been.
    pub(super) fn follow(&mut self, step: &Step, limits: &Limits, got: &Answer) {
        let expected = self.expected(step, limits, got);
        assert_eq!(*got, expected, "{step:?} on {self:?}");
    }

    fn expected(&mut self, step: &Step, limits: &Limits, got: &Answer) -> Answer {
        let user = step.user();
        let list = self.notifications.get(&user).cloned().unwrap_or_default();
        let unread = |list: &[Notification]| list.iter().filter(|one| !one.read).count() as u64;
        let at = step.id().and_then(|id| list.iter().position(|one| one.id == id));
        match &step.request {
            Request::Notify(draft) => {
                let preferences = self.preferences_of(&user);
                if !preferences.is_enabled(draft.kind()) {
                    return Ok(Outcome::Notified(Notified::Disabled(draft.kind())));
                }
                if list.is_empty() && limits.notification_users_max <= self.notifications.len() as u64 {
                    return Err(Refusal::UsersFull);
                }
                // Only the store knows the id.
                let id = match got {
                    Ok(Outcome::Notified(Notified::Stored { notification, .. })) => notification.id,
                    _ => Uuid::nil(),
                };
                let notification = Notification::new((**draft).clone(), id, step.now_ms / 1000);
                let all = self.notifications.values().flatten().chain([&notification]);
                let bytes: usize =
                    all.map(|one| Notification { read: false, ..one.clone() }.to_json().len()).sum();
                if limits.notification_bytes_max < bytes as u64 {
                    return Err(Refusal::StoreFull);
                }
                let list = self.notifications.entry(user).or_default();
                list.push(notification.clone());
                if limits.notifications_per_user_max < list.len() as u64 {
                    list.remove(0);
                }
                let unread = unread(list);
                let notification = Box::new(notification);
                Ok(Outcome::Notified(Notified::Stored { notification, unread, delivered: false }))
            }
            Request::List { listing, .. } => {
                let end = match listing.before {
                    Some(Before::Id(_)) => at.ok_or(Refusal::NotFound)?,
                    Some(Before::Place(_)) => unreachable!("the steps do not know any places"),
                    None => list.len(),
                };
                let mut found: Vec<Notification> = list[..end].iter().rev().cloned().collect();
                found.retain(|one| !(listing.unread_only && one.read));
                let has_more = listing.limit < found.len();
                found.truncate(listing.limit);
                let next = match got {
                    Ok(Outcome::Page(page)) if has_more => page.next.or(Some(u64::MAX)),
                    _ => None,
                };
                Ok(Outcome::Page(Page { notifications: found, counts: counts(&list), next }))
            }
            Request::Count { .. } => Ok(Outcome::Counts(counts(&list))),
            Request::MarkRead { id, .. } => {
                let at = at.ok_or(Refusal::NotFound)?;
                self.change(&user, |list| list[at].mark_read());
                Ok(Outcome::Read { id: *id, unread: self.count(&user).unread })
            }
            Request::MarkAllRead { .. } => {
                self.change(&user, |list| list.iter_mut().for_each(Notification::mark_read));
                Ok(Outcome::AllRead { marked: unread(&list) })
            }
            Request::Delete { id, .. } => {
                let at = at.ok_or(Refusal::NotFound)?;
                self.change(&user, |list| drop(list.remove(at)));
                Ok(Outcome::Deleted { id: *id, unread: self.count(&user).unread })
            }
            Request::Preferences { .. } => Ok(Outcome::Preferences(self.preferences_of(&user))),
            Request::SetPreferences(preferences) => {
                let is_new = !self.preferences.contains_key(&user);
                if is_new && limits.notification_users_max <= self.preferences.len() as u64 {
                    return Err(Refusal::UsersFull);
                }
                self.preferences.insert(user, preferences.clone());
                Ok(Outcome::Preferences(preferences.clone()))
            }
            Request::Kinds => Ok(Outcome::Kinds),
        }
    }

    fn change(&mut self, user: &User, change: impl FnOnce(&mut Vec<Notification>)) {
        if let Some(list) = self.notifications.get_mut(user) {
            change(list);
            if list.is_empty() {
                self.notifications.remove(user);
            }
        }
    }

    fn count(&self, user: &User) -> Counts {
        counts(self.notifications.get(user).map_or(&[], Vec::as_slice))
    }

    fn preferences_of(&self, user: &User) -> Preferences {
        self.preferences.get(user).cloned().unwrap_or_else(|| Preferences::for_user(user.clone()))
    }

    /// Whether `store` holds what this twin holds, page by page.
    pub(super) fn is_in(&self, store: &mut Store) -> bool {
        USERS.iter().all(|name| {
            let user = user(name);
            let mut found = Vec::new();
            let mut before = None;
            loop {
                let page = page(store, name, Listing { unread_only: false, before, limit: 2 });
                let next = page.next;
                found.extend(page.notifications);
                match next {
                    Some(place) => before = Some(Before::Place(place)),
                    None => break,
                }
            }
            found.reverse();
            let chosen = one(store, Request::Preferences { user: user.clone() }, 0).unwrap().0;
            self.notifications.get(&user).map_or(&[][..], Vec::as_slice) == found
                && chosen == Outcome::Preferences(self.preferences_of(&user))
        })
    }
}

fn counts(list: &[Notification]) -> Counts {
    let unread = list.iter().filter(|one| !one.read).count();
    Counts { total: list.len() as u64, unread: unread as u64 }
}

/// Three users, one name the beginning of another.
const USERS: [&str; 3] = ["a", "a-", "b"];

/// A request at a time.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) request: Request,
    pub(super) now_ms: u64,
}

impl Step {
    fn user(&self) -> User {
        match &self.request {
            Request::Notify(draft) => draft.user().clone(),
            Request::SetPreferences(preferences) => preferences.user_id.clone(),
            Request::List { user, .. }
            | Request::Count { user }
            | Request::MarkRead { user, .. }
            | Request::MarkAllRead { user }
            | Request::Delete { user, .. }
            | Request::Preferences { user } => user.clone(),
            Request::Kinds => user("nobody"),
        }
    }

    fn id(&self) -> Option<Uuid> {
        match &self.request {
            Request::MarkRead { id, .. } | Request::Delete { id, .. } => Some(*id),
            Request::List { listing: Listing { before: Some(Before::Id(id)), .. }, .. } => Some(*id),
            _ => None,
        }
    }
}

/// What the dice say of one step, before it is known which notifications there are.
#[derive(Clone, Debug)]
pub(super) struct Throw {
    kind: u8,
    user: usize,
    pick: prop::sample::Index,
    number: usize,
    has_flag: bool,
    now_ms: u64,
}

impl Throw {
    /// The step it is, when `ids` are all that ever were.
    pub(super) fn step(&self, ids: &[Uuid]) -> Step {
        let user = user(USERS[self.user]);
        let id = if ids.is_empty() { Uuid::nil() } else { ids[self.pick.index(ids.len())] };
        let request = match self.kind {
            0..=4 => {
                let kind = NotificationKind::ALL[self.number % 3];
                let title = "t".repeat(1 + self.number * 10);
                Request::Notify(Box::new(Draft::new(user, kind, title, "b").unwrap()))
            }
            5 | 6 => {
                let before = if 5 < self.number { Some(Before::Id(id)) } else { None };
                let listing = Listing { unread_only: self.has_flag, before, limit: 1 + self.number % 4 };
                Request::List { user, listing }
            }
            7 => Request::Count { user },
            8 | 9 => Request::MarkRead { user, id },
            10 => Request::MarkAllRead { user },
            11 | 12 => Request::Delete { user, id },
            13 => Request::Preferences { user },
            _ => {
                let mut preferences = Preferences::for_user(user);
                if self.has_flag {
                    preferences.enabled_types.remove(&NotificationKind::ALL[self.number % 3]);
                }
                Request::SetPreferences(preferences)
            }
        };
        Step { request, now_ms: self.now_ms }
    }
}

pub(super) fn throw() -> impl Strategy<Value = Throw> {
    (0..15u8, 0..USERS.len(), any::<prop::sample::Index>(), 0..10usize, any::<bool>(), 0..5000u64).prop_map(
        |(kind, user, pick, number, has_flag, now_ms)| Throw { kind, user, pick, number, has_flag, now_ms },
    )
}

/// Bounds so small that everything happens at them.
pub(super) fn small_limits() -> Limits {
    Limits {
        notifications_per_user_max: 3,
        notification_users_max: 2,
        notification_bytes_max: 1200,
        ..Limits::default()
    }
}

/// Plays a batch of throws in one transaction, or in one that fails at its end, and has the twin follow.
pub(super) fn play(store: &mut Store, twin: &mut Twin, ids: &mut Vec<Uuid>, throws: &[Throw], fails: bool) {
    let before = twin.clone();
    let limits = small_limits();
    let played = store.transact(|batch| {
        for throw in throws {
            let step = throw.step(ids);
            let performed = perform(batch, step.request.clone(), step.now_ms)?;
            let answer = performed.map(|(outcome, _)| outcome);
            if let Ok(Outcome::Notified(Notified::Stored { notification, .. })) = &answer {
                ids.push(notification.id);
            }
            twin.follow(&step, &limits, &answer);
        }
        batch.invariants()?;
        if fails { Err(StoreError::new(redb::Error::Corrupted("for the test".into()))) } else { Ok(()) }
    });
    assert_eq!(played.is_err(), fails);
    if fails {
        *twin = before;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_its_twin_does(
        batches in prop::collection::vec((prop::collection::vec(throw(), 1..12), prop::bool::weighted(0.2)), 1..12),
    ) {
        let mut store = Store::open(None, &small_limits()).unwrap();
        let (mut twin, mut ids) = (Twin::default(), Vec::new());
        for (throws, fails) in &batches {
            play(&mut store, &mut twin, &mut ids, throws, *fails);
            prop_assert!(twin.is_in(&mut store), "{twin:?}");
        }
    }
}
