//! A job and the states it passes through.
//!
//! ```text
//!  submit ──▶ Delayed ──due──▶ Ready ──grab──▶ Running ──complete, fail, exception──▶ gone
//!    └──────────────────────────▲  ▲              │
//!                                  └─worker gone, time out (until attempts are used up, then gone)
//!  cancel, last waiting client gone (unless kept): from Delayed and Ready ──▶ gone
//! ```

use super::Standing;
use crate::protocol::{Flavor, Progress, Spec, StatusNumbers};
use crate::types::{ConnId, FunctionId, JobId, Priority, RecordNo, Timestamp};

/// One job that is not over.
#[derive(Debug)]
pub(super) struct Job {
    pub spec: Spec,
    pub function: FunctionId,
    pub priority: Priority,
    /// A background submit was acknowledged for it: it stays until it ends, whoever leaves.
    pub kept: bool,
    /// How often a worker lost it, by vanishing or running out of time.
    pub losses: u32,
    /// Its place among the ready jobs of its priority: its number, or a later one if it was sent to the tail.
    pub place: u64,
    /// Hash of what it coalesces by; see [`super::unique`].
    pub unique_hash: u64,
    /// The log entry that an acknowledgement of this job waits for.
    pub record: RecordNo,
    pub state: State,
    pub numbers: StatusNumbers,
    /// Its payload is on disk only and was asked for.
    pub is_loading: bool,
    /// Its worker was assigned it and waits for the payload, in this shape of the answer.
    pub owes: Option<Flavor>,
    /// One entry for each foreground submit; the same connection may stand here twice.
    pub waiting: Vec<ConnId>,
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
    /// Memory that a job takes beside its body: its record, its index entries and the allocator's share.
    const OVERHEAD: u64 = 200;

    /// Bytes of memory this job is accounted with.
    pub fn cost(spec: &Spec) -> u64 {
        Job::OVERHEAD + spec.len() as u64
    }

    /// What a restart needs to know beside the body.
    pub fn standing(&self) -> Standing {
        let due = match self.state {
            State::Delayed { until } => Some(until),
            State::Ready | State::Running { .. } => None,
        };
        Standing { priority: self.priority, due, losses: self.losses, place: self.place }
    }

    pub fn progress(&self) -> Progress {
        Progress { running: matches!(self.state, State::Running { .. }), numbers: self.numbers }
    }

    pub fn is_running_by(&self, conn: ConnId) -> bool {
        matches!(self.state, State::Running { by, .. } if by == conn)
    }

    /// The moment at which the state changes by itself.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Ready => None,
            State::Delayed { until } => Some(until),
            State::Running { deadline, .. } => deadline,
        }
    }

    /// Its key in the function's ready set.
    pub fn ready_key(&self, id: JobId) -> (u64, JobId) {
        (self.place, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_stays_small() {
        assert!(size_of::<Job>() <= 160, "{}", size_of::<Job>());
    }
}
