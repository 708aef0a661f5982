//! The store's two threads: one makes records safe, the other brings payloads back into memory.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use super::Broker;
use super::log::Log;
use crate::store::{Reader, Store, StoreError};
use crate::types::JobId;

/// Payloads read in one go.
const MOST: usize = 512;

/// What a broker with a store has.
#[derive(Debug)]
pub(super) struct Storage {
    pub log: Arc<Log>,
    loads: Sender<Vec<JobId>>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl Storage {
    /// Starts the store's threads; the second one begins when [`Loader::start`] gives it the broker.
    pub fn start(store: Box<dyn Store>) -> Result<(Self, Loader), StoreError> {
        let reader = store.reader()?;
        let log = Arc::new(Log::new());
        let committer = thread::Builder::new().name("store".into()).spawn({
            let log = log.clone();
            move || log.commit_all(store)
        });
        let committer =
            committer.map_err(|source| StoreError::Io { path: "the store's thread".into(), source })?;
        let (loads, wanted) = mpsc::channel();
        let storage = Self { log, loads, committer: Mutex::new(Some(committer)) };
        Ok((storage, Loader { reader, wanted }))
    }

    /// Asks for payloads.
    pub fn load(&self, jobs: Vec<JobId>) {
        // The thread is gone only when the process ends.
        let _ = self.loads.send(jobs);
    }

    /// Returns when all that was taken is safe and the store is closed.
    pub fn close(&self) {
        self.log.close();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committer) = committer
            && committer.join().is_err()
        {
            tracing::error!("the store's thread failed");
        }
    }
}

/// The reading side, until it is started.
pub(super) struct Loader {
    reader: Box<dyn Reader>,
    wanted: Receiver<Vec<JobId>>,
}

impl Loader {
    pub fn start(self, broker: &Arc<Broker>) -> Result<(), StoreError> {
        let broker = Arc::downgrade(broker);
        let started = thread::Builder::new().name("payloads".into()).spawn(move || self.run(&broker));
        started.map(drop).map_err(|source| StoreError::Io { path: "the reader's thread".into(), source })
    }

    fn run(mut self, broker: &Weak<Broker>) {
        while let Ok(mut jobs) = self.wanted.recv() {
            while jobs.len() < MOST
                && let Ok(more) = self.wanted.try_recv()
            {
                jobs.extend(more);
            }
            // Rows lie in the order of their ids.
            jobs.sort_unstable();
            let Some(broker) = broker.upgrade() else { return };
            let mut bodies = Vec::with_capacity(jobs.len());
            if let Err(error) = self.reader.read(&jobs, &mut |id, body| bodies.push((id, body))) {
                tracing::error!("payloads cannot be read: {error}");
                let read = bodies.len();
                bodies.extend(jobs[read..].iter().map(|id| (*id, None)));
            }
            broker.loaded(bodies);
        }
    }
}
