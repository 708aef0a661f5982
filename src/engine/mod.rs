//! The job server as a state machine. It takes requests with the time and pushes responses and log records.
//! It reads no clock, draws no random number, owns no socket, takes no lock and never waits.
//!
//! One file for each verb: [`submit`], [`grab`], [`work`], [`life`], [`control`], [`abilities`], [`sleep`], [`leave`],
//! [`timers`], [`schedule`], [`policies`], [`status`], [`admin`], [`drain`], [`restore`]. Payloads that are on disk only:
//! [`bodies`]. For who only looks: [`view`]. What is
//! counted: [`tally`]. What they share is in [`job`], [`function`], [`peer`] and [`unique`].

mod abilities;
mod admin;
mod bodies;
mod check;
mod content;
mod control;
mod drain;
mod function;
mod grab;
mod job;
mod leave;
mod life;
mod note;
mod output;
mod pages;
mod peer;
mod policies;
mod ready;
mod recent;
mod record;
mod restore;
mod schedule;
mod settings;
mod sleep;
mod status;
mod submit;
mod tally;
mod timers;
mod unique;
mod usage;
pub mod view;
mod work;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::quality::FixedState;

pub use self::admin::{Lister, Undropped};
pub use self::control::{Action, Did, Undone};
pub use self::note::{Life, Note, Reach, Retirement, SAID, What, Worker};
pub use self::output::{Deed, Drain, Load, Output};
pub use self::policies::{Origin, check_pattern};
pub use self::record::{Outcome, Phase, Reason, Record, Standing};
pub use self::schedule::Put;
pub use self::settings::Settings;
pub use self::tally::{ByReason, Counts, FunctionTally, Histogram, SeenFunction};

use self::function::{Functions, ending};
use self::job::Job;
use self::pages::Pages;
use self::peer::Peer;
use self::policies::Policies;
use self::recent::Recents;
use self::schedule::Schedules;
use self::sleep::Call;
use self::unique::Uniques;
use self::usage::Usage;
pub use self::usage::Waiting;
use crate::protocol::{Handle, Refusal, Request, Response};
use crate::types::{ConnId, FunctionId, IpAddr, JobId, RecordNo, Timestamp};

type Jobs = Pages<JobId, Job>;

/// The queues, and everything that decides about them.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    now: Timestamp,
    /// The last serial number of a note.
    serial: u64,
    /// The number for the next job, recurring job, or place in a line: all from one counter.
    next_number: u64,
    jobs: Jobs,
    functions: Functions,
    peers: Pages<ConnId, Peer>,
    uniques: Uniques,
    schedules: Schedules,
    /// When each delayed job, timed job and recurring job is next due.
    timers: BTreeSet<(Timestamp, JobId)>,
    /// NOOPs that were sent and perhaps not answered, oldest first.
    calls: VecDeque<Call>,
    call_count: u64,
    /// Jobs whose payloads may be dropped from memory once the log is safe up to the record.
    to_evict: VecDeque<(RecordNo, JobId)>,
    /// Jobs that are over and kept, in the order of their ends.
    over: BTreeSet<(Timestamp, JobId)>,
    held: BTreeSet<JobId>,
    /// Jobs that no submit joins, whatever their unique ids.
    apart: BTreeSet<JobId>,
    recents: Recents,
    policies: Policies,
    /// How far the jobs have been looked through since a policy changed.
    review: Option<JobId>,
    /// Jobs that were with a worker when the last process ended, until [`Engine::begin`].
    broken_off: Vec<(JobId, Phase)>,
    /// What spreads waits: seeded, and the same for the same seed.
    chance: FixedState,
    usage: Usage,
    running: usize,
    /// Connections that can do something.
    workers: usize,
    draining: Option<Drain>,
}

/// What comes from outside and must not be guessable or repeat: drawn once, at start.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// Number of the first job. Larger than any number an earlier process gave out with the same handle prefix.
    pub first_job: JobId,
    /// Seeds the tables that peers' names and unique ids are kept in.
    pub hash: u64,
}

