//! One job, as a row: where it is in its life and all that is known of it; its payload and result.

use bytes::Bytes;

use crate::engine::function::ending;
use crate::engine::job::{Job, State};
use crate::engine::recent::{Left, Recent};
use crate::engine::{Engine, Outcome, Reason};
use crate::policy::Terms;
use crate::protocol::{LARGE, StatusNumbers};
use crate::types::{ConnId, IpAddr, JobId, Priority, Timestamp};

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
    /// The serial number of the last beginning in its log, if that is under way or only told here.
    pub start_serial: Option<u64>,
    /// That of its end, if only this tells of it.
    pub end_serial: Option<u64>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// Until when it is kept after its end.
    pub kept_until: Option<Timestamp>,
    /// How often it was handed out.
    pub attempts: u32,
    /// How often that came to nothing.
    pub losses: u32,
    /// The reducer of a reduce job; empty if it is none.
    pub reducer: Box<[u8]>,
    /// What its submit asked for, the trace left out; it counts before the policy.
    pub terms: Terms,
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

impl JobRow {
    /// Whether this line is all that is kept of it: it succeeded lately.
    pub fn is_only_line(&self) -> bool {
        self.state.is_over() && self.kept_until.is_none()
    }
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

/// A payload, as far as it is at hand.
#[derive(Clone, Debug)]
pub enum Payload {
    /// All of it.
    Whole(Bytes),
    /// It is on disk only.
    Stored,
}

/// In the order of [`ending`].
pub(super) const STATES: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

impl Engine {
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

    pub(super) fn to_job_row(&self, id: JobId, job: &Job) -> JobRow {
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
            start_serial: job.start_serial(),
            end_serial: None,
            reason: over.and_then(|over| match over.outcome {
                Outcome::Failed(reason) => Some(reason),
                Outcome::Succeeded | Outcome::Cancelled => None,
            }),
            kept_until: over.map(|over| over.retires),
            attempts: job.attempts(),
            losses: job.losses(),
            reducer: job.content.reducer().into(),
            terms: job.terms().map_or_else(Terms::default, Terms::without_trace),
            result_size: over.and_then(|over| over.result.as_ref()).map(|result| result.len() as u64),
            progress: (numbers != StatusNumbers::default()).then_some(numbers),
            worker: by.and_then(|by| self.to_worker_ref(by)),
            waiting_clients: job.waiting().len(),
            payload_size: job.content.payload_len(),
        }
    }

    pub(super) fn to_recent_row(&self, recent: &Recent) -> JobRow {
        let gone = || {
            let Left { address, client_id } = self.recents.left(recent.worker)?;
            Some(WorkerRef { id: recent.worker, address: *address, client_id: client_id.clone() })
        };
        JobRow {
            id: recent.id,
            handle: self.handle(recent.id).to_string(),
            function: self.functions.get(recent.function).name.clone(),
            unique: recent.unique.as_slice().into(),
            state: JobState::Succeeded,
            priority: recent.priority,
            background: recent.kept,
            submitted: Some(recent.submitted).filter(|submitted| submitted.as_micros() > 0),
            due: None,
            first_start: Some(recent.first_start),
            last_start: Some(recent.started),
            deadline: None,
            ended: Some(recent.ended),
            start_serial: Some(recent.started.as_micros()),
            end_serial: Some(recent.ended.as_micros()),
            reason: None,
            kept_until: None,
            attempts: recent.attempts,
            losses: recent.attempts.saturating_sub(1),
            reducer: Box::default(),
            terms: Terms::default(),
            result_size: Some(u64::from(recent.result_len)),
            progress: None,
            worker: self.to_worker_ref(recent.worker).or_else(gone),
            waiting_clients: 0,
            payload_size: recent.payload_len,
        }
    }

    fn to_worker_ref(&self, conn: ConnId) -> Option<WorkerRef> {
        let peer = self.peers.get(conn)?;
        Some(WorkerRef { id: conn, address: peer.address, client_id: peer.client_id.clone() })
    }
}

pub(super) fn to_payload(job: &Job) -> Payload {
    let payload = job.content.payload();
    match job.content.shared() {
        _ if !job.content.is_whole() => Payload::Stored,
        Some(body) if payload.len() > LARGE => Payload::Whole(body.slice_ref(payload)),
        _ => Payload::Whole(Bytes::copy_from_slice(payload)),
    }
}

pub(super) fn state_of(outcome: Outcome) -> JobState {
    STATES[ending(outcome)]
}
