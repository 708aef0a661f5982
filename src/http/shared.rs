//! What all requests share: the server's facts from the beginning, its queues once the store is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::access::Access;
use super::body::Bodies;
use super::idempotency::Answered;
use super::problem::{Kind, Problem};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::types::Timestamp;

/// What does not change while the server runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The program's version.
    pub version: String,
    /// When the server began.
    pub started: Timestamp,
    /// Where Gearman is spoken.
    pub listen: Vec<SocketAddr>,
    /// Where HTTP is spoken.
    pub http: Vec<SocketAddr>,
    /// The data directory; `None`: nothing is kept over a restart.
    pub data_dir: Option<PathBuf>,
    /// Threads that serve Gearman connections.
    pub threads: usize,
    /// Most connections that are served.
    pub max_connections: usize,
    /// Bytes of memory that all jobs together may take.
    pub max_memory: u64,
}

/// Shared by all requests.
pub(super) struct Shared {
    pub facts: Facts,
    pub clock: Arc<Clock>,
    pub access: Access,
    pub bodies: Bodies,
    pub answered: Answered,
    broker: OnceLock<Arc<Broker>>,
    read: Arc<AtomicU64>,
}

impl Shared {
    pub fn new(
        facts: Facts,
        clock: Arc<Clock>,
        access: Access,
        bodies: Bodies,
        read: Arc<AtomicU64>,
    ) -> Self {
        Self { facts, clock, access, bodies, answered: Answered::default(), broker: OnceLock::new(), read }
    }

    /// From now on requests that need the queues are answered.
    pub fn open(&self, broker: Arc<Broker>) {
        // It is called once.
        let _ = self.broker.set(broker);
    }

    /// The queues, if the store is read.
    pub fn broker(&self) -> Result<&Arc<Broker>, Problem> {
        self.broker.get().ok_or_else(|| {
            let read = self.read.load(Ordering::Relaxed);
            let detail = format!("The store is being read: {read} jobs so far");
            Problem::new(Kind::UNAVAILABLE, detail).retry_after(1)
        })
    }
}

/// The queues, for handlers that need them.
pub(super) struct Queues(pub Arc<Broker>);

impl FromRequestParts<Arc<Shared>> for Queues {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        shared.broker().cloned().map(Queues)
    }
}
