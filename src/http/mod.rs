//! The HTTP API: what the server does and holds, as JSON, and the same things that Gearman's packets can ask for.
//!
//! It runs on a thread of its own with a runtime of its own, so that nothing here holds up the threads that serve Gearman.
//! A submit goes the way of every other: a connection of the broker, a [`crate::protocol::Request`], and the packets that
//! answer it. What is looked at is copied out a few rows at a time: [`crate::engine::view`].

mod access;
mod answer;
mod api;
mod audit;
mod body;
mod control;
mod document;
mod events;
mod facts;
mod filter;
mod functions;
mod health;
mod idempotency;
mod jobs;
mod listener;
mod load;
mod log;
mod metrics;
mod operate;
mod page;
mod params;
mod policies;
mod problem;
mod purge;
mod result;
mod schedules;
mod session;
mod shared;
mod submit;
pub mod tokens;
mod values;
mod wait;
mod workers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use self::access::Access;
use self::body::Bodies;
use self::shared::Shared;
pub use self::shared::{Facts, Opened};
use self::tokens::TokensError;
use crate::clock::Clock;
use crate::config::HttpConfig;

/// How long answers under way may take when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the HTTP API could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// Others can reach it, and no one could be told from anyone.
    #[error(
        "HTTP on {0} can be reached from other machines, so it needs access tokens: make one with `gearhouse token create \
         NAME --scope operate --file FILE`, and start with --http-tokens FILE; or use --http 127.0.0.1, or --http off"
    )]
    Open(SocketAddr),
    /// The system refused a thread or a socket.
    #[error("HTTP cannot be served: {0}")]
    Io(#[from] io::Error),
}

/// The running HTTP API.
pub struct Http {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Serves on these sockets from now on. What needs the queues is refused until [`Http::open`]; `read` counts what is
    /// read of the store meanwhile.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        listeners: Vec<TcpListener>,
        config: &HttpConfig,
        facts: Facts,
        clock: Arc<Clock>,
        read: Arc<AtomicU64>,
    ) -> Result<Self, StartError> {
        let access = Access::new(config.tokens.as_deref(), config.rate)?;
        if let Some(address) = facts.http.iter().find(|address| !address.ip().is_loopback())
            && !access.has_tokens()
        {
            return Err(StartError::Open(*address));
        }
        let bodies = Bodies::new(config.max_body);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new(facts, clock, access, bodies, read, stopped.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let router = api::router(shared.clone());
        let connections = config.max_connections;
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
            let served = runtime.block_on(listener::serve(listeners, router, connections, stopped));
            if let Err(error) = served {
                tracing::error!("HTTP cannot be served: {error}");
            }
        })?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// The store is read: from now on everything is answered.
    pub fn open(&self, opened: Opened) {
        self.shared.open(opened);
    }

    /// Returns when nothing is asked of the broker any more.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP thread failed");
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.end();
    }
}
