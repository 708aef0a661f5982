//! `gearhouse serve`: from what was said to a [`Config`], and the server on it.
//!
//! What is said on the command line counts before the environment, that before the configuration file, that
//! before the default.

use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::info;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::Failure;
use super::address::Address;
use super::options::{LogFormat, Options, Store};
use super::values::{AddressOrOff, CollectorOrOff, CountOrAll, Size, Span, SpanOrOff};
use crate::config::{
    Config, HistoryConfig, HttpConfig, Keepalive, Limits, StoreConfig, default_data_dir,
    default_handle_prefix,
};
use crate::engine::{Settings, check_pattern};
use crate::logging::{self, Destination};
use crate::machine::{default_max_memory, share_of_jobs};
use crate::policy::Rules;
use crate::server::{self, Signals, Stop};

pub(super) const HELP: &str = "\
Every option can be said in three places. The command line counts before the environment, that before the file:
  --max-frame 64MiB                 on the command line
  GEARHOUSE_OPT_MAX_FRAME=64MiB     in the environment; addresses in GEARHOUSE_OPT_LISTEN are separated by commas
  max-frame = \"64MiB\"             in the TOML file that --config or GEARHOUSE_OPT_CONFIG names

Sizes are bytes or have a unit (KiB, MiB, GiB, kB, MB, GB); times have a unit (ms, s, m, h).

Examples:
  gearhouse serve --listen 127.0.0.1 --max-memory 2GiB
  gearhouse serve --listen [::1]:4731 --log-format json --log-file /var/log/gearhouse.log
  GEARHOUSE_OPT_LISTEN=127.0.0.1:4730,[::1]:4731 gearhouse";

/// Serves until told to stop.
pub(super) fn run(options: Options) -> Result<(), Failure> {
    let (config, log) = resolve(options).map_err(Failure::usage)?;
    let log_file = log.to.clone();
    let _log = logging::start(log).map_err(|error| Failure::usage(ConfigError::LogFile(log_file, error)))?;
    let signals =
        Signals { term: Stop::Graceful, int: Stop::Graceful, usr1: Some(Stop::Drain), hup: logging::reopen };
    server::run(config, signals, |addresses| {
        for address in addresses {
            info!("listening on {address}");
        }
        Ok(())
    })
    .map_err(Failure::refused)
}

/// Why the server cannot run with what it was told. Names the option and what was said.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    /// The file of `--config` could not be read.
    #[error("cannot read the configuration file {path}: {source}", path = path.display())]
    Unreadable {
        /// As it was said.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key or a value in the file is wrong; the message shows the line.
    #[error("in the configuration file {path}: {source}", path = path.display())]
    File {
        /// As it was said.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: Box<toml::de::Error>,
    },
    /// A host name that cannot be looked up.
    #[error("cannot find the addresses of {address} (option {option}): {source}")]
    Listen {
        /// The long name.
        option: &'static str,
        /// As it was said.
        address: Address,
        /// What the resolver said.
        source: io::Error,
    },
    /// An empty list in the file.
    #[error("option listen names no address")]
    NoListen,
    /// A number that nothing could make use of.
    #[error("option {option} must be {bounds}, not {said}")]
    OutOfBounds {
        /// The long name.
        option: &'static str,
        /// As it was said.
        said: String,
        /// What would do.
        bounds: &'static str,
    },
    /// Something that the chosen store has no use for.
    #[error(
        "option {0} has no meaning with --store memory, which keeps nothing on disk; leave one of them out"
    )]
    MemoryStore(&'static str),
    /// Tokens for what is not there.
    #[error("option http-tokens has no meaning with --http off; leave one of them out")]
    HttpOff,
    /// A prefix that would make handles some library cannot read.
    #[error("handle-prefix {0:?} is no prefix for job handles: {1}")]
    HandlePrefix(String, &'static str),
    /// Neither a level nor a list of filter directives.
    #[error(
        "log-level {0:?} is none of error, warn, info, debug, trace, nor a list like warn,gearhouse=debug"
    )]
    LogLevel(String),
    /// The log could not be opened.
    #[error("cannot start the log ({0:?}): {1}")]
    LogFile(Destination, io::Error),
}

