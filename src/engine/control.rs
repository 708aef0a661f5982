//! What an operator does to single jobs and workers. Each answer says what was done, or why it was not.

use std::borrow::Cow;

use super::job::{Job, State};
use super::unique::Key;
use super::{Drain, Engine, Outcome, Output, Phase, Record, Retirement, What};
use crate::protocol::Refusal;
use crate::types::{ConnId, JobId, Priority, Timestamp};

/// What is to be done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It ends: at once, or when its worker is done with it, and is never run again.
    Cancel,
    /// It is taken out of the line until it is released.
    Hold,
    /// It goes back into the line.
    Release,
    /// A job that is over, or waits for its next attempt, is queued at once, with as many attempts as a new one.
    Retry,
    /// A job that is not due yet is queued at once.
    Run,
    /// It gets this priority.
    Priority(Priority),
    /// It is gone, and nothing is kept of it.
    Delete,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It is cancelled.
    Cancelled,
    /// A worker has it; it is cancelled when that is done with it.
    Cancelling,
    /// It is held.
    Held,
    /// It waits in its line.
    Queued,
    /// It waits for its time.
    Scheduled,
    /// Its priority is another one.
    Moved,
    /// It is gone.
    Deleted,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// There is no such job, or nothing is kept of it any more.
    #[error("there is no such job, or it ended and is not kept any more")]
    Unknown,
    /// It succeeded lately and is only a line in the list of those.
    #[error("the job succeeded, and only a line of it is kept; the policy's keep_succeeded keeps more")]
    NotKept,
    /// It has ended.
    #[error("the job has ended")]
    Over(Outcome),
    /// It has not ended.
    #[error("the job has not ended and waits for nothing")]
    NotOver,
    /// A worker has it.
    #[error("a worker has the job")]
    Running,
    /// It was cancelled, and its worker is not done with it.
    #[error("the job is being cancelled")]
    Cancelling,
    /// It is held.
    #[error("the job is held; release it first")]
    Held,
    /// It is not held.
    #[error("the job is not held")]
    NotHeld,
    /// It is due.
    #[error("the job is queued already")]
    Queued,
    /// Its payload is not in memory, and it is kept nowhere else.
    #[error("the job's payload is gone")]
    NoPayload,
    /// The server ends, or its store cannot keep the change.
    #[error("{0}")]
    Refused(Refusal),
}

impl Engine {
    /// Whether something can be done to a job as it stands. Only what is seen without trying: the store may still refuse.
    ///
    /// # Errors
    /// Why it would not be done.
    pub fn may(&self, id: JobId, action: Action) -> Result<(), Undone> {
        let Some(job) = self.jobs.get(id) else {
            let is_recent = self.recents.iter().any(|recent| recent.id == id);
            return Err(if is_recent { Undone::NotKept } else { Undone::Unknown });
        };
        match (action, job.state()) {
            (Action::Delete, State::Running { .. }) => Err(Undone::Running),
            (Action::Delete, _) | (Action::Retry, State::Over { .. }) => Ok(()),
            (_, State::Over { outcome }) => Err(Undone::Over(outcome)),
            (Action::Cancel, State::Running { .. }) if job.is_cancelled() => Err(Undone::Cancelling),
            (Action::Cancel, _) | (Action::Release, State::Held) => Ok(()),
            (Action::Release, _) => Err(Undone::NotHeld),
            (_, State::Running { .. }) => Err(Undone::Running),
            (Action::Priority(_), _) => Ok(()),
            (_, State::Held) => Err(Undone::Held),
            (Action::Hold, _) | (Action::Run, State::Delayed { .. }) => Ok(()),
            (Action::Run, State::Ready) => Err(Undone::Queued),
            (Action::Retry, State::Delayed { .. }) if job.attempts() > 0 => Ok(()),
            (Action::Retry, _) => Err(Undone::NotOver),
        }
    }

