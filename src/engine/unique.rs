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

use super::Jobs;
use super::job::Job;
use crate::types::{FunctionId, JobId};

/// The index is split so that growing a part of it never takes long.
const SHARDS: usize = 256;

/// Entries that a part keeps room for, however few it has.
const KEPT: usize = 32;

/// How far GET_STATUS_UNIQUE looks for a running job when many functions share one unique id.
const LOOKED_AT: usize = 64;

/// The index of live jobs by what they coalesce by.
#[derive(Debug)]
pub(super) struct Uniques {
    hasher: FixedState,
    shards: Vec<HashTable<Entry>>,
    /// Jobs of several functions with one unique id, which is rare; slots of [`Owners::Many`].
    many: Vec<BTreeMap<FunctionId, JobId>>,
    free: Vec<usize>,
}

/// Three words of 32 bits: the hash, and who has it. There is one a job.
#[derive(Clone, Copy, Debug)]
struct Entry([u32; 3]);

/// The jobs with one unique id: nearly always a single one.
#[derive(Clone, Copy, Debug)]
enum Owners {
    One(JobId),
    Many(usize),
}

/// What a submit coalesces by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key<'a> {
    Unique(&'a [u8]),
    Payload(FunctionId, &'a [u8]),
}

impl<'a> Key<'a> {
    /// `None` if it never joins.
    pub fn of(function: FunctionId, unique: &'a [u8], payload: &'a [u8]) -> Option<Key<'a>> {
        match (unique, payload) {
            (b"", _) | (b"-", b"") => None,
            (b"-", payload) => Some(Key::Payload(function, payload)),
            (unique, _) => Some(Key::Unique(unique)),
        }
    }
}

