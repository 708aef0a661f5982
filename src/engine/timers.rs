//! What happens by itself: delayed jobs become ready, running jobs run out of time, recurring jobs are submitted,
//! unanswered NOOPs are given up, unused functions and what was kept of jobs disappear.

use super::job::{Job, State};
use super::{Engine, Outcome, Output, Reason, Retirement, What};
use crate::types::JobId;

/// Most steps in one go, so that a million jobs due in one second do not hold up everything else.
const STEPS: usize = 1000;

impl Engine {
    pub(super) fn run_timers(&mut self, out: &mut impl Output) {
        for _ in 0..STEPS {
            let did = self.run_timer(out)
                || self.give_up_call(out)
                || self.release(out)
                || self.expire_function()
                || self.review_one(out);
            if !did {
                return;
            }
        }
    }

    fn run_timer(&mut self, out: &mut impl Output) -> bool {
        let due = self.timers.first().copied().filter(|(when, _)| *when <= self.now);
        let Some((when, id)) = due else { return false };
        self.timers.remove(&(when, id));
        match self.jobs.get(id).map(|job| job.state()) {
            Some(State::Delayed { .. }) => {
                self.note(id, What::Due, out);
                self.make_ready(id, None, out);
            }
            Some(State::Running { .. }) => {
                let is_silent = self.jobs.get(id).is_some_and(Job::is_silent);
                // The worker is not told; what it still says of the job is swallowed.
                self.put_back(id, if is_silent { Reason::LeaseExpired } else { Reason::TimedOut }, out);
            }
            Some(State::Ready) => {
                let waiting = self.finish(id, Outcome::Failed(Reason::Expired), None, out);
                self.tell_failed(id, &waiting, out);
            }
            Some(State::Over { .. }) => self.retire(id, Retirement::Time, out),
            Some(State::Held) => debug_assert!(false, "a held job has no deadline"),
            None => self.run_schedule(id, out),
        }
        true
    }

    fn expire_function(&mut self) -> bool {
        let looked_at = self.functions.expire_one(self.now);
        if let Some((function, true)) = looked_at {
            self.recents.forget(function);
        }
        looked_at.is_some()
    }

    /// A function whose rate was used up goes on.
    fn release(&mut self, out: &mut impl Output) -> bool {
        let Some(function) = self.functions.release_one(self.now) else { return false };
        self.wake(function, out);
        true
    }

    /// A policy changed: looks at the next job, whether it is to be given up or to go at another time than before.
    fn review_one(&mut self, out: &mut impl Output) -> bool {
        let Some(from) = self.review else { return false };
        let Some((id, job)) = self.jobs.from(from).next() else {
            self.review = None;
            return false;
        };
        self.review = Some(JobId(id.0 + 1));
        match job.state() {
            State::Ready => {
                let (since, timeout) = (job.waits_since(), self.wait_timeout(job));
                if timeout.map(|timeout| since.after(timeout)) != job.expires() {
                    self.restand(id, out, |job| job.wait_at_most(since, timeout));
                }
            }
            State::Over { .. } => {
                // One that goes since there are too many may be another; then this one is looked at again.
                if self.retire_surplus(id, out) {
                    self.review = Some(id);
                } else {
                    self.review_over(id, out);
                }
            }
            State::Delayed { .. } | State::Held | State::Running { .. } => {}
        }
        true
    }
}
