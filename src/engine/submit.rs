//! SUBMIT_*: a new job, or one more that waits for a job which exists (reference, sections 3.2 and 3.4).

use std::borrow::Cow;

use super::content::Content;
use super::function::Functions;
use super::job::{Job, State};
use super::unique::Key;
use super::{Engine, Output, Record, refuse};
use crate::protocol::{Mode, Refusal, Response, Spec, Submit};
use crate::types::{ConnId, FunctionId, JobId, Printable, Priority, RecordNo, Timestamp};

impl Engine {
    /// Answers with exactly one JOB_CREATED or ERROR.
    pub(super) fn submit(&mut self, conn: ConnId, submit: Submit, out: &mut impl Output) {
        if let Err(refusal) = self.try_submit(conn, submit, out) {
            refuse(out, conn, &refusal);
        }
    }

    fn try_submit(&mut self, conn: ConnId, submit: Submit, out: &mut impl Output) -> Result<(), Refusal> {
        let Submit { mode, priority, spec } = submit;
        self.check_submit(&spec)?;
        let due = match mode {
            Mode::Recurring(fields) => return self.submit_schedule(conn, &fields, spec, out),
            Mode::At(due) => Some(due).filter(|due| *due > self.now),
            Mode::Foreground | Mode::Background => None,
        };
        let waiter = matches!(mode, Mode::Foreground).then_some(conn);
        let function = self.find_or_create_function(spec.function())?;
        let id = match self.find_joined(function, &spec) {
            Some(id) => {
                self.join(id, waiter, out)?;
                id
            }
            None => {
                let job = self.new_job(function, priority, due, &spec)?;
                self.create(job, &spec, waiter, out)?
            }
        };
        let (name, unique) = (Printable(spec.function()), Printable(spec.unique()));
        let time = due.map_or(0, Timestamp::as_secs);
        tracing::trace!(target: "gearhouse::accepted", "accepted,{name},{unique},{time}");
        // In the foreground nothing is promised that a crash could break.
        let kept = if waiter.is_none() { self.jobs.get(id) } else { None };
        let record = kept.map_or(RecordNo::NONE, |job| job.record);
        out.send(conn, record, Response::JobCreated(self.handle(id)));
        self.wake(function, out);
        Ok(())
    }

    fn check_submit(&self, spec: &Spec) -> Result<(), Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::SHUTDOWN);
        }
        if spec.unique().len() > self.settings.max_unique || spec.reducer().len() > self.settings.max_unique {
            return Err(Refusal::UNIQUE_TOO_LARGE);
        }
        Ok(())
    }

    /// The function with this name, within the bounds on names and their number.
    pub(super) fn find_or_create_function(&mut self, name: &[u8]) -> Result<FunctionId, Refusal> {
        if let Some(function) = self.functions.find(name) {
            return Ok(function);
        }
        if name.len() > self.settings.max_function_name {
            return Err(Refusal::FUNCTION_TOO_LARGE);
        }
        let is_full = self.functions.memory() + Functions::cost(name) > self.settings.max_memory;
        if self.functions.len() >= self.settings.max_functions || is_full {
            return Err(Refusal::TOO_MANY_FUNCTIONS);
        }
        let function = self.functions.find_or_create(name);
        self.expire_if_unused(function);
        Ok(function)
    }

    /// A job that nothing refuses: the queue limit is a threshold on all jobs of the function, running ones
    /// included (reference, section 3.13).
    pub(super) fn new_job(
        &self,
        function: FunctionId,
        priority: Priority,
        due: Option<Timestamp>,
        spec: &Spec,
    ) -> Result<Job, Refusal> {
        let entry = self.functions.get(function);
        let limit = entry.limits[priority as usize];
        let is_full = limit.is_some_and(|limit| entry.total() >= limit as usize);
        if is_full {
            return Err(Refusal::QUEUE_FULL);
        }
        let content = Content::new(spec);
        if self.usage.bytes + Job::cost(&content) > self.settings.max_memory {
            return Err(Refusal::QUEUE_FULL);
        }
        Ok(Job::new(content, function, priority, due))
    }

    /// The live job that this submit joins.
    pub(super) fn find_joined(&self, function: FunctionId, spec: &Spec) -> Option<JobId> {
        let key = Key::of(function, spec.unique(), spec.payload())?;
        self.uniques.find(&self.jobs, function, key)
    }

    /// Puts a new job where its state belongs, unless it must be kept and cannot. The caller answers, then wakes.
    pub(super) fn create(
        &mut self,
        mut job: Job,
        spec: &Spec,
        waiter: Option<ConnId>,
        out: &mut impl Output,
    ) -> Result<JobId, Refusal> {
        let id = JobId(self.next_number());
        match waiter {
            Some(conn) => {
                job.wait(conn);
                self.note_awaited(conn, id);
            }
            None => job.keep(id, spec, out)?,
        }
        let record = job.record;
        self.insert(id, job);
        self.consider_eviction(id, record);
        Ok(id)
    }

    /// Enters a job into every table, as its state says.
    pub(super) fn insert(&mut self, id: JobId, job: Job) {
        self.usage.add(&job.content);
        let function = job.function;
        let entry = self.functions.get_mut(function);
        match job.state() {
            State::Delayed { until } => {
                entry.delayed[job.priority as usize] += 1;
                self.timers.insert((until, id));
            }
            State::Ready | State::Running { .. } => {
                entry.ready[job.priority as usize].insert(job.place(id), id);
                self.functions.relist(function);
            }
        }
        self.uniques.insert(&self.jobs, id, &job);
        self.jobs.insert(id, job);
    }

    /// Adds one who waits, or makes the job one that stays although no one waits.
    pub(super) fn join(
        &mut self,
        id: JobId,
        waiter: Option<ConnId>,
        out: &mut impl Output,
    ) -> Result<(), Refusal> {
        let Some(job) = self.jobs.get_mut(id) else { return Ok(()) };
        match waiter {
            Some(conn) => {
                job.wait(conn);
                self.note_awaited(conn, id);
            }
            None if job.kept && out.is_lost(job.record) => return Err(Refusal::STORE_FAILED),
            None if job.kept => {}
            None => {
                // It was in memory only, so all of it is at hand.
                let name = &self.functions.get(job.function).name;
                let spec = job.content.to_spec(name).ok_or(Refusal::NAMES_TOO_LARGE)?;
                job.keep(id, &spec, out)?;
                let record = job.record;
                self.consider_eviction(id, record);
            }
        }
        Ok(())
    }

    fn note_awaited(&mut self, conn: ConnId, id: JobId) {
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.ties_mut().awaits.insert(id);
        }
    }
}

impl Job {
    /// From now on the job stays until it ends.
    fn keep(&mut self, id: JobId, spec: &Spec, out: &mut impl Output) -> Result<(), Refusal> {
        let standing = self.standing(id);
        self.record = out.persist(Record::Queued { id, standing, spec: Cow::Borrowed(spec) })?;
        self.kept = true;
        Ok(())
    }
}
