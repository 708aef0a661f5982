//! What a restart needs to know, and nothing else.

use crate::protocol::Spec;
use crate::types::{JobId, Priority, Timestamp};

/// One entry of the log, borrowing what it tells of.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// A job that must survive: submitted in the background, or joined by a background submit.
    Queued {
        /// The job's number.
        id: JobId,
        /// Its priority.
        priority: Priority,
        /// Not to be run before this time, if any was given.
        due: Option<Timestamp>,
        /// Function, unique id, reducer and payload.
        spec: &'a Spec,
    },
    /// A surviving job came to its end.
    Done(JobId),
    /// A recurring job was made or replaced; its cron fields are in the body of its spec.
    Scheduled {
        /// The number in its handle.
        id: JobId,
        /// What is submitted each time.
        spec: &'a Spec,
    },
    /// A recurring job was cancelled.
    Unscheduled(JobId),
}
