//! Jobs of one function and priority that may be handed out, in the order of their places.
//!
//! Nearly every job stands where its number says. For those one bit is enough: a page has 64 of them, so that a long
//! queue takes a fraction of a byte a job, and many short ones no more than an ordered set of numbers would.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::JobId;

/// An ordered set of (place, job).
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Jobs whose place is their number: number / 64 and a bit for each.
    pages: BTreeMap<u64, u64>,
    /// A page after all of those, perhaps an empty one: nearly every new job goes there.
    last: Page,
    /// Jobs that were sent to a later place.
    moved: BTreeSet<(u64, JobId)>,
    len: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    number: u64,
    bits: u64,
}

impl Ready {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, place: u64, id: JobId) {
        let is_new = if place == id.0 { self.set(id) } else { self.moved.insert((place, id)) };
        self.len += usize::from(is_new);
    }

    pub fn remove(&mut self, place: u64, id: JobId) {
        let was_there = if place == id.0 { self.clear(id) } else { self.moved.remove(&(place, id)) };
        self.len -= usize::from(was_there);
    }

    pub fn contains(&self, place: u64, id: JobId) -> bool {
        if place != id.0 {
            self.moved.contains(&(place, id))
        } else if page(id) == self.last.number {
            self.last.bits & bit(id) != 0
        } else {
            self.pages.get(&page(id)).is_some_and(|bits| bits & bit(id) != 0)
        }
    }

    /// Whether the bit was not set before.
    fn set(&mut self, id: JobId) -> bool {
        let number = page(id);
        if number > self.last.number {
            let before = std::mem::replace(&mut self.last, Page { number, bits: 0 });
            if before.bits != 0 {
                self.pages.insert(before.number, before.bits);
            }
        }
        let bits = if number == self.last.number {
            &mut self.last.bits
        } else {
            self.pages.entry(number).or_default()
        };
        let before = *bits;
        *bits |= bit(id);
        before != *bits
    }

    /// Whether the bit was set before.
    fn clear(&mut self, id: JobId) -> bool {
        let number = page(id);
        let is_last = number == self.last.number;
        let bits = if is_last { Some(&mut self.last.bits) } else { self.pages.get_mut(&number) };
        let Some(bits) = bits else { return false };
        let before = *bits;
        *bits &= !bit(id);
        let (is_changed, is_empty) = (before != *bits, *bits == 0);
        if is_empty && !is_last {
            self.pages.remove(&number);
        }
        is_changed
    }

    /// The job that is next.
    pub fn first(&self) -> Option<JobId> {
        let before_last = self.pages.first_key_value().map(|(page, bits)| first_of(*page, *bits));
        let last = (self.last.bits != 0).then(|| first_of(self.last.number, self.last.bits));
        let unmoved = before_last.or(last);
        if self.moved.is_empty() {
            return unmoved;
        }
        match (unmoved, self.moved.first()) {
            (Some(id), Some((place, moved))) => Some(if *place < id.0 { *moved } else { id }),
            (Some(id), None) => Some(id),
            (None, moved) => moved.map(|(_, id)| *id),
        }
    }

    /// The job that stands last.
    pub fn last(&self) -> Option<JobId> {
        let unmoved = self.pages_from(0).next_back().map(|(page, bits)| last_of(page, bits));
        match (unmoved, self.moved.last()) {
            (Some(id), Some((place, moved))) => Some(if *place > id.0 { *moved } else { id }),
            (Some(id), None) => Some(id),
            (None, moved) => moved.map(|(_, id)| *id),
        }
    }

    fn pages_from(&self, first: u64) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        let last =
            (self.last.bits != 0 && self.last.number >= first).then_some((self.last.number, self.last.bits));
        self.pages.range(first..).map(|(page, bits)| (*page, *bits)).chain(last)
    }

    /// Places and jobs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, JobId)> {
        self.from((0, JobId(0)))
    }

    /// The same from a place on, and at that place from a job on.
    pub fn from(&self, from: (u64, JobId)) -> impl Iterator<Item = (u64, JobId)> {
        let unmoved = self.pages_from(page(JobId(from.0))).flat_map(|(page, bits)| jobs_of(page, bits));
        let mut unmoved = unmoved.skip_while(move |id| (id.0, *id) < from).peekable();
        let mut moved = self.moved.range(from..).copied().peekable();
        std::iter::from_fn(move || match (unmoved.peek(), moved.peek()) {
            (Some(id), Some((place, _))) if *place < id.0 => moved.next(),
            (Some(_), _) => unmoved.next().map(|id| (id.0, id)),
            (None, _) => moved.next(),
        })
    }
}

fn page(id: JobId) -> u64 {
    id.0 / u64::from(u64::BITS)
}

fn bit(id: JobId) -> u64 {
    1 << (id.0 % u64::from(u64::BITS))
}

fn first_of(page: u64, bits: u64) -> JobId {
    JobId(page * u64::from(u64::BITS) + u64::from(bits.trailing_zeros()))
}

fn last_of(page: u64, bits: u64) -> JobId {
    JobId(page * u64::from(u64::BITS) + u64::from(63 - bits.leading_zeros()))
}

fn jobs_of(page: u64, mut bits: u64) -> impl Iterator<Item = JobId> {
    std::iter::from_fn(move || {
        let id = (bits != 0).then(|| first_of(page, bits))?;
        bits &= bits - 1;
        Some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_an_ordered_set(steps in prop::collection::vec((any::<bool>(), 1..200_u64, 0..3_u64), 0..200)) {
            let (mut ready, mut model) = (Ready::default(), BTreeSet::new());
            for (inserts, number, moved) in steps {
                let (place, id) = (number + moved * 500, JobId(number));
                if inserts {
                    ready.insert(place, id);
                    model.insert((place, id));
                } else {
                    ready.remove(place, id);
                    model.remove(&(place, id));
                }
                prop_assert_eq!(ready.contains(place, id), inserts);
                prop_assert_eq!(ready.len(), model.len());
                prop_assert_eq!(ready.first(), model.first().map(|(_, id)| *id));
                prop_assert_eq!(ready.last(), model.last().map(|(_, id)| *id));
                prop_assert!(ready.iter().eq(model.iter().copied()));
            }
        }
    }
}
