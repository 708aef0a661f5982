//! What the queue manager must do, in the plainest way: lists, searched from the front. It is told what a peer meant
//! and what the engine did, and panics where the two do not fit.
//!
//! It foretells every packet and every line, and leaves three things to the engine: the number of a new job (larger
//! than all before), which of several functions that were never served goes first, and which sleepers are woken. For
//! the last there are rules in [`waking`].

mod abilities;
mod admin;
mod answers;
mod control;
mod keeping;
mod life;
mod rules;
mod state;
mod submits;
mod waking;
mod works;

use std::collections::BTreeSet;

use bytes::Bytes;
use gearhouse::engine::{Drain, Origin, Outcome, Reason, Retirement, Settings, Standing, What};
use gearhouse::types::{ConnId, Timestamp};

pub use self::keeping::Safe;
use self::rules::Decree;
pub use self::state::Job;
use self::state::{Ability, Function, Peer, Schedule, Sleep, State};
use super::ask::{Ask, Submit};
use super::seen::Seen;
use gearhouse::protocol::Kind;

/// The queues as lists.
pub struct Model {
    pub settings: Settings,
    now: Timestamp,
    /// In the order in which they came.
    peers: Vec<Peer>,
    /// In the order in which they were made, which is that of their numbers.
    pub jobs: Vec<Job>,
    /// Jobs that are over and kept.
    pub over: Vec<Job>,
    pub schedules: Vec<Schedule>,
    /// Jobs whose payloads could not be read: gone until the next start.
    set_aside: Vec<Job>,
    pub functions: Vec<Function>,
    decrees: Vec<Decree>,
    /// Rules changed, and jobs were not looked at since.
    must_review: bool,
    pub draining: Option<Drain>,
    last_number: u64,
    places: u64,
    turns: u64,
    /// How many sleepers the request under way may wake, at most.
    may_wake: u64,
    /// Functions that had something to hand out while it was under way, if perhaps no more at its end.
    were_open: BTreeSet<Bytes>,
    /// Whom it must wake.
    must_wake: Option<ConnId>,
}

impl Model {
    /// `began`: the time, if the server was told it before anything happened.
    pub fn new(settings: Settings, first_number: u64, began: Option<Timestamp>) -> Self {
        let of_file = settings.policies.iter().map(|(pattern, policy)| Decree {
            pattern: pattern.clone(),
            origin: Origin::File,
            policy: policy.clone(),
        });
        Self {
            decrees: of_file.collect(),
            settings,
            now: began.unwrap_or_default(),
            peers: Vec::new(),
            jobs: Vec::new(),
            over: Vec::new(),
            must_review: false,
            schedules: Vec::new(),
            set_aside: Vec::new(),
            functions: Vec::new(),
            draining: None,
            last_number: first_number - 1,
            places: 0,
            turns: 0,
            may_wake: 0,
            were_open: BTreeSet::new(),
            must_wake: None,
        }
    }

    pub fn connect(&mut self, conn: ConnId, address: &str, is_loopback: bool) {
        self.peers.push(Peer {
            conn,
            address: address.to_owned(),
            is_loopback,
            client_id: "-".into(),
            abilities: Vec::new(),
            exceptions: self.settings.exceptions,
            is_stopping: false,
            sleep: Sleep::Awake,
            ended: Vec::new(),
        });
    }

    /// Carries out a request and compares what was seen of it.
    pub fn apply(&mut self, now: Timestamp, conn: ConnId, ask: &Ask, seen: &mut Seen) {
        self.begin(now);
        match ask {
            Ask::Submit(submit) => self.submit(conn, submit, seen),
            Ask::Grab(flavor) => self.grab(conn, *flavor, seen),
            Ask::Work(work) => self.work(conn, work, seen),
            Ask::CanDo { function, milliseconds } => self.can_do(conn, function, *milliseconds, seen),
            Ask::CantDo(function) => {
                let function = without_final_nul(function);
                self.unregister(conn, |name| *name == function);
            }
            Ask::ResetAbilities => self.unregister(conn, |_| true),
            Ask::PreSleep => self.pre_sleep(conn),
            Ask::GetStatus(handle) => self.get_status(conn, handle, seen),
            Ask::GetStatusUnique(unique) => self.get_status_unique(conn, unique, seen),
            Ask::Option(option) => self.set_option(conn, option, seen),
            Ask::ClientId(id) => self.set_client_id(conn, id),
            Ask::Echo(body) => seen.packet(conn, Kind::EchoRes, body),
            Ask::Admin(admin) => self.admin(conn, admin, seen),
            Ask::Nonsense { code, .. } => seen.error(conn, code),
            Ask::Breaking { .. } => unreachable!("no request comes of it"),
        }
        self.end(seen);
    }

