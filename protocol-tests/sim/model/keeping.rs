//! What outlives a process, and how the next one begins with it.

use std::collections::BTreeSet;

use bytes::Bytes;
use gearhouse::protocol::Kind;
use gearhouse::types::{JobId, Timestamp};

use super::super::cron;
use super::super::seen::Seen;
use super::{Function, Job, Model, Schedule, State};

/// What a new process must find.
#[derive(Clone, Default)]
pub struct Safe {
    jobs: Vec<Job>,
    schedules: Vec<Schedule>,
    functions: Vec<Function>,
}

impl Model {
    /// What would be found if all that was done so far were safe.
    pub fn kept(&self) -> Safe {
        let jobs = self.jobs.iter().chain(&self.set_aside).filter(|job| job.kept);
        let mut jobs: Vec<Job> = jobs.cloned().collect();
        jobs.sort_by_key(|job| job.number);
        let is_made = |function: &&Function| function.pinned || function.limits != [None; 3];
        let functions = self.functions.iter().filter(is_made).cloned().collect();
        Safe { jobs, schedules: self.schedules.clone(), functions }
    }

    /// A new process begins. No one waits, nothing runs; times that passed are not made up for.
    pub fn restart(&mut self, now: Timestamp, safe: Safe) {
        self.now = self.now.max(now);
        self.peers.clear();
        self.set_aside.clear();
        (self.draining, self.turns) = (None, 0);
        (self.jobs, self.schedules, self.functions) = (safe.jobs, safe.schedules, safe.functions);
        for job in &mut self.jobs {
            job.waiting.clear();
            (job.owed, job.numbers, job.record) = (None, (0, 0), 0);
            job.state = match job.state {
                State::Delayed(until) if until > self.now => State::Delayed(until),
                _ => State::Ready,
            };
        }
        self.mark_doubles();
        for schedule in &mut self.schedules {
            schedule.next = cron::next_after(&schedule.fields, self.now);
        }
        let of_jobs = self.jobs.iter().map(|job| job.function.clone());
        let names: Vec<Bytes> =
            of_jobs.chain(self.schedules.iter().map(|schedule| schedule.submit.function.clone())).collect();
        for name in names {
            if !self.functions.iter().any(|function| function.name == name) {
                self.functions.push(Function::new(name, self.now));
            }
        }
        self.functions.iter_mut().for_each(|function| function.turn = 0);
        self.note_unused();
    }

    /// A job that was set aside comes back beside one that was submitted in its stead.
    fn mark_doubles(&mut self) {
        let mut seen: BTreeSet<[Bytes; 3]> = BTreeSet::new();
        for job in self.jobs.iter_mut().filter(|job| !job.unique.is_empty()) {
            let payload = if job.unique == "-" { job.payload.clone() } else { Bytes::new() };
            let joins = job.unique != "-" || !payload.is_empty();
            job.is_double = joins && !seen.insert([job.function.clone(), job.unique.clone(), payload]);
        }
    }

    /// A job in the background that its client was told of is on the disk, or is over.
    pub fn check_acknowledged(&self, handle: &Bytes, safe: &Safe) {
        let Some(number) = self.number_of(handle) else { return };
        let is_safe = match self.index_of(number) {
            Some(index) => self.jobs[index].kept && safe.jobs.iter().any(|job| job.number == Some(number)),
            None => safe.schedules.iter().any(|schedule| schedule.number == number),
        };
        assert!(is_safe, "{} was acknowledged and is not safe", handle.escape_ascii());
    }

    /// Payloads that were asked for have come, or cannot be read.
    pub fn loaded(&mut self, read: &[(JobId, Option<Bytes>)], seen: &mut Seen) {
        self.begin(self.now);
        for (JobId(number), body) in read {
            let Some(index) = self.index_of(*number) else { continue };
            if body.is_none() {
                self.set_aside(index, seen);
                continue;
            }
            if let (Some(flavor), State::Running { by, .. }) =
                (self.jobs[index].owed.take(), self.jobs[index].state)
            {
                let answer = seen.filled(by, *number);
                assert_eq!(
                    answer,
                    self.assignment(index, flavor),
                    "the payload comes back as it was submitted"
                );
            }
        }
        self.end(seen);
    }

    /// Who waits is told; the row stays where it is, and the next process finds it.
    fn set_aside(&mut self, index: usize, seen: &mut Seen) {
        self.fail(index, seen);
        let job = self.jobs[index].clone();
        assert!(job.kept, "only what is kept has its payload on the disk");
        self.remove(index, seen);
        self.set_aside.push(job);
    }

    /// The answer to a GRAB whose job's worker has lost it before the payload came.
    pub(super) fn answer_in_vain(&mut self, index: usize, seen: &mut Seen) {
        let job = &mut self.jobs[index];
        if let (Some(_), State::Running { by, .. }) = (job.owed.take(), job.state) {
            let answer = seen.filled(by, job.number.expect("it was named"));
            assert_eq!(answer, (Kind::NoJob, Bytes::new()), "a GRAB does not stay unanswered");
        }
    }
}
