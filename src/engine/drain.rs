//! The end of a server: nothing new is accepted, what runs may finish, who waits in vain is told.

use super::job::State;
use super::{Drain, Engine, Outcome, Output};
use crate::types::JobId;

impl Engine {
    /// Refuses submits from now on. With [`Drain::Running`] nothing is handed out any more either, and clients
    /// whose jobs have not begun are told at once that they failed.
    pub fn drain(&mut self, drain: Drain, out: &mut impl Output) {
        if self.draining == Some(Drain::Running) {
            return;
        }
        self.draining = Some(drain);
        if drain == Drain::Running {
            self.fail_awaited(|state| !matches!(state, State::Running { .. } | State::Over { .. }), out);
        }
    }

    /// Whether all is done that [`Engine::drain`] still allows. What an operator holds is not waited for: it would be for
    /// ever.
    pub fn is_drained(&self) -> bool {
        match self.draining {
            None => false,
            Some(Drain::Running) => self.running == 0,
            Some(Drain::Queued) => self.jobs.len() == self.over.len() + self.held.len(),
        }
    }

    /// Time is up: all clients that still wait are told that their jobs failed.
    pub fn give_up(&mut self, out: &mut impl Output) {
        self.draining = Some(Drain::Running);
        self.fail_awaited(|_| true, out);
    }

    pub(super) fn hands_out(&self) -> bool {
        self.draining != Some(Drain::Running)
    }

    fn fail_awaited(&mut self, which: impl Fn(&State) -> bool, out: &mut impl Output) {
        let awaited =
            self.jobs.from(JobId(0)).filter(|(_, job)| !job.waiting().is_empty() && which(&job.state()));
        for id in awaited.map(|(id, _)| id).collect::<Vec<_>>() {
            let waiting = self.take_waiting(id);
            self.tell_failed(id, &waiting, out);
            if let Some(job) = self.jobs.get(id).filter(|job| !job.kept) {
                self.functions.count_end(job.function, Outcome::Cancelled);
                self.remove_job(id, out);
            }
        }
    }
}
