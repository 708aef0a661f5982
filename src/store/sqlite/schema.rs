//! The tables, and how the database is set up.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::checkpoint::Checkpoints;
use super::from_sqlite;
use crate::store::StoreError;
use crate::types::JobId;

/// Marks the file as ours: `Gear` in ASCII.
const APPLICATION: i64 = 0x4765_6172;

/// The newest format that this program reads and the one it writes.
const FORMAT: i64 = 1;

/// Numbers set aside at each start: more than a process can give out, and few enough for 2^23 starts.
const GENERATION: u64 = 1 << 40;

const TABLES: &str = "
    CREATE TABLE job(id INTEGER PRIMARY KEY, meta BLOB NOT NULL);
    CREATE TABLE body(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE ops(seq INTEGER PRIMARY KEY, changes BLOB NOT NULL);
    CREATE TABLE schedule(id INTEGER PRIMARY KEY, fields TEXT NOT NULL, meta BLOB NOT NULL, body BLOB NOT NULL);
    CREATE TABLE function(name BLOB PRIMARY KEY, high INTEGER, normal INTEGER, low INTEGER, pinned INTEGER NOT NULL);
    CREATE TABLE numbers(one INTEGER PRIMARY KEY CHECK (one = 1), reserved INTEGER NOT NULL);
";

/// The writing connection. There is one, and it also checkpoints.
pub(super) fn open(path: &Path) -> Result<(Connection, Checkpoints), StoreError> {
    let mut connection = Connection::open(path).map_err(|error| from_sqlite(path, &error))?;
    let checkpoints = Checkpoints::take_over(&mut connection);
    let checkpoints = checkpoints.map_err(|error| from_sqlite(path, &error))?;
    match set_up(&connection, path) {
        Ok(Some(refusal)) => Err(refusal),
        Ok(None) => Ok((connection, checkpoints)),
        Err(error) => Err(from_sqlite(path, &error)),
    }
}

fn set_up(connection: &Connection, path: &Path) -> rusqlite::Result<Option<StoreError>> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let path = path.to_owned();
    match (application, format, tables) {
        (0, 0, 0) => create(connection)?,
        (APPLICATION, FORMAT, _) => {}
        (APPLICATION, found, _) => return Ok(Some(StoreError::Newer { path, found, known: FORMAT })),
        _ => return Ok(Some(StoreError::Foreign { path })),
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Each commit reaches the disk before it returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(None)
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    // Before the first table: the file must be laid out so that it can give back space.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

/// Sets numbers aside for this process, so that none is ever given out twice. Returns the first.
pub(super) fn reserve_numbers(connection: &mut Connection, at_least: u64) -> rusqlite::Result<JobId> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let reserved: Option<i64> =
        transaction.query_row("SELECT reserved FROM numbers", [], |row| row.get(0)).optional()?;
    let first = reserved.map_or(1, i64::unsigned_abs).max(at_least);
    transaction.execute(
        "INSERT INTO numbers VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET reserved = excluded.reserved",
        [i64::try_from(first + GENERATION).unwrap_or(i64::MAX)],
    )?;
    transaction.commit()?;
    Ok(JobId(first))
}
