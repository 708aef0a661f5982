//! Carries what the engine emits into outboxes, and remembers whom to wake once the lock is free.

use std::sync::Arc;

use super::directory::Directory;
use crate::engine::{Drain, Output, Record};
use crate::outbox::{End, Outbox};
use crate::protocol::Response;
use crate::types::{ConnId, RecordNo};

/// One batch's deliveries.
pub struct Delivery<'a> {
    directory: &'a Directory,
    /// The connection whose task runs this; it needs no look-up and no wake-up.
    own: Option<(ConnId, &'a Outbox)>,
    to_tell: Vec<Arc<Outbox>>,
    shutdown: Option<Drain>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(directory: &'a Directory, own: Option<(ConnId, &'a Outbox)>) -> Self {
        Self { directory, own, to_tell: Vec::new(), shutdown: None }
    }

    /// Wakes who got something. Returns whether the server's end was asked for.
    pub(super) fn finish(self) -> Option<Drain> {
        for outbox in self.to_tell {
            outbox.tell();
        }
        self.shutdown
    }
}

impl Output for Delivery<'_> {
    /// Nothing is kept beyond the process: every record is as safe as it will be.
    fn persist(&mut self, _record: Record<'_>) -> RecordNo {
        RecordNo::NONE
    }

    fn send(&mut self, to: ConnId, after: RecordNo, response: Response<'_>) {
        if let Some((own, outbox)) = self.own
            && own == to
        {
            outbox.push(after, RecordNo::NONE, &response);
            return;
        }
        // Under the lock: a worker on another core could otherwise answer before JOB_CREATED is in the line.
        let Some(outbox) = self.directory.get(to) else { return };
        if outbox.push(after, RecordNo::NONE, &response) {
            self.to_tell.push(outbox);
        }
    }

    fn close(&mut self, conn: ConnId, reason: &'static str) {
        if let Some(outbox) = self.directory.get(conn) {
            outbox.end(End::Close(reason));
        }
    }

    fn shutdown(&mut self, drain: Drain) {
        self.shutdown = Some(drain);
    }
}
