//! What the engine holds, for who only looks: plain rows, copied out under a short lock and told without it.
//!
//! Nothing here changes anything. No call walks more than it was allowed to: lists go on from a key, and each tells how
//! many entries it looked at.

use std::time::Duration;

use bytes::Bytes;

use super::function::{Function, ending};
use super::job::{Job, State};
use super::peer::{Peer, Sleep};
use super::ready::Ready;
use super::recent::Recent;
use super::{Counts, Drain, Engine, Outcome, Reason};
use crate::policy::Plan;
use crate::protocol::{Handle, LARGE, MaxQueue, Spec, StatusNumbers};
use crate::types::{ConnId, IpAddr, JobId, Pattern, Priority, Timestamp};

/// How much one call may do under the lock.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Entries that it may look at.
    pub looks: usize,
    /// Rows that it may give.
    pub rows: usize,
}

/// A piece of a list.
#[derive(Clone, Debug)]
pub struct Piece<R, C> {
    /// Those of the entries looked at that were asked for.
    pub rows: Vec<R>,
    /// Entries that were looked at.
    pub looked: usize,
    /// Where the list goes on; `None`: it is at its end.
    pub next: Option<C>,
}

/// Whether a function may be seen by who may see these; none: all.
pub fn is_visible(visible: &[Pattern], function: &[u8]) -> bool {
    visible.is_empty() || visible.iter().any(|pattern| pattern.matches(function))
}

/// Counts over everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Jobs that are not over.
    pub jobs: usize,
    /// Those that a worker has.
    pub running: usize,
    /// Those whose payloads are on disk only.
    pub on_disk_only: usize,
    /// Unique ids that a live job has.
    pub uniques: usize,
    /// Functions.
    pub functions: usize,
    /// Recurring jobs.
    pub schedules: usize,
    /// Bytes of memory that jobs are accounted with.
    pub job_bytes: u64,
    /// Bytes of memory that functions are accounted with.
    pub function_bytes: u64,
    /// Most bytes that jobs may be accounted with.
    pub max_job_bytes: u64,
    /// The end has begun, of this kind.
    pub draining: Option<Drain>,
}

/// Where a job is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobState {
    /// May be handed out later.
    Scheduled,
    /// May be handed out.
    Queued,
    /// Waits until an operator releases it.
    Held,
    /// A worker has it.
    Running,
    /// A worker has it, and it was cancelled meanwhile.
    Cancelling,
    /// Has ended well.
    Succeeded,
    /// Has ended badly.
    Failed,
    /// Was cancelled.
    Cancelled,
}

impl JobState {
    /// Whether a job like this has ended.
    pub fn is_over(self) -> bool {
        matches!(self, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
    }
}

/// A job.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// Its number.
    pub id: JobId,
    /// Its handle.
    pub handle: String,
    /// Its function's name.
    pub function: Bytes,
    /// Its unique id; empty if it has none.
    pub unique: Box<[u8]>,
    /// Where it is.
    pub state: JobState,
    /// Its priority.
    pub priority: Priority,
    /// Whether it stays although no one waits.
    pub background: bool,
    /// When it was submitted; `None`: an older version did not write that down.
    pub submitted: Option<Timestamp>,
    /// Not to be handed out before this.
    pub due: Option<Timestamp>,
    /// When it was first handed out.
    pub first_start: Option<Timestamp>,
    /// When it was handed out last.
    pub last_start: Option<Timestamp>,
    /// When its worker must be done, or when it is given up if it has not started by then.
    pub deadline: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// Until when it is kept after its end.
    pub kept_until: Option<Timestamp>,
    /// How often it was handed out.
    pub attempts: u32,
    /// How often that came to nothing.
    pub losses: u32,
    /// What its submit said of the result's MIME type.
    pub mime: Option<String>,
    /// Bytes of its result, if it has one that is in memory.
    pub result_size: Option<u64>,
    /// How far its worker says that it is.
    pub progress: Option<StatusNumbers>,
    /// Who has it.
    pub worker: Option<WorkerRef>,
    /// How many submits wait for it.
    pub waiting_clients: usize,
    /// Bytes of its payload.
    pub payload_size: u32,
}

/// A worker, as far as a job tells of it.
#[derive(Clone, Debug)]
pub struct WorkerRef {
    /// Its connection.
    pub id: ConnId,
    /// Where it is.
    pub address: IpAddr,
    /// What it calls itself; empty if it did not say.
    pub client_id: Box<str>,
}

