//! The notifications of all users, in an embedded database.
//!
//! # Contract       a batch of operations is one transaction: all of it is kept or none; what a batch gave out is on disk
//!   when [`Store::transact`] returns, where there is a disk
//! # Invariants     per user `unread ≤ total ≤ kept per user`; the counts are those of the rows; a notification is unread
//!   exactly if it stands in the index of unread ones
//! # Bounds         notifications per user (the oldest leave), users and bytes (refused), the database's cache
//! # Cost           one transaction is one synchronisation of the file, however many operations it holds
//! # Why not …      the read mark inside the stored text: marking all as read would write every notification again

use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, StorageBackend, TableDefinition};

use super::batch::Batch;
use crate::words::limits::Limits;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "notifications.redb";

/// The stored notifications and preferences; its one holder writes it.
#[derive(Debug)]
pub struct Store {
    database: Database,
    limits: Limits,
}

impl Store {
    /// Opens or makes the file [`FILE_NAME`] in `directory`, which must exist; without one everything is kept in
    /// memory and ends with the store. A file that was not closed is put in order first, which takes time
    /// proportional to its size.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be used, is used by another process, or is of another format.
    pub fn open(directory: Option<&Path>, limits: &Limits) -> Result<Store, StoreError> {
        match directory {
            Some(directory) => {
                let made = builder().create(directory.join(FILE_NAME));
                Store::with_database(made.map_err(StoreError::new)?, limits)
            }
            None => Store::on_backend(InMemoryBackend::new(), limits),
        }
    }

    pub(super) fn on_backend(backend: impl StorageBackend, limits: &Limits) -> Result<Store, StoreError> {
        let made = builder().create_with_backend(backend);
        Store::with_database(made.map_err(StoreError::new)?, limits)
    }

    fn with_database(database: Database, limits: &Limits) -> Result<Store, StoreError> {
        let mut store = Store { database, limits: limits.clone() };
        // Also makes the tables of a new file.
        let format = store.transact(|batch| batch.claim_format(FORMAT))?;
        if format == FORMAT { Ok(store) } else { Err(StoreError::format(format)) }
    }

    /// Runs `work` on the tables and keeps what it changed, all or nothing. What `work` gives out holds only if this
    /// returns it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; then nothing is kept, unless it failed while it was being kept.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.database.begin_write().map_err(StoreError::new)?;
        let mut batch = Batch::open(&transaction, &self.limits)?;
        // On an error the transaction is dropped, which undoes it.
        let outcome = work(&mut batch)?;
        let has_changed = batch.has_changed();
        drop(batch);
        // A batch that only looked costs no synchronisation.
        if has_changed {
            transaction.commit().map_err(StoreError::new)?;
        } else {
            transaction.abort().map_err(StoreError::new)?;
        }
        Ok(outcome)
    }
}

/// A user's notifications by place: id and JSON text as it was when it was made, not read.
pub(super) const NOTIFICATIONS: TableDefinition<'static, (&str, u64), (u128, &str)> =
    TableDefinition::new("notifications");

/// A user's notifications by id: the place.
pub(super) const PLACES: TableDefinition<'static, (&str, u128), u64> = TableDefinition::new("places");

/// The places that are not read.
pub(super) const UNREAD: TableDefinition<'static, (&str, u64), ()> = TableDefinition::new("unread");

/// Per user: how many in all, and how many not read. Users without notifications are not in it.
pub(super) const USERS: TableDefinition<'static, &str, (u64, u64)> = TableDefinition::new("users");

/// Per user: the JSON text of the preferences. Users who never chose are not in it.
pub(super) const PREFERENCES: TableDefinition<'static, &str, &str> = TableDefinition::new("preferences");

/// Numbers of the whole store, by name.
pub(super) const TOTALS: TableDefinition<'static, &str, u64> = TableDefinition::new("totals");

/// The format of the tables; a file of another one is refused and left as it is.
const FORMAT: u64 = 1;

/// Pages that the database keeps in memory: enough for the upper levels of its trees and the users of the hour. Its
/// own default is a share of the machine.
const CACHE_BYTES: usize = 16 << 20;

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The database failed, or what it holds makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(Box<redb::Error>);

impl StoreError {
    pub(super) fn new(error: impl Into<redb::Error>) -> StoreError {
        StoreError(Box::new(error.into()))
    }

    /// A stored text that cannot be read.
    pub(super) fn unreadable(what: &serde_json::Error) -> StoreError {
        StoreError::new(redb::Error::Corrupted(format!("a stored text cannot be read: {what}")))
    }

    fn format(format: u64) -> StoreError {
        let message = format!("the tables have format {format}, and this version knows {FORMAT}");
        StoreError::new(redb::Error::Corrupted(message))
    }
}
