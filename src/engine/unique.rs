//! Which live job a submit with this unique id joins (reference, section 3.4), and which one GET_STATUS_UNIQUE means.
//!
//! | unique id of the submit | what must be equal |
//! | --- | --- |
//! | empty, or `-` with an empty payload | nothing: never joins |
//! | `-` | function and payload |
//! | any other | function and unique id |

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use hashbrown::HashTable;

use super::jobs::Jobs;
use crate::protocol::Spec;
use crate::types::{FunctionId, JobId};

/// The index is split so that growing a part of it never takes long.
const SHARDS: usize = 256;

/// How far GET_STATUS_UNIQUE looks for a running job when many functions share one unique id.
const LOOKED_AT: usize = 64;

/// The index of live jobs by what they coalesce by.
#[derive(Debug)]
pub(super) struct Uniques {
    hasher: FixedState,
    shards: Vec<HashTable<Entry>>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    owners: Owners,
}

/// The jobs with one unique id: nearly always a single one.
#[derive(Debug)]
enum Owners {
    One(JobId),
    #[expect(clippy::box_collection, reason = "keeps the entry, of which there is one a job, at two words")]
    Many(Box<BTreeMap<FunctionId, JobId>>),
}

/// What a submit coalesces by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key<'a> {
    Unique(&'a [u8]),
    Payload(FunctionId, &'a [u8]),
}

impl<'a> Key<'a> {
    fn of(function: FunctionId, spec: &'a Spec) -> Option<Key<'a>> {
        match (spec.unique(), spec.payload()) {
            (b"", _) | (b"-", b"") => None,
            (b"-", payload) => Some(Key::Payload(function, payload)),
            (unique, _) => Some(Key::Unique(unique)),
        }
    }
}

impl Uniques {
    pub fn new(hasher: FixedState) -> Self {
        Self { hasher, shards: (0..SHARDS).map(|_| HashTable::new()).collect() }
    }

    /// The hash of a job that no submit joins.
    pub const NEVER_JOINED: u64 = 0;

    /// The hash to look up, insert and remove by.
    pub fn hash(&self, function: FunctionId, spec: &Spec) -> u64 {
        Key::of(function, spec).map_or(Self::NEVER_JOINED, |key| self.hash_key(key))
    }

    /// The live job that this submit joins.
    pub fn find(&self, jobs: &Jobs, hash: u64, function: FunctionId, spec: &Spec) -> Option<JobId> {
        self.owners(jobs, hash, Key::of(function, spec)?)?.of(jobs, function)
    }

    /// The live job of this function with this unique id; `-` finds none.
    pub fn find_named(&self, jobs: &Jobs, function: FunctionId, unique: &[u8]) -> Option<JobId> {
        let key = Key::Unique(unique);
        self.owners(jobs, self.hash_key(key), key)?.of(jobs, function)
    }

    /// The job that GET_STATUS_UNIQUE, which names no function, means: a running one, else the newest.
    pub fn find_anywhere(&self, jobs: &Jobs, unique: &[u8]) -> Option<JobId> {
        if unique.is_empty() {
            return None;
        }
        let key = Key::Unique(unique);
        match self.owners(jobs, self.hash_key(key), key)? {
            Owners::One(id) => Some(*id),
            Owners::Many(by_function) => by_function
                .values()
                .take(LOOKED_AT)
                .max_by_key(|id| (jobs.get(**id).is_some_and(|job| job.progress().running), **id))
                .copied(),
        }
    }

    /// Adds a job that is in the table already and joined none.
    pub fn insert(&mut self, jobs: &Jobs, id: JobId) {
        let Some(job) = jobs.get(id) else { return };
        let Some(key) = Key::of(job.function, &job.spec) else { return };
        let hash = job.unique_hash;
        if hash == Self::NEVER_JOINED {
            return;
        }
        let shard = &mut self.shards[shard(hash)];
        match shard.find_mut(hash, |entry| entry.hash == hash && has_key(jobs, &entry.owners, key)) {
            Some(entry) => entry.owners.add(jobs, job.function, id),
            None => {
                shard.insert_unique(hash, Entry { hash, owners: Owners::One(id) }, |entry| entry.hash);
            }
        }
    }

    /// Takes out a job that is still in the table.
    pub fn remove(&mut self, jobs: &Jobs, id: JobId) {
        let Some(job) = jobs.get(id) else { return };
        let Some(key) = Key::of(job.function, &job.spec) else { return };
        let hash = job.unique_hash;
        if hash == Self::NEVER_JOINED {
            return;
        }
        let found = self.shards[shard(hash)]
            .find_entry(hash, |entry| entry.hash == hash && has_key(jobs, &entry.owners, key));
        if let Ok(mut entry) = found
            && entry.get_mut().owners.is_empty_without(job.function)
        {
            entry.remove();
        }
    }

    /// How many unique ids have a live job.
    pub fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    fn owners(&self, jobs: &Jobs, hash: u64, key: Key<'_>) -> Option<&Owners> {
        let shard = &self.shards[shard(hash)];
        shard
            .find(hash, |entry| entry.hash == hash && has_key(jobs, &entry.owners, key))
            .map(|entry| &entry.owners)
    }

    fn hash_key(&self, key: Key<'_>) -> u64 {
        match key {
            Key::Unique(unique) => self.hasher.hash_one(unique),
            Key::Payload(function, payload) => self.hasher.hash_one((function, payload)),
        }
    }
}

impl Owners {
    fn of(&self, jobs: &Jobs, function: FunctionId) -> Option<JobId> {
        match self {
            Owners::One(id) => {
                Some(*id).filter(|id| jobs.get(*id).is_some_and(|job| job.function == function))
            }
            Owners::Many(by_function) => by_function.get(&function).copied(),
        }
    }

    fn any(&self) -> Option<JobId> {
        match self {
            Owners::One(id) => Some(*id),
            Owners::Many(by_function) => by_function.values().next().copied(),
        }
    }

    fn add(&mut self, jobs: &Jobs, function: FunctionId, id: JobId) {
        if let Owners::One(first) = *self {
            let known = jobs.get(first).map(|job| (job.function, first));
            *self = Owners::Many(Box::new(known.into_iter().collect()));
        }
        if let Owners::Many(by_function) = self {
            by_function.insert(function, id);
        }
    }

    /// Removes the function's job; whether none is left.
    fn is_empty_without(&mut self, function: FunctionId) -> bool {
        match self {
            Owners::One(_) => true,
            Owners::Many(by_function) => {
                by_function.remove(&function);
                by_function.is_empty()
            }
        }
    }
}

fn has_key(jobs: &Jobs, owners: &Owners, key: Key<'_>) -> bool {
    let job = owners.any().and_then(|id| jobs.get(id));
    job.is_some_and(|job| Key::of(job.function, &job.spec) == Some(key))
}

fn shard(hash: u64) -> usize {
    // The table itself uses the low bits for the place and the top seven as a tag.
    (hash >> 40) as usize % SHARDS
}
