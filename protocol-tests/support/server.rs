//! A server in a process of its own, on a free loopback port, for as long as one test needs it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{PATIENCE, Peer, eventually, now};

/// A running server. Killed when dropped; what it wrote to standard error is shown if the test fails.
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    _files: tempfile::TempDir,
}

/// Memory of a process, in bytes, as Linux counts it.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What it holds now: the next two and what is shared.
    pub resident: u64,
    /// Its heap and stacks.
    pub anonymous: u64,
    /// Pages of files: mostly the program itself.
    pub file: u64,
    /// The most it ever held.
    pub peak: u64,
}

const UNHARMED: &str = "nothing panics under this lock";

/// How to start a server: given a port, the address to listen on and a directory for its files.
struct Launch<'a> {
    program: PathBuf,
    arguments: &'a dyn Fn(u16, &Path) -> Vec<OsString>,
}

impl Server {
    /// The server under test by gearmand's command line: Gearhouse, or the program that
    /// `GEARHOUSE_TEST_SERVER` names.
    pub fn start() -> Server {
        Server::with_flags(&[])
    }

    /// As [`Server::start`], with further flags of gearmand's.
    pub fn with_flags(flags: &[&str]) -> Server {
        match std::env::var_os("GEARHOUSE_TEST_SERVER") {
            Some(program) => Server::program(Path::new(&program), &[], flags),
            None => Server::gearhouse(flags),
        }
    }

    /// Gearhouse by gearmand's command line, for what gearmand does otherwise.
    pub fn gearhouse(flags: &[&str]) -> Server {
        Server::program(Path::new(env!("CARGO_BIN_EXE_gearhouse")), &["gearmand"], flags)
    }

    /// Debian's gearmand, the reference.
    pub fn reference(flags: &[&str]) -> Server {
        let program = Path::new("/usr/sbin/gearmand");
        assert!(program.exists(), "{} is not installed: run protocol-tests/setup", program.display());
        Server::program(program, &[], flags)
    }

    /// `gearhouse serve` with the given options.
    pub fn serve(options: &[&str]) -> Server {
        Server::serve_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options)
    }

    /// `gearhouse serve` on a free port of the given address.
    pub fn serve_on(address: SocketAddr, options: &[&str]) -> Server {
        let arguments = |port, _: &Path| {
            let listen = SocketAddr::new(address.ip(), port).to_string();
            let fixed = ["serve", "--listen", &listen].map(OsString::from);
            fixed.into_iter().chain(options.iter().map(OsString::from)).collect()
        };
        launch(address, &Launch { program: env!("CARGO_BIN_EXE_gearhouse").into(), arguments: &arguments })
    }

    fn program(program: &Path, first: &[&str], flags: &[&str]) -> Server {
        let arguments = |port: u16, files: &Path| {
            let mut all: Vec<OsString> = first.iter().map(OsString::from).collect();
            all.extend(["--listen", "127.0.0.1", "--log-file=stderr", "--port"].map(OsString::from));
            all.push(port.to_string().into());
            all.push("--pid-file".into());
            all.push(files.join("pid").into());
            all.extend(flags.iter().map(OsString::from));
            all
        };
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        launch(loopback, &Launch { program: program.into(), arguments: &arguments })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it.
    #[track_caller]
    pub fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// One admin command on a connection of its own.
    #[track_caller]
    pub fn admin(&self, command: &str) -> String {
        self.connect().admin(command)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory it holds, in bytes.
    pub fn memory(&self) -> Memory {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server is gone");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("not told in /proc");
            let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB");
            kib.parse::<u64>().expect("a number of KiB") * 1024
        };
        Memory {
            resident: bytes("VmRSS"),
            anonymous: bytes("RssAnon"),
            file: bytes("RssFile"),
            peak: bytes("VmHWM"),
        }
    }

    /// Memory it holds now, in bytes (resident set).
    pub fn resident(&self) -> u64 {
        self.memory().resident
    }

    /// Processor time it has used so far, in user and system mode.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server is gone");
        // Field 2, the name, may hold blanks; it ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("a number of ticks");
        // Linux counts them by the hundredth of a second, whatever its own clock does.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    fn owns_any(&self, sockets: &[String]) -> bool {
        // Gone, if it has ended meanwhile.
        let Ok(files) = std::fs::read_dir(format!("/proc/{}/fd", self.pid())) else { return false };
        files
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("cannot signal the server");
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the server ends", || self.child.try_wait().expect("cannot wait for the server"))
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().expect(UNHARMED)).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- the server's standard error ---\n{}---", self.log());
        }
    }
}

/// Starts a server on a port that no other test has, and waits until it listens there.
fn launch(address: SocketAddr, how: &Launch) -> Server {
    for _ in 0..20 {
        if let Some(server) = try_launch(address, how) {
            return server;
        }
    }
    panic!("twenty free ports in turn were taken by somebody else before the server could bind them");
}

/// `None` when somebody else took the port first.
fn try_launch(address: SocketAddr, how: &Launch) -> Option<Server> {
    let files = tempfile::tempdir().expect("no temporary directory");
    let port = free_port(address);
    let arguments = (how.arguments)(port, files.path());
    let mut child = Command::new(&how.program)
        .args(&arguments)
        .current_dir(files.path())
        .env_clear()
        .env("GEARHOUSE_OPT_HTTP", "off")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", how.program.display()));
    let log = Arc::new(Mutex::new(Vec::new()));
    let reader = std::thread::spawn({
        let (log, mut stderr) = (log.clone(), child.stderr.take().expect("standard error is piped"));
        move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                log.lock().expect(UNHARMED).extend_from_slice(&chunk[..n]);
            }
        }
    });
    let address = SocketAddr::new(address.ip(), port);
    let mut server = Server { child, address, log, reader: Some(reader), _files: files };
    let deadline = now() + PATIENCE;
    loop {
        let listening = listening_sockets(address);
        if server.owns_any(&listening) {
            return Some(server);
        }
        if !listening.is_empty() {
            return None;
        }
        if !server.is_running() {
            // The reader ends with the process: after it the log is complete.
            server.reader.take().map(JoinHandle::join);
            let log = server.log().to_lowercase();
            assert!(log.contains("in use"), "the server ended at once; it was called with {arguments:?}");
            return None;
        }
        assert!(now() < deadline, "the server does not accept on {address} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port nobody has now, and that this process has not given out before.
fn free_port(address: SocketAddr) -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let listener = TcpListener::bind(SocketAddr::new(address.ip(), 0)).expect("no free port");
        let port = listener.local_addr().expect("a bound address").port();
        if GIVEN.lock().expect(UNHARMED).insert(port) {
            return port;
        }
    }
}

/// The sockets that listen on this port, as the system numbers them. Asking the system rather than the server leaves
/// no connection behind that a listing could show, and tells this server from another on the same port.
fn listening_sockets(address: SocketAddr) -> Vec<String> {
    let table = if address.is_ipv6() { "/proc/net/tcp6" } else { "/proc/net/tcp" };
    let table = BufReader::new(File::open(table).expect("Linux's table of sockets"));
    let port = format!(":{:04X}", address.port());
    let lines = table.lines().skip(1).map(|line| line.expect("Linux's table of sockets"));
    let rows = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    // Those that listen come first; behind them another test may have thousands.
    let listening = rows.take_while(|row| row[3] == "0A");
    listening.filter(|row| row[1].ends_with(&port)).map(|row| format!("socket:[{}]", row[9])).collect()
}
