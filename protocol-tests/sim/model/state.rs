//! What the model knows of connections, jobs, recurring jobs and functions.

use std::time::Duration;

use bytes::Bytes;
use gearhouse::engine::{Outcome, Phase, Standing};
use gearhouse::policy::Terms;
use gearhouse::protocol::Flavor;
use gearhouse::types::{ConnId, Priority, Timestamp};

use super::super::ask::Submit;

pub struct Peer {
    pub conn: ConnId,
    pub address: String,
    pub is_loopback: bool,
    pub client_id: String,
    pub abilities: Vec<Ability>,
    pub exceptions: bool,
    /// It gets no more jobs.
    pub is_stopping: bool,
    pub sleep: Sleep,
    /// Numbers of jobs it held, newest last.
    pub ended: Vec<u64>,
}

pub struct Ability {
    pub function: Bytes,
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sleep {
    Awake,
    Asleep,
    /// It was sent a NOOP and has not answered. `unregistered`: it gave up a function since, perhaps the one that it
    /// was woken for.
    Woken {
        at: Timestamp,
        given_up: bool,
        unregistered: bool,
    },
}

#[derive(Clone)]
pub struct Job {
    /// Unknown for a moment if a schedule made it.
    pub number: Option<u64>,
    pub function: Bytes,
    pub unique: Bytes,
    pub reducer: Bytes,
    pub payload: Bytes,
    pub terms: Terms,
    pub priority: Priority,
    pub kept: bool,
    /// Another job with its unique id came back with it, or it is being cancelled: no one joins this one.
    pub is_double: bool,
    /// The record that made it kept; 0 if it is not, or an earlier process made it.
    pub record: u64,
    /// Its worker was assigned it and waits for the payload, in this shape of the answer.
    pub owed: Option<Flavor>,
    pub submitted: Timestamp,
    pub first_start: Option<Timestamp>,
    pub last_start: Option<Timestamp>,
    /// How often it was handed out since it was submitted, or tried again by hand.
    pub attempts: u32,
    pub losses: u32,
    pub place: u64,
    pub state: State,
    /// Since when it is ready, if it was never handed out, and when it is given up, if its function has a wait time-out.
    pub patience: Option<(Timestamp, Option<Timestamp>)>,
    pub numbers: (u32, u32),
    pub waiting: Vec<ConnId>,
    /// What the log must say of it, if it is kept. The place is the model's.
    pub written: Option<Standing>,
}

#[derive(Clone, Debug)]
pub enum State {
    Ready,
    Delayed(Timestamp),
    /// With the time from which on it may run, if that was still to come.
    Held(Option<Timestamp>),
    Running(Run),
    Over(Over),
}

#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub by: ConnId,
    pub limit: Option<Timestamp>,
    pub lease: Option<Duration>,
    /// When its worker last showed that it is alive.
    pub heard: Timestamp,
    /// The second in which its progress was last written into the log, and whether there was more since.
    pub noted: u64,
    pub has_untold: bool,
    pub is_cancelled: bool,
}

#[derive(Clone, Debug)]
pub struct Over {
    pub outcome: Outcome,
    pub at: Timestamp,
    pub retires: Timestamp,
    /// If it is at hand.
    pub result: Option<Bytes>,
    /// The record of the result; 0 if there is none.
    pub result_record: u64,
    pub answers_until: Option<Timestamp>,
}

impl Run {
    pub fn deadline(&self) -> Option<Timestamp> {
        [self.limit, self.lease_ends()].into_iter().flatten().min()
    }

    /// Whether it ends since its worker is silent, rather than since it runs too long.
    pub fn is_silent(&self) -> bool {
        self.lease_ends().is_some_and(|ends| self.limit.is_none_or(|limit| ends < limit))
    }

    fn lease_ends(&self) -> Option<Timestamp> {
        self.lease.map(|lease| self.heard.after(lease))
    }
}

#[derive(Clone)]
pub struct Schedule {
    pub number: u64,
    pub submit: Submit,
    pub fields: [&'static str; 5],
    pub next: Timestamp,
}

#[derive(Clone)]
pub struct Function {
    pub name: Bytes,
    pub limits: [Option<u32>; 3],
    pub pinned: bool,
    /// When it was served last, as a count; 0 for never.
    pub turn: u64,
    pub unused_since: Option<Timestamp>,
    /// Since the process began it had nothing but jobs that were over then.
    pub is_memory: bool,
    /// When what its rate allows, and was used, comes back.
    pub used: Vec<Timestamp>,
    /// Nothing is handed out before this time.
    pub throttled: Option<Timestamp>,
}

impl Peer {
    pub fn can_do(&self, function: &[u8]) -> bool {
        self.abilities.iter().any(|ability| ability.function == function)
    }
}

impl Function {
    pub fn new(name: Bytes, now: Timestamp) -> Self {
        Self {
            name,
            limits: [None; 3],
            pinned: false,
            turn: 0,
            unused_since: Some(now),
            is_memory: false,
            used: Vec::new(),
            throttled: None,
        }
    }
}

impl Job {
    /// Whether it stays although no worker has it.
    pub fn is_wanted(&self) -> bool {
        self.kept || !self.waiting.is_empty()
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    pub fn is_running(&self) -> bool {
        self.run().is_some()
    }

    pub fn is_running_by(&self, conn: ConnId) -> bool {
        self.run().is_some_and(|run| run.by == conn)
    }

    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    pub fn is_cancelled(&self) -> bool {
        self.run().is_some_and(|run| run.is_cancelled)
    }

    pub fn over(&self) -> Option<&Over> {
        match &self.state {
            State::Over(over) => Some(over),
            _ => None,
        }
    }

    /// When it ended, if it did, and its number: what orders the jobs that are over.
    pub fn ended(&self) -> (Option<Timestamp>, Option<u64>) {
        (self.over().map(|over| over.at), self.number)
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::Ready => self.patience.and_then(|(_, until)| until),
            State::Delayed(until) => Some(*until),
            State::Held(_) => None,
            State::Running(run) => run.deadline(),
            State::Over(over) => Some(over.retires),
        }
    }

    /// Bytes of its result in memory.
    pub fn result_len(&self) -> u64 {
        self.over().and_then(|over| over.result.as_ref()).map_or(0, |result| result.len() as u64)
    }

    /// What it coalesces by, if it does.
    pub fn key(&self) -> Option<[Bytes; 3]> {
        let payload = if self.unique == "-" { self.payload.clone() } else { Bytes::new() };
        let joins = !self.unique.is_empty() && (self.unique != "-" || !payload.is_empty());
        joins.then(|| [self.function.clone(), self.unique.clone(), payload])
    }

    /// What a restart must know.
    pub fn standing(&self) -> Standing {
        let (phase, due) = match &self.state {
            State::Ready => {
                let since = self.patience.map(|(since, _)| since);
                (Phase::Waiting, since.filter(|since| *since > self.submitted))
            }
            State::Delayed(until) => (Phase::Waiting, Some(*until)),
            State::Held(until) => (Phase::Held, *until),
            State::Running(run) if run.is_cancelled => (Phase::Cancelling, None),
            State::Running(_) => (Phase::Running, None),
            State::Over(over) => (Phase::Over { outcome: over.outcome, at: over.at }, None),
        };
        Standing {
            priority: self.priority,
            phase,
            due,
            attempts: self.attempts,
            losses: self.losses,
            place: self.place,
            submitted: self.submitted,
            first_start: self.first_start,
            last_start: self.last_start,
        }
    }
}
