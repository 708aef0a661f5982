//! What a restart needs to know, and nothing else.

use std::borrow::Cow;

use crate::protocol::{MaxQueue, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// One entry of the log. Borrows what it tells of when the engine emits it; [`Record::into_owned`] makes it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A job that must survive: submitted in the background, or joined by a background submit.
    Queued {
        /// The job's number.
        id: JobId,
        /// All but its body.
        standing: Standing,
        /// Function, unique id, reducer and payload.
        spec: Cow<'a, Spec>,
    },
    /// A worker lost a surviving job, and it stands elsewhere in its queue now.
    Lost {
        /// The job's number.
        id: JobId,
        /// Where it stands now.
        standing: Standing,
    },
    /// A surviving job came to its end.
    Done(JobId),
    /// A recurring job was made or replaced.
    Scheduled {
        /// The number in its handle.
        id: JobId,
        /// Its five cron fields.
        fields: Cow<'a, str>,
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
}

/// Where a surviving job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its priority.
    pub priority: Priority,
    /// Not to be run before this time, if any was given.
    pub due: Option<Timestamp>,
    /// How often a worker lost it.
    pub losses: u32,
    /// Its place among the jobs of its priority.
    pub place: u64,
}

impl Record<'_> {
    /// The same, owning what it tells of. Large bodies are shared, not copied.
    pub fn into_owned(self) -> Record<'static> {
        match self {
            Record::Queued { id, standing, spec } => {
                Record::Queued { id, standing, spec: Cow::Owned(spec.to_kept()) }
            }
            Record::Lost { id, standing } => Record::Lost { id, standing },
            Record::Done(id) => Record::Done(id),
            Record::Scheduled { id, fields, spec } => Record::Scheduled {
                id,
                fields: Cow::Owned(fields.into_owned()),
                spec: Cow::Owned(spec.into_owned()),
            },
            Record::Unscheduled(id) => Record::Unscheduled(id),
            Record::Function { name, limits, pinned } => {
                Record::Function { name: Cow::Owned(name.into_owned()), limits, pinned }
            }
        }
    }
}
