//! One running server: binds, serves, stops. The only place that puts the parts together.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::broker::{Broker, Sink, Sinks, run_timer, turn};
use crate::clock::Clock;
use crate::config::{Config, HttpConfig};
use crate::engine::{Deed, Drain, Seed};
use crate::history::{Bounds, History};
use crate::http::{Facts, Http, Opened, StartError};
use crate::net::{Door, Rules, accept, bind};
use crate::observe::{Watch, run_sampler};
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::traces::Traces;
use crate::types::JobId;

/// Descriptors kept free of connections: for listeners, logs and what the system needs.
const RESERVED_DESCRIPTORS: u64 = 64;

/// How long connections get to take their last answers when the server ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// How often it is looked whether the last job of a graceful stop has ended.
const LOOK: Duration = Duration::from_millis(20);

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
    /// An address for HTTP could not be bound.
    #[error("cannot listen on {address} for HTTP: {source}; say another address with --http, or --http off")]
    BindHttp {
        /// The address as configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The HTTP API cannot start.
    #[error(transparent)]
    Http(#[from] StartError),
    /// The store cannot be opened, or what it kept cannot be trusted.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    config: Config,
    signals: Signals,
    ready: impl FnOnce(&[SocketAddr]) -> io::Result<()>,
) -> Result<(), RunError> {
    let max_connections = max_connections(&config);
    let store =
        config.store.as_ref().map(|store| SqliteStore::open(&store.directory, store.salvage)).transpose()?;
    let listeners = bind_all(&config)?;
    let addresses = local_addresses(&listeners)?;
    let http_listeners = bind_http(&config)?;
    let threads = config.threads.unwrap_or_else(default_threads).max(1);
    let runtime = runtime(threads)?;
    // Before anyone is told that the server runs: a signal that came sooner would end it by the system's rules.
    let mut stops = {
        let _guard = runtime.enter();
        Stops::new(signals)?
    };
    ready(&addresses)?;
    let clock = Arc::new(Clock::new());
    let read = Arc::new(AtomicU64::new(0));
    let facts = Facts {
        version: config.engine.version.clone(),
        started: clock.now(),
        listen: addresses,
        http: local_addresses(&http_listeners)?,
        data_dir: config.store.as_ref().map(|store| store.directory.clone()),
        threads,
        max_connections,
        max_memory: config.engine.max_memory,
    };
    let http = config.http.as_ref();
    let http =
        http.map(|http| start_http(http_listeners, http, facts, clock.clone(), read.clone())).transpose()?;
    let result: Result<Option<Served>, RunError> = runtime.block_on(async {
        let door = Door::new(read.clone());
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let listener = TcpListener::from_std(listener)?;
            accepting.spawn(accept(listener, config.clone(), max_connections, door.clone()));
        }
        let opening = {
            let (config, clock) = (config.clone(), clock.clone());
            tokio::task::spawn_blocking(move || open(&config, &clock, store, &read))
        };
        // Whoever connects while the store is read waits at the door.
        let Served { broker, history, traces } = tokio::select! {
            opened = opening => opened.map_err(io::Error::other)??,
            _ = stops.signalled() => return Ok(None),
        };
        door.open(Rules { broker: broker.clone(), clock: clock.clone(), limits: config.limits });
        tokio::spawn({
            let (broker, clock) = (broker.clone(), clock.clone());
            async move { run_timer(&broker, &clock).await }
        });
        let watch = Arc::new(Watch::new());
        if let Some(history) = history.clone() {
            tokio::spawn(run_sampler(watch.clone(), broker.clone(), history.clone(), clock));
        }
        if let Some(http) = &http {
            http.open(Opened {
                broker: broker.clone(),
                watch,
                history: history.clone(),
                traces: traces.clone(),
            });
        }
        serve(config.stop_timeout, accepting, stops, &broker).await;
        Ok(Some(Served { broker, history, traces }))
    });
    // Connections that did not take their farewell are not waited for.
    runtime.shutdown_background();
    if let Some(http) = http {
        http.stop();
    }
    if let Some(Served { broker, history, traces }) = result? {
        broker.close_store();
        if let Some(history) = history {
            history.close();
        }
        if let Some(traces) = traces {
            traces.close();
        }
    }
    tracing::info!("stopped");
    Ok(())
}