/// A job that was looked for.
#[derive(Clone, Debug)]
pub struct Found {
    /// The job.
    pub row: JobRow,
    /// Whether its payload has what is looked for is still to be seen, in this.
    pub undecided: Option<Payload>,
}

/// A payload, as far as it is at hand.
#[derive(Clone, Debug)]
pub enum Payload {
    /// All of it.
    Whole(Bytes),
    /// It is on disk only.
    Stored,
}

/// Whether a payload has what is looked for.
pub type Has = dyn Fn(&[u8]) -> bool + Send + Sync;

/// Which jobs are asked for: those that fit everything said.
#[derive(Clone, Default)]
pub struct JobFilter<'a> {
    /// Where they are.
    pub state: Option<JobState>,
    /// Their functions.
    pub function: Option<Pattern>,
    /// Their priority.
    pub priority: Option<Priority>,
    /// Their unique id.
    pub unique: Option<Bytes>,
    /// Who has them.
    pub worker: Option<ConnId>,
    /// Their number.
    pub id: Option<JobId>,
    /// Submitted at this time or later.
    pub since: Option<Timestamp>,
    /// Submitted at this time or before.
    pub until: Option<Timestamp>,
    /// What their payloads have.
    pub payload: Option<&'a Has>,
    /// What may be seen at all; none: everything.
    pub visible: &'a [Pattern],
}

/// Where a list of jobs goes on. Which of these a list uses depends on its filter alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobCursor {
    /// All jobs by their numbers, from this one on.
    Number(JobId),
    /// Those of one function that may be handed out, in their order, from this place on.
    Ready(Priority, u64, JobId),
    /// Those that workers have, from this one of this connection on.
    Running(ConnId, JobId),
    /// Those that are delayed, from this time and number on.
    Due(Timestamp, JobId),
    /// Those that are held, from this one on.
    Held(JobId),
    /// Those that are over and kept, the latest first, before this end and number.
    Over(Timestamp, JobId),
    /// Those that succeeded lately and of which nothing else is kept, the latest first, before this end and number.
    Recent(Timestamp, JobId),
}

/// A function.
#[derive(Clone, Debug)]
pub struct FunctionRow {
    /// Its name.
    pub name: Bytes,
    /// Jobs that may be handed out: high, normal, low.
    pub queued: [usize; 3],
    /// Jobs that are not due yet.
    pub scheduled: usize,
    /// Jobs that are held.
    pub held: usize,
    /// Jobs that are over and kept: succeeded, failed, cancelled.
    pub over: [usize; 3],
    /// Jobs that workers have.
    pub running: usize,
    /// When the first of the jobs that may be handed out was submitted.
    pub oldest: Option<Timestamp>,
    /// What happened to its jobs since the server began; `None`: nothing.
    pub counts: Option<Box<Counts>>,
    /// Nothing is handed out, by its policy.
    pub paused: bool,
    /// Connections that registered it.
    pub workers: usize,
    /// Recurring jobs that submit to it.
    pub schedules: usize,
    /// Limits on its jobs: high, normal, low.
    pub limits: MaxQueue,
    /// Stays until it is dropped.
    pub pinned: bool,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnectionRow {
    /// Its number.
    pub id: ConnId,
    /// Where it comes from.
    pub address: IpAddr,
    /// What it calls itself; empty if it did not say.
    pub client_id: Box<str>,
    /// When it came.
    pub connected: Timestamp,
    /// When it last said something.
    pub heard: Timestamp,
    /// It gets no more jobs, and is sent away when it is done with those it has.
    pub draining: bool,
    /// Whether it waits to be woken.
    pub sleeping: bool,
    /// Functions that it registered, by name, with the time that a job may run; not all if there are very many.
    pub functions: Vec<(Bytes, Option<Duration>)>,
    /// How many there are.
    pub function_count: usize,
    /// Handles of jobs that it has; not all if there are very many.
    pub running: Vec<String>,
    /// How many there are.
    pub running_count: usize,
    /// Jobs that it waits for.
    pub awaiting: usize,
}

/// Which connections are asked for.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilter<'a> {
    /// Only those that registered functions.
    pub workers: bool,
    /// Only those that registered one of these.
    pub function: Option<Pattern>,
    /// What may be seen at all; none: everything.
    pub visible: &'a [Pattern],
}

