//! Takes out what is damaged, so that a server can go on with the rest.

use rusqlite::{Connection, TransactionBehavior};

use super::verify::{self, Fault};
use super::{is_damage, schema};
use crate::types::JobId;

/// What was taken out, or why nothing could be.
pub(super) enum Salvaged {
    Rows(Vec<Fault>),
    /// A row can be taken out, a page cannot.
    Pages(Fault),
}

/// Looks at every row, payloads too, and removes those that are damaged, with what belongs to them.
pub(super) fn take_out(connection: &mut Connection) -> rusqlite::Result<Salvaged> {
    let mut faults = Vec::new();
    verify::verify(connection, &mut |fault| faults.push(fault))?;
    if let Some(pages) = faults.iter().position(|fault| fault.id.is_none()) {
        return Ok(Salvaged::Pages(faults.swap_remove(pages)));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // The last one first: what tells the next number goes by jobs that are still there.
    for fault in faults.iter().rev() {
        let deletions: &[&str] = match fault.table {
            Some("job" | "body") => &["DELETE FROM job WHERE id = ?1", "DELETE FROM body WHERE id = ?1"],
            Some("ops") => &["DELETE FROM ops WHERE seq = ?1"],
            Some("schedule") => &["DELETE FROM schedule WHERE id = ?1"],
            Some("function") => &["DELETE FROM function WHERE rowid = ?1"],
            _ => {
                let last = "SELECT max(ifnull((SELECT max(id) FROM job), 0), ifnull((SELECT max(id) FROM schedule), 0))";
                let last: i64 = transaction.query_row(last, [], |row| row.get(0))?;
                schema::write_next(&transaction, JobId(schema::beyond(last.unsigned_abs())))?;
                continue;
            }
        };
        for deletion in deletions {
            transaction.prepare_cached(deletion)?.execute([fault.id])?;
        }
    }
    transaction.commit()?;
    Ok(Salvaged::Rows(faults))
}

/// The ids that can be read from the end of the jobs down to this one, in their order: what stands beyond a page that
/// cannot be read.
pub(super) fn jobs_beyond(connection: &Connection, id: i64) -> rusqlite::Result<Vec<i64>> {
    let mut select = connection.prepare("SELECT id FROM job WHERE id > ?1 ORDER BY id DESC")?;
    let mut rows = select.query([id])?;
    let mut ids = Vec::new();
    loop {
        match rows.next() {
            Ok(Some(found)) => ids.push(found.get(0)?),
            Ok(None) => break,
            Err(error) if is_damage(&error) => break,
            Err(error) => return Err(error),
        }
    }
    ids.reverse();
    Ok(ids)
}
