//! Where messages go and what they look like, for both command lines.
//!
//! Messages are formatted where they arise and written by a thread of their own, so that a standard error nobody
//! reads, a full disk or a stuck syslog costs messages and never a connection. Nothing here fails or panics after
//! [`start`].

use std::ffi::CStr;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::syslog::{Facility, LogFlags, Severity, openlog, syslog};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{ChronoLocal, FormatTime};
use tracing_subscriber::fmt::{self as fmt_layer, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Target of the line each submit leaves where [`Options::accepted`] asks for it. People read it out for accounting:
/// `accepted,FUNCTION,UNIQUE,TIME`, the time in seconds since the Unix epoch, 0 for a job that is to run at once.
pub const ACCEPTED: &str = "gearhouse::accepted";
/// Target of what an operator must get to read once, whatever the level.
pub const NOTICE: &str = "gearhouse::notice";
/// Target of what ends the process; shown at every level.
pub const FATAL: &str = "gearhouse::fatal";

/// What is logged, how and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The least important messages that are logged. Targets [`NOTICE`] and [`FATAL`] are always.
    pub level: Targets,
    /// Whether each submit leaves a line.
    pub accepted: bool,
    /// What a line looks like.
    pub format: Format,
    /// Where lines go.
    pub to: Destination,
    /// Logs to syslog as well, under this name.
    pub syslog: Option<&'static CStr>,
}

/// What a line looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people: time in UTC, level, target, message, fields; in colour on a terminal.
    Text,
    /// For programs: a JSON object a line.
    Json,
    /// As gearmand writes it: level, local time, `[  main ]`, message, fields, and the place in the source.
    Gearmand,
}

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// The end of this file, which is created if need be.
    File(PathBuf),
    /// Nowhere.
    Nowhere,
}

/// Starts logging for the rest of the process's life. Fails if the file cannot be opened or a thread not be had;
/// it may then be called again with other options.
///
/// Keep the guard until the end: dropping it waits, a second at most, until all lines are written.
pub fn start(options: Options) -> io::Result<Guard> {
    let output = match options.to {
        Destination::Stderr => Output::Stderr,
        Destination::File(path) => Output::File(Arc::new(LogFile::open(path)?)),
        Destination::Nowhere => Output::Nowhere,
    };
    let file = match &output {
        Output::File(file) => Some(Arc::clone(file)),
        Output::Stderr | Output::Nowhere => None,
    };
    if let Some(name) = options.syslog {
        openlog(Some(name), LogFlags::LOG_PID, Facility::LOG_USER)?;
    }
    let colour = matches!(output, Output::Stderr)
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (sender, receiver) = sync_channel(QUEUED_LINES);
    let log = LOG.get_or_init(|| Log {
        lossless: file.as_ref().is_some_and(|file| file.is_regular()) && options.syslog.is_none(),
        sender,
        file,
        lost: AtomicU64::new(0),
    });
    let to_syslog = options.syslog.is_some();
    thread::Builder::new().name("log".into()).spawn(move || write_lines(&receiver, &output, to_syslog))?;

    let everywhere = options
        .level
        .with_target(ACCEPTED, if options.accepted { LevelFilter::TRACE } else { LevelFilter::OFF })
        .with_target(NOTICE, LevelFilter::INFO)
        .with_target(FATAL, LevelFilter::ERROR);
    let layer = fmt_layer::layer().with_writer(Queue(log));
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match options.format {
        Format::Text => Box::new(layer.with_ansi(colour)),
        Format::Json => Box::new(layer.with_ansi(false).json().flatten_event(true)),
        Format::Gearmand => Box::new(
            layer
                .with_ansi(false)
                .event_format(GearmandFormat { clock: ChronoLocal::new("%Y-%m-%d %H:%M:%S%.6f".into()) }),
        ),
    };
    tracing_subscriber::registry().with(layer).with(everywhere).try_init().map_err(io::Error::other)?;
    if log.file.is_some() || to_syslog {
        // Standard error may lead nowhere.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tracing::error!("{panic}");
            before(panic);
        }));
    }
    Ok(Guard(()))
}

/// Opens the log file anew, for a rotation that has moved it away. Without a log file it does nothing. If it can't
/// be opened, the old one is kept, and told so.
pub fn reopen() {
    let Some(file) = LOG.get().and_then(|log| log.file.as_ref()) else { return };
    match file.reopen() {
        Ok(()) => tracing::info!(target: NOTICE, "log file reopened"),
        Err(error) => tracing::error!(target: NOTICE, path = ?file.path, %error, "log file not reopened"),
    }
}

/// Keeps the log going; see [`start`].
#[derive(Debug)]
#[must_use = "dropping it ends with a wait for the last lines"]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        const STEP: Duration = Duration::from_millis(10);
        let Some(log) = LOG.get() else { return };
        let (done, written) = sync_channel(0);
        let mut message = Message::Flush(done);
        for _ in 0..100 {
            match log.sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(STEP);
        }
        for _ in 0..100 {
            if written.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
    }
}

