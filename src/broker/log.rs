//! Group commit without a clock: while one batch is being made safe, the next one gathers.
//!
//! The engine's records are pushed under its lock, in its order. The store's own thread, see [`super::Committer`], swaps
//! out all that has gathered, appends it, publishes how far the log is safe, and tells the connections whose answers
//! waited for that.

use std::fmt::Display;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::Record;
use crate::outbox::{End, Outbox};
use crate::protocol::Refusal;
use crate::store::StoreError;
use crate::types::RecordNo;

/// Bytes that may gather before connections stop reading.
const MOST_BYTES: usize = 32 << 20;

/// Largest body of a job that can be kept: what SQLite takes in a row, less a little.
const LARGEST: usize = 900_000_000;

/// The log's buffer and state, shared by the broker and the store's thread.
#[derive(Debug)]
pub(super) struct Log {
    pending: Mutex<Pending>,
    gathered: Condvar,
    durable: AtomicU64,
    bytes: AtomicUsize,
    fault: AtomicU8,
    room: Notify,
    written: Written,
}

/// What the store has made safe so far.
#[derive(Debug, Default)]
struct Written {
    batches: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    groups: [AtomicU64; StoreFacts::GROUPS],
    syncing: AtomicU64,
}

/// What a store is doing, and has done since the server began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    /// Whether it takes new jobs.
    pub state: StoreState,
    /// Groups that were made safe, each by one sync.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these records, as they are accounted.
    pub bytes: u64,
    /// Groups by the number of their records: up to 1, 2, 4, … and above.
    pub groups: [u64; StoreFacts::GROUPS],
    /// Microseconds that it took to make them safe.
    pub syncing: u64,
    /// Bytes that wait to be made safe.
    pub backlog: u64,
}

impl StoreFacts {
    /// How many sizes of groups are told apart: up to 1, 2, 4, … 32,768, and above.
    pub const GROUPS: usize = 17;

    /// The largest number of records that is counted under an index; none for the last.
    pub const fn bound(index: usize) -> Option<u64> {
        if index + 1 < Self::GROUPS { Some(1 << index) } else { None }
    }
}

/// Whether a store takes new jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreState {
    /// It does.
    Ready,
    /// It has no room for them.
    Full,
    /// It failed, and takes nothing until the server is started again.
    Failed,
}

#[derive(Debug, Default)]
struct Pending {
    last: u64,
    batch: Vec<Record<'static>>,
    waiting: Vec<(RecordNo, Arc<Outbox>)>,
    is_closing: bool,
}

/// Records that are made safe together.
#[derive(Debug)]
pub(super) struct Batch {
    /// In the engine's order.
    pub records: Vec<Record<'static>>,
    /// The number of the last of them.
    last: u64,
}

/// What keeps new records from being taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Fault {
    None,
    Full,
    Failed,
}

/// What became of a wish to be told when the log is safe up to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// It is safe already.
    Over,
    /// The outbox will be told.
    Noted,
    /// It never will be.
    Never,
}

impl Log {
    pub fn new() -> Self {
        Self {
            pending: Mutex::default(),
            gathered: Condvar::new(),
            durable: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            fault: AtomicU8::new(Fault::None as u8),
            room: Notify::new(),
            written: Written::default(),
        }
    }

    /// Takes a record. The caller calls [`Log::signal`] when it has let go of its locks.
    pub fn push(&self, record: Record<'_>) -> Result<RecordNo, Refusal> {
        let size = self.admit(&record)?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        let mut pending = self.lock();
        pending.last += 1;
        pending.batch.push(record.into_owned());
        Ok(RecordNo(pending.last))
    }

    /// The number of the last record that was taken.
    pub fn position(&self) -> RecordNo {
        RecordNo(self.lock().last)
    }

    /// Bytes of a record that may be taken. Ends are, as long as anything is.
    fn admit(&self, record: &Record<'_>) -> Result<usize, Refusal> {
        let size = size_of(record);
        match (record, self.fault()) {
            (_, Fault::Failed) => Err(Refusal::STORE_FAILED),
            (Record::Stands { .. } | Record::Done(_) | Record::Unscheduled(_), _)
            | (Record::Policy { policy: None, .. }, _)
            | (Record::Function { limits: [None, None, None], pinned: false, .. }, _) => Ok(size),
            _ if size > LARGEST => Err(Refusal::FRAME_TOO_LARGE),
            (_, Fault::None) => Ok(size),
            (_, Fault::Full) => Err(Refusal::DISK_FULL),
        }
    }

    /// Wakes the store's thread.
    pub fn signal(&self) {
        self.gathered.notify_one();
    }

    /// Up to where the log is safe.
    pub fn durable(&self) -> RecordNo {
        RecordNo(self.durable.load(Ordering::Acquire))
    }

    /// Whether the log will never be safe up to `record`.
    pub fn is_lost(&self, record: RecordNo) -> bool {
        self.fault() == Fault::Failed && record > self.durable()
    }

    /// Has this outbox told when the log is safe up to `record`.
    pub fn wait_for(&self, record: RecordNo, outbox: &Arc<Outbox>) -> Wait {
        let mut pending = self.lock();
        // Under the lock: whoever publishes looks for waiting outboxes under it afterwards.
        if self.durable() >= record {
            return Wait::Over;
        }
        if self.fault() == Fault::Failed {
            return Wait::Never;
        }
        pending.waiting.push((record, Arc::clone(outbox)));
        Wait::Noted
    }

