//! One job: the command is started, fed, listened to, and its end told.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::stop::Stop;
use crate::client::{Client, ClientError};
use crate::protocol::{Frame, Kind};

/// Bytes of one WORK_DATA at most; what a pipe holds.
const CHUNK: usize = 64 << 10;

/// A job as the server handed it out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assigned<'a> {
    pub(super) handle: &'a [u8],
    pub(super) function: &'a [u8],
    pub(super) unique: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> Assigned<'a> {
    /// Reads JOB_ASSIGN_UNIQ.
    pub(super) fn from_frame(frame: &'a Frame) -> Option<Assigned<'a>> {
        let mut arguments = frame.arguments();
        Some(Assigned {
            handle: arguments.next()?,
            function: arguments.next()?,
            unique: arguments.next()?,
            payload: arguments.next()?,
        })
    }
}

/// How the command ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With exit code 0, after this output; what was streamed is not in it.
    Complete(Vec<u8>),
    /// With another code, or by a signal.
    Failed,
    /// It was killed because its time was over.
    TimedOut,
}

/// Why nothing can be told of the job.
#[derive(Debug)]
pub(super) enum Error {
    /// The command cannot be started.
    Start(io::Error),
    /// Output could not be streamed.
    Client(ClientError),
}

/// Runs the command for a job, at most for `time`. Output goes through `stream` as it comes, if there is one.
pub(super) fn run(
    job: &Assigned<'_>,
    command: &[OsString],
    time: Option<Duration>,
    stop: &Stop,
    stream: Option<&mut Client>,
) -> Result<Outcome, Error> {
    let mut child = start(job, command).map_err(Error::Start)?;
    let group = Pid::from_raw(child.id().cast_signed());
    stop.started(group);
    let ended = talk(job, &mut child, group, time, stream);
    stop.ended(group);
    ended
}

/// In a process group of its own, so that a Ctrl-C at the terminal reaches only the worker, which then waits, and
/// that all a command has started can be killed.
fn start(job: &Assigned<'_>, command: &[OsString]) -> io::Result<Child> {
    let text = |bytes| std::ffi::OsStr::from_bytes(bytes);
    Command::new(&command[0])
        .args(&command[1..])
        .env("GEARHOUSE_JOB_HANDLE", text(job.handle))
        .env("GEARHOUSE_JOB_FUNCTION", text(job.function))
        .env("GEARHOUSE_JOB_UNIQUE", text(job.unique))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
}

fn talk(
    job: &Assigned<'_>,
    child: &mut Child,
    group: Pid,
    time: Option<Duration>,
    stream: Option<&mut Client>,
) -> Result<Outcome, Error> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    thread::scope(|scope| {
        // A command need not read its input: a closed pipe is no failure.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(job.payload)));
        let (over, watched) = sync_channel::<()>(0);
        let watch = time.map(|time| {
            scope.spawn(move || {
                let timed_out = watched.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                if timed_out {
                    // It may have ended this moment.
                    let _ = killpg(group, Signal::SIGKILL);
                }
                timed_out
            })
        });
        let output = match (stdout, stream) {
            (Some(stdout), Some(client)) => pass_on(job, stdout, client).map(|()| Vec::new()),
            (Some(stdout), None) => Ok(collect(stdout)),
            (None, _) => Ok(Vec::new()),
        };
        if output.is_err() {
            // Nobody wants the rest.
            let _ = killpg(group, Signal::SIGTERM);
        }
        let status = child.wait();
        drop(over);
        let timed_out = watch.is_some_and(|watch| watch.join().unwrap_or(false));
        let output = output.map_err(Error::Client)?;
        Ok(match status {
            _ if timed_out => Outcome::TimedOut,
            Ok(status) if status.success() => Outcome::Complete(output),
            _ => Outcome::Failed,
        })
    })
}

fn collect(mut stdout: impl Read) -> Vec<u8> {
    let mut output = Vec::new();
    // Reading a pipe fails only where there is nothing more to be had; the exit code decides.
    let _ = stdout.read_to_end(&mut output);
    output
}

fn pass_on(job: &Assigned<'_>, mut stdout: impl Read, client: &mut Client) -> Result<(), ClientError> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match stdout.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => client.send(Kind::WorkData, &[job.handle, &chunk[..length]])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(()),
        }
    }
}
