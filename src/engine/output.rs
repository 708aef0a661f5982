//! What the engine may do to the world.

use crate::protocol::Response;
use crate::types::{ConnId, RecordNo};

use super::Record;

/// The engine's only way out. Calls arrive in the order in which things happened, and delivery must keep it:
/// libraries pair answers with requests by their position on the connection.
pub trait Output {
    /// Notes what a restart needs; the number returned is the place in the log.
    fn persist(&mut self, record: Record<'_>) -> RecordNo;

    /// Sends an answer, not before the log is safe up to `after`, and not before what was sent earlier to the
    /// same connection.
    fn send(&mut self, to: ConnId, after: RecordNo, response: Response<'_>);

    /// Ends a connection, once what was sent to it has left.
    fn close(&mut self, conn: ConnId, reason: &'static str);

    /// Asks for the server's end, on behalf of the text command `shutdown`.
    fn shutdown(&mut self, drain: Drain);
}

/// How much is still done before the server ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drain {
    /// Running jobs may finish; nothing is handed out.
    Running,
    /// Queued jobs are still handed out, until none is left.
    Queued,
}
