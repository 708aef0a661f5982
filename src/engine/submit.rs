//! SUBMIT_*: a new job, or one more that waits for a job which exists (reference, sections 3.2 and 3.4).

use std::borrow::Cow;

use super::bodies::completion;
use super::content::Content;
use super::function::{Function, Functions};
use super::job::Job;
use super::unique::Key;
use super::{Engine, Load, Output, Record, Retirement, What, refuse, reply};
use crate::policy::Terms;
use crate::protocol::{Kind, Mode, Refusal, Response, Spec, Submit};
use crate::types::{ConnId, FunctionId, JobId, Printable, Priority, RecordNo, Timestamp};

/// Jobs that are over and make room for one new one, at most.
const MOST_RETIRED: usize = 16;

impl Engine {
    /// Answers with exactly one JOB_CREATED or ERROR.
    pub(super) fn submit(&mut self, conn: ConnId, submit: Submit, out: &mut impl Output) {
        if let Err(refusal) = self.try_submit(conn, submit, None, out) {
            refuse(out, conn, &refusal);
        }
    }

    /// The same for a submit that asks for more than the protocol knows.
    pub fn submit_on_terms(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        submit: Submit,
        terms: Terms,
        out: &mut impl Output,
    ) {
        self.advance_clock(now);
        let terms = Some(terms).filter(|terms| *terms != Terms::default()).map(Box::new);
        if let Err(refusal) = self.try_submit(conn, submit, terms, out) {
            refuse(out, conn, &refusal);
        }
    }

