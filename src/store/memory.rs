//! A store that lasts as long as the process: for tests of what drives a store, and of what every store promises.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Reader, Store, StoreError};
use crate::engine::Record;
use crate::types::JobId;

/// Keeps records in tables that its clones share: dropping one and replaying another is a restart.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Jobs and recurring jobs, as the records that made them, brought up to date.
    things: BTreeMap<JobId, Record<'static>>,
    results: BTreeMap<JobId, Bytes>,
    functions: BTreeMap<Vec<u8>, Record<'static>>,
    policies: BTreeMap<String, Record<'static>>,
    next_number: u64,
}

/// Numbers set aside for one process: more than any can give out.
const GENERATION: u64 = 1 << 40;

impl Store for MemoryStore {
    fn replay(&mut self, each: &mut dyn FnMut(Record<'static>)) -> Result<JobId, StoreError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.policies.values().chain(kept.functions.values());
        first.chain(kept.things.values()).cloned().for_each(each);
        let first = JobId(kept.next_number.max(1));
        kept.next_number = first.0 + GENERATION;
        Ok(first)
    }

    fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        batch.iter().cloned().for_each(|record| kept.apply(record));
        Ok(())
    }

    fn use_reserve(&mut self) -> bool {
        false
    }

    fn refill_reserve(&mut self) -> bool {
        true
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Reader for MemoryStore {
    fn read(&mut self, jobs: &[JobId], each: &mut dyn FnMut(JobId, Option<Bytes>)) -> Result<(), StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for id in jobs {
            match kept.things.get(id) {
                Some(Record::Queued { spec, .. }) => each(*id, Some(spec.body().clone())),
                _ => each(*id, None),
            }
        }
        Ok(())
    }

    fn read_result(&mut self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.results.get(&job).cloned())
    }
}

impl Kept {
    fn apply(&mut self, record: Record<'static>) {
        match record {
            Record::Queued { id, .. } | Record::Scheduled { id, .. } => {
                self.things.insert(id, record);
            }
            Record::Stands { id, standing: now } => {
                if let Some(Record::Queued { standing, .. }) = self.things.get_mut(&id) {
                    *standing = now;
                }
            }
            Record::Result { id, body } => {
                self.results.insert(id, body);
            }
            Record::Done(id) | Record::Unscheduled(id) => {
                self.things.remove(&id);
                self.results.remove(&id);
            }
            Record::Function { name, limits, pinned } => {
                let name = name.into_owned();
                if limits == [None; 3] && !pinned {
                    self.functions.remove(&name);
                } else {
                    let record = Record::Function { name: name.clone().into(), limits, pinned };
                    self.functions.insert(name, record);
                }
            }
            Record::Policy { pattern, policy: None } => {
                self.policies.remove(pattern.as_ref());
            }
            Record::Policy { ref pattern, policy: Some(_) } => {
                self.policies.insert(pattern.clone().into_owned(), record);
            }
        }
    }
}
