//! A disk for tests: a store that can be full, fail for good, lose rows, and outlive the process that writes to it.
//! When a batch is safe is up to the world, which takes the steps of the store's threads. Written apart from the
//! server's own stores, so that the two can disagree.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use gearhouse::engine::{Load, Record};
use gearhouse::store::{Reader, Store, StoreError};
use gearhouse::types::JobId;

/// What outlives the process; its clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    plates: Arc<Mutex<Plates>>,
}

struct Plates {
    /// Jobs and recurring jobs by number, as the records that made them, brought up to date.
    things: BTreeMap<u64, Record<'static>>,
    functions: BTreeMap<Vec<u8>, Record<'static>>,
    policies: BTreeMap<String, Record<'static>>,
    /// What workers said at the end.
    results: BTreeMap<u64, Bytes>,
    next_number: u64,
    /// Batches that are safe.
    batches: u64,
    /// Batches that still fit. `None`: any number.
    room: Option<u32>,
    has_reserve: bool,
    trouble: Option<Trouble>,
    fault: Fault,
    /// The next read finds so many good rows and then this; counted from the first row that is asked for.
    bad_read: Option<(usize, BadRead)>,
    reads: Vec<(Load, Option<Bytes>)>,
    replayed: Vec<Record<'static>>,
}

/// How the next write fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing of it is kept.
    Lost,
    /// All of it is kept, and the answer is an error all the same.
    Kept,
}

/// How a read fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRead {
    /// A row cannot be trusted.
    Row,
    /// Nothing more can be read.
    All,
}

/// What the disk told its writer last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    Full,
    Failed,
}

/// Batches that fit into the space set aside.
const RESERVE: u32 = 2;

/// Numbers set aside for one process.
const GENERATION: u64 = 1 << 20;

impl Disk {
    pub fn new(first_number: u64) -> Self {
        let plates = Plates {
            things: BTreeMap::new(),
            functions: BTreeMap::new(),
            policies: BTreeMap::new(),
            results: BTreeMap::new(),
            next_number: first_number,
            batches: 0,
            room: None,
            has_reserve: true,
            trouble: None,
            fault: Fault::None,
            bad_read: None,
            reads: Vec::new(),
            replayed: Vec::new(),
        };
        Self { plates: Arc::new(Mutex::new(plates)) }
    }

    /// How many batches are safe, of all that were ever written.
    pub fn batches(&self) -> u64 {
        self.lock().batches
    }

    pub fn fault(&self) -> Fault {
        self.lock().fault
    }

    /// From now on so many batches fit; `None`: any number.
    pub fn set_room(&self, room: Option<u32>) {
        self.lock().room = room;
    }

    /// The next write fails, and that is the end of this process's store.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        self.lock().trouble = trouble;
    }

    pub fn set_bad_read(&self, bad: Option<(usize, BadRead)>) {
        self.lock().bad_read = bad;
    }

    /// What was read since the last call, as the server got it.
    pub fn take_reads(&self) -> Vec<(Load, Option<Bytes>)> {
        std::mem::take(&mut self.lock().reads)
    }

    /// The first number that the present process may give out.
    pub fn first_number(&self) -> u64 {
        self.lock().next_number - GENERATION
    }

    /// What the last replay passed on.
    pub fn take_replayed(&self) -> Vec<Record<'static>> {
        std::mem::take(&mut self.lock().replayed)
    }

    /// The process is gone, and a new one finds the disk mended.
    pub fn restart(&self) {
        let mut plates = self.lock();
        (plates.room, plates.trouble, plates.bad_read, plates.fault) = (None, None, None, Fault::None);
        plates.has_reserve = true;
        plates.reads.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Plates> {
        self.plates.lock().expect("one thread only")
    }
}