    fn try_submit(
        &mut self,
        conn: ConnId,
        submit: Submit,
        terms: Option<Box<Terms>>,
        out: &mut impl Output,
    ) -> Result<(), Refusal> {
        let Submit { mode, priority, spec } = submit;
        self.check_submit(&spec)?;
        let due = match mode {
            Mode::Recurring(fields) => return self.submit_schedule(conn, &fields, spec, out),
            Mode::At(due) | Mode::ForegroundAt(due) => Some(due).filter(|due| *due > self.now),
            Mode::Foreground | Mode::Background => None,
        };
        let waiter = matches!(mode, Mode::Foreground | Mode::ForegroundAt(_)).then_some(conn);
        let function = self.find_or_create_function(spec.function())?;
        let id = match self.find_joined(function, &spec) {
            Some(id) if self.jobs.get(id).is_some_and(|job| job.over().is_some()) => {
                return self.answer_with(id, conn, waiter, out);
            }
            Some(id) => {
                self.join(id, waiter, out)?;
                id
            }
            None => {
                let mut job = self.new_job(function, priority, due, &spec, out)?;
                if let Some(terms) = terms {
                    job.set_terms(terms);
                }
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

    pub(super) fn check_submit(&self, spec: &Spec) -> Result<(), Refusal> {
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
        let function = self.make_function(name);
        self.expire_if_unused(function);
        Ok(function)
    }

    /// The same without bounds, for what the log brings back.
    pub(super) fn make_function(&mut self, name: &[u8]) -> FunctionId {
        self.functions.find(name).unwrap_or_else(|| {
            let function = self.functions.find_or_create(name);
            self.give_rules(function);
            function
        })
    }

    /// A job that nothing refuses: the queue limit is a threshold on all jobs of the function, running ones
    /// included (reference, section 3.13). What is kept of jobs that are over makes room.
    pub(super) fn new_job(
        &mut self,
        function: FunctionId,
        priority: Priority,
        due: Option<Timestamp>,
        spec: &Spec,
        out: &mut impl Output,
    ) -> Result<Job, Refusal> {
        let entry = self.functions.get(function);
        let limit = entry.limits[priority as usize];
        if limit.is_some_and(|limit| entry.total() >= limit as usize) {
            return Err(Refusal::QUEUE_FULL);
        }
        let (rules, settings) = (&entry.rules, &self.settings);
        let bounds =
            [rules.max_waiting, rules.max_waiting_bytes, settings.max_waiting, settings.max_waiting_bytes];
        if bounds.iter().any(Option::is_some) {
            self.check_waiting(entry, u64::from(spec.payload_len()))?;
        }
        let has_timeout = entry.rules.wait_timeout.is_some() && due.is_none();
        let content = Content::new(spec);
        let cost = Job::cost(&content);
        if self.usage.bytes + cost > self.settings.max_memory {
            self.make_room(cost, out)?;
        }
        let mut job = Job::new(content, function, priority, due, self.now);
        if has_timeout {
            let timeout = self.wait_timeout(&job);
            job.wait_at_most(self.now, timeout);
        }
        Ok(job)
    }

    /// Whether the bounds on what waits, of its function and in all, allow one more with so many bytes of payload.
    #[cold]
    fn check_waiting(&self, entry: &Function, bytes: u64) -> Result<(), Refusal> {
        let rules = &entry.rules;
        let is_over =
            |most: Option<u64>, now: u64, more: u64| most.filter(|most| now.saturating_add(more) > *most);
        let name = Printable(&entry.name);
        if let Some(most) = is_over(rules.max_waiting, entry.waiting_count() as u64, 1) {
            return Err(Refusal::queue_full(format_args!("max_waiting of {name} is {most}")));
        }
        if let Some(most) = is_over(rules.max_waiting_bytes, entry.waiting_bytes, bytes) {
            return Err(Refusal::queue_full(format_args!("max_waiting_bytes of {name} is {most}")));
        }
        let (all, settings) = (self.waiting(), &self.settings);
        if let Some(most) = is_over(settings.max_waiting, all.jobs, 1) {
            return Err(Refusal::queue_full(format_args!("max-waiting of the server is {most}")));
        }
        if let Some(most) = is_over(settings.max_waiting_bytes, all.bytes, bytes) {
            return Err(Refusal::queue_full(format_args!("max-waiting-bytes of the server is {most}")));
        }
        Ok(())
    }

    /// Room in memory for something new: what is kept of jobs that are over gives way, a bounded number of them.
    pub(super) fn make_room(&mut self, cost: u64, out: &mut impl Output) -> Result<(), Refusal> {
        for _ in 0..MOST_RETIRED {
            if self.usage.bytes + cost <= self.settings.max_memory {
                break;
            }
            let Some((_, oldest)) = self.over.first().copied() else { break };
            self.retire(oldest, Retirement::Memory, out);
        }
        if self.usage.bytes + cost > self.settings.max_memory { Err(Refusal::MEMORY_FULL) } else { Ok(()) }
    }

    /// One more submit is answered with a job that has ended. In the foreground nothing waits for the disk, unless the
    /// result is only there.
    fn answer_with(
        &mut self,
        id: JobId,
        conn: ConnId,
        waiter: Option<ConnId>,
        out: &mut impl Output,
    ) -> Result<(), Refusal> {
        let Some(job) = self.jobs.get(id) else { return Ok(()) };
        if waiter.is_none() && job.kept && out.is_lost(job.record) {
            return Err(Refusal::STORE_FAILED);
        }
        let handle = self.handle(id);
        let after = if waiter.is_none() { job.record } else { RecordNo::NONE };
        out.send(conn, after, Response::JobCreated(handle));
        if waiter.is_none() {
            return Ok(());
        }
        if let Some(result) = job.over().and_then(|over| over.result.as_ref()) {
            let body = completion(handle, result);
            reply(out, conn, Response::Work { kind: Kind::WorkComplete, body: &body });
            return Ok(());
        }
        let Some(job) = self.jobs.get_mut(id) else { return Ok(()) };
        job.wait(conn);
        if job.over_mut().is_some_and(|over| !std::mem::replace(&mut over.is_loading, true)) {
            out.load(Load::Result(id));
        }
        self.note_awaited(conn, id);
        Ok(())
    }

    /// The live job that this submit joins, or one that has ended and whose answer is the answer to this one too.
    pub(super) fn find_joined(&mut self, function: FunctionId, spec: &Spec) -> Option<JobId> {
        let key = Key::of(function, spec.unique(), spec.payload())?;
        let id = self.uniques.find(&self.jobs, function, key)?;
        let Some(over) = self.jobs.get(id)?.over() else { return Some(id) };
        let is_answer = over.answers_until.is_some_and(|until| until > self.now);
        if is_answer {
            return Some(id);
        }
        self.stop_answering(id);
        None
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
        let (record, function) = (job.record, job.function);
        self.functions.change(function).counts.get_or_insert_default().submitted += 1;
        self.insert(id, job);
        self.consider_eviction(id, record);
        // What happens to it from now on has a larger number, in this same microsecond too.
        self.serial = self.serial.max(self.now.as_micros());
        if out.is_watched() {
            self.note_live(id, What::Submitted, out);
        }
        Ok(id)
    }

    /// Enters a job into every table, as its state says.
    pub(super) fn insert(&mut self, id: JobId, job: Job) {
        self.usage.add(&job.content);
        self.enter_state(id, &job);
        if job.over().is_none_or(|over| over.answers_until.is_some()) {
            self.uniques.insert(&self.jobs, id, &job);
        }
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
        let function = job.function;
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
        self.functions.change(function).counts.get_or_insert_default().coalesced += 1;
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
        self.kept = true;
        if !out.keeps() {
            return Ok(());
        }
        let standing = self.standing(id);
        let terms = self.terms().cloned().map(Box::new);
        let queued = out.persist(Record::Queued { id, standing, spec: Cow::Borrowed(spec), terms });
        self.kept = queued.is_ok();
        self.record = queued?;
        Ok(())
    }
}
