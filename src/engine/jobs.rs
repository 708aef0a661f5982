//! The table of live jobs. A job's number leads to its slot directly; nothing is ever moved or rehashed at scale.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;

use super::job::Job;
use crate::types::JobId;

/// Jobs with consecutive numbers share a page; a page is freed with its last job.
const PAGE: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Jobs {
    pages: HashMap<u64, Box<Page>, FixedState>,
    /// Page numbers in order, for listings.
    order: BTreeSet<u64>,
    len: usize,
}

#[derive(Debug)]
struct Page {
    slots: [Option<Job>; PAGE as usize],
    used: usize,
}

impl Jobs {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, id: JobId, job: Job) {
        let (number, slot) = place(id);
        let page = self.pages.entry(number).or_insert_with(|| {
            self.order.insert(number);
            Box::new(Page { slots: [const { None }; PAGE as usize], used: 0 })
        });
        debug_assert!(page.slots[slot].is_none(), "job numbers are never reused");
        page.slots[slot] = Some(job);
        page.used += 1;
        self.len += 1;
    }

    pub fn get(&self, id: JobId) -> Option<&Job> {
        let (number, slot) = place(id);
        self.pages.get(&number)?.slots[slot].as_ref()
    }

    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let (number, slot) = place(id);
        self.pages.get_mut(&number)?.slots[slot].as_mut()
    }

    pub fn remove(&mut self, id: JobId) -> Option<Job> {
        let (number, slot) = place(id);
        let page = self.pages.get_mut(&number)?;
        let job = page.slots[slot].take()?;
        page.used -= 1;
        self.len -= 1;
        if page.used == 0 {
            self.pages.remove(&number);
            self.order.remove(&number);
        }
        Some(job)
    }

    /// Jobs with numbers from `from` on, in order.
    pub fn from(&self, from: JobId) -> impl Iterator<Item = (JobId, &Job)> {
        let (first, _) = place(from);
        self.order.range(first..).flat_map(move |number| {
            let slots = self.pages.get(number).map(|page| page.slots.as_slice()).unwrap_or_default();
            let numbers = (number * PAGE..).map(JobId);
            numbers.zip(slots).filter_map(move |(id, slot)| Some((id, slot.as_ref()?)).filter(|_| id >= from))
        })
    }
}

fn place(id: JobId) -> (u64, usize) {
    (id.0 / PAGE, (id.0 % PAGE) as usize)
}
