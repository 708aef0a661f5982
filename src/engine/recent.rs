//! The jobs that succeeded most recently and of which nothing else is kept: one line each.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::job::{Job, Ran};
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
    /// When its last attempt began, or a little later: this is the serial number of that, too.
    pub started: Timestamp,
    /// The same of its end.
    pub ended: Timestamp,
    pub worker: ConnId,
    pub result_len: u32,
}

/// A worker that left.
#[derive(Debug)]
pub(super) struct Left {
    pub address: IpAddr,
    pub client_id: Box<str>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Recents {
    jobs: Vec<Recent>,
    /// Where the next one goes.
    next: usize,
    /// Workers that had jobs and left: those that came last, as many as there are jobs.
    left: BTreeMap<ConnId, Left>,
}

impl Recents {
    /// Remembers a job that was taken out of the tables and ends now.
    pub fn push(&mut self, id: JobId, job: &Job, serial: u64, worker: ConnId, result_len: usize) {
        let Ran { attempts, first_start, serial: started } = job.ran();
        let recent = Recent {
            id,
            function: job.function,
            priority: job.priority,
            kept: job.kept,
            attempts,
            submitted: job.submitted,
            first_start,
            started: Timestamp::from_micros(started),
            ended: Timestamp::from_micros(serial),
            worker,
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

    /// A worker that had jobs is gone.
    pub fn leave(&mut self, worker: ConnId, address: IpAddr, client_id: Box<str>) {
        self.left.insert(worker, Left { address, client_id });
        if self.left.len() > COUNT {
            self.left.pop_first();
        }
    }

    /// A worker that left not long ago.
    pub fn left(&self, worker: ConnId) -> Option<&Left> {
        self.left.get(&worker)
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
