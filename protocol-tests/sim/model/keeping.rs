//! What outlives a process, and how the next one begins with it.

use std::collections::BTreeSet;

use bytes::Bytes;
use gearhouse::engine::{Load, Origin, Outcome, Phase, Reason};
use gearhouse::protocol::Kind;
use gearhouse::types::Timestamp;

use super::super::cron;
use super::super::seen::Seen;
use super::rules::Decree;
use super::state::{Over, State};
use super::{Function, Job, Model, Schedule};

/// What a new process must find.
#[derive(Clone, Default)]
pub struct Safe {
    jobs: Vec<Job>,
    schedules: Vec<Schedule>,
    functions: Vec<Function>,
    decrees: Vec<Decree>,
}

impl Model {
    /// What would be found if all that was done so far were safe.
    pub fn kept(&self) -> Safe {
        let jobs = self.jobs.iter().chain(&self.over).chain(&self.set_aside).filter(|job| job.kept);
        let mut jobs: Vec<Job> = jobs.cloned().collect();
        jobs.sort_by_key(|job| job.number);
        let is_made = |function: &&Function| function.pinned || function.limits != [None; 3];
        let functions = self.functions.iter().filter(is_made).cloned().collect();
        let of_operators = self.decrees.iter().filter(|decree| decree.origin == Origin::Operator);
        let decrees = of_operators.cloned().collect();
        Safe { jobs, schedules: self.schedules.clone(), functions, decrees }
    }

    /// A new process begins. No one waits, what ran is lost; times that passed are not made up for.
    pub fn restart(&mut self, now: Timestamp, safe: Safe, seen: &mut Seen) {
        self.begin(now);
        self.peers.clear();
        self.set_aside.clear();
        (self.draining, self.turns, self.must_review) = (None, 0, false);
        (self.schedules, self.functions) = (safe.schedules, safe.functions);
        self.decrees.retain(|decree| decree.origin == Origin::File);
        self.decrees.extend(safe.decrees);
        (self.jobs, self.over) = (Vec::new(), Vec::new());
        let mut broken_off = Vec::new();
        for job in safe.jobs {
            let phase = job.written.expect("what is kept was written").phase;
            if matches!(phase, Phase::Running | Phase::Cancelling) {
                broken_off.push((job.number.expect("it was named"), phase));
            }
            let job = self.brought_back(job);
            if job.over().is_some() { self.over.push(job) } else { self.jobs.push(job) }
        }
        self.mark_doubles();
        for schedule in &mut self.schedules {
            schedule.next = cron::next_after(&schedule.fields, self.now);
        }
        let of_jobs = self.jobs.iter().chain(&self.over).map(|job| job.function.clone());
        let names: Vec<Bytes> =
            of_jobs.chain(self.schedules.iter().map(|schedule| schedule.submit.function.clone())).collect();
        for name in names {
            if !self.functions.iter().any(|function| function.name == name) {
                self.functions.push(Function::new(name, self.now));
            }
        }
        for function in &mut self.functions {
            (function.turn, function.throttled) = (0, None);
            function.used.clear();
        }
        for (number, phase) in broken_off {
            if phase == Phase::Cancelling {
                let index = self.index_of(number).expect("it came back");
                self.must_log_run(index, seen);
                self.finish(index, Outcome::Cancelled, None, seen);
            } else {
                self.put_back(number, Reason::Lost, seen);
            }
        }
        for index in 0..self.functions.len() {
            self.functions[index].is_memory = self.is_idle(&self.functions[index]);
        }
        self.end(seen);
    }

