//! Runs the binary, to its end or for as long as a test needs it.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{self, PATIENCE};

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// What it wrote, if it ended well.
    #[track_caller]
    pub fn well(&self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        String::from_utf8(self.stdout.clone()).expect("text on standard output")
    }

    /// What it complained of, if it ended with this code.
    #[track_caller]
    pub fn with_code(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{:?} {}", self.stdout.escape_ascii().to_string(), self.stderr);
        &self.stderr
    }
}

/// `gearhouse` with these arguments and nothing in its environment but a path.
pub fn gearhouse(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("GEARHOUSE_OPT_HTTP", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `gearhouse` to its end, without input.
#[track_caller]
pub fn run(args: &[&str]) -> Ended {
    end(&mut gearhouse(args), b"")
}

/// Runs a command to its end, with this input.
#[track_caller]
pub fn end(command: &mut Command, input: &[u8]) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("start the command");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A command need not read it all.
    thread::spawn(move || stdin.write_all(&input));
    finish(child)
}

/// Waits for the end of a command that was started.
#[track_caller]
pub fn finish(child: Child) -> Ended {
    let pid = Pid::from_raw(child.id().cast_signed());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(PATIENCE) else {
        let _ = kill(pid, Signal::SIGKILL);
        panic!("the command did not end");
    };
    let output = output.expect("its output");
    Ended {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command that runs until it is stopped, killed at the end of the test at the latest.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running::with_stderr(command, Stdio::inherit())
    }

    pub fn with_stderr(command: &mut Command, stderr: impl Into<Stdio>) -> Running {
        Running(command.stdout(Stdio::null()).stderr(stderr).spawn().expect("start the command"))
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("the process is there");
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the process ends", || {
            ended = self.0.try_wait().expect("wait for it");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("ask for it").is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again until it is so.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    support::eventually(what, || is_so().then_some(()));
}

/// A path as an argument.
pub fn text(path: &(impl AsRef<OsStr> + ?Sized)) -> &str {
    path.as_ref().to_str().expect("a path in UTF-8")
}
