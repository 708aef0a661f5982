//! The table of live jobs, and that of connections. A number leads to its page directly; nothing is ever moved or rehashed
//! at scale, and there is an order for listings that costs nothing for each entry.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::marker::PhantomData;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::types::{ConnId, JobId};

/// Entries with consecutive numbers share a page; a page is freed with its last entry, and shrinks on the way, so that
/// few that stay do not hold the memory of many that went.
const PAGE: u64 = 32;

/// The table of pages is split so that growing a part of it never takes long.
const SHARDS: usize = 64;

/// Pages that a part of the table keeps room for, however few it has.
const KEPT: usize = 32;

/// Numbers that are given out one after the other and never again.
pub(super) trait Number: Copy + Ord {
    fn from(number: u64) -> Self;
    fn number(self) -> u64;
}

impl Number for JobId {
    fn from(number: u64) -> Self {
        Self(number)
    }
    fn number(self) -> u64 {
        self.0
    }
}

impl Number for ConnId {
    fn from(number: u64) -> Self {
        Self(number)
    }
    fn number(self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
pub(super) struct Pages<N, T> {
    shards: Vec<HashTable<Page<T>>>,
    hasher: FixedState,
    /// Page numbers in order, for listings.
    order: BTreeSet<u64>,
    len: usize,
    numbers: PhantomData<N>,
}

#[derive(Debug)]
struct Page<T> {
    number: u64,
    /// A bit for each number that has an entry; entries lie in the order of their bits.
    used: u32,
    entries: Vec<T>,
}

impl<N, T> Default for Pages<N, T> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { shards, hasher: FixedState::default(), order: BTreeSet::new(), len: 0, numbers: PhantomData }
    }
}

impl<N: Number, T> Pages<N, T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, id: N, entry: T) {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let shard = &mut self.shards[shard(number)];
        let page = shard.entry(hash, |page| page.number == number, |page| self.hasher.hash_one(page.number));
        let mut page = page.or_insert_with(|| {
            self.order.insert(number);
            Page { number, used: 0, entries: Vec::new() }
        });
        let page = page.get_mut();
        debug_assert!(page.used & bit == 0, "numbers are never given out again");
        page.entries.insert(page.index(bit), entry);
        page.used |= bit;
        self.len += 1;
    }

    pub fn get(&self, id: N) -> Option<&T> {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let page = self.shards[shard(number)].find(hash, |page| page.number == number)?;
        if page.used & bit == 0 { None } else { page.entries.get(page.index(bit)) }
    }

    pub fn get_mut(&mut self, id: N) -> Option<&mut T> {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let page = self.shards[shard(number)].find_mut(hash, |page| page.number == number)?;
        let index = page.index(bit);
        if page.used & bit == 0 { None } else { page.entries.get_mut(index) }
    }

    pub fn remove(&mut self, id: N) -> Option<T> {
        let (number, bit) = place(id);
        let hash = self.hasher.hash_one(number);
        let pages = &mut self.shards[shard(number)];
        let mut entry = pages.find_entry(hash, |page| page.number == number).ok()?;
        let page = entry.get_mut();
        if page.used & bit == 0 {
            return None;
        }
        let gone = page.entries.remove(page.index(bit));
        page.used &= !bit;
        self.len -= 1;
        if page.used == 0 {
            entry.remove();
            self.order.remove(&number);
            if pages.len() * 4 < pages.capacity() && pages.capacity() > KEPT {
                pages.shrink_to(pages.len() * 2, |page| self.hasher.hash_one(page.number));
            }
        } else if page.entries.len() * 2 <= page.entries.capacity() {
            page.entries.shrink_to_fit();
        }
        Some(gone)
    }

    /// Entries with numbers from `from` on, in order.
    pub fn from(&self, from: N) -> impl Iterator<Item = (N, &T)> {
        let (first, _) = place(from);
        let pages = self.order.range(first..).filter_map(|number| {
            let hash = self.hasher.hash_one(number);
            self.shards[shard(*number)].find(hash, |page| page.number == *number)
        });
        pages.flat_map(Page::entries).skip_while(move |(id, _)| *id < from)
    }
}

impl<T> Page<T> {
    /// Its entries with their numbers.
    fn entries<N: Number>(&self) -> impl Iterator<Item = (N, &T)> {
        let bits = (0..PAGE).filter(|bit| self.used & (1 << bit) != 0);
        bits.map(|bit| N::from(self.number * PAGE + bit)).zip(&self.entries)
    }

    /// Where the entry of this bit lies, or would.
    fn index(&self, bit: u32) -> usize {
        (self.used & (bit - 1)).count_ones() as usize
    }
}

fn place(id: impl Number) -> (u64, u32) {
    (id.number() / PAGE, 1 << (id.number() % PAGE))
}

fn shard(number: u64) -> usize {
    number as usize % SHARDS
}