    /// A job as the log tells of it.
    fn brought_back(&self, mut job: Job) -> Job {
        let written = job.written.expect("what is kept was written");
        job.waiting.clear();
        (job.owed, job.numbers, job.record, job.patience, job.is_double) = (None, (0, 0), 0, None, false);
        (job.priority, job.attempts, job.losses) = (written.priority, written.attempts, written.losses);
        (job.first_start, job.last_start) = (written.first_start, written.last_start);
        let due = written.due.filter(|due| *due > self.now);
        job.state = match written.phase {
            Phase::Waiting if due.is_some() => State::Delayed(due.expect("it is")),
            Phase::Waiting | Phase::Running | Phase::Cancelling => State::Ready,
            Phase::Held => State::Held(due),
            Phase::Over { outcome, at } => {
                let time = self.keeps(&job, outcome).map(|kept| kept.time).unwrap_or_default();
                let window = self.window(&job, outcome).map(|window| at.after(window));
                let answers_until = window.filter(|until| *until > self.now);
                let retires = at.after(time).max(answers_until.unwrap_or_default());
                State::Over(Over { outcome, at, retires, result: None, result_record: 0, answers_until })
            }
        };
        if job.is_ready() && written.phase == Phase::Waiting {
            let since = written.due.unwrap_or_default().max(job.submitted);
            job.patience = self.patience(&job, since);
        }
        job
    }

    /// A job that was set aside comes back beside one that was submitted in its stead. Of those that are over and may
    /// answer, the last one does, unless there is one that is not over.
    fn mark_doubles(&mut self) {
        let mut live: BTreeSet<[Bytes; 3]> = BTreeSet::new();
        for job in &mut self.jobs {
            job.is_double = job.key().is_some_and(|key| !live.insert(key));
        }
        self.over.sort_by_key(|job| job.number);
        for job in self.over.iter_mut().rev() {
            let key = job.key();
            if let State::Over(over) = &mut job.state
                && over.answers_until.is_some()
                && key.is_none_or(|key| !live.insert(key))
            {
                over.answers_until = None;
            }
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

    /// What was asked for has come, or cannot be read.
    pub fn loaded(&mut self, read: &[(Load, Option<Bytes>)], seen: &mut Seen) {
        self.begin(self.now);
        for (what, bytes) in read {
            match what {
                Load::Payload(id) => self.payload_loaded(id.0, bytes.is_some(), seen),
                Load::Result(id) => self.result_loaded(id.0, bytes.as_ref(), seen),
            }
        }
        self.end(seen);
    }

    fn payload_loaded(&mut self, number: u64, is_read: bool, seen: &mut Seen) {
        let Some(index) = self.index_of(number) else {
            if !is_read {
                self.set_aside_over(number, seen);
            }
            return;
        };
        if !is_read {
            return self.set_aside(index, seen);
        }
        if let (Some(flavor), Some(run)) = (self.jobs[index].owed.take(), self.jobs[index].run().copied()) {
            let answer = seen.filled(run.by, number);
            assert_eq!(answer, self.assignment(index, flavor), "the payload comes back as it was submitted");
        }
    }

    /// Who was answered with a job that is over is told its result. One that cannot be read answers no more.
    fn result_loaded(&mut self, number: u64, result: Option<&Bytes>, seen: &mut Seen) {
        let Some(index) = self.over_index_of(number) else { return };
        let waiting = std::mem::take(&mut self.over[index].waiting);
        let handle = self.job_handle_of(&self.over[index]);
        let State::Over(over) = &mut self.over[index].state else { return };
        match result {
            Some(result) => {
                for conn in waiting {
                    seen.packet(conn, Kind::WorkComplete, &[handle.as_bytes(), result].join(&0));
                }
            }
            None => {
                over.answers_until = None;
                Self::tell_failed(&waiting, &handle, seen);
            }
        }
    }

    /// Who waits is told; the row stays where it is, and the next process finds it.
    fn set_aside(&mut self, index: usize, seen: &mut Seen) {
        self.fail(index, seen);
        let job = self.jobs[index].clone();
        assert!(job.kept, "only what is kept has its payload on the disk");
        self.remove(index, seen);
        self.set_aside.push(job);
    }

    fn set_aside_over(&mut self, number: u64, seen: &mut Seen) {
        if self.over_index_of(number).is_some() {
            let job = self.drop_over(number, seen);
            self.set_aside.push(job);
        }
    }

    /// The answer to a GRAB whose job's worker has lost it before the payload came.
    pub(super) fn answer_in_vain(&mut self, index: usize, seen: &mut Seen) {
        let job = &mut self.jobs[index];
        if let (Some(_), Some(run)) = (job.owed.take(), job.run().copied()) {
            let answer = seen.filled(run.by, job.number.expect("it was named"));
            assert_eq!(answer, (Kind::NoJob, Bytes::new()), "a GRAB does not stay unanswered");
        }
    }
}
