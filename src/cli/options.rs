//! What `gearhouse serve` can be told: one list for the command line, the environment and the configuration file.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::address::Address;
use super::values::{AddressOrOff, CollectorOrOff, CountOrAll, Policies, Size, Span, SpanOrOff};

const NETWORK: &str = "Network";
const HTTP: &str = "HTTP";
const TRACES: &str = "Traces";
const STORAGE: &str = "Storage";
const BOUNDS: &str = "Bounds on what peers can make the server hold";
const JOBS: &str = "Jobs";
const STOPPING: &str = "Stopping";
const SYSTEM: &str = "System";
const LOG: &str = "Log";

/// Everything that was said, and nothing that was not: what is `None` here comes from the next source.
///
/// The name of a field is the option's long name, its environment variable and its key in the file. What a
/// help text calls the default is checked against the real one by a test.
#[derive(Args, Deserialize, Clone, Default, Debug)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Options {
    /// Read options from this TOML file; its keys are the long names below
    ///
    /// Example of such a file:
    ///
    ///   listen = ["127.0.0.1", "[::1]:4731"]
    ///   max-frame = "64MiB"
    ///   exceptions = true
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,

    /// Listen on this address; may be repeated [default: every address, port 4730]
    ///
    /// HOST, HOST:PORT, [IPV6]:PORT or :PORT. A host name stands for all its addresses. Without a port it is
    /// 4730; port 0 takes any free port, which the log tells.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', help_heading = NETWORK)]
    pub(super) listen: Option<Vec<Address>>,

    /// Connections the system may hold back until they are accepted [default: 1024]
    #[arg(long, value_name = "N", help_heading = NETWORK)]
    pub(super) backlog: Option<NonZeroU32>,

    /// Silence on a connection before the system asks whether the peer is still there [default: the system's]
    #[arg(long, value_name = "DURATION", help_heading = NETWORK)]
    pub(super) keepalive_idle: Option<Span>,

    /// Time between two such questions [default: the system's]
    #[arg(long, value_name = "DURATION", help_heading = NETWORK)]
    pub(super) keepalive_interval: Option<Span>,

    /// Unanswered questions before the connection is given up [default: the system's]
    #[arg(long, value_name = "N", help_heading = NETWORK)]
    pub(super) keepalive_count: Option<NonZeroU32>,

    /// Address of the HTTP API, or `off` [default: 127.0.0.1:4780]
    ///
    /// HOST, HOST:PORT, [IPV6]:PORT or :PORT. Without a port it is 4780; port 0 takes any free port, which the log tells.
    /// An address that other machines can reach needs --http-tokens.
    #[arg(long, value_name = "ADDR|off", help_heading = HTTP)]
    pub(super) http: Option<AddressOrOff>,

    /// File of access tokens; whoever has none is refused then [default: no file]
    ///
    /// `gearhouse token create` makes tokens and the file. It is read again when it has changed.
    #[arg(long, value_name = "FILE", help_heading = HTTP)]
    pub(super) http_tokens: Option<PathBuf>,

    /// Largest body of an HTTP request, which bounds the payloads in it [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = HTTP)]
    pub(super) http_max_body: Option<Size>,

    /// HTTP requests a second for each token or address; twice as many in one go [default: 1000]
    #[arg(long, value_name = "N|unlimited", help_heading = HTTP)]
    pub(super) http_rate: Option<CountOrAll>,

    /// Most HTTP connections at once [default: 256]
    #[arg(long, value_name = "N", help_heading = HTTP)]
    pub(super) http_max_connections: Option<NonZeroUsize>,

    /// Send traces to this OpenTelemetry collector, by OTLP over HTTP, or `off` [default: off]
    ///
    /// As in `http://127.0.0.1:4318`; what is sent goes to `/v1/traces` there. A span for each job from its submit to its end,
    /// and one for each attempt.
    #[arg(long, value_name = "URL|off", help_heading = TRACES)]
    pub(super) otlp: Option<CollectorOrOff>,

    /// Where background jobs are kept [default: sqlite]
    ///
    /// `sqlite` keeps them in the data directory: a background job is acknowledged when a crash can no longer lose
    /// it. `memory` keeps nothing over a restart. Foreground jobs are in memory with both.
    #[arg(long, value_name = "STORE", help_heading = STORAGE)]
    pub(super) store: Option<Store>,

    /// Directory that jobs are kept in; made if there is none [default: ./gearhouse-data, or systemd's state directory]
    ///
    /// Under systemd, `StateDirectory=gearhouse` in the unit file makes it /var/lib/gearhouse.
    #[arg(long, value_name = "DIR", help_heading = STORAGE)]
    pub(super) data_dir: Option<PathBuf>,

    /// Bytes of the history's file beyond which the oldest goes, whatever its age [default: 1GiB]
    #[arg(long, value_name = "SIZE", help_heading = STORAGE)]
    pub(super) history_max_size: Option<Size>,

    /// How long load is kept by the second, in steps of 10 seconds, and of 5 minutes [default: 1h,1d,90d]
    ///
    /// Three times, none shorter than the one before.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', help_heading = STORAGE)]
    pub(super) history_load: Option<Vec<Span>>,

    /// Start although something in the data directory is damaged, with all that is whole; the log tells what is gone
    ///
    /// For one start, after a refusal. The damaged files are kept in the directory, as damaged-1. It can't be said in
    /// the configuration file.
    #[arg(long, help_heading = STORAGE)]
    #[serde(skip)]
    pub(super) salvage: bool,

    /// Largest packet that is accepted, which bounds a job's payload and its result [default: 256MiB]
    ///
    /// A larger one is answered with an error, and its connection is closed.
    #[arg(long, value_name = "SIZE", help_heading = BOUNDS)]
    pub(super) max_frame: Option<Size>,

    /// Bytes that may wait for a peer that does not read; beyond it the peer is closed [default: 128MiB]
    #[arg(long, value_name = "SIZE", help_heading = BOUNDS)]
    pub(super) max_outbox: Option<Size>,

    /// Time for a packet that was begun to arrive, and one second more for each 64 KiB [default: 60s]
    #[arg(long, value_name = "DURATION", help_heading = BOUNDS)]
    pub(super) frame_timeout: Option<Span>,

    /// Close connections that send nothing for so long, or `off` [default: off]
    ///
    /// Client libraries keep quiet connections and expect them to last, so think twice.
    #[arg(long, value_name = "DURATION", help_heading = BOUNDS)]
    pub(super) idle_timeout: Option<SpanOrOff>,

    /// Most connections at once [default: as many as open files allow]
    #[arg(long, value_name = "N", help_heading = BOUNDS)]
    pub(super) max_connections: Option<NonZeroUsize>,

    /// Memory the process should stay within; beyond its jobs' share new ones are refused [default: a quarter of the machine's]
    ///
    /// Seven eighths are for jobs. With the sqlite store, payloads of new jobs leave memory once they are safe when a
    /// third of that is taken, so that some hundred bytes for each waiting job are what counts.
    #[arg(long, value_name = "SIZE", help_heading = BOUNDS)]
    pub(super) max_memory: Option<Size>,

    /// Most jobs that may wait, over all functions; beyond it new ones are refused [default: as many as fit]
    ///
    /// Waiting are those that are queued, scheduled or held. The rule `max_waiting` bounds those of one function.
    #[arg(long, value_name = "N", help_heading = BOUNDS)]
    pub(super) max_waiting: Option<NonZeroU64>,

    /// Bytes of payload that may wait, over all functions; beyond it new jobs are refused [default: as many as fit]
    #[arg(long, value_name = "SIZE", help_heading = BOUNDS)]
    pub(super) max_waiting_bytes: Option<Size>,

    /// Longest unique id, in bytes; gearmand takes 64 [default: 1024]
    #[arg(long, value_name = "BYTES", help_heading = BOUNDS)]
    pub(super) max_unique: Option<NonZeroUsize>,

    /// Longest function name, in bytes [default: 8192]
    #[arg(long, value_name = "BYTES", help_heading = BOUNDS)]
    pub(super) max_function_name: Option<NonZeroUsize>,

    /// Most functions one worker connection may register [default: 100000]
    #[arg(long, value_name = "N", help_heading = BOUNDS)]
    pub(super) max_abilities: Option<NonZeroUsize>,

    /// Most functions that may exist at once [default: 1000000]
    #[arg(long, value_name = "N", help_heading = BOUNDS)]
    pub(super) max_functions: Option<NonZeroUsize>,

    /// How often a job is handed out before it is given up because its workers vanish [default: unlimited]
    ///
    /// A worker that says that the job failed ends it at once: that is an answer, and is never tried again.
    #[arg(long, value_name = "N|unlimited", help_heading = JOBS)]
    pub(super) job_attempts: Option<CountOrAll>,

    /// Rules for functions by name or pattern: in the configuration file only, as tables `[policy."NAME"]`.
    #[arg(skip)]
    #[serde(rename = "policy")]
    pub(super) policies: Option<Policies>,

    /// How many sleeping workers are woken for each new job [default: 1]
    ///
    /// One is enough: a woken worker that does not take the job passes it on. `all` does as gearmand does.
    #[arg(long, value_name = "N|all", help_heading = JOBS)]
    pub(super) wake_per_job: Option<CountOrAll>,

    /// Send workers' exceptions to every client, not only to those that asked for them [default: false]
    #[arg(
        long, value_name = "true|false", help_heading = JOBS,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub(super) exceptions: Option<bool>,

    /// What stands before the number in job handles, at most 42 characters [default: H: and the host's name]
    #[arg(long, value_name = "TEXT", help_heading = JOBS)]
    pub(super) handle_prefix: Option<String>,

    /// How long a function without jobs and workers is still listed [default: 10m]
    #[arg(long, value_name = "DURATION", help_heading = JOBS)]
    pub(super) function_grace: Option<Span>,

    /// How long running jobs may go on after SIGTERM or SIGINT; `off`: until they are done [default: 30s]
    ///
    /// Nothing new is accepted or handed out meanwhile. SIGUSR1 also hands out what is queued, without a limit, but for
    /// held jobs.
    #[arg(long, value_name = "DURATION", help_heading = STOPPING)]
    pub(super) stop_timeout: Option<SpanOrOff>,

    /// Let the text command `shutdown` come from other machines too [default: false]
    #[arg(
        long, value_name = "true|false", help_heading = STOPPING,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub(super) remote_shutdown: Option<bool>,

    /// Threads that serve connections [default: half as many as processors, 1 to 8]
    #[arg(long, value_name = "N", help_heading = SYSTEM)]
    pub(super) threads: Option<NonZeroUsize>,

    /// Open files to allow [default: as many as the system permits]
    #[arg(long, value_name = "N", help_heading = SYSTEM)]
    pub(super) file_descriptors: Option<NonZeroU64>,

    /// What is logged: error, warn, info, debug, trace, or for each part, as in `warn,gearhouse=debug` [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = LOG)]
    pub(super) log_level: Option<String>,

    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = LOG)]
    pub(super) log_format: Option<LogFormat>,

    /// Append the log to this file, which SIGHUP opens anew [default: standard error]
    #[arg(long, value_name = "FILE", help_heading = LOG)]
    pub(super) log_file: Option<PathBuf>,
}

/// Where background jobs are kept.
#[derive(ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Store {
    /// In the data directory, safe from crashes
    #[default]
    Sqlite,
    /// In memory only
    Memory,
}

/// How log lines look.
#[derive(ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line, for programs
    Json,
}

impl Options {
    /// These options, and where one was not said, the one of `under`.
    pub(super) fn over(self, under: Options) -> Options {
        macro_rules! first_said {
            ($($field:ident)*) => { Options { $($field: self.$field.or(under.$field),)* salvage: self.salvage } };
        }
        first_said! {
            config listen backlog keepalive_idle keepalive_interval keepalive_count http http_tokens http_max_body
            http_rate http_max_connections otlp store data_dir history_max_size history_load max_frame max_outbox frame_timeout idle_timeout max_connections max_memory max_waiting max_waiting_bytes max_unique max_function_name
            max_abilities max_functions job_attempts wake_per_job exceptions handle_prefix function_grace
            policies stop_timeout remote_shutdown threads file_descriptors log_level log_format log_file
        }
    }
}
