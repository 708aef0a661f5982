//! A job and the states it passes through: docs/job-lifecycle.md tells what each arrow means.
//!
//! ```text
//!  submit ─▶ Delayed ──due──▶ Ready ──grab──▶ Running ──complete──────────────▶ Over (if it is kept), else gone
//!    └─────────────────────────▲ │ ▲              │ └──fail, exception, lost, timed out──▶ Delayed, Ready (tried again)
//!                        release │ └──────────────┘                                        or Over
//!                               hold                                 cancelled while Running: Over, when its worker ends it
//!                                ▼
//!                              Held          cancel, expiry, last waiting client gone: from any of them ──▶ Over or gone
//! ```
//!
//! There may be tens of millions, nearly all of them waiting in the background. What such a job does not need is apart.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::content::Content;
use super::{Outcome, Phase, Standing};
use crate::policy::Terms;
use crate::protocol::{Flavor, Progress, Spec, StatusNumbers};
use crate::types::{ConnId, FunctionId, JobId, Priority, RecordNo, Timestamp};

/// One job that is not over, or is kept after its end.
#[derive(Debug)]
pub(super) struct Job {
    pub content: Content,
    /// When it may be handed out, if it is delayed; with [`IS_DUE`], when it could, if it was.
    until: Option<Due>,
    /// The log entry that an acknowledgement of this job waits for.
    pub record: RecordNo,
    more: Option<Box<More>>,
    /// Zero if an older version did not write it down.
    pub submitted: Timestamp,
    pub function: FunctionId,
    pub priority: Priority,
    /// A background submit was acknowledged for it: it stays until it ends, whoever leaves.
    pub kept: bool,
    /// No submit joins it, whatever its unique id.
    pub never_joined: bool,
    marks: u8,
}

/// Of a job's marks: its payload is on disk only and was asked for.
const IS_LOADING: u8 = 1;

/// Of a job's marks: something was written into its log that its own fields do not tell.
const IS_NOTED: u8 = 2;

/// A number that is never zero, so that none takes no more than one: a moment, or a span, in microseconds, or a place.
type Due = std::num::NonZeroU64;

/// Marks the time of a job that was delayed and is not any more.
const IS_DUE: u64 = 1 << 63;

fn due(moment: Timestamp) -> Option<Due> {
    Due::new(moment.as_micros().min(IS_DUE - 1))
}

fn moment(due: Due) -> Timestamp {
    Timestamp::from_micros(due.get())
}

/// Good until 2106.
fn seconds(moment: Timestamp) -> u32 {
    u32::try_from(moment.as_secs()).unwrap_or(u32::MAX)
}

/// Who waits for a job: nearly always one.
pub(super) type Waiting = SmallVec<[ConnId; 1]>;

/// What few jobs have.
#[derive(Debug, Default)]
struct More {
    run: Option<Run>,
    /// One entry for each foreground submit; the same connection may stand here twice.
    waiting: Waiting,
    /// How often it was handed out.
    attempts: u32,
    /// How often that came to nothing.
    losses: u32,
    /// Its place among the ready jobs of its priority, if it is not its number.
    place: Option<Due>,
    first_start: Option<Due>,
    last_start: Option<Due>,
    is_held: bool,
    patience: Option<Patience>,
    terms: Option<Box<Terms>>,
    over: Option<Box<Over>>,
}

/// An attempt, as it is remembered for a while.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub attempts: u32,
    pub first_start: Timestamp,
    /// The serial number of its beginning.
    pub serial: u64,
}

/// How long it waits to be started.
#[derive(Clone, Copy, Debug)]
struct Patience {
    since: Due,
    /// When it is given up, if it has not started by then.
    until: Option<Due>,
}

/// A worker has it.
#[derive(Debug)]
struct Run {
    by: ConnId,
    /// The serial number of its beginning.
    serial: u64,
    /// When it runs out of time, however much its worker says of it.
    limit: Option<Due>,
    /// How long its worker may say nothing of it, in microseconds.
    lease: Option<Due>,
    /// The earlier of the two ends.
    deadline: Option<Due>,
    numbers: StatusNumbers,
    /// The second in which numbers were last written into the log.
    noted: u32,
    /// There are later numbers.
    has_untold: bool,
    /// The worker was assigned it and waits for the payload, in this shape of the answer.
    owes: Option<Flavor>,
    is_cancelled: bool,
}