/// A recurring job.
#[derive(Clone, Debug)]
pub struct ScheduleRow {
    /// Its number.
    pub id: JobId,
    /// Its handle.
    pub handle: String,
    /// The function that it submits to.
    pub function: Bytes,
    /// The unique id of its jobs.
    pub unique: Box<[u8]>,
    /// When and how it is submitted.
    pub plan: Plan,
    /// Its fields in plain words.
    pub words: String,
    /// The next times, if they were asked for.
    pub next_times: Vec<Timestamp>,
    /// When it next submits.
    pub next: Timestamp,
    /// Bytes of its jobs' payload.
    pub payload_size: u32,
}

/// Functions and jobs that one row of a connection tells of.
const MOST_NAMES: usize = 1000;

/// Next times that a row of a recurring job tells.
const NEXT_TIMES: usize = 5;

/// Names of connections that one piece copies.
const NAMES_A_PIECE: usize = 5000;

/// Bytes of payloads that one piece looks through.
const BYTES_A_PIECE: usize = 1 << 20;

impl Engine {
    /// Counts over everything.
    pub fn totals(&self) -> Totals {
        Totals {
            jobs: self.jobs.len(),
            running: self.running,
            on_disk_only: self.usage.evicted,
            uniques: self.uniques.len(),
            functions: self.functions.len(),
            schedules: self.schedules.len(),
            job_bytes: self.usage.bytes,
            function_bytes: self.functions.memory(),
            max_job_bytes: self.settings.max_memory,
            draining: self.draining,
        }
    }

    /// The number in this handle, whether there is such a job or not.
    pub fn parse_handle(&self, handle: &[u8]) -> Option<JobId> {
        Handle::parse(&self.settings.handle_prefix, handle)
    }

    /// What stands before the number in every handle, and a colon between.
    pub fn handle_prefix(&self) -> &str {
        &self.settings.handle_prefix
    }

    /// One job.
    pub fn job_row(&self, id: JobId) -> Option<JobRow> {
        let recent =
            || self.recents.iter().find(|recent| recent.id == id).map(|recent| self.to_recent_row(recent));
        self.jobs.get(id).map(|job| self.to_job_row(id, job)).or_else(recent)
    }

    /// What a job's worker said at its end; the outer `None`: the job is not kept, or has not ended.
    pub fn result(&self, id: JobId) -> Option<Payload> {
        let job = self.jobs.get(id)?;
        let over = job.over()?;
        Some(
            over.result.clone().map_or(
                if job.kept { Payload::Stored } else { Payload::Whole(Bytes::new()) },
                Payload::Whole,
            ),
        )
    }

    /// A job's payload.
    pub fn payload(&self, id: JobId) -> Option<Payload> {
        self.jobs.get(id).map(to_payload)
    }

    /// A piece of the list of jobs.
    pub fn job_rows(
        &self,
        filter: &JobFilter<'_>,
        from: JobCursor,
        bounds: Bounds,
    ) -> Piece<Found, JobCursor> {
        let last_recent = match from {
            JobCursor::Recent(at, id) => (at, id),
            _ => (LATEST, JobId(u64::MAX)),
        };
        let mut looking =
            Looking { engine: self, filter, bounds, bytes: 0, rows: Vec::new(), looked: 0, last_recent };
        let next = looking.go_on(from);
        let Looking { rows, looked, .. } = looking;
        Piece { rows, looked, next }
    }

    /// A piece of the list of functions, by name.
    pub fn function_rows(
        &self,
        pattern: Option<&Pattern>,
        visible: &[Pattern],
        after: Option<&Bytes>,
        bounds: Bounds,
    ) -> Piece<FunctionRow, Bytes> {
        let prefix = pattern.map_or(&b""[..], Pattern::prefix);
        let is_asked =
            |name: &[u8]| pattern.is_none_or(|pattern| pattern.matches(name)) && is_visible(visible, name);
        let mut piece = Piece { rows: Vec::new(), looked: 0, next: None };
        let mut last: Option<&Bytes> = None;
        for function in self.functions.beginning_with(prefix, after) {
            if !function.name.starts_with(prefix) {
                break;
            }
            if piece.rows.len() == bounds.rows || piece.looked == bounds.looks {
                piece.next = last.or(after).cloned();
                break;
            }
            piece.looked += 1;
            last = Some(&function.name);
            if is_asked(&function.name) {
                piece.rows.push(self.to_function_row(function));
            }
        }
        piece
    }

