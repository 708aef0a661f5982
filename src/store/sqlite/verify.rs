//! Every row is looked at: its checksum, its form, and whether what belongs together is there.

use std::fmt;

use bytes::Bytes;
use rusqlite::{Connection, Row};

use super::fold::Fold;
use super::{is_damage, row};
use crate::types::JobId;

/// Something in the store that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The table; `None` if SQLite cannot say.
    pub table: Option<&'static str>,
    /// The row's id; `None` if the fault is no single row's.
    pub id: Option<i64>,
    /// What is wrong.
    pub what: String,
    /// What it costs.
    pub cost: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = self.table {
            write!(f, "table {table}, ")?;
        }
        if let Some(id) = self.id {
            write!(f, "row {id}: ")?;
        }
        write!(f, "{}; {}", self.what, self.cost)
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs, also those that are over and kept.
    pub jobs: u64,
    /// Results of those.
    pub results: u64,
    /// Recurring jobs.
    pub recurring: u64,
    /// Functions with limits, or made by an operator.
    pub functions: u64,
    /// Policies.
    pub policies: u64,
    /// What is wrong.
    pub faults: u64,
}

const NO_CHECKSUM: &str = "its checksum is wrong";
const NO_RETURN: &str = "jobs that are over may come back, and others stand as they stood before";
const NO_JOB: &str = "this job is lost";
const NO_PAYLOAD: &str = "this job cannot be handed out";
const NO_RESULT: &str = "the result of this job is lost";
const NO_RECURRING: &str = "this recurring job is lost";
const NO_FUNCTION: &str = "the limits of this function are lost";
const NO_POLICY: &str = "this policy is lost";
const NO_NUMBER: &str = "numbers of jobs may be given out again";
pub(super) const NO_PAGES: &str = "what stands there cannot be read";

pub(super) fn verify(connection: &Connection, each: &mut dyn FnMut(Fault)) -> rusqlite::Result<Counts> {
    let mut verify = Verify { connection, counts: Counts::default(), fold: Fold::default(), each };
    verify.table("ops", "SELECT seq, changes FROM ops ORDER BY seq", Verify::changes)?;
    verify.table(
        "job",
        "SELECT id, meta, body FROM job LEFT JOIN body USING (id) ORDER BY id",
        Verify::job,
    )?;
    verify.table("body", "SELECT id FROM body WHERE id NOT IN (SELECT id FROM job)", Verify::body_alone)?;
    verify.table(
        "result",
        "SELECT id, result.body, job.id IS NULL FROM result LEFT JOIN job USING (id) ORDER BY id",
        Verify::result,
    )?;
    verify.table("schedule", "SELECT id, fields, meta, body FROM schedule ORDER BY id", Verify::schedule)?;
    verify.table("function", "SELECT rowid, name, limits FROM function", Verify::function)?;
    verify.table("policy", "SELECT rowid, pattern, policy FROM policy", Verify::policy)?;
    verify.numbers()?;
    verify.structure()?;
    Ok(verify.counts)
}

struct Verify<'a> {
    connection: &'a Connection,
    counts: Counts,
    fold: Fold,
    each: &'a mut dyn FnMut(Fault),
}

type Bad = Option<(&'static str, &'static str)>;

