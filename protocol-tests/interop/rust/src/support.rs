//! What the checks share: the environment, the report, payloads, and the worker as a process that can be killed.

use std::env;
use std::fmt::Debug;
use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// What a check returns: anything may go wrong in it, and all is shown.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

const ONE_CHECK: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) failures: usize,
}

impl Report {
    pub(crate) async fn check(&mut self, name: &str, check: impl Future<Output = Outcome>) {
        let outcome = match timeout(ONE_CHECK, check).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done within {ONE_CHECK:?}").into()),
        };
        match outcome {
            Ok(()) => println!("ok {name}"),
            Err(error) => {
                self.failures += 1;
                println!("failed {name}: {error}");
            }
        }
    }

    /// A check that a fault of gearmand (section 7 of the protocol notes) breaks there.
    pub(crate) async fn check_unless_gearmand(
        &mut self,
        fault: &str,
        name: &str,
        check: impl Future<Output = Outcome>,
    ) {
        if variable("TARGET") == "gearmand" {
            println!("n/a {name}: gearmand {fault}");
        } else {
            self.check(name, check).await;
        }
    }
}

/// `host:port` of the server.
pub(crate) fn address() -> String {
    format!("{}:{}", variable("GEARMAN_HOST"), variable("GEARMAN_PORT"))
}

/// A function name of this run alone. A check that minds the order of jobs or what is waiting uses a kind of its own: the
/// last request of a worker that was killed a moment ago may still take a job, which then goes to the end of the queue.
pub(crate) fn function(kind: &str) -> String {
    format!("rust-{}-{kind}", std::process::id())
}

/// Has the server killed and returns when a fresh one accepts.
pub(crate) async fn restart_server() -> Outcome {
    let mut control = TcpStream::connect(("127.0.0.1", variable("CONTROL_PORT").parse()?)).await?;
    control.write_all(b"restart\n").await?;
    let mut answer = String::new();
    BufReader::new(control).read_line(&mut answer).await?;
    same("the answer to restart", &answer.as_str(), &"ok\n")
}

/// Bytes with every value in them, such that no shifted, cut or repeated piece of it looks right.
pub(crate) fn payload(size: usize) -> Bytes {
    (0..size).map(|at| (at % 256 + at / 256 + at / 65_536 * 7) as u8).collect()
}

/// Compares without printing megabytes.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, got: &T, expected: &T) -> Outcome {
    if got == expected {
        return Ok(());
    }
    let show = |value: &T| format!("{value:?}").chars().take(300).collect::<String>();
    Err(format!("{what} is {}, not {}", show(got), show(expected)).into())
}

/// Tries again until the attempt says yes, or the check's time is over.
pub(crate) async fn eventually(
    mut attempt: impl AsyncFnMut() -> Result<bool, Box<dyn std::error::Error>>,
) -> Outcome {
    while !attempt().await? {
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// This program as a worker process. It is killed when dropped.
pub(crate) struct Worker {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Lines read while waiting for another.
    pub(crate) passed_over: Vec<String>,
}

impl Worker {
    pub(crate) fn start(kinds: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut process = Command::new(env::current_exe()?)
            .arg("work")
            .args(kinds.iter().map(|kind| function(kind)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = process.stdout.take().ok_or("no standard output")?;
        Ok(Self { process, input, lines: BufReader::new(output).lines(), passed_over: Vec::new() })
    }

    /// Waits for a line that begins so and returns the rest of it.
    pub(crate) async fn wait_for(&mut self, prefix: &str) -> Result<String, Box<dyn std::error::Error>> {
        loop {
            let line = self.lines.next_line().await?.ok_or("the worker ended")?;
            if let Some(rest) = line.strip_prefix(prefix) {
                return Ok(rest.trim().to_owned());
            }
            self.passed_over.push(line);
        }
    }

    /// Lets a held job go on.
    pub(crate) async fn go(&mut self) -> Outcome {
        Ok(self.input.write_all(b"go\n").await?)
    }

    pub(crate) async fn kill(mut self) -> Outcome {
        Ok(self.process.kill().await?)
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
