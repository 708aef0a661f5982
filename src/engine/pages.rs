//! The table of live jobs, and that of connections. A number leads to its page directly; nothing is ever moved or rehashed
//! at scale, and there is an order for listings that costs nothing for each entry.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use hashbrown::HashTable;

use crate::types::{ConnId, JobId};

/// Entries with consecutive numbers share a page; a page is freed with its last entry, and shrinks on the way, so that
/// few that stay do not hold the memory of many that went.
const PAGE: usize = 32;

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
    /// Page numbers in order, for listings.
    order: BTreeSet<u64>,
    /// The highest number that a page had.
    latest: u64,
    len: usize,
    numbers: PhantomData<N>,
}

#[derive(Debug)]
struct Page<T> {
    number: u64,
    /// A bit for each number that has an entry.
    used: u32,
    /// Where the entry of each number lies, if it has one.
    indexes: [u8; PAGE],
    /// Which number has the entry that lies there.
    slots: [u8; PAGE],
    entries: Vec<T>,
}

impl<N, T> Default for Pages<N, T> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { shards, order: BTreeSet::new(), latest: 0, len: 0, numbers: PhantomData }
    }
}

impl<N: Number, T> Pages<N, T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, id: N, entry: T) {
        let (number, slot) = place(id);
        if self.page_mut(number).is_none() {
            self.begin(number);
        }
        if let Some(page) = self.page_mut(number) {
            page.insert(slot, entry);
            self.len += 1;
        }
    }

    pub fn get(&self, id: N) -> Option<&T> {
        let (number, slot) = place(id);
        let page = self.page(number)?;
        page.entries.get(page.index(slot)?)
    }

    pub fn get_mut(&mut self, id: N) -> Option<&mut T> {
        let (number, slot) = place(id);
        let page = self.page_mut(number)?;
        let index = page.index(slot)?;
        page.entries.get_mut(index)
    }

    pub fn remove(&mut self, id: N) -> Option<T> {
        let (number, slot) = place(id);
        let latest = self.latest;
        let page = self.page_mut(number)?;
        let gone = page.remove(slot)?;
        if page.used == 0 {
            self.end(number);
        } else if number != latest {
            page.shrink();
        }
        self.len -= 1;
        Some(gone)
    }

    /// Entries with numbers from `from` on, in order.
    pub fn from(&self, from: N) -> impl Iterator<Item = (N, &T)> {
        let (first, _) = place(from);
        let pages = self.order.range(first..).filter_map(|number| self.page(*number));
        pages.flat_map(Page::entries).skip_while(move |(id, _)| *id < from)
    }

    fn page(&self, number: u64) -> Option<&Page<T>> {
        self.shards[shard(number)].find(hash(number), |page| page.number == number)
    }

    fn page_mut(&mut self, number: u64) -> Option<&mut Page<T>> {
        self.shards[shard(number)].find_mut(hash(number), |page| page.number == number)
    }

    /// A page without entries yet. That of the latest numbers has room for all of them from the start, since they come
    /// next, and keeps it until the next page begins.
    fn begin(&mut self, number: u64) {
        let entries = Vec::with_capacity(if number >= self.latest { PAGE } else { 1 });
        let page = Page { number, used: 0, indexes: [0; PAGE], slots: [0; PAGE], entries };
        self.shards[shard(number)].insert_unique(hash(number), page, |page| hash(page.number));
        self.order.insert(number);
        if number > self.latest {
            let before = std::mem::replace(&mut self.latest, number);
            if let Some(page) = self.page_mut(before) {
                page.shrink();
            }
        }
    }

    /// A page without entries any more.
    fn end(&mut self, number: u64) {
        self.order.remove(&number);
        let pages = &mut self.shards[shard(number)];
        if let Ok(page) = pages.find_entry(hash(number), |page| page.number == number) {
            page.remove();
        }
        if pages.len() * 4 < pages.capacity() && pages.capacity() > KEPT {
            pages.shrink_to(pages.len() * 2, |page| hash(page.number));
        }
    }
}

impl<T> Page<T> {
    /// Its entries with their numbers, in order.
    fn entries<N: Number>(&self) -> impl Iterator<Item = (N, &T)> {
        (0..PAGE).filter_map(|slot| {
            let entry = self.entries.get(self.index(slot)?)?;
            Some((N::from(self.number * PAGE as u64 + slot as u64), entry))
        })
    }

    /// Where the entry of this number lies.
    fn index(&self, slot: usize) -> Option<usize> {
        if self.used & (1 << slot) == 0 { None } else { Some(usize::from(self.indexes[slot])) }
    }

    fn insert(&mut self, slot: usize, entry: T) {
        debug_assert!(self.index(slot).is_none(), "numbers are never given out again");
        let index = self.entries.len();
        (self.indexes[slot], self.slots[index]) = (index as u8, slot as u8);
        self.used |= 1 << slot;
        self.entries.push(entry);
    }

    /// The last entry takes the place of the one that goes, so that none is moved but that.
    fn remove(&mut self, slot: usize) -> Option<T> {
        let index = self.index(slot)?;
        let gone = self.entries.swap_remove(index);
        let moved = self.slots[self.entries.len()];
        (self.indexes[usize::from(moved)], self.slots[index]) = (index as u8, moved);
        self.used &= !(1 << slot);
        Some(gone)
    }

    /// Gives back room that few entries do not need.
    fn shrink(&mut self) {
        if self.entries.len() * 4 <= self.entries.capacity() {
            self.entries.shrink_to_fit();
        }
    }
}

/// The page of a number, and which one it is there.
fn place(id: impl Number) -> (u64, usize) {
    (id.number() / PAGE as u64, id.number() as usize % PAGE)
}

fn shard(number: u64) -> usize {
    number as usize % SHARDS
}

/// The server gives the numbers out itself, so no one can make them collide. Of one shard, pages that follow each other
/// get places that do; the multiplication is for the highest bits, which tell pages in neighbouring places apart.
fn hash(number: u64) -> u64 {
    (number / SHARDS as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_is_found_by_its_number_for_as_long_as_it_is_there(
            steps in prop::collection::vec((any::<bool>(), 0_u64..200), 0..600),
        ) {
            let (mut pages, mut model) = (Pages::<JobId, String>::default(), BTreeMap::new());
            for (inserts, number) in steps {
                let id = JobId(number);
                if !inserts {
                    prop_assert_eq!(pages.remove(id), model.remove(&id));
                } else if let std::collections::btree_map::Entry::Vacant(absent) = model.entry(id) {
                    pages.insert(id, absent.insert(number.to_string()).clone());
                }
                prop_assert_eq!(pages.get(id), model.get(&id));
                prop_assert_eq!(pages.get_mut(id), model.get_mut(&id));
                prop_assert_eq!(pages.len(), model.len());
                prop_assert!(pages.from(id).eq(model.range(id..).map(|(id, entry)| (*id, entry))));
            }
        }

        #[test]
        fn few_that_stay_do_not_hold_the_memory_of_many_that_went(stays in 0..PAGE as u64) {
            let mut pages = Pages::<JobId, u64>::default();
            for number in 0..PAGE as u64 {
                pages.insert(JobId(number), number);
            }
            for number in (0..PAGE as u64).filter(|number| *number != stays) {
                pages.remove(JobId(number));
            }
            pages.insert(JobId(PAGE as u64), 0);
            prop_assert!(pages.page(0).is_some_and(|page| page.entries.capacity() <= 4));
        }
    }
}
