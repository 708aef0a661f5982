//! A server under test: started by the name `gearmand` in a folder of its own, and ended with the test.

use std::fs;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder to start servers in, with the program under its name `gearmand`.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gearhouse"), folder.path().join("gearmand")).unwrap();
        Self(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// `gearmand ARGS`, to be started in this folder with nothing in its environment.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("gearmand"));
        command.args(args).current_dir(self.0.path()).env_clear().stdin(Stdio::null());
        command
    }

    /// Runs `gearmand ARGS`, which is expected to end by itself.
    pub(super) fn run(&self, args: &[&str]) -> Output {
        finish(&mut self.command(args))
    }

    /// Starts a server on a port of the system's choice with log and pid file in the folder. `args` come last.
    pub(super) fn start(&self, args: &[&str]) -> Server<'_> {
        let mut all =
            vec!["--listen=127.0.0.1", "--port=0", "--log-file=log", "--pid-file=pid", "--verbose=INFO"];
        all.extend(args);
        self.start_by(self.command(&all))
    }

    /// Starts a server by a command that logs to `log` at INFO, and waits until it listens.
    pub(super) fn start_by(&self, mut command: Command) -> Server<'_> {
        let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let mut server = Server { folder: self, process, address: ([0, 0, 0, 0], 0).into() };
        wait_for("the server to listen", || {
            if !server.is_running() {
                panic!("it ended: {}{}", server.process.stderr(), self.read("log"));
            }
            server.address = listening(&self.read("log"))?;
            Some(())
        });
        server
    }
}

/// The first address a log says the server listens on.
pub(super) fn listening(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("Listening on ")?;
    let (address, _) = rest.split_once('\n')?;
    address.trim().parse().ok()
}

/// Connects, with a limit on how long to wait for what is to come.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A process that runs; killed when dropped.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        send_signal(self.0.id(), signal);
    }

    /// Waits for the end and returns how it ended.
    pub(super) fn wait(&mut self) -> ExitStatus {
        wait_for("the process to end", || self.0.try_wait().unwrap())
    }

    /// What it said on its standard error, a pipe, until its end.
    pub(super) fn stderr(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server whose address is known.
pub(super) struct Server<'a> {
    folder: &'a Folder,
    process: Process,
    pub(super) address: SocketAddr,
}

impl Server<'_> {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn log(&self) -> String {
        self.folder.read("log")
    }

    pub(super) fn connect(&self) -> TcpStream {
        connect(self.address).unwrap()
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(super) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }
}

/// Waits until something is there. Fails when it takes too long.
pub(super) fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command that is expected to end by itself; kills it when it does not.
pub(super) fn finish(command: &mut Command) -> Output {
    // In a group of its own, so that a time-out takes what it started along.
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = kill(Pid::from_raw(-(pid as i32)), Signal::SIGKILL);
        // Not waited for: a daemon may have kept its streams, which is what we would wait for.
        panic!("{command:?} did not end, or left a process that holds its streams")
    })
}

pub(super) fn send_signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A port nobody listens on just now, for tests that must name one.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Debian's gearmand.
pub(super) fn debians() -> &'static Path {
    let path = Path::new("/usr/sbin/gearmand");
    assert!(path.exists(), "gearmand is not installed: run protocol-tests/setup");
    path
}
