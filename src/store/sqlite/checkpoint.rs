//! Moves the write-ahead log into the data file. SQLite would do that by itself after a commit, but it says nothing of
//! what fails there: a sync that failed would be followed by one that seems to succeed, and the log be overwritten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode};

/// Pages in the write-ahead log before they are moved to the data file: small and often, so that no commit waits long.
const PAGES: u32 = 1000;

/// When to checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Pages in the write-ahead log after the last commit.
    pages: Arc<AtomicU32>,
}

impl Checkpoints {
    /// Takes checkpoints over from SQLite. Until [`allow_at_close`] there is none when the connection is closed either.
    pub fn take_over(connection: &mut Connection) -> rusqlite::Result<Self> {
        allow_at_close(connection, false)?;
        let pages = Arc::new(AtomicU32::new(0));
        let noted = pages.clone();
        connection.wal_hook(Some(move |_: &mut Wal, count: i32| {
            noted.store(count.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages })
    }

    /// To be called between commits.
    pub fn run_if_due(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.pages.load(Ordering::Relaxed) < PAGES {
            return Ok(());
        }
        // The next commit tells anew, also of what could not be moved because of a reader.
        self.pages.store(0, Ordering::Relaxed);
        run(connection, CheckpointMode::PASSIVE)
    }
}

/// Moves all of the log and empties it, at start: what an earlier process could not sync may stand in the system's
/// memory only, looking as if it were on disk. It is written anew here before anything is added behind it.
pub(super) fn run_all(connection: &Connection) -> rusqlite::Result<()> {
    run(connection, CheckpointMode::TRUNCATE)
}

/// A full disk or a reader in the way is no error: what the log holds is safe there, and stays.
fn run(connection: &Connection, mode: CheckpointMode) -> rusqlite::Result<()> {
    match connection.wal_checkpoint_v2(Some(c"main"), mode) {
        Err(error) if !is_harmless(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_harmless(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy))
}

/// Whether closing the connection moves the log and removes it. Not while it is unknown whether the files can be
/// trusted, and never after an error: that would be to try again what must not be.
pub(super) fn allow_at_close(connection: &Connection, is_allowed: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !is_allowed).map(drop)
}