    /// A connection went: what it held is put back, what only it waited for is dropped.
    pub fn disconnect(&mut self, now: Timestamp, conn: ConnId, seen: &mut Seen) {
        self.begin(now);
        self.answer_call(conn);
        self.unregister(conn, |_| true);
        self.peer(conn).is_stopping = false;
        for job in self.jobs.iter_mut().chain(&mut self.over) {
            job.waiting.retain(|waiting| *waiting != conn);
        }
        for job in self.jobs.iter().filter(|job| !job.is_wanted() && !job.is_running()) {
            self.must_note_if_watched(job, What::Dropped, seen);
        }
        self.jobs.retain(|job| job.is_wanted() || job.is_running());
        let held = self.jobs.iter().filter(|job| job.is_running_by(conn));
        for number in held.filter_map(|job| job.number).collect::<Vec<_>>() {
            self.put_back(number, Reason::Lost, seen);
        }
        self.peers.retain(|peer| peer.conn != conn);
        self.end(seen);
    }

    /// What happens by itself, in the order in which it was due.
    pub fn advance(&mut self, now: Timestamp, seen: &mut Seen) {
        self.begin(now);
        while let Some((when, number)) = self.first_due() {
            self.note_open();
            self.come_due(when, number, seen);
        }
        self.note_open();
        self.give_up_calls();
        for index in 0..self.functions.len() {
            let function = &mut self.functions[index];
            if function.throttled.take_if(|until| *until <= self.now).is_some() {
                self.may_wake_for(index);
            }
        }
        if std::mem::take(&mut self.must_review) {
            self.review(seen);
        }
        self.note_unused();
        let (now, grace) = (self.now, self.settings.function_grace);
        self.functions.retain(|function| function.unused_since.is_none_or(|since| since.after(grace) > now));
        self.end(seen);
    }

    fn first_due(&self) -> Option<(Timestamp, u64)> {
        let jobs = self.jobs.iter().chain(&self.over);
        let jobs = jobs.filter_map(|job| Some((job.deadline()?, job.number?)));
        let schedules = self.schedules.iter().map(|schedule| (schedule.next, schedule.number));
        jobs.chain(schedules).min().filter(|(when, _)| *when <= self.now)
    }

    fn come_due(&mut self, when: Timestamp, number: u64, seen: &mut Seen) {
        if self.over_index_of(number).is_some() {
            return self.retire(number, Retirement::Time, seen);
        }
        let Some(index) = self.index_of(number) else {
            // It may have made room for another one.
            if self.schedules.iter().any(|schedule| schedule.number == number) {
                self.run_schedule(number, seen);
            }
            return;
        };
        let job = &self.jobs[index];
        assert_eq!(job.deadline(), Some(when), "{number} is due");
        match &job.state {
            State::Running(run) => {
                let reason = if run.is_silent() { Reason::LeaseExpired } else { Reason::TimedOut };
                self.put_back(number, reason, seen);
            }
            State::Delayed(_) => {
                self.must_note(job, What::Due, seen);
                self.make_ready(index, seen);
            }
            State::Ready => {
                let (waiting, handle) = (job.waiting.clone(), self.job_handle(index));
                self.finish(index, Outcome::Failed(Reason::Expired), None, seen);
                Self::tell_failed(&waiting, &handle, seen);
            }
            State::Held(_) | State::Over(_) => unreachable!("nothing is due"),
        }
    }

    /// When the engine must want to be advanced, at the latest.
    pub fn next_due(&self) -> Option<Timestamp> {
        let jobs = self.jobs.iter().chain(&self.over).filter_map(Job::deadline);
        let schedules = self.schedules.iter().map(|schedule| schedule.next);
        let rates = self.functions.iter().filter_map(|function| function.throttled);
        let review = self.must_review.then_some(self.now);
        jobs.chain(schedules).chain(rates).chain(review).chain(self.next_call_to_give_up()).min()
    }

