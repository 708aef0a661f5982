//! Payloads and results, read on a connection of their own while the other one writes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags};

use super::append::key;
use super::row::{self, BadRow};
use super::{from_sqlite, is_damage};
use crate::store::{Reader, StoreError};
use crate::types::JobId;

pub(super) struct SqliteReader {
    path: PathBuf,
    connection: Connection,
}

impl SqliteReader {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| from_sqlite(path, &error))?;
        Ok(Self::with(path, connection))
    }

    /// By a connection that is open already.
    pub fn with(path: &Path, connection: Connection) -> Self {
        Self { path: path.to_owned(), connection }
    }

    fn read_all(
        &mut self,
        jobs: &[JobId],
        each: &mut dyn FnMut(JobId, Option<Bytes>),
    ) -> rusqlite::Result<()> {
        // One transaction for all: short, so that it never keeps the write-ahead log from being reused.
        let transaction = self.connection.transaction()?;
        let mut select = transaction.prepare_cached("SELECT body FROM body WHERE id = ?1")?;
        for id in jobs {
            let mut rows = select.query([key(*id)])?;
            let found = match rows.next() {
                // On this job's page, and perhaps on no other's.
                Err(error) if is_damage(&error) => None,
                other => other?,
            };
            let body = found.and_then(|found| row::read_body(*id, row::bytes(found, 0)).ok());
            let body = body.map(Bytes::copy_from_slice);
            if body.is_none() {
                let (path, id) = (self.path.display(), id.0);
                tracing::error!(
                    "{path}: the payload of job {id} is missing or damaged; the job is set aside"
                );
            }
            each(*id, body);
        }
        Ok(())
    }
}

impl SqliteReader {
    /// `Err` within: it is damaged.
    fn result(&mut self, job: JobId) -> rusqlite::Result<Result<Option<Bytes>, BadRow>> {
        let mut select = self.connection.prepare_cached("SELECT body FROM result WHERE id = ?1")?;
        let mut rows = select.query([key(job)])?;
        match rows.next() {
            Err(error) if is_damage(&error) => Ok(Err(BadRow)),
            Ok(Some(found)) => {
                let body = row::read_result(job, row::bytes(found, 0));
                Ok(body.map(|body| Some(Bytes::copy_from_slice(body))))
            }
            other => other.map(|_| Ok(None)),
        }
    }
}

impl Reader for SqliteReader {
    fn read(&mut self, jobs: &[JobId], each: &mut dyn FnMut(JobId, Option<Bytes>)) -> Result<(), StoreError> {
        self.read_all(jobs, each).map_err(|error| from_sqlite(&self.path, &error))
    }

    fn read_result(&mut self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        let result = self.result(job).map_err(|error| from_sqlite(&self.path, &error))?;
        result.map_err(|BadRow| {
            let what = format!("the result of job {}", job.0);
            StoreError::Damaged { path: self.path.clone(), what }
        })
    }
}
