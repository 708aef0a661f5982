//! The embedded store: one SQLite file, used append-mostly.
//!
//! Rows of `job` and `body` are only ever added, in the order of their ids. All that happens to jobs later in one
//! batch is one row of `ops`. When enough of that has gathered, or nothing else is to be done, it is folded into the
//! tables: sorted by id, a bounded number of rows a commit. Folding twice is harmless, so a crash anywhere is safe.
//! Why this shape, and why SQLite: docs/decisions/0005-sqlite-append-mostly.md. The format: docs/store-format.md.

mod append;
mod checkpoint;
mod directory;
mod fold;
mod import;
mod inspect;
mod read;
mod replay;
mod row;
mod schema;
mod verify;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

pub use self::import::Import;
pub use self::inspect::Inspection;
pub use self::replay::Damage;
pub use self::verify::{Counts, Fault};

use self::checkpoint::Checkpoints;
use self::directory::Directory;
use self::fold::Fold;
use super::{Reader, Store, StoreError};
use crate::engine::Record;
use crate::types::JobId;

/// The store in a data directory.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    checkpoints: Checkpoints,
    fold: Fold,
    salvage: bool,
    damage: Vec<Damage>,
    // Dropped last: closing the connection still writes.
    directory: Directory,
}

impl SqliteStore {
    /// Opens the store in this directory, made if there is none.
    ///
    /// With `salvage`, what is damaged is left out rather than refused; [`SqliteStore::damage`] says what that was.
    ///
    /// # Errors
    /// The directory is in use, someone else's, not writable, or holds what this version cannot read.
    pub fn open(path: &Path, salvage: bool) -> Result<Self, StoreError> {
        let directory = Directory::lock(path)?;
        let (connection, checkpoints) = schema::open(&directory.jobs())?;
        if !directory.set_reserve_aside() {
            tracing::warn!("{}: no room to set aside for a full disk", path.display());
        }
        Ok(Self { directory, connection, checkpoints, fold: Fold::default(), salvage, damage: Vec::new() })
    }

    /// What was found damaged and left out, after [`Store::replay`].
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The file that holds the jobs.
    pub fn file(&self) -> PathBuf {
        self.directory.jobs()
    }

    /// What was to be kept, kept; or the error in our words. After any but a full disk nothing more is written.
    fn judge<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        let error = match result {
            Ok(done) => return Ok(done),
            Err(error) => from_sqlite(&self.directory.jobs(), &error),
        };
        if !matches!(error, StoreError::Full { .. })
            && let Err(error) = checkpoint::allow_at_close(&self.connection, false)
        {
            tracing::error!("{}: {error}", self.directory.jobs().display());
        }
        Err(error)
    }
}

impl Store for SqliteStore {
    fn replay(&mut self, each: &mut dyn FnMut(Record<'static>)) -> Result<JobId, StoreError> {
        let replayed = replay::replay(&self.connection, &self.directory.jobs(), self.salvage, each)?;
        self.fold = replayed.fold;
        for damage in &replayed.damage {
            tracing::warn!("{}: left out: {damage}", self.directory.jobs().display());
        }
        self.damage = replayed.damage;
        self.judge(checkpoint::run_all(&self.connection))?;
        let first = JobId(replayed.next_number);
        self.judge(schema::reserve_numbers(&self.connection, first))?;
        self.judge(checkpoint::allow_at_close(&self.connection, true))?;
        Ok(first)
    }

    fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError> {
        let appended = append::append(&mut self.connection, &mut self.fold, batch);
        self.judge(appended)?;
        self.judge(self.checkpoints.run_if_due(&self.connection))
    }

    fn use_reserve(&mut self) -> bool {
        self.directory.release_reserve()
    }

    fn refill_reserve(&mut self) -> bool {
        self.directory.set_reserve_aside()
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        let tidied = fold::tidy(&mut self.connection, &mut self.fold);
        let more = self.judge(tidied)?;
        self.judge(self.checkpoints.run_if_due(&self.connection))?;
        Ok(more)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(read::SqliteReader::open(&self.directory.jobs())?))
    }
}

/// SQLite's errors in our words.
fn from_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    let what = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, what },
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { path },
        _ => StoreError::Failed { path, what },
    }
}
