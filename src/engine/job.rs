//! A job and the states it passes through.
//!
//! ```text
//!  submit ──▶ Delayed ──due──▶ Ready ──grab──▶ Running ──complete, fail, exception──▶ gone
//!    └──────────────────────────▲  ▲              │
//!                                  └─worker gone, time out (until attempts are used up, then gone)
//!  cancel, last waiting client gone (unless kept): from Delayed and Ready ──▶ gone
//! ```
//!
//! There may be tens of millions, nearly all of them waiting in the background. What such a job does not need is apart.

use super::Standing;
use super::content::Content;
use crate::protocol::{Flavor, Progress, Spec, StatusNumbers};
use crate::types::{ConnId, FunctionId, JobId, Priority, RecordNo, Timestamp};

/// One job that is not over.
#[derive(Debug)]
pub(super) struct Job {
    pub content: Content,
    /// When it may be handed out, if it is delayed.
    until: Option<Due>,
    /// The log entry that an acknowledgement of this job waits for.
    pub record: RecordNo,
    more: Option<Box<More>>,
    pub function: FunctionId,
    pub priority: Priority,
    /// A background submit was acknowledged for it: it stays until it ends, whoever leaves.
    pub kept: bool,
    /// No submit joins it, whatever its unique id.
    pub never_joined: bool,
    /// Its payload is on disk only and was asked for.
    pub is_loading: bool,
}

/// Microseconds, not zero, so that none takes no more than one.
type Due = std::num::NonZeroU64;

/// What few jobs have.
#[derive(Debug, Default)]
struct More {
    run: Option<Run>,
    /// One entry for each foreground submit; the same connection may stand here twice.
    waiting: Vec<ConnId>,
    /// How often a worker lost it, by vanishing or running out of time.
    losses: u32,
    /// Its place among the ready jobs of its priority, if it is not its number.
    place: Option<u64>,
}

/// A worker has it.
#[derive(Debug)]
struct Run {
    by: ConnId,
    deadline: Option<Timestamp>,
    numbers: StatusNumbers,
    /// The worker was assigned it and waits for the payload, in this shape of the answer.
    owes: Option<Flavor>,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// May be handed out.
    Ready,
    /// May be handed out from this time on.
    Delayed { until: Timestamp },
    /// A worker has it.
    Running { by: ConnId, deadline: Option<Timestamp> },
}

impl Job {
    /// Memory that a waiting job takes beside its content: its record (56 bytes), its share of the tables, and what an
    /// allocator rounds up. Measured: 61 to 64 bytes.
    const OVERHEAD: u64 = 96;

    /// Memory that the index takes for a unique id. Measured: 15 to 30 bytes.
    const UNIQUE: u64 = 48;

    /// Memory that a recurring job takes beside its body.
    const SCHEDULE: u64 = 160;

    /// A job that is ready, or delayed until it is due.
    pub fn new(content: Content, function: FunctionId, priority: Priority, due: Option<Timestamp>) -> Self {
        Self {
            content,
            until: due.and_then(|due| Due::new(due.as_micros())),
            record: RecordNo::NONE,
            more: None,
            function,
            priority,
            kept: false,
            never_joined: false,
            is_loading: false,
        }
    }

    /// Bytes of memory that a job with this content is accounted with.
    pub fn cost(content: &Content) -> u64 {
        let index = if content.unique().is_empty() { 0 } else { Job::UNIQUE };
        Job::OVERHEAD + index + content.len() as u64
    }

    /// Bytes of memory that a recurring job with this spec is accounted with.
    pub fn cost_of_schedule(spec: &Spec) -> u64 {
        Job::SCHEDULE + spec.len() as u64
    }

    pub fn state(&self) -> State {
        match (self.run(), self.until) {
            (Some(run), _) => State::Running { by: run.by, deadline: run.deadline },
            (None, Some(until)) => State::Delayed { until: Timestamp::from_micros(until.get()) },
            (None, None) => State::Ready,
        }
    }

    /// A worker takes it.
    pub fn run_by(&mut self, by: ConnId, deadline: Option<Timestamp>) {
        self.until = None;
        let numbers = StatusNumbers::default();
        self.more().run = Some(Run { by, deadline, numbers, owes: None });
    }

