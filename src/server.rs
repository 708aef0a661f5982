//! One running server: binds, serves, stops. The only place that puts the parts together.

use std::io;
use std::net::SocketAddr;

use crate::config::Config;

/// How a server may be told to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// All connections are cut at once.
    Now,
    /// Nothing new is accepted or handed out; running jobs get [`Config::stop_timeout`]; waiting clients are told.
    Graceful,
    /// As `Graceful`, but jobs that are queued are still handed out, until none is left; no time limit.
    Drain,
}

/// What each signal means.
#[derive(Clone, Copy, Debug)]
pub struct Signals {
    /// SIGTERM.
    pub term: Stop,
    /// SIGINT.
    pub int: Stop,
    /// SIGUSR1; `None` ignores it.
    pub usr1: Option<Stop>,
    /// SIGHUP: called each time.
    pub hup: fn(),
}

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address as configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The `ready` step of the caller failed, or the system refused a thread or signal handler.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until a signal or the `shutdown` command ends it.
///
/// `ready` is called once, when every address is bound and before the first connection is accepted, with the
/// addresses as bound (port 0 replaced by the port received): the place for a pid file, for giving up
/// privileges, and for telling a parent process.
pub fn run(
    _config: Config,
    _signals: Signals,
    _ready: impl FnOnce(&[SocketAddr]) -> io::Result<()>,
) -> Result<(), RunError> {
    Ok(())
}
