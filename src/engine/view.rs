//! What the engine holds, for who only looks: plain rows, copied out under a short lock and told without it.
//!
//! Nothing here changes anything. No call walks more than it was allowed to: lists go on from a key, and each tells how
//! many entries it looked at.

use std::time::Duration;

use bytes::Bytes;

use super::function::Function;
use super::job::{Job, State};
use super::peer::{Peer, Sleep};
use super::{Drain, Engine};
use crate::protocol::{Handle, LARGE, MaxQueue, StatusNumbers};
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
    /// A worker has it.
    Running,
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
    /// Not to be handed out before this.
    pub due: Option<Timestamp>,
    /// When its worker must be done.
    pub deadline: Option<Timestamp>,
    /// How often a worker lost it.
    pub losses: u32,
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
    /// Jobs that workers have.
    pub running: usize,
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
    /// Its five cron fields.
    pub fields: String,
    /// When it next submits.
    pub next: Timestamp,
    /// Bytes of its jobs' payload.
    pub payload_size: u32,
}

/// Functions and jobs that one row of a connection tells of.
const MOST_NAMES: usize = 1000;

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
            draining: self.draining,
        }
    }

    /// The number in this handle, whether there is such a job or not.
    pub fn parse_handle(&self, handle: &[u8]) -> Option<JobId> {
        Handle::parse(&self.settings.handle_prefix, handle)
    }

    /// One job.
    pub fn job_row(&self, id: JobId) -> Option<JobRow> {
        self.jobs.get(id).map(|job| self.to_job_row(id, job))
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
        let mut looking = Looking { engine: self, filter, bounds, bytes: 0, rows: Vec::new(), looked: 0 };
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
                piece.rows.push(to_function_row(function));
            }
        }
        piece
    }

    /// One function.
    pub fn function_row(&self, name: &[u8]) -> Option<FunctionRow> {
        let id = self.functions.find(name)?;
        Some(to_function_row(self.functions.get(id)))
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
                    fields: schedule.fields.clone(),
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

    fn to_job_row(&self, id: JobId, job: &Job) -> JobRow {
        let (state, due, deadline, by) = match job.state() {
            State::Ready => (JobState::Queued, None, None, None),
            State::Delayed { until } => (JobState::Scheduled, Some(until), None, None),
            State::Running { by, deadline } => (JobState::Running, None, deadline, Some(by)),
        };
        let numbers = job.progress().numbers;
        JobRow {
            id,
            handle: self.handle(id).to_string(),
            function: self.functions.get(job.function).name.clone(),
            unique: job.content.unique().into(),
            state,
            priority: job.priority,
            background: job.kept,
            due,
            deadline,
            losses: job.losses(),
            progress: (numbers != StatusNumbers::default()).then_some(numbers),
            worker: by.and_then(|by| self.to_worker_ref(by)),
            waiting_clients: job.waiting().len(),
            payload_size: job.content.payload_len(),
        }
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
            sleeping: peer.sleep == Sleep::Asleep,
            function_count: if visible.is_empty() { ties.abilities.len() } else { functions.len() },
            functions,
            running_count: if visible.is_empty() { ties.holds.len() } else { held.len() },
            running: held.into_iter().map(|id| self.handle(id).to_string()).collect(),
            awaiting: ties.awaits.len(),
        }
    }
}

fn to_function_row(function: &Function) -> FunctionRow {
    FunctionRow {
        name: function.name.clone(),
        queued: Priority::ALL.map(|priority| function.ready[priority as usize].len()),
        scheduled: function.delayed.iter().sum(),
        running: function.running,
        workers: function.workers,
        schedules: function.schedules,
        limits: function.limits,
        pinned: function.pinned,
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
            (Some(JobState::Running), ..) => JobCursor::Running(ConnId(0), JobId(0)),
            (Some(JobState::Scheduled), ..) => JobCursor::Due(Timestamp::default(), JobId(0)),
            (_, _, Some(_)) => JobCursor::Ready(self.priority.unwrap_or(Priority::High), 0, JobId(0)),
            _ => JobCursor::Number(JobId(0)),
        }
    }

    /// Whether a list with this filter can go on from there.
    pub fn takes(&self, cursor: JobCursor) -> bool {
        match (self.first(), cursor) {
            (JobCursor::Ready(..), JobCursor::Running(..) | JobCursor::Due(..)) => self.state.is_none(),
            (JobCursor::Running(..), JobCursor::Running(conn, _)) => {
                self.worker.is_none_or(|worker| worker == conn)
            }
            (first, cursor) => std::mem::discriminant(&first) == std::mem::discriminant(&cursor),
        }
    }

    fn exact_function(&self) -> Option<&[u8]> {
        self.function.as_ref()?.exact()
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
}

impl Looking<'_> {
    fn go_on(&mut self, from: JobCursor) -> Option<JobCursor> {
        let (engine, filter) = (self.engine, self.filter);
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
                None
            }
        }
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
        let JobFilter { state, function, priority, unique, worker, payload: _, visible } = self.filter;
        let is_in = |wanted: &JobState| {
            matches!(
                (wanted, job.state()),
                (JobState::Queued, State::Ready)
                    | (JobState::Scheduled, State::Delayed { .. })
                    | (JobState::Running, State::Running { .. })
            )
        };
        let name = &self.engine.functions.get(job.function).name;
        state.as_ref().is_none_or(is_in)
            && priority.is_none_or(|wanted| wanted == job.priority)
            && unique.as_ref().is_none_or(|wanted| wanted == job.content.unique())
            && worker.is_none_or(|worker| job.is_running_by(worker))
            && function.as_ref().is_none_or(|pattern| pattern.matches(name))
            && is_visible(visible, name)
    }
}
