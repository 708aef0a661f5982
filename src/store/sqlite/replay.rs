//! What is alive, read back at start: changes first, then jobs in the order of their ids; no payload is read.

use std::borrow::Cow;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;

use super::fold::Fold;
use super::{from_sqlite, row};
use crate::engine::Record;
use crate::protocol::Spec;
use crate::store::StoreError;
use crate::types::JobId;

/// Rows after which progress is logged.
const PROGRESS: u64 = 1_000_000;

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
        Ok(fold)
    }

    fn changes(&mut self) -> rusqlite::Result<Fold> {
        let mut fold = Fold::default();
        let mut select = self.connection.prepare("SELECT seq, changes FROM ops ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let seq: i64 = found.get(0)?;
            match row::read_changes(seq, found.get_ref(1)?.as_blob()?) {
                Ok(changes) => fold.note(seq, &changes),
                Err(row::BadRow) => self.damage.push(Damage { table: "ops", id: seq }),
            }
        }
        Ok(fold)
    }

    fn functions(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare("SELECT name, high, normal, low, pinned FROM function")?;
        let mut rows = select.query([])?;
        while let Some(found) = rows.next()? {
            let name: Vec<u8> = found.get(0)?;
            let limits = [found.get(1)?, found.get(2)?, found.get(3)?];
            (self.each)(Record::Function { name: Cow::Owned(name), limits, pinned: found.get(4)? });
        }
        Ok(())
    }

    fn jobs(&mut self, fold: &Fold) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare("SELECT id, meta FROM job ORDER BY id")?;
        let mut rows = select.query([])?;
        let mut count = 0_u64;
        while let Some(found) = rows.next()? {
            let key: i64 = found.get(0)?;
            let id = JobId(key.unsigned_abs());
            self.next_number = self.next_number.max(id.0 + 1);
            let Ok((written, spec)) = row::read_meta(id, found.get_ref(1)?.as_blob()?) else {
                self.damage.push(Damage { table: "job", id: key });
                continue;
            };
            let Some(standing) = fold.standing(id, written) else { continue };
            let Some(spec) = self.with_body_if_needed(id, spec)? else { continue };
            (self.each)(Record::Queued { id, standing, spec: Cow::Owned(spec) });
            count += 1;
            if count.is_multiple_of(PROGRESS) {
                tracing::info!("{count} jobs read so far");
            }
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
                let body = row::read_body(id, found.get_ref(0)?.as_blob()?).ok();
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
            self.next_number = self.next_number.max(id.0 + 1);
            let fields: String = found.get(1)?;
            let spec = row::read_meta(id, found.get_ref(2)?.as_blob()?).ok();
            let body = row::read_body(id, found.get_ref(3)?.as_blob()?).ok().map(Bytes::copy_from_slice);
            match spec.zip(body).and_then(|((_, spec), body)| spec.with_body(body)) {
                Some(spec) => {
                    (self.each)(Record::Scheduled { id, fields: fields.into(), spec: Cow::Owned(spec) });
                }
                None => self.damage.push(Damage { table: "schedule", id: key }),
            }
        }
        Ok(())
    }
}
