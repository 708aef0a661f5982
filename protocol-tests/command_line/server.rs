//! `gearhouse serve` on a port that the system chose and the log told.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use gearhouse::client::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::run::{Ended, Running, end, eventually, gearhouse};
use crate::support::{PATIENCE, now};

/// A running server, killed at the end of the test at the latest.
pub struct Server {
    child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
    pub address: String,
    _files: tempfile::TempDir,
}

impl Server {
    /// With these options, on the loopback.
    pub fn start(options: &[&str]) -> Server {
        Server::from(gearhouse(&["serve", "--listen", "127.0.0.1:0"]).args(options))
    }

    /// By this command, which must log where it listens, in a directory of its own.
    #[track_caller]
    pub fn from(command: &mut Command) -> Server {
        let files = tempfile::tempdir().expect("a directory for the server");
        command.current_dir(files.path());
        let mut child = command.spawn().expect("start the server");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let log: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let for_reader = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                for_reader.0.lock().unwrap().push(line);
                for_reader.1.notify_all();
            }
        });
        let mut server = Server { child, log, address: String::new(), _files: files };
        let line = server.logged("listening on ");
        let (_, address) = line.split_once("listening on ").expect("what was waited for");
        server.address = address.trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned();
        server
    }

    /// The first line of the log with this in it, waited for.
    #[track_caller]
    pub fn logged(&self, what: &str) -> String {
        let deadline = now() + PATIENCE;
        let mut lines = self.log.0.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(what)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(now());
            assert!(!left.is_zero(), "the server never logged {what:?}, but {lines:#?}");
            lines = self.log.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// All lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the server is there");
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the server ends", || {
            ended = self.child.try_wait().expect("wait for it");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    /// A connection to speak the protocol by hand.
    pub fn client(&self) -> Client {
        Client::connect(&[self.address.parse().unwrap()]).expect("connect to the server")
    }

    /// `gearhouse` with these arguments, at this server.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = gearhouse(args);
        command.env("GEARHOUSE_OPT_SERVER", &self.address);
        command
    }

    /// The same, run to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ended {
        self.run_with(args, b"")
    }

    /// The same, with input.
    #[track_caller]
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Ended {
        end(&mut self.command(args), input)
    }

    /// A worker whose jobs are done by a shell script.
    pub fn work(&self, function: &str, options: &[&str], script: &str) -> Running {
        let mut command = self.command(&["work", function]);
        Running::start(command.args(options).args(["--", "sh", "-c", script]))
    }

    /// How many jobs the function has; none if it does not exist.
    #[track_caller]
    pub fn jobs(&self, function: &str) -> u64 {
        self.status(function)["jobs"].as_u64().unwrap_or(0)
    }

    /// What `admin status` tells of a function; null if it is not listed.
    #[track_caller]
    pub fn status(&self, function: &str) -> serde_json::Value {
        let list = self.json(&["admin", "status"]);
        let mut functions = list.as_array().expect("a list").iter();
        functions.find(|entry| entry["function"] == function).cloned().unwrap_or_default()
    }

    /// The answer of a command of `admin`, by `--json`.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let answer = self.run(&[args, &["--json"]].concat()).well();
        serde_json::from_str(&answer).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server's log: {:#?}", self.log());
        }
    }
}