fn start_http(
    listeners: Vec<std::net::TcpListener>,
    config: &HttpConfig,
    facts: Facts,
    clock: Arc<Clock>,
    read: Arc<AtomicU64>,
) -> Result<Http, StartError> {
    let addresses = facts.http.clone();
    let http = Http::start(listeners, config, facts, clock, read)?;
    for address in addresses {
        tracing::info!("HTTP on http://{address}/api/");
    }
    Ok(http)
}

/// Reads the store. The history comes first: it takes what is found to have been lost.
fn open(
    config: &Config,
    clock: &Clock,
    store: Option<SqliteStore>,
    read: &AtomicU64,
) -> Result<Served, RunError> {
    let now = clock.now();
    let directory = config.store.as_ref().map(|store| store.directory.as_path());
    let bounds = Bounds { file: config.history.max_size, load: config.history.load, ..Bounds::default() };
    let history = History::open(directory, now, bounds);
    let history = history.inspect_err(|error| tracing::error!("{error}. The server runs without it")).ok();
    let traces = config.otlp.as_ref().map(|url| {
        tracing::info!("traces to {url}");
        Traces::start(url, &config.engine.version, &config.engine.handle_prefix)
    });
    let traces = traces.transpose()?;
    let sinks = Sinks {
        log: history.clone().map(|history| -> Sink { Box::new(move |note| history.note(note.into())) }),
        audit: history.clone().map(|history| -> Box<dyn Fn(Deed) + Send + Sync> {
            Box::new(move |deed| history.audit(deed.into()))
        }),
        traces: traces.clone().map(|traces| -> Sink { Box::new(move |note| traces.take(note)) }),
    };
    let seed = Seed {
        // Without a store nothing is known of earlier processes: counting from the time in tenths of microseconds passes
        // all their numbers, as long as no process gave out more than ten million a second.
        first_job: JobId(if store.is_some() { 1 } else { now.as_micros().saturating_mul(10) }),
        hash: RandomState::new().hash_one("gearhouse"),
    };
    let (settings, max_outbox) = (config.engine.clone(), config.limits.max_outbox);
    let broker = match store {
        Some(store) => Broker::open_store(now, settings, seed, max_outbox, Box::new(store), read, sinks)?,
        None => {
            let broker = Broker::new(settings, seed, max_outbox);
            broker.tell(sinks);
            Arc::new(broker)
        }
    };
    Ok(Served { broker, history, traces })
}

/// What is served from, and must be closed at the end.
struct Served {
    broker: Arc<Broker>,
    history: Option<Arc<History>>,
    traces: Option<Arc<Traces>>,
}

/// Returns when the server was told to end, and has done what it was told to do first.
async fn serve(
    stop_timeout: Option<Duration>,
    mut accepting: JoinSet<()>,
    mut stops: Stops,
    broker: &Broker,
) {
    let mut stop = stops.next(broker).await;
    // Sockets are closed before anything else: new clients go elsewhere from now on.
    accepting.shutdown().await;
    while stop != Stop::Now {
        tracing::info!(?stop, "stopping");
        tokio::select! {
            () = finish(broker, stop, stop_timeout) => {
                farewell(broker).await;
                break;
            }
            sooner = stops.next(broker) => stop = sooner.max_haste(stop),
        }
    }
}

