//! What happened to jobs, counted: per function and in all. Whoever watches reads it in slices, and only of functions
//! that changed.
//!
//! Plain numbers under the engine's own lock; nothing here is made for a function that had no job.

use std::sync::Arc;

use bytes::Bytes;

use super::function::{Function, Functions};
use super::{Engine, Outcome, Reason};
use crate::policy::Rules;
use crate::protocol::MaxQueue;
use crate::types::{FunctionId, Priority, Timestamp};

/// One number for each [`Reason`], by its number.
pub type ByReason = [u64; Reason::ALL.len()];

/// What happened to jobs since the server began.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Jobs that were made: by a submit, or by a recurring job.
    pub submitted: u64,
    /// Submits that joined a job instead.
    pub coalesced: u64,
    /// Times that a job was handed to a worker.
    pub started: u64,
    /// Jobs that ended with WORK_COMPLETE.
    pub succeeded: u64,
    /// Jobs that failed.
    pub failed: ByReason,
    /// Jobs that someone ended, or that no one waited for any more.
    pub cancelled: u64,
    /// Attempts that ended badly, and whose jobs went back to be tried again.
    pub retried: ByReason,
    /// From when a job could first be handed out until it was.
    pub wait: Histogram,
    /// From when a job was handed out until the worker ended it or lost it.
    pub run: Histogram,
}

impl Counts {
    /// Adds all that was counted elsewhere.
    pub fn merge(&mut self, other: &Counts) {
        self.submitted += other.submitted;
        self.coalesced += other.coalesced;
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.cancelled += other.cancelled;
        for index in 0..Reason::ALL.len() {
            self.failed[index] += other.failed[index];
            self.retried[index] += other.retried[index];
        }
        self.wait.merge(&other.wait);
        self.run.merge(&other.run);
    }

    /// What was counted since `earlier`, a former state of the same.
    pub fn since(&self, earlier: &Counts) -> Counts {
        let by_reason = |now: &ByReason, before: &ByReason| {
            std::array::from_fn(|index| now[index].saturating_sub(before[index]))
        };
        Counts {
            submitted: self.submitted.saturating_sub(earlier.submitted),
            coalesced: self.coalesced.saturating_sub(earlier.coalesced),
            started: self.started.saturating_sub(earlier.started),
            succeeded: self.succeeded.saturating_sub(earlier.succeeded),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
            failed: by_reason(&self.failed, &earlier.failed),
            retried: by_reason(&self.retried, &earlier.retried),
            wait: self.wait.since(&earlier.wait),
            run: self.run.since(&earlier.run),
        }
    }
}

/// Durations, counted by powers of two.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Histogram {
    /// How many were above the bound before and not above the bound of the same index; the last are above all bounds.
    pub buckets: [u64; Histogram::BUCKETS],
    /// All of them together, in microseconds.
    pub sum: u64,
}

impl Histogram {
    /// How many buckets there are: up to 64 µs, 128 µs, … 9.5 hours, and above.
    pub const BUCKETS: usize = 31;

    /// The largest duration that is counted in a bucket, in microseconds; none for the last.
    pub const fn bound(bucket: usize) -> Option<u64> {
        if bucket + 1 < Self::BUCKETS { Some(64 << bucket) } else { None }
    }

    /// Counts one duration, given in microseconds.
    pub fn add(&mut self, micros: u64) {
        let over = (micros.saturating_sub(1) >> 6).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.buckets[over.min(Self::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(micros);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds all that another counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// What was counted since `earlier`, a former state of the same.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let buckets = std::array::from_fn(|index| self.buckets[index].saturating_sub(earlier.buckets[index]));
        Histogram { buckets, sum: self.sum.saturating_sub(earlier.sum) }
    }

    /// A duration that this share of all does not exceed, in microseconds: exact to the bucket it lies in, and as if
    /// those in a bucket were spread evenly over it. `None` if none was counted.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = (share.clamp(0.0, 1.0) * count as f64).max(f64::MIN_POSITIVE);
        let mut below = 0;
        for (index, counted) in self.buckets.iter().enumerate() {
            let reached = below + counted;
            if *counted > 0 && reached as f64 >= wanted {
                let from = index.checked_sub(1).and_then(Self::bound).unwrap_or(0);
                // Above the last bound nothing is known but that.
                let Some(to) = Self::bound(index) else { return Some(from) };
                let part = (wanted - below as f64) / *counted as f64;
                return Some(from + ((to - from) as f64 * part) as u64);
            }
            below = reached;
        }
        None
    }
}

/// One function, as whoever watches sees it.
#[derive(Clone, Debug)]
pub struct FunctionTally {
    /// Which one it is, for as long as it is there.
    pub id: FunctionId,
    /// Its name; `None`: it is gone, and so is all that was counted for it.
    pub seen: Option<SeenFunction>,
}

/// What is known of a function.
#[derive(Clone, Debug)]
pub struct SeenFunction {
    /// Its name.
    pub name: Bytes,
    /// Jobs that may be handed out, by priority.
    pub ready: [usize; 3],
    /// Jobs that are not due yet, by priority.
    pub scheduled: [usize; 3],
    /// Jobs that wait until an operator releases them.
    pub held: usize,
    /// Jobs that workers have.
    pub running: usize,
    /// Connections that registered it.
    pub workers: usize,
    /// Since when the first of the jobs that may be handed out could be.
    pub oldest: Option<Timestamp>,
    /// Most jobs that it may have, by priority.
    pub limits: MaxQueue,
    /// What its policies say.
    pub rules: Arc<Rules>,
    /// What happened to its jobs; `None`: nothing.
    pub counts: Option<Box<Counts>>,
}

/// Which functions changed since they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Those that changed since the last look began.
    list: Vec<FunctionId>,
    /// Those that the look which is under way has not come to.
    to_look_at: Vec<FunctionId>,
}