impl Uniques {
    pub fn new(hasher: FixedState) -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { hasher, shards, many: Vec::new(), free: Vec::new() }
    }

    /// The live job of this function that has this key.
    pub fn find(&self, jobs: &Jobs, function: FunctionId, key: Key<'_>) -> Option<JobId> {
        match self.entry(jobs, self.hash(key), key)?.owners() {
            Owners::One(id) => {
                Some(id).filter(|id| jobs.get(*id).is_some_and(|job| job.function == function))
            }
            Owners::Many(slot) => self.many[slot].get(&function).copied(),
        }
    }

    /// The job that GET_STATUS_UNIQUE, which names no function, means: a running one, else the newest.
    pub fn find_anywhere(&self, jobs: &Jobs, unique: &[u8]) -> Option<JobId> {
        if unique.is_empty() {
            return None;
        }
        let key = Key::Unique(unique);
        match self.entry(jobs, self.hash(key), key)?.owners() {
            Owners::One(id) => Some(id),
            Owners::Many(slot) => self.many[slot]
                .values()
                .take(LOOKED_AT)
                .max_by_key(|id| {
                    let job = jobs.get(**id);
                    let is = |what: fn(&Job) -> bool| job.is_some_and(what);
                    (is(|job| job.over().is_none()), is(Job::is_running), **id)
                })
                .copied(),
        }
    }

    /// The jobs with this unique id that the index has, at most one for each function, from this function on.
    pub fn owners(
        &self,
        jobs: &Jobs,
        unique: &[u8],
        from: FunctionId,
    ) -> impl Iterator<Item = (FunctionId, JobId)> + '_ {
        let key = Key::Unique(unique);
        let (one, many) = match self.entry(jobs, self.hash(key), key).map(Entry::owners) {
            None => (None, None),
            Some(Owners::One(id)) => (jobs.get(id).map(|job| (job.function, id)), None),
            Some(Owners::Many(slot)) => (None, Some(self.many[slot].range(from..))),
        };
        let many = many.into_iter().flatten().map(|(function, id)| (*function, *id));
        one.into_iter().filter(move |(function, _)| *function >= from).chain(many)
    }

    /// Adds a job that joined none and is not in the table yet.
    pub fn insert(&mut self, jobs: &Jobs, id: JobId, job: &Job) {
        let Some(key) = key_of(job) else { return };
        let hash = self.hash(key);
        let Self { shards, many, free, .. } = self;
        let shard = &mut shards[shard(hash)];
        match shard.find_mut(spread(hash), |entry| entry.is_for(hash, many, jobs, key)) {
            Some(entry) => {
                let slot = match entry.owners() {
                    Owners::Many(slot) => slot,
                    Owners::One(first) => {
                        let slot = free.pop().unwrap_or_else(|| {
                            many.push(BTreeMap::new());
                            many.len() - 1
                        });
                        many[slot].extend(jobs.get(first).map(|job| (job.function, first)));
                        *entry = Entry::new(hash, Owners::Many(slot));
                        slot
                    }
                };
                many[slot].insert(job.function, id);
            }
            None => {
                shard.insert_unique(spread(hash), Entry::new(hash, Owners::One(id)), Entry::spread);
            }
        }
    }

    /// Takes out a job that is in the table no more.
    pub fn remove(&mut self, id: JobId, job: &Job) {
        let Some(key) = key_of(job) else { return };
        let hash = self.hash(key);
        let Self { shards, many, free, .. } = self;
        let shard = &mut shards[shard(hash)];
        let is_its = |entry: &Entry| {
            entry.hash() == hash
                && match entry.owners() {
                    Owners::One(owner) => owner == id,
                    Owners::Many(slot) => many[slot].get(&job.function) == Some(&id),
                }
        };
        let Ok(entry) = shard.find_entry(spread(hash), is_its) else { return };
        if let Owners::Many(slot) = entry.get().owners() {
            many[slot].remove(&job.function);
            if !many[slot].is_empty() {
                return;
            }
            free.push(slot);
        }
        entry.remove();
        if shard.len() * 4 < shard.capacity() && shard.capacity() > KEPT {
            shard.shrink_to(shard.len() * 2, Entry::spread);
        }
    }

    /// How many unique ids have a live job.
    pub fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    fn entry(&self, jobs: &Jobs, hash: u32, key: Key<'_>) -> Option<&Entry> {
        self.shards[shard(hash)].find(spread(hash), |entry| entry.is_for(hash, &self.many, jobs, key))
    }

    /// 31 bits: enough to tell tens of millions apart nearly always, and keys are compared in any case.
    fn hash(&self, key: Key<'_>) -> u32 {
        let hash = match key {
            Key::Unique(unique) => self.hasher.hash_one(unique),
            Key::Payload(function, payload) => self.hasher.hash_one((function, payload)),
        };
        (hash >> 33) as u32
    }
}

impl Entry {
    /// Marks slots, beside the 31 bits of a hash.
    const MANY: u32 = 1 << 31;

    fn new(hash: u32, owners: Owners) -> Self {
        let (mark, owners) = match owners {
            Owners::One(id) => (0, id.0),
            Owners::Many(slot) => (Entry::MANY, slot as u64),
        };
        Entry([hash | mark, (owners >> 32) as u32, owners as u32])
    }

    fn owners(&self) -> Owners {
        let Entry([mark, high, low]) = *self;
        let owners = u64::from(high) << 32 | u64::from(low);
        if mark & Entry::MANY == 0 { Owners::One(JobId(owners)) } else { Owners::Many(owners as usize) }
    }

    fn hash(&self) -> u32 {
        self.0[0] & !Entry::MANY
    }

    fn is_for(&self, hash: u32, many: &[BTreeMap<FunctionId, JobId>], jobs: &Jobs, key: Key<'_>) -> bool {
        let any = || match self.owners() {
            Owners::One(id) => Some(id),
            Owners::Many(slot) => many[slot].values().next().copied(),
        };
        self.hash() == hash && any().and_then(|id| key_of(jobs.get(id)?)).is_some_and(|found| found == key)
    }

    fn spread(&self) -> u64 {
        spread(self.hash())
    }
}

fn key_of(job: &Job) -> Option<Key<'_>> {
    if job.never_joined {
        return None;
    }
    Key::of(job.function, job.content.unique(), job.content.payload())
}

/// The table uses low bits for the place and the top seven as a tag: both must differ within a shard.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn shard(hash: u32) -> usize {
    (hash >> 23) as usize % SHARDS
}
