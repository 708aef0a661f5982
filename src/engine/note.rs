//! What happened to a job, for those who watch and for its log.
//!
//! What a job's own fields tell is not written down as long as they do: that it was submitted and handed out. It is when
//! they are about to tell no more: at the end of an attempt, and of the job. Of a job that only was submitted, ran once and
//! succeeded, and of which nothing is kept, nothing is written ever.

use bytes::Bytes;

use super::job::Job;
use super::{Engine, Outcome, Output, Reason};
use crate::protocol::StatusNumbers;
use crate::trace_context::TraceContext;
use crate::types::{ConnId, JobId, Priority, Timestamp};

/// Bytes of what a worker said that are noted: the last ones.
pub const SAID: usize = 1024;

/// One thing that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// Its serial number: the moment in microseconds, or more, so that each is larger than all that were given out before.
    pub serial: u64,
    /// Who is told.
    pub reach: Reach,
    /// To which job.
    pub job: JobId,
    /// Its function.
    pub function: Bytes,
    /// Whether the job outlives the process.
    pub kept: bool,
    /// What.
    pub what: What,
    /// The job as a whole, if this is its end and someone watches.
    pub life: Option<Box<Life>>,
}

/// Who is told of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those who watch, and the job's log.
    All,
    /// Those who watch.
    Watchers,
    /// The log: those who watch were told when it happened.
    Log,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It was submitted.
    Submitted,
    /// Its time has come: it may be handed out.
    Due,
    /// A worker was handed it.
    Started {
        /// Which attempt, from 1.
        attempt: u32,
        /// The worker.
        worker: Worker,
    },
    /// Its worker said how far it is.
    Progress(StatusNumbers),
    /// Its worker sent WORK_DATA; the last [`SAID`] bytes of it.
    Data(Bytes),
    /// Its worker sent WORK_WARNING; the last [`SAID`] bytes of it.
    Warning(Bytes),
    /// An attempt came to nothing.
    AttemptEnded {
        /// Which attempt, from 1.
        attempt: u32,
        /// When it began.
        started: Timestamp,
        /// Why it ended.
        reason: Reason,
        /// The worker.
        worker: Worker,
        /// When it is tried again; `None`: it is not.
        again: Option<Timestamp>,
    },
    /// An operator took it out of the line.
    Held,
    /// An operator put it back.
    Released,
    /// An operator gave it another priority.
    Priority(Priority),
    /// An operator had it tried again, or at once.
    Retried,
    /// An operator had it run before its time.
    Run,
    /// An operator cancelled it while its worker has it.
    Cancelling,
    /// It ended.
    Ended(Outcome),
    /// It is gone unfinished: it was in memory only, and the last client that waited for it left. Not in its log.
    Dropped,
    /// It is gone, with what was kept of it.
    Retired(Retirement),
}

/// Why nothing is kept of a job any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// The time was over for which it was kept.
    Time,
    /// More were kept than may be.
    Count,
    /// Memory was short.
    Memory,
    /// An operator deleted it, or its function.
    Deleted,
}

impl Retirement {
    /// Its name, as users see it.
    pub const fn name(self) -> &'static str {
        match self {
            Retirement::Time => "time",
            Retirement::Count => "count",
            Retirement::Memory => "memory",
            Retirement::Deleted => "deleted",
        }
    }
}

/// A job as it was when it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Its unique id; empty if it has none.
    pub unique: Bytes,
    /// Its priority.
    pub priority: Priority,
    /// When it was submitted; zero if an older version did not write it down.
    pub submitted: Timestamp,
    /// How often it was handed out.
    pub attempts: u32,
    /// When the worker that has it took it, and which one; `None`: no worker has it.
    pub run: Option<(Timestamp, Worker)>,
    /// The trace that it is part of, as its submit told.
    pub trace: Option<Box<TraceContext>>,
}

