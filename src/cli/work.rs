//! `gearhouse work`: a worker whose jobs are done by a command.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::values::Span;
use super::{Failure, Server, tell};
use crate::client::{Client, ClientError, refused};
use crate::protocol::{Frame, Kind};
use job::{Assigned, Outcome};
use stop::Stop;

mod job;
mod stop;

pub(super) const HELP: &str = "\
Examples:
  gearhouse work upper -- tr a-z A-Z
  gearhouse work resize --jobs 4 --timeout 1m -- convert - -resize 200x200 png:-
  gearhouse work deploy --stream -- sh -c 'echo \"$GEARHOUSE_JOB_HANDLE\"; make deploy'

The command gets the payload on its standard input, and GEARHOUSE_JOB_HANDLE, GEARHOUSE_JOB_FUNCTION and \
GEARHOUSE_JOB_UNIQUE in its environment. What it writes to its standard output is the job's result; its standard \
error goes where the worker's goes. Exit code 0 completes the job, any other fails it, and a job that failed is not \
tried again. A worker that is killed loses no job: the server hands it to another.

SIGTERM or SIGINT (Ctrl-C): the running jobs are finished, nothing new is taken. A second one stops at once.";

/// Waits between attempts to reach the server, in seconds; the last one again and again.
const PATIENCE: [u64; 5] = [1, 2, 5, 10, 15];

#[derive(Args, Debug)]
pub(super) struct Work {
    /// Function whose jobs are done
    function: OsString,

    /// Command that does a job, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    /// Jobs to do at once, each on a connection of its own
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,

    /// End after so many jobs
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    /// Kill the command when a job takes longer; the server hands the job out again
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,

    /// Send output to the client as it comes, not all at the end
    #[arg(long)]
    stream: bool,

    #[command(flatten)]
    server: Server,
}

impl Work {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.function.is_empty() {
            return Err(Failure::usage("FUNCTION is empty"));
        }
        let stop = Stop::on_signals().map_err(Failure::usage)?;
        thread::scope(|scope| {
            let workers = (0..self.jobs.get()).map(|index| Worker {
                work: &self,
                stop: &stop,
                index,
                left: self.share(index as u64),
                failures: 0,
            });
            let running: Vec<_> = workers.map(|mut worker| scope.spawn(move || worker.run())).collect();
            let ended = running.into_iter().map(|worker| match worker.join() {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.collect()
        })
    }

    /// How many of the `--count` jobs are this worker's.
    fn share(&self, index: u64) -> Option<u64> {
        let (count, workers) = (self.count?.get(), self.jobs.get() as u64);
        Some(count / workers + u64::from(index < count % workers))
    }
}

/// One connection, used by one thread.
struct Worker<'a> {
    work: &'a Work,
    stop: &'a Stop,
    index: usize,
    /// Jobs that are still to be done; without end if `None`.
    left: Option<u64>,
    /// Attempts in a row that found no server.
    failures: usize,
}

/// Why a connection is not used any more.
enum End {
    /// Enough jobs are done, or a signal came.
    Done,
    /// The server went away.
    Lost(ClientError),
    /// The command cannot be run, so no job can be done.
    Useless(Failure),
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> End {
        End::Lost(error)
    }
}

impl Worker<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let error = match self.session() {
                End::Done => return Ok(()),
                End::Useless(failure) => {
                    self.stop.stop();
                    return Err(failure);
                }
                End::Lost(error) => error,
            };
            let seconds = PATIENCE[self.failures.min(PATIENCE.len() - 1)];
            self.failures += 1;
            if self.stop.is_stopping() {
                return Ok(());
            }
            // One of them speaks for all.
            if self.index == 0 {
                tell(format_args!(
                    "no server at {}: {error}; next attempt in {seconds} s",
                    self.work.server.server
                ));
            }
            if self.stop.wait(Duration::from_secs(seconds)) {
                return Ok(());
            }
        }
    }

    fn session(&mut self) -> End {
        match self.jobs() {
            Ok(()) => End::Done,
            Err(end) => end,
        }
    }

    fn jobs(&mut self) -> Result<(), End> {
        let mut client = self.work.server.connect()?;
        self.register(&mut client)?;
        self.failures = 0;
        if self.index == 0 && io::stderr().is_terminal() {
            let (function, server) = (self.work.function.display(), &self.work.server.server);
            tell(format_args!("waiting for jobs of {function} from {server}; Ctrl-C ends it"));
        }
        while self.left != Some(0) && !self.stop.is_stopping() {
            client.send(Kind::GrabJobUniq, &[])?;
            match answer(&mut client)? {
                Some(frame) => self.job(&mut client, &frame)?,
                None => self.sleep(&mut client)?,
            }
        }
        Ok(())
    }

    fn register(&self, client: &mut Client) -> Result<(), ClientError> {
        let id = format!("gearhouse-work-{}", std::process::id());
        client.send(Kind::SetClientId, &[id.as_bytes()])?;
        let function = self.work.function.as_bytes();
        match self.work.timeout {
            None => client.send(Kind::CanDo, &[function]),
            Some(Span(time)) => {
                let milliseconds = time.as_millis().to_string();
                client.send(Kind::CanDoTimeout, &[function, milliseconds.as_bytes()])
            }
        }
    }

    fn job(&mut self, client: &mut Client, frame: &Frame) -> Result<(), End> {
        let job = Assigned::from_frame(frame).ok_or(ClientError::Unexpected(frame.kind))?;
        let time = self.work.timeout.map(|Span(time)| time);
        let streamed = self.work.stream.then_some(&mut *client);
        let outcome = job::run(&job, &self.work.command, time, self.stop, streamed);
        match outcome {
            Ok(Outcome::Complete(result)) => client.send(Kind::WorkComplete, &[job.handle, &result])?,
            Ok(Outcome::Failed) => client.send(Kind::WorkFail, &[job.handle])?,
            // The server takes it back by its own clock; a word from here would make that a failure.
            Ok(Outcome::TimedOut) => {
                tell(format_args!("{}: killed, took too long", job.handle.escape_ascii()))
            }
            Err(job::Error::Client(error)) => return Err(error.into()),
            // The job stays unanswered, so that the server hands it to a worker that can do it.
            Err(job::Error::Start(error)) => {
                let command = self.work.command[0].display();
                return Err(End::Useless(Failure::usage(format!("cannot run {command}: {error}"))));
            }
        }
        self.left = self.left.map(|left| left - 1);
        Ok(())
    }

    /// Until the server has a job, or a signal ends the connection.
    fn sleep(&self, client: &mut Client) -> Result<(), End> {
        client.send(Kind::PreSleep, &[])?;
        let handle = client.handle().map_err(ClientError::from)?;
        if !self.stop.may_sleep(self.index, handle) {
            return Err(End::Done);
        }
        let woken = client.receive();
        self.stop.woke(self.index);
        match woken {
            Ok(_) => Ok(()),
            Err(_) if self.stop.is_stopping() => Err(End::Done),
            Err(error) => Err(error.into()),
        }
    }
}

/// The job, or `None` if there is none. What else comes is no answer to a grab: a late NOOP, or a complaint about a
/// job that the server had taken back.
fn answer(client: &mut Client) -> Result<Option<Frame>, ClientError> {
    loop {
        let frame = client.receive()?;
        match frame.kind {
            Kind::NoJob => return Ok(None),
            Kind::JobAssignUniq => return Ok(Some(frame)),
            Kind::Error => tell(refused(&frame)),
            Kind::Noop => {}
            other => return Err(ClientError::Unexpected(other)),
        }
    }
}