/// What is kept of a job after its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub outcome: Outcome,
    pub at: Timestamp,
    /// When it goes for good.
    pub retires: Timestamp,
    /// What its worker said at the end, if it is at hand.
    pub result: Option<Bytes>,
    /// The log entry from which on the result is on disk too; [`RecordNo::NONE`] if it is in memory only.
    pub result_record: RecordNo,
    /// Until when a submit with its unique id is answered with it. It stands in the index of unique ids as long.
    pub answers_until: Option<Timestamp>,
    /// Its result is on disk only and was asked for, by those who wait for the job.
    pub is_loading: bool,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// May be handed out.
    Ready,
    /// May be handed out from this time on.
    Delayed { until: Timestamp },
    /// Waits until an operator releases it.
    Held,
    /// A worker has it.
    Running { by: ConnId, deadline: Option<Timestamp> },
    /// Has ended and is kept for a while.
    Over { outcome: Outcome },
}

impl Job {
    /// Memory that a waiting job takes beside its content: its record (64 bytes), its share of the tables, and what an
    /// allocator rounds up. Measured: 75 to 87 bytes.
    const OVERHEAD: u64 = 104;

    /// Memory that the index takes for a unique id. Measured: 15 to 30 bytes.
    const UNIQUE: u64 = 48;

    /// Memory that a recurring job takes beside its body.
    const SCHEDULE: u64 = 160;

    /// A job that is ready, or delayed until it is due.
    pub fn new(
        content: Content,
        function: FunctionId,
        priority: Priority,
        until: Option<Timestamp>,
        submitted: Timestamp,
    ) -> Self {
        Self {
            content,
            until: until.and_then(due),
            record: RecordNo::NONE,
            more: None,
            submitted,
            function,
            priority,
            kept: false,
            never_joined: false,
            marks: 0,
        }
    }

    /// Whether its payload is on disk only and was asked for.
    pub fn is_loading(&self) -> bool {
        self.marks & IS_LOADING != 0
    }

    /// Its payload was asked for, or has come. Whether it was asked for before.
    pub fn set_loading(&mut self, is_loading: bool) -> bool {
        let before = self.is_loading();
        self.marks = if is_loading { self.marks | IS_LOADING } else { self.marks & !IS_LOADING };
        before
    }

    /// Whether its log holds anything beside what workers said of it.
    pub fn is_noted(&self) -> bool {
        self.marks & IS_NOTED != 0
    }

    /// Its log holds something beside what workers said of it.
    pub fn set_noted(&mut self) {
        self.marks |= IS_NOTED;
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
        let Some(more) = &self.more else { return self.waiting_state() };
        match (&more.run, &more.over) {
            (Some(run), _) => State::Running { by: run.by, deadline: run.deadline.map(moment) },
            (None, Some(over)) => State::Over { outcome: over.outcome },
            (None, None) if more.is_held => State::Held,
            (None, None) => self.waiting_state(),
        }
    }

    fn waiting_state(&self) -> State {
        self.due().map_or(State::Ready, |until| State::Delayed { until })
    }

    /// A worker takes it.
    pub fn run_by(
        &mut self,
        by: ConnId,
        now: Timestamp,
        serial: u64,
        timeout: Option<Duration>,
        lease: Option<Duration>,
    ) {
        self.until = None;
        let limit = timeout.and_then(|timeout| due(now.after(timeout)));
        let lease = lease.and_then(|lease| due(Timestamp::default().after(lease)));
        let run = Run {
            by,
            serial,
            limit,
            lease,
            deadline: limit,
            numbers: StatusNumbers::default(),
            noted: 0,
            has_untold: false,
            owes: None,
            is_cancelled: false,
        };
        let more = self.more();
        more.attempts = more.attempts.saturating_add(1);
        more.last_start = due(now);
        more.first_start = more.first_start.or(more.last_start);
        more.patience = None;
        more.run = Some(run);
        self.extend_lease(now);
    }

    /// Its worker shows that it is alive: the lease, if there is one, begins anew.
    pub fn extend_lease(&mut self, now: Timestamp) {
        let Some(run) = self.run_mut() else { return };
        if let Some(lease) = run.lease {
            let end = due(now.after(Duration::from_micros(lease.get())));
            run.deadline = [run.limit, end].into_iter().flatten().min();
        }
    }

    /// It waits, as before or for the first time: to be handed out at once, or later.
    pub fn make_waiting(&mut self, until: Option<Timestamp>) {
        self.until = match until {
            Some(until) => due(until),
            None => self.until.map(|until| until | IS_DUE),
        };
        if let Some(more) = &mut self.more {
            (more.run, more.over, more.is_held) = (None, None, false);
        }
        self.tidy();
    }

    /// It waits until it is released. When it was due is kept.
    pub fn hold(&mut self) {
        let more = self.more();
        (more.run, more.over, more.patience) = (None, None, None);
        more.is_held = true;
    }

