//! Every store keeps what the trait promises, and the suite that says so notices each promise that is broken.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use gearhouse::engine::Record;
use gearhouse::store::memory::MemoryStore;
use gearhouse::store::sqlite::{Inspection, SqliteStore};
use gearhouse::store::{Reader, Store, StoreError, conformance};
use gearhouse::types::JobId;

#[test]
fn the_memory_store_keeps_its_promises() {
    let store = MemoryStore::default();
    conformance::check(&mut || Box::new(store.clone()));
}

#[test]
fn the_sqlite_store_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    conformance::check(&mut || {
        Box::new(SqliteStore::open(directory.path(), false).expect("the store opens"))
    });
    // Nor is anything left over or apart, as no replay would tell.
    let mut faults = Vec::new();
    let store = Inspection::open(directory.path()).expect("the store is there");
    store.verify(&mut |fault| faults.push(fault)).expect("it can be read");
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn each_broken_promise_is_noticed_and_named() {
    use Fault::*;
    let faults = [
        (RepeatsNumbers, "numbers never repeat"),
        (ForgetsForegroundNumbers, "numbers never repeat"),
        (ForgetsHowJobsStand, "stands"),
        (ForgetsTerms, "has the terms"),
        (ForgetsResults, "the result of job"),
        (KeepsResults, "the result of job"),
        (ForgetsPolicies, "the policy for"),
        (KeepsPolicies, "policy"),
        (PoliciesLast, "policies come first"),
        (BringsJobsBack, "does not come back"),
        (LosesTheLastOfABatch, "was lost"),
        (ReversesBatches, "breaks a promise"),
        (LeavesPayloadsOut, "comes with it"),
        (LosesWithTidying, "was lost"),
        (NeverEndsTidying, "again and again"),
        (ReplaysOutOfOrder, "in the order of their numbers"),
        (ReplaysTwice, "once each"),
        (ReadsOtherBodies, "another body"),
        (ReadsUnknownJobs, "is unknown"),
        (ReadsNothing, "passes on each job"),
        (KeepsFunctions, "was kept"),
    ];
    for (fault, named) in faults {
        let store = MemoryStore::default();
        let mut open = || -> Box<dyn Store> { Box::new(Broken { store: store.clone(), fault, appended: 0 }) };
        let ended = catch_unwind(AssertUnwindSafe(|| conformance::check(&mut open)));
        let why = ended.expect_err(&format!("{fault:?} was not noticed"));
        let why = why.downcast_ref::<String>().expect("a message");
        assert!(why.contains("breaks a promise") && why.contains(named), "{fault:?}: {why}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    RepeatsNumbers,
    ForgetsForegroundNumbers,
    ForgetsHowJobsStand,
    ForgetsTerms,
    ForgetsResults,
    KeepsResults,
    ForgetsPolicies,
    KeepsPolicies,
    PoliciesLast,
    BringsJobsBack,
    LosesTheLastOfABatch,
    ReversesBatches,
    LeavesPayloadsOut,
    LosesWithTidying,
    NeverEndsTidying,
    ReplaysOutOfOrder,
    ReplaysTwice,
    ReadsOtherBodies,
    ReadsUnknownJobs,
    ReadsNothing,
    KeepsFunctions,
}

/// A good store, spoiled.
struct Broken {
    store: MemoryStore,
    fault: Fault,
    appended: u64,
}

impl Store for Broken {
    fn replay(&mut self, each: &mut dyn FnMut(Record<'static>)) -> Result<JobId, StoreError> {
        let mut records = Vec::new();
        let first = self.store.replay(&mut |record| records.push(record))?;
        match self.fault {
            Fault::ReplaysOutOfOrder => records.reverse(),
            Fault::PoliciesLast => records.sort_by_key(|record| matches!(record, Record::Policy { .. })),
            Fault::ReplaysTwice => records.extend(records.clone()),
            Fault::LeavesPayloadsOut => {
                for record in &mut records {
                    if let Record::Queued { spec, .. } = record {
                        *spec.to_mut() = spec.without_payload();
                    }
                }
            }
            _ => {}
        }
        let last = records.iter().filter_map(|record| match record {
            Record::Queued { id, .. } | Record::Scheduled { id, .. } => Some(id.0 + 1),
            _ => None,
        });
        let after_the_last = last.max().unwrap_or(1);
        records.into_iter().for_each(each);
        Ok(match self.fault {
            Fault::RepeatsNumbers => JobId(1),
            Fault::ForgetsForegroundNumbers => JobId(after_the_last),
            _ => first,
        })
    }

    fn append(&mut self, batch: &[Record<'static>]) -> Result<(), StoreError> {
        let mut batch = batch.to_vec();
        self.appended += 1;
        match self.fault {
            Fault::ForgetsHowJobsStand => batch.retain(|record| !matches!(record, Record::Stands { .. })),
            Fault::ForgetsTerms => {
                for record in &mut batch {
                    if let Record::Queued { terms, .. } = record {
                        *terms = None;
                    }
                }
            }
            Fault::ForgetsResults => batch.retain(|record| !matches!(record, Record::Result { .. })),
            Fault::ForgetsPolicies => batch.retain(|record| !matches!(record, Record::Policy { .. })),
            Fault::KeepsPolicies => {
                batch.retain(|record| !matches!(record, Record::Policy { policy: None, .. }));
            }
            Fault::BringsJobsBack if self.appended > 2 => {
                batch.retain(|record| !matches!(record, Record::Done(_)));
            }
            Fault::LosesTheLastOfABatch if batch.len() > 1 => drop(batch.pop()),
            Fault::ReversesBatches => batch.reverse(),
            Fault::KeepsFunctions => {
                batch.retain(|record| {
                    !matches!(record, Record::Function { limits: [None, None, None], pinned: false, .. })
                });
            }
            _ => {}
        }
        self.store.append(&batch)
    }

    fn use_reserve(&mut self) -> bool {
        self.store.use_reserve()
    }

    fn refill_reserve(&mut self) -> bool {
        self.store.refill_reserve()
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        match self.fault {
            Fault::NeverEndsTidying => Ok(true),
            Fault::LosesWithTidying => {
                let mut first = None;
                self.store.replay(&mut |record| {
                    if let Record::Queued { id, .. } = record {
                        first = first.or(Some(id));
                    }
                })?;
                self.store.append(&first.map(Record::Done).into_iter().collect::<Vec<_>>())?;
                Ok(false)
            }
            _ => self.store.tidy(),
        }
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let reader = self.store.reader()?;
        Ok(Box::new(BrokenReader { reader, fault: self.fault, results: HashMap::new() }))
    }
}

struct BrokenReader {
    reader: Box<dyn Reader>,
    fault: Fault,
    /// What was read once.
    results: HashMap<JobId, Bytes>,
}

impl Reader for BrokenReader {
    fn read(&mut self, jobs: &[JobId], each: &mut dyn FnMut(JobId, Option<Bytes>)) -> Result<(), StoreError> {
        let spoiled = |body: Bytes| Bytes::from([&body[..], b"!"].concat());
        match self.fault {
            Fault::ReadsNothing => Ok(()),
            Fault::ReadsOtherBodies => self.reader.read(jobs, &mut |id, body| each(id, body.map(spoiled))),
            Fault::ReadsUnknownJobs => {
                self.reader.read(jobs, &mut |id, body| each(id, body.or(Some(Bytes::new()))))
            }
            _ => self.reader.read(jobs, each),
        }
    }

    fn read_result(&mut self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        let read = self.reader.read_result(job)?;
        if self.fault != Fault::KeepsResults {
            return Ok(read);
        }
        self.results.extend(read.map(|body| (job, body)));
        Ok(self.results.get(&job).cloned())
    }
}