impl Changed {
    #[cold]
    pub fn note(&mut self, id: FunctionId) {
        self.list.push(id);
    }
}

impl Functions {
    /// Counts the end of a job.
    pub fn count_end(&mut self, id: FunctionId, outcome: Outcome) {
        let counts = self.change(id).counts.get_or_insert_default();
        match outcome {
            Outcome::Succeeded => counts.succeeded += 1,
            Outcome::Failed(reason) => counts.failed[reason as usize] += 1,
            Outcome::Cancelled => counts.cancelled += 1,
        }
    }

    /// Counts an attempt that ended badly, and whose job goes back.
    pub fn count_retry(&mut self, id: FunctionId, why: Reason) {
        self.change(id).counts.get_or_insert_default().retried[why as usize] += 1;
    }
}

impl Engine {
    /// Begins to look at all functions that changed since this was last called. Only one may look.
    pub fn begin_look(&mut self) {
        self.functions.begin_look();
    }

    /// Appends so many of them. Whether there are more.
    pub fn look(&mut self, most: usize, into: &mut Vec<FunctionTally>) -> bool {
        for _ in 0..most {
            let Some(id) = self.functions.changed.to_look_at.pop() else { return false };
            let seen = self
                .functions
                .try_get(id)
                .map(|function| SeenFunction { oldest: self.oldest_queued(function), ..function.seen() });
            into.push(FunctionTally { id, seen });
        }
        !self.functions.changed.to_look_at.is_empty()
    }

    /// What happened to jobs of functions that are gone. With what happened to those of all others it makes the whole.
    pub fn counts_of_gone(&self) -> Counts {
        self.functions.gone.clone()
    }
}

impl Functions {
    fn begin_look(&mut self) {
        // What a look that was broken off did not come to is still to be looked at.
        let changed = &mut self.changed;
        changed.to_look_at.append(&mut changed.list);
        self.look += 1;
    }
}

impl Function {
    fn seen(&self) -> SeenFunction {
        SeenFunction {
            name: self.name.clone(),
            ready: Priority::ALL.map(|priority| self.ready[priority as usize].len()),
            scheduled: self.delayed,
            held: self.held,
            running: self.running,
            workers: self.workers,
            oldest: None,
            limits: self.limits,
            rules: Arc::clone(&self.rules),
            counts: self.counts.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_under_the_first_bound_that_it_does_not_exceed() {
        for (micros, bucket) in
            [(0, 0), (64, 0), (65, 1), (128, 1), (129, 2), (1 << 35, 29), ((1 << 35) + 1, 30)]
        {
            let mut histogram = Histogram::default();
            histogram.add(micros);
            assert_eq!(histogram.buckets[bucket], 1, "{micros} µs");
            assert!(Histogram::bound(bucket).is_none_or(|bound| micros <= bound));
        }
        let mut histogram = Histogram::default();
        histogram.add(u64::MAX);
        histogram.add(u64::MAX);
        assert_eq!((histogram.buckets[30], histogram.sum), (2, u64::MAX));
    }

    #[test]
    fn quantiles_lie_in_the_bucket_that_they_fall_into() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (0..90).for_each(|_| histogram.add(100));
        (0..10).for_each(|_| histogram.add(10_000));
        assert_eq!(histogram.quantile(0.0), Some(64));
        assert!((64..=128).contains(&histogram.quantile(0.5).unwrap()));
        assert_eq!(histogram.quantile(0.9), Some(128));
        assert!((8_192..=16_384).contains(&histogram.quantile(0.99).unwrap()));
        assert_eq!(histogram.quantile(1.0), Some(16_384));
    }

    #[test]
    fn what_came_since_is_what_merges_to_the_whole() {
        let mut earlier = Histogram::default();
        earlier.add(500);
        let mut later = earlier.clone();
        later.add(70);
        later.add(500);
        let mut merged = later.since(&earlier);
        assert_eq!((merged.count(), merged.sum), (2, 570));
        merged.merge(&earlier);
        assert_eq!(merged, later);
    }
}
