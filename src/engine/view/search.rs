//! Lists of jobs: those that fit what is asked for, in an order that the engine has at hand, so that a page costs what
//! it tells and not what there is.

use bytes::Bytes;

use super::jobs::{JobRow, JobState, Payload, STATES, state_of, to_payload};
use super::{Bounds, Piece, is_visible};
use crate::engine::Engine;
use crate::engine::job::{Job, State};
use crate::protocol::LARGE;
use crate::types::{ConnId, FunctionId, JobId, Pattern, Priority, Timestamp};

/// A job that was looked for.
#[derive(Clone, Debug)]
pub struct Found {
    /// The job.
    pub row: JobRow,
    /// Whether its payload has what is looked for is still to be seen, in this.
    pub undecided: Option<Payload>,
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
    /// All jobs by their numbers, from this one on; of those with a unique id, those that stand apart.
    Number(JobId),
    /// Those with a unique id, by their functions, from this one on.
    Named(FunctionId),
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

/// Bytes of payloads that one piece looks through.
const BYTES_A_PIECE: usize = 1 << 20;

/// Later than all.
const LATEST: Timestamp = Timestamp::from_micros(u64::MAX);

impl Engine {
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
}

impl JobFilter<'_> {
    /// Where the list with this filter begins.
    pub fn first(&self) -> JobCursor {
        if self.indexed_unique().is_some() {
            return JobCursor::Named(FunctionId(0));
        }
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
                JobCursor::Running(..) | JobCursor::Due(..) | JobCursor::Held(..) | JobCursor::Over(..),
            ) => self.state.is_none(),
            (_, JobCursor::Recent(..)) => self.ends_with_recent(),
            (JobCursor::Named(_), JobCursor::Number(_)) => self.may_be_live(),
            (JobCursor::Named(_), JobCursor::Over(..)) => self.may_be_over(),
            (JobCursor::Running(..), JobCursor::Running(conn, _)) => {
                self.worker.is_none_or(|worker| worker == conn)
            }
            (first, cursor) => std::mem::discriminant(&first) == std::mem::discriminant(&cursor),
        }
    }

    /// Whether those that succeeded lately come last.
    fn ends_with_recent(&self) -> bool {
        self.state.is_none_or(|state| state == JobState::Succeeded) && self.worker.is_none()
    }

    /// Whether those that are not over may fit.
    fn may_be_live(&self) -> bool {
        self.state.is_none_or(|state| !state.is_over())
    }

    /// Whether those that are over and kept may fit.
    fn may_be_over(&self) -> bool {
        self.state.is_none_or(JobState::is_over) && self.worker.is_none()
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
        match from {
            JobCursor::Named(from) => self.named(from),
            JobCursor::Number(from) if filter.indexed_unique().is_some() => self.apart(from),
            JobCursor::Number(from) => {
                for (id, job) in engine.jobs.from(from) {
                    if self.is_done() {
                        return Some(JobCursor::Number(id));
                    }
                    self.look_at(id, job);
                }
                self.then_recent()
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

    /// Those with the unique id that is asked for. The index knows the live ones, at most one for each function, but for a
    /// few that stand apart; those that are over are gone through.
    fn named(&mut self, from: FunctionId) -> Option<JobCursor> {
        let (engine, filter) = (self.engine, self.filter);
        if !filter.may_be_live() {
            return self.then_over();
        }
        for (function, id) in engine.uniques.owners(&engine.jobs, filter.indexed_unique()?, from) {
            if self.is_done() {
                return Some(JobCursor::Named(function));
            }
            self.look_if_live(id);
        }
        self.apart(JobId(0))
    }

    fn apart(&mut self, from: JobId) -> Option<JobCursor> {
        for id in self.engine.apart.range(from..) {
            if self.is_done() {
                return Some(JobCursor::Number(*id));
            }
            self.look_if_live(*id);
        }
        self.then_over()
    }

    fn look_if_live(&mut self, id: JobId) {
        match self.engine.jobs.get(id).filter(|job| job.over().is_none()) {
            Some(job) => self.look_at(id, job),
            None => self.looked += 1,
        }
    }

    fn then_over(&mut self) -> Option<JobCursor> {
        if self.filter.may_be_over() { self.go_on(JobCursor::Over(LATEST, JobId(u64::MAX))) } else { None }
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
        self.then_recent()
    }

    fn then_recent(&mut self) -> Option<JobCursor> {
        if self.filter.ends_with_recent() { self.recent(LATEST, JobId(u64::MAX)) } else { None }
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
                && unique.as_ref().is_none_or(|wanted| **wanted == *recent.unique)
                && worker.is_none_or(|worker| worker == recent.worker)
                && function.as_ref().is_none_or(|pattern| pattern.matches(name))
                && payload.is_none()
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
