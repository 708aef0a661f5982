//! The table of live jobs. A job's number leads to its page directly; nothing is ever moved or rehashed at scale.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::job::Job;
use crate::types::JobId;

/// Jobs with consecutive numbers share a page; a page is freed with its last job, and shrinks on the way, so that
/// few jobs that stay do not hold the memory of many that went.
const PAGE: u64 = 32;

/// The table of pages is split so that growing a part of it never takes long.
const SHARDS: usize = 64;

/// Pages that a part of the table keeps room for, however few it has.
const KEPT: usize = 32;

#[derive(Debug)]
pub(super) struct Jobs {
    shards: Vec<HashTable<Page>>,
    hasher: FixedState,
    /// Page numbers in order, for listings.
    order: BTreeSet<u64>,
    len: usize,
}

#[derive(Debug)]
struct Page {
    number: u64,
    /// A bit for each number that has a job; jobs lie in the order of their bits.
    used: u32,
    jobs: Vec<Job>,
}

impl Default for Jobs {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { shards, hasher: FixedState::default(), order: BTreeSet::new(), len: 0 }
    }
}

impl Jobs {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, id: JobId, job: Job) {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let shard = &mut self.shards[shard(number)];
        let page = shard.entry(hash, |page| page.number == number, |page| self.hasher.hash_one(page.number));
        let mut page = page.or_insert_with(|| {
            self.order.insert(number);
            Page { number, used: 0, jobs: Vec::new() }
        });
        let page = page.get_mut();
        debug_assert!(page.used & bit == 0, "job numbers are never reused");
        page.jobs.insert(page.index(bit), job);
        page.used |= bit;
        self.len += 1;
    }

    pub fn get(&self, id: JobId) -> Option<&Job> {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let page = self.shards[shard(number)].find(hash, |page| page.number == number)?;
        if page.used & bit == 0 { None } else { page.jobs.get(page.index(bit)) }
    }

    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let page = self.shards[shard(number)].find_mut(hash, |page| page.number == number)?;
        let index = page.index(bit);
        if page.used & bit == 0 { None } else { page.jobs.get_mut(index) }
    }

    pub fn remove(&mut self, id: JobId) -> Option<Job> {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let pages = &mut self.shards[shard(number)];
        let mut entry = pages.find_entry(hash, |page| page.number == number).ok()?;
        let page = entry.get_mut();
        if page.used & bit == 0 {
            return None;
        }
        let job = page.jobs.remove(page.index(bit));
        page.used &= !bit;
        self.len -= 1;
        if page.used == 0 {
            entry.remove();
            self.order.remove(&number);
            if pages.len() * 4 < pages.capacity() && pages.capacity() > KEPT {
                pages.shrink_to(pages.len() * 2, |page| self.hasher.hash_one(page.number));
            }
        } else if page.jobs.len() * 2 <= page.jobs.capacity() {
            page.jobs.shrink_to_fit();
        }
        Some(job)
    }

    /// Jobs with numbers from `from` on, in order.
    pub fn from(&self, from: JobId) -> impl Iterator<Item = (JobId, &Job)> {
        let (first, _) = place(from);
        self.order.range(first..).flat_map(move |number| {
            let ids = (number * PAGE..(number + 1) * PAGE).map(JobId);
            ids.filter(move |id| *id >= from).filter_map(|id| Some((id, self.get(id)?)))
        })
    }
}

impl Page {
    /// Where the job of this bit lies, or would.
    fn index(&self, bit: u32) -> usize {
        (self.used & (bit - 1)).count_ones() as usize
    }
}

fn place(id: JobId) -> (u64, u32) {
    (id.0 / PAGE, 1 << (id.0 % PAGE))
}

fn shard(number: u64) -> usize {
    number as usize % SHARDS
}
