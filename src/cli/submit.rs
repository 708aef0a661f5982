//! `gearhouse submit`: one job, or one for each line, and what becomes of it.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use std::time::Duration;

use chrono::DateTime;
use clap::{Args, ValueEnum};

use super::values::Span;
use super::{Failure, Server, tell};
use crate::client::{Client, ClientError};
use crate::clock::Clock;
use crate::protocol::{Frame, Kind};

pub(super) const HELP: &str = "\
Examples:
  gearhouse submit resize '{\"id\": 7}'                waits, and prints the result
  gearhouse submit resize - < picture.png > small.png
  gearhouse submit mail --background --unique order-7 < mail.txt
  gearhouse submit report --at +10m 'weekly'
  gearhouse submit report --every '0 8 * * Mon-Fri'  each working day at 8:00
  ls *.png | gearhouse submit resize --lines --background

Exit code: 0 done (or queued, with --background), 1 the job failed, 2 wrong use, no server, or no end of the job seen.";

#[derive(Args, Debug)]
pub(super) struct Submit {
    /// Function that does the job
    function: OsString,

    /// Payload; `-`, or nothing when standard input is no terminal, takes it from standard input
    data: Option<OsString>,

    /// Do not wait for the job; print its handle
    #[arg(long)]
    background: bool,

    /// Before or after the function's other jobs
    #[arg(long, value_name = "PRIORITY", default_value = "normal")]
    priority: Priority,

    /// Unique id: while a job with it is not done, the same id joins it instead of making another
    ///
    /// `-` stands for the payload itself.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    unique: OsString,

    /// Run it in the background, not before this time
    ///
    /// A date and time with its zone (2027-01-31T08:30:00Z, 2027-01-31T08:30:00+01:00), seconds since 1970, or a
    /// length of time from now (+10m, +1h30m).
    #[arg(long, value_name = "TIME", conflicts_with_all = ["every", "priority", "reducer"])]
    at: Option<When>,

    /// Run it in the background again and again: minute, hour, day of month, month, day of week
    ///
    /// As in a crontab, in UTC, but days of the week are counted as Gearman's protocol does, from 0 = Monday:
    /// names (Mon-Fri, Sun) are clearer. `gearhouse admin schedules` lists such jobs, `gearhouse admin cancel
    /// HANDLE` ends one.
    #[arg(long, value_name = "CRON FIELDS", conflicts_with_all = ["priority", "reducer"])]
    every: Option<Cron>,

    /// Name of a reducer, handed to workers that ask for it
    #[arg(long, value_name = "NAME", conflicts_with = "priority")]
    reducer: Option<OsString>,

    /// Submit a job for each line of standard input, one after the other; each result ends with a newline
    #[arg(long, conflicts_with = "data")]
    lines: bool,

    /// Give up when there is no result after so long; the job itself may go on
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,

    #[command(flatten)]
    server: Server,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Priority {
    High,
    Normal,
    Low,
}

impl Submit {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.function.is_empty() {
            return Err(Failure::usage("FUNCTION is empty"));
        }
        if self.lines {
            return self.each_line(&mut self.connect()?);
        }
        // Before connecting: whoever writes it may take longer than the server likes to wait.
        let payload = self.payload().map_err(cannot_read)?;
        self.one(&mut self.connect()?, &payload).map_err(Failure::from)
    }

    fn connect(&self) -> Result<Client, Failure> {
        let mut client = self.server.must_connect()?;
        if let Some(Span(time)) = self.timeout {
            client.give_up_after(time).map_err(Failure::usage)?;
        }
        if self.waits() {
            client.ask(Kind::OptionReq, &[b"exceptions"]).map_err(Failure::usage)?;
        }
        Ok(client)
    }

