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
pub(super) const FORMAT: i64 = 2;

/// The oldest one: carried on as the newest from the first start on. Its rows are told from newer ones by themselves.
const OLDEST: i64 = 1;

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

/// What format 2 has beside them. Made after them, so that each begins on the same page however old the file is.
const TABLES_OF_2: &str = "
    CREATE TABLE result(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE policy(pattern TEXT PRIMARY KEY, policy BLOB NOT NULL);
";

/// Stands for them while a file of format 1 is only read.
const NO_TABLES_OF_2: &str = "
    CREATE TEMP TABLE result(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TEMP TABLE policy(pattern TEXT PRIMARY KEY, policy BLOB NOT NULL);
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
        Some((APPLICATION, format @ OLDEST..=FORMAT)) => {
            add_what_is_missing(&connection, format).map_err(fault)?;
            Ok(connection)
        }
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
    let format = format(connection)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(if (application, format, tables) == (0, 0, 0) { None } else { Some((application, format)) })
}

/// The format of a file that was opened.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// An older format reads as the newest one, whose other tables are empty.
fn add_what_is_missing(connection: &Connection, format: i64) -> rusqlite::Result<()> {
    if format < FORMAT { connection.execute_batch(NO_TABLES_OF_2) } else { Ok(()) }
}

/// Makes a file of an older format one of the newest. Whether it was older.
///
/// Only after it was read and found whole: until then nothing is changed. A crash leaves the one format or the other.
pub(super) fn upgrade(connection: &Connection) -> rusqlite::Result<bool> {
    let found = format(connection)?;
    if found < FORMAT {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        transaction.execute_batch("DROP TABLE temp.result; DROP TABLE temp.policy;")?;
        transaction.execute_batch(TABLES_OF_2)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
    }
    Ok(found < FORMAT)
}

/// Makes the tables if there are none. A refusal if the file is not one that this program can read and write.
pub(super) fn prepare(connection: &Connection, path: &Path) -> rusqlite::Result<Option<StoreError>> {
    let path = path.to_owned();
    match identify(connection)? {
        None => create(connection)?,
        Some((APPLICATION, format @ OLDEST..=FORMAT)) => add_what_is_missing(connection, format)?,
        Some((APPLICATION, found)) => return Ok(Some(StoreError::Newer { path, found, known: FORMAT })),
        Some(_) => return Ok(Some(StoreError::Foreign { path })),
    }
    Ok(None)
}

fn set_up(connection: &Connection, path: &Path) -> rusqlite::Result<Option<StoreError>> {
    // First: it drops what tables there are of this kind.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
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
    transaction.execute_batch(TABLES_OF_2)?;
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

/// A number beyond all that were given out, when it is not known which those are: this is one of them. What was given out
/// after it, and is gone, took less starts than are skipped here.
pub(super) fn beyond(number: u64) -> u64 {
    const STARTS: u64 = 1 << 16;
    (number / GENERATION + STARTS).saturating_mul(GENERATION).saturating_add(1)
}

/// The page that each of these tables begins on: always the same, in every file of this format.
pub(super) fn roots<const N: usize>(tables: [&str; N]) -> rusqlite::Result<[u32; N]> {
    let connection = Connection::open_in_memory()?;
    create(&connection)?;
    let mut roots = [0; N];
    for (root, table) in roots.iter_mut().zip(tables) {
        let select = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        *root = connection.query_row(select, [table], |row| row.get(0))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As format 1 made it.
    fn format_1() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection.pragma_update(None, "application_id", APPLICATION).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
    }

    /// Each table and index with the page that it begins on.
    fn layout(connection: &Connection) -> Vec<(String, u32)> {
        let mut select =
            connection.prepare("SELECT name, rootpage FROM sqlite_schema ORDER BY name").unwrap();
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_file_that_was_carried_on_is_laid_out_as_a_new_one() {
        let old = format_1();
        for id in 0..5000 {
            old.execute("INSERT INTO job VALUES (?1, zeroblob(300))", [id]).unwrap();
        }
        assert_eq!(prepare(&old, Path::new("old")).unwrap().map(|refusal| refusal.to_string()), None);
        assert_eq!(upgrade(&old), Ok(true));
        assert_eq!(upgrade(&old), Ok(false));
        let new = Connection::open_in_memory().unwrap();
        create(&new).unwrap();
        assert_eq!(layout(&old), layout(&new));
        let jobs: i64 = old.query_row("SELECT count(*) FROM job", [], |row| row.get(0)).unwrap();
        assert_eq!(jobs, 5000);
    }
}
