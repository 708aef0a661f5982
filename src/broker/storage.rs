//! The store's two threads: one makes records safe, the other brings payloads and results back into memory. Both can be
//! driven step by step instead.

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::Broker;
use super::committer::Committer;
use super::log::Log;
use crate::engine::Load;
use crate::store::{Reader, Store, StoreError};
use crate::types::JobId;

/// Payloads and results read in one go.
const MOST: usize = 512;

/// What a broker with a store has.
pub(super) struct Storage {
    pub log: Arc<Log>,
    loads: Sender<Vec<Load>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// For who only looks.
    viewer: Mutex<Box<dyn Reader>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Storage {
    /// A store and what drives it.
    pub fn new(store: Box<dyn Store>) -> Result<(Self, Committer, Loader), StoreError> {
        let (reader, viewer) = (store.reader()?, Mutex::new(store.reader()?));
        let log = Arc::new(Log::new());
        let committer = Committer::new(log.clone(), store);
        let (loads, wanted) = mpsc::channel();
        Ok((Self { log, loads, committer: Mutex::default(), viewer }, committer, Loader { reader, wanted }))
    }

    /// Starts the thread that makes records safe; [`Storage::close`] waits for it.
    pub fn start(&self, committer: Committer) -> Result<(), StoreError> {
        let started = committer.start()?;
        *self.committer.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        Ok(())
    }

    /// Reads whole bodies for who only looks. Blocks.
    pub fn read(&self, jobs: &[JobId], each: &mut dyn FnMut(JobId, Option<Bytes>)) -> Result<(), StoreError> {
        self.viewer.lock().unwrap_or_else(PoisonError::into_inner).read(jobs, each)
    }

    /// Reads a job's result for who only looks. Blocks.
    pub fn read_result(&self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        self.viewer.lock().unwrap_or_else(PoisonError::into_inner).read_result(job)
    }

    /// Asks for payloads and results.
    pub fn load(&self, wanted: Vec<Load>) {
        // The thread is gone only when the process ends.
        let _ = self.loads.send(wanted);
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

/// Brings payloads and results that the engine asks for.
pub struct Loader {
    reader: Box<dyn Reader>,
    wanted: Receiver<Vec<Load>>,
}

impl Loader {
    pub(super) fn start(self, broker: &Arc<Broker>) -> Result<(), StoreError> {
        let broker = Arc::downgrade(broker);
        let started = thread::Builder::new().name("payloads".into()).spawn(move || self.run(&broker));
        started.map(drop).map_err(|source| StoreError::Io { path: "the reader's thread".into(), source })
    }

    fn run(mut self, broker: &Weak<Broker>) {
        while let Ok(wanted) = self.wanted.recv() {
            let Some(broker) = broker.upgrade() else { return };
            self.bring(wanted, &broker);
        }
    }

    /// Brings a bounded part of what is asked for. Whether anything is. For who drives the broker without threads.
    pub fn step(&mut self, broker: &Broker) -> bool {
        let Ok(wanted) = self.wanted.try_recv() else { return false };
        self.bring(wanted, broker);
        true
    }

    fn bring(&mut self, mut wanted: Vec<Load>, broker: &Broker) {
        while wanted.len() < MOST
            && let Ok(more) = self.wanted.try_recv()
        {
            wanted.extend(more);
        }
        // Rows lie in the order of their ids.
        wanted.sort_unstable();
        let (mut payloads, mut results) = (Vec::with_capacity(wanted.len()), Vec::new());
        for what in wanted {
            match what {
                Load::Payload(id) => payloads.push(id),
                Load::Result(id) => results.push(id),
            }
        }
        let mut read = Vec::with_capacity(payloads.len() + results.len());
        let take = &mut |id, body| read.push((Load::Payload(id), body));
        if let Err(error) = self.reader.read(&payloads, take) {
            tracing::error!("payloads cannot be read: {error}");
            let known = read.len();
            read.extend(payloads[known..].iter().map(|id| (Load::Payload(*id), None)));
        }
        for id in results {
            let result = self.reader.read_result(id);
            let result = result.inspect_err(|error| tracing::error!("a result cannot be read: {error}"));
            // One that was never written is empty.
            read.push((Load::Result(id), result.ok().map(Option::unwrap_or_default)));
        }
        broker.loaded(read);
    }
}
