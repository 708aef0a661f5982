//! What is old goes: a bounded number of rows with each transaction, and the pages they leave.

use rusqlite::{Connection, Transaction, params};

use super::Bounds;
use super::load::{GRAINS, PERIOD};
use super::write::key;
use crate::types::{JobId, Timestamp};

/// Rows that go with one transaction, of each table.
const ROWS: i64 = 1000;

/// Pages that are given back with one transaction.
const PAGES: i64 = 256;

/// The first period of which the load is kept in a grain, if it is to be kept from this second on. A period goes as a whole,
/// when all of it is old; and one more stays, so that who asks for all of the time that is promised is told it as it passes.
pub(super) fn first_period(grain: u64, from: u64) -> u64 {
    (from / (grain * PERIOD)).saturating_sub(1)
}

/// Transactions between two looks for functions that have no rows any more.
const SELDOM: u32 = 1000;

/// Takes old rows away.
#[derive(Debug)]
pub(super) struct Prune {
    bounds: Bounds,
    until_functions: u32,
}

impl Prune {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, until_functions: SELDOM }
    }

    /// Takes a step. Whether numbers of functions went.
    pub fn step(&mut self, transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<bool> {
        let before = |span: std::time::Duration| {
            now.as_micros().saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
        };
        // The first rows are the oldest: no more is looked at.
        let notes = "DELETE FROM note WHERE id IN (SELECT id FROM note ORDER BY id LIMIT ?1) AND serial < ?2";
        transaction.prepare_cached(notes)?.execute(params![ROWS, key(before(self.bounds.notes))])?;
        let audits = "DELETE FROM audit WHERE serial IN (SELECT serial FROM audit ORDER BY serial LIMIT ?1) AND time < ?2";
        transaction.prepare_cached(audits)?.execute(params![ROWS, key(before(self.bounds.audits))])?;
        for (grain, span) in GRAINS.into_iter().zip(self.bounds.load) {
            delete_load(
                transaction,
                grain,
                first_period(grain, Timestamp::from_micros(before(span)).as_secs()),
            )?;
        }
        if size(transaction)? > self.bounds.file {
            self.shrink(transaction)?;
        }
        let is_time = self.until_functions == 0;
        self.until_functions = self.until_functions.checked_sub(1).unwrap_or(SELDOM);
        transaction.prepare_cached("PRAGMA incremental_vacuum(256)").and_then(|mut vacuum| {
            let mut rows = vacuum.query([])?;
            let mut pages = 0;
            while pages < PAGES && rows.next()?.is_some() {
                pages += 1;
            }
            Ok(())
        })?;
        if !is_time {
            return Ok(false);
        }
        let unused = "DELETE FROM function WHERE id NOT IN (SELECT DISTINCT function FROM load)";
        Ok(transaction.execute(unused, [])? > 0)
    }

    /// Only the latest entries of a job stay: one that talks much must not drive out what others said.
    pub fn shorten(&self, transaction: &Transaction<'_>, job: JobId) -> rusqlite::Result<()> {
        let surplus = "DELETE FROM note WHERE job = ?1 AND serial <=
            (SELECT serial FROM note WHERE job = ?1 ORDER BY serial DESC LIMIT 1 OFFSET ?2)";
        let row = params![key(job.0), key(self.bounds.notes_of_job)];
        transaction.prepare_cached(surplus)?.execute(row).map(drop)
    }

    /// The file is larger than it may be: what is oldest goes, entries of jobs first.
    fn shrink(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let notes = "DELETE FROM note WHERE id IN (SELECT id FROM note ORDER BY id LIMIT ?1)";
        if transaction.prepare_cached(notes)?.execute([ROWS])? > 0 {
            return Ok(());
        }
        for grain in GRAINS {
            let first = "SELECT min(period) FROM load WHERE grain = ?1";
            let first: Option<i64> = transaction.query_row(first, [key(grain)], |row| row.get(0))?;
            if let Some(first) = first {
                delete_load(transaction, grain, first.unsigned_abs() + 1)?;
            }
        }
        Ok(())
    }
}

fn delete_load(transaction: &Transaction<'_>, grain: u64, first: u64) -> rusqlite::Result<()> {
    let delete = "DELETE FROM load WHERE (grain, period, function, begins) IN
        (SELECT grain, period, function, begins FROM load WHERE grain = ?1 AND period < ?2 LIMIT ?3)";
    transaction.prepare_cached(delete)?.execute(params![key(grain), key(first), ROWS]).map(drop)
}

/// Bytes of the file that are in use.
pub(super) fn size(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok((pages * number("page_size")?).unsigned_abs())
}
