//! One batch is one transaction: new rows, one row of changes, and a share of folding.

use std::collections::HashSet;

use foldhash::fast::FixedState;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::fold::{self, Fold};
use super::row::{self, Change};
use crate::engine::{Record, Standing};
use crate::policy::{Plan, Policy, Terms};
use crate::protocol::{MaxQueue, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// Jobs by their numbers, which are our own and no one else's choice.
type Jobs = HashSet<JobId, FixedState>;

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
    // A job that came and went within one batch leaves no trace, and of one that went only that is written.
    let mut fleeting = Jobs::default();
    let ended: Jobs = batch.iter().filter_map(ended).collect();
    let mut changes = Vec::new();
    let mut buffer = Vec::new();
    for record in batch {
        match record {
            Record::Queued { id, .. } if ended.contains(id) => {
                fleeting.insert(*id);
            }
            Record::Queued { id, standing, spec, terms } => {
                insert_job(transaction, *id, *standing, spec, terms.as_deref(), &mut buffer)?;
            }
            Record::Done(id) if fleeting.contains(id) => {}
            Record::Stands { id, .. } | Record::Result { id, .. } if ended.contains(id) => {}
            Record::Done(id) => changes.push(Change::Done(*id)),
            Record::Stands { id, standing } => changes.push(Change::Stands(*id, *standing)),
            Record::Result { id, body } => put_result(transaction, *id, body, &mut buffer)?,
            Record::Scheduled { id, plan, spec } => put_schedule(transaction, *id, plan, spec, &mut buffer)?,
            Record::Unscheduled(id) => {
                transaction.execute("DELETE FROM schedule WHERE id = ?1", [key(*id)])?;
            }
            Record::Function { name, limits: [None, None, None], pinned: false } => {
                transaction.execute("DELETE FROM function WHERE name = ?1", [name])?;
            }
            Record::Function { name, limits, pinned } => {
                put_function(transaction, name, *limits, *pinned, &mut buffer)?;
            }
            Record::Policy { pattern, policy: None } => {
                transaction.execute("DELETE FROM policy WHERE pattern = ?1", [pattern])?;
            }
            Record::Policy { pattern, policy: Some(policy) } => {
                put_policy(transaction, pattern, policy, &mut buffer)?;
            }
        }
    }
    Ok(changes)
}

/// Adds a job, whose number must be new.
pub(super) fn insert_job(
    transaction: &Connection,
    id: JobId,
    standing: Standing,
    spec: &Spec,
    terms: Option<&Terms>,
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    row::write_meta(id, standing, spec, terms, buffer);
    transaction.prepare_cached("INSERT INTO job VALUES (?1, ?2)")?.execute(params![key(id), &*buffer])?;
    row::write_body(id, spec, buffer);
    transaction.prepare_cached("INSERT INTO body VALUES (?1, ?2)")?.execute(params![key(id), &*buffer])?;
    Ok(())
}

pub(super) fn put_result(
    transaction: &Connection,
    id: JobId,
    body: &[u8],
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    row::write_result(id, body, buffer);
    let put = "INSERT OR REPLACE INTO result VALUES (?1, ?2)";
    transaction.prepare_cached(put)?.execute(params![key(id), &*buffer]).map(drop)
}

pub(super) fn put_schedule(
    transaction: &Connection,
    id: JobId,
    plan: &Plan,
    spec: &Spec,
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let standing = Standing::new(id, Priority::Normal, None, Timestamp::default());
    let (mut fields, mut meta) = (Vec::new(), Vec::new());
    row::write_plan(id, plan, &mut fields);
    row::write_meta(id, standing, spec, None, &mut meta);
    row::write_body(id, spec, buffer);
    let put = "INSERT OR REPLACE INTO schedule VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(put, params![key(id), fields, meta, &*buffer]).map(drop)
}

pub(super) fn put_function(
    transaction: &Connection,
    name: &[u8],
    limits: MaxQueue,
    pinned: bool,
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    row::write_limits(name, limits, pinned, buffer);
    transaction.execute("INSERT OR REPLACE INTO function VALUES (?1, ?2)", params![name, &*buffer]).map(drop)
}

pub(super) fn put_policy(
    transaction: &Connection,
    pattern: &str,
    policy: &Policy,
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    row::write_policy(pattern, policy, buffer);
    transaction.execute("INSERT OR REPLACE INTO policy VALUES (?1, ?2)", params![pattern, &*buffer]).map(drop)
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
