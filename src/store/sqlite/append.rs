//! One batch is one transaction: new rows, one row of changes, and a share of folding.

use std::collections::HashSet;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::fold::{self, Fold};
use super::row::{self, Change};
use crate::engine::Record;
use crate::types::JobId;

pub(super) fn append(
    connection: &mut Connection,
    fold: &mut Fold,
    batch: &[Record<'static>],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changes = write(&transaction, batch)?;
    let seq = write_changes(&transaction, fold, &changes)?;
    let folded = fold.step(&transaction, batch.len())?;
    transaction.commit()?;
    // Only now: a batch that failed left nothing behind, here as on the disk.
    fold.settle(folded);
    if let Some(seq) = seq {
        fold.note(seq, &changes);
    }
    Ok(())
}

/// Writes what is new; returns what happened to jobs that are written.
fn write(transaction: &Transaction<'_>, batch: &[Record<'static>]) -> rusqlite::Result<Vec<Change>> {
    // A job that came and went within one batch leaves no trace.
    let mut fleeting: HashSet<JobId> = HashSet::new();
    let ended: HashSet<JobId> = batch.iter().filter_map(ended).collect();
    let mut changes = Vec::new();
    let mut buffer = Vec::new();
    let mut insert_job = transaction.prepare_cached("INSERT INTO job VALUES (?1, ?2)")?;
    let mut insert_body = transaction.prepare_cached("INSERT INTO body VALUES (?1, ?2)")?;
    for record in batch {
        match record {
            Record::Queued { id, .. } if ended.contains(id) => {
                fleeting.insert(*id);
            }
            Record::Queued { id, standing, spec } => {
                row::write_meta(*id, *standing, spec, &mut buffer);
                insert_job.execute(params![key(*id), &buffer])?;
                row::write_body(*id, spec, &mut buffer);
                insert_body.execute(params![key(*id), &buffer])?;
            }
            Record::Done(id) | Record::Lost { id, .. } if fleeting.contains(id) => {}
            Record::Done(id) => changes.push(Change::Done(*id)),
            Record::Lost { id, standing } => changes.push(Change::Lost(*id, *standing)),
            Record::Scheduled { id, fields, spec } => {
                let standing = crate::engine::Standing {
                    priority: crate::types::Priority::Normal,
                    due: None,
                    losses: 0,
                    place: id.0,
                };
                let (mut row_of_fields, mut meta) = (Vec::new(), Vec::new());
                row::write_fields(*id, fields, &mut row_of_fields);
                row::write_meta(*id, standing, spec, &mut meta);
                row::write_body(*id, spec, &mut buffer);
                transaction.execute(
                    "INSERT OR REPLACE INTO schedule VALUES (?1, ?2, ?3, ?4)",
                    params![key(*id), row_of_fields, meta, &buffer],
                )?;
            }
            Record::Unscheduled(id) => {
                transaction.execute("DELETE FROM schedule WHERE id = ?1", [key(*id)])?;
            }
            Record::Function { name, limits: [None, None, None], pinned: false } => {
                transaction.execute("DELETE FROM function WHERE name = ?1", [name])?;
            }
            Record::Function { name, limits, pinned } => {
                row::write_limits(name, *limits, *pinned, &mut buffer);
                transaction
                    .execute("INSERT OR REPLACE INTO function VALUES (?1, ?2)", params![name, &buffer])?;
            }
        }
    }
    Ok(changes)
}

fn ended(record: &Record<'static>) -> Option<JobId> {
    match record {
        Record::Done(id) => Some(*id),
        _ => None,
    }
}

fn write_changes(
    transaction: &Transaction<'_>,
    fold: &Fold,
    changes: &[Change],
) -> rusqlite::Result<Option<i64>> {
    if changes.is_empty() {
        return Ok(None);
    }
    let seq = fold.next_seq();
    let mut buffer = Vec::new();
    changes.iter().for_each(|change| row::write_change(*change, &mut buffer));
    row::seal_changes(seq, &mut buffer);
    transaction.prepare_cached("INSERT INTO ops VALUES (?1, ?2)")?.execute(params![seq, buffer])?;
    Ok(Some(seq))
}

/// Numbers stay below 2^63: see `schema::reserve_numbers`.
pub(super) fn key(id: JobId) -> i64 {
    fold::key(id)
}
