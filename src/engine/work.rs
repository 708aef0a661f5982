//! WORK_*: what a worker says of a job it holds, passed on to those who wait (reference, sections 3.5 and 3.9).

use super::job::Job;
use super::{Engine, Output, Record, refuse, reply};
use crate::protocol::{Handle, Kind, Refusal, Response, Update, Work};
use crate::types::{ConnId, JobId};

impl Engine {
    /// Answers only if the job is not this connection's and was not lately: with JOB_NOT_FOUND.
    pub(super) fn work(&mut self, conn: ConnId, work: &Work, out: &mut impl Output) {
        let id = Handle::parse(&self.settings.handle_prefix, work.handle());
        let held = id.and_then(|id| self.jobs.get_mut(id)).filter(|job| job.is_running_by(conn));
        let (Some(id), Some(job)) = (id, held) else {
            let is_late = id.zip(self.peers.get(conn)).is_some_and(|(id, peer)| peer.ties().has_ended(id));
            if !is_late {
                refuse(out, conn, &Refusal::not_held(work.update));
            }
            return;
        };
        match work.update {
            Update::Data | Update::Warning => {}
            Update::Status(numbers) => job.set_numbers(numbers),
            Update::Complete | Update::Fail | Update::Exception => {
                if let Some(job) = self.remove_job(id, out) {
                    self.forward(id, &job, work, out);
                }
                return;
            }
        }
        if let Some(job) = self.jobs.get(id) {
            self.forward(id, job, work, out);
        }
    }

    /// One copy for each submit that waits. They wait in the foreground, so the disk is none of their business. Who did
    /// not ask for exceptions is told of a failure instead.
    fn forward(&self, id: JobId, job: &Job, work: &Work, out: &mut impl Output) {
        let kind = work.kind();
        for conn in job.waiting() {
            let takes_exceptions = || self.peers.get(*conn).is_some_and(|peer| peer.exceptions);
            let response = if kind == Kind::WorkException && !takes_exceptions() {
                Response::WorkFail(self.handle(id))
            } else {
                Response::Work { kind, body: &work.body }
            };
            reply(out, *conn, response);
        }
    }

    /// A worker lost a job: it goes back to its queue, or is given up when its attempts are used up or no one
    /// wants it any more.
    pub(super) fn put_back(&mut self, id: JobId, out: &mut impl Output) {
        let outlives = self.jobs.get(id).is_some_and(|job| job.kept);
        if outlives && !self.hands_out() {
            // The server ends, and connections with it: that costs a job that outlives it no attempt.
            return self.make_ready(id, None, out);
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.lose();
        let is_unwanted = job.waiting().is_empty() && !job.kept;
        let is_used_up = self.settings.attempts.is_some_and(|attempts| job.losses() >= attempts);
        if is_unwanted || is_used_up {
            if let Some(job) = self.remove_job(id, out) {
                self.tell_failed(id, &job, out);
            }
            return;
        }
        let place = if job.losses() > Job::KEEPS_PLACE { Some(self.next_number()) } else { None };
        self.make_ready(id, place, out);
        if let Some(job) = self.jobs.get(id).filter(|job| job.kept) {
            // If the store has failed it comes back after the next start; see `Output::persist`.
            let _ = out.persist(Record::Lost { id, standing: job.standing(id) });
        }
    }

    /// Moves a delayed or running job among the ready ones, to its old place or a new one, and wakes for it.
    pub(super) fn make_ready(&mut self, id: JobId, place: Option<u64>, out: &mut impl Output) {
        let Some(mut job) = self.jobs.remove(id) else { return };
        if let Some(deadline) = job.deadline() {
            self.timers.remove(&(deadline, id));
        }
        self.leave_state(id, &mut job, out);
        if let Some(place) = place {
            job.set_place(place);
        }
        job.make_ready();
        let function = job.function;
        self.functions.get_mut(function).ready[job.priority as usize].insert(job.place(id), id);
        self.functions.relist(function);
        self.jobs.insert(id, job);
        self.wake(function, out);
    }
}

impl Job {
    /// Losses after which a job no longer returns to its place in age but to the tail: a job that kills its
    /// workers must not block those behind it.
    const KEEPS_PLACE: u32 = 2;
}
