//! A store that no server uses, looked at without changing it.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::directory::Directory;
use super::read::SqliteReader;
use super::replay::{self, Damage};
use super::verify::{self, Counts, Fault};
use super::{from_sqlite, row, schema};
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
    format: i64,
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
        let format = schema::format(&connection).map_err(|error| from_sqlite(&directory.jobs(), &error))?;
        Ok(Self { connection, format, has_log, _index: index, directory })
    }

    /// The format of its files.
    pub fn format(&self) -> i64 {
        self.format
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
    /// What is kept cannot be read, or something is damaged and it is not to be lenient.
    pub fn replay(
        &self,
        is_lenient: bool,
        each: &mut dyn FnMut(Record<'static>),
    ) -> Result<(JobId, Vec<Damage>), StoreError> {
        if !is_lenient {
            self.directory.check()?;
        }
        let replayed = replay::replay(&self.connection, &self.file(), is_lenient, each)?;
        Ok((JobId(replayed.next_number), replayed.damage))
    }

    /// Passes on the job of each result, and the bytes that it takes; also of jobs that are gone for good, whose results
    /// may still have their rows.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn results(&self, each: &mut dyn FnMut(JobId, u64)) -> Result<(), StoreError> {
        let fault = |error| from_sqlite(&self.file(), &error);
        let mut select =
            self.connection.prepare("SELECT id, length(body) FROM result ORDER BY id").map_err(fault)?;
        let mut rows = select.query([]).map_err(fault)?;
        while let Some(found) = rows.next().map_err(fault)? {
            let (id, len): (i64, i64) = found.try_into().map_err(fault)?;
            each(JobId(id.unsigned_abs()), len.unsigned_abs().saturating_sub(row::SEAL));
        }
        Ok(())
    }

    /// A reader of payloads and results.
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
        let files = match self.directory.check() {
            Err(StoreError::Damaged { path, what }) => Some((path, what)),
            checked => {
                checked?;
                None
            }
        };
        let verified = verify::verify(&self.connection, each);
        let mut counts = verified.map_err(|error| from_sqlite(&self.file(), &error))?;
        if let Some((path, what)) = files {
            let what = format!("{}: {what}", path.display());
            each(Fault { table: None, id: None, what, cost: verify::NO_PAGES });
            counts.faults += 1;
        }
        Ok(counts)
    }
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}