    /// See `Engine::drain`.
    pub fn drain(&mut self, drain: Drain, seen: &mut Seen) {
        self.begin(self.now);
        if self.draining != Some(Drain::Running) {
            self.draining = Some(drain);
            if drain == Drain::Running {
                self.fail_awaited(|job| !job.is_running() && job.over().is_none(), seen);
            }
        }
        self.end(seen);
    }

    /// See `Engine::give_up`.
    pub fn give_up(&mut self, seen: &mut Seen) {
        self.begin(self.now);
        self.draining = Some(Drain::Running);
        self.fail_awaited(|_| true, seen);
        self.end(seen);
    }

    pub fn is_drained(&self) -> bool {
        match self.draining {
            None => false,
            Some(Drain::Running) => !self.jobs.iter().any(Job::is_running),
            Some(Drain::Queued) => self.jobs.iter().all(Job::is_held),
        }
    }

    pub fn has_nameless(&self) -> bool {
        self.jobs.iter().any(|job| job.number.is_none())
    }

    /// Gives the jobs that schedules made the numbers that a listing shows for them.
    pub fn name_scheduled(&mut self, listed: impl Iterator<Item = u64>, seen: &Seen) {
        let mut new: Vec<u64> = listed.filter(|number| *number > self.last_number).collect();
        new.sort_unstable();
        let nameless: Vec<&mut Job> = self.jobs.iter_mut().filter(|job| job.number.is_none()).collect();
        assert_eq!(nameless.len(), new.len(), "as many new jobs are listed as schedules made");
        for (job, number) in nameless.into_iter().zip(new) {
            job.number = Some(number);
            self.last_number = number;
        }
        self.note_records(seen);
    }

    /// The numbers that the log must bring back.
    pub fn log(&self) -> BTreeSet<u64> {
        let jobs = self.jobs.iter().chain(&self.over).chain(&self.set_aside);
        let kept = jobs.filter(|job| job.kept).filter_map(|job| job.number);
        kept.chain(self.schedules.iter().map(|schedule| schedule.number)).collect()
    }

    /// How many foreground submits of this connection wait for their end.
    pub fn awaited_by(&self, conn: ConnId) -> usize {
        self.jobs
            .iter()
            .chain(&self.over)
            .flat_map(|job| &job.waiting)
            .filter(|waiting| **waiting == conn)
            .count()
    }

    /// Whether this connection holds a job.
    pub fn is_busy(&self, conn: ConnId) -> bool {
        self.jobs.iter().any(|job| job.is_running_by(conn))
    }

    pub fn handle(&self, number: u64) -> String {
        format!("{}:{number}", self.settings.handle_prefix)
    }

    /// The job or recurring job that these bytes name.
    fn number_of(&self, handle: &[u8]) -> Option<u64> {
        let jobs = self.jobs.iter().filter_map(|job| job.number);
        let mut numbers = jobs.chain(self.schedules.iter().map(|schedule| schedule.number));
        numbers.find(|number| self.handle(*number).as_bytes() == handle)
    }

    fn index_of(&self, number: u64) -> Option<usize> {
        self.jobs.iter().position(|job| job.number == Some(number))
    }

    fn over_index_of(&self, number: u64) -> Option<usize> {
        self.over.iter().position(|job| job.number == Some(number))
    }

    fn hands_out(&self) -> bool {
        self.draining != Some(Drain::Running)
    }

