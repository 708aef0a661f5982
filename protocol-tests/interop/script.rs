//! Runs a script to its end or its deadline, and restarts the server when the script asks for it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::server::Server;

/// The time a whole script has.
const PATIENCE: Duration = Duration::from_secs(240);

/// How a script ended and what it wrote.
pub(crate) struct Outcome {
    /// `None`: it was still running at its deadline and was killed.
    pub(crate) status: Option<ExitStatus>,
    /// Both output streams, in order.
    pub(crate) output: String,
    /// What the server wrote meanwhile.
    pub(crate) server_log: String,
}

/// Runs `command` with the addresses in its environment. Whatever it started dies with it.
pub(crate) fn run(mut command: Command, server: Server) -> Result<Outcome, String> {
    let address = server.address();
    let target = server.target().name();
    let server = Arc::new(Mutex::new(server));
    let control = listen_for_control(&server).map_err(|error| format!("no control socket: {error}"))?;

    let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
    let output = directory.path().join("output");
    let out = File::create(&output).map_err(|e| e.to_string())?;
    let err = out.try_clone().map_err(|e| e.to_string())?;
    let mut child = command
        .env("GEARMAN_HOST", address.ip().to_string())
        .env("GEARMAN_PORT", address.port().to_string())
        .env("CONTROL_PORT", control.to_string())
        .env("TARGET", target)
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{command:?} does not start ({error}): run protocol-tests/setup"))?;
    let group = Pid::from_raw(child.id().cast_signed());

    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    // Workers that the script left behind are in its group. No such group: nothing was left.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    let server_log = lock(&server).log();
    Ok(Outcome { status, output: read(&output), server_log })
}

/// A file's text, readable or not.
pub(crate) fn read(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("({}: {error})", path.display()),
    }
}

/// The control protocol: each line `restart` is answered `ok` once a fresh server accepts.
fn listen_for_control(server: &Arc<Mutex<Server>>) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // The thread must not keep the server alive: a dropped server is a killed server.
    let server = Arc::downgrade(server);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(server) = server.upgrade() else { return };
            let _ = serve_control(stream, &server);
        }
    });
    Ok(port)
}

fn serve_control(mut stream: TcpStream, server: &Mutex<Server>) -> std::io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        let answer = match line?.trim() {
            "restart" => {
                lock(server).restart().map_or_else(|error| format!("error {error}"), |()| "ok".into())
            }
            other => format!("error unknown command {other:?}"),
        };
        stream.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
