//! Connections as the engine sees them. The server keeps no difference between clients and workers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::types::{FunctionId, IpAddr, JobId, Timestamp};

/// One connection. Small: there may be very many that only wait.
#[derive(Debug)]
pub(super) struct Peer {
    pub address: IpAddr,
    /// Gets WORK_EXCEPTION rather than WORK_FAIL.
    pub exceptions: bool,
    /// It gets no more jobs: an operator asked it to stop.
    pub is_stopping: bool,
    /// As SET_CLIENT_ID gave it, fit to be listed; empty if it never did.
    pub client_id: Box<str>,
    pub sleep: Sleep,
    /// When it came.
    pub connected: Timestamp,
    /// When it last said something.
    pub heard: Timestamp,
    ties: Option<Box<Ties>>,
}

/// What ties a connection to functions and jobs; made when it first has any.
#[derive(Debug, Default)]
pub(super) struct Ties {
    pub abilities: HashMap<FunctionId, Ability, FixedState>,
    /// Abilities without a place in their function's line.
    pub absent: Vec<FunctionId>,
    /// Jobs it runs.
    pub holds: HashSet<JobId, FixedState>,
    /// Jobs it waits for.
    pub awaits: HashSet<JobId, FixedState>,
    /// Jobs it held most recently and holds no more, newest last: what it still says of them is swallowed.
    ended: VecDeque<JobId>,
}

/// Of who has none. The tables' hash is fixed anyway: their keys are the server's own numbers.
static NONE: Ties = Ties {
    abilities: HashMap::with_hasher(FixedState::with_seed(0)),
    absent: Vec::new(),
    holds: HashSet::with_hasher(FixedState::with_seed(0)),
    awaits: HashSet::with_hasher(FixedState::with_seed(0)),
    ended: VecDeque::new(),
};

/// A function that a connection registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ability {
    /// How long a job may run.
    pub timeout: Option<Duration>,
    pub stand: Stand,
}

/// Where an ability stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// In its function's line, under this key.
    Line(u64),
    /// At this index of [`Ties::absent`].
    Absent(usize),
}

/// Whether a connection waits for a NOOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    /// It did not say that it sleeps.
    Awake,
    /// It sent PRE_SLEEP.
    Asleep,
    /// It was sent a NOOP and has not answered. `call` counts NOOPs; `function` is the one it was woken for, if
    /// that one still counts on it.
    Woken { function: Option<FunctionId>, call: u64 },
}

impl Peer {
    pub fn new(address: IpAddr, exceptions: bool, now: Timestamp) -> Self {
        Self {
            address,
            exceptions,
            is_stopping: false,
            client_id: Box::default(),
            sleep: Sleep::Awake,
            connected: now,
            heard: now,
            ties: None,
        }
    }

    pub fn ties(&self) -> &Ties {
        self.ties.as_deref().unwrap_or(&NONE)
    }

    pub fn ties_mut(&mut self) -> &mut Ties {
        self.ties.get_or_insert_default()
    }

    /// Ids are listed between blanks: what would break a line is replaced. At most 127 bytes, as in the reference.
    pub fn set_client_id(&mut self, id: &Bytes) {
        let id = &id[..id.len().min(127)];
        let fit = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '_' };
        self.client_id = id.iter().map(fit).collect::<String>().into();
    }
}

impl Ties {
    /// Jobs remembered after their end. The reference answers a late packet with an error that ends many worker
    /// libraries (W6, W30); how late a library can be is bounded by how many jobs it runs at once.
    const ENDED: usize = 64;

    /// Registers a function, absent from its line.
    pub fn insert(&mut self, function: FunctionId, timeout: Option<Duration>) {
        self.abilities.insert(function, Ability { timeout, stand: Stand::Absent(self.absent.len()) });
        self.absent.push(function);
    }

    /// Unregisters one.
    pub fn remove(&mut self, function: FunctionId) -> Option<Ability> {
        let ability = self.abilities.remove(&function)?;
        if let Stand::Absent(index) = ability.stand {
            self.absent.swap_remove(index);
            if let Some(moved) = self.absent.get(index).and_then(|moved| self.abilities.get_mut(moved)) {
                moved.stand = Stand::Absent(index);
            }
        }
        Some(ability)
    }

    /// Its place in its function's line is gone.
    pub fn leave_line(&mut self, function: FunctionId) {
        if let Some(ability) = self.abilities.get_mut(&function) {
            ability.stand = Stand::Absent(self.absent.len());
            self.absent.push(function);
        }
    }

    /// The job is held no more.
    pub fn ended(&mut self, job: JobId) {
        self.holds.remove(&job);
        if self.ended.len() == Ties::ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(job);
    }

    /// Whether it ever held a job.
    pub fn has_worked(&self) -> bool {
        !self.ended.is_empty()
    }

    pub fn has_ended(&self, job: JobId) -> bool {
        self.ended.contains(&job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_only_waits_stays_small() {
        assert_eq!(size_of::<Peer>(), 80);
    }
}
