//! What is alive, read back at start: changes first, then jobs in the order of their ids; no payload is read.

use std::borrow::Cow;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;

use super::fold::Fold;
use super::{from_sqlite, is_damage, row, schema, verify};
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
    /// The row's id; `None` if the fault is no single row's.
    pub id: Option<i64>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    fn row(table: &'static str, id: i64) -> Self {
        Damage { table, id: Some(id), what: "its checksum is wrong".to_owned() }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(id) = self.id {
            write!(f, "row {id} of ")?;
        }
        write!(f, "table {}: {}", self.table, self.what)
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
    is_lenient: bool,
    each: &mut dyn FnMut(Record<'static>),
) -> Result<Replayed, StoreError> {
    let mut replay = Replay { connection, damage: Vec::new(), last: 0, next_number: 1, each };
    let fold = replay.run().map_err(|error| from_sqlite(path, &error))?;
    let Replay { damage, next_number, .. } = replay;
    match damage.first() {
        Some(first) if !is_lenient => {
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
    /// The row that was read last, of the table that is being read.
    last: i64,
    next_number: u64,
    each: &'a mut dyn FnMut(Record<'static>),
}

impl Replay<'_> {
    fn run(&mut self) -> rusqlite::Result<Fold> {
        let mut fold = Fold::default();
        let walked = self.changes(&mut fold);
        self.unreadable("ops", walked)?;
        let walked = self.policies();
        self.unreadable("policy", walked)?;
        let walked = self.functions();
        self.unreadable("function", walked)?;
        let walked = self.jobs(&fold);
        self.unreadable("job", walked)?;
        let walked = self.schedules();
        self.unreadable("schedule", walked)?;
        self.numbers()?;
        if self.damage.is_empty() {
            // A row of which a page says nothing, or a page that nothing leads to, is missed by no checksum.
            ["ops", "policy", "function", "job", "schedule", "numbers"]
                .into_iter()
                .try_for_each(|table| self.structure(table))?;
        }
        Ok(fold)
    }

    /// Has SQLite account for each byte of a table's pages.
    fn structure(&mut self, table: &'static str) -> rusqlite::Result<()> {
        let complaints = verify::complaints(self.connection, &format!("quick_check({table})"));
        let complaints = match complaints {
            Ok(complaints) => complaints,
            Err(error) => return self.unreadable(table, Err(error)),
        };
        self.damage.extend(complaints.into_iter().map(|what| Damage { table, id: None, what }));
        Ok(())
    }

    /// A damaged page ends a walk; what else there is may be whole.
    fn unreadable(&mut self, table: &'static str, walked: rusqlite::Result<()>) -> rusqlite::Result<()> {
        let last = std::mem::take(&mut self.last);
        match walked {
            Err(error) if is_damage(&error) => {
                let what = format!("rows after row {} cannot be read ({error})", last);
                self.damage.push(Damage { table, id: None, what });
                Ok(())
            }
            other => other,
        }
    }

    fn changes(&mut self, fold: &mut Fold) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare("SELECT seq, changes FROM ops ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let seq: i64 = found.get(0)?;
            self.last = seq;
            match row::read_changes(seq, row::bytes(found, 1)) {
                Ok(changes) => fold.note(seq, &changes),
                Err(row::BadRow) => self.damage.push(Damage::row("ops", seq)),
            }
        }
        Ok(())
    }

    fn policies(&mut self) -> rusqlite::Result<()> {
        let mut select =
            self.connection.prepare("SELECT rowid, pattern, policy FROM policy ORDER BY pattern")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            match row::read_policy(row::bytes(found, 1), row::bytes(found, 2)) {
                Ok((pattern, policy)) => (self.each)(Record::Policy {
                    pattern: Cow::Owned(pattern),
                    policy: Some(Box::new(policy)),
                }),
                Err(row::BadRow) => self.damage.push(Damage::row("policy", found.get(0)?)),
            }
        }
        Ok(())
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
                Err(row::BadRow) => self.damage.push(Damage::row("function", found.get(0)?)),
            }
        }
        Ok(())
    }

    fn jobs(&mut self, fold: &Fold) -> rusqlite::Result<()> {
        // Only to show how far this is: what cannot be counted is found below.
        let total =
            self.connection.query_row("SELECT count(*) FROM job", [], |row| row.get(0)).unwrap_or(0_i64);
        let mut select = self.connection.prepare("SELECT id, meta FROM job ORDER BY id")?;
        let mut rows = select.query([])?;
        let mut count = 0_u64;
        while let Some(found) = rows.next()? {
            self.job(fold, found.get(0)?, row::bytes(found, 1))?;
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

    fn job(&mut self, fold: &Fold, key: i64, meta: &[u8]) -> rusqlite::Result<()> {
        let id = JobId(key.unsigned_abs());
        // A page that two others lead to: what it holds must not be passed on twice.
        if key <= self.last {
            let what = format!("it comes after row {}", self.last);
            self.damage.push(Damage { table: "job", id: Some(key), what });
            return Ok(());
        }
        self.last = key;
        self.next_number = self.next_number.max(id.0.saturating_add(1));
        // What a row of a job that is over holds is of no matter.
        if fold.is_over(id) {
            return Ok(());
        }
        let Ok(row::Meta { standing, spec, terms }) = row::read_meta(id, meta) else {
            self.damage.push(Damage::row("job", key));
            return Ok(());
        };
        let standing = fold.standing(id, standing);
        if let Some(spec) = self.with_body_if_needed(id, spec)? {
            let (spec, terms) = (Cow::Owned(spec), terms.map(Box::new));
            (self.each)(Record::Queued { id, standing, spec, terms });
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
        let whole = match rows.next() {
            Ok(Some(found)) => {
                let body = row::read_body(id, row::bytes(found, 0)).ok();
                body.and_then(|body| spec.with_body(Bytes::copy_from_slice(body)))
            }
            Ok(None) => None,
            Err(error) if is_damage(&error) => None,
            Err(error) => return Err(error),
        };
        if whole.is_none() {
            self.damage.push(Damage::row("body", super::append::key(id)));
        }
        Ok(whole)
    }

    fn schedules(&mut self) -> rusqlite::Result<()> {
        let mut select =
            self.connection.prepare("SELECT id, fields, meta, body FROM schedule ORDER BY id")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let key: i64 = found.get(0)?;
            self.last = key;
            let id = JobId(key.unsigned_abs());
            self.next_number = self.next_number.max(id.0.saturating_add(1));
            let columns = [1, 2, 3].map(|column| row::bytes(found, column));
            match row::read_schedule(id, columns) {
                Ok((plan, spec)) => {
                    (self.each)(Record::Scheduled { id, plan: Cow::Owned(plan), spec: Cow::Owned(spec) });
                }
                Err(row::BadRow) => self.damage.push(Damage::row("schedule", key)),
            }
        }
        Ok(())
    }

    /// The first number that no process has set aside. What jobs carry comes first: this is what they cannot tell.
    fn numbers(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare("SELECT next FROM numbers WHERE one = 1")?;
        let mut rows = select.query([])?;
        let written = match rows.next() {
            Ok(found) => found.and_then(|found| row::read_number(row::bytes(found, 0)).ok()),
            Err(error) if is_damage(&error) => None,
            Err(error) => return Err(error),
        };
        let next = written.map_or_else(|| schema::beyond(self.next_number), |next| next.0);
        self.next_number = self.next_number.max(next);
        if written.is_none() {
            self.damage.push(Damage::row("numbers", 1));
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