impl Store for Disk {
    /// Every second job comes without its payload, unless it coalesces by it.
    fn replay(&mut self, each: &mut dyn FnMut(Record<'static>)) -> Result<JobId, StoreError> {
        let mut plates = self.lock();
        let all = plates.policies.values().chain(plates.functions.values()).chain(plates.things.values());
        plates.replayed = all.map(without_some_payloads).collect();
        plates.replayed.iter().cloned().for_each(each);
        let first = plates.next_number;
        plates.next_number += GENERATION;
        Ok(JobId(first))
    }

    fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError> {
        self.lock().append(batch)
    }

    fn use_reserve(&mut self) -> bool {
        let mut plates = self.lock();
        if !plates.has_reserve {
            return false;
        }
        plates.has_reserve = false;
        plates.room = plates.room.map(|room| room + RESERVE);
        true
    }

    fn refill_reserve(&mut self) -> bool {
        let mut plates = self.lock();
        let has_room = plates.room.is_none();
        if has_room {
            (plates.has_reserve, plates.fault) = (true, Fault::None);
        }
        has_room
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        let mut plates = self.lock();
        if plates.trouble.is_some() {
            return Err(plates.fail());
        }
        Ok(false)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Plates {
    fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError> {
        assert!(self.fault != Fault::Failed, "a store that failed is not used again");
        if self.trouble != Some(Trouble::Lost) {
            if self.room == Some(0) {
                self.fault = Fault::Full;
                return Err(StoreError::Full { path: "disk".into() });
            }
            self.room = self.room.map(|room| room - 1);
            batch.iter().cloned().for_each(|record| self.apply(record));
            self.batches += 1;
        }
        if self.trouble.is_some() { Err(self.fail()) } else { Ok(()) }
    }

    fn fail(&mut self) -> StoreError {
        self.fault = Fault::Failed;
        StoreError::Failed { path: "disk".into(), what: "input/output error".into() }
    }

    fn apply(&mut self, record: Record<'static>) {
        match record {
            Record::Queued { id, .. } => {
                let before = self.things.insert(id.0, record);
                assert!(before.is_none(), "job {} is kept twice", id.0);
            }
            Record::Scheduled { id, .. } => {
                self.things.insert(id.0, record);
            }
            Record::Stands { id, standing: now } => match self.things.get_mut(&id.0) {
                Some(Record::Queued { standing, .. }) => *standing = now,
                _ => panic!("job {} stands otherwise and is not there", id.0),
            },
            Record::Result { id, body } => {
                assert!(self.things.contains_key(&id.0), "{} has a result and is not there", id.0);
                self.results.insert(id.0, body);
            }
            Record::Policy { pattern, policy: None } => {
                self.policies.remove(&*pattern);
            }
            Record::Policy { ref pattern, .. } => {
                self.policies.insert(pattern.to_string(), record);
            }
            Record::Done(id) | Record::Unscheduled(id) => {
                assert!(self.things.remove(&id.0).is_some(), "{} ends and is not there", id.0);
                self.results.remove(&id.0);
            }
            Record::Function { ref name, limits, pinned } => {
                if limits == [None; 3] && !pinned {
                    self.functions.remove(&name[..]);
                } else {
                    self.functions.insert(name.to_vec(), record);
                }
            }
        }
    }
}

fn without_some_payloads(record: &Record<'static>) -> Record<'static> {
    match record {
        Record::Queued { id, standing, spec, terms } if id.0.is_multiple_of(2) && spec.unique() != b"-" => {
            let spec = Cow::Owned(spec.without_payload());
            Record::Queued { id: *id, standing: *standing, spec, terms: terms.clone() }
        }
        other => other.clone(),
    }
}

impl Reader for Disk {
    fn read_result(&mut self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        let mut plates = self.lock();
        let is_bad = plates.bad_read.take().is_some();
        let result = plates.results.get(&job.0).cloned();
        let read = if is_bad { None } else { Some(result.clone().unwrap_or_default()) };
        plates.reads.push((Load::Result(job), read));
        if is_bad {
            Err(StoreError::Damaged { path: "disk".into(), what: "a result".into() })
        } else {
            Ok(result)
        }
    }

    fn read(&mut self, jobs: &[JobId], each: &mut dyn FnMut(JobId, Option<Bytes>)) -> Result<(), StoreError> {
        let mut plates = self.lock();
        let bad = plates.bad_read.take();
        let mut result = Ok(());
        for (index, id) in jobs.iter().enumerate() {
            let body = match plates.things.get(&id.0) {
                Some(Record::Queued { spec, .. }) => Some(spec.body().clone()),
                _ => None,
            };
            let body = match bad {
                Some((first, BadRead::Row)) if index == first => None,
                Some((first, BadRead::All)) if index >= first => {
                    result = Err(StoreError::Failed { path: "disk".into(), what: "cannot be read".into() });
                    None
                }
                _ => body,
            };
            plates.reads.push((Load::Payload(*id), body.clone()));
            if result.is_ok() {
                each(*id, body);
            }
        }
        result
    }
}