impl Engine {
    /// An empty server.
    pub fn new(settings: Settings, seed: Seed) -> Self {
        let hasher = FixedState::with_seed(seed.hash);
        Self {
            now: Timestamp::default(),
            serial: 0,
            next_number: seed.first_job.0.max(1),
            jobs: Jobs::default(),
            functions: Functions::new(hasher.clone(), Arc::new(settings.rules.clone())),
            peers: Pages::default(),
            uniques: Uniques::new(hasher.clone()),
            schedules: Schedules::default(),
            timers: BTreeSet::new(),
            calls: VecDeque::new(),
            call_count: 0,
            to_evict: VecDeque::new(),
            over: BTreeSet::new(),
            held: BTreeSet::new(),
            apart: BTreeSet::new(),
            recents: Recents::default(),
            policies: Policies::new(&settings.policies),
            review: None,
            broken_off: Vec::new(),
            chance: FixedState::with_seed(seed.first_job.0),
            usage: Usage::default(),
            running: 0,
            workers: 0,
            draining: None,
            settings,
        }
    }

    /// A connection came. Must be called before its first request.
    pub fn connect(&mut self, conn: ConnId, address: IpAddr) {
        self.peers.insert(conn, Peer::new(address, self.settings.exceptions, self.now));
    }

    /// A connection said something.
    pub fn hear(&mut self, now: Timestamp, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.heard = now;
        }
    }

    /// A connection went. Jobs it held are put back, jobs that only it waited for are dropped.
    pub fn disconnect(&mut self, now: Timestamp, conn: ConnId, out: &mut impl Output) {
        self.advance_clock(now);
        self.leave(conn, out);
    }

    /// Carries out one request of a connection. Requests of one connection must come in the order they were sent.
    pub fn apply(&mut self, now: Timestamp, conn: ConnId, request: Request, out: &mut impl Output) {
        self.advance_clock(now);
        match request {
            Request::Submit(submit) => self.submit(conn, submit, out),
            Request::Grab(flavor) => self.grab(conn, flavor, out),
            Request::Work(work) => {
                self.work(conn, &work, out);
                out.discard(work.body);
            }
            Request::CanDo { function, timeout } => self.can_do(conn, &function, timeout, out),
            Request::CantDo(function) => self.cant_do(conn, &function, out),
            Request::ResetAbilities => self.reset_abilities(conn, out),
            Request::PreSleep => self.pre_sleep(conn, out),
            Request::GetStatus(handle) => self.get_status(conn, &handle, out),
            Request::GetStatusUnique(unique) => self.get_status_unique(conn, &unique, out),
            Request::SetOption(option) => self.set_option(conn, &option, out),
            Request::SetClientId(id) => {
                if let Some(peer) = self.peers.get_mut(conn) {
                    peer.set_client_id(&id);
                }
            }
            Request::Echo(body) => reply(out, conn, Response::Echo(&body)),
            Request::Admin(admin) => self.admin(conn, admin, out),
            Request::Refused(refusal) => refuse(out, conn, &refusal),
        }
    }

    /// Does what has become due. Does a bounded part of it: call again while [`Engine::next_deadline`] is past.
    pub fn advance(&mut self, now: Timestamp, out: &mut impl Output) {
        self.advance_clock(now);
        self.run_timers(out);
    }

    /// The moment at which [`Engine::advance`] next has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(when, _)| *when);
        let call = self.calls.front().map(|call| call.overdue);
        let review = self.review.map(|_| self.now);
        [timer, call, self.functions.next_expiry(), self.functions.next_release(), review]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is asked next happens at this time.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.advance_clock(now);
    }

    /// Callers may read their clocks in one order and get here in another; the latest time counts.
    fn advance_clock(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The least number that a new job can have.
    pub fn next_job(&self) -> JobId {
        JobId(self.next_number)
    }

    fn next_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn handle(&self, id: JobId) -> Handle<'_> {
        Handle { prefix: &self.settings.handle_prefix, id }
    }

    /// Takes a job out of every table, wherever it stands. The caller tells those who wait for it.
    fn remove_job(&mut self, id: JobId, out: &mut impl Output) -> Option<Job> {
        let mut job = self.jobs.remove(id)?;
        self.uniques.remove(id, &job);
        if job.never_joined {
            self.apart.remove(&id);
        }
        self.leave_state(id, &mut job, out);
        for conn in job.waiting() {
            if let Some(peer) = self.peers.get_mut(*conn) {
                peer.ties_mut().awaits.remove(&id);
            }
        }
        if job.kept && out.keeps() {
            // If the store has failed it comes back after the next start; see `Output::persist`.
            let _ = out.persist(Record::Done(id));
        }
        self.usage.remove(&job.content);
        self.usage.bytes -= job.result_len();
        if let Some(body) = job.content.shared() {
            out.discard(body.clone());
        }
        self.expire_if_unused(job.function);
        Some(job)
    }

    /// Enters a job into the counts and sets of its state.
    fn enter_state(&mut self, id: JobId, job: &Job) {
        let function = self.functions.change(job.function);
        let waits = u64::from(job.content.payload_len());
        function.is_memory &= job.over().is_some();
        match job.state() {
            job::State::Ready => {
                function.waiting_bytes += waits;
                self.usage.waiting_bytes += waits;
                function.ready[job.priority as usize].insert(job.place(id), id);
                self.functions.relist(job.function);
            }
            job::State::Delayed { .. } => {
                function.waiting_bytes += waits;
                self.usage.waiting_bytes += waits;
                function.delayed[job.priority as usize] += 1;
            }
            job::State::Held => {
                function.waiting_bytes += waits;
                self.usage.waiting_bytes += waits;
                function.held += 1;
                self.held.insert(id);
            }
            job::State::Running { .. } => {
                function.running += 1;
                self.running += 1;
            }
            job::State::Over { outcome } => {
                let at = job.over().map_or(job.submitted, |over| over.at);
                function.over[ending(outcome)].insert((at, id));
                self.over.insert((at, id));
            }
        }
        if let Some(deadline) = job.deadline() {
            self.timers.insert((deadline, id));
        }
    }

    /// Takes a job out of the counts and sets of its state.
    fn leave_state(&mut self, id: JobId, job: &mut Job, out: &mut impl Output) {
        let function = self.functions.change(job.function);
        let waits = u64::from(job.content.payload_len());
        let deadline = job.deadline();
        match job.state() {
            job::State::Running { by, .. } => {
                function.running -= 1;
                self.running -= 1;
                let is_limited = function.rules.max_running.is_some();
                if let (Some(counts), Some(start)) = (&mut function.counts, job.last_start()) {
                    counts.run.add(self.now.micros_since(start));
                }
                if job.take_owed().is_some() {
                    // Its GRAB must not stay unanswered.
                    out.fill(by, id, Response::NoJob);
                }
                if let Some(peer) = self.peers.get_mut(by) {
                    peer.ties_mut().ended(id);
                    if peer.is_stopping {
                        self.close_if_stopped(by, out);
                    }
                }
                if is_limited {
                    self.functions.relist(job.function);
                    self.wake(job.function, out);
                }
            }
            job::State::Ready => {
                function.waiting_bytes -= waits;
                self.usage.waiting_bytes -= waits;
                function.ready[job.priority as usize].remove(job.place(id), id);
                self.functions.relist(job.function);
            }
            job::State::Delayed { .. } => {
                function.waiting_bytes -= waits;
                self.usage.waiting_bytes -= waits;
                function.delayed[job.priority as usize] -= 1;
            }
            job::State::Held => {
                function.waiting_bytes -= waits;
                self.usage.waiting_bytes -= waits;
                function.held -= 1;
                self.held.remove(&id);
            }
            job::State::Over { outcome } => {
                let at = job.over().map_or(job.submitted, |over| over.at);
                function.over[ending(outcome)].remove(&(at, id));
                self.over.remove(&(at, id));
            }
        }
        if let Some(deadline) = deadline {
            self.timers.remove(&(deadline, id));
        }
    }

    /// What waits, over all functions.
    fn waiting(&self) -> Waiting {
        let jobs = self.jobs.len() - self.running - self.over.len();
        Waiting { jobs: jobs as u64, bytes: self.usage.waiting_bytes }
    }

    /// A job that is not over.
    fn live(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(id).filter(|job| job.over().is_none())
    }

    fn expire_if_unused(&mut self, function: FunctionId) {
        let when = self.now.after(self.settings.function_grace);
        self.functions.expire_later(function, when);
    }
}

/// An answer that depends on nothing but what was sent before it.
fn reply(out: &mut impl Output, conn: ConnId, response: Response<'_>) {
    out.send(conn, RecordNo::NONE, response);
}

fn refuse(out: &mut impl Output, conn: ConnId, refusal: &Refusal) {
    reply(out, conn, Response::Error(refusal));
}
