//! An empty store is filled: all of it in one transaction, or nothing.

use std::path::Path;

use rusqlite::Connection;

use super::append::{insert_job, key, put_function, put_policy, put_result, put_schedule};
use super::directory::Directory;
use super::{from_sqlite, replay, schema};
use crate::engine::Record;
use crate::store::StoreError;
use crate::types::JobId;

/// A store that is being filled. Dropped before [`Import::finish`], or by a crash, it is as empty as it was.
///
/// It is written by SQLite's older way, a rollback journal, which keeps what was there before and not what is new: a
/// transaction of any size needs no more room than its rows.
#[derive(Debug)]
pub struct Import {
    connection: Connection,
    directory: Directory,
    buffer: Vec<u8>,
    /// The first number that none of the records carries.
    next: u64,
}

impl Import {
    /// Opens the store in this directory, made if there is none.
    ///
    /// # Errors
    /// The directory is in use, someone else's, not writable, of a newer format, or holds jobs or recurring jobs.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        let directory = Directory::lock(path)?;
        directory.make_jobs()?;
        let file = directory.jobs();
        let connection = Connection::open(&file).map_err(|error| from_sqlite(&file, &error))?;
        let fault = |error| from_sqlite(&file, &error);
        if let Some(refusal) = schema::prepare(&connection, &file).map_err(fault)? {
            return Err(refusal);
        }
        let mut is_empty = true;
        let found = replay::replay(&connection, &file, false, &mut |record| {
            is_empty &= matches!(record, Record::Function { .. } | Record::Policy { .. });
        })?;
        if !is_empty {
            return Err(StoreError::NotEmpty { path: path.to_owned() });
        }
        begin(&connection).map_err(fault)?;
        Ok(Self { connection, directory, buffer: Vec::new(), next: found.next_number })
    }

    /// Adds a job, its result, a recurring job, a function or a policy. Whether its number was new.
    ///
    /// A result may come before its job; without one it is left out.
    ///
    /// # Errors
    /// It cannot be written; nothing is imported.
    pub fn add(&mut self, record: &Record<'_>) -> Result<bool, StoreError> {
        self.try_add(record).map_err(|error| self.error(&error))
    }

    fn try_add(&mut self, record: &Record<'_>) -> rusqlite::Result<bool> {
        let (connection, buffer) = (&self.connection, &mut self.buffer);
        match record {
            Record::Queued { id, .. } | Record::Scheduled { id, .. } if is_taken(connection, *id)? => {
                return Ok(false);
            }
            Record::Queued { id, standing, spec, terms } => {
                self.next = self.next.max(id.0.saturating_add(1)).max(standing.place.saturating_add(1));
                insert_job(connection, *id, *standing, spec, terms.as_deref(), buffer)?;
            }
            Record::Result { id, body } => put_result(connection, *id, body, buffer)?,
            Record::Scheduled { id, plan, spec } => {
                self.next = self.next.max(id.0.saturating_add(1));
                put_schedule(connection, *id, plan, spec, buffer)?;
            }
            Record::Function { name, limits, pinned } => {
                put_function(connection, name, *limits, *pinned, buffer)?;
            }
            Record::Policy { pattern, policy: Some(policy) } => {
                put_policy(connection, pattern, policy, buffer)?
            }
            // What happened is no thing that could be imported.
            Record::Stands { .. }
            | Record::Done(_)
            | Record::Unscheduled(_)
            | Record::Policy { policy: None, .. } => {}
        }
        Ok(true)
    }

    /// Keeps it all. Numbers are given out from this one on, or later if a record or the store says so.
    ///
    /// # Errors
    /// It cannot be written; nothing is imported.
    pub fn finish(mut self, next: JobId) -> Result<(), StoreError> {
        self.next = self.next.max(next.0);
        self.keep().map_err(|error| self.error(&error))
    }

    fn keep(&self) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM result WHERE id NOT IN (SELECT id FROM job)", [])?;
        schema::write_next(&self.connection, JobId(self.next))?;
        self.connection.execute_batch("COMMIT")?;
        // As a server leaves it.
        schema::set_journal_mode(&self.connection, "WAL").map(drop)
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        from_sqlite(&self.directory.jobs(), error)
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    schema::set_journal_mode(connection, "DELETE")?;
    // As FULL, and the directory is synced too when the journal is gone: only then is it kept.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    schema::upgrade(connection)?;
    // What is over may still have its rows.
    connection.execute_batch(
        "BEGIN IMMEDIATE; DELETE FROM job; DELETE FROM body; DELETE FROM result; DELETE FROM ops;",
    )
}

fn is_taken(connection: &Connection, id: JobId) -> rusqlite::Result<bool> {
    let taken =
        "SELECT EXISTS (SELECT 1 FROM job WHERE id = ?1) OR EXISTS (SELECT 1 FROM schedule WHERE id = ?1)";
    connection.prepare_cached(taken)?.query_row([key(id)], |row| row.get(0))
}