/// Reads the file if one is named, fills in the defaults, and checks everything.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn resolve(said: Options) -> Result<(Config, logging::Options), ConfigError> {
    let said = match said.config.clone() {
        Some(path) => said.over(read(&path)?),
        None => said,
    };
    check_bounds(&said)?;
    let default = Config::default();
    let log = log_options(&said)?;
    let config = Config {
        listen: addresses(said.listen.as_deref())?,
        backlog: said.backlog.map_or(default.backlog, NonZero::get),
        keepalive: Keepalive {
            idle: said.keepalive_idle.map(|Span(span)| span),
            interval: said.keepalive_interval.map(|Span(span)| span),
            count: said.keepalive_count.map(NonZero::get),
        },
        threads: said.threads.map(NonZero::get),
        file_descriptors: said.file_descriptors.map(NonZero::get),
        limits: limits(&said),
        http: http(&said)?,
        otlp: said.otlp.clone().and_then(|CollectorOrOff(url)| url),
        store: store(&said)?,
        history: history(&said)?,
        engine: Settings { verbose: gearmand_word(&log.level).to_owned(), ..settings(&said)? },
        stop_timeout: said.stop_timeout.map_or(default.stop_timeout, |SpanOrOff(span)| span),
        ..default
    };
    Ok((config, log))
}

fn read(path: &Path) -> Result<Options, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source: Box::new(source) })
}

fn store(said: &Options) -> Result<Option<StoreConfig>, ConfigError> {
    match said.store.unwrap_or_default() {
        Store::Sqlite => Ok(Some(StoreConfig {
            directory: said.data_dir.clone().unwrap_or_else(default_data_dir),
            salvage: said.salvage,
        })),
        Store::Memory if said.data_dir.is_some() => Err(ConfigError::MemoryStore("data-dir")),
        Store::Memory if said.salvage => Err(ConfigError::MemoryStore("salvage")),
        Store::Memory => Ok(None),
    }
}

/// What the types of the values leave open, and what would be noticed only later or not at all.
fn check_bounds(said: &Options) -> Result<(), ConfigError> {
    let check = |option, bounds, said: String, is_good: bool| {
        if is_good { Ok(()) } else { Err(ConfigError::OutOfBounds { option, said, bounds }) }
    };
    let count = |option, bounds, said: Option<usize>, most: usize| {
        said.map_or(Ok(()), |said| check(option, bounds, said.to_string(), said <= most))
    };
    // The system counts keepalive in whole seconds and fails each time at others.
    let seconds = |option, said: Option<Span>| {
        let is_good = |time: Duration| time.subsec_nanos() == 0 && time.as_secs() <= 32_767;
        let shown = |time| humantime::format_duration(time).to_string();
        said.map_or(Ok(()), |Span(said)| {
            check(option, "whole seconds, at most 32767", shown(said), is_good(said))
        })
    };
    seconds("keepalive-idle", said.keepalive_idle)?;
    seconds("keepalive-interval", said.keepalive_interval)?;
    let probes = said.keepalive_count.map(|count| count.get() as usize);
    count("keepalive-count", "at most 127", probes, 127)?;
    let connections = said.http_max_connections.map(NonZero::get);
    count("http-max-connections", "at most 1000000", connections, 1_000_000)?;
    let patterns = said.policies.iter().flat_map(|policies| policies.0.keys());
    for (others, pattern) in patterns.enumerate() {
        let bounds = "for a pattern of at most 1024 bytes, one of at most 10000";
        check("policy", bounds, pattern.clone(), check_pattern(pattern, others).is_ok())?;
    }
    count("threads", "at most 1024", said.threads.map(NonZero::get), 1024)?;
    // All fields before the payload together fit into this.
    let names = "at most 65535 bytes";
    count("max-unique", names, said.max_unique.map(NonZero::get), 65_535)?;
    count("max-function-name", names, said.max_function_name.map(NonZero::get), 65_535)
}