    /// It may be handed out, as before or for the first time.
    pub fn make_ready(&mut self) {
        self.until = None;
        if let Some(more) = &mut self.more {
            more.run = None;
        }
        self.tidy();
    }

    /// What a restart needs to know beside the body.
    pub fn standing(&self, id: JobId) -> Standing {
        let due = match self.state() {
            State::Delayed { until } => Some(until),
            State::Ready | State::Running { .. } => None,
        };
        Standing { priority: self.priority, due, losses: self.losses(), place: self.place(id) }
    }

    /// Takes over what a restart knows of it.
    pub fn stand_as(&mut self, id: JobId, standing: Standing) {
        if standing.losses > 0 || standing.place != id.0 {
            let more = self.more();
            more.losses = standing.losses;
            more.place = Some(standing.place);
        }
    }

    pub fn progress(&self) -> Progress {
        let numbers = self.run().map(|run| run.numbers).unwrap_or_default();
        Progress { running: self.is_running(), numbers }
    }

    pub fn set_numbers(&mut self, numbers: StatusNumbers) {
        if let Some(run) = self.run_mut() {
            run.numbers = numbers;
        }
    }

    pub fn is_running(&self) -> bool {
        self.run().is_some()
    }

    pub fn is_running_by(&self, conn: ConnId) -> bool {
        self.run().is_some_and(|run| run.by == conn)
    }

    /// Its worker is answered when the payload has come.
    pub fn owe(&mut self, flavor: Flavor) {
        if let Some(run) = self.run_mut() {
            run.owes = Some(flavor);
        }
    }

    /// The answer that its worker waits for, if any; it waits no more.
    pub fn take_owed(&mut self) -> Option<(ConnId, Flavor)> {
        let run = self.run_mut()?;
        run.owes.take().map(|flavor| (run.by, flavor))
    }

    /// The moment at which the state changes by itself.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state() {
            State::Ready => None,
            State::Delayed { until } => Some(until),
            State::Running { deadline, .. } => deadline,
        }
    }

    /// How often a worker lost it.
    pub fn losses(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.losses)
    }

    /// A worker lost it, once more.
    pub fn lose(&mut self) {
        let more = self.more();
        more.losses = more.losses.saturating_add(1);
    }

    /// Its place among the ready jobs of its priority: its number, or a later one if it was sent to the tail.
    pub fn place(&self, id: JobId) -> u64 {
        self.more.as_ref().and_then(|more| more.place).unwrap_or(id.0)
    }

    pub fn set_place(&mut self, place: u64) {
        self.more().place = Some(place);
    }

    /// Who waits: one entry for each foreground submit.
    pub fn waiting(&self) -> &[ConnId] {
        self.more.as_ref().map_or(&[], |more| &more.waiting)
    }

    pub fn wait(&mut self, conn: ConnId) {
        let waiting = &mut self.more().waiting;
        // Nearly always the only one.
        waiting.reserve_exact(usize::from(waiting.is_empty()));
        waiting.push(conn);
    }

    /// A connection waits no more.
    pub fn stop_waiting(&mut self, conn: ConnId) {
        if let Some(more) = &mut self.more {
            more.waiting.retain(|waiting| *waiting != conn);
        }
        self.tidy();
    }

    /// No one waits any more; who did.
    pub fn take_waiting(&mut self) -> Vec<ConnId> {
        let waiting = self.more.as_mut().map(|more| std::mem::take(&mut more.waiting));
        self.tidy();
        waiting.unwrap_or_default()
    }

    fn run(&self) -> Option<&Run> {
        self.more.as_ref()?.run.as_ref()
    }

    fn run_mut(&mut self) -> Option<&mut Run> {
        self.more.as_mut()?.run.as_mut()
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    fn tidy(&mut self) {
        let is_empty = |more: &mut Box<More>| {
            more.run.is_none() && more.waiting.is_empty() && more.losses == 0 && more.place.is_none()
        };
        self.more.take_if(is_empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_stays_small() {
        assert_eq!(size_of::<Job>(), 56);
    }
}
