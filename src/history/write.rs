//! The thread that writes: takes all that has gathered, and writes it as one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::file::{self, Place};
use super::load::{FINE, PERIOD, Row};
use super::prune::Prune;
use super::sample::Sample;
use super::{Audit, Bounds, Entry, lock};
use crate::types::{JobId, Timestamp};

/// How long entries gather, unless there are many: a transaction costs more than a row.
const GATHER: Duration = Duration::from_millis(50);

/// Something to be written.
#[derive(Debug)]
pub(super) enum Item {
    Note(Entry),
    Forget(JobId),
    Audit(Audit),
    Load { rows: Vec<Row>, now: Timestamp },
}

impl Item {
    /// The job whose log it is for.
    fn noted(&self) -> Option<JobId> {
        match self {
            Item::Note(entry) => Some(entry.job),
            Item::Forget(_) | Item::Audit(_) | Item::Load { .. } => None,
        }
    }
}

/// What waits to be written, bounded in bytes.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something came, or it was closed.
    came: Condvar,
    /// Something was written.
    wrote: Condvar,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Item>,
    bytes: usize,
    /// Items that came, and those that were written or left out, ever.
    count: u64,
    done: u64,
    is_wanted: bool,
    is_closing: bool,
    facts: Facts,
}

/// How the history goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was asked for is kept where it was asked for.
    pub is_sound: bool,
    /// Entries that were written.
    pub written: u64,
    /// Entries that could not be written.
    pub dropped: u64,
    /// Bytes that wait to be written.
    pub backlog: u64,
    /// Bytes of the file.
    pub file: u64,
}

impl Queue {
    pub fn new(most: usize, is_sound: bool) -> Self {
        let facts = Facts { is_sound, ..Facts::default() };
        let state = State { facts, ..State::default() };
        Self { state: Mutex::new(state), came: Condvar::new(), wrote: Condvar::new(), most }
    }

    /// Takes an item, or leaves it out if too much waits.
    pub fn push(&self, item: Item) {
        let size = size_of_item(&item);
        let mut state = lock(&self.state);
        if state.bytes + size > self.most {
            state.facts.dropped += 1;
            if state.facts.dropped == 1 {
                tracing::warn!("the history cannot be written as fast as it comes: entries are left out");
            }
            return;
        }
        state.bytes += size;
        state.count += 1;
        state.items.push(item);
        let is_first = state.items.len() == 1;
        drop(state);
        if is_first {
            self.came.notify_one();
        }
    }

    pub fn flush(&self, limit: Duration) {
        let mut state = lock(&self.state);
        let count = state.count;
        state.is_wanted = true;
        self.came.notify_one();
        drop(self.wrote.wait_timeout_while(state, limit, |state| state.done < count));
    }

    pub fn close(&self) {
        lock(&self.state).is_closing = true;
        self.came.notify_one();
    }

    pub fn facts(&self) -> Facts {
        let state = lock(&self.state);
        Facts { backlog: state.bytes as u64, ..state.facts }
    }

    /// All that has gathered, once something has; `None` when it was closed and is empty.
    fn take(&self) -> Option<Vec<Item>> {
        let state = lock(&self.state);
        let is_idle = |state: &mut State| state.items.is_empty() && !state.is_closing;
        let state = self.came.wait_while(state, is_idle);
        let state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        let may_gather =
            |state: &mut State| !state.is_closing && !state.is_wanted && state.bytes < self.most / 4;
        let gathered = self.came.wait_timeout_while(state, GATHER, may_gather);
        let mut state: MutexGuard<'_, State> = gathered.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        state.is_wanted = false;
        let items = std::mem::take(&mut state.items);
        (!items.is_empty()).then_some(items)
    }

    fn note_done(&self, items: &[Item], was_written: bool, file: Option<u64>) {
        let mut state = lock(&self.state);
        let count = items.len() as u64;
        state.bytes -= items.iter().map(size_of_item).sum::<usize>();
        state.done += count;
        if was_written {
            state.facts.written += count;
        } else {
            state.facts.dropped += count;
        }
        if let Some(file) = file {
            state.facts.file = file;
        }
        drop(state);
        self.wrote.notify_all();
    }

    fn note_sound(&self, is_sound: bool) -> bool {
        std::mem::replace(&mut lock(&self.state).facts.is_sound, is_sound)
    }
}

fn size_of_item(item: &Item) -> usize {
    64 + match item {
        Item::Note(entry) => entry.data.len(),
        Item::Forget(_) => 0,
        Item::Audit(audit) => audit.who.len() + audit.action.len() + audit.target.len() + audit.outcome.len(),
        Item::Load { rows, .. } => rows.len() * (size_of::<Row>() + size_of::<Sample>() / 2),
    }
}

/// What the thread has.
pub(super) struct Writer {
    place: Place,
    queue: Arc<Queue>,
    connection: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
    prune: Prune,
    /// It was begun as it was asked for, so that it may be sound again.
    was_sound: bool,
    now: Timestamp,
    /// Numbers of functions in the file.
    numbers: HashMap<Vec<u8>, i64>,
}

/// Functions whose numbers are remembered.
const MOST_NUMBERS: usize = 10_000;

impl Writer {
    pub fn new(
        place: Place,
        queue: Arc<Queue>,
        connection: Arc<Mutex<Connection>>,
        reader: Arc<Mutex<Connection>>,
        bounds: Bounds,
        now: Timestamp,
    ) -> Self {
        let was_sound = queue.facts().is_sound;
        let prune = Prune::new(bounds);
        Self { place, queue, connection, reader, prune, was_sound, now, numbers: HashMap::new() }
    }

