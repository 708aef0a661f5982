//! gearmand's command line: what starts gearmand can start Gearhouse instead. docs/gearmand-command-line.md
//! describes it for users.
//!
//! The way of a start: [`args`] reads words and configuration file by the table in [`flags`], [`plan`] gives the
//! values their meaning, and here the process is made ready: log, user, pid file, [`daemon`].

mod address;
mod args;
mod daemon;
mod flags;
mod pid_file;
mod plan;
mod user;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use tracing_subscriber::filter::Targets;

use crate::config::Config;
use crate::logging::{self, Destination, FATAL, NOTICE};
use crate::server::{self, RunError, Signals, Stop};
use address::AddressError;
use args::{Given, Source, UsageError};
use daemon::Daemon;
use pid_file::PidFile;
use plan::{LogPlan, PidFilePlan, Plan, Refusal};
use user::{Account, UserError};

/// The version this command line and its server tell: that of the gearmand whose place they take, as tools that read
/// it expect, and Gearhouse's own behind it.
pub const VERSION: &str = concat!("1.1.20+gearhouse.", env!("CARGO_PKG_VERSION"));

/// Runs gearmand's command line; `args` are the words behind the program's name. The exit code is 0 for a server
/// that was told to stop, and 1 for every mistake.
pub fn main(args: Vec<OsString>) -> ExitCode {
    // So that `pgrep gearmand` and process monitors find what they look for.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_name(c"gearmand");
    start(args).unwrap_or_else(|error| {
        say(&error);
        ExitCode::FAILURE
    })
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error("in configuration file {}: {source}", path.display())]
    UsageInFile { path: PathBuf, source: UsageError },
    #[error("could not open configuration file {}: {source}", path.display())]
    ConfigFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("could not start in the background: {0}")]
    Daemon(io::Error),
    #[error(transparent)]
    User(#[from] UserError),
    #[error("could not become user: {0}")]
    Assume(io::Error),
    #[error(
        "could not set the limit of open files to {wanted}, where {most} is the most: {source}; start as root, or give a smaller --file-descriptors"
    )]
    FileDescriptors { wanted: u64, most: u64, source: io::Error },
    #[error("could not start logging: {0}")]
    Log(io::Error),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Run(#[from] RunError),
}