    /// When it may be handed out, if it is delayed, or was when it was held.
    pub fn due(&self) -> Option<Timestamp> {
        self.until.map(moment).filter(|until| until.as_micros() & IS_DUE == 0)
    }

    /// Since when a job that was never handed out waits for that.
    pub fn ready_since(&self) -> Timestamp {
        let due = self.until.map(|until| Timestamp::from_micros(until.get() & !IS_DUE));
        due.map_or(self.submitted, |due| due.max(self.submitted))
    }

    /// It has ended.
    pub fn end(&mut self, over: Over) {
        self.until = None;
        let more = self.more();
        (more.run, more.patience, more.is_held) = (None, None, false);
        more.over = Some(Box::new(over));
    }

    /// What is kept of it after its end.
    pub fn over(&self) -> Option<&Over> {
        self.more.as_ref()?.over.as_deref()
    }

    /// The same, to be changed.
    pub fn over_mut(&mut self) -> Option<&mut Over> {
        self.more.as_mut()?.over.as_deref_mut()
    }

    /// Bytes of its result in memory.
    pub fn result_len(&self) -> u64 {
        self.over().and_then(|over| over.result.as_ref()).map_or(0, |result| result.len() as u64)
    }

    /// What a restart needs to know beside the body.
    pub fn standing(&self, id: JobId) -> Standing {
        let phase = match self.state() {
            State::Ready | State::Delayed { .. } => Phase::Waiting,
            State::Held => Phase::Held,
            State::Running { .. } if self.is_cancelled() => Phase::Cancelling,
            State::Running { .. } => Phase::Running,
            State::Over { outcome } => {
                Phase::Over { outcome, at: self.over().map_or(self.submitted, |over| over.at) }
            }
        };
        let standing = Standing::new(id, self.priority, self.due(), self.submitted);
        // A restart must not take it for one that has waited since it was submitted.
        let is_fresh = phase == Phase::Waiting && self.attempts() == 0;
        let since = is_fresh.then(|| self.waits_since()).filter(|since| *since > self.submitted);
        let standing = Standing { due: standing.due.or(since), ..standing };
        let Some(more) = &self.more else { return standing };
        Standing {
            phase,
            attempts: more.attempts,
            losses: more.losses,
            place: self.place(id),
            first_start: more.first_start.map(moment),
            last_start: more.last_start.map(moment),
            ..standing
        }
    }

    /// Takes over what a restart knows of it, but for its phase.
    pub fn stand_as(&mut self, id: JobId, standing: Standing, terms: Option<Terms>) {
        let has_run = standing.attempts > 0 || standing.first_start.is_some();
        if has_run {
            // What became of that is in its log.
            self.set_noted();
        }
        if has_run || (standing.losses, standing.place) != (0, id.0) || terms.is_some() {
            let more = self.more();
            (more.attempts, more.losses) = (standing.attempts, standing.losses);
            more.place = Due::new(standing.place).filter(|place| place.get() != id.0);
            more.first_start = standing.first_start.and_then(due);
            more.last_start = standing.last_start.and_then(due);
            more.terms = terms.map(Box::new);
        }
    }

    /// What its submit asked for.
    pub fn terms(&self) -> Option<&Terms> {
        self.more.as_ref()?.terms.as_deref()
    }

    /// Its submit asks for this.
    pub fn set_terms(&mut self, terms: Box<Terms>) {
        self.more().terms = Some(terms);
    }

    /// When it is given up, if it has not started by then.
    pub fn expires(&self) -> Option<Timestamp> {
        self.more.as_ref()?.patience?.until.map(moment)
    }

    /// Since when a job that was never handed out waits in its line.
    pub fn waits_since(&self) -> Timestamp {
        let since = self.more.as_ref().and_then(|more| more.patience).map(|patience| patience.since);
        since.map_or_else(|| self.ready_since(), moment)
    }

    /// It waits in its line since then, and is given up after this time, if it has not started by then; `None`: it waits
    /// for ever.
    pub fn wait_at_most(&mut self, since: Timestamp, timeout: Option<Duration>) {
        let is_told = timeout.is_some() || (self.attempts() == 0 && since != self.ready_since());
        if is_told || self.more.is_some() {
            let until = timeout.and_then(|timeout| due(since.after(timeout)));
            let patience = Patience { since: due(since).unwrap_or(Due::MIN), until };
            self.more().patience = Some(patience).filter(|_| is_told);
            self.tidy();
        }
    }

    /// Whether it was cancelled while a worker has it.
    pub fn is_cancelled(&self) -> bool {
        self.run().is_some_and(|run| run.is_cancelled)
    }

    /// It is cancelled, while a worker has it.
    pub fn cancel(&mut self) {
        if let Some(run) = self.run_mut() {
            run.is_cancelled = true;
        }
    }

