//! What happened to a job, for those who watch and for its log.
//!
//! What a job's own fields tell is not said unless someone watches: that it was submitted, handed out, and succeeded.

use bytes::Bytes;

use super::{Outcome, Reason};
use crate::protocol::StatusNumbers;
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
    /// What was kept of it is gone.
    Retired,
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