/// Returns when all is done that the kind of stop allows, or its time is up.
async fn finish(broker: &Broker, stop: Stop, limit: Option<Duration>) {
    let (drain, limit) = match stop {
        Stop::Drain => (Drain::Queued, None),
        Stop::Graceful | Stop::Now => (Drain::Running, limit),
    };
    broker.drain(drain);
    let drained = async {
        while !broker.is_drained() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let Some(limit) = limit else { return drained.await };
    if timeout(limit, drained).await.is_err() {
        tracing::warn!("running jobs did not end in time");
    }
}

/// Tells who still waits, and gives connections time to take what was sent to them.
async fn farewell(broker: &Broker) {
    broker.end_all("the server ends");
    let until = Instant::now() + FAREWELL;
    while broker.connections() > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

/// All that can end the server.
struct Stops {
    term: Signal,
    int: Signal,
    usr1: Signal,
    hup: Signal,
    signals: Signals,
}

impl Stops {
    fn new(signals: Signals) -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
            hup: signal(SignalKind::hangup())?,
            signals,
        })
    }

    async fn next(&mut self, broker: &Broker) -> Stop {
        tokio::select! {
            stop = self.signalled() => stop,
            drain = broker.shutdown_asked() => match drain {
                Drain::Running => Stop::Graceful,
                Drain::Queued => Stop::Drain,
            },
        }
    }

    async fn signalled(&mut self) -> Stop {
        loop {
            tokio::select! {
                _ = self.term.recv() => return self.signals.term,
                _ = self.int.recv() => return self.signals.int,
                _ = self.usr1.recv() => if let Some(stop) = self.signals.usr1 { return stop },
                _ = self.hup.recv() => (self.signals.hup)(),
            }
        }
    }
}

impl Stop {
    /// What to do when this is asked for while `under_way` is going on: a second graceful stop means now.
    fn max_haste(self, under_way: Stop) -> Stop {
        match (self, under_way) {
            (Stop::Now, _) | (Stop::Graceful, Stop::Graceful) => Stop::Now,
            (Stop::Graceful, _) => Stop::Graceful,
            (Stop::Drain, under_way) => under_way,
        }
    }
}

fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = if threads == 1 {
        turn::begin();
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder
        .worker_threads(threads)
        .thread_name("gearhouse")
        .on_thread_start(turn::begin)
        .on_thread_park(turn::end)
        .enable_all()
        .build()
}

/// Half of the processors, at most eight: docs/performance.md, "How many threads".
fn default_threads() -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    (available / 2).clamp(1, 8)
}

fn bind_all(config: &Config) -> Result<Vec<std::net::TcpListener>, RunError> {
    let mut listeners = Vec::new();
    for address in &config.listen {
        let listener = bind_patiently(*address, config)
            .map_err(|source| RunError::Bind { address: *address, source })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The HTTP port is one of our own: whoever has it is not about to end.
fn bind_http(config: &Config) -> Result<Vec<std::net::TcpListener>, RunError> {
    let addresses = config.http.iter().flat_map(|http| &http.listen);
    let bound = |address: &SocketAddr| {
        bind(*address, config.backlog).map_err(|source| RunError::BindHttp { address: *address, source })
    };
    addresses.map(bound).collect()
}

fn local_addresses(listeners: &[std::net::TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(std::net::TcpListener::local_addr).collect()
}

/// Tries again while the address is in use, as the reference does: its last owner may be about to end.
fn bind_patiently(address: SocketAddr, config: &Config) -> io::Result<std::net::TcpListener> {
    let step = Duration::from_millis(250);
    let mut waited = Duration::ZERO;
    loop {
        match bind(address, config.backlog) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && waited < config.bind_patience => {
                std::thread::sleep(step);
                waited += step;
            }
            bound => return bound,
        }
    }
}

/// Raises the limit of open files, and says how many connections fit under it.
fn max_connections(config: &Config) -> usize {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let wanted = config.file_descriptors.unwrap_or(hard);
            let set = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
                .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard));
            if let Err(error) = set {
                tracing::warn!("cannot set the limit of open files to {wanted}: {error}");
            }
            getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft)
        }
        Err(error) => {
            tracing::warn!("cannot read the limit of open files: {error}");
            1024
        }
    };
    let fit = usize::try_from(limit.saturating_sub(RESERVED_DESCRIPTORS).max(1)).unwrap_or(usize::MAX);
    config.limits.max_connections.map_or(fit, |configured| configured.min(fit))
}