    /// One function.
    pub fn function_row(&self, name: &[u8]) -> Option<FunctionRow> {
        let id = self.functions.find(name)?;
        Some(self.to_function_row(self.functions.get(id)))
    }

    /// How many of a function's workers are asleep, among so many from this place of its line on; and the place to go on.
    pub fn count_asleep(&self, name: &[u8], from: u64, looks: usize) -> (usize, Option<u64>) {
        let Some(id) = self.functions.find(name) else { return (0, None) };
        let mut line = self.functions.get(id).line.range(from..);
        let is_asleep = |conn: &ConnId| self.peers.get(*conn).is_some_and(|peer| peer.sleep == Sleep::Asleep);
        let asleep = line.by_ref().take(looks).filter(|(_, conn)| is_asleep(conn)).count();
        (asleep, line.next().map(|(place, _)| *place))
    }

    /// A piece of the list of connections, by number.
    pub fn connection_rows(
        &self,
        filter: &ConnectionFilter<'_>,
        from: ConnId,
        bounds: Bounds,
    ) -> Piece<ConnectionRow, ConnId> {
        let mut piece = Piece { rows: Vec::new(), looked: 0, next: None };
        let mut names = 0;
        for (conn, peer) in self.peers.from(from) {
            if piece.rows.len() == bounds.rows || piece.looked >= bounds.looks || names >= NAMES_A_PIECE {
                piece.next = Some(conn);
                break;
            }
            piece.looked += 1;
            names += peer.ties().abilities.len();
            if self.is_asked_for(filter, peer) {
                piece.rows.push(self.to_connection_row(conn, peer, filter.visible));
            }
        }
        piece
    }

    /// One connection.
    pub fn connection_row(&self, conn: ConnId, visible: &[Pattern]) -> Option<ConnectionRow> {
        let filter = ConnectionFilter { visible, ..Default::default() };
        let peer = self.peers.get(conn).filter(|peer| self.is_asked_for(&filter, peer))?;
        Some(self.to_connection_row(conn, peer, visible))
    }

    /// A piece of the list of recurring jobs, by number.
    pub fn schedule_rows(
        &self,
        pattern: Option<&Pattern>,
        visible: &[Pattern],
        from: JobId,
        bounds: Bounds,
    ) -> Piece<ScheduleRow, JobId> {
        let mut piece = Piece { rows: Vec::new(), looked: 0, next: None };
        for (id, schedule) in self.schedules.from(from) {
            if piece.rows.len() == bounds.rows || piece.looked == bounds.looks {
                piece.next = Some(id);
                break;
            }
            piece.looked += 1;
            let function = &self.functions.get(schedule.function).name;
            if pattern.is_none_or(|pattern| pattern.matches(function)) && is_visible(visible, function) {
                piece.rows.push(ScheduleRow {
                    id,
                    handle: self.handle(id).to_string(),
                    function: function.clone(),
                    unique: schedule.spec.unique().into(),
                    plan: schedule.plan.clone(),
                    words: schedule.words(),
                    next_times: schedule.next_times(self.now, NEXT_TIMES),
                    next: schedule.next,
                    payload_size: schedule.spec.payload_len(),
                });
            }
        }
        piece
    }

    /// One recurring job.
    pub fn schedule_row(&self, id: JobId) -> Option<ScheduleRow> {
        let bounds = Bounds { looks: 1, rows: 1 };
        self.schedule_rows(None, &[], id, bounds).rows.pop().filter(|row| row.id == id)
    }

    /// A recurring job as it was made: its plan, and what its jobs are made of.
    pub fn schedule_parts(&self, id: JobId) -> Option<(Plan, Spec)> {
        self.schedules.get(id).map(|schedule| (schedule.plan.clone(), schedule.spec.clone()))
    }

    /// The handle of a job with this number.
    pub fn handle_of(&self, id: JobId) -> String {
        self.handle(id).to_string()
    }