    /// Goes on after a job that failed, and fails at the end.
    fn each_line(&self, client: &mut Client) -> Result<(), Failure> {
        let (mut submitted, mut failed) = (0, 0);
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map_err(cannot_read)?;
            submitted += 1;
            match self.one(client, &line) {
                Ok(()) if self.waits() => print(b"\n")?,
                Ok(()) => {}
                Err(End::JobFailed(why)) => {
                    failed += 1;
                    tell(why);
                }
                Err(other) => return Err(other.into()),
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::refused(format!("{failed} of {submitted} jobs failed"))),
        }
    }

    fn payload(&self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        match &self.data {
            Some(data) if data != "-" => payload.extend_from_slice(data.as_bytes()),
            None if io::stdin().is_terminal() => {}
            _ => drop(io::stdin().lock().read_to_end(&mut payload)?),
        }
        Ok(payload)
    }

    fn one(&self, client: &mut Client, payload: &[u8]) -> Result<(), End> {
        let created = self.submit(client, payload)?;
        if created.kind != Kind::JobCreated {
            return Err(ClientError::Unexpected(created.kind).into());
        }
        if self.waits() {
            return follow(client, &created.body);
        }
        print(&created.body)?;
        print(b"\n").map_err(End::from)
    }

    fn waits(&self) -> bool {
        !self.background && self.at.is_none() && self.every.is_none()
    }

    fn submit(&self, client: &mut Client, payload: &[u8]) -> Result<Frame, ClientError> {
        let (function, unique) = (self.function.as_bytes(), self.unique.as_bytes());
        if let Some(Cron([minute, hour, day, month, weekday])) = &self.every {
            let [minute, hour] = [minute.as_bytes(), hour.as_bytes()];
            let [day, month, weekday] = [day.as_bytes(), month.as_bytes(), weekday.as_bytes()];
            let arguments = [function, unique, minute, hour, day, month, weekday, payload];
            client.ask(Kind::SubmitJobSched, &arguments)
        } else if let Some(when) = self.at {
            let seconds = when.epoch_seconds().to_string();
            client.ask(Kind::SubmitJobEpoch, &[function, unique, seconds.as_bytes(), payload])
        } else if let Some(reducer) = &self.reducer {
            let kind = if self.background { Kind::SubmitReduceJobBackground } else { Kind::SubmitReduceJob };
            // The field after the reducer is the protocol's aggregator, which no server uses.
            client.ask(kind, &[function, unique, reducer.as_bytes(), b"", payload])
        } else {
            let kind = match (self.priority, self.background) {
                (Priority::High, false) => Kind::SubmitJobHigh,
                (Priority::High, true) => Kind::SubmitJobHighBg,
                (Priority::Normal, false) => Kind::SubmitJob,
                (Priority::Normal, true) => Kind::SubmitJobBg,
                (Priority::Low, false) => Kind::SubmitJobLow,
                (Priority::Low, true) => Kind::SubmitJobLowBg,
            };
            client.ask(kind, &[function, unique, payload])
        }
    }
}

/// Passes on what the worker sends until the job has ended: results and data to standard output, warnings to
/// standard error, progress there too if someone looks at it.
fn follow(client: &mut Client, handle: &[u8]) -> Result<(), End> {
    loop {
        let frame = client.receive()?;
        let mut arguments = frame.arguments();
        if arguments.next() != Some(handle) {
            continue;
        }
        let data = arguments.next().unwrap_or_default();
        match frame.kind {
            Kind::WorkData => print(data)?,
            Kind::WorkWarning => complain(data),
            Kind::WorkStatus if io::stderr().is_terminal() => {
                let of = arguments.next().unwrap_or_default();
                tell(format_args!("{} of {}", data.escape_ascii(), of.escape_ascii()));
            }
            Kind::WorkComplete => return print(data).map_err(End::from),
            Kind::WorkFail => return Err(End::JobFailed("the job failed".to_owned())),
            Kind::WorkException => {
                let text = String::from_utf8_lossy(data);
                return Err(End::JobFailed(format!("the job failed: {}", text.trim_end())));
            }
            _ => {}
        }
    }
}