fn addresses(said: Option<&[Address]>) -> Result<Vec<std::net::SocketAddr>, ConfigError> {
    if said.is_some_and(<[Address]>::is_empty) {
        return Err(ConfigError::NoListen);
    }
    let mut all = Vec::new();
    for address in said.unwrap_or(&[Address::EVERYWHERE]) {
        let found = address.to_listen().map_err(unknown_host("listen", address))?;
        for address in found {
            // Asked twice for one port, the second time would fail; port 0 is another port each time.
            if address.port() == 0 || !all.contains(&address) {
                all.push(address);
            }
        }
    }
    Ok(all)
}

fn unknown_host(option: &'static str, address: &Address) -> impl FnOnce(io::Error) -> ConfigError {
    move |source| ConfigError::Listen { option, address: address.clone(), source }
}

fn http(said: &Options) -> Result<Option<HttpConfig>, ConfigError> {
    let default = HttpConfig::default();
    let listen = match &said.http {
        None => default.listen,
        Some(AddressOrOff(Some(address))) => address.to_listen().map_err(unknown_host("http", address))?,
        Some(AddressOrOff(None)) if said.http_tokens.is_some() => return Err(ConfigError::HttpOff),
        Some(AddressOrOff(None)) => return Ok(None),
    };
    Ok(Some(HttpConfig {
        listen,
        tokens: said.http_tokens.clone(),
        max_body: said.http_max_body.map_or(default.max_body, to_usize),
        max_connections: said.http_max_connections.map_or(default.max_connections, NonZero::get),
        rate: said.http_rate.map_or(default.rate, |CountOrAll(count)| count),
    }))
}

fn history(said: &Options) -> Result<HistoryConfig, ConfigError> {
    let default = HistoryConfig::default();
    let load = said.history_load.as_ref().map_or(Ok(default.load), |spans| {
        let load: Vec<Duration> = spans.iter().map(|Span(span)| *span).collect();
        let shown: Vec<String> =
            load.iter().map(|span| humantime::format_duration(*span).to_string()).collect();
        let load = <[Duration; 3]>::try_from(load).ok().filter(|load| load.is_sorted());
        load.ok_or(ConfigError::OutOfBounds {
            option: "history-load",
            said: shown.join(","),
            bounds: "three times, none shorter than the one before",
        })
    })?;
    Ok(HistoryConfig { max_size: said.history_max_size.map_or(default.max_size, |Size(bytes)| bytes), load })
}

fn limits(said: &Options) -> Limits {
    let default = Limits::default();
    Limits {
        max_frame: said.max_frame.map_or(default.max_frame, |Size(bytes)| bytes),
        max_connections: said.max_connections.map(NonZero::get).or(default.max_connections),
        max_outbox: said.max_outbox.map_or(default.max_outbox, to_usize),
        frame_timeout: said.frame_timeout.map_or(default.frame_timeout, |Span(span)| span),
        idle_timeout: said.idle_timeout.map_or(default.idle_timeout, |SpanOrOff(span)| span),
    }
}

fn to_usize(Size(bytes): Size) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn settings(said: &Options) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    let handle_prefix = match &said.handle_prefix {
        Some(prefix) => checked_prefix(prefix)?,
        None => default_handle_prefix(),
    };
    Ok(Settings {
        handle_prefix,
        rules: Rules {
            attempts: said.job_attempts.map_or(default.rules.attempts, |CountOrAll(count)| count),
            ..default.rules.clone()
        },
        policies: said.policies.clone().unwrap_or_default().0.into_iter().collect(),
        wake_per_job: said
            .wake_per_job
            .map_or(default.wake_per_job, |CountOrAll(count)| count.unwrap_or(u32::MAX)),
        exceptions: said.exceptions.unwrap_or(default.exceptions),
        max_unique: said.max_unique.map_or(default.max_unique, NonZero::get),
        max_function_name: said.max_function_name.map_or(default.max_function_name, NonZero::get),
        max_abilities: said.max_abilities.map_or(default.max_abilities, NonZero::get),
        max_functions: said.max_functions.map_or(default.max_functions, NonZero::get),
        function_grace: said.function_grace.map_or(default.function_grace, |Span(span)| span),
        remote_shutdown: said.remote_shutdown.unwrap_or(default.remote_shutdown),
        max_waiting: said.max_waiting.map(NonZero::get),
        max_waiting_bytes: said.max_waiting_bytes.map(|Size(bytes)| bytes),
        max_memory: said
            .max_memory
            .map(|Size(bytes)| bytes)
            .or_else(default_max_memory)
            .map_or(default.max_memory, share_of_jobs),
        ..default
    })
}

