//! Reading: paged, and on a connection that cannot write.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::load::{COARSE, FINE, GRAINS, MIDDLE, PERIOD};
use super::prune::first_period;
use super::sample::{Level, Sample};
use super::write::key;
use super::{Audit, Entry, History, HistoryError, lock};
use crate::types::{JobId, Timestamp};

/// Most samples that are returned at once; a longer range is told in longer steps.
const MOST_SAMPLES: u64 = 10_000;

/// Load of a stretch of time.
#[derive(Debug)]
pub struct Steps {
    /// Seconds of a step.
    pub step: u64,
    /// Those in which the server ran, oldest first.
    pub samples: Vec<Sample>,
}

/// What is known of one function between two moments, in one grain.
struct Piece {
    grain: u64,
    from: u64,
    to: u64,
}

impl History {
    /// Entries in the log of a job that are newer than this one, oldest first.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn notes(&self, job: JobId, after: u64, limit: usize) -> Result<Vec<Entry>, HistoryError> {
        let connection = lock(&self.connection);
        let find =
            "SELECT serial, kind, data FROM note WHERE job = ?1 AND serial > ?2 ORDER BY serial LIMIT ?3";
        let mut statement = connection.prepare_cached(find)?;
        let range = params![key(job.0), key(after), key(limit as u64)];
        let rows = statement.query_map(range, |row| to_entry(job, row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The last entries in the log of a job, newest first.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn last_notes(&self, job: JobId, limit: usize) -> Result<Vec<Entry>, HistoryError> {
        let connection = lock(&self.connection);
        let find = "SELECT serial, kind, data FROM note WHERE job = ?1 ORDER BY serial DESC LIMIT ?2";
        let mut statement = connection.prepare_cached(find)?;
        let rows = statement.query_map(params![key(job.0), key(limit as u64)], |row| to_entry(job, row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What operators did, newest first: what came before this serial number, or the latest.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn audits(&self, before: Option<u64>, limit: usize) -> Result<Vec<Audit>, HistoryError> {
        let connection = lock(&self.connection);
        let find = "SELECT serial, time, who, action, target, outcome FROM audit WHERE serial < ?1
            ORDER BY serial DESC LIMIT ?2";
        let mut statement = connection.prepare_cached(find)?;
        let rows = statement.query_map(params![before.map_or(i64::MAX, key), key(limit as u64)], |row| {
            let (serial, time): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Audit {
                serial: serial.unsigned_abs(),
                time: Timestamp::from_micros(time.unsigned_abs()),
                who: row.get(2)?,
                action: row.get(3)?,
                target: row.get(4)?,
                outcome: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether there is load of this function.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn knows(&self, function: &[u8]) -> Result<bool, HistoryError> {
        let connection = lock(&self.connection);
        let mut find = connection.prepare_cached("SELECT 1 FROM function WHERE name = ?1")?;
        Ok(find.exists([function])?)
    }

    /// Load of a function between two moments, in steps of so many seconds; an empty name: of the whole server.
    ///
    /// Where no grain is kept that fine the steps are as long as it is, and so that there are not too many. Steps in which
    /// the server did not run are left out. A sample whose seconds are fewer than the step was cut short likewise.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn load(
        &self,
        function: &[u8],
        from: Timestamp,
        to: Timestamp,
        step: u64,
    ) -> Result<Steps, HistoryError> {
        // The rows that are not written yet are the newest; taken first, so that none is missed meanwhile.
        let pending: Vec<_> = {
            let load = lock(&self.load);
            load.pending()
                .iter()
                .filter(|row| row.function.is_empty() || row.function == function)
                .cloned()
                .collect()
        };
        let connection = lock(&self.connection);
        let first = first_second(&connection)?.or_else(|| pending.first().map(|row| row.begins));
        let last = last_second(&connection, pending.last().map(|row| row.begins))?;
        let Some((first, end)) = first.zip(last) else {
            return Ok(Steps { step: step.max(1), samples: Vec::new() });
        };
        // Not more than is known at all: it would only be told in longer steps.
        let (from, to) = (from.as_secs().max(first), to.as_secs().min(end));
        let step = step.max(1).max(to.saturating_sub(from).div_ceil(MOST_SAMPLES));
        let pieces = self.pieces(from, to, step, end);
        let step =
            pieces.iter().map(|piece| piece.grain).max().map_or(step, |grain| step.next_multiple_of(grain));
        let mut buckets: BTreeMap<u64, Sample> = BTreeMap::new();
        for piece in pieces {
            let mut ran = rows(&connection, &piece, b"")?;
            let mut own =
                if function.is_empty() { ran.clone() } else { rows(&connection, &piece, function)? };
            for row in pending.iter().filter(|row| piece.grain == FINE && row.begins < piece.to) {
                let rows = if row.function.is_empty() { &mut ran } else { &mut own };
                rows.insert(row.begins, row.sample.clone());
                if function.is_empty() {
                    own.insert(row.begins, row.sample.clone());
                }
            }
            gather(&piece, &ran, &own, step, &mut buckets);
        }
        Ok(Steps { step, samples: buckets.into_values().collect() })
    }

    /// Which grain tells what of a range.
    fn pieces(&self, from: u64, to: u64, step: u64, now: u64) -> Vec<Piece> {
        let kept = |index: usize| {
            let from = now.saturating_sub(self.bounds.load[index].as_secs());
            first_period(GRAINS[index], from) * GRAINS[index] * PERIOD
        };
        // What is not yet in rows of the middle and the coarse grain.
        let (middle, coarse) = (now / MIDDLE * MIDDLE, now / COARSE * COARSE);
        let fine_from = if step < MIDDLE { kept(0).min(middle) } else { middle };
        let middle_from = if step < COARSE { kept(1).min(coarse) } else { coarse }.min(fine_from);
        let bounds =
            [(COARSE, 0, middle_from), (MIDDLE, middle_from, fine_from), (FINE, fine_from, u64::MAX)];
        let pieces =
            bounds.map(|(grain, first, end)| Piece { grain, from: from.max(first), to: to.min(end) });
        pieces.into_iter().filter(|piece| piece.from < piece.to).collect()
    }
}

fn to_entry(job: JobId, row: &Row<'_>) -> rusqlite::Result<Entry> {
    let serial: i64 = row.get(0)?;
    Ok(Entry { job, serial: serial.unsigned_abs(), kind: row.get(1)?, data: row.get(2)? })
}

/// The beginning of what is written.
fn first_second(connection: &Connection) -> Result<Option<u64>, HistoryError> {
    let find = "SELECT min(begins) FROM load WHERE grain = ?1
        AND period = (SELECT min(period) FROM load WHERE grain = ?1)";
    let mut statement = connection.prepare_cached(find)?;
    let mut first = None;
    for grain in GRAINS {
        let begins: Option<i64> = statement.query_row([key(grain)], |row| row.get(0))?;
        first = first.into_iter().chain(begins.map(i64::unsigned_abs)).min();
    }
    Ok(first)
}

/// The end of what is known: after the last second that the server ran.
fn last_second(connection: &Connection, pending: Option<u64>) -> Result<Option<u64>, HistoryError> {
    let find = "SELECT max(begins) FROM load JOIN function ON id = function
        WHERE grain = 1 AND name = x'' AND period = (SELECT max(period) FROM load WHERE grain = 1)";
    let written: Option<i64> = connection.query_row(find, [], |row| row.get(0))?;
    let written = written.map(i64::unsigned_abs);
    Ok(pending.max(written).map(|last| last + 1))
}

/// Rows by the second at which they begin. Of the finer grains some from before the piece, too: what tells how things
/// stood when it began.
fn rows(
    connection: &Connection,
    piece: &Piece,
    function: &[u8],
) -> Result<BTreeMap<u64, Sample>, HistoryError> {
    debug_assert!(GRAINS.contains(&piece.grain));
    let find = "SELECT id FROM function WHERE name = ?1";
    let number: Option<i64> =
        connection.prepare_cached(find)?.query_row([function], |row| row.get(0)).optional()?;
    let Some(number) = number else { return Ok(BTreeMap::new()) };
    let from = piece.from / PERIOD * PERIOD;
    let find = "SELECT begins, sample FROM load
        WHERE grain = ?1 AND period = ?2 AND function = ?3 AND begins >= ?4 AND begins < ?5";
    let mut statement = connection.prepare_cached(find)?;
    let mut found = BTreeMap::new();
    let span = piece.grain * PERIOD;
    for period in from / span..=(piece.to - 1) / span {
        let place = params![key(piece.grain), key(period), number, key(from), key(piece.to)];
        let mut rows = statement.query(place)?;
        while let Some(row) = rows.next()? {
            let begins = row.get::<_, i64>(0)?.unsigned_abs();
            let bytes: Vec<u8> = row.get(1)?;
            if let Some(sample) = Sample::from_bytes(begins, &bytes) {
                found.insert(begins, sample);
            }
        }
    }
    Ok(found)
}

/// Adds the steps of a piece to those that are asked for. Where the server ran and the function has no row it stood still.
fn gather(
    piece: &Piece,
    ran: &BTreeMap<u64, Sample>,
    own: &BTreeMap<u64, Sample>,
    step: u64,
    buckets: &mut BTreeMap<u64, Sample>,
) {
    let mut level = Level::default();
    let mut expected = None;
    for (begins, total) in ran {
        // Who was there before the server was started again, and is not told of since, is gone.
        let was_away = expected.is_some_and(|expected| expected != *begins) || total.seconds < piece.grain;
        if was_away {
            level = Level::default();
        }
        expected = Some(begins + piece.grain);
        let still = || Sample::still(&level, total.seconds, begins + total.seconds);
        let mut sample = own.get(begins).cloned().unwrap_or_else(still);
        // What a coarse row tells of is all there was.
        level = if piece.grain == COARSE { Level::default() } else { sample.level() };
        // The function may not have been there for all of it.
        sample.seconds = total.seconds;
        if *begins >= piece.from {
            let bucket = begins / step * step;
            buckets.entry(bucket).or_insert_with(|| Sample::begin(bucket)).merge(&sample);
        }
    }
}