/// Why no result came.
#[derive(Debug)]
enum End {
    JobFailed(String),
    NotKnown(ClientError),
    NoOutput(Failure),
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> End {
        End::NotKnown(error)
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::NoOutput(failure)
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Failure {
        match end {
            End::JobFailed(why) => Failure::refused(why),
            End::NotKnown(error) => Failure::usage(error),
            End::NoOutput(failure) => failure,
        }
    }
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::usage(format!("cannot write the result: {error}")))
}

fn complain(bytes: &[u8]) {
    let mut err = io::stderr().lock();
    // Nobody is left to tell if standard error is gone.
    let _ = err.write_all(bytes);
    if !bytes.ends_with(b"\n") {
        let _ = err.write_all(b"\n");
    }
}

fn cannot_read(error: io::Error) -> Failure {
    Failure::usage(format!("cannot read standard input: {error}"))
}

/// A moment, or a distance from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    At { epoch_seconds: u64 },
    In(Duration),
}

/// What is neither.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no time; write 2027-01-31T08:30:00Z (with a zone), seconds since 1970, or +10m for in ten minutes"
)]
struct BadTime(String);

impl FromStr for When {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<When, BadTime> {
        let bad = || BadTime(text.to_owned());
        if let Some(span) = text.strip_prefix('+') {
            return humantime::parse_duration(span).map(When::In).map_err(|_| bad());
        }
        if let Ok(epoch_seconds) = text.parse() {
            return Ok(When::At { epoch_seconds });
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| bad())?;
        // The protocol counts whole seconds; a job must not run before its time.
        let seconds = time.timestamp() + i64::from(time.timestamp_subsec_nanos() > 0);
        Ok(When::At { epoch_seconds: u64::try_from(seconds).unwrap_or(0) })
    }
}

impl When {
    fn epoch_seconds(self) -> u64 {
        match self {
            When::At { epoch_seconds } => epoch_seconds,
            When::In(span) => Clock::new().now().after(span).as_micros().div_ceil(1_000_000),
        }
    }
}

/// The five fields of a crontab line.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cron([String; 5]);

/// More or fewer than five.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} has {1} fields; five are needed: minute, hour, day of month, month, day of week, as in '30 8 * * Mon-Fri'"
)]
struct BadCron(String, usize);

impl FromStr for Cron {
    type Err = BadCron;

    fn from_str(text: &str) -> Result<Cron, BadCron> {
        let fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let count = fields.len();
        fields.try_into().map(Cron).map_err(|_| BadCron(text.to_owned(), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<u64> {
        match text.parse() {
            Ok(When::At { epoch_seconds }) => Some(epoch_seconds),
            _ => None,
        }
    }

    #[test]
    fn times_are_read_in_all_three_forms_and_never_early() {
        assert_eq!(at("1000"), Some(1000));
        assert_eq!(at("1970-01-01T01:00:00Z"), Some(3600));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(at("1970-01-01T00:00:01.001Z"), Some(2));
        assert_eq!(at("1969-12-31T00:00:00Z"), Some(0));
        assert_eq!("+1h30m".parse::<When>().unwrap(), When::In(Duration::from_secs(5400)));
        assert!(When::In(Duration::from_secs(60)).epoch_seconds() > 1_700_000_000);
    }

    #[test]
    fn a_time_without_a_zone_or_a_unit_is_refused() {
        for text in ["2027-01-31T08:30:00", "2027-01-31", "+10", "-5", "soon", ""] {
            let error = text.parse::<When>().unwrap_err().to_string();
            assert!(error.contains("with a zone"), "{error}");
        }
    }

    #[test]
    fn a_schedule_has_five_fields() {
        assert_eq!("*/5 * * * Mon".parse::<Cron>().unwrap().0[4], "Mon");
        assert!("* * * *".parse::<Cron>().unwrap_err().to_string().contains("has 4 fields"));
    }
}
