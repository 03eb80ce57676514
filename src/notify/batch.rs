//! The operations of one transaction on the store.
//!
//! An operation that is refused has changed nothing, so that the others of its transaction can go on.

use redb::{ReadableTable, ReadableTableMetadata, StorageError, Table, WriteTransaction};
use uuid::Uuid;

use super::answer::{Counts, Page, Refusal};
use super::notification::Notification;
use super::preferences::Preferences;
use super::request::{Before, Listing};
use super::store::{NOTIFICATIONS, PLACES, PREFERENCES, StoreError, TOTALS, UNREAD, USERS};
use super::user::User;
use crate::words::limits::Limits;

/// The open tables of one transaction.
pub(super) struct Batch<'t> {
    limits: &'t Limits,
    notifications: Table<'t, (&'static str, u64), (u128, &'static str)>,
    places: Table<'t, (&'static str, u128), u64>,
    unread: Table<'t, (&'static str, u64), ()>,
    users: Table<'t, &'static str, (u64, u64)>,
    preferences: Table<'t, &'static str, &'static str>,
    totals: Table<'t, &'static str, u64>,
    has_changed: bool,
}

impl<'t> Batch<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        limits: &'t Limits,
    ) -> Result<Batch<'t>, StoreError> {
        Ok(Batch {
            limits,
            notifications: transaction.open_table(NOTIFICATIONS).map_err(StoreError::new)?,
            places: transaction.open_table(PLACES).map_err(StoreError::new)?,
            unread: transaction.open_table(UNREAD).map_err(StoreError::new)?,
            users: transaction.open_table(USERS).map_err(StoreError::new)?,
            preferences: transaction.open_table(PREFERENCES).map_err(StoreError::new)?,
            totals: transaction.open_table(TOTALS).map_err(StoreError::new)?,
            has_changed: false,
        })
    }

    /// Whether there is something to keep.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The format of the tables, which is `format` from now on if they are new.
    pub(super) fn claim_format(&mut self, format: u64) -> Result<u64, StoreError> {
        if let Some(found) = self.totals.get(FORMAT)? {
            return Ok(found.value());
        }
        self.set_total(FORMAT, format)?;
        Ok(format)
    }

    /// Stores a new notification, and lets the user's oldest leave beyond the bound. Returns how many are not read.
    pub(super) fn add(&mut self, notification: &Notification, now_ms: u64) -> Result<u64, Stop> {
        let user = notification.user_id.as_str();
        let mut counts = self.counts(&notification.user_id)?;
        if counts.total == 0 && self.limits.notification_users_max <= self.users.len()? {
            return Err(Stop::Refused(Refusal::UsersFull));
        }
        let text = notification.to_json();
        let bytes = self.total(BYTES)? + text.len() as u64;
        if self.limits.notification_bytes_max < bytes {
            return Err(Stop::Refused(Refusal::StoreFull));
        }
        // The time, so that a place says nothing of how much others are told; never the same or an earlier one twice,
        // whatever the clock does.
        let place = now_ms.max(self.total(LAST_PLACE)? + 1);
        let id = notification.id.as_u128();
        self.notifications.insert((user, place), (id, text.as_str()))?;
        self.places.insert((user, id), place)?;
        self.unread.insert((user, place), ())?;
        self.set_total(BYTES, bytes)?;
        self.set_total(LAST_PLACE, place)?;
        counts.total += 1;
        counts.unread += 1;
        while self.limits.notifications_per_user_max < counts.total {
            let oldest = self.notifications.range(places_of(user))?.next().transpose()?;
            let Some(oldest) = oldest.map(|(key, _)| key.value().1) else { break };
            self.remove(user, oldest, &mut counts)?;
        }
        self.set_counts(user, counts)?;
        Ok(counts.unread)
    }

    /// A user's notifications, newest first.
    pub(super) fn page(&self, user: &User, listing: &Listing) -> Result<Page, Stop> {
        let counts = self.counts(user)?;
        let user_name = user.as_str();
        let end = match listing.before {
            None => u64::MAX,
            Some(Before::Place(place)) => place,
            Some(Before::Id(id)) => self.place(user_name, id)?,
        };
        let range = (user_name, 0)..(user_name, end);
        let places: Box<dyn Iterator<Item = Result<u64, StorageError>>> = if listing.unread_only {
            Box::new(self.unread.range(range)?.rev().map(|row| row.map(|(key, _)| key.value().1)))
        } else {
            Box::new(self.notifications.range(range)?.rev().map(|row| row.map(|(key, _)| key.value().1)))
        };
        let mut page = Page { notifications: Vec::new(), counts, next: None };
        let (mut bytes, mut last) = (0, 0);
        for place in places {
            let place = place?;
            let Some(row) = self.notifications.get((user_name, place))? else { continue };
            let text = row.value().1;
            let is_full = listing.limit <= page.notifications.len() || PAGE_BYTES_MAX < bytes + text.len();
            if is_full && !page.notifications.is_empty() {
                page.next = Some(last);
                break;
            }
            let mut notification: Notification = read(text)?;
            if self.unread.get((user_name, place))?.is_none() {
                notification.mark_read();
            }
            page.notifications.push(notification);
            bytes += text.len();
            last = place;
        }
        Ok(page)
    }

    /// How many notifications a user has. Cost: one look.
    pub(super) fn counts(&self, user: &User) -> Result<Counts, StoreError> {
        let row = self.users.get(user.as_str())?;
        Ok(row.map_or_else(Counts::default, |row| {
            let (total, unread) = row.value();
            Counts { total, unread }
        }))
    }

    /// Marks one as read. Returns whether it was not, and how many are not.
    pub(super) fn mark_read(&mut self, user: &User, id: Uuid) -> Result<(bool, u64), Stop> {
        let place = self.place(user.as_str(), id)?;
        let mut counts = self.counts(user)?;
        let was_unread = self.unread.remove((user.as_str(), place))?.is_some();
        if was_unread {
            counts.unread -= 1;
            self.set_counts(user.as_str(), counts)?;
        }
        Ok((was_unread, counts.unread))
    }

    /// Marks all as read. Returns how many were not.
    pub(super) fn mark_all_read(&mut self, user: &User) -> Result<u64, StoreError> {
        let counts = self.counts(user)?;
        if 0 < counts.unread {
            self.unread.retain_in(places_of(user.as_str()), |_, ()| false)?;
            self.set_counts(user.as_str(), Counts { unread: 0, ..counts })?;
        }
        Ok(counts.unread)
    }

    /// Forgets one. Returns how many of the others are not read.
    pub(super) fn delete(&mut self, user: &User, id: Uuid) -> Result<u64, Stop> {
        let place = self.place(user.as_str(), id)?;
        let mut counts = self.counts(user)?;
        self.remove(user.as_str(), place, &mut counts)?;
        self.set_counts(user.as_str(), counts)?;
        Ok(counts.unread)
    }

    /// What the user wants to be told.
    pub(super) fn preferences(&self, user: &User) -> Result<Preferences, StoreError> {
        match self.preferences.get(user.as_str())? {
            Some(row) => read(row.value()),
            None => Ok(Preferences::for_user(user.clone())),
        }
    }

    /// Keeps what the user wants to be told.
    pub(super) fn set_preferences(&mut self, preferences: &Preferences) -> Result<(), Stop> {
        let user = preferences.user_id.as_str();
        let is_new = self.preferences.get(user)?.is_none();
        if is_new && self.limits.notification_users_max <= self.preferences.len()? {
            return Err(Stop::Refused(Refusal::UsersFull));
        }
        self.preferences.insert(user, preferences.to_json().as_str())?;
        self.has_changed = true;
        Ok(())
    }

    fn place(&self, user: &str, id: Uuid) -> Result<u64, Stop> {
        let found = self.places.get((user, id.as_u128()))?;
        found.map(|place| place.value()).ok_or(Stop::Refused(Refusal::NotFound))
    }

    /// Takes a notification out of every table but that of the users.
    fn remove(&mut self, user: &str, place: u64, counts: &mut Counts) -> Result<(), StoreError> {
        let row = self.notifications.remove((user, place))?;
        let Some((id, text_bytes)) = row.map(|row| (row.value().0, row.value().1.len() as u64)) else {
            return Ok(());
        };
        self.places.remove((user, id))?;
        counts.total -= 1;
        if self.unread.remove((user, place))?.is_some() {
            counts.unread -= 1;
        }
        let bytes = self.total(BYTES)?;
        self.set_total(BYTES, bytes - text_bytes)
    }

    fn set_counts(&mut self, user: &str, counts: Counts) -> Result<(), StoreError> {
        if counts.total == 0 {
            self.users.remove(user)?;
        } else {
            self.users.insert(user, (counts.total, counts.unread))?;
        }
        self.has_changed = true;
        Ok(())
    }

    fn total(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.totals.get(name)?.map_or(0, |row| row.value()))
    }

    fn set_total(&mut self, name: &str, number: u64) -> Result<(), StoreError> {
        self.totals.insert(name, number)?;
        self.has_changed = true;
        Ok(())
    }

    /// Makes the file look like one of another version.
    #[cfg(test)]
    pub(super) fn set_format(&mut self, format: u64) -> Result<(), StoreError> {
        self.set_total(FORMAT, format)
    }

    /// Checks that every table says the same as the others.
    #[cfg(test)]
    pub(super) fn invariants(&self) -> Result<(), StoreError> {
        use std::collections::{BTreeMap, BTreeSet};
        let mut unread = BTreeSet::new();
        for row in self.unread.iter()? {
            let key = row?.0;
            unread.insert((key.value().0.to_owned(), key.value().1));
        }
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let (mut bytes, mut places, mut last) = (0, 0, 0);
        for row in self.notifications.iter()? {
            let (key, value) = row?;
            let ((user, place), (id, text)) = (key.value(), value.value());
            let is_unread = unread.remove(&(user.to_owned(), place));
            let count = counts.entry(user.to_owned()).or_default();
            *count = (count.0 + 1, count.1 + u64::from(is_unread));
            assert!(count.0 <= self.limits.notifications_per_user_max, "{user} has too many");
            assert_eq!(self.places.get((user, id))?.map(|found| found.value()), Some(place));
            bytes += text.len() as u64;
            places += 1;
            last = place.max(last);
        }
        assert!(unread.is_empty(), "marks of notifications that are not there: {unread:?}");
        assert_eq!(self.places.len()?, places, "ids of notifications that are not there");
        assert_eq!(self.users.len()?, counts.len() as u64, "users without notifications");
        for (user, count) in counts {
            assert_eq!(self.users.get(user.as_str())?.map(|row| row.value()), Some(count), "{user}");
        }
        assert_eq!(self.total(BYTES)?, bytes);
        assert!(last <= self.total(LAST_PLACE)?);
        assert!(bytes <= self.limits.notification_bytes_max);
        Ok(())
    }
}

/// All places of a user; none is the last number there is.
fn places_of(user: &str) -> std::ops::Range<(&str, u64)> {
    (user, 0)..(user, u64::MAX)
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::unreadable(&error))
}

/// The name of the number of the tables' format.
const FORMAT: &str = "format";

/// The name of the number of bytes of all stored texts.
const BYTES: &str = "bytes";

/// The name of the place of the newest notification of all.
const LAST_PLACE: &str = "last_place";

/// Bytes of stored texts in one page; at least one notification is always given.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Why an operation stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is not done, and has changed nothing.
    Refused(Refusal),
    /// The whole transaction has failed.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Failed(error)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Stop {
        Stop::Failed(StoreError::new(error))
    }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> StoreError {
        StoreError::new(error)
    }
}