/// Libraries cut handles at blanks, at `//` and after 63 bytes, and read them as text.
fn checked_prefix(prefix: &str) -> Result<String, ConfigError> {
    let wrong = |why| Err(ConfigError::HandlePrefix(prefix.to_owned(), why));
    if prefix.is_empty() {
        wrong("it is empty")
    } else if prefix.len() > Settings::MAX_HANDLE_PREFIX {
        wrong("it is longer than 42 characters, so that handles could be cut and mixed up")
    } else if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        wrong("only printable ASCII characters without blanks are understood everywhere")
    } else if prefix.contains("//") {
        wrong("Perl's library splits handles at //")
    } else {
        Ok(prefix.to_owned())
    }
}

fn log_options(said: &Options) -> Result<logging::Options, ConfigError> {
    let level = said.log_level.as_deref().unwrap_or("info");
    let level = log_level(level).ok_or_else(|| ConfigError::LogLevel(level.to_owned()))?;
    let format = match said.log_format.unwrap_or_default() {
        LogFormat::Text => logging::Format::Text,
        LogFormat::Json => logging::Format::Json,
    };
    let to = said.log_file.clone().map_or(Destination::Stderr, Destination::File);
    Ok(logging::Options { level, accepted: false, format, to, syslog: None })
}

/// A lone word is a level here, though the filter would take any word for a part that is to be logged in full.
fn log_level(text: &str) -> Option<Targets> {
    let is_level = |word: &str| !word.trim().is_empty() && word.parse::<LevelFilter>().is_ok();
    let is_clear = |directive: &str| directive.contains('=') || is_level(directive);
    if text.split(',').all(is_clear) { text.parse().ok() } else { None }
}

