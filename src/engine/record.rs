//! What a restart needs to know, and nothing else.

use std::borrow::Cow;

use bytes::Bytes;

use crate::policy::{Plan, Policy, Terms};
use crate::protocol::{MaxQueue, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// One entry of the log. Borrows what it tells of when the engine emits it; [`Record::into_owned`] makes it last.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// A job that must survive: submitted in the background, or joined by a background submit.
    Queued {
        /// The job's number.
        id: JobId,
        /// All but its body.
        standing: Standing,
        /// Function, unique id, reducer and payload.
        spec: Cow<'a, Spec>,
        /// What its submit asked for beyond the protocol, if anything.
        terms: Option<Box<Terms>>,
    },
    /// Something happened to a surviving job: it was handed out, lost, held, came to an end and is kept, …
    Stands {
        /// The job's number.
        id: JobId,
        /// How it stands now.
        standing: Standing,
    },
    /// What the worker said at the end of a surviving job that is kept after it. Comes before the record of the end.
    Result {
        /// The job's number.
        id: JobId,
        /// The body of WORK_COMPLETE, WORK_EXCEPTION or WORK_FAIL after the handle.
        body: Bytes,
    },
    /// A surviving job is gone for good, with its result.
    Done(JobId),
    /// A recurring job was made or replaced.
    Scheduled {
        /// The number in its handle.
        id: JobId,
        /// When it is submitted.
        plan: Cow<'a, Plan>,
        /// What is submitted each time.
        spec: Cow<'a, Spec>,
    },
    /// A recurring job was cancelled.
    Unscheduled(JobId),
    /// What an operator decided about a function; neither limits nor pinned: nothing any more.
    Function {
        /// The function's name.
        name: Cow<'a, [u8]>,
        /// Its queue limits.
        limits: MaxQueue,
        /// Made by `create function`.
        pinned: bool,
    },
    /// What an operator decided about the functions that a pattern fits; `None`: nothing any more.
    Policy {
        /// A function's name, or a pattern with `*`.
        pattern: Cow<'a, str>,
        /// The rules.
        policy: Option<Box<Policy>>,
    },
}

/// How a surviving job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its priority.
    pub priority: Priority,
    /// Where it is in its life.
    pub phase: Phase,
    /// Not to be run before this time, if any was given.
    pub due: Option<Timestamp>,
    /// How often it was handed out.
    pub attempts: u32,
    /// How often a worker lost it.
    pub losses: u32,
    /// Its place among the jobs of its priority.
    pub place: u64,
    /// When it was submitted; zero if that was never written down.
    pub submitted: Timestamp,
    /// When it was first handed out.
    pub first_start: Option<Timestamp>,
    /// When it was handed out last.
    pub last_start: Option<Timestamp>,
}

/// Where a job is in its life, as far as it must survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It waits: for its time, if it is not due, or for a worker.
    #[default]
    Waiting,
    /// It waits until an operator releases it.
    Held,
    /// A worker has it. If this is what a start finds, the worker lost it.
    Running,
    /// A worker has it, and it was cancelled meanwhile.
    Cancelling,
    /// It is over and kept for a while.
    Over {
        /// How it ended.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its worker said WORK_COMPLETE.
    Succeeded,
    /// An operator, or the text command `cancel job`, ended it.
    Cancelled,
    /// Any other way.
    Failed(Reason),
}

/// Why an attempt, or a job that was never attempted, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The worker said WORK_FAIL.
    Failed,
    /// The worker said WORK_EXCEPTION.
    Exception,
    /// It ran longer than it may.
    TimedOut,
    /// The worker vanished.
    Lost,
    /// The worker said nothing for too long.
    LeaseExpired,
    /// It waited longer than it may.
    Expired,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Reason; 6] = [
        Reason::Failed,
        Reason::Exception,
        Reason::TimedOut,
        Reason::Lost,
        Reason::LeaseExpired,
        Reason::Expired,
    ];

    /// Its name, as users see it.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Failed => "failed",
            Reason::Exception => "exception",
            Reason::TimedOut => "timed_out",
            Reason::Lost => "lost",
            Reason::LeaseExpired => "lease_expired",
            Reason::Expired => "expired",
        }
    }
}

impl Standing {
    /// A job that was just submitted.
    pub fn new(id: JobId, priority: Priority, due: Option<Timestamp>, submitted: Timestamp) -> Self {
        Self {
            priority,
            phase: Phase::Waiting,
            due,
            attempts: 0,
            losses: 0,
            place: id.0,
            submitted,
            first_start: None,
            last_start: None,
        }
    }
}

impl Record<'_> {
    /// The same, owning what it tells of. Large bodies are shared, not copied.
    pub fn into_owned(self) -> Record<'static> {
        match self {
            Record::Queued { id, standing, spec, terms } => {
                Record::Queued { id, standing, spec: Cow::Owned(spec.to_kept()), terms }
            }
            Record::Stands { id, standing } => Record::Stands { id, standing },
            Record::Result { id, body } => Record::Result { id, body },
            Record::Done(id) => Record::Done(id),
            Record::Scheduled { id, plan, spec } => Record::Scheduled {
                id,
                plan: Cow::Owned(plan.into_owned()),
                spec: Cow::Owned(spec.into_owned()),
            },
            Record::Unscheduled(id) => Record::Unscheduled(id),
            Record::Function { name, limits, pinned } => {
                Record::Function { name: Cow::Owned(name.into_owned()), limits, pinned }
            }
            Record::Policy { pattern, policy } => {
                Record::Policy { pattern: Cow::Owned(pattern.into_owned()), policy }
            }
        }
    }
}
