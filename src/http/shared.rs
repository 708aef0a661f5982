//! What all requests share: the server's facts from the beginning, its queues once the store is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::access::Access;
use super::body::Bodies;
use super::idempotency::Answered;
use super::problem::{Kind, Problem};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::history::{History, HistoryError};
use crate::observe::Watch;
use crate::traces::Traces;
use crate::types::Timestamp;

/// Streams of what happens that may be open at once: each is told of everything that happens to any job.
const MOST_WATCHERS: usize = 64;

/// How long what is on its way into the history is waited for before it is read.
const FLUSH: Duration = Duration::from_secs(2);

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

/// What there is once the store is read.
#[derive(Debug)]
pub struct Opened {
    /// The queues.
    pub broker: Arc<Broker>,
    /// The table of functions.
    pub watch: Arc<Watch>,
    /// What was; `None`: it could not be begun.
    pub history: Option<Arc<History>>,
    /// Where traces go; `None`: nowhere.
    pub traces: Option<Arc<Traces>>,
}

/// Shared by all requests.
pub(super) struct Shared {
    pub facts: Facts,
    pub clock: Arc<Clock>,
    pub access: Access,
    pub bodies: Bodies,
    pub answered: Answered,
    opened: OnceLock<Opened>,
    read: Arc<AtomicU64>,
    /// Turns true when the server ends.
    pub stopped: watch::Receiver<bool>,
    watchers: Arc<Semaphore>,
}

impl Shared {
    pub fn new(
        facts: Facts,
        clock: Arc<Clock>,
        access: Access,
        bodies: Bodies,
        read: Arc<AtomicU64>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let (answered, opened) = (Answered::default(), OnceLock::new());
        let watchers = Arc::new(Semaphore::new(MOST_WATCHERS));
        Self { facts, clock, access, bodies, answered, opened, read, stopped, watchers }
    }

    /// From now on requests that need the queues are answered.
    pub fn open(&self, opened: Opened) {
        // It is called once.
        let _ = self.opened.set(opened);
    }

    /// Room for one more who watches what happens.
    pub fn watcher(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.watchers.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{MOST_WATCHERS} watch already");
            Problem::new(Kind::BUSY, detail).retry_after(10)
        })
    }

    /// The queues, if the store is read.
    pub fn broker(&self) -> Result<&Arc<Broker>, Problem> {
        self.opened().map(|opened| &opened.broker)
    }

    /// All that there is once the store is read.
    pub fn opened(&self) -> Result<&Opened, Problem> {
        self.opened.get().ok_or_else(|| {
            let read = self.read.load(Ordering::Relaxed);
            let detail = format!("The store is being read: {read} jobs so far");
            Problem::new(Kind::UNAVAILABLE, detail).retry_after(1)
        })
    }
}

impl Shared {
    /// Returns when the history has what came before this, or cannot have it: what operators are told is done, and who did it,
    /// outlives a server that is killed then.
    pub async fn written(&self) {
        let history = self.opened.get().and_then(|opened| opened.history.clone());
        if let Some(history) = history {
            // It only waits; and what a panic would take along was taken down before.
            let _ = tokio::task::spawn_blocking(move || history.flush_within(FLUSH)).await;
        }
    }
}

/// Reads in the history, of which all is written that came before this. Off this thread: it reads a file.
pub(super) async fn read_history<T: Send + 'static>(
    history: Arc<History>,
    read: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, Problem> {
    let read = move || {
        history.flush_within(FLUSH);
        read(&history)
    };
    let broken = |error: &dyn std::fmt::Display| Problem::new(Kind::BROKEN, error.to_string());
    tokio::task::spawn_blocking(read).await.map_err(|error| broken(&error))?.map_err(|error| broken(&error))
}

/// The queues, for handlers that need them.
pub(super) struct Queues(pub Arc<Broker>);

impl FromRequestParts<Arc<Shared>> for Queues {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        shared.broker().cloned().map(Queues)
    }
}