/// A worker, as it was at the time; without a number it is not known: the last process took that along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// The number of its connection.
    pub conn: u64,
    /// Where it connected from.
    pub address: String,
    /// As SET_CLIENT_ID gave it; empty if it never did.
    pub client_id: String,
}

impl Engine {
    /// Larger than all before, and than any moment at which something happened to a job before.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial = self.now.as_micros().max(self.serial + 1);
        self.serial
    }

    /// Tells those who watch, and the job's log, what happened to a job that is still there.
    pub(super) fn note(&mut self, id: JobId, what: What, out: &mut impl Output) {
        let serial = self.next_serial();
        let Some(job) = self.jobs.get_mut(id) else { return };
        // What workers say is not what the rest must be written for.
        if !matches!(what, What::Data(_) | What::Warning(_) | What::Progress(_)) {
            job.set_noted();
        }
        self.tell(id, self.now, serial, Reach::All, what, out);
    }

    /// Tells those who watch.
    pub(super) fn note_live(&mut self, id: JobId, what: What, out: &mut impl Output) {
        if out.is_watched() {
            let serial = self.next_serial();
            self.tell(id, self.now, serial, Reach::Watchers, what, out);
        }
    }

    /// Writes into the log when a job was submitted: it may not be there to tell.
    pub(super) fn note_submit(&mut self, id: JobId, out: &mut impl Output) {
        let submitted = self.jobs.get(id).map(|job| job.submitted).unwrap_or_default();
        if submitted > Timestamp::default() {
            self.tell(id, submitted, submitted.as_micros(), Reach::Log, What::Submitted, out);
        }
    }

    /// Writes into the log when the attempt began that ends now, and how far it came.
    pub(super) fn note_run(&mut self, id: JobId, out: &mut impl Output) {
        let Some(job) = self.jobs.get(id) else { return };
        let Some(start) = job.last_start() else { return };
        let serial = job.start_serial().unwrap_or(start.as_micros());
        let what = What::Started { attempt: job.attempts(), worker: self.worker_of(job) };
        let progress = job.untold_progress();
        self.tell(id, start, serial, Reach::Log, what, out);
        if let Some(numbers) = progress {
            let serial = self.next_serial();
            self.tell(id, self.now, serial, Reach::Log, What::Progress(numbers), out);
        }
    }

    fn tell(
        &mut self,
        id: JobId,
        at: Timestamp,
        serial: u64,
        reach: Reach,
        what: What,
        out: &mut impl Output,
    ) {
        // Larger numbers follow, also where the last process ended in this microsecond, or the clock was set back.
        self.serial = self.serial.max(serial);
        let Some(job) = self.jobs.get(id) else { return };
        let function = self.functions.get(job.function).name.clone();
        let is_end = matches!(what, What::Ended(_) | What::Dropped) && out.is_watched();
        let life = is_end.then(|| Box::new(self.life(job)));
        out.note(Note { at, serial, reach, job: id, function, kept: job.kept, what, life });
    }

    fn life(&self, job: &Job) -> Life {
        let started = job.last_start().filter(|_| job.is_running());
        Life {
            unique: Bytes::copy_from_slice(job.content.unique()),
            priority: job.priority,
            submitted: job.submitted,
            attempts: job.attempts(),
            run: started.map(|started| (started, self.worker_of(job))),
            trace: job.terms().and_then(|terms| terms.trace.clone()),
        }
    }

    /// Who has a job; after a restart no one knows who had it.
    pub(super) fn worker_of(&self, job: &Job) -> Worker {
        job.runner().map(|by| self.worker(by)).unwrap_or_default()
    }

    /// A connection as a worker.
    pub(super) fn worker(&self, conn: ConnId) -> Worker {
        let peer = self.peers.get(conn);
        Worker {
            conn: conn.0,
            address: peer.map(|peer| peer.address.to_string()).unwrap_or_default(),
            client_id: peer.map(|peer| peer.client_id.to_string()).unwrap_or_default(),
        }
    }
}