/// What the text command `verbose` tells for this level.
fn gearmand_word(level: &Targets) -> &'static str {
    match level.default_level() {
        Some(LevelFilter::ERROR) => "ERROR",
        Some(LevelFilter::WARN) => "WARNING",
        Some(LevelFilter::DEBUG | LevelFilter::TRACE) => "DEBUG",
        _ => "INFO",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Args, Command, FromArgMatches};

    fn command() -> Command {
        Options::augment_args(Command::new("serve"))
    }

    fn typed(args: &[&str]) -> Options {
        let matches = command().try_get_matches_from([&["serve"], args].concat()).unwrap();
        Options::from_arg_matches(&matches).unwrap()
    }

    fn config(args: &[&str]) -> Config {
        resolve(typed(args)).unwrap().0
    }

    fn refusal(args: &[&str]) -> String {
        resolve(typed(args)).unwrap_err().to_string()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn refusal_of_file(text: &str) -> String {
        let file = file(text);
        refusal(&["--config", file.path().to_str().unwrap()])
    }

    /// The literal defaults in the help; those told in words have a blank.
    fn told_defaults() -> Vec<String> {
        let told = |arg: &Arg| {
            let help = arg.get_help()?.to_string();
            let (_, default) = help.strip_suffix(']')?.rsplit_once("[default: ")?;
            (!default.contains(' '))
                .then(|| format!("--{}={default}", arg.get_id().as_str().replace('_', "-")))
        };
        command().get_arguments().filter_map(told).collect()
    }

    #[test]
    fn the_defaults_that_the_help_tells_are_the_defaults() {
        let told = told_defaults();
        assert!(told.len() >= 18, "{told:?}");
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        assert_eq!(format!("{:?}", config(&told)), format!("{:?}", config(&[])));
    }

    #[test]
    fn every_option_changes_what_the_server_runs_with() {
        let values = [
            ("listen", "127.0.0.1:1"),
            ("backlog", "7"),
            ("keepalive-idle", "7s"),
            ("keepalive-interval", "7s"),
            ("keepalive-count", "7"),
            ("http", "127.0.0.1:1"),
            ("http-tokens", "/7"),
            ("http-max-body", "7"),
            ("http-rate", "7"),
            ("http-max-connections", "7"),
            ("otlp", "http://localhost:7"),
            ("store", "memory"),
            ("data-dir", "/7"),
            ("history-max-size", "7"),
            ("history-load", "7s,7m,7h"),
            ("max-frame", "7"),
            ("max-outbox", "7"),
            ("frame-timeout", "7s"),
            ("idle-timeout", "7s"),
            ("max-connections", "7"),
            ("max-memory", "7"),
            ("max-waiting", "7"),
            ("max-waiting-bytes", "7"),
            ("max-unique", "7"),
            ("max-function-name", "7"),
            ("max-abilities", "7"),
            ("max-functions", "7"),
            ("job-attempts", "7"),
            ("wake-per-job", "all"),
            ("exceptions", "true"),
            ("handle-prefix", "J"),
            ("function-grace", "7s"),
            ("stop-timeout", "off"),
            ("remote-shutdown", "true"),
            ("threads", "7"),
            ("file-descriptors", "7"),
            ("log-level", "debug"),
        ];
        let default = format!("{:?}", config(&[]));
        for (name, value) in values {
            let changed = format!("{:?}", config(&[&format!("--{name}={value}")]));
            assert_ne!(changed, default, "--{name} has no effect");
            let quoted = format!("{value:?}");
            let value = match name {
                "listen" | "history-load" => format!("[{}]", quoted.replace(',', "\",\"")),
                _ if value == "7" || value == "true" => value.to_owned(),
                _ => quoted,
            };
            let file = file(&format!("{name} = {value}"));
            let from_file = config(&["--config", file.path().to_str().unwrap()]);
            assert_eq!(format!("{from_file:?}"), changed, "key {name}");
        }
        let elsewhere = ["config", "salvage", "log-format", "log-file"];
        let all = command().get_arguments().count();
        assert_eq!(values.len() + elsewhere.len(), all, "an option is missing above");
    }

    #[test]
    fn what_is_typed_counts_before_the_file() {
        let file = file("max-frame = 1000\nbacklog = 5\nexceptions = true\n");
        let path = file.path().to_str().unwrap();
        let config = config(&["--config", path, "--max-frame", "2000", "--exceptions=false"]);
        assert_eq!((config.limits.max_frame, config.backlog, config.engine.exceptions), (2000, 5, false));
    }

    #[test]
    fn a_wrong_key_or_value_in_the_file_is_named_with_its_line() {
        let message = refusal_of_file("backlog = 5\nmax-fram = 7\n");
        assert!(message.contains("line 2") && message.contains("max-fram"), "{message}");
        let message = refusal_of_file("\n\nmax-frame = \"huge\"\n");
        assert!(message.contains("line 3") && message.contains("\"huge\" is not a size"), "{message}");
        for load in ["[\"1h\"]", "[\"1h\", \"1d\", \"5m\"]"] {
            let message = refusal_of_file(&format!("history-load = {load}"));
            assert!(message.contains("history-load must be three times"), "{message}");
        }
        let message = refusal_of_file(&format!("[policy.{}]\npaused = true", "x".repeat(1025)));
        assert!(message.contains("at most 1024 bytes"), "{message}");
        for (table, why) in [
            ("[policy.\"\"]\npaused = true", "names no function"),
            ("[policy.img.resize]\nattempts = 3", "[policy.\"img.resize\"]"),
            ("[policy.img.a.b]\nattempts = 3", "[policy.\"img.a.b\"]"),
            ("[policy.f]\nretry_failed = true\nretry-failed = false", "is said twice"),
        ] {
            let message = refusal_of_file(table);
            assert!(message.contains(why), "{message}");
        }
        let message = refusal_of_file("backlog = 0\n");
        assert!(message.contains("line 1") && message.contains("backlog = 0"), "{message}");
        let message = refusal_of_file("listen = [\"127.0.0.1\", \"4730\"]");
        assert!(message.contains("line 1") && message.contains("write :4730"), "{message}");
        let message = refusal_of_file("config = \"other.toml\"");
        assert!(message.contains("unknown field `config`"), "{message}");
        let message = refusal_of_file("store = \"redis\"");
        assert!(message.contains("sqlite") && message.contains("memory"), "{message}");
        let message = refusal_of_file("salvage = true");
        assert!(message.contains("unknown field `salvage`"), "{message}");
        let message = refusal_of_file("backlog: 5");
        assert!(message.contains("line 1"), "{message}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let message = refusal(&["--config", "/nowhere/gearhouse.toml"]);
        assert!(message.contains("/nowhere/gearhouse.toml"), "{message}");
    }

    #[test]
    fn numbers_that_nothing_could_make_use_of_are_refused() {
        let cases = [
            ("keepalive-idle", "500ms"),
            ("keepalive-interval", "10h"),
            ("keepalive-count", "128"),
            ("threads", "1025"),
            ("http-max-connections", "1000001"),
            ("max-unique", "65536"),
            ("max-function-name", "65536"),
        ];
        for (option, value) in cases {
            let message = refusal(&[&format!("--{option}={value}")]);
            assert!(message.contains(&format!("option {option} must be")), "{message}");
        }
        assert!(refusal_of_file("listen = []").contains("names no address"));
    }

    #[test]
    fn jobs_are_kept_on_disk_unless_memory_is_asked_for() {
        let store = |args: &[&str]| config(args).store.map(|store| (store.directory, store.salvage));
        assert_eq!(store(&[]), Some((default_data_dir(), false)));
        assert_eq!(store(&["--data-dir", "/d", "--salvage"]), Some(("/d".into(), true)));
        assert_eq!(store(&["--store", "memory"]), None);
    }

    #[test]
    fn what_the_memory_store_has_no_use_for_is_refused_not_ignored() {
        for option in ["--data-dir=/var/lib/gearhouse", "--salvage"] {
            let message = refusal(&["--store", "memory", option]);
            assert!(message.contains("keeps nothing on disk"), "{message}");
        }
    }

    #[test]
    fn http_is_at_its_own_port_or_off() {
        let listen = |args: &[&str]| config(args).http.map(|http| http.listen);
        assert_eq!(listen(&[]), Some(vec!["127.0.0.1:4780".parse().unwrap()]));
        assert_eq!(listen(&["--http", "[::1]"]), Some(vec!["[::1]:4780".parse().unwrap()]));
        assert_eq!(listen(&["--http", "off"]), None);
        assert!(refusal(&["--http", "off", "--http-tokens", "x"]).contains("--http off"));
    }

    #[test]
    fn prefixes_that_some_library_cannot_read_are_refused() {
        let longest = "x".repeat(Settings::MAX_HANDLE_PREFIX);
        assert_eq!(config(&["--handle-prefix", &longest]).engine.handle_prefix, longest);
        for bad in ["", "a b", "a//b", "ü", &format!("{longest}x")] {
            let message = refusal(&["--handle-prefix", bad]);
            assert!(message.contains("handle-prefix"), "{message}");
        }
    }

    #[test]
    fn the_default_prefix_is_always_a_good_one() {
        assert!(checked_prefix(&default_handle_prefix()).is_ok());
        assert!(config(&[]).engine.handle_prefix.starts_with("H:"));
    }

    #[test]
    fn an_address_said_twice_is_bound_once_and_port_0_each_time() {
        let config = config(&["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:1,127.0.0.1:0,127.0.0.1:0"]);
        assert_eq!(config.listen.len(), 3);
    }

    #[test]
    fn log_levels_are_words_or_directives_and_nothing_else() {
        let word = |level: &str| config(&["--log-level", level]).engine.verbose;
        assert_eq!(word("error"), "ERROR");
        assert_eq!(word("warn"), "WARNING");
        assert_eq!(word("warn,gearhouse=debug"), "WARNING");
        assert_eq!(word("TRACE"), "DEBUG");
        for bad in ["loud", "", "gearhouse=loud", " "] {
            assert!(refusal(&["--log-level", bad]).contains("log-level"), "{bad:?}");
        }
    }
}
