//! A data directory whose server is killed, or stopped, and started again.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::{Peer, Server, kind};

/// A server and the data it keeps.
pub struct House {
    data: tempfile::TempDir,
    /// How it is started, unless it is the server under test with its own command line.
    options: Option<Vec<String>>,
    server: Option<Server>,
}

impl House {
    /// The server under test.
    pub fn new() -> House {
        let is_reference = std::env::var_os("GEARHOUSE_TEST_SERVER").is_some();
        House::open(if is_reference { None } else { Some(Vec::new()) })
    }

    /// `gearhouse serve` with these options.
    pub fn gearhouse(options: &[&str]) -> House {
        House::open(Some(options.iter().map(|option| (*option).to_owned()).collect()))
    }

    fn open(options: Option<Vec<String>>) -> House {
        let mut house = House { data: tempfile::tempdir().unwrap(), options, server: None };
        house.start();
        house
    }

    fn start(&mut self) {
        let path = self.data.path().to_str().unwrap();
        self.server = Some(match &self.options {
            Some(options) => {
                let options = options.iter().map(String::as_str);
                Server::serve(&["--data-dir", path].into_iter().chain(options).collect::<Vec<_>>())
            }
            None => {
                Server::with_flags(&["--queue-type=libsqlite3", &format!("--libsqlite3-db={path}/queue.db")])
            }
        });
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    pub fn connect(&self) -> Peer {
        self.server.as_ref().unwrap().connect()
    }

    pub fn admin(&self, command: &str) -> String {
        self.server.as_ref().unwrap().admin(command)
    }

    /// A worker for these functions.
    pub fn worker(&self, functions: &[&str]) -> Peer {
        let mut worker = self.connect();
        functions.iter().for_each(|function| worker.can_do(function));
        worker
    }

    /// What a fresh worker for these functions is handed, one job after the other, until there is no more. It gives
    /// all of it back.
    pub fn payloads(&self, functions: &[&str]) -> Vec<String> {
        let mut worker = self.worker(functions);
        let jobs = std::iter::from_fn(|| worker.grab_as(kind::GRAB_JOB_ALL));
        let payloads = jobs.map(|job| String::from_utf8_lossy(&job.data).into_owned()).collect();
        worker.leave();
        payloads
    }

    /// kill -9, and another start.
    pub fn kill(&mut self) {
        self.server = None;
        self.start();
    }

    /// SIGTERM, and another start.
    pub fn stop(&mut self) {
        let server = self.server();
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0));
        self.server = None;
        self.start();
    }

    /// Another start, after the server has ended by itself.
    pub fn start_again(&mut self) {
        self.server = None;
        self.start();
    }

    /// Sees to it that all that was said before survives a kill: an end is not waited for, but lies before what is
    /// acknowledged later.
    pub fn seal(&self) {
        self.connect().submit_bg("seal", "", b"");
    }
}
