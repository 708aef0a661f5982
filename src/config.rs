//! What the server runs with, resolved and checked once. Command lines and files are turned into it by
//! [`crate::cli`] and [`crate::gearmand`]; nothing after them looks at an option again.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::Settings;

/// Everything a running server was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on, each bound separately.
    pub listen: Vec<SocketAddr>,
    /// Connections the system may hold back before they are accepted.
    pub backlog: u32,
    /// How long to try again when an address is still in use.
    pub bind_patience: Duration,
    /// Probes that find peers which vanished without a goodbye.
    pub keepalive: Keepalive,
    /// Threads that serve connections. `None`: chosen by the machine.
    pub threads: Option<usize>,
    /// Open files allowed; `None` raises the limit as far as the system permits.
    pub file_descriptors: Option<u64>,
    /// What a peer may make the server hold.
    pub limits: Limits,
    /// The HTTP API. `None`: there is none.
    pub http: Option<HttpConfig>,
    /// Where traces are sent: the whole URL. `None`: there are none.
    pub otlp: Option<String>,
    /// Where background jobs are kept. `None`: in memory only, for as long as the process lives.
    pub store: Option<StoreConfig>,
    /// What is kept of the past.
    pub history: HistoryConfig,
    /// Rules and bounds of the queues.
    pub engine: Settings,
    /// How long running jobs may go on after a graceful stop began. `None`: until they are done.
    pub stop_timeout: Option<Duration>,
}

/// The HTTP API.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Addresses to listen on, each bound separately. If others than this machine can reach one, tokens are needed.
    pub listen: Vec<SocketAddr>,
    /// The file of access tokens. `None`: whoever reaches it may do everything.
    pub tokens: Option<PathBuf>,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
    /// Most connections at once.
    pub max_connections: usize,
    /// Requests a second, for each token or address. `None`: any number.
    pub rate: Option<u32>,
}

/// The store on this machine's disk.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data directory; made if there is none.
    pub directory: PathBuf,
    /// Go on without what is damaged rather than refuse to start.
    pub salvage: bool,
}

/// Bounds of the history.
#[derive(Clone, Copy, Debug)]
pub struct HistoryConfig {
    /// Bytes of the file beyond which the oldest goes, whatever its age.
    pub max_size: u64,
    /// How long load is kept by the second, in steps of ten seconds, and of five minutes.
    pub load: [Duration; 3],
}

/// TCP keepalive; `None` leaves a value to the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes before the connection is given up.
    pub count: Option<u32>,
}

/// Bounds on what one peer, or all of them, can make the server hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body of a binary packet, in bytes. A larger one is answered ARGUMENT_TOO_LARGE and the connection closed.
    pub max_frame: u64,
    /// Most connections at once. `None`: as many as open files allow.
    pub max_connections: Option<usize>,
    /// Bytes that may wait for a peer that does not read; beyond it the peer is closed.
    pub max_outbox: usize,
    /// A packet that was begun must be complete after this time, and a second more for each 64 KiB received.
    pub frame_timeout: Duration,
    /// A connection that sends nothing for this long is closed. `None`: never, which client libraries expect.
    pub idle_timeout: Option<Duration>,
}

/// Where jobs are kept unless told otherwise: the state directory that systemd made for the service, or
/// `gearhouse-data` where the process was started.
pub fn default_data_dir() -> PathBuf {
    state_directory(std::env::var_os("STATE_DIRECTORY")).unwrap_or_else(|| "gearhouse-data".into())
}

/// systemd separates several by colons.
fn state_directory(variable: Option<OsString>) -> Option<PathBuf> {
    let all = variable?.into_string().ok()?;
    all.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

/// What handles start with unless told otherwise: `H:` and the host's name, which is cut if it is longer than
/// [`Settings::MAX_HANDLE_PREFIX`] allows and loses what a handle must not contain.
pub fn default_handle_prefix() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let host = host.to_string_lossy();
    let letters = host.chars().filter(|char| char.is_ascii_graphic() && *char != '/');
    "H:".chars().chain(letters).take(Settings::MAX_HANDLE_PREFIX).collect()
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: 256 << 20,
            max_connections: None,
            max_outbox: 128 << 20,
            frame_timeout: Duration::from_secs(60),
            idle_timeout: None,
        }
    }
}

impl HttpConfig {
    /// The port of the HTTP API.
    pub const PORT: u16 = 4780;
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], HttpConfig::PORT))],
            tokens: None,
            max_body: 64 << 20,
            max_connections: 256,
            rate: Some(1000),
        }
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self { max_size: 1 << 30, load: [HOUR, 24 * HOUR, 90 * 24 * HOUR].map(Duration::from_secs) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            backlog: 1024,
            bind_patience: Duration::ZERO,
            keepalive: Keepalive::default(),
            threads: None,
            file_descriptors: None,
            limits: Limits::default(),
            history: HistoryConfig::default(),
            http: None,
            otlp: None,
            store: None,
            engine: Settings::default(),
            stop_timeout: Some(Duration::from_secs(30)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_state_directory_is_taken() {
        let taken = |text: &str| state_directory(Some(text.into()));
        assert_eq!(taken("/var/lib/gearhouse"), Some("/var/lib/gearhouse".into()));
        assert_eq!(taken("/var/lib/a:/var/lib/b"), Some("/var/lib/a".into()));
        assert_eq!(taken(""), None);
        assert_eq!(state_directory(None), None);
    }
}
