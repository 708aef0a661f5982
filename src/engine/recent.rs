//! The jobs that succeeded most recently and of which nothing else is kept: one line each.

use smallvec::SmallVec;

use super::job::Job;
use crate::protocol::StatusNumbers;
use crate::types::{ConnId, FunctionId, IpAddr, JobId, Priority, Timestamp};

/// Jobs that are remembered.
const COUNT: usize = 1_000;

/// One of them.
#[derive(Debug)]
pub(super) struct Recent {
    pub id: JobId,
    pub function: FunctionId,
    pub priority: Priority,
    pub kept: bool,
    pub attempts: u32,
    /// Most are UUIDs or shorter, and need no memory of their own.
    pub unique: SmallVec<[u8; 40]>,
    pub payload_len: u32,
    pub submitted: Timestamp,
    pub first_start: Timestamp,
    pub started: Timestamp,
    pub ended: Timestamp,
    /// Serial numbers of the beginning of its last attempt, and of its end.
    pub serials: [u64; 2],
    pub numbers: StatusNumbers,
    pub worker: ConnId,
    pub address: Option<IpAddr>,
    pub result_len: u32,
}

/// How one of them ended.
#[derive(Debug)]
pub(super) struct End {
    pub at: Timestamp,
    pub serial: u64,
    pub worker: ConnId,
    /// Where that was.
    pub address: Option<IpAddr>,
    pub result_len: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Recents {
    jobs: Vec<Recent>,
    /// Where the next one goes.
    next: usize,
}

impl Recents {
    /// Remembers a job that was taken out of the tables and ends now.
    pub fn push(&mut self, id: JobId, job: &Job, end: End) {
        let End { at: ended, serial, worker, address, result_len } = end;
        let started = job.last_start().unwrap_or(job.submitted);
        let recent = Recent {
            id,
            function: job.function,
            priority: job.priority,
            kept: job.kept,
            attempts: job.attempts(),
            submitted: job.submitted,
            first_start: job.first_start().unwrap_or(started),
            started,
            ended,
            serials: [job.start_serial().unwrap_or(started.as_micros()), serial],
            numbers: job.progress().numbers,
            worker,
            address,
            result_len: u32::try_from(result_len).unwrap_or(u32::MAX),
            unique: SmallVec::from_slice(job.content.unique()),
            payload_len: job.content.payload_len(),
        };
        match self.jobs.get_mut(self.next) {
            Some(oldest) => *oldest = recent,
            None => self.jobs.push(recent),
        }
        self.next += 1;
        if self.next == COUNT {
            self.next = 0;
        }
    }

    /// A function is gone, and with it what is remembered of its jobs.
    pub fn forget(&mut self, function: FunctionId) {
        // In order again, so that the next one is put after the latest.
        if self.jobs.len() == COUNT {
            self.jobs.rotate_left(self.next);
        }
        self.jobs.retain(|recent| recent.function != function);
        self.next = self.jobs.len() % COUNT;
    }

    /// The latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Recent> {
        let (before, after) = self.jobs.split_at(self.next.min(self.jobs.len()));
        before.iter().rev().chain(after.iter().rev())
    }
}
