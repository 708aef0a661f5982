//! Connections as the engine sees them. The server keeps no difference between clients and workers.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::types::{ConnId, FunctionId, JobId};

/// What the engine is told of a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its address without port, as listings show it.
    pub address: Box<str>,
    /// Whether it is on this machine.
    pub is_loopback: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub info: PeerInfo,
    /// As SET_CLIENT_ID gave it, fit to be listed; empty if it never did.
    pub client_id: Box<str>,
    /// Gets WORK_EXCEPTION rather than WORK_FAIL.
    pub exceptions: bool,
    pub sleep: Sleep,
    pub abilities: HashMap<FunctionId, Ability, FixedState>,
    /// Abilities without a place in their function's line.
    pub absent: HashSet<FunctionId, FixedState>,
    /// Jobs it runs.
    pub holds: HashSet<JobId, FixedState>,
    /// Jobs it waits for.
    pub awaits: HashSet<JobId, FixedState>,
    /// Jobs it held most recently and holds no more, newest last: what it still says of them is swallowed.
    ended: VecDeque<JobId>,
}

/// A function that a connection registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ability {
    /// How long a job may run.
    pub timeout: Option<Duration>,
    /// Its key in the function's line.
    pub line: Option<u64>,
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
    /// Jobs remembered after their end. The reference answers a late packet with an error that ends many worker
    /// libraries (W6, W30); how late a library can be is bounded by how many jobs it runs at once.
    const ENDED: usize = 64;

    pub fn new(info: PeerInfo, exceptions: bool) -> Self {
        Self {
            info,
            client_id: Box::default(),
            exceptions,
            sleep: Sleep::Awake,
            abilities: HashMap::default(),
            absent: HashSet::default(),
            holds: HashSet::default(),
            awaits: HashSet::default(),
            ended: VecDeque::new(),
        }
    }

    /// Ids are listed between blanks: what would break a line is replaced. At most 127 bytes, as in the reference.
    pub fn set_client_id(&mut self, id: &Bytes) {
        let id = &id[..id.len().min(127)];
        let fit = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '_' };
        self.client_id = id.iter().map(fit).collect::<String>().into();
    }

    /// The job is held no more.
    pub fn ended(&mut self, job: JobId) {
        self.holds.remove(&job);
        if self.ended.len() == Peer::ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(job);
    }

    pub fn has_ended(&self, job: JobId) -> bool {
        self.ended.contains(&job)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_id: HashMap<ConnId, Peer, FixedState>,
    /// The same in order, for listings.
    order: BTreeSet<ConnId>,
}

impl Peers {
    pub fn insert(&mut self, conn: ConnId, peer: Peer) {
        self.by_id.insert(conn, peer);
        self.order.insert(conn);
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<Peer> {
        self.order.remove(&conn);
        self.by_id.remove(&conn)
    }

    pub fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.by_id.get(&conn)
    }

    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.by_id.get_mut(&conn)
    }

    /// Connections with numbers from `from` on, in order.
    pub fn from(&self, from: ConnId) -> impl Iterator<Item = (ConnId, &Peer)> {
        self.order.range(from..).filter_map(|conn| Some((*conn, self.by_id.get(conn)?)))
    }
}