    fn to_job_row(&self, id: JobId, job: &Job) -> JobRow {
        let (state, due, deadline, by) = match job.state() {
            State::Ready => (JobState::Queued, None, job.expires(), None),
            State::Delayed { until } => (JobState::Scheduled, Some(until), None, None),
            State::Held => (JobState::Held, job.due(), None, None),
            State::Running { by, deadline } if job.is_cancelled() => {
                (JobState::Cancelling, None, deadline, Some(by))
            }
            State::Running { by, deadline } => (JobState::Running, None, deadline, Some(by)),
            State::Over { outcome } => (state_of(outcome), None, None, None),
        };
        let over = job.over();
        let numbers = job.progress().numbers;
        JobRow {
            id,
            handle: self.handle(id).to_string(),
            function: self.functions.get(job.function).name.clone(),
            unique: job.content.unique().into(),
            state,
            priority: job.priority,
            background: job.kept,
            submitted: Some(job.submitted).filter(|submitted| submitted.as_micros() > 0),
            due,
            first_start: job.first_start(),
            last_start: job.last_start(),
            deadline,
            ended: over.map(|over| over.at),
            reason: over.and_then(|over| match over.outcome {
                Outcome::Failed(reason) => Some(reason),
                Outcome::Succeeded | Outcome::Cancelled => None,
            }),
            kept_until: over.map(|over| over.retires),
            attempts: job.attempts(),
            losses: job.losses(),
            mime: job.terms().and_then(|terms| terms.mime.clone()),
            result_size: over.and_then(|over| over.result.as_ref()).map(|result| result.len() as u64),
            progress: (numbers != StatusNumbers::default()).then_some(numbers),
            worker: by.and_then(|by| self.to_worker_ref(by)),
            waiting_clients: job.waiting().len(),
            payload_size: job.content.payload_len(),
        }
    }

    fn to_recent_row(&self, recent: &Recent) -> JobRow {
        JobRow {
            id: recent.id,
            handle: self.handle(recent.id).to_string(),
            function: self.functions.get(recent.function).name.clone(),
            unique: recent.content.unique().into(),
            state: JobState::Succeeded,
            priority: recent.priority,
            background: recent.kept,
            submitted: Some(recent.submitted).filter(|submitted| submitted.as_micros() > 0),
            due: None,
            first_start: Some(recent.started).filter(|_| recent.attempts == 1),
            last_start: Some(recent.started),
            deadline: None,
            ended: Some(recent.ended),
            reason: None,
            kept_until: None,
            attempts: recent.attempts,
            losses: recent.attempts.saturating_sub(1),
            mime: None,
            result_size: Some(u64::from(recent.result_len)),
            progress: None,
            worker: self.to_worker_ref(recent.worker),
            waiting_clients: 0,
            payload_size: recent.content.payload_len(),
        }
    }

    fn to_function_row(&self, function: &Function) -> FunctionRow {
        FunctionRow {
            name: function.name.clone(),
            queued: Priority::ALL.map(|priority| function.ready[priority as usize].len()),
            scheduled: function.delayed.iter().sum(),
            held: function.held,
            over: [0, 1, 2].map(|index| function.over[index].len()),
            running: function.running,
            oldest: self.oldest_queued(function),
            counts: function.counts.clone(),
            paused: function.rules.paused,
            workers: function.workers,
            schedules: function.schedules,
            limits: function.limits,
            pinned: function.pinned,
        }
    }

    /// When the first of a function's jobs that may be handed out was submitted.
    pub(super) fn oldest_queued(&self, function: &Function) -> Option<Timestamp> {
        let firsts = function.ready.iter().filter_map(Ready::first);
        let oldest = firsts.filter_map(|id| self.jobs.get(id)).map(|job| job.submitted).min();
        // An older version did not write it down.
        oldest.filter(|oldest| oldest.as_micros() > 0)
    }

    fn to_worker_ref(&self, conn: ConnId) -> Option<WorkerRef> {
        let peer = self.peers.get(conn)?;
        Some(WorkerRef { id: conn, address: peer.address, client_id: peer.client_id.clone() })
    }

    fn is_asked_for(&self, filter: &ConnectionFilter<'_>, peer: &Peer) -> bool {
        let abilities = &peer.ties().abilities;
        let can_do = |is_asked: &dyn Fn(&[u8]) -> bool| {
            abilities.keys().any(|function| is_asked(&self.functions.get(*function).name))
        };
        (!filter.workers || !abilities.is_empty())
            && (filter.visible.is_empty() || can_do(&|name| is_visible(filter.visible, name)))
            && filter.function.as_ref().is_none_or(|pattern| can_do(&|name| pattern.matches(name)))
    }

