//! Submits, and the jobs that schedules make.

use bytes::Bytes;
use gearhouse::engine::{Output as _, What};
use gearhouse::policy::Terms;
use gearhouse::protocol::Kind;
use gearhouse::types::{ConnId, Priority, RecordNo, Timestamp};

use super::super::ask::{Form, Submit};
use super::super::cron;
use super::super::item::first_argument;
use super::super::seen::Seen;
use super::state::State;
use super::{Job, Model, Schedule, memory_of, memory_of_schedule};

impl Model {
    /// One JOB_CREATED or one ERROR.
    pub(super) fn submit(&mut self, conn: ConnId, submit: &Submit, seen: &mut Seen) {
        if let Err(code) = self.try_submit(conn, submit, &Terms::default(), seen) {
            seen.error(conn, code);
        }
    }

    /// The same for a submit that asks for more than the protocol knows.
    pub fn submit_on_terms(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        submit: &Submit,
        terms: &Terms,
        seen: &mut Seen,
    ) {
        self.begin(now);
        if let Err(code) = self.try_submit(conn, submit, terms, seen) {
            seen.error(conn, code);
        }
        self.end(seen);
    }

    fn try_submit(
        &mut self,
        conn: ConnId,
        submit: &Submit,
        terms: &Terms,
        seen: &mut Seen,
    ) -> Result<(), &'static str> {
        let reducer = match &submit.form {
            Form::Reduce { reducer, .. } => reducer.clone(),
            _ => Bytes::new(),
        };
        if self.draining.is_some() {
            return Err("SHUTDOWN");
        }
        if submit.unique.len() > self.settings.max_unique || reducer.len() > self.settings.max_unique {
            return Err("ARGUMENT_TOO_LARGE");
        }
        if let Form::Sched { fields } = submit.form {
            return self.submit_schedule(conn, submit, fields, seen);
        }
        self.find_or_create_function(&submit.function)?;
        let is_kept = !submit.is_foreground();
        if let Some(index) = self.answer_to(submit) {
            return self.answer_with(index, conn, is_kept, seen);
        }
        let index = match self.joined(submit) {
            Some(index) => {
                if is_kept {
                    self.keep(index, seen)?;
                }
                let record = if is_kept { self.jobs[index].record } else { 0 };
                seen.packet_after(conn, record, Kind::JobCreated, self.job_handle(index).as_bytes());
                index
            }
            None => {
                let (priority, until) = match submit.form {
                    Form::Plain { priority, .. } => (priority, None),
                    Form::Epoch { seconds } => (Priority::Normal, Some(Timestamp::from_secs(seconds))),
                    _ => (Priority::Normal, None),
                };
                let index = self.create(submit, reducer, priority, until, Some(conn), seen)?;
                let number = self.new_number(conn, seen);
                let job = &mut self.jobs[index];
                (job.number, job.kept, job.terms) = (Some(number), is_kept, terms.clone());
                seen.depends_on(if is_kept { seen.record_of(number) } else { 0 });
                self.must_note_if_watched(&self.jobs[index], What::Submitted, seen);
                self.write(index);
                index
            }
        };
        if !is_kept {
            self.jobs[index].waiting.push(conn);
        }
        Ok(())
    }

    /// From now on the job stays until it ends.
    fn keep(&mut self, index: usize, seen: &Seen) -> Result<(), &'static str> {
        let job = &mut self.jobs[index];
        if job.kept && !seen.is_lost(RecordNo(job.record)) {
            return Ok(());
        }
        if seen.keeps_nothing() {
            return Err("QUEUE_ERROR");
        }
        job.kept = true;
        job.record = job.number.map_or(0, |number| seen.record_of(number));
        self.write(index);
        Ok(())
    }

    /// The job that is over and the answer to this submit, if there is one; one that cannot answer never will again.
    fn answer_to(&mut self, submit: &Submit) -> Option<usize> {
        let now = self.now;
        let mut alike = self.over.iter_mut().enumerate().filter(|(_, job)| {
            let payload = if submit.unique == "-" { submit.payload.clone() } else { Bytes::new() };
            job.key() == Some([submit.function.clone(), submit.unique.clone(), payload])
        });
        alike.find_map(|(index, job)| {
            let State::Over(over) = &mut job.state else { return None };
            over.answers_until.take_if(|until| *until <= now);
            over.answers_until.map(|_| index)
        })
    }

    fn answer_with(
        &mut self,
        index: usize,
        conn: ConnId,
        is_kept: bool,
        seen: &mut Seen,
    ) -> Result<(), &'static str> {
        let job = &self.over[index];
        if is_kept && job.kept && seen.is_lost(RecordNo(job.record)) {
            return Err("QUEUE_ERROR");
        }
        let handle = self.handle(job.number.expect("it was named"));
        let record = if is_kept { job.record } else { 0 };
        seen.packet_after(conn, record, Kind::JobCreated, handle.as_bytes());
        if is_kept {
            return Ok(());
        }
        let is_at_hand = || seen.has_packet(conn);
        let is_on_disk =
            job.over().is_some_and(|over| (1..=seen.durable).contains(&over.result_record)) && job.kept;
        match job.over().and_then(|over| over.result.clone()).filter(|_| !is_on_disk || is_at_hand()) {
            Some(result) => seen.packet(conn, Kind::WorkComplete, &[handle.as_bytes(), &result].join(&0)),
            None => {
                assert!(job.kept, "what is not on the disk is at hand");
                self.over[index].waiting.push(conn);
            }
        }
        Ok(())
    }

    /// Whether another job has the unique id of this one, which was over.
    pub(super) fn is_taken(&mut self, job: &Job) -> bool {
        let key = job.key();
        let now = self.now;
        let is_live = self.jobs.iter().any(|other| !other.is_double && key.is_some() && other.key() == key);
        let answers = |other: &mut Job| match &mut other.state {
            State::Over(over) => {
                over.answers_until.take_if(|until| *until <= now);
                over.answers_until.is_some()
            }
            _ => false,
        };
        let mut alike = self.over.iter_mut().filter(|other| key.is_some() && other.key() == key);
        is_live || alike.any(answers)
    }

    fn submit_schedule(
        &mut self,
        conn: ConnId,
        submit: &Submit,
        fields: [&'static str; 5],
        seen: &mut Seen,
    ) -> Result<(), &'static str> {
        if !cron::is_valid(&fields) {
            return Err("INVALID_ARGUMENT");
        }
        let replaced = self.schedules.iter().position(|schedule| {
            let is_dash = submit.unique == "-";
            let is_unique = !(submit.unique.is_empty() || is_dash && submit.payload.is_empty());
            is_unique
                && schedule.submit.unique == submit.unique
                && schedule.submit.function == submit.function
                && (!is_dash || schedule.submit.payload == submit.payload)
        });
        let released = replaced.map_or(0, |index| memory_of_schedule(&self.schedules[index].submit));
        if replaced.is_none() && self.schedules.len() >= self.settings.max_functions {
            return Err("QUEUE_ERROR");
        }
        let more = memory_of_schedule(submit).saturating_sub(released);
        self.make_room(more, seen);
        let memory = self.memory() + more;
        if !self.has_room(memory, Some(conn), seen) {
            return Err("QUEUE_ERROR");
        }
        self.find_or_create_function(&submit.function)?;
        if seen.keeps_nothing() {
            return Err("QUEUE_ERROR");
        }
        let next = cron::next_after(&fields, self.now);
        match replaced {
            Some(index) => {
                let number = self.schedules[index].number;
                let record = seen.record_of(number);
                seen.packet_after(conn, record, Kind::JobCreated, self.handle(number).as_bytes());
                self.schedules[index] = Schedule { number, submit: submit.clone(), fields, next };
            }
            None => {
                let number = self.new_number(conn, seen);
                seen.depends_on(seen.record_of(number));
                self.schedules.push(Schedule { number, submit: submit.clone(), fields, next });
            }
        }
        Ok(())
    }

    /// A schedule's time has come. Its job has a number that no one is told.
    pub(super) fn run_schedule(&mut self, number: u64, seen: &mut Seen) {
        let (now, is_draining) = (self.now, self.draining.is_some());
        let found = self.schedules.iter_mut().find(|schedule| schedule.number == number);
        let schedule = found.expect("only a schedule is due without a job");
        schedule.next = cron::next_after(&schedule.fields, now);
        let submit = schedule.submit.clone();
        if is_draining {
            return;
        }
        if self.answer_to(&submit).is_some() {
            return;
        }
        // What cannot be kept is left out this time.
        if let Some(index) = self.joined(&submit) {
            let _ = self.keep(index, seen);
        } else if let Ok(index) = self.create(&submit, Bytes::new(), Priority::Normal, None, None, seen) {
            self.jobs[index].kept = true;
            if seen.is_watched {
                seen.take_submitted(self.now, &self.jobs[index]);
            }
            self.write(index);
        }
    }

    /// The live job that this submit joins: equal function and unique id, or payload if the unique id is `-`.
    fn joined(&self, submit: &Submit) -> Option<usize> {
        let is_by_payload = submit.unique == "-";
        if submit.unique.is_empty() || (is_by_payload && submit.payload.is_empty()) {
            return None;
        }
        self.jobs.iter().position(|job| {
            !job.is_double
                && job.function == submit.function
                && job.unique == submit.unique
                && (!is_by_payload || job.payload == submit.payload)
        })
    }

    fn create(
        &mut self,
        submit: &Submit,
        reducer: Bytes,
        priority: Priority,
        until: Option<Timestamp>,
        client: Option<ConnId>,
        seen: &mut Seen,
    ) -> Result<usize, &'static str> {
        let found = self.functions.iter().find(|function| function.name == submit.function);
        let limit = found.expect("it was found or made").limits[priority as usize];
        let rules = self.rules(&submit.function);
        let waiting = || self.jobs_of(&submit.function).filter(|job| !job.is_running());
        let bytes = waiting().map(|job| job.payload.len() as u64).sum::<u64>() + submit.payload.len() as u64;
        if limit.is_some_and(|limit| self.jobs_of(&submit.function).count() >= limit as usize)
            || rules.max_waiting.is_some_and(|most| waiting().count() as u64 >= most)
            || rules.max_waiting_bytes.is_some_and(|most| bytes > most)
            || self.is_full_in_all(submit.payload.len() as u64)
        {
            return Err("QUEUE_ERROR");
        }
        self.make_room(memory_of(&submit.unique, &reducer, &submit.payload), seen);
        let is_queued = client.is_none() && seen.take_queued(&submit.body());
        let memory = self.memory() + memory_of(&submit.unique, &reducer, &submit.payload);
        let has_room = is_queued && memory - self.memory_on_disk(seen) <= self.settings.max_memory
            || self.has_room(memory, client, seen);
        if !has_room || (!submit.is_foreground() && seen.keeps_nothing()) {
            return Err("QUEUE_ERROR");
        }
        let state = until.filter(|until| *until > self.now).map_or(State::Ready, State::Delayed);
        let is_ready = matches!(state, State::Ready);
        if is_ready {
            self.one_more_ready();
        }
        self.places += 1;
        let mut job = Job {
            number: None,
            function: submit.function.clone(),
            unique: submit.unique.clone(),
            reducer,
            payload: submit.payload.clone(),
            terms: Terms::default(),
            priority,
            kept: false,
            is_double: false,
            record: 0,
            owed: None,
            submitted: self.now,
            first_start: None,
            last_start: None,
            attempts: 0,
            losses: 0,
            place: self.places,
            state,
            patience: None,
            numbers: (0, 0),
            waiting: Vec::new(),
            written: None,
        };
        job.patience = self.patience(&job, self.now).filter(|_| is_ready);
        self.jobs.push(job);
        Ok(self.jobs.len() - 1)
    }

    /// Whether the bounds on what waits over all functions are reached.
    fn is_full_in_all(&self, bytes: u64) -> bool {
        let waiting = || self.jobs.iter().filter(|job| !job.is_running());
        let all = bytes + waiting().map(|job| job.payload.len() as u64).sum::<u64>();
        self.settings.max_waiting.is_some_and(|most| waiting().count() as u64 >= most)
            || self.settings.max_waiting_bytes.is_some_and(|most| all > most)
    }

    /// Whether this fits into memory. If that depends on how much is on the disk only, what the client was told counts;
    /// without a client there was no room.
    fn has_room(&self, memory: u64, client: Option<ConnId>, seen: &Seen) -> bool {
        let most = self.settings.max_memory;
        memory <= most
            || memory - self.memory_on_disk(seen) <= most && client.is_some_and(|conn| !seen.is_full(conn))
    }

    /// The number in the JOB_CREATED of something new: larger than all before.
    fn new_number(&mut self, conn: ConnId, seen: &mut Seen) -> u64 {
        let (kind, handle) = seen.next(conn);
        assert_eq!(kind, Kind::JobCreated, "{conn} submitted and was sent {}", handle.escape_ascii());
        let text = std::str::from_utf8(&first_argument(&handle).0).map(str::to_owned).unwrap_or_default();
        let number = text.rsplit(':').next().and_then(|digits| digits.parse().ok()).unwrap_or_default();
        assert_eq!(handle, self.handle(number), "a handle is the prefix and a number");
        assert!(number > self.last_number, "{number} follows {}", self.last_number);
        self.last_number = number;
        number
    }

    pub(super) fn job_handle(&self, index: usize) -> String {
        self.job_handle_of(&self.jobs[index])
    }

    pub(super) fn job_handle_of(&self, job: &Job) -> String {
        self.handle(job.number.expect("it was named"))
    }
}
