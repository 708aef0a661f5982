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
mod found;
mod import;
mod inspect;
mod pages;
mod read;
mod replace;
mod replay;
mod row;
mod salvage;
mod schema;
mod verify;
mod wal;

use std::path::{Path, PathBuf};

use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::{Connection, ErrorCode};

pub use self::import::Import;
pub use self::inspect::Inspection;
pub use self::replay::Damage;
pub use self::salvage::rescue;
pub use self::verify::{Counts, Fault};

use self::checkpoint::Checkpoints;
use self::directory::{Directory, Use};
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
    /// It was read back, and nothing but a full disk was met since.
    is_sound: bool,
    // Dropped last: closing the connection still writes.
    directory: Directory,
}

impl SqliteStore {
    /// Opens the store in this directory, made if there is none.
    ///
    /// With `salvage`, a damaged store is replaced by one of all that is whole rather than refused. The log says what is
    /// gone; the damaged files are kept.
    ///
    /// # Errors
    /// The directory is in use, someone else's, not writable, or holds what this version cannot read.
    pub fn open(path: &Path, salvage: bool) -> Result<Self, StoreError> {
        let directory = Directory::lock(path)?;
        if salvage {
            salvage::salvage(&directory)?;
        }
        directory.check()?;
        directory.make_files()?;
        let opened = schema::open(&directory.jobs());
        let (connection, checkpoints) = match opened {
            // Set aside for a full disk, also at start.
            Err(StoreError::Full { .. }) if directory.release_reserve() => schema::open(&directory.jobs())?,
            opened => opened?,
        };
        if !directory.set_reserve_aside() {
            tracing::warn!("{}: no room to set aside for a full disk", path.display());
        }
        Ok(Self { directory, connection, checkpoints, fold: Fold::default(), is_sound: false })
    }

    /// The file that holds the jobs.
    pub fn file(&self) -> PathBuf {
        self.directory.jobs()
    }

    /// What is written at each start, and at the first one with a newer format.
    fn begin(&mut self, first: JobId) -> Result<(), StoreError> {
        let upgraded = schema::upgrade(&self.connection);
        if self.judge(upgraded)? {
            let (path, format) = (self.directory.jobs(), schema::FORMAT);
            tracing::info!(
                "{}: carried on in format {format}, which older versions do not open",
                path.display()
            );
        }
        let reserved = schema::reserve_numbers(&self.connection, first);
        self.judge(reserved)
    }

    /// What was to be kept, kept; or the error in our words. After any but a full disk nothing more is written.
    fn judge<T>(&mut self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        let error = match result {
            Ok(done) => return Ok(done),
            Err(error) => from_sqlite(&self.directory.jobs(), &error),
        };
        if !matches!(error, StoreError::Full { .. }) {
            self.is_sound = false;
            if let Err(error) = checkpoint::allow_at_close(&self.connection, false) {
                tracing::error!("{}: {error}", self.directory.jobs().display());
            }
        }
        Err(error)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Before the connection is closed, which moves the write-ahead log and removes it.
        if self.is_sound
            && let Err(error) = self.directory.mark(Use::Stopped)
        {
            tracing::warn!("{error}");
            // Then it has to stay: what is on disk may say that it must be there.
            let _ = checkpoint::allow_at_close(&self.connection, false);
        }
    }
}

impl Store for SqliteStore {
    fn replay(&mut self, each: &mut dyn FnMut(Record<'static>)) -> Result<JobId, StoreError> {
        let replayed = replay::replay(&self.connection, &self.directory.jobs(), false, each)?;
        self.fold = replayed.fold;
        let checkpointed = checkpoint::run_all(&self.connection);
        self.judge(checkpointed)?;
        let first = JobId(replayed.next_number);
        match self.begin(first) {
            Err(StoreError::Full { .. }) if self.use_reserve() => self.begin(first)?,
            begun => begun?,
        }
        self.directory.sync()?;
        self.directory.mark(Use::Running)?;
        let allowed = checkpoint::allow_at_close(&self.connection, true);
        self.judge(allowed)?;
        self.is_sound = true;
        Ok(first)
    }

    fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError> {
        // Before and not after: who waits for this batch need not wait for what the last one made due.
        let checkpointed = self.checkpoints.run_if_due(&self.connection);
        self.judge(checkpointed)?;
        let appended = append::append(&mut self.connection, &mut self.fold, batch);
        self.judge(appended)
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
        let checkpointed = self.checkpoints.run_if_due(&self.connection);
        self.judge(checkpointed)?;
        Ok(more)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(read::SqliteReader::open(&self.directory.jobs())?))
    }
}

/// Whether SQLite met bytes that it cannot have written.
fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// SQLite's errors in our words.
fn from_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    let what = error.to_string();
    // The index in shared memory is a file, too; SQLite does not say what kept it from growing, and nothing of it lasts.
    if error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE) {
        return StoreError::Full { path };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, what },
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { path },
        _ => StoreError::Failed { path, what },
    }
}