    pub fn run(mut self) {
        while let Some(items) = self.queue.take() {
            for item in &items {
                match item {
                    Item::Note(entry) => self.now = self.now.max(Timestamp::from_micros(entry.serial)),
                    Item::Audit(audit) => self.now = self.now.max(audit.time),
                    Item::Load { now, .. } => self.now = self.now.max(*now),
                    Item::Forget(_) => {}
                }
            }
            let written = self.write(&items);
            let file = written.as_ref().ok().copied();
            self.queue.note_done(&items, written.is_ok(), file);
            match written {
                Ok(_) => {
                    if !self.queue.note_sound(self.was_sound) && self.was_sound {
                        tracing::info!("the history is written again");
                    }
                }
                Err(error) => self.fail(&error),
            }
        }
    }

    /// Writes all, and takes a step of pruning. Returns the size of the file.
    fn write(&mut self, items: &[Item]) -> rusqlite::Result<u64> {
        let connection = self.connection.clone();
        let mut connection = lock(&connection);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for item in items {
            match item {
                Item::Note(entry) => write_note(&transaction, entry)?,
                Item::Forget(job) => {
                    transaction.prepare_cached("DELETE FROM note WHERE job = ?1")?.execute([key(job.0)])?;
                }
                Item::Audit(audit) => write_audit(&transaction, audit)?,
                Item::Load { rows, .. } => {
                    rows.iter().try_for_each(|row| self.write_row(&transaction, row))?
                }
            }
        }
        let noted: HashSet<JobId> = items.iter().filter_map(Item::noted).collect();
        for job in noted {
            self.prune.shorten(&transaction, job)?;
        }
        if self.prune.step(&transaction, self.now)? {
            self.numbers.clear();
        }
        transaction.commit().inspect_err(|_| self.numbers.clear())?;
        super::prune::size(&connection)
    }

    fn write_row(&mut self, transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
        let function = self.number(transaction, &row.function)?;
        let period = row.begins / (row.grain * PERIOD);
        let place = params![key(row.grain), key(period), function, key(row.begins)];
        let find =
            "SELECT sample FROM load WHERE grain = ?1 AND period = ?2 AND function = ?3 AND begins = ?4";
        // A step that was begun by the process before, or is told in parts.
        let before: Option<Vec<u8>> = match row.grain {
            FINE => None,
            _ => transaction.prepare_cached(find)?.query_row(place, |row| row.get(0)).optional()?,
        };
        let before = before.and_then(|bytes| Sample::from_bytes(row.begins, &bytes));
        let sample = match before {
            Some(mut before) => {
                before.merge(&row.sample);
                before.to_bytes()
            }
            None => row.sample.to_bytes(),
        };
        let put = "INSERT OR REPLACE INTO load VALUES (?1, ?2, ?3, ?4, ?5)";
        let row = params![key(row.grain), key(period), function, key(row.begins), sample];
        transaction.prepare_cached(put)?.execute(row).map(drop)
    }

    fn number(&mut self, transaction: &Transaction<'_>, name: &[u8]) -> rusqlite::Result<i64> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        transaction.prepare_cached("INSERT OR IGNORE INTO function(name) VALUES (?1)")?.execute([name])?;
        let find = "SELECT id FROM function WHERE name = ?1";
        let number = transaction.prepare_cached(find)?.query_row([name], |row| row.get(0))?;
        if self.numbers.len() >= MOST_NUMBERS {
            self.numbers.clear();
        }
        self.numbers.insert(name.to_vec(), number);
        Ok(number)
    }

    /// What was to be written is left out. After damage a new file is begun.
    fn fail(&mut self, error: &rusqlite::Error) {
        self.numbers.clear();
        if self.queue.note_sound(false) {
            tracing::error!("the history cannot be written: {error}. Entries are left out until it can");
        }
        if file::is_damage(error) {
            match self.begin_anew() {
                Ok(()) => tracing::error!("the damaged history was set aside, and a new one is begun"),
                Err(error) => tracing::error!("no new history can be begun: {error}"),
            }
        }
    }

    fn begin_anew(&mut self) -> Result<(), super::HistoryError> {
        self.place.set_aside(self.now)?;
        let fresh = self.place.open()?;
        if let Some(reader) = self.place.open_to_read()? {
            *lock(&self.reader) = reader;
        }
        *lock(&self.connection) = fresh;
        Ok(())
    }
}

fn write_note(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let put = "INSERT OR IGNORE INTO note(job, serial, kind, data) VALUES (?1, ?2, ?3, ?4)";
    let find = "SELECT data FROM note WHERE job = ?1 AND serial = ?2";
    // Another may have the number: the clock was set back between two processes. The same one has it if that is told again.
    for serial in entry.serial.. {
        let (job, serial) = (key(entry.job.0), key(serial));
        let row = params![job, serial, entry.kind, entry.data];
        let is_new = transaction.prepare_cached(put)?.execute(row)? > 0;
        let data = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
        if is_new || transaction.prepare_cached(find)?.query_row(params![job, serial], data)? == entry.data {
            break;
        }
    }
    Ok(())
}

fn write_audit(transaction: &Transaction<'_>, audit: &Audit) -> rusqlite::Result<()> {
    let put = "INSERT INTO audit(time, who, action, target, outcome) VALUES (?1, ?2, ?3, ?4, ?5)";
    let Audit { time, who, action, target, outcome, .. } = audit;
    let row = params![key(time.as_micros()), who, action, target, outcome];
    transaction.prepare_cached(put)?.execute(row).map(drop)
}

/// SQLite's numbers are signed; ours stay below.
pub(super) fn key(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
