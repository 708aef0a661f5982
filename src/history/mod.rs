//! What was: the log of each job, what operators did, and the load over time. Kept in a file of its own, by a thread of
//! its own, on the word that nothing else ever waits for it: what cannot be written is counted and left out.

mod file;
mod load;
mod note;
mod prune;
mod read;
mod sample;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

pub use self::note::fields;
pub use self::read::Steps;
pub use self::sample::{Events, Gauge, Level, Sample, Second};
pub use self::write::Facts;

use self::file::Place;
use self::load::Load;
use self::write::{Item, Queue, Writer};
use crate::types::{JobId, Timestamp};

/// One entry in the log of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The job.
    pub job: JobId,
    /// The moment in microseconds, or a little more: no other entry of the job has it.
    pub serial: u64,
    /// What kind of entry it is: who writes it knows.
    pub kind: u8,
    /// What it says, in the shape of its kind.
    pub data: Vec<u8>,
}

/// Something that an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Its number; counts up. Given when it is written.
    pub serial: u64,
    /// When.
    pub time: Timestamp,
    /// Who: a token's name, or an address.
    pub who: String,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// What came of it.
    pub outcome: String,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long entries of jobs are kept.
    pub notes: Duration,
    /// Entries of one job, of which the latest are kept.
    pub notes_of_job: u64,
    /// How long it is kept what operators did.
    pub audits: Duration,
    /// How long load is kept by the second, in steps of ten seconds, and of five minutes.
    pub load: [Duration; 3],
    /// Functions whose load is kept, in each step: the busiest.
    pub functions: usize,
    /// Bytes of the file beyond which the oldest entries go, whatever their age.
    pub file: u64,
    /// Bytes that may wait to be written; what comes then is left out.
    pub queue: usize,
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Bounds {
    fn default() -> Self {
        Self {
            notes: 7 * DAY,
            notes_of_job: 1000,
            audits: 365 * DAY,
            load: [HOUR, DAY, 90 * DAY],
            functions: 200,
            file: 1 << 30,
            queue: 16 << 20,
        }
    }
}

/// Why a history cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A newer Gearhouse wrote it.
    #[error(
        "{path} was written by a newer version (format {found}, this one knows up to {known}): use that version, or move \
         the file away"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this program reads.
        known: i64,
    },
    /// Not a history of ours.
    #[error("{path} is not a history of Gearhouse: move the file away")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// What SQLite said.
    #[error("the history cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What the system said.
    #[error("the history cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// The history, for all who write and read it. Never fails to open: what cannot be kept in the file is kept in memory.
#[derive(Debug)]
pub struct History {
    queue: Arc<Queue>,
    load: Mutex<Load>,
    /// For reading; in memory it is the one that writes, too.
    connection: Arc<Mutex<Connection>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    bounds: Bounds,
}

impl History {
    /// The history in this data directory; `None`: in memory.
    ///
    /// A damaged file is given another name, and a new one begun. One that cannot be used is left alone, and the history
    /// kept in memory until the next start. Either is said in the log.
    ///
    /// # Errors
    /// Not even that can be begun, for lack of memory or threads.
    pub fn open(directory: Option<&Path>, now: Timestamp, bounds: Bounds) -> Result<Arc<Self>, HistoryError> {
        let place = directory.map_or(Place::Memory, |directory| Place::File(directory.join(file::NAME)));
        let (place, writer, is_sound) = match open(&place, now) {
            Ok(connection) => (place, connection, true),
            Err(error) => {
                tracing::error!(
                    "{error}. The server runs; its history is kept in memory only until the next start"
                );
                (Place::Memory, Place::Memory.open()?, false)
            }
        };
        let (writer, reader) = match place.open_to_read()? {
            Some(reader) => (Arc::new(Mutex::new(writer)), Arc::new(Mutex::new(reader))),
            None => {
                let both = Arc::new(Mutex::new(writer));
                (both.clone(), both)
            }
        };
        let queue = Arc::new(Queue::new(bounds.queue, is_sound));
        let history = Arc::new(Self {
            queue: queue.clone(),
            load: Mutex::new(Load::new(bounds.functions)),
            connection: reader.clone(),
            thread: Mutex::default(),
            bounds,
        });
        let writer = Writer::new(place, queue, writer, reader, bounds, now);
        let started = thread::Builder::new().name("history".into()).spawn(move || writer.run())?;
        *lock(&history.thread) = Some(started);
        Ok(history)
    }

    /// Notes something in the log of a job.
    pub fn note(&self, entry: Entry) {
        self.queue.push(Item::Note(entry));
    }

    /// Forgets the log of a job that is gone.
    pub fn forget(&self, job: JobId) {
        self.queue.push(Item::Forget(job));
    }

    /// Notes what an operator did. Its serial number is given when it is written.
    pub fn audit(&self, audit: Audit) {
        self.queue.push(Item::Audit(audit));
    }

    /// Takes the load of a second: of the whole server, and of functions that changed. To be called once a second.
    pub fn take_load(&self, second: Timestamp, total: Second, changed: Vec<Second>) {
        let rows = lock(&self.load).add(second.as_secs(), total, changed);
        if !rows.is_empty() {
            self.queue.push(Item::Load { rows, now: second });
        }
    }

    /// Waits until all is written that came before.
    pub fn flush(&self) {
        self.queue.flush(Duration::MAX);
    }

    /// The same, but no longer than this.
    pub fn flush_within(&self, limit: Duration) {
        self.queue.flush(limit);
    }

    /// How it goes.
    pub fn facts(&self) -> Facts {
        self.queue.facts()
    }

    /// Writes what is left, and ends.
    pub fn close(&self) {
        let rows = lock(&self.load).close();
        let now = rows.last().map_or_else(Timestamp::default, |row| Timestamp::from_secs(row.begins));
        self.queue.push(Item::Load { rows, now });
        self.queue.close();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the history's thread failed");
        }
    }
}

/// Opens it, if need be in the place of a damaged one.
fn open(place: &Place, now: Timestamp) -> Result<Connection, HistoryError> {
    match place.open() {
        Err(HistoryError::Sqlite(error)) if file::is_damage(&error) => {
            let aside = place.set_aside(now)?;
            let aside = aside.unwrap_or_default();
            tracing::error!(
                "the history is damaged ({error}): it is in {} now, and begun anew",
                aside.display()
            );
            place.open()
        }
        opened => opened,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
