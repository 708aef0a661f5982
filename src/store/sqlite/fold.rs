//! Changes gather in `ops` and are applied to the tables of jobs later: sorted by id, a bounded number a commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::row::{self, Change};
use crate::engine::Standing;
use crate::types::JobId;

/// Changes that gather before they are applied beside other work.
const GATHERED: usize = 32 * 1024;

/// Rows that are applied in a commit, at least, once a fold is under way.
const STEP: usize = 256;

/// Rows that are applied in a commit of their own, when nothing else is to be done.
const IDLE_STEP: usize = 2000;

/// Pages given back to the file system in one go, when nothing else is to be done.
const VACUUM_PAGES: usize = 500;

/// Most pages given back in a commit that has other work.
const VACUUM_BESIDE: usize = 64;

/// What `ops` holds and the tables do not show yet.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The last row of `ops` that was written.
    last_seq: i64,
    gathered: Gathered,
    under_way: Option<UnderWay>,
    /// Whether pages may have become free since the last vacuum came to its end.
    may_vacuum: bool,
}

#[derive(Debug, Default)]
struct Gathered {
    done: BTreeSet<JobId>,
    /// Most are over before they are applied, so their order is made when that begins. The numbers are our own.
    stands: HashMap<JobId, Standing, FixedState>,
}

/// What is being applied, and the last row of `ops` that it comes from.
#[derive(Debug)]
struct UnderWay {
    done: BTreeSet<JobId>,
    stands: BTreeMap<JobId, Standing>,
    last_seq: i64,
}

impl Gathered {
    fn len(&self) -> usize {
        self.done.len() + self.stands.len()
    }

    fn add(&mut self, change: Change) {
        match change {
            Change::Done(id) => {
                self.stands.remove(&id);
                self.done.insert(id);
            }
            Change::Stands(id, standing) => {
                self.stands.insert(id, standing);
            }
        }
    }
}

/// How far a transaction went that is not committed yet.
#[derive(Debug, Default)]
pub(super) struct Folded {
    done: Vec<JobId>,
    stands: Vec<JobId>,
    all: bool,
}

impl Fold {
    /// The number for the next row of `ops`.
    pub fn next_seq(&self) -> i64 {
        self.last_seq + 1
    }

    /// Notes changes that were written as this row of `ops`.
    pub fn note(&mut self, seq: i64, changes: &[Change]) {
        self.last_seq = seq;
        changes.iter().for_each(|change| self.gathered.add(*change));
    }

    /// Whether a job that stands in the table is over.
    pub fn is_over(&self, id: JobId) -> bool {
        self.gathered.done.contains(&id)
    }

    /// The jobs of which that is so.
    pub fn over(&self) -> &BTreeSet<JobId> {
        &self.gathered.done
    }

    /// How a job that stands in the table stands really.
    pub fn standing(&self, id: JobId, written: Standing) -> Standing {
        self.gathered.stands.get(&id).copied().unwrap_or(written)
    }

    /// Applies a share of the changes within a transaction that has `beside` other rows to write.
    pub fn step(&mut self, transaction: &Transaction<'_>, beside: usize) -> rusqlite::Result<Folded> {
        if self.under_way.is_none() && self.gathered.len() >= GATHERED {
            self.begin();
        }
        if self.under_way.is_none() && self.may_vacuum && is_mostly_free(transaction)? {
            vacuum(transaction, beside.clamp(1, VACUUM_BESIDE))?;
        }
        self.apply(transaction, STEP.max(beside.saturating_mul(4)))
    }

    /// The transaction was committed.
    pub fn settle(&mut self, folded: Folded) {
        let Some(under_way) = &mut self.under_way else { return };
        self.may_vacuum |= !folded.done.is_empty();
        for id in &folded.done {
            under_way.done.remove(id);
        }
        for id in &folded.stands {
            under_way.stands.remove(id);
        }
        if folded.all {
            self.under_way = None;
        }
    }

    fn begin(&mut self) {
        let Gathered { done, stands } = std::mem::take(&mut self.gathered);
        let stands = stands.into_iter().collect();
        self.under_way = Some(UnderWay { done, stands, last_seq: self.last_seq });
    }

    fn apply(&self, transaction: &Transaction<'_>, most: usize) -> rusqlite::Result<Folded> {
        let Some(UnderWay { done: all_done, stands: all_stand, last_seq }) = &self.under_way else {
            return Ok(Folded::default());
        };
        let done: Vec<JobId> = all_done.iter().copied().take(most).collect();
        let stands: Vec<JobId> = all_stand.keys().copied().take(most - done.len()).collect();
        let has_results = transaction
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM result)")?
            .query_row([], |row| row.get::<_, bool>(0))?;
        let tables = [
            Some("DELETE FROM job WHERE id = ?1"),
            Some("DELETE FROM body WHERE id = ?1"),
            has_results.then_some("DELETE FROM result WHERE id = ?1"),
        ];
        for delete in tables.into_iter().flatten() {
            let mut delete = transaction.prepare_cached(delete)?;
            for id in &done {
                delete.execute([key(*id)])?;
            }
        }
        let mut buffer = Vec::new();
        for id in &stands {
            rewrite(transaction, *id, all_stand[id], &mut buffer)?;
        }
        let all = done.len() + stands.len() == all_done.len() + all_stand.len();
        if all {
            transaction.execute("DELETE FROM ops WHERE seq <= ?1", [last_seq])?;
        }
        Ok(Folded { done, stands, all })
    }
}

/// Writes a job's row anew. A row that is gone or damaged is left as it is: the next start reports it.
fn rewrite(
    transaction: &Transaction<'_>,
    id: JobId,
    standing: Standing,
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let mut select = transaction.prepare_cached("SELECT meta FROM job WHERE id = ?1")?;
    let mut rows = select.query([key(id)])?;
    let Some(found) = rows.next()? else { return Ok(()) };
    let rewritten = row::rewrite_meta(id, row::bytes(found, 0), standing, buffer);
    // Its row must not be read while it is written.
    drop(rows);
    if rewritten.is_ok() {
        let mut update = transaction.prepare_cached("UPDATE job SET meta = ?2 WHERE id = ?1")?;
        update.execute(params![key(id), &*buffer])?;
    }
    Ok(())
}

/// Gives free pages at the end of the file back to the file system, moving others there first.
fn vacuum(connection: &Connection, pages: usize) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Whether so much of the file is free that it should shrink although new rows could use the room.
fn is_mostly_free(connection: &Connection) -> rusqlite::Result<bool> {
    let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(pages("freelist_count")? > pages("page_count")? / 2)
}

/// A bounded piece of folding, or of giving space back. Whether there is more.
pub(super) fn tidy(connection: &mut Connection, fold: &mut Fold) -> rusqlite::Result<bool> {
    if fold.under_way.is_none() && fold.gathered.len() > 0 {
        fold.begin();
    }
    if fold.under_way.is_some() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let folded = fold.apply(&transaction, IDLE_STEP)?;
        transaction.commit()?;
        fold.settle(folded);
        return Ok(true);
    }
    if fold.may_vacuum {
        let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        fold.may_vacuum = free > 0;
        if free > 0 {
            vacuum(connection, VACUUM_PAGES)?;
        } else {
            // The write-ahead log too: what it holds moves to the data file, and the file shrinks.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            // And what was read and written of it need not be kept in memory.
            connection.execute_batch("PRAGMA shrink_memory")?;
        }
        return Ok(fold.may_vacuum);
    }
    Ok(false)
}

/// Numbers stay below 2^63: see `schema::reserve_numbers`.
pub(super) fn key(id: JobId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}
