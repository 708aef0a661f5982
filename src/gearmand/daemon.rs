//! `--daemon` without fork, which would leave a process with threads in pieces: the server is started again as a
//! process of its own session, and this one ends when that one is ready, or with its failure.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, getppid, setsid};

/// Names the process that started this one in order to be rid of its terminal. With its id, so that the variable
/// means nothing when it is inherited further.
const MARKER: &str = "GEARHOUSE_DAEMON_OF";

/// Starts this program again with the same arguments, in the background, and waits until it is ready or has failed.
pub(super) fn start() -> io::Result<ExitCode> {
    let mut args = env::args_os();
    let mut command = Command::new(env::current_exe()?);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    let mut child = command
        .args(args)
        .env(MARKER, std::process::id().to_string())
        .stdin(Stdio::null())
        // The daemon says a word on its standard output when it is ready. Errors go where they always go.
        .stdout(Stdio::piped())
        .spawn()?;
    let mut word = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_end(&mut word)?;
    }
    if word == READY {
        return Ok(ExitCode::SUCCESS);
    }
    child.wait()?;
    Ok(ExitCode::FAILURE)
}

/// The daemon's side of [`start`].
#[derive(Debug)]
pub(super) struct Daemon {
    null: File,
}

impl Daemon {
    /// Recognises a process started by [`start`] and takes it out of its terminal's session.
    pub(super) fn detect() -> io::Result<Option<Self>> {
        if env::var(MARKER).ok() != Some(getppid().to_string()) {
            return Ok(None);
        }
        setsid()?;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        Ok(Some(Self { null }))
    }

    /// Lets go of the terminal's streams and of the process that waits.
    pub(super) fn ready(&self) -> io::Result<()> {
        let mut output = io::stdout();
        // Nobody may be waiting any more; the server runs all the same.
        let _ = output.write_all(READY).and_then(|()| output.flush());
        dup2_stdin(&self.null)?;
        dup2_stderr(&self.null)?;
        dup2_stdout(&self.null)?;
        Ok(())
    }
}

const READY: &[u8] = b"ready\n";
