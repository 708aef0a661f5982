//! The history file: SQLite beside the store, with a format and a promise of its own. What is in it may be lost, its last
//! second by a power cut and all of it by damage; no job ever is.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::HistoryError;
use crate::types::Timestamp;

/// Marks the file as ours: `GHis` in ASCII.
const APPLICATION: i64 = 0x4748_6973;

/// The newest format that this program reads and the one it writes.
pub(super) const FORMAT: i64 = 1;

/// The file in the data directory.
pub(super) const NAME: &str = "history.db";

/// Entries lie in the order in which they came, so that old ones go from the front. Rows of load lie by period, then
/// function: a period is dropped as one piece, and one function is read in one.
const TABLES: &str = "
    CREATE TABLE note(
        id INTEGER PRIMARY KEY, job INTEGER NOT NULL, serial INTEGER NOT NULL, kind INTEGER NOT NULL,
        data BLOB NOT NULL);
    CREATE UNIQUE INDEX note_of_job ON note(job, serial);
    CREATE TABLE audit(
        serial INTEGER PRIMARY KEY, time INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
        target TEXT NOT NULL, outcome TEXT NOT NULL);
    CREATE TABLE function(id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
    CREATE TABLE load(
        grain INTEGER NOT NULL, period INTEGER NOT NULL, function INTEGER NOT NULL, begins INTEGER NOT NULL,
        sample BLOB NOT NULL, PRIMARY KEY (grain, period, function, begins)) WITHOUT ROWID;
";

/// Where a history is kept.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(PathBuf),
    Memory,
}

impl Place {
    /// The connection that writes, to a file whose format is ours; made if there is none.
    pub fn open(&self) -> Result<Connection, HistoryError> {
        match self {
            Place::Memory => prepare(Connection::open_in_memory()?, Path::new(":memory:")),
            Place::File(path) => {
                let connection = prepare(Connection::open(path)?, path)?;
                connection.pragma_update(None, "synchronous", "NORMAL")?;
                Ok(connection)
            }
        }
    }

    /// A connection that cannot write, if there can be another one.
    pub fn open_to_read(&self) -> Result<Option<Connection>, HistoryError> {
        let Place::File(path) = self else { return Ok(None) };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok(Some(Connection::open_with_flags(path, flags)?))
    }

    /// Gives a damaged file another name; what is beside it goes with it. Returns that name.
    pub fn set_aside(&self, now: Timestamp) -> std::io::Result<Option<PathBuf>> {
        let Place::File(path) = self else { return Ok(None) };
        let beside = |path: &Path, ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let aside = beside(path, &format!(".damaged-{}", now.as_secs()));
        fs::rename(path, &aside)?;
        for ending in ["-wal", "-shm"] {
            let _ = fs::rename(beside(path, ending), beside(&aside, ending));
        }
        Ok(Some(aside))
    }
}

fn prepare(mut connection: Connection, path: &Path) -> Result<Connection, HistoryError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, format) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, format, tables) {
        (0, 0, 0) => {
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()?;
        }
        (APPLICATION, FORMAT, _) => {
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            // Looks at the first page of each table, at least.
            for table in ["note", "audit", "function", "load"] {
                connection.query_row(
                    &format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)"),
                    [],
                    |_| Ok(()),
                )?;
            }
        }
        (APPLICATION, found, _) => {
            return Err(HistoryError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        _ => return Err(HistoryError::Foreign { path: path.to_owned() }),
    }
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Whether SQLite met bytes that it cannot have written.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