    /// Does something to a job. What it did is safe when the log is, up to [`Output::position`] afterwards.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn control(&mut self, id: JobId, action: Action, out: &mut impl Output) -> Result<Did, Undone> {
        let is_kept = self.jobs.get(id).is_some_and(|job| job.kept);
        if is_kept && out.readiness() == Err(Refusal::STORE_FAILED) {
            return Err(Undone::Refused(Refusal::STORE_FAILED));
        }
        self.may(id, action)?;
        match action {
            Action::Cancel => self.cancel_job(id, out),
            Action::Hold => {
                self.restand(id, out, |job| job.hold());
                self.note(id, What::Held, out);
                self.persist_standing(id, out);
                Ok(Did::Held)
            }
            Action::Release => self.release_job(id, out),
            Action::Retry if self.jobs.get(id).is_some_and(|job| job.over().is_some()) => self.retry(id, out),
            Action::Retry | Action::Run => {
                if let Some(job) = self.jobs.get_mut(id).filter(|_| action == Action::Retry) {
                    job.forget_attempts();
                }
                self.note(id, if action == Action::Run { What::Run } else { What::Retried }, out);
                self.make_ready(id, None, out);
                self.persist_standing(id, out);
                Ok(Did::Queued)
            }
            Action::Priority(priority) => {
                self.restand(id, out, |job| job.priority = priority);
                self.note(id, What::Priority(priority), out);
                self.persist_standing(id, out);
                Ok(Did::Moved)
            }
            Action::Delete => {
                if self.live(id).is_some() {
                    self.note_submit(id, out);
                }
                self.note(id, What::Retired(Retirement::Deleted), out);
                if let Some(job) = self.remove_job(id, out) {
                    self.tell_failed(id, job.waiting(), out);
                }
                Ok(Did::Deleted)
            }
        }
    }

    fn cancel_job(&mut self, id: JobId, out: &mut impl Output) -> Result<Did, Undone> {
        let Some(job) = self.jobs.get_mut(id) else { return Err(Undone::Unknown) };
        if !matches!(job.state(), State::Running { .. }) {
            let waiting = self.finish(id, Outcome::Cancelled, None, out);
            self.tell_failed(id, &waiting, out);
            return Ok(Did::Cancelled);
        }
        job.cancel();
        // No one joins it any more.
        if let Some(job) = self.jobs.get(id) {
            self.uniques.remove(id, job);
        }
        if let Some(job) = self.jobs.get_mut(id) {
            job.never_joined = true;
            self.apart.insert(id);
        }
        self.note(id, What::Cancelling, out);
        self.persist_standing(id, out);
        let waiting = self.take_waiting(id);
        self.tell_failed(id, &waiting, out);
        Ok(Did::Cancelling)
    }

    fn release_job(&mut self, id: JobId, out: &mut impl Output) -> Result<Did, Undone> {
        let due = self.jobs.get(id).and_then(|job| job.due()).filter(|due| *due > self.now);
        self.note(id, What::Released, out);
        match due {
            Some(_) => self.restand(id, out, |job| job.make_waiting(due)),
            None => self.make_ready(id, None, out),
        }
        self.persist_standing(id, out);
        Ok(if due.is_some() { Did::Scheduled } else { Did::Queued })
    }

    fn retry(&mut self, id: JobId, out: &mut impl Output) -> Result<Did, Undone> {
        if self.draining.is_some() {
            return Err(Undone::Refused(Refusal::SHUTDOWN));
        }
        self.keep_over(id, out)?;
        self.note(id, What::Retried, out);
        let is_taken = self.is_unique_taken(id);
        if let Some(job) = self.jobs.get_mut(id) {
            job.never_joined = is_taken;
            if is_taken {
                self.apart.insert(id)
            } else {
                self.apart.remove(&id)
            };
            job.forget_attempts();
        }
        self.make_ready(id, None, out);
        if let Some(job) = self.jobs.remove(id) {
            self.uniques.insert(&self.jobs, id, &job);
            self.jobs.insert(id, job);
        }
        self.persist_standing(id, out);
        Ok(Did::Queued)
    }

    /// Takes a job that is over out of the index of unique ids; whether another has its unique id there.
    fn is_unique_taken(&mut self, id: JobId) -> bool {
        self.stop_answering(id);
        let Some(job) = self.jobs.get(id) else { return false };
        let (function, content) = (job.function, &job.content);
        let Some(key) = Key::of(function, content.unique(), content.payload()) else { return false };
        let Some(other) = self.uniques.find(&self.jobs, function, key) else { return false };
        let is_past = |until: Option<Timestamp>| until.is_none_or(|until| until <= self.now);
        let is_stale =
            self.jobs.get(other).and_then(Job::over).is_some_and(|over| is_past(over.answers_until));
        if is_stale {
            self.stop_answering(other);
        }
        !is_stale
    }

    /// A foreground job that is over was in memory only: tried again, it is one in the background.
    fn keep_over(&mut self, id: JobId, out: &mut impl Output) -> Result<(), Undone> {
        let Some(job) = self.jobs.get_mut(id) else { return Err(Undone::Unknown) };
        if job.kept {
            return Ok(());
        }
        let name = &self.functions.get(job.function).name;
        let spec = job.content.to_spec(name).filter(|_| job.content.is_whole()).ok_or(Undone::NoPayload)?;
        let standing = super::Standing { phase: Phase::Waiting, ..job.standing(id) };
        let terms = job.terms().cloned().map(Box::new);
        let queued = Record::Queued { id, standing, spec: Cow::Borrowed(&spec), terms };
        job.record = out.persist(queued).map_err(Undone::Refused)?;
        job.kept = true;
        Ok(())
    }

    /// A connection gets no more jobs, and is closed when it holds none. Whether there is such a connection.
    pub fn stop_worker(&mut self, conn: ConnId, out: &mut impl Output) -> bool {
        let Some(peer) = self.peers.get_mut(conn) else { return false };
        peer.is_stopping = true;
        // Who counts on it does so in vain.
        let woken_for = self.answer_call(conn);
        if let Some(function) = woken_for {
            self.wake(function, out);
        }
        self.close_if_stopped(conn, out);
        true
    }

    /// Ends a connection at once; its jobs are lost to it. Whether there is such a connection.
    pub fn disconnect_peer(&mut self, conn: ConnId, out: &mut impl Output) -> bool {
        let is_known = self.peers.get(conn).is_some();
        if is_known {
            out.close(conn, "an operator closed the connection");
        }
        is_known
    }

    /// To be called when a connection holds a job less.
    pub(super) fn close_if_stopped(&self, conn: ConnId, out: &mut impl Output) {
        if self.peers.get(conn).is_some_and(|peer| peer.is_stopping && peer.ties().holds.is_empty()) {
            out.close(conn, "an operator asked the worker to stop");
        }
    }

    /// Whether new jobs are refused because the server ends.
    pub fn draining(&self) -> Option<Drain> {
        self.draining
    }
}