    /// Whether its worker may not stay silent.
    pub fn is_leased(&self) -> bool {
        self.run().is_some_and(|run| run.lease.is_some())
    }

    /// Whether its deadline is the end of the lease, and not of the time that it may run.
    pub fn is_silent(&self) -> bool {
        self.run().is_some_and(|run| run.lease.is_some() && run.deadline != run.limit)
    }

    /// How often it was handed out.
    pub fn attempts(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.attempts)
    }

    /// The last attempt does not count.
    pub fn forget_attempt(&mut self) {
        let more = self.more();
        more.attempts = more.attempts.saturating_sub(1);
    }

    /// Attempts and losses are counted anew.
    pub fn forget_attempts(&mut self) {
        if let Some(more) = &mut self.more {
            (more.attempts, more.losses) = (0, 0);
        }
    }

    pub fn first_start(&self) -> Option<Timestamp> {
        self.more.as_ref()?.first_start.map(moment)
    }

    pub fn last_start(&self) -> Option<Timestamp> {
        self.more.as_ref()?.last_start.map(moment)
    }

    pub fn progress(&self) -> Progress {
        let numbers = self.run().map(|run| run.numbers).unwrap_or_default();
        Progress { running: self.is_running(), numbers }
    }

    /// Its worker says how far it is. Whether that is to be written into the log: at most once a second, and of one that runs
    /// long once in each hundredth of its time, so that all of them together do not fill the log.
    pub fn set_numbers(&mut self, now: Timestamp, numbers: StatusNumbers) -> bool {
        let started = self.last_start().map_or(0, seconds);
        let Some(run) = self.run_mut() else { return false };
        let now = seconds(now);
        let is_due = now.saturating_sub(run.noted.max(started)) > now.saturating_sub(started) / 100;
        (run.numbers, run.has_untold) = (numbers, !is_due);
        if is_due {
            run.noted = now;
        }
        is_due
    }

    /// How far its worker said it was, if that was not written into the log.
    pub fn untold_progress(&self) -> Option<StatusNumbers> {
        self.run().filter(|run| run.has_untold).map(|run| run.numbers)
    }

    /// The serial number of the beginning of the attempt that is under way.
    pub fn start_serial(&self) -> Option<u64> {
        self.run().map(|run| run.serial)
    }

    /// What is remembered of its last attempt, which is under way.
    pub fn ran(&self) -> Ran {
        let Some(more) = &self.more else { return Ran::default() };
        let first_start = more.first_start.map_or(self.submitted, moment);
        let serial = more.run.as_ref().map_or(0, |run| run.serial);
        Ran { attempts: more.attempts, first_start, serial }
    }

    /// Who has it.
    pub fn runner(&self) -> Option<ConnId> {
        self.run().map(|run| run.by)
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
            State::Ready => self.expires(),
            State::Delayed { until } => Some(until),
            State::Held => None,
            State::Running { deadline, .. } => deadline,
            State::Over { .. } => self.over().map(|over| over.retires),
        }
    }

    /// How often it was handed out in vain.
    pub fn losses(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.losses)
    }

    /// It was handed out in vain, once more.
    pub fn lose(&mut self) {
        let more = self.more();
        more.losses = more.losses.saturating_add(1);
    }

    /// Its place among the ready jobs of its priority: its number, or a later one if it was sent to the tail.
    pub fn place(&self, id: JobId) -> u64 {
        self.more.as_ref().and_then(|more| more.place).map_or(id.0, Due::get)
    }

    pub fn set_place(&mut self, place: u64) {
        self.more().place = Due::new(place);
    }

    /// Who waits: one entry for each foreground submit.
    pub fn waiting(&self) -> &[ConnId] {
        self.more.as_ref().map_or(&[], |more| &more.waiting)
    }

    pub fn wait(&mut self, conn: ConnId) {
        self.more().waiting.push(conn);
    }

    /// A connection waits no more.
    pub fn stop_waiting(&mut self, conn: ConnId) {
        if let Some(more) = &mut self.more {
            more.waiting.retain(|waiting| *waiting != conn);
        }
        self.tidy();
    }

    /// No one waits any more; who did.
    pub fn take_waiting(&mut self) -> Waiting {
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
            more.run.is_none()
                && more.waiting.is_empty()
                && (more.attempts, more.losses) == (0, 0)
                && more.place.is_none()
                && more.first_start.is_none()
                && !more.is_held
                && more.patience.is_none()
                && more.terms.is_none()
                && more.over.is_none()
        };
        self.more.take_if(is_empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_stays_small() {
        assert_eq!((size_of::<Job>(), size_of::<More>()), (64, 152));
    }
}