    fn to_connection_row(&self, conn: ConnId, peer: &Peer, visible: &[Pattern]) -> ConnectionRow {
        let ties = peer.ties();
        let abilities = ties.abilities.iter().take(MOST_NAMES);
        let mut functions: Vec<_> = abilities
            .map(|(function, ability)| (self.functions.get(*function).name.clone(), ability.timeout))
            .filter(|(name, _)| is_visible(visible, name))
            .collect();
        functions.sort_unstable();
        let is_shown = |id: &JobId| {
            let function = self.jobs.get(*id).map(|job| &self.functions.get(job.function).name);
            function.is_some_and(|name| is_visible(visible, name))
        };
        let mut held: Vec<JobId> = ties.holds.iter().take(MOST_NAMES).copied().filter(is_shown).collect();
        held.sort_unstable();
        ConnectionRow {
            id: conn,
            address: peer.address,
            client_id: peer.client_id.clone(),
            connected: peer.connected,
            heard: peer.heard,
            draining: peer.is_stopping,
            sleeping: peer.sleep == Sleep::Asleep,
            function_count: if visible.is_empty() { ties.abilities.len() } else { functions.len() },
            functions,
            running_count: if visible.is_empty() { ties.holds.len() } else { held.len() },
            running: held.into_iter().map(|id| self.handle(id).to_string()).collect(),
            awaiting: ties.awaits.len(),
        }
    }
}

fn to_payload(job: &Job) -> Payload {
    let payload = job.content.payload();
    match job.content.shared() {
        _ if !job.content.is_whole() => Payload::Stored,
        Some(body) if payload.len() > LARGE => Payload::Whole(body.slice_ref(payload)),
        _ => Payload::Whole(Bytes::copy_from_slice(payload)),
    }
}

impl JobFilter<'_> {
    /// Where the list with this filter begins.
    pub fn first(&self) -> JobCursor {
        match (self.state, self.worker, self.exact_function()) {
            (_, Some(worker), _) => JobCursor::Running(worker, JobId(0)),
            (Some(JobState::Running | JobState::Cancelling), ..) => JobCursor::Running(ConnId(0), JobId(0)),
            (Some(JobState::Held), ..) => JobCursor::Held(JobId(0)),
            (Some(state), ..) if state.is_over() => JobCursor::Over(LATEST, JobId(u64::MAX)),
            (Some(JobState::Scheduled), ..) => JobCursor::Due(Timestamp::default(), JobId(0)),
            (_, _, Some(_)) => JobCursor::Ready(self.priority.unwrap_or(Priority::High), 0, JobId(0)),
            _ => JobCursor::Number(JobId(0)),
        }
    }

    /// Whether a list with this filter can go on from there.
    pub fn takes(&self, cursor: JobCursor) -> bool {
        match (self.first(), cursor) {
            (
                JobCursor::Ready(..),
                JobCursor::Running(..)
                | JobCursor::Due(..)
                | JobCursor::Held(..)
                | JobCursor::Over(..)
                | JobCursor::Recent(..),
            ) => self.state.is_none(),
            (JobCursor::Over(..), JobCursor::Recent(..)) => true,
            (JobCursor::Running(..), JobCursor::Running(conn, _)) => {
                self.worker.is_none_or(|worker| worker == conn)
            }
            (first, cursor) => std::mem::discriminant(&first) == std::mem::discriminant(&cursor),
        }
    }

    fn exact_function(&self) -> Option<&[u8]> {
        self.function.as_ref()?.exact()
    }

    fn fits_age(&self, submitted: Timestamp) -> bool {
        self.since.is_none_or(|since| submitted >= since) && self.until.is_none_or(|until| submitted <= until)
    }

    /// The unique id that is asked for, if the index has it.
    fn indexed_unique(&self) -> Option<&[u8]> {
        self.unique.as_deref().filter(|unique| !unique.is_empty() && *unique != b"-")
    }
}

/// A piece of a list of jobs, under way.
struct Looking<'a> {
    engine: &'a Engine,
    filter: &'a JobFilter<'a>,
    bounds: Bounds,
    bytes: usize,
    rows: Vec<Found>,
    looked: usize,
    last_recent: (Timestamp, JobId),
}

/// Later than all.
const LATEST: Timestamp = Timestamp::from_micros(u64::MAX);

/// In the order of [`ending`].
const STATES: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