    /// Whether no more has gathered than may be.
    pub fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) <= MOST_BYTES || self.fault() == Fault::Failed
    }

    /// Waits until it is so.
    pub async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Whether kept jobs are taken, and if not, why.
    pub fn readiness(&self) -> Result<(), Refusal> {
        match self.fault() {
            Fault::None => Ok(()),
            Fault::Full => Err(Refusal::DISK_FULL),
            Fault::Failed => Err(Refusal::STORE_FAILED),
        }
    }

    /// Tells the store's thread to end once all that has gathered is safe.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.gathered.notify_one();
    }

    /// All that was pushed since the last call, if anything was.
    pub fn gathered(&self) -> Option<Batch> {
        let mut pending = self.lock();
        let records = std::mem::take(&mut pending.batch);
        (!records.is_empty()).then_some(Batch { records, last: pending.last })
    }

    pub fn is_empty(&self) -> bool {
        self.lock().batch.is_empty()
    }

    pub fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    pub fn is_full(&self) -> bool {
        self.fault() == Fault::Full
    }

    /// Blocks until something was pushed or the log was closed.
    pub fn wait_for_records(&self) {
        let pending = self.lock();
        drop(self.gathered.wait_while(pending, |pending| pending.is_idle()));
    }

    /// The same, but not for longer than this.
    pub fn wait_for_records_until(&self, limit: Duration) {
        let pending = self.lock();
        drop(self.gathered.wait_timeout_while(pending, limit, |pending| pending.is_idle()));
    }

    /// The disk is full: what was acknowledged can end, and nothing new is taken.
    pub fn note_full(&self, what: impl Display) {
        if self.fault.swap(Fault::Full as u8, Ordering::Relaxed) != Fault::Full as u8 {
            tracing::error!("{what}");
        }
    }

    /// The disk has room again.
    pub fn note_room(&self) {
        self.fault.store(Fault::None as u8, Ordering::Relaxed);
        tracing::info!("the disk has room again: background jobs are accepted");
    }

    /// A batch is safe: tells who waited for it.
    pub fn publish(&self, batch: &Batch) {
        self.durable.store(batch.last, Ordering::Release);
        let size: usize = batch.records.iter().map(size_of).sum();
        self.written.note(batch.records.len(), size);
        let before = self.bytes.fetch_sub(size, Ordering::Relaxed);
        if before > MOST_BYTES {
            self.room.notify_waiters();
        }
        let told: Vec<_> = self.lock().waiting.extract_if(.., |(record, _)| record.0 <= batch.last).collect();
        for (_, outbox) in told {
            outbox.tell();
        }
    }

    /// After an error it is not known what is on the disk: nothing that waits is acknowledged any more.
    pub fn fail(&self, error: &StoreError) {
        tracing::error!("{error}");
        self.fault.store(Fault::Failed as u8, Ordering::Relaxed);
        let waiting = std::mem::take(&mut self.lock().waiting);
        for (_, outbox) in waiting {
            outbox.entry().end(End::Cut("the store failed before an answer was safe"));
        }
        self.room.notify_waiters();
    }

    /// So long it took to make a batch safe.
    pub fn note_sync(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.written.syncing.fetch_add(micros, Ordering::Relaxed);
    }

    /// What the store is doing and has done.
    pub fn facts(&self) -> StoreFacts {
        let written = &self.written;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StoreFacts {
            state: match self.fault() {
                Fault::None => StoreState::Ready,
                Fault::Full => StoreState::Full,
                Fault::Failed => StoreState::Failed,
            },
            batches: load(&written.batches),
            records: load(&written.records),
            bytes: load(&written.bytes),
            groups: std::array::from_fn(|index| load(&written.groups[index])),
            syncing: load(&written.syncing),
            backlog: self.bytes.load(Ordering::Relaxed) as u64,
        }
    }

    fn fault(&self) -> Fault {
        match self.fault.load(Ordering::Relaxed) {
            0 => Fault::None,
            1 => Fault::Full,
            _ => Fault::Failed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn note(&self, records: usize, bytes: usize) {
        let add = |count: &AtomicU64, more: u64| count.fetch_add(more, Ordering::Relaxed);
        add(&self.batches, 1);
        add(&self.records, records as u64);
        add(&self.bytes, bytes as u64);
        let over = records.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
        add(&self.groups[over.min(StoreFacts::GROUPS - 1)], 1);
    }
}

impl Pending {
    fn is_idle(&self) -> bool {
        self.batch.is_empty() && !self.is_closing
    }
}

/// What a record is accounted with beside its body.
const RECORD: usize = std::mem::size_of::<Record<'static>>();

fn size_of(record: &Record<'_>) -> usize {
    RECORD
        + match record {
            Record::Queued { spec, .. } | Record::Scheduled { spec, .. } => spec.len(),
            Record::Function { name, .. } => name.len(),
            Record::Result { body, .. } => body.len(),
            Record::Policy { pattern, .. } => pattern.len(),
            Record::Stands { .. } | Record::Done(_) | Record::Unscheduled(_) => 0,
        }
}
