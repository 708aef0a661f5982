//! What operators do to jobs, workers and policies.

use std::time::Duration;

use gearhouse::engine::{Action, Did, Origin, Outcome, Output as _, Retirement, Undone, What};
use gearhouse::policy::Policy;
use gearhouse::protocol::Refusal;
use gearhouse::types::{ConnId, Timestamp};

use super::super::seen::Seen;
use super::rules::{Decree, fits};
use super::state::State;
use super::{Model, Sleep};

impl Model {
    /// Does something to a job, and compares what came of it.
    pub fn control(
        &mut self,
        now: Timestamp,
        number: u64,
        action: Action,
        done: &Result<Did, Undone>,
        seen: &mut Seen,
    ) {
        self.begin(now);
        let expected = self.try_control(number, action, seen);
        // The model does not know of which jobs a line is kept.
        let done = if *done == Err(Undone::NotKept) { &Err(Undone::Unknown) } else { done };
        assert_eq!(*done, expected, "{action:?} of {number}");
        self.end(seen);
    }

    fn try_control(&mut self, number: u64, action: Action, seen: &mut Seen) -> Result<Did, Undone> {
        let live = self.index_of(number);
        let job = match (live, self.over_index_of(number)) {
            (Some(index), _) => &self.jobs[index],
            (None, Some(index)) => &self.over[index],
            (None, None) => return Err(Undone::Unknown),
        };
        if job.kept && seen.has_failed() {
            return Err(Undone::Refused(Refusal::STORE_FAILED));
        }
        let (state, attempts) = (job.state.clone(), job.attempts);
        match action {
            Action::Delete if matches!(state, State::Running(_)) => Err(Undone::Running),
            Action::Delete => {
                if live.is_some() {
                    self.must_log(job, job.submitted, What::Submitted, seen);
                }
                self.must_note(job, What::Retired(Retirement::Deleted), seen);
                match live {
                    Some(index) => {
                        self.fail(index, seen);
                        self.remove(index, seen);
                    }
                    None => drop(self.drop_over(number, seen)),
                }
                Ok(Did::Deleted)
            }
            Action::Retry if matches!(state, State::Over(_)) => self.retry(number, seen),
            _ => match (action, state, live) {
                (_, State::Over(over), _) => Err(Undone::Over(over.outcome)),
                (Action::Cancel, State::Running(run), _) if run.is_cancelled => Err(Undone::Cancelling),
                (Action::Cancel, State::Running(_), Some(index)) => {
                    self.cancel_running(index, seen);
                    Ok(Did::Cancelling)
                }
                (Action::Cancel, _, Some(index)) => {
                    let (waiting, handle) = (self.jobs[index].waiting.clone(), self.job_handle(index));
                    self.finish(index, Outcome::Cancelled, None, seen);
                    Self::tell_failed(&waiting, &handle, seen);
                    Ok(Did::Cancelled)
                }
                (Action::Release, State::Held(until), Some(index)) => {
                    self.must_note(&self.jobs[index], What::Released, seen);
                    let until = until.filter(|until| *until > self.now);
                    match until {
                        Some(until) => self.jobs[index].state = State::Delayed(until),
                        None => self.make_ready(index, seen),
                    }
                    self.write(index);
                    Ok(if until.is_some() { Did::Scheduled } else { Did::Queued })
                }
                (Action::Release, ..) => Err(Undone::NotHeld),
                (_, State::Running(_), _) => Err(Undone::Running),
                (Action::Priority(priority), _, Some(index)) => {
                    self.jobs[index].priority = priority;
                    self.must_note(&self.jobs[index], What::Priority(priority), seen);
                    self.write(index);
                    Ok(Did::Moved)
                }
                (_, State::Held(_), _) => Err(Undone::Held),
                (Action::Hold, state, Some(index)) => {
                    let until = if let State::Delayed(until) = state { Some(until) } else { None };
                    (self.jobs[index].state, self.jobs[index].patience) = (State::Held(until), None);
                    self.must_note(&self.jobs[index], What::Held, seen);
                    self.write(index);
                    Ok(Did::Held)
                }
                (Action::Retry, State::Delayed(_), _) if attempts == 0 => Err(Undone::NotOver),
                (Action::Retry | Action::Run, State::Delayed(_), Some(index)) => {
                    if action == Action::Retry {
                        (self.jobs[index].attempts, self.jobs[index].losses) = (0, 0);
                    }
                    let what = if action == Action::Run { What::Run } else { What::Retried };
                    self.must_note(&self.jobs[index], what, seen);
                    self.make_ready(index, seen);
                    self.write(index);
                    Ok(Did::Queued)
                }
                (Action::Retry, ..) => Err(Undone::NotOver),
                _ => Err(Undone::Queued),
            },
        }
    }