/// Lines that may wait for the thread that writes them.
const QUEUED_LINES: usize = 8192;
/// Bytes gathered for one write.
const BATCH: usize = 64 << 10;

static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    sender: SyncSender<Message>,
    file: Option<Arc<LogFile>>,
    /// Whether whoever logs waits for room. A file takes lines without end, and accounting wants them all; a pipe or
    /// syslog may take none for ever.
    lossless: bool,
    lost: AtomicU64,
}

impl Log {
    fn push(&self, message: Message) {
        if self.lossless {
            // The thread goes on as long as there are senders.
            let _ = self.sender.send(message);
        } else if self.sender.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
enum Message {
    Line(Severity, Vec<u8>),
    /// Dropped once everything before it is written.
    Flush(SyncSender<()>),
}

/// One event's line on its way into the queue.
#[derive(Debug)]
struct Line {
    log: &'static Log,
    severity: Severity,
}

impl Write for Line {
    /// Takes a whole line: the formatter hands over each event in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log.push(Message::Line(self.severity, line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Queue(&'static Log);

impl MakeWriter<'_> for Queue {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { log: self.0, severity: Severity::LOG_INFO }
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> Line {
        Line { log: self.0, severity: label(meta).1 }
    }
}

/// Writes what comes in, as much at once as there is.
fn write_lines(lines: &Receiver<Message>, output: &Output, to_syslog: bool) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut flushed = Vec::new();
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Line(severity, line) => {
                    batch.extend_from_slice(&line);
                    if to_syslog {
                        // There may be no syslog, and a line with a zero byte is none for it.
                        let _ = syslog(severity, String::from_utf8_lossy(&line).trim_end());
                    }
                }
                Message::Flush(done) => flushed.push(done),
            }
            if batch.len() < BATCH {
                next = lines.try_recv().ok();
            }
        }
        output.write(&batch);
        batch.clear();
        flushed.clear();
        let lost = LOG.get().map_or(0, |log| log.lost.swap(0, Ordering::Relaxed));
        if lost > 0 {
            tracing::warn!(lost, "log lines lost: they came faster than they could be written");
        }
    }
}

#[derive(Debug)]
enum Output {
    Stderr,
    File(Arc<LogFile>),
    Nowhere,
}

impl Output {
    /// Writes what can be written: there is no place left to complain to.
    fn write(&self, mut lines: &[u8]) {
        match self {
            Output::File(file) => drop((&*file.current()).write_all(lines)),
            Output::Nowhere => {}
            // Not through std's handle, whose lock a blocked write would hold against a panic message.
            Output::Stderr => {
                while !lines.is_empty() {
                    match nix::unistd::write(io::stderr().as_fd(), lines) {
                        Ok(written) => lines = &lines[written..],
                        Err(nix::errno::Errno::EINTR) => {}
                        Err(_) => return,
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    /// Never locked while writing, so that reopening can't be held up.
    current: Mutex<Arc<File>>,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = Self::append(&path)?;
        Ok(Self { path, current: Mutex::new(Arc::new(file)) })
    }

    fn reopen(&self) -> io::Result<()> {
        let file = Self::append(&self.path)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(file);
        Ok(())
    }

    fn current(&self) -> Arc<File> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_regular(&self) -> bool {
        self.current().metadata().is_ok_and(|found| found.is_file())
    }

    fn append(path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(path)
    }
}

/// A message's level in gearmand's words, and in syslog's.
fn label(meta: &Metadata<'_>) -> (&'static str, Severity) {
    match (meta.target(), *meta.level()) {
        (FATAL, _) => ("FATAL", Severity::LOG_CRIT),
        (_, Level::ERROR) => ("ERROR", Severity::LOG_ERR),
        (NOTICE | ACCEPTED, _) => ("NOTICE", Severity::LOG_NOTICE),
        (_, Level::WARN) => ("WARNING", Severity::LOG_WARNING),
        (_, Level::INFO) => ("INFO", Severity::LOG_INFO),
        (_, Level::DEBUG | Level::TRACE) => ("DEBUG", Severity::LOG_DEBUG),
    }
}

struct GearmandFormat {
    clock: ChronoLocal,
}

impl<S, N> FormatEvent<S, N> for GearmandFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        write!(writer, "{:>7} ", label(meta).0)?;
        self.clock.format_time(&mut writer)?;
        writer.write_str(if meta.target() == ACCEPTED { " [  proc ] " } else { " [  main ] " })?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        // gearmand leaves the place out at INFO.
        if let (Some(file), Some(line), true) = (meta.file(), meta.line(), label(meta).0 != "INFO") {
            write!(writer, " -> {file}:{line}")?;
        }
        writeln!(writer)
    }
}
