//! The servers that are compared: a fresh one for each run, ended when dropped.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gearhouse::clock::Stopwatch;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tempfile::TempDir;

pub const OURS: &str = "gearhouse";

/// The gearmands of which the better one counts, for each figure.
pub const RIVALS: [&str; 2] = ["gearmand-t1", "gearmand-t4"];

/// gearmand that wakes one worker for a job.
pub const WAKES_ONE: &str = "gearmand-t4-w1";

/// gearmand with tables made for a million jobs.
pub const BIG_TABLES: &str = "gearmand-t4-buckets";

const GEARMAND: &str = "-L 127.0.0.1 -p {port} -l none -P {dir}/pid -b 1024";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server that can be started.
pub struct Server {
    pub name: String,
    /// Words with `{port}` and `{dir}` in them.
    command: String,
    /// Parts of names of scenarios that it runs; none: all.
    only: &'static [&'static str],
}

impl Server {
    /// Those that are found on this machine.
    pub fn all(gearhouse: &Path) -> Vec<Server> {
        let serve = "serve --http off --listen 127.0.0.1:{port} --store memory";
        let mut servers = vec![Server::new(OURS, format!("{} {serve}", gearhouse.display()), &[])];
        let Some(gearmand) = find_gearmand() else { return servers };
        let options: [(&str, &str, &'static [&'static str]); 4] = [
            (RIVALS[0], "-t 1", &[]),
            (RIVALS[1], "-t 4", &[]),
            (WAKES_ONE, "-t 4 -w 1", &["herd", "sleepers"]),
            (BIG_TABLES, "-t 4 --hashtable-buckets 1000003", &["depth", "submit-1c"]),
        ];
        servers.extend(options.map(|(name, options, only)| {
            Server::new(name, format!("{} {options} {GEARMAND}", gearmand.display()), only)
        }));
        servers
    }

    /// One that was named on the command line: `NAME=COMMAND`.
    pub fn parse(text: &str) -> Result<(String, String), String> {
        match text.split_once('=') {
            Some((name, command)) if command.contains("{port}") => Ok((name.into(), command.into())),
            _ => Err("NAME=COMMAND is wanted, with {port} where the port goes".into()),
        }
    }

    pub fn new(name: &str, command: String, only: &'static [&'static str]) -> Server {
        Server { name: name.to_owned(), command, only }
    }

    pub fn runs(&self, scenario: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| scenario.contains(part))
    }

    /// Starts it on a free port and waits until it answers.
    pub fn start(&self) -> Result<Running, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let dir = directory.path().display().to_string();
        let mut words = self
            .command
            .split_whitespace()
            .map(|w| w.replace("{port}", &port.to_string()).replace("{dir}", &dir));
        let log = directory.path().join("log");
        let child = Command::new(words.next().unwrap_or_default())
            .args(words)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.command))?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut running = Running { child, address, _directory: directory };
        let watch = Stopwatch::start();
        while TcpStream::connect(address).is_err() {
            if running.child.try_wait()?.is_some() || watch.elapsed() > PATIENCE {
                return Err(format!("{} does not start:\n{}", self.name, fs::read_to_string(&log)?).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }
}

/// The C server; Perl's of the same name is a script.
fn find_gearmand() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join("gearmand")).find(|file| {
        let mut start = [0; 2];
        File::open(file).and_then(|mut file| io::Read::read_exact(&mut file, &mut start)).is_ok()
            && start != *b"#!"
    })
}

/// A server that runs.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    _directory: TempDir,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself if this fails, which its scenario has seen.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// While it lives, this thread and what it starts run on one processor.
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// The last processor that this process may use.
    pub fn to_one() -> nix::Result<Pinned> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        let last = (0..CpuSet::count()).rev().find(|cpu| before.is_set(*cpu) == Ok(true)).unwrap_or(0);
        let mut one = CpuSet::new();
        one.set(last)?;
        sched_setaffinity(Pid::from_raw(0), &one)?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}
