//! What the engine holds, for who only looks: plain rows, copied out under a short lock and told without it.
//!
//! Nothing here changes anything. No call walks more than it was allowed to: lists go on from a key, and each tells how
//! many entries it looked at.

mod connections;
mod functions;
mod jobs;
mod schedules;
mod search;

use super::{Drain, Engine, Waiting};
use crate::protocol::Handle;
use crate::types::{JobId, Pattern};

pub use self::connections::{ConnectionFilter, ConnectionRow};
pub use self::functions::FunctionRow;
pub use self::jobs::{JobRow, JobState, Payload, WorkerRef};
pub use self::schedules::ScheduleRow;
pub use self::search::{Found, Has, JobCursor, JobFilter};

/// How much one call may do under the lock.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Entries that it may look at.
    pub looks: usize,
    /// Rows that it may give.
    pub rows: usize,
}

/// A piece of a list.
#[derive(Clone, Debug)]
pub struct Piece<R, C> {
    /// Those of the entries looked at that were asked for.
    pub rows: Vec<R>,
    /// Entries that were looked at.
    pub looked: usize,
    /// Where the list goes on; `None`: it is at its end.
    pub next: Option<C>,
}

/// Whether a function may be seen by who may see these; none: all.
pub fn is_visible(visible: &[Pattern], function: &[u8]) -> bool {
    visible.is_empty() || visible.iter().any(|pattern| pattern.matches(function))
}

/// Counts over everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Jobs that are not over.
    pub jobs: usize,
    /// Those that a worker has.
    pub running: usize,
    /// Those that wait.
    pub waiting: Waiting,
    /// Connections that can do something.
    pub workers: usize,
    /// Those whose payloads are on disk only.
    pub on_disk_only: usize,
    /// Unique ids that a live job has.
    pub uniques: usize,
    /// Functions.
    pub functions: usize,
    /// Recurring jobs.
    pub schedules: usize,
    /// Bytes of memory that jobs are accounted with.
    pub job_bytes: u64,
    /// Bytes of memory that functions are accounted with.
    pub function_bytes: u64,
    /// Most bytes that jobs may be accounted with.
    pub max_job_bytes: u64,
    /// Most jobs that may wait, over all functions.
    pub max_waiting: Option<u64>,
    /// Most bytes of payload that may.
    pub max_waiting_bytes: Option<u64>,
    /// The end has begun, of this kind.
    pub draining: Option<Drain>,
}

impl Engine {
    /// Counts over everything.
    pub fn totals(&self) -> Totals {
        Totals {
            jobs: self.jobs.len() - self.over.len(),
            waiting: self.waiting(),
            running: self.running,
            workers: self.workers,
            on_disk_only: self.usage.evicted,
            uniques: self.uniques.len(),
            functions: self.functions.len(),
            schedules: self.schedules.len(),
            job_bytes: self.usage.bytes,
            function_bytes: self.functions.memory(),
            max_job_bytes: self.settings.max_memory,
            max_waiting: self.settings.max_waiting,
            max_waiting_bytes: self.settings.max_waiting_bytes,
            draining: self.draining,
        }
    }

    /// The number in this handle, whether there is such a job or not.
    pub fn parse_handle(&self, handle: &[u8]) -> Option<JobId> {
        Handle::parse(&self.settings.handle_prefix, handle)
    }

    /// What stands before the number in every handle, and a colon between.
    pub fn handle_prefix(&self) -> &str {
        &self.settings.handle_prefix
    }

    /// The handle of a job with this number.
    pub fn handle_of(&self, id: JobId) -> String {
        self.handle(id).to_string()
    }
}
