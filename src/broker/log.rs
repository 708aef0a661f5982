//! Group commit without a clock: while one batch is being made safe, the next one gathers.
//!
//! The engine's records are pushed under its lock, in its order. The store's own thread swaps out all that has
//! gathered, appends it, publishes how far the log is safe, and tells the connections whose answers waited for that.

use std::fmt::Display;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::Record;
use crate::outbox::{End, Outbox};
use crate::protocol::Refusal;
use crate::store::{Store, StoreError};
use crate::types::RecordNo;

/// Bytes that may gather before connections stop reading.
const MOST_BYTES: usize = 64 << 20;

/// Largest body of a job that can be kept: what SQLite takes in a row, less a little.
const LARGEST: usize = 900_000_000;

/// How often a full disk is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// The log's buffer and state, shared by the broker and the store's thread.
#[derive(Debug)]
pub(super) struct Log {
    pending: Mutex<Pending>,
    gathered: Condvar,
    durable: AtomicU64,
    bytes: AtomicUsize,
    fault: AtomicU8,
    room: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    last: u64,
    batch: Vec<Record<'static>>,
    waiting: Vec<(RecordNo, Arc<Outbox>)>,
    is_closing: bool,
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
        }
    }

    /// Takes a record. The caller calls [`Log::signal`] when it has let go of its locks.
    pub fn push(&self, record: Record<'_>) -> Result<RecordNo, Refusal> {
        let size = self.admit(&record)?;
        if self.fault() == Fault::Failed {
            // An end that nothing will write: the job runs again after the next start.
            return Ok(RecordNo::NONE);
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        let mut pending = self.lock();
        pending.last += 1;
        pending.batch.push(record.into_owned());
        Ok(RecordNo(pending.last))
    }

    /// Bytes of a record that may be taken. Ends always are.
    fn admit(&self, record: &Record<'_>) -> Result<usize, Refusal> {
        let size = size_of(record);
        match (record, self.fault()) {
            (Record::Lost { .. } | Record::Done(_) | Record::Unscheduled(_), _)
            | (Record::Function { limits: [None, None, None], pinned: false, .. }, _) => Ok(size),
            _ if size > LARGEST => Err(Refusal::FRAME_TOO_LARGE),
            (_, Fault::None) => Ok(size),
            (_, Fault::Full) => Err(Refusal::DISK_FULL),
            (_, Fault::Failed) => Err(Refusal::STORE_FAILED),
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

    /// Waits until no more has gathered than may be.
    pub async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.bytes.load(Ordering::Relaxed) <= MOST_BYTES || self.fault() == Fault::Failed {
                return;
            }
            room.await;
        }
    }

    /// Whether kept jobs are taken.
    pub fn is_healthy(&self) -> bool {
        self.fault() == Fault::None
    }

    /// Tells the store's thread to end once all that has gathered is safe.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.gathered.notify_one();
    }

    /// The store's thread.
    pub fn commit_all(&self, mut store: Box<dyn Store>) {
        if !store.refill_reserve() {
            self.note_full("there is no room on the disk: background jobs are refused until there is");
        }
        let mut untidy = true;
        loop {
            match self.next_batch(&mut *store, &mut untidy) {
                Ok(Some((batch, last))) => {
                    if let Err(error) = self.commit(&mut *store, &batch) {
                        return self.fail(&error);
                    }
                    self.publish(last, &batch);
                    untidy = true;
                }
                Ok(None) => return,
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// All that has gathered, as soon as there is something; tidies meanwhile. `None` when the log was closed.
    fn next_batch(&self, store: &mut dyn Store, untidy: &mut bool) -> Result<Option<Batch>, StoreError> {
        let mut pending = self.lock();
        loop {
            if !pending.batch.is_empty() {
                return Ok(Some((std::mem::take(&mut pending.batch), pending.last)));
            }
            if pending.is_closing {
                return Ok(None);
            }
            if self.fault() == Fault::Full {
                drop(pending);
                self.try_to_recover(store);
                pending = self.lock();
                if pending.batch.is_empty() && self.fault() == Fault::Full {
                    pending = self
                        .gathered
                        .wait_timeout(pending, TRY_AGAIN)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            } else if *untidy {
                drop(pending);
                *untidy = match store.tidy() {
                    Err(StoreError::Full { .. }) => false,
                    tidied => tidied?,
                };
                pending = self.lock();
            } else {
                pending = self.gathered.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Makes a batch safe, however long the disk stays full, unless the server ends meanwhile.
    fn commit(&self, store: &mut dyn Store, batch: &[Record<'static>]) -> Result<(), StoreError> {
        loop {
            match store.append(batch) {
                Err(error @ StoreError::Full { .. }) => {
                    self.note_full(&error);
                    if !store.use_reserve() {
                        if self.lock().is_closing {
                            return Err(error);
                        }
                        std::thread::sleep(TRY_AGAIN);
                    }
                }
                appended => return appended,
            }
        }
    }

    fn note_full(&self, what: impl Display) {
        if self.fault.swap(Fault::Full as u8, Ordering::Relaxed) != Fault::Full as u8 {
            tracing::error!("{what}");
        }
    }

    fn try_to_recover(&self, store: &mut dyn Store) {
        if store.refill_reserve() {
            self.fault.store(Fault::None as u8, Ordering::Relaxed);
            tracing::info!("the disk has room again: background jobs are accepted");
        }
    }

    fn publish(&self, last: u64, batch: &[Record<'static>]) {
        self.durable.store(last, Ordering::Release);
        let size: usize = batch.iter().map(size_of).sum();
        let before = self.bytes.fetch_sub(size, Ordering::Relaxed);
        if before > MOST_BYTES {
            self.room.notify_waiters();
        }
        let told: Vec<_> = self.lock().waiting.extract_if(.., |(record, _)| record.0 <= last).collect();
        for (_, outbox) in told {
            outbox.tell();
        }
    }

    /// After an error it is not known what is on the disk: nothing that waits is acknowledged any more.
    fn fail(&self, error: &StoreError) {
        tracing::error!("{error}");
        self.fault.store(Fault::Failed as u8, Ordering::Relaxed);
        let waiting = std::mem::take(&mut self.lock().waiting);
        for (_, outbox) in waiting {
            outbox.end(End::Cut("the store failed before an answer was safe"));
        }
        self.room.notify_waiters();
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

/// Records and the number of the last of them.
type Batch = (Vec<Record<'static>>, u64);

/// What a record is accounted with beside its body.
const RECORD: usize = 64;

fn size_of(record: &Record<'_>) -> usize {
    RECORD
        + match record {
            Record::Queued { spec, .. } | Record::Scheduled { spec, .. } => spec.len(),
            Record::Function { name, .. } => name.len(),
            Record::Lost { .. } | Record::Done(_) | Record::Unscheduled(_) => 0,
        }
}
