//! What survives the process. Knows records, not what jobs mean.
//!
//! A store is a log folded to what is alive: it takes batches of [`Record`]s, each batch whole or not at all, and gives
//! back the policies, functions, jobs and recurring jobs that they amount to. It is driven by one thread and may block.

pub mod conformance;
mod error;
pub mod lines;
pub mod memory;
pub mod sqlite;

pub use self::error::StoreError;

use bytes::Bytes;

use crate::engine::Record;
use crate::types::JobId;

/// Where records are kept. [`conformance`] is a suite of what is promised here.
pub trait Store: Send {
    /// Passes on all that is kept, each thing once: first policies; then functions; jobs in the order of their numbers,
    /// as [`Record::Queued`] with how they stand now, also those that are over and kept; recurring jobs. A job's payload
    /// need not be at hand, unless its unique id is `-`; its result is not passed on.
    ///
    /// Returns the first number that was never given out, nor will be by an earlier process. Called once, before the
    /// first [`Store::append`].
    ///
    /// # Errors
    /// What is kept cannot be trusted; see [`StoreError`].
    fn replay(&mut self, each: &mut dyn FnMut(Record<'static>)) -> Result<JobId, StoreError>;

    /// Keeps a batch, whose records count in their order. When this returns, a crash of the machine can no longer lose it.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing of the batch is kept, and it may be tried again. Any other: it is not known what
    /// is kept, and the store must not be used again.
    fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError>;

    /// After [`StoreError::Full`]: gives up space that was set aside, so that what was acknowledged can end and what
    /// was gathered can be kept. Whether there was any.
    fn use_reserve(&mut self) -> bool;

    /// Sets that space aside again; whether there is room for it, and so for new jobs.
    fn refill_reserve(&mut self) -> bool;

    /// Does a bounded piece of housekeeping; called when nothing else is to be done. Whether there is more.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn tidy(&mut self) -> Result<bool, StoreError>;

    /// A reader of payloads and results, for another thread.
    ///
    /// # Errors
    /// The reader cannot be opened.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// Reads the payloads and results of jobs that a [`Store`] keeps, while it is written to.
pub trait Reader: Send {
    /// Passes on the whole body of each job, once: `None` if it is unknown or cannot be trusted, which is reported by
    /// the reader. What was kept before the call is found. A job that is gone for good may be found or not, until
    /// [`Store::tidy`] says that there is no more to do.
    ///
    /// # Errors
    /// Nothing can be read.
    fn read(&mut self, jobs: &[JobId], each: &mut dyn FnMut(JobId, Option<Bytes>)) -> Result<(), StoreError>;

    /// What the worker said at the end of a job that is kept after it: `None` if that was never written. What was kept
    /// before the call is found, the newest if there were more.
    ///
    /// # Errors
    /// What was written cannot be trusted, or nothing can be read.
    fn read_result(&mut self, job: JobId) -> Result<Option<Bytes>, StoreError>;
}
