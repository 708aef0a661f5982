//! WORK_*: what a worker says of a job it holds, passed on to those who wait (reference, sections 3.5 and 3.9).

use bytes::Bytes;

use super::job::{Job, State};
use super::life::leaves_nothing;
use super::{Engine, Outcome, Output, Reason, SAID, What, refuse, reply};
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
        let is_leased = job.is_leased();
        match work.update {
            Update::Data => self.note_said(id, What::Data, work, out),
            Update::Warning => self.note_said(id, What::Warning, work, out),
            Update::Status(numbers) => {
                if job.set_numbers(self.now, numbers) {
                    self.note(id, What::Progress(numbers), out);
                } else {
                    self.note_live(id, What::Progress(numbers), out);
                }
            }
            Update::Complete => {
                let outcome = if job.is_cancelled() { Outcome::Cancelled } else { Outcome::Succeeded };
                let is_noted = job.is_noted();
                let waiting = if leaves_nothing(&self.functions.get(job.function).rules, job) {
                    if is_noted || out.is_watched() {
                        self.note_end(id, outcome, is_noted, out);
                    } else {
                        self.next_serial();
                    }
                    self.succeed(id, conn, work, out)
                } else {
                    self.finish(id, outcome, Some(&work.data()), out)
                };
                return self.forward(id, &waiting, work, out);
            }
            Update::Fail | Update::Exception => {
                let is_exception = work.update == Update::Exception;
                let reason = if is_exception { Reason::Exception } else { Reason::Failed };
                let waiting = self.fail_attempt(id, reason, Some(&work.data()), out);
                return self.forward(id, &waiting, work, out);
            }
        }
        if is_leased {
            self.extend_lease(id);
        }
        if let Some(job) = self.jobs.get(id) {
            self.forward(id, job.waiting(), work, out);
        }
    }

    /// What the worker says shows that it is alive.
    fn extend_lease(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if let Some(deadline) = job.deadline() {
            self.timers.remove(&(deadline, id));
        }
        job.extend_lease(self.now);
        if let Some(deadline) = job.deadline() {
            self.timers.insert((deadline, id));
        }
    }

    /// The end of what a worker said goes into the job's log.
    fn note_said(&mut self, id: JobId, what: fn(Bytes) -> What, work: &Work, out: &mut impl Output) {
        let said = work.data();
        // A copy: the body may be part of a large one that is not to be kept for it.
        let end = Bytes::copy_from_slice(&said[said.len().saturating_sub(SAID)..]);
        self.note(id, what(end), out);
    }

    /// One copy for each submit that waits. They wait in the foreground, so the disk is none of their business. Who did
    /// not ask for exceptions is told of a failure instead.
    fn forward(&self, id: JobId, waiting: &[ConnId], work: &Work, out: &mut impl Output) {
        let kind = work.kind();
        for conn in waiting {
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
    pub(super) fn put_back(&mut self, id: JobId, reason: Reason, out: &mut impl Output) {
        let waiting = self.fail_attempt(id, reason, None, out);
        self.tell_failed(id, &waiting, out);
    }

    /// Moves a delayed or running job among the ready ones, to its old place or a new one, and wakes for it.
    pub(super) fn make_ready(&mut self, id: JobId, place: Option<u64>, out: &mut impl Output) {
        let (now, timeout) = (self.now, self.jobs.get(id).and_then(|job| self.wait_timeout(job)));
        self.restand(id, out, |job| {
            if let Some(place) = place {
                job.set_place(place);
            }
            let since = match job.state() {
                State::Delayed { until } => until.min(now),
                _ => now,
            };
            job.make_waiting(None);
            job.wait_at_most(since, timeout);
        });
    }
}

impl Job {
    /// Losses after which a job no longer returns to its place in age but to the tail: a job that kills its
    /// workers must not block those behind it.
    pub(super) const KEEPS_PLACE: u32 = 2;
}
