//! What the model knows of connections, jobs, recurring jobs and functions.

use std::time::Duration;

use bytes::Bytes;
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
    pub priority: Priority,
    pub kept: bool,
    /// Another job with its unique id came back with it: no one joins this one.
    pub is_double: bool,
    /// The record that made it kept; 0 if it is not, or an earlier process made it.
    pub record: u64,
    /// Its worker was assigned it and waits for the payload, in this shape of the answer.
    pub owed: Option<Flavor>,
    pub losses: u32,
    pub place: u64,
    pub state: State,
    pub numbers: (u32, u32),
    pub waiting: Vec<ConnId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Ready,
    Delayed(Timestamp),
    Running { by: ConnId, deadline: Option<Timestamp> },
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
}

impl Peer {
    pub fn can_do(&self, function: &[u8]) -> bool {
        self.abilities.iter().any(|ability| ability.function == function)
    }
}

impl Function {
    pub fn new(name: Bytes, now: Timestamp) -> Self {
        Self { name, limits: [None; 3], pinned: false, turn: 0, unused_since: Some(now) }
    }
}

impl Job {
    /// Whether it stays although no worker has it.
    pub fn is_wanted(&self) -> bool {
        self.kept || !self.waiting.is_empty()
    }

    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    pub fn is_running_by(&self, conn: ConnId) -> bool {
        matches!(self.state, State::Running { by, .. } if by == conn)
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Ready => None,
            State::Delayed(until) => Some(until),
            State::Running { deadline, .. } => deadline,
        }
    }
}
