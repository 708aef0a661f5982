//! What the flags ask for: each value brought to its meaning, or refused. Touches nothing but the paths it makes
//! absolute.

use std::ffi::OsStr;
use std::num::NonZero;
use std::path::{self, PathBuf};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::args::Given;
use super::flags::{self, DEFAULT_LOG_FILE, DEFAULT_PID_FILE, Support};
use crate::config::{Config, Keepalive, default_handle_prefix};
use crate::engine::Settings;
use crate::logging::Destination;
use crate::machine::{default_max_memory, share_of_jobs};
use crate::policy::Rules;

/// All that starting a server needs to know.
#[derive(Debug)]
pub(super) struct Plan {
    /// The server's own part; its addresses are still to be resolved.
    pub(super) config: Config,
    /// Host name or address to listen on. `None`: all addresses.
    pub(super) listen: Option<String>,
    /// Port number or service name. `None`: by the environment.
    pub(super) port: Option<String>,
    pub(super) log: LogPlan,
    pub(super) pid_file: Option<PidFilePlan>,
    pub(super) user: Option<String>,
    pub(super) daemon: bool,
    pub(super) coredump: bool,
    /// What to tell once in the log: flags that change nothing, and why.
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
pub(super) struct LogPlan {
    pub(super) to: Destination,
    pub(super) level: LevelFilter,
    /// Whether each submit leaves a line.
    pub(super) accepted: bool,
    pub(super) syslog: bool,
}

#[derive(Debug)]
pub(super) struct PidFilePlan {
    pub(super) path: PathBuf,
    /// Whether the server must not run without it.
    pub(super) required: bool,
}

/// Why a server can't be started with these flags, though they are well-formed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("--{flag}: {instead}")]
    NotProvided { flag: &'static str, instead: String },
    #[error("the argument ('{value}') for option '--{flag}' is invalid: {why}")]
    Value { flag: &'static str, value: String, why: String },
}

/// How long to try when an address is in use: `restart` in init scripts starts a server while the old one is
/// still ending.
const BIND_PATIENCE: Duration = Duration::from_secs(5);
/// gearmand counts attempts in one byte; from version 2 it refuses what does not fit.
const MOST_ATTEMPTS: i128 = 255;
/// The kernel's bounds, in seconds and in probes.
const MOST_KEEPALIVE_SECONDS: i128 = 32767;
const MOST_KEEPALIVE_PROBES: i128 = 127;

impl Plan {
    /// Decides for every flag. The first that can't be honoured is the error.
    pub(super) fn new(given: &Given) -> Result<Self, Refusal> {
        let mut notes = Vec::new();
        for flag in flags::all().filter(|flag| given.has(flag.name)) {
            match flag.support {
                Support::Full => {}
                Support::NoMeaning(why) => notes.push(format!("--{} changes nothing: {why}", flag.name)),
                Support::Refused(instead) => {
                    return Err(Refusal::NotProvided { flag: flag.name, instead: instead.to_owned() });
                }
            }
        }
        refuse_other_queues(given)?;
        refuse_other_protocols(given)?;
        let verbose = text(given, "verbose")?.unwrap_or_else(|| "ERROR".to_owned());
        let (level, accepted) = levels(&verbose);
        Ok(Self {
            config: Config {
                backlog: backlog(given),
                bind_patience: BIND_PATIENCE,
                keepalive: keepalive(given, &mut notes)?,
                threads: threads(given)?,
                file_descriptors: count(given, "file-descriptors")?.filter(|&number| number > 0),
                engine: Settings {
                    max_memory: default_max_memory().map_or(Settings::default().max_memory, share_of_jobs),
                    handle_prefix: handle_prefix(given)?,
                    rules: Rules { attempts: attempts(given)?, ..Rules::default() },
                    wake_per_job: wake_per_job(given)?,
                    exceptions: given.has("exceptions"),
                    version: super::VERSION.to_owned(),
                    verbose,
                    ..Settings::default()
                },
                ..Config::default()
            },
            listen: text(given, "listen")?,
            port: text(given, "port")?,
            log: LogPlan { to: log_file(given), level, accepted, syslog: given.has("syslog") },
            pid_file: pid_file(given),
            user: text(given, "user")?,
            daemon: given.has("daemon"),
            coredump: given.has("coredump"),
            notes,
        })
    }
}

fn refuse_other_queues(given: &Given) -> Result<(), Refusal> {
    const KNOWN: [&str; 7] =
        ["libsqlite3", "libmemcached", "mysql", "postgres", "redis", "libdrizzle", "libtokyocabinet"];
    // Unlike other flags, an empty name is no way to leave it out: whoever wrote it wanted a queue that lasts.
    if !given.has("queue-type") {
        return Ok(());
    }
    let name = text(given, "queue-type")?.unwrap_or_default();
    if name.eq_ignore_ascii_case("builtin") {
        return Ok(());
    }
    if KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        let instead = format!(
            "{name} is not provided, and without it queued jobs would be lost when the server ends; `gearhouse serve \
             --data-dir DIR` keeps background jobs on disk, and --queue-type=builtin does without"
        );
        return Err(Refusal::NotProvided { flag: "queue-type", instead });
    }
    Err(bad(given, "queue-type", "there is no such queue; builtin is what there is"))
}

fn refuse_other_protocols(given: &Given) -> Result<(), Refusal> {
    match text(given, "protocol")?.as_deref() {
        None => Ok(()),
        Some(name) if name.eq_ignore_ascii_case("http") => Err(Refusal::NotProvided {
            flag: "protocol",
            instead:
                "HTTP is not provided yet; leave the flag out and let clients speak the Gearman protocol"
                    .to_owned(),
        }),
        Some(_) => Err(bad(given, "protocol", "there is no such protocol; Gearman's own is always on")),
    }
}

/// What a level's word lets through: by importance, and whether submits leave a line.
fn levels(word: &str) -> (LevelFilter, bool) {
    match word {
        "FATAL" | "ALERT" | "CRITICAL" => (LevelFilter::OFF, false),
        "WARNING" => (LevelFilter::WARN, false),
        "NOTICE" => (LevelFilter::WARN, true),
        "INFO" => (LevelFilter::INFO, true),
        "DEBUG" => (LevelFilter::DEBUG, true),
        _ => (LevelFilter::ERROR, false),
    }
}

fn backlog(given: &Given) -> u32 {
    match given.number("backlog") {
        None => Config::default().backlog,
        // The kernel takes a negative length for the largest there is.
        Some(number) => u32::try_from(number).unwrap_or(i32::MAX as u32),
    }
}

fn threads(given: &Given) -> Result<Option<usize>, Refusal> {
    let Some(wanted) = count(given, "threads")?.filter(|&number| number > 0) else { return Ok(None) };
    // More threads than processors would only wait for each other.
    let useful = thread::available_parallelism().map_or(1, NonZero::get);
    Ok(Some(usize::try_from(wanted).unwrap_or(useful).min(useful)))
}

fn attempts(given: &Given) -> Result<Option<u32>, Refusal> {
    match given.number("job-retries") {
        // 0 is "no limit" up to gearmand 1.1, and unit files written for it say so.
        None | Some(-1 | 0) => Ok(None),
        Some(number @ 1..=MOST_ATTEMPTS) => Ok(u32::try_from(number).ok()),
        Some(_) => {
            Err(bad(given, "job-retries", &format!("it must be -1 or 0, no limit, or 1 to {MOST_ATTEMPTS}")))
        }
    }
}

fn wake_per_job(given: &Given) -> Result<u32, Refusal> {
    match given.number("worker-wakeup") {
        None => Ok(Settings::default().wake_per_job),
        Some(0 | -1) => Ok(u32::MAX),
        Some(_) => Ok(count(given, "worker-wakeup")?
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(u32::MAX)),
    }
}

fn handle_prefix(given: &Given) -> Result<String, Refusal> {
    const FLAG: &str = "job-handle-prefix";
    let Some(prefix) = text(given, FLAG)? else { return Ok(default_handle_prefix()) };
    if prefix.len() > Settings::MAX_HANDLE_PREFIX {
        let why = format!(
            "it has {} bytes and may have {}: libraries cut handles at 63 bytes, so the numbers behind it would be \
             lost and handles repeat",
            prefix.len(),
            Settings::MAX_HANDLE_PREFIX
        );
        return Err(bad(given, FLAG, &why));
    }
    if prefix.contains(|char: char| char.is_whitespace() || char.is_control()) || prefix.contains("//") {
        let why =
            "handles must not contain blanks, control characters or '//', which libraries split them at";
        return Err(bad(given, FLAG, why));
    }
    Ok(prefix)
}

fn keepalive(given: &Given, notes: &mut Vec<String>) -> Result<Keepalive, Refusal> {
    if !given.has("keepalive") {
        for flag in ["keepalive-idle", "keepalive-interval", "keepalive-count"] {
            if given.has(flag) {
                notes.push(format!("--{flag} changes nothing: --keepalive is not in use"));
            }
        }
        return Ok(Keepalive::default());
    }
    let within = |flag, most: i128| match given.number(flag) {
        None | Some(-1) => Ok(None),
        Some(number) if (1..=most).contains(&number) => Ok(u32::try_from(number).ok()),
        Some(_) => Err(bad(given, flag, &format!("it must be -1, the system's value, or 1 to {most}"))),
    };
    let seconds =
        |flag| Ok(within(flag, MOST_KEEPALIVE_SECONDS)?.map(|number| Duration::from_secs(u64::from(number))));
    Ok(Keepalive {
        idle: seconds("keepalive-idle")?,
        interval: seconds("keepalive-interval")?,
        count: within("keepalive-count", MOST_KEEPALIVE_PROBES)?,
    })
}

fn log_file(given: &Given) -> Destination {
    if !given.has("log-file") {
        return Destination::File(PathBuf::from(DEFAULT_LOG_FILE));
    }
    match given.text("log-file") {
        None => Destination::Nowhere,
        Some(name) if name == "none" => Destination::Nowhere,
        Some(name) if name == "stderr" => Destination::Stderr,
        Some(name) => Destination::File(absolute(name)),
    }
}

fn pid_file(given: &Given) -> Option<PidFilePlan> {
    if !given.has("pid-file") {
        return Some(PidFilePlan { path: PathBuf::from(DEFAULT_PID_FILE), required: false });
    }
    given.text("pid-file").map(|name| PidFilePlan { path: absolute(name), required: true })
}

/// The path from the root, because a daemon leaves the directory it was started in.
fn absolute(path: &OsStr) -> PathBuf {
    // It fails when that directory is gone; opening the path will then say so.
    path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

/// A number that can't be negative, though gearmand reads such into unsigned numbers.
fn count(given: &Given, flag: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(number) = given.number(flag) else { return Ok(None) };
    u64::try_from(number).map(Some).map_err(|_| bad(given, flag, "it must not be negative"))
}

fn text(given: &Given, flag: &'static str) -> Result<Option<String>, Refusal> {
    let Some(value) = given.text(flag) else { return Ok(None) };
    value.to_str().map(|text| Some(text.to_owned())).ok_or_else(|| bad(given, flag, "it must be UTF-8"))
}

fn bad(given: &Given, flag: &'static str, why: &str) -> Refusal {
    let value = given.text(flag).unwrap_or_default().to_string_lossy().into_owned();
    Refusal::Value { flag, value, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::args::Source;
    use super::*;

    fn plan(line: &str) -> Result<Plan, Refusal> {
        let words = line.split_whitespace().map(OsString::from);
        Plan::new(&Given::parse(words, Source::CommandLine).expect("well-formed"))
    }

    #[test]
    fn without_flags_the_defaults_are_gearmands_but_for_waking_and_backlog() {
        let plan = plan("").unwrap();
        assert_eq!(plan.config.engine.rules.attempts, None);
        assert_eq!(plan.config.engine.wake_per_job, 1);
        assert_eq!(plan.config.backlog, Config::default().backlog);
        assert_eq!(plan.config.engine.verbose, "ERROR");
        assert_eq!(plan.log.to, Destination::File(DEFAULT_LOG_FILE.into()));
        assert!(!plan.pid_file.unwrap().required);
        assert!(plan.notes.is_empty());
    }

    #[test]
    fn retries_are_attempts_and_both_0_and_minus_1_mean_no_limit() {
        for (line, expected) in [("-j 0", None), ("-j -1", None), ("-j 1", Some(1)), ("-j 255", Some(255))] {
            assert_eq!(plan(line).unwrap().config.engine.rules.attempts, expected, "{line}");
        }
        for line in ["-j 256", "-j -2"] {
            assert!(matches!(plan(line), Err(Refusal::Value { flag: "job-retries", .. })), "{line}");
        }
    }

    #[test]
    fn waking_0_wakes_all_and_n_wakes_n() {
        for (line, expected) in [("-w 0", u32::MAX), ("-w -1", u32::MAX), ("-w 1", 1), ("-w 300", 300)] {
            assert_eq!(plan(line).unwrap().config.engine.wake_per_job, expected, "{line}");
        }
    }

    #[test]
    fn keepalive_values_count_only_with_keepalive() {
        let values = "--keepalive-idle 60 --keepalive-interval 5 --keepalive-count 3";
        let with = plan(&format!("--keepalive {values}")).unwrap().config.keepalive;
        assert_eq!(with.idle, Some(Duration::from_secs(60)));
        assert_eq!(with.interval, Some(Duration::from_secs(5)));
        assert_eq!(with.count, Some(3));
        let without = plan(values).unwrap();
        assert_eq!((without.config.keepalive.idle, without.notes.len()), (None, 3));
        for line in ["--keepalive --keepalive-idle 0", "--keepalive --keepalive-count 128"] {
            assert!(matches!(plan(line), Err(Refusal::Value { .. })), "{line}");
        }
        assert_eq!(plan("--keepalive --keepalive-idle -1").unwrap().config.keepalive.idle, None);
    }

    #[test]
    fn threads_are_a_hint_and_negative_ones_are_refused() {
        let useful = thread::available_parallelism().map_or(1, NonZero::get);
        assert_eq!(plan("-t 0").unwrap().config.threads, None);
        assert_eq!(plan("-t 1").unwrap().config.threads, Some(1));
        assert_eq!(plan("-t 100000").unwrap().config.threads, Some(useful));
        assert!(plan("-t -1").is_err());
    }

    #[test]
    fn a_prefix_whose_handles_would_repeat_is_refused_with_the_reason() {
        assert_eq!(
            plan(&format!("--job-handle-prefix {}", "p".repeat(42)))
                .unwrap()
                .config
                .engine
                .handle_prefix
                .len(),
            42
        );
        let refusal = plan(&format!("--job-handle-prefix {}", "p".repeat(43))).unwrap_err().to_string();
        assert!(refusal.contains("43 bytes") && refusal.contains("repeat"), "{refusal}");
        assert!(plan("--job-handle-prefix a//b").is_err());
    }

    #[test]
    fn what_would_weaken_what_was_asked_is_refused_and_names_what_to_use() {
        for (line, instead) in [
            ("--ssl", "TLS proxy"),
            ("-q libsqlite3", "--data-dir"),
            ("-q MySQL", "--data-dir"),
            ("--store-queue-on-shutdown", "--data-dir"),
            ("-r http", "Gearman protocol"),
            ("-q foo", "builtin"),
            ("-r foo", "always on"),
        ] {
            let refusal = plan(line).unwrap_err().to_string();
            assert!(refusal.contains(instead), "{line}: {refusal}");
        }
        assert!(plan("-q BUILTIN").is_ok());
    }

    #[test]
    fn flags_without_meaning_are_told_of() {
        let notes = plan("--hashtable-buckets 7 --mysql-host db --round-robin").unwrap().notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("--hashtable-buckets")), "{notes:?}");
    }
}
