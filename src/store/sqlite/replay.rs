//! What is alive, read back at start: changes first, then jobs in the order of their ids; no payload is read.

use std::borrow::Cow;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;

use super::fold::Fold;
use super::{from_sqlite, row, schema};
use crate::engine::Record;
use crate::protocol::Spec;
use crate::store::StoreError;
use crate::types::JobId;

/// Jobs after which progress is logged: about a second's.
const PROGRESS: u64 = 1_000_000;

/// A number as people read it: `3,400,000`.
struct Grouped(u64);

impl std::fmt::Display for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 >= 1000 {
            write!(f, "{},{:03}", Grouped(self.0 / 1000), self.0 % 1000)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Something that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The table.
    pub table: &'static str,
    /// The row's id.
    pub id: i64,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {} of table {}: its checksum is wrong", self.id, self.table)
    }
}

pub(super) struct Replayed {
    pub fold: Fold,
    pub damage: Vec<Damage>,
    /// The first number that was never given out.
    pub next_number: u64,
}

pub(super) fn replay(
    connection: &Connection,
    path: &Path,
    salvage: bool,
    each: &mut dyn FnMut(Record<'static>),
) -> Result<Replayed, StoreError> {
    let mut replay = Replay { connection, damage: Vec::new(), next_number: 1, each };
    let fold = replay.run().map_err(|error| from_sqlite(path, &error))?;
    let Replay { damage, next_number, .. } = replay;
    match damage.first() {
        Some(first) if !salvage => {
            let what = match damage.len() {
                1 => first.to_string(),
                more => format!("{first}, and {} more", more - 1),
            };
            Err(StoreError::Damaged { path: path.to_owned(), what })
        }
        _ => Ok(Replayed { fold, damage, next_number }),
    }
}

struct Replay<'a> {
    connection: &'a Connection,
    damage: Vec<Damage>,
    next_number: u64,
    each: &'a mut dyn FnMut(Record<'static>),
}

impl Replay<'_> {
    fn run(&mut self) -> rusqlite::Result<Fold> {
        let fold = self.changes()?;
        self.functions()?;
        self.jobs(&fold)?;
        self.schedules()?;
        self.numbers()?;
        Ok(fold)
    }

    fn changes(&mut self) -> rusqlite::Result<Fold> {
        let mut fold = Fold::default();
        let mut select = self.connection.prepare("SELECT seq, changes FROM ops ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let seq: i64 = found.get(0)?;
            match row::read_changes(seq, row::bytes(found, 1)) {
                Ok(changes) => fold.note(seq, &changes),
                Err(row::BadRow) => self.damage.push(Damage { table: "ops", id: seq }),
            }
        }
        Ok(fold)
    }

    fn functions(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare("SELECT rowid, name, limits FROM function ORDER BY name")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let name = row::bytes(found, 1);
            match row::read_limits(name, row::bytes(found, 2)) {
                Ok((limits, pinned)) => {
                    (self.each)(Record::Function { name: Cow::Owned(name.to_vec()), limits, pinned });
                }
                Err(row::BadRow) => self.damage.push(Damage { table: "function", id: found.get(0)? }),
            }
        }
        Ok(())
    }

    fn jobs(&mut self, fold: &Fold) -> rusqlite::Result<()> {
        let total: i64 = self.connection.query_row("SELECT count(*) FROM job", [], |row| row.get(0))?;
        let mut select = self.connection.prepare("SELECT id, meta FROM job ORDER BY id")?;
        let mut rows = select.query([])?;
        let mut count = 0_u64;
        while let Some(found) = rows.next()? {
            let key: i64 = found.get(0)?;
            let id = JobId(key.unsigned_abs());
            self.next_number = self.next_number.max(id.0.saturating_add(1));
            // What a row of a job that is over holds is of no matter.
            if fold.is_over(id) {
                continue;
            }
            let Ok((written, spec)) = row::read_meta(id, row::bytes(found, 1)) else {
                self.damage.push(Damage { table: "job", id: key });
                continue;
            };
            let standing = fold.standing(id, written);
            let Some(spec) = self.with_body_if_needed(id, spec)? else { continue };
            (self.each)(Record::Queued { id, standing, spec: Cow::Owned(spec) });
            count += 1;
            if count.is_multiple_of(PROGRESS) {
                tracing::info!("{} of {} jobs read", Grouped(count), Grouped(total.unsigned_abs()));
            }
        }
        if count > 0 {
            tracing::info!("{} jobs read", Grouped(count));
        }
        Ok(())
    }

    /// What coalesces by its payload needs it at hand.
    fn with_body_if_needed(&mut self, id: JobId, spec: Spec) -> rusqlite::Result<Option<Spec>> {
        if spec.unique() != b"-" {
            return Ok(Some(spec));
        }
        let mut select = self.connection.prepare_cached("SELECT body FROM body WHERE id = ?1")?;
        let mut rows = select.query([super::append::key(id)])?;
        let whole = match rows.next()? {
            Some(found) => {
                let body = row::read_body(id, row::bytes(found, 0)).ok();
                body.and_then(|body| spec.with_body(Bytes::copy_from_slice(body)))
            }
            None => None,
        };
        if whole.is_none() {
            self.damage.push(Damage { table: "body", id: super::append::key(id) });
        }
        Ok(whole)
    }

    fn schedules(&mut self) -> rusqlite::Result<()> {
        let mut select =
            self.connection.prepare("SELECT id, fields, meta, body FROM schedule ORDER BY id")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let key: i64 = found.get(0)?;
            let id = JobId(key.unsigned_abs());
            self.next_number = self.next_number.max(id.0.saturating_add(1));
            let fields = row::read_fields(id, row::bytes(found, 1)).ok();
            let spec = row::read_meta(id, row::bytes(found, 2)).ok();
            let body = row::read_body(id, row::bytes(found, 3)).ok().map(Bytes::copy_from_slice);
            let spec = spec.zip(body).and_then(|((_, spec), body)| spec.with_body(body));
            match fields.zip(spec) {
                Some((fields, spec)) => {
                    let fields = Cow::Owned(fields.to_owned());
                    (self.each)(Record::Scheduled { id, fields, spec: Cow::Owned(spec) });
                }
                None => self.damage.push(Damage { table: "schedule", id: key }),
            }
        }
        Ok(())
    }

    /// The first number that no process has set aside. What jobs carry comes first: this is what they cannot tell.
    fn numbers(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare("SELECT next FROM numbers WHERE one = 1")?;
        let mut rows = select.query([])?;
        let written = rows.next()?.and_then(|found| row::read_number(row::bytes(found, 0)).ok());
        let next = written.map_or_else(|| schema::beyond(self.next_number), |next| next.0);
        self.next_number = self.next_number.max(next);
        if written.is_none() {
            self.damage.push(Damage { table: "numbers", id: 1 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let shown = [0, 999, 1000, 3_400_000, 1_002_003].map(|number| Grouped(number).to_string());
        assert_eq!(shown, ["0", "999", "1,000", "3,400,000", "1,002,003"]);
    }
}
