//! What happens by itself: delayed jobs become ready, running jobs run out of time, recurring jobs are submitted,
//! unanswered NOOPs are given up, unused functions disappear.

use super::job::State;
use super::{Engine, Output};
use crate::types::JobId;

/// Most steps in one go, so that a million jobs due in one second do not hold up everything else.
const STEPS: usize = 1000;

impl Engine {
    pub(super) fn run_timers(&mut self, out: &mut impl Output) {
        for _ in 0..STEPS {
            let did = self.run_timer(out) || self.give_up_call(out) || self.functions.expire_one(self.now);
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
            Some(State::Delayed { .. }) => self.make_ready(id, None, out),
            Some(State::Running { .. }) => self.time_out(id, out),
            Some(State::Ready) => debug_assert!(false, "a ready job has no deadline"),
            None => self.run_schedule(id, out),
        }
        true
    }

    /// The worker is not told; what it still says of the job is swallowed.
    fn time_out(&mut self, id: JobId, out: &mut impl Output) {
        self.put_back(id, out);
    }
}
