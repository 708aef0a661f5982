//! What the engine may do to the world.

use bytes::Bytes;

use crate::protocol::{Refusal, Response};
use crate::types::{ConnId, IpAddr, JobId, RecordNo, Timestamp};

use super::{Note, Record};

/// The engine's only way out. Calls arrive in the order in which things happened, and delivery must keep it:
/// libraries pair answers with requests by their position on the connection.
pub trait Output {
    /// Notes what a restart needs; the number returned is the place in the log.
    ///
    /// # Errors
    /// The log takes nothing new; what would have to be kept must be refused with this. Ends are taken as long as the
    /// store works at all, also while it has no room for anything else.
    fn persist(&mut self, record: Record<'_>) -> Result<RecordNo, Refusal>;

    /// Whether records are kept anywhere; if not, those that no one waits for need not be made.
    fn keeps(&self) -> bool {
        true
    }

    /// The number of the last record that was taken: what was done so far is safe when the log is, up to it.
    fn position(&self) -> RecordNo {
        RecordNo::NONE
    }

    /// Whether the log will never be safe up to `record`, because its store failed.
    fn is_lost(&self, _record: RecordNo) -> bool {
        false
    }

    /// Whether the log takes new jobs, and if not, what their clients are told.
    ///
    /// # Errors
    /// What [`Output::persist`] would refuse a new job with.
    fn readiness(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Sends an answer, not before the log is safe up to `after`, and not before what was sent earlier to the
    /// same connection.
    fn send(&mut self, to: ConnId, after: RecordNo, response: Response<'_>);

    /// Keeps the place of an answer that cannot be given yet, since its job's payload is on disk only. What is sent
    /// later to the same connection stays behind it until [`Output::fill`].
    fn hold(&mut self, to: ConnId, after: RecordNo, job: JobId);

    /// Gives the answer whose place was kept.
    fn fill(&mut self, to: ConnId, job: JobId, response: Response<'_>);

    /// Asks for what is on disk only; [`super::Engine::loaded`] or [`super::Engine::result_loaded`] brings it.
    fn load(&mut self, what: Load);

    /// Takes a body that is needed no more. To give the memory of a large one back takes long, and can be done later.
    fn discard(&mut self, _body: Bytes) {}

    /// Whether someone wants to know of all that happens to jobs, not only of what their logs need.
    fn is_watched(&self) -> bool {
        false
    }

    /// Tells what happened to a job, for its log and those who watch.
    fn note(&mut self, _note: Note) {}

    /// Tells what a text command changed, for the audit.
    fn audit(&mut self, _deed: Deed) {}

    /// Ends a connection, once what was sent to it has left.
    fn close(&mut self, conn: ConnId, reason: &'static str);

    /// Asks for the server's end, on behalf of the text command `shutdown`.
    fn shutdown(&mut self, drain: Drain);
}

/// What a text command changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// Where the command came from.
    pub address: IpAddr,
    /// The command.
    pub action: &'static str,
    /// What it named, and to what that was set.
    pub target: String,
}

/// What of a job is on disk only and needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Load {
    /// Its payload.
    Payload(JobId),
    /// What its worker said at the end.
    Result(JobId),
}

/// How much is still done before the server ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drain {
    /// Running jobs may finish; nothing is handed out.
    Running,
    /// Queued jobs are still handed out, until none is left.
    Queued,
}