    fn peer(&mut self, conn: ConnId) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.conn == conn).expect("who asks is connected")
    }

    fn workers(&self, function: &[u8]) -> usize {
        self.peers.iter().filter(|peer| peer.can_do(function)).count()
    }

    fn jobs_of(&self, function: &[u8]) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(move |job| job.function == function)
    }

    /// Bytes of memory that all takes, at the most. What is on the disk may be there without its payload: that is left
    /// to the engine.
    fn memory(&self) -> u64 {
        let jobs = self.jobs.iter().chain(&self.over);
        let jobs = jobs.map(|job| memory_of(&job.unique, &job.reducer, &job.payload) + job.result_len());
        let schedules = self.schedules.iter().map(|schedule| memory_of_schedule(&schedule.submit));
        jobs.chain(schedules).sum()
    }

    /// How much of that may be on the disk only.
    fn memory_on_disk(&self, seen: &Seen) -> u64 {
        let kept = self.jobs.iter().chain(&self.over).filter(|job| seen.has_store() && job.kept);
        kept.map(|job| {
            let payload = job.record <= seen.durable && job.unique != "-";
            let result = job.over().is_some_and(|over| (1..=seen.durable).contains(&over.result_record));
            let payload = if payload { job.payload.len() as u64 } else { 0 };
            payload + if result { job.result_len() } else { 0 }
        })
        .sum()
    }

    fn functions_memory(&self) -> u64 {
        self.functions.iter().map(|function| memory_of_function(&function.name)).sum()
    }

    fn begin(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        (self.may_wake, self.must_wake) = (0, None);
        self.were_open.clear();
    }

    /// Compares what is left of what was seen, and looks whether the rules hold.
    fn end(&mut self, seen: &mut Seen) {
        self.note_calls(&seen.noops());
        self.check_waking();
        seen.nothing_else();
        self.note_unused();
        self.note_records(seen);
        self.check_written(seen);
    }

    /// What is kept was put into the log.
    fn note_records(&mut self, seen: &Seen) {
        for job in self.jobs.iter_mut().filter(|job| job.kept && job.record == 0) {
            if let Some(number) = job.number {
                job.record = seen.record_of(number);
            }
        }
    }

    /// The log says of each job what it must, no more and no less. A store that failed takes nothing.
    fn check_written(&self, seen: &Seen) {
        if seen.has_failed() {
            return;
        }
        let mut places = Vec::new();
        for job in self.jobs.iter().chain(&self.over).filter(|job| job.kept) {
            let (Some(number), Some(written)) = (job.number, job.written) else { continue };
            let found = seen.standing(number);
            assert_eq!(found, Standing { place: found.place, ..written }, "the log says of {number}");
            places.push((written.place, found.place));
        }
        places.sort_unstable();
        assert!(places.is_sorted_by_key(|(_, found)| *found), "places in the log: {places:?}");
    }

    fn note_unused(&mut self) {
        for index in 0..self.functions.len() {
            let is_unused = self.is_unused(&self.functions[index]);
            let is_idle = self.is_idle(&self.functions[index]);
            let function = &mut self.functions[index];
            function.is_memory &= is_idle;
            let since = function.unused_since.unwrap_or(self.now);
            function.unused_since = is_unused.then_some(since);
        }
    }

    fn is_unused(&self, function: &Function) -> bool {
        self.is_idle(function) && !self.is_remembered(&function.name)
    }

    /// No one would miss it, but for jobs that are over and kept.
    fn is_idle(&self, function: &Function) -> bool {
        !function.pinned && function.limits == [None; 3] && !self.is_in_use(&function.name)
    }

    /// Whether jobs of this function are over and kept. In itself that is nothing the text protocol tells of.
    fn is_remembered(&self, function: &[u8]) -> bool {
        self.over.iter().any(|job| job.function == function)
    }

    fn is_in_use(&self, function: &[u8]) -> bool {
        self.workers(function) > 0
            || self.jobs_of(function).next().is_some()
            || self.schedules.iter().any(|schedule| schedule.submit.function == function)
    }

    /// The function of this name, or the code of the refusal to make it.
    fn find_or_create_function(&mut self, name: &Bytes) -> Result<&mut Function, &'static str> {
        let index = match self.functions.iter().position(|function| function.name == *name) {
            Some(index) => index,
            None if name.len() > self.settings.max_function_name => return Err("ARGUMENT_TOO_LARGE"),
            None if self.functions.len() >= self.settings.max_functions => return Err("QUEUE_ERROR"),
            None if self.functions_memory() + memory_of_function(name) > self.settings.max_memory => {
                return Err("QUEUE_ERROR");
            }
            None => {
                self.functions.push(Function::new(name.clone(), self.now));
                self.functions.len() - 1
            }
        };
        Ok(&mut self.functions[index])
    }
}

/// What a job takes in memory, as the server accounts it: its function's name is not repeated.
fn memory_of(unique: &[u8], reducer: &[u8], payload: &[u8]) -> u64 {
    let index = if unique.is_empty() { 0 } else { 48 };
    104 + index + (unique.len() + reducer.len() + payload.len()) as u64
}

/// What a recurring job takes in memory, as the server accounts it.
fn memory_of_schedule(submit: &Submit) -> u64 {
    160 + submit.body().len() as u64
}

/// What a function takes in memory, as the server accounts it.
fn memory_of_function(name: &[u8]) -> u64 {
    500 + size_of::<gearhouse::engine::Counts>() as u64 + name.len() as u64
}

fn without_final_nul(name: &Bytes) -> Bytes {
    name.slice(..name.strip_suffix(b"\0").unwrap_or(name).len())
}
