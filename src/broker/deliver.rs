//! Carries what the engine emits into outboxes and the log, and remembers whom to wake once the lock is free.

use std::sync::Arc;

use bytes::Bytes;

use super::{Broker, turn};
use crate::engine::{Deed, Drain, Load, Note, Output, Record};
use crate::outbox::{End, Entry, Outbox};
use crate::protocol::{LARGE, Refusal, Response};
use crate::types::{ConnId, JobId, RecordNo};

/// One batch's deliveries.
pub(super) struct Delivery<'a> {
    broker: &'a Broker,
    /// The connection whose task runs this; it needs no look-up.
    own: Option<(ConnId, &'a Arc<Outbox>)>,
    /// Its line: most of a batch's answers go there, so it stays open once it is.
    own_entry: Option<Entry<'a>>,
    /// Another that was sent something: often the same many times in a row.
    other: Option<(ConnId, Arc<Outbox>)>,
    /// What few batches bring.
    rare: Option<Box<Rare>>,
    has_persisted: bool,
    shutdown: Option<Drain>,
}

/// What few batches bring, seen to when the lock is free.
#[derive(Default)]
struct Rare {
    to_load: Vec<Load>,
    /// Large ones: their memory may be given back to the system, page by page.
    discarded: Vec<Bytes>,
    notes: Vec<Note>,
    deeds: Vec<Deed>,
}

impl<'a> Delivery<'a> {
    pub fn new(broker: &'a Broker, own: Option<(ConnId, &'a Arc<Outbox>)>) -> Self {
        Self { broker, own, own_entry: None, other: None, rare: None, has_persisted: false, shutdown: None }
    }

    /// Sees to it that what was put into outboxes leaves, and wakes the store's threads. Returns whether the server's end was asked for.
    pub fn finish(mut self) -> Option<Drain> {
        self.own_entry = None;
        turn::end_batch();
        if let Some(storage) = &self.broker.storage
            && self.has_persisted
        {
            storage.log.signal();
        }
        if let Some(rare) = self.rare {
            let Rare { to_load, discarded, notes, deeds } = *rare;
            if let Some(storage) = self.broker.storage.as_ref().filter(|_| !to_load.is_empty()) {
                storage.load(to_load);
            }
            self.broker.feed.publish(notes);
            self.broker.feed.audit(deeds);
            drop(discarded);
        }
        self.shutdown
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Changes the line of a connection, if it is still there; `change` says whether it must be attended to.
    ///
    /// Under the engine's lock, since a worker on another core could otherwise answer before JOB_CREATED is in the line.
    /// Only who has that lock opens two lines at once, and none is opened under the log's lock.
    fn with_entry(&mut self, conn: ConnId, change: impl FnOnce(&mut Entry<'_>) -> bool) {
        if let Some((own, outbox)) = self.own
            && own == conn
        {
            if change(self.own_entry.get_or_insert_with(|| outbox.entry())) {
                turn::note(outbox.clone());
            }
            return;
        }
        let is_known = self.other.as_ref().is_some_and(|(other, _)| *other == conn);
        if !is_known {
            self.other = self.broker.directory.get(conn).map(|outbox| (conn, outbox));
        }
        let Some((_, outbox)) = &self.other else { return };
        if change(&mut outbox.entry()) {
            turn::note(outbox.clone());
        }
    }
}

impl Output for Delivery<'_> {
    /// Without a store nothing is kept beyond the process: every record is as safe as it will be.
    fn persist(&mut self, record: Record<'_>) -> Result<RecordNo, Refusal> {
        let Some(storage) = &self.broker.storage else { return Ok(RecordNo::NONE) };
        self.has_persisted = true;
        storage.log.push(record)
    }

    fn position(&self) -> RecordNo {
        self.broker.storage.as_ref().map_or(RecordNo::NONE, |storage| storage.log.position())
    }

    fn keeps(&self) -> bool {
        self.broker.storage.is_some()
    }

    fn is_lost(&self, record: RecordNo) -> bool {
        self.broker.storage.as_ref().is_some_and(|storage| storage.log.is_lost(record))
    }

    fn readiness(&self) -> Result<(), Refusal> {
        self.broker.readiness()
    }

    fn send(&mut self, to: ConnId, after: RecordNo, response: Response<'_>) {
        let durable = self.broker.durable();
        self.with_entry(to, |entry| entry.push(after, durable, &response));
    }

    fn hold(&mut self, to: ConnId, after: RecordNo, job: JobId) {
        self.with_entry(to, |entry| {
            entry.hold(after, job);
            false
        });
    }

    fn fill(&mut self, to: ConnId, job: JobId, response: Response<'_>) {
        self.with_entry(to, |entry| entry.fill(job, &response));
    }

    fn load(&mut self, what: Load) {
        self.rare().to_load.push(what);
    }

    fn discard(&mut self, body: Bytes) {
        if body.len() > LARGE {
            self.rare().discarded.push(body);
        }
    }

    fn is_watched(&self) -> bool {
        self.broker.feed.is_watched()
    }

    fn note(&mut self, note: Note) {
        self.rare().notes.push(note);
    }

    fn audit(&mut self, deed: Deed) {
        self.rare().deeds.push(deed);
    }

    fn close(&mut self, conn: ConnId, reason: &'static str) {
        self.with_entry(conn, |entry| {
            entry.end(End::Close(reason));
            false
        });
    }

    fn shutdown(&mut self, drain: Drain) {
        self.shutdown = Some(drain);
    }
}
