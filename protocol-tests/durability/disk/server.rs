//! The real binary behind the shim.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::shim::Bench;
use crate::support::{Peer, eventually};

/// A server whose data directory is the bench's. Killed when dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: std::path::PathBuf,
}

impl Server {
    /// Starts one and waits until it serves.
    pub fn start(bench: &Bench) -> Server {
        Server::with(bench, false, &[])
    }

    /// The same with a trace of what it does to its files and what leaves by its sockets.
    pub fn traced(bench: &Bench) -> Server {
        Server::with(bench, true, &[])
    }

    pub fn with(bench: &Bench, records: bool, options: &[&str]) -> Server {
        let mut server = Server::try_start(bench, records, options);
        eventually("the server listens", || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", server.log());
            }
            // Accepted is not enough: while the store is read, connections wait in the system's queue.
            TcpStream::connect(server.address).ok()
        });
        server.connect().expect_nothing();
        server
    }

    /// Starts one on a disk that keeps it from reading its store, and waits until it says that it reads.
    pub fn reading(bench: &Bench) -> Server {
        let server = Server::try_start(bench, false, &[]);
        eventually("the server says that it reads its store", || {
            TcpStream::connect(server.address).ok()?;
            server.connect().admin("ready").starts_with("ERR LOADING").then_some(())
        });
        server
    }

    /// Starts one that must refuse, and says with which exit code and words.
    pub fn refusal(bench: &Bench, options: &[&str]) -> (ExitStatus, String) {
        let mut server = Server::try_start(bench, false, options);
        (server.wait(), server.log())
    }

    /// Starts one that may refuse; its exit code if it did.
    pub fn refusal_or_not(bench: &Bench) -> (Option<ExitStatus>, String) {
        let mut server = Server::try_start(bench, false, &[]);
        let status = eventually("the server serves or ends", || match server.child.try_wait().unwrap() {
            Some(status) => Some(Some(status)),
            None => TcpStream::connect(server.address).ok().filter(|_| server.serves()).map(|_| None),
        });
        (status, server.log())
    }

    /// Whether an echo comes back: before all is read, connections are accepted by the system only.
    fn serves(&self) -> bool {
        use std::io::{Read as _, Write as _};
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let mut answer = [0; 8];
        stream.write_all(b"version\n").is_ok() && stream.read(&mut answer).is_ok_and(|read| read > 0)
    }

    fn try_start(bench: &Bench, records: bool, options: &[&str]) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let log = bench.path(&format!("log-{port}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
        command.env_clear();
        bench.put_between(&mut command, records);
        command.env("DISK_SOCKETS", "1");
        command.env("GEARHOUSE_OPT_HTTP", "off");
        command.args(["serve", "--store", "sqlite", "--listen", &address.to_string(), "--data-dir"]);
        command.arg(bench.store()).args(options);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Server { child, address, log }
    }

    pub fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has logged this.
    pub fn expect_log(&self, words: &str) {
        eventually(&format!("the log says {words:?}"), || self.log().contains(words).then_some(()));
    }

    pub fn wait(&mut self) -> ExitStatus {
        eventually("the server ends", || self.child.try_wait().unwrap())
    }

    /// Ends it as an operator does.
    pub fn stop(mut self) {
        self.end();
    }

    /// The same, and how it ended.
    pub fn end(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Ends it from one moment to the next.
    pub fn kill(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}---", self.log());
        }
    }
}
