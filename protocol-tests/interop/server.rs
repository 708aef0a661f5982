//! One server on a port of its own, which can be killed and started again on the same port.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it accepts connections.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Which server is tested.
pub(crate) enum Target {
    /// The binary that was built with these tests.
    Gearhouse,
    /// Any other binary with gearmand's command line, from `GEARHOUSE_TEST_SERVER`.
    Gearmand(PathBuf),
}

impl Target {
    /// As the environment says.
    pub(crate) fn chosen() -> Self {
        match std::env::var_os("GEARHOUSE_TEST_SERVER") {
            Some(path) if !path.is_empty() => Self::Gearmand(path.into()),
            _ => Self::Gearhouse,
        }
    }

    /// The word that scripts see in `TARGET`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Gearhouse => "gearhouse",
            Self::Gearmand(_) => "gearmand",
        }
    }
}

/// A running server; dropped, it is killed.
pub(crate) struct Server {
    target: Target,
    port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts one on a free port and waits until it accepts.
    pub(crate) fn start(target: Target) -> Result<Self, String> {
        let directory =
            tempfile::tempdir().map_err(|error| format!("no directory for the server: {error}"))?;
        let port = free_port();
        let child = spawn(&target, port, directory.path())?;
        let mut server = Self { target, port, child, directory };
        server.wait_until_it_accepts()?;
        Ok(server)
    }

    /// Kills it as `kill -9` does, and starts a fresh one on the same port.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.kill();
        self.child = spawn(&self.target, self.port, self.directory.path())?;
        self.wait_until_it_accepts()
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Everything it has written, restarts included.
    pub(crate) fn log(&self) -> String {
        super::script::read(&log_file(self.directory.path()))
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn wait_until_it_accepts(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the server ended at once with {status}:\n{}", self.log()));
            }
            if Instant::now() > deadline {
                return Err(format!("the server accepts nothing on {}:\n{}", self.address(), self.log()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(target: &Target, port: u16, directory: &Path) -> Result<Child, String> {
    let mut command = match target {
        Target::Gearhouse => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
            command
                .args(["serve", "--http", "off", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
                .arg(directory.join("data"));
            command
        }
        Target::Gearmand(path) => {
            let mut command = Command::new(path);
            command.args(["--listen", "127.0.0.1", "--port", &port.to_string(), "--log-file", "stderr"]);
            command.arg("--pid-file").arg(directory.join("pid"));
            command
        }
    };
    let log =
        File::options().create(true).append(true).open(log_file(directory)).map_err(|e| e.to_string())?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{} does not start: {error}", command.get_program().display()))
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// A port below the range from which systems number outgoing connections: while the server is down for a
/// restart, no client in this machine can be given its port by chance.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 6_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side begin at different places.
    let begin = (std::process::id() % u32::from(COUNT / 16)) as u16 * 16;
    loop {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