fn start(words: Vec<OsString>) -> Result<ExitCode, StartError> {
    let line = Given::parse(words, Source::CommandLine)?;
    let given = match read_config_file(&line)? {
        Some(file) => line.or(file),
        None => line,
    };
    if given.has("check-args") {
        // gearmand checks the form of its flags and no more; what would stop the server is said all the same.
        if let Err(refusal) = Plan::new(&given) {
            say(&format_args!("the flags are well-formed, but the server would not start: {refusal}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if given.has("help") {
        print(&flags::help());
        return Ok(ExitCode::SUCCESS);
    }
    if given.has("version") {
        print(&format!("\ngearmand {VERSION} - https://github.com/gearhouse/gearhouse/issues\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan::new(&given)?;
    if !plan.daemon {
        return serve(plan, None);
    }
    match Daemon::detect().map_err(StartError::Daemon)? {
        None => daemon::start().map_err(StartError::Daemon),
        Some(daemon) => {
            // All paths are absolute by now, and no file system is kept from being unmounted.
            env::set_current_dir("/").map_err(StartError::Daemon)?;
            serve(plan, Some(daemon))
        }
    }
}

/// The flags of the configuration file: words divided by white space. Only a file that was asked for must be there.
fn read_config_file(line: &Given) -> Result<Option<Given>, StartError> {
    let path = match line.text("config-file") {
        Some(path) => Path::new(path),
        None if line.has("config-file") => return Ok(None),
        None => Path::new(flags::DEFAULT_CONFIG_FILE),
    };
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound && line.text("config-file").is_none() => {
            return Ok(None);
        }
        Err(source) => return Err(StartError::ConfigFile { path: path.to_owned(), source }),
    };
    let words = content
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsString::from_vec(word.to_vec()));
    let given = Given::parse(words, Source::File)
        .map_err(|source| StartError::UsageInFile { path: path.to_owned(), source })?;
    Ok(Some(given))
}

/// Runs the server until it is told to stop. Failures are logged from here on, besides being said.
fn serve(plan: Plan, daemon: Option<Daemon>) -> Result<ExitCode, StartError> {
    let account = plan.user.as_deref().map(Account::find).transpose()?;
    let (guard, to) = start_log(&plan.log, account.as_ref())?;
    let result = run(plan, account.as_ref(), daemon);
    let code = match &result {
        Ok(()) => {
            tracing::info!("Shutdown complete");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(target: FATAL, "{error}");
            ExitCode::FAILURE
        }
    };
    drop(guard);
    match result {
        Err(error) if to != Destination::Stderr => Err(error),
        _ => Ok(code),
    }
}

fn run(plan: Plan, account: Option<&Account>, daemon: Option<Daemon>) -> Result<(), StartError> {
    for note in &plan.notes {
        tracing::info!(target: NOTICE, "{note}");
    }
    if plan.coredump {
        allow_core_dumps();
    }
    if let Some(wanted) = plan.config.file_descriptors {
        limit_file_descriptors(wanted)?;
    }
    let port = address::port(plan.port.as_deref(), env::var_os("GEARMAND_PORT").as_deref())?;
    let config = Config { listen: address::listen(plan.listen.as_deref(), port)?, ..plan.config };
    let verbose = config.engine.verbose.clone();
    let signals = Signals { term: Stop::Now, int: Stop::Now, usr1: Some(Stop::Drain), hup: logging::reopen };

    // Held until the server has ended.
    let mut pid_file = None;
    server::run(config, signals, |addresses| {
        if let Some(account) = account {
            account.assume().map_err(|error| io::Error::other(StartError::Assume(error)))?;
            #[cfg(target_os = "linux")]
            if plan.coredump {
                // The kernel takes the permission away with root.
                let _ = nix::sys::prctl::set_dumpable(true);
            }
        }
        if let Some(wanted) = &plan.pid_file {
            pid_file = write_pid_file(wanted)?;
        }
        tracing::info!("Starting up with pid {}, verbose is set to {verbose}", std::process::id());
        for address in addresses {
            tracing::info!("Listening on {address}");
        }
        if let Some(daemon) = &daemon {
            daemon.ready()?;
        }
        Ok(())
    })?;
    drop(pid_file);
    Ok(())
}

/// Opens the log as the user the server will be, so that it can be opened again. Where it can't be, messages go to
/// standard error.
fn start_log(log: &LogPlan, account: Option<&Account>) -> Result<(logging::Guard, Destination), StartError> {
    let start = |to: &Destination| {
        let start = || {
            logging::start(logging::Options {
                level: Targets::new().with_default(log.level),
                accepted: log.accepted,
                format: logging::Format::Gearmand,
                to: to.clone(),
                syslog: log.syslog.then_some(c"gearmand"),
            })
        };
        match account {
            Some(account) => account.lend(start).map_err(StartError::Assume),
            None => Ok(start()),
        }
    };
    match start(&log.to)? {
        Ok(guard) => Ok((guard, log.to.clone())),
        Err(error) => {
            if let Destination::File(path) = &log.to {
                say(&format_args!("could not open log file {}, logging to stderr: {error}", path.display()));
            }
            let guard = start(&Destination::Stderr)?.map_err(StartError::Log)?;
            Ok((guard, Destination::Stderr))
        }
    }
}

fn write_pid_file(wanted: &PidFilePlan) -> io::Result<Option<PidFile>> {
    match PidFile::write(&wanted.path) {
        Ok(file) => Ok(Some(file)),
        Err(error) => {
            let message = format!("could not write pid file {}: {error}", wanted.path.display());
            if wanted.required {
                return Err(io::Error::new(error.kind(), message));
            }
            tracing::warn!("{message}");
            Ok(None)
        }
    }
}

/// Unlike the server itself, gearmand does not go on with fewer open files than it was told to have.
fn limit_file_descriptors(wanted: u64) -> Result<(), StartError> {
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, most)| most);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, most.max(wanted))
        .map_err(|error| StartError::FileDescriptors { wanted, most, source: error.into() })
}

fn allow_core_dumps() {
    let result = setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).or_else(|_| {
        let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
        setrlimit(Resource::RLIMIT_CORE, most, most)
    });
    if let Err(error) = result {
        tracing::warn!("core dumps stay limited: {error}");
    }
}

/// Says something on standard error, which may not be there.
fn say(message: &dyn Display) {
    let _ = writeln!(io::stderr(), "gearmand: {message}");
}

/// Prints what was asked for on standard output, which may not be there.
fn print(text: &str) {
    let mut output = io::stdout();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
