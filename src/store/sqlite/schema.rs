//! The tables, and how the database is set up.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::checkpoint::Checkpoints;
use super::{from_sqlite, row};
use crate::store::StoreError;
use crate::types::JobId;

/// Marks the file as ours: `Gear` in ASCII.
const APPLICATION: i64 = 0x4765_6172;

/// The newest format that this program reads and the one it writes.
pub(super) const FORMAT: i64 = 1;

/// Numbers set aside at each start: more than a process can give out, and few enough for 2^23 starts.
const GENERATION: u64 = 1 << 40;

const TABLES: &str = "
    CREATE TABLE job(id INTEGER PRIMARY KEY, meta BLOB NOT NULL);
    CREATE TABLE body(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE ops(seq INTEGER PRIMARY KEY, changes BLOB NOT NULL);
    CREATE TABLE schedule(id INTEGER PRIMARY KEY, fields BLOB NOT NULL, meta BLOB NOT NULL, body BLOB NOT NULL);
    CREATE TABLE function(name BLOB PRIMARY KEY, limits BLOB NOT NULL);
    CREATE TABLE numbers(one INTEGER PRIMARY KEY CHECK (one = 1), next BLOB NOT NULL);
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

/// A connection that cannot change anything.
///
/// If there is a write-ahead log it is read too, and SQLite keeps its index of it in a file beside it. If there is
/// none, the file is read as it is, and nothing beside it is made.
pub(super) fn open_to_read(path: &Path, has_log: bool) -> Result<Connection, StoreError> {
    let fault = |error| from_sqlite(path, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let uri = if has_log { uri(path) } else { uri(path) + "?immutable=1" };
    let connection = Connection::open_with_flags(uri, flags).map_err(fault)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fault)?;
    match identify(&connection).map_err(fault)? {
        Some((APPLICATION, FORMAT)) => Ok(connection),
        Some((APPLICATION, found)) => Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT }),
        Some(_) => Err(StoreError::Foreign { path: path.to_owned() }),
        None => Err(StoreError::Missing { path: path.to_owned() }),
    }
}

/// The path as a URI, in which it may hold any bytes.
fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri
}

/// Whose file this is, and its format; `None` if nothing was written to it yet.
fn identify(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(if (application, format, tables) == (0, 0, 0) { None } else { Some((application, format)) })
}

/// Makes the tables if there are none. A refusal if the file is not one that this program can read and write.
pub(super) fn prepare(connection: &Connection, path: &Path) -> rusqlite::Result<Option<StoreError>> {
    let path = path.to_owned();
    match identify(connection)? {
        None => create(connection)?,
        Some((APPLICATION, FORMAT)) => {}
        Some((APPLICATION, found)) => return Ok(Some(StoreError::Newer { path, found, known: FORMAT })),
        Some(_) => return Ok(Some(StoreError::Foreign { path })),
    }
    Ok(None)
}

fn set_up(connection: &Connection, path: &Path) -> rusqlite::Result<Option<StoreError>> {
    if let Some(refusal) = prepare(connection, path)? {
        return Ok(Some(refusal));
    }
    let mode = set_journal_mode(connection, "WAL")?;
    if mode != "wal" {
        let what = format!("the write-ahead log cannot be begun: the mode stays {mode}");
        return Ok(Some(StoreError::Failed { path: path.to_owned(), what }));
    }
    // Each commit reaches the disk before it returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(None)
}

/// Changes how SQLite keeps its journal; returns the mode as it is then.
///
/// It tells the mode first and writes it down after that: only who reads on is told that it could not.
pub(super) fn set_journal_mode(connection: &Connection, mode: &str) -> rusqlite::Result<String> {
    let mut statement = connection.prepare(&format!("PRAGMA journal_mode = {mode}"))?;
    let mut rows = statement.query([])?;
    let mut told = String::new();
    while let Some(row) = rows.next()? {
        told = row.get(0)?;
    }
    Ok(told)
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    // Before the first table: the file must be laid out so that it can give back space.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    write_next(&transaction, JobId(1))?;
    transaction.commit()
}

/// Sets numbers from this one on aside for this process, so that none is ever given out twice.
pub(super) fn reserve_numbers(connection: &Connection, first: JobId) -> rusqlite::Result<()> {
    write_next(connection, JobId(first.0.saturating_add(GENERATION)))
}

/// Writes down the first number that no process has set aside.
pub(super) fn write_next(connection: &Connection, next: JobId) -> rusqlite::Result<()> {
    let mut row = Vec::new();
    row::write_number(next, &mut row);
    connection.execute("INSERT OR REPLACE INTO numbers VALUES (1, ?1)", [row])?;
    Ok(())
}

/// The first number of the process after the one that gave this number out, as far as that can be told.
pub(super) fn beyond(number: u64) -> u64 {
    (number / GENERATION + 1).saturating_mul(GENERATION).saturating_add(1)
}
