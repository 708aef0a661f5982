//! What happened to a job, for those who watch and for its log.
//!
//! What a job's own fields tell is not said unless someone watches: that it was submitted, handed out, and succeeded.

use bytes::Bytes;

use super::{Outcome, Reason};
use crate::protocol::StatusNumbers;
use crate::trace_context::TraceContext;
use crate::types::{JobId, Priority, Timestamp};

/// One thing that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// To which job.
    pub job: JobId,
    /// Its function.
    pub function: Bytes,
    /// Whether the job outlives the process.
    pub kept: bool,
    /// What.
    pub what: What,
    /// The job as a whole, if this is its end and someone watches.
    pub life: Option<Box<Life>>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It was submitted. Said only if someone watches.
    Submitted,
    /// A worker was handed it. Said only if someone watches.
    Started {
        /// Which attempt, from 1.
        attempt: u32,
        /// The worker.
        worker: Worker,
    },
    /// Its worker said how far it is.
    Progress(StatusNumbers),
    /// Its worker sent WORK_DATA; the last part of it, if it is long.
    Data(Bytes),
    /// Its worker sent WORK_WARNING; the last part of it, if it is long.
    Warning(Bytes),
    /// An attempt came to nothing.
    AttemptEnded {
        /// Which attempt, from 1.
        attempt: u32,
        /// When it began.
        started: Timestamp,
        /// Why it ended.
        reason: Reason,
        /// The worker.
        worker: Worker,
        /// When it is tried again; `None`: it is not.
        again: Option<Timestamp>,
    },
    /// An operator took it out of the line.
    Held,
    /// An operator put it back.
    Released,
    /// An operator gave it another priority.
    Priority(Priority),
    /// An operator had it tried again, or at once.
    Retried,
    /// An operator cancelled it while its worker has it.
    Cancelling,
    /// It ended. That it succeeded is said only if someone watches.
    Ended(Outcome),
    /// It is gone unfinished: it was in memory only, and the last client that waited for it left. Said only if someone
    /// watches.
    Dropped,
    /// What was kept of it is gone.
    Retired,
}

/// A job as it was when it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Its unique id; empty if it has none.
    pub unique: Bytes,
    /// Its priority.
    pub priority: Priority,
    /// When it was submitted; zero if an older version did not write it down.
    pub submitted: Timestamp,
    /// How often it was handed out.
    pub attempts: u32,
    /// When the worker that has it took it, and which one; `None`: no worker has it.
    pub run: Option<(Timestamp, Worker)>,
    /// The trace that it is part of, as its submit told.
    pub trace: Option<Box<TraceContext>>,
}

/// A worker, as it was at the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// The number of its connection.
    pub conn: u64,
    /// Where it connected from.
    pub address: String,
    /// As SET_CLIENT_ID gave it; empty if it never did.
    pub client_id: String,
}