impl Verify<'_> {
    /// Looks at each row, whose id stands first, by a function that says what is wrong and what it costs.
    fn table(
        &mut self,
        table: &'static str,
        select: &str,
        look: impl Fn(&mut Self, i64, &Row<'_>) -> Bad,
    ) -> rusqlite::Result<()> {
        let walked = self.walk(table, select, look);
        self.unreadable_is_a_fault(Some(table), walked)
    }

    fn walk(
        &mut self,
        table: &'static str,
        select: &str,
        look: impl Fn(&mut Self, i64, &Row<'_>) -> Bad,
    ) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare(select)?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let id: i64 = found.get(0)?;
            if let Some((what, cost)) = look(self, id, found) {
                self.fault(Fault { table: Some(table), id: Some(id), what: what.to_owned(), cost });
            }
        }
        Ok(())
    }

    /// A damaged page ends a walk; other tables can still be looked at.
    fn unreadable_is_a_fault(
        &mut self,
        table: Option<&'static str>,
        walked: rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        match walked {
            Err(error) if is_damage(&error) => {
                let what = format!("rows from here on cannot be read: {error}");
                self.fault(Fault { table, id: None, what, cost: NO_PAGES });
                Ok(())
            }
            other => other,
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.counts.faults += 1;
        (self.each)(fault);
    }

    fn changes(&mut self, seq: i64, found: &Row<'_>) -> Bad {
        match row::read_changes(seq, row::bytes(found, 1)) {
            Ok(changes) => self.fold.note(seq, &changes),
            Err(row::BadRow) => return Some((NO_CHECKSUM, NO_RETURN)),
        }
        None
    }

    fn job(&mut self, key: i64, found: &Row<'_>) -> Bad {
        let id = JobId(key.unsigned_abs());
        if self.fold.is_over(id) {
            return None;
        }
        self.counts.jobs += 1;
        let Ok(row::Meta { spec, .. }) = row::read_meta(id, row::bytes(found, 1)) else {
            return Some((NO_CHECKSUM, NO_JOB));
        };
        if found.get_ref(2).is_ok_and(|value| value == rusqlite::types::ValueRef::Null) {
            return Some(("its payload is not there", NO_PAYLOAD));
        }
        match row::read_body(id, row::bytes(found, 2)) {
            Err(row::BadRow) => Some(("the checksum of its payload is wrong", NO_PAYLOAD)),
            Ok(body) => spec
                .with_body(Bytes::copy_from_slice(body))
                .is_none()
                .then_some(("its payload is another job's", NO_PAYLOAD)),
        }
    }

    fn body_alone(&mut self, key: i64, _: &Row<'_>) -> Bad {
        let is_over = self.fold.is_over(JobId(key.unsigned_abs()));
        (!is_over).then_some(("a payload without its job", NO_JOB))
    }

    fn schedule(&mut self, key: i64, found: &Row<'_>) -> Bad {
        self.counts.recurring += 1;
        let id = JobId(key.unsigned_abs());
        let is_whole = row::read_schedule(id, [1, 2, 3].map(|column| row::bytes(found, column))).is_ok();
        (!is_whole).then_some((NO_CHECKSUM, NO_RECURRING))
    }

    fn result(&mut self, key: i64, found: &Row<'_>) -> Bad {
        let id = JobId(key.unsigned_abs());
        if self.fold.is_over(id) {
            return None;
        }
        self.counts.results += 1;
        if row::read_result(id, row::bytes(found, 1)).is_err() {
            return Some((NO_CHECKSUM, NO_RESULT));
        }
        let is_alone = found.get::<_, bool>(2).unwrap_or(true);
        is_alone.then_some(("a result without its job", NO_JOB))
    }

    fn policy(&mut self, _: i64, found: &Row<'_>) -> Bad {
        self.counts.policies += 1;
        let is_whole = row::read_policy(row::bytes(found, 1), row::bytes(found, 2)).is_ok();
        (!is_whole).then_some((NO_CHECKSUM, NO_POLICY))
    }

    fn function(&mut self, _: i64, found: &Row<'_>) -> Bad {
        self.counts.functions += 1;
        let is_whole = row::read_limits(row::bytes(found, 1), row::bytes(found, 2)).is_ok();
        (!is_whole).then_some((NO_CHECKSUM, NO_FUNCTION))
    }

    fn numbers(&mut self) -> rusqlite::Result<()> {
        let is_whole = self.connection.query_row("SELECT next FROM numbers WHERE one = 1", [], |found| {
            Ok(row::read_number(row::bytes(found, 0)).is_ok())
        });
        let what = match is_whole {
            Ok(true) => return Ok(()),
            Ok(false) => NO_CHECKSUM,
            Err(rusqlite::Error::QueryReturnedNoRows) => "the row is not there",
            Err(error) => return self.unreadable_is_a_fault(Some("numbers"), Err(error)),
        };
        self.fault(Fault { table: Some("numbers"), id: Some(1), what: what.to_owned(), cost: NO_NUMBER });
        Ok(())
    }

    /// SQLite's own check of its pages and its index: what stands between the rows.
    fn structure(&mut self) -> rusqlite::Result<()> {
        match complaints(self.connection, "integrity_check") {
            Ok(complaints) => {
                for what in complaints {
                    self.fault(Fault { table: None, id: None, what, cost: NO_PAGES });
                }
                Ok(())
            }
            Err(error) => self.unreadable_is_a_fault(None, Err(error)),
        }
    }
}

/// What one of SQLite's own checks finds.
pub(super) fn complaints(connection: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("PRAGMA {check}"))?;
    let texts = check.query_map([], |found| found.get::<_, String>(0))?;
    let texts = texts.collect::<rusqlite::Result<Vec<String>>>()?;
    let lines = texts.iter().flat_map(|text| text.lines());
    Ok(lines.filter(|line| *line != "ok" && !line.starts_with("***")).map(str::to_owned).collect())
}
