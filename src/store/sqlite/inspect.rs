//! A store that no server uses, looked at without changing it.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::directory::Directory;
use super::read::SqliteReader;
use super::replay::{self, Damage};
use super::verify::{self, Counts, Fault};
use super::{from_sqlite, schema};
use crate::engine::Record;
use crate::store::{Reader, StoreError};
use crate::types::JobId;

/// A data directory, locked as a server would, whose files stay as they are.
///
/// A write-ahead log that a crash left is read with the rest, and left where it is. SQLite makes an index of it in
/// `jobs.db-shm` (or makes that anew), which no reader relies on.
#[derive(Debug)]
pub struct Inspection {
    connection: Connection,
    has_log: bool,
    // Dropped in this order: the index goes when the connection is closed, the lock last.
    _index: Option<Index>,
    directory: Directory,
}

/// SQLite's index of the write-ahead log, made by us.
#[derive(Debug)]
struct Index(PathBuf);

impl Drop for Index {
    fn drop(&mut self) {
        // Harmless if it stays: the next who opens the store makes it anew.
        let _ = fs::remove_file(&self.0);
    }
}

impl Inspection {
    /// Opens the store in this directory, which must be there.
    ///
    /// # Errors
    /// There is no store, it is in use, someone else's, of a newer format, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = Directory::lock_existing(path)?;
        if has_content(&directory.beside("-journal")) {
            return Err(StoreError::HalfMade { path: path.to_owned() });
        }
        let has_log = has_content(&directory.beside("-wal"));
        let index = directory.beside("-shm");
        let index = (has_log && !index.exists()).then_some(Index(index));
        let connection = schema::open_to_read(&directory.jobs(), has_log)?;
        Ok(Self { connection, has_log, _index: index, directory })
    }

    /// The format of its files.
    pub fn format(&self) -> i64 {
        // Others are refused.
        schema::FORMAT
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The file that holds the jobs.
    pub fn file(&self) -> PathBuf {
        self.directory.jobs()
    }

    /// The files that are there, with their sizes in bytes.
    pub fn files(&self) -> Vec<(String, u64)> {
        let names = ["jobs.db", "jobs.db-wal", "reserve"];
        let size = |name: &str| Some((name.to_owned(), fs::metadata(self.path().join(name)).ok()?.len()));
        names.into_iter().filter_map(size).collect()
    }

    /// As [`Store::replay`](crate::store::Store::replay), but no number is set aside; also returns what is damaged and
    /// was left out.
    ///
    /// # Errors
    /// What is kept cannot be read, or something is damaged and `salvage` was not said.
    pub fn replay(
        &self,
        salvage: bool,
        each: &mut dyn FnMut(Record<'static>),
    ) -> Result<(JobId, Vec<Damage>), StoreError> {
        let replayed = replay::replay(&self.connection, &self.file(), salvage, each)?;
        Ok((JobId(replayed.next_number), replayed.damage))
    }

    /// A reader of payloads.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let file = self.file();
        let connection = schema::open_to_read(&file, self.has_log)?;
        Ok(Box::new(SqliteReader::with(&file, connection)))
    }

    /// Looks at every row, and at how SQLite keeps them; passes on what is wrong.
    ///
    /// # Errors
    /// The system refuses to read. A file that reads as something else than what was written is no error here.
    pub fn verify(&self, each: &mut dyn FnMut(Fault)) -> Result<Counts, StoreError> {
        verify::verify(&self.connection, each).map_err(|error| from_sqlite(&self.file(), &error))
    }
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}
