//! Which outbox belongs to which connection. Independent entries that many tasks look up without the engine's lock.

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::FixedState;

use crate::outbox::Outbox;
use crate::types::ConnId;

#[derive(Debug, Default)]
pub(super) struct Directory {
    outboxes: DashMap<ConnId, Arc<Outbox>, FixedState>,
}

impl Directory {
    pub fn insert(&self, conn: ConnId, outbox: Arc<Outbox>) {
        self.outboxes.insert(conn, outbox);
    }

    pub fn remove(&self, conn: ConnId) {
        self.outboxes.remove(&conn);
    }

    /// The entry is cloned out: a guard held across a second access to the map could lock itself out.
    pub fn get(&self, conn: ConnId) -> Option<Arc<Outbox>> {
        self.outboxes.get(&conn).map(|entry| Arc::clone(&entry))
    }

    pub fn len(&self) -> usize {
        self.outboxes.len()
    }

    /// Bytes in all lines.
    pub fn bytes(&self) -> usize {
        self.outboxes.iter().map(|entry| entry.bytes()).sum()
    }

    pub fn for_each(&self, run: impl Fn(&Outbox)) {
        // Collected first, for the same reason as in `get`.
        let all: Vec<Arc<Outbox>> = self.outboxes.iter().map(|entry| Arc::clone(&entry)).collect();
        all.iter().for_each(|outbox| run(outbox));
    }
}