    /// It is over when its worker is done with it. Who waits is told at once, and no one joins it any more.
    fn cancel_running(&mut self, index: usize, seen: &mut Seen) {
        let job = &mut self.jobs[index];
        job.is_double = true;
        if let State::Running(run) = &mut job.state {
            run.is_cancelled = true;
        }
        self.must_note(&self.jobs[index], What::Cancelling, seen);
        self.write(index);
        self.fail(index, seen);
        self.jobs[index].waiting.clear();
    }

    fn retry(&mut self, number: u64, seen: &mut Seen) -> Result<Did, Undone> {
        if self.draining.is_some() {
            return Err(Undone::Refused(Refusal::SHUTDOWN));
        }
        let index = self.over_index_of(number).expect("it is over");
        if !self.over[index].kept {
            // What was in memory only must be kept now, as any job in the background.
            seen.readiness().map_err(Undone::Refused)?;
            self.over[index].kept = true;
        }
        self.must_note(&self.over[index], What::Retried, seen);
        let mut job = self.over.remove(index);
        job.is_double = self.is_taken(&job);
        (job.attempts, job.losses) = (0, 0);
        let place = self.jobs.partition_point(|other| other.number < job.number);
        self.jobs.insert(place, job);
        self.make_ready(place, seen);
        self.write(place);
        Ok(Did::Queued)
    }

    /// Sets a policy, or lifts it.
    pub fn set_policy(
        &mut self,
        now: Timestamp,
        pattern: &str,
        policy: Option<Policy>,
        done: Result<(), Refusal>,
        seen: &mut Seen,
    ) {
        self.begin(now);
        let policy = policy.filter(|policy| *policy != Policy::default());
        let is_refused = seen.has_failed() || policy.is_some() && seen.keeps_nothing();
        assert_eq!(done.is_err(), is_refused, "a policy is refused if it cannot be kept: {done:?}");
        if !is_refused {
            let rates = self.rates();
            let is_other = |decree: &Decree| decree.pattern != pattern || decree.origin != Origin::Operator;
            self.decrees.retain(is_other);
            if let Some(policy) = policy {
                self.decrees.push(Decree { pattern: pattern.into(), origin: Origin::Operator, policy });
            }
            self.renew(pattern, &rates);
        }
        self.end(seen);
    }

    fn rates(&self) -> Vec<(Option<Duration>, u32)> {
        let rules = self.functions.iter().map(|function| self.rules(&function.name));
        rules.map(|rules| (rules.spacing, rules.burst)).collect()
    }

    /// The rules of these functions may be others than before: rates that are begin anew, and all jobs are looked at.
    fn renew(&mut self, pattern: &str, before: &[(Option<Duration>, u32)]) {
        let mut is_any = false;
        let now = self.rates();
        for index in 0..self.functions.len() {
            if fits(pattern.as_bytes(), &self.functions[index].name) {
                is_any = true;
                let function = &mut self.functions[index];
                if before[index] != now[index] {
                    function.used.clear();
                    function.throttled = None;
                }
                self.may_wake_for(index);
            }
        }
        self.must_review |= is_any && !(self.jobs.is_empty() && self.over.is_empty());
    }

    /// The patterns for which operators set policies.
    pub fn operator_patterns(&self) -> Vec<String> {
        let of_operators = self.decrees.iter().filter(|decree| decree.origin == Origin::Operator);
        of_operators.map(|decree| decree.pattern.clone()).collect()
    }

    /// A worker gets no more jobs, and is closed when it holds none.
    pub fn stop_worker(&mut self, now: Timestamp, conn: ConnId, seen: &mut Seen) {
        self.begin(now);
        self.answer_call(conn);
        self.peer(conn).is_stopping = true;
        if !self.is_busy(conn) {
            seen.closed(conn);
        }
        self.end(seen);
    }

    /// A connection is closed.
    pub fn close_peer(&mut self, now: Timestamp, conn: ConnId, seen: &mut Seen) {
        self.begin(now);
        seen.closed(conn);
        self.end(seen);
    }

    /// The text command `cancel job` of a job.
    pub(super) fn cancel_by_text(&mut self, number: u64, seen: &mut Seen) -> Result<Did, Undone> {
        self.try_control(number, Action::Cancel, seen)
    }

    /// Whether it is counted on as a worker that may be woken.
    pub(super) fn is_called_for(sleep: Sleep, is_stopping: bool) -> bool {
        sleep == Sleep::Asleep && !is_stopping
    }
}