fn state_of(outcome: Outcome) -> JobState {
    STATES[ending(outcome)]
}

impl Looking<'_> {
    fn go_on(&mut self, from: JobCursor) -> Option<JobCursor> {
        let (engine, filter) = (self.engine, self.filter);
        if let Some(id) = filter.id {
            return match engine.jobs.get(id) {
                Some(job) => {
                    self.look_at(id, job);
                    None
                }
                None => self.recent(LATEST, JobId(u64::MAX)).filter(|_| self.rows.is_empty()),
            };
        }
        if let Some(unique) = filter.indexed_unique() {
            // At most one for each function: a piece that is at its end.
            for id in engine.uniques.all(&engine.jobs, unique, self.bounds.looks) {
                self.look(id);
            }
            return None;
        }
        match from {
            JobCursor::Number(from) => {
                for (id, job) in engine.jobs.from(from) {
                    if self.is_done() {
                        return Some(JobCursor::Number(id));
                    }
                    self.look_at(id, job);
                }
                None
            }
            JobCursor::Ready(priority, place, id) => self.ready(priority, (place, id)),
            JobCursor::Running(conn, id) => self.running(conn, id),
            JobCursor::Due(when, id) => {
                for (when, id) in engine.timers.range((when, id)..) {
                    if self.is_done() {
                        return Some(JobCursor::Due(*when, *id));
                    }
                    let is_delayed = |job: &&Job| matches!(job.state(), State::Delayed { .. });
                    match engine.jobs.get(*id).filter(is_delayed) {
                        Some(job) => self.look_at(*id, job),
                        None => self.looked += 1,
                    }
                }
                if filter.state.is_some() { None } else { self.go_on(JobCursor::Held(JobId(0))) }
            }
            JobCursor::Held(from) => {
                for id in engine.held.range(from..) {
                    if self.is_done() {
                        return Some(JobCursor::Held(*id));
                    }
                    self.look(*id);
                }
                if filter.state.is_some() {
                    None
                } else {
                    self.go_on(JobCursor::Over(LATEST, JobId(u64::MAX)))
                }
            }
            JobCursor::Over(at, id) => self.over(at, id),
            JobCursor::Recent(at, id) => self.recent(at, id),
        }
    }

    /// The latest first.
    fn over(&mut self, at: Timestamp, id: JobId) -> Option<JobCursor> {
        let engine = self.engine;
        let function = self.filter.exact_function().and_then(|name| engine.functions.find(name));
        let sets: Vec<_> = match (function, self.filter.exact_function()) {
            (Some(function), _) => {
                let function = engine.functions.get(function);
                let wanted = |index: &usize| self.filter.state.is_none_or(|state| state == STATES[*index]);
                (0..3).filter(wanted).map(|index| &function.over[index]).collect()
            }
            (None, Some(_)) => Vec::new(),
            (None, None) => vec![&engine.over],
        };
        // Several sets have to be merged by their times.
        let mut sets: Vec<_> = sets.iter().map(|set| set.range(..(at, id)).rev().peekable()).collect();
        let mut before = (at, id);
        loop {
            if self.is_done() {
                return Some(JobCursor::Over(before.0, before.1));
            }
            let latest = (0..sets.len()).max_by_key(|index| sets[*index].peek().copied());
            let Some(next) = latest.and_then(|index| sets[index].next()) else { break };
            before = *next;
            self.look(next.1);
        }
        let wants_recent = self.filter.state.is_none_or(|state| state == JobState::Succeeded);
        if wants_recent { self.go_on(JobCursor::Recent(LATEST, JobId(u64::MAX))) } else { None }
    }

    fn recent(&mut self, at: Timestamp, id: JobId) -> Option<JobCursor> {
        let engine = self.engine;
        for recent in engine.recents.iter().filter(|recent| (recent.ended, recent.id) < (at, id)) {
            if self.is_done() {
                // The next one is not told yet: go on right before the one that was told last.
                return Some(JobCursor::Recent(self.last_recent.0, self.last_recent.1));
            }
            self.looked += 1;
            self.last_recent = (recent.ended, recent.id);
            let JobFilter { state, function, priority, unique, worker, id, payload, visible, .. } =
                self.filter;
            let name = &engine.functions.get(recent.function).name;
            let fits = id.is_none_or(|wanted| wanted == recent.id)
                && self.filter.fits_age(recent.submitted)
                && state.is_none_or(|state| state == JobState::Succeeded)
                && priority.is_none_or(|wanted| wanted == recent.priority)
                && unique.as_ref().is_none_or(|wanted| wanted == recent.content.unique())
                && worker.is_none_or(|worker| worker == recent.worker)
                && function.as_ref().is_none_or(|pattern| pattern.matches(name))
                && payload.is_none_or(|has| has(recent.content.payload()))
                && is_visible(visible, name);
            if fits {
                self.rows.push(Found { row: engine.to_recent_row(recent), undecided: None });
            }
        }
        None
    }

    fn ready(&mut self, first: Priority, from: (u64, JobId)) -> Option<JobCursor> {
        let engine = self.engine;
        let function = self.filter.exact_function().and_then(|name| engine.functions.find(name));
        if let Some(function) = function.map(|function| engine.functions.get(function)) {
            for priority in Priority::ALL.into_iter().filter(|priority| *priority >= first) {
                if self.filter.priority.is_some_and(|only| only != priority) {
                    continue;
                }
                let from = if priority == first { from } else { (0, JobId(0)) };
                for (place, id) in function.ready[priority as usize].from(from) {
                    if self.is_done() {
                        return Some(JobCursor::Ready(priority, place, id));
                    }
                    self.look(id);
                }
            }
        }
        if self.filter.state.is_some() { None } else { Some(JobCursor::Running(ConnId(0), JobId(0))) }
    }

    fn running(&mut self, conn: ConnId, from: JobId) -> Option<JobCursor> {
        let mut from = from;
        for (conn, peer) in self.engine.peers.from(conn) {
            if self.filter.worker.is_some_and(|worker| worker != conn) {
                return None;
            }
            if self.is_done() {
                return Some(JobCursor::Running(conn, from));
            }
            self.looked += 1;
            let holds = &peer.ties().holds;
            let mut ids: Vec<JobId> = holds.iter().copied().filter(|id| *id >= from).collect();
            ids.sort_unstable();
            for id in ids {
                if self.is_done() {
                    return Some(JobCursor::Running(conn, id));
                }
                self.look(id);
            }
            from = JobId(0);
        }
        let is_chained = self.filter.state.is_none() && self.filter.worker.is_none();
        is_chained.then_some(JobCursor::Due(Timestamp::default(), JobId(0)))
    }

    fn is_done(&self) -> bool {
        let Bounds { looks, rows } = self.bounds;
        self.looked >= looks || self.rows.len() >= rows || self.bytes >= BYTES_A_PIECE
    }

    fn look(&mut self, id: JobId) {
        match self.engine.jobs.get(id) {
            Some(job) => self.look_at(id, job),
            None => self.looked += 1,
        }
    }

    fn look_at(&mut self, id: JobId, job: &Job) {
        self.looked += 1;
        if !self.fits(job) {
            return;
        }
        let undecided = match &self.filter.payload {
            None => None,
            Some(has) if job.content.is_whole() && job.content.payload().len() <= LARGE => {
                self.bytes += job.content.payload().len();
                if !has(job.content.payload()) {
                    return;
                }
                None
            }
            Some(_) => Some(to_payload(job)),
        };
        self.rows.push(Found { row: self.engine.to_job_row(id, job), undecided });
    }

    fn fits(&self, job: &Job) -> bool {
        let JobFilter { state, function, priority, unique, worker, visible, .. } = self.filter;
        let is_in = |wanted: &JobState| match job.state() {
            State::Ready => *wanted == JobState::Queued,
            State::Delayed { .. } => *wanted == JobState::Scheduled,
            State::Held => *wanted == JobState::Held,
            State::Running { .. } if job.is_cancelled() => *wanted == JobState::Cancelling,
            State::Running { .. } => *wanted == JobState::Running,
            State::Over { outcome } => *wanted == state_of(outcome),
        };
        let name = &self.engine.functions.get(job.function).name;
        state.as_ref().is_none_or(is_in)
            && priority.is_none_or(|wanted| wanted == job.priority)
            && unique.as_ref().is_none_or(|wanted| wanted == job.content.unique())
            && worker.is_none_or(|worker| job.is_running_by(worker))
            && self.filter.fits_age(job.submitted)
            && function.as_ref().is_none_or(|pattern| pattern.matches(name))
            && is_visible(visible, name)
    }
}
