//! Flags that change what happens to jobs, seen by a client and workers on the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::server::{Folder, Process, Server, connect, free_port, wait_for};

const CAN_DO: u32 = 1;
const PRE_SLEEP: u32 = 4;
const NOOP: u32 = 6;
const SUBMIT_JOB: u32 = 7;
const JOB_CREATED: u32 = 8;
const GRAB_JOB: u32 = 9;
const NO_JOB: u32 = 10;
const JOB_ASSIGN: u32 = 11;
const WORK_COMPLETE: u32 = 13;
const WORK_FAIL: u32 = 14;
const ECHO_REQ: u32 = 16;
const ECHO_RES: u32 = 17;
const SUBMIT_JOB_BG: u32 = 18;
const WORK_EXCEPTION: u32 = 25;

/// A client or worker.
struct Peer(TcpStream);

impl Peer {
    fn new(server: &Server<'_>) -> Self {
        Self(server.connect())
    }

    /// A worker for function `f`.
    fn worker(server: &Server<'_>) -> Self {
        let mut worker = Self::new(server);
        worker.send(CAN_DO, &["f"]);
        worker
    }

    fn send(&mut self, kind: u32, args: &[&str]) {
        let body = args.join("\0");
        let mut packet = b"\0REQ".to_vec();
        packet.extend(kind.to_be_bytes());
        packet.extend((body.len() as u32).to_be_bytes());
        packet.extend(body.as_bytes());
        self.0.write_all(&packet).unwrap();
    }

    fn receive(&mut self) -> (u32, String) {
        let mut header = [0; 12];
        self.0.read_exact(&mut header).unwrap();
        assert_eq!(&header[..4], b"\0RES");
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; number(8) as usize];
        self.0.read_exact(&mut body).unwrap();
        (number(4), String::from_utf8(body).unwrap())
    }

    /// Submits a job for `f` and returns its handle.
    fn submit(&mut self, kind: u32) -> String {
        self.send(kind, &["f", "", "data"]);
        let (kind, handle) = self.receive();
        assert_eq!(kind, JOB_CREATED);
        handle
    }

    /// Grabs the job that must be there and returns its handle.
    fn grab(&mut self) -> String {
        self.send(GRAB_JOB, &[]);
        let (kind, body) = self.receive();
        assert_eq!(kind, JOB_ASSIGN);
        body.split('\0').next().unwrap().to_owned()
    }

    fn sleep(&mut self) {
        self.send(PRE_SLEEP, &[]);
        self.settle();
    }

    /// Waits until the server has taken what was sent, and counts the NOOPs that came before the answer.
    fn settle(&mut self) -> usize {
        self.send(ECHO_REQ, &["settled"]);
        let mut noops = 0;
        loop {
            match self.receive() {
                (NOOP, _) => noops += 1,
                (ECHO_RES, _) => return noops,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Asks in the text protocol.
    fn ask(&mut self, command: &str) -> String {
        self.0.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

#[test]
fn exceptions_reach_clients_that_did_not_ask_only_with_exceptions() {
    for (args, expected) in [(&["--exceptions"][..], WORK_EXCEPTION), (&[], WORK_FAIL)] {
        let folder = Folder::new();
        let server = folder.start(args);
        let (mut client, mut worker) = (Peer::new(&server), Peer::worker(&server));
        client.submit(SUBMIT_JOB);
        let handle = worker.grab();
        worker.send(WORK_EXCEPTION, &[&handle, "broken"]);
        assert_eq!(client.receive().0, expected, "{args:?}");
    }
}

#[test]
fn job_retries_counts_attempts() {
    for attempts in [1, 2] {
        let folder = Folder::new();
        let server = folder.start(&["--job-retries", &attempts.to_string()]);
        let mut client = Peer::new(&server);
        let handle = client.submit(SUBMIT_JOB);
        for _ in 0..attempts {
            let mut worker = Peer::worker(&server);
            wait_for("the job to be there again", || {
                worker.send(GRAB_JOB, &[]);
                (worker.receive().0 == JOB_ASSIGN).then_some(())
            });
        }
        assert_eq!(client.receive(), (WORK_FAIL, handle), "after {attempts} lost workers");
    }
}

#[test]
fn job_retries_0_and_minus_1_hand_a_job_out_again_and_again() {
    for value in ["0", "-1"] {
        let folder = Folder::new();
        let server = folder.start(&["-j", value]);
        let mut client = Peer::new(&server);
        let handle = client.submit(SUBMIT_JOB);
        for round in 0..5 {
            let mut worker = Peer::worker(&server);
            wait_for("the job to be there again", || {
                worker.send(GRAB_JOB, &[]);
                (worker.receive().0 == JOB_ASSIGN).then_some(())
            });
            if round == 4 {
                worker.send(WORK_COMPLETE, &[&handle, "done"]);
                assert_eq!(client.receive(), (WORK_COMPLETE, format!("{handle}\0done")));
            }
        }
    }
}

#[test]
fn worker_wakeup_says_how_many_sleepers_a_job_wakes() {
    for (args, woken) in [(&["-w", "0"][..], 3), (&["-w", "2"], 2), (&["-w", "1"], 1), (&[], 1)] {
        let folder = Folder::new();
        let server = folder.start(args);
        let mut workers: Vec<_> = (0..3).map(|_| Peer::worker(&server)).collect();
        workers.iter_mut().for_each(Peer::sleep);
        Peer::new(&server).submit(SUBMIT_JOB_BG);
        let noops: usize = workers.iter_mut().map(Peer::settle).sum();
        assert_eq!(noops, woken, "{args:?}");
    }
}

#[test]
fn handles_start_with_the_prefix_or_with_the_hosts_name() {
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let default = format!("H:{}", host.chars().take(40).collect::<String>());
    for (args, prefix) in [(&["--job-handle-prefix=H:here"][..], "H:here"), (&[], &default)] {
        let folder = Folder::new();
        let server = folder.start(args);
        let handle = Peer::new(&server).submit(SUBMIT_JOB_BG);
        let (start, number) = handle.rsplit_once(':').unwrap();
        assert_eq!(start, prefix);
        assert!(number.parse::<u64>().is_ok(), "{handle}");
    }
}

#[test]
fn the_text_protocol_tells_version_level_and_process() {
    let folder = Folder::new();
    let server = folder.start(&["--round-robin"]);
    let mut peer = Peer::new(&server);
    assert_eq!(peer.ask("version"), format!("OK {}\n", gearhouse::gearmand::VERSION));
    assert_eq!(peer.ask("verbose"), "OK INFO\n");
    assert_eq!(peer.ask("getpid"), format!("OK {}\n", server.pid()));
}

#[test]
fn submits_leave_a_line_for_accounting_from_notice_on() {
    for (level, logged) in [("WARNING", 0), ("NOTICE", 2), ("DEBUG", 2)] {
        let folder = Folder::new();
        let (mut process, mut client) = start_at(&folder, level, "log", Stdio::null());
        for function in ["reverse", "two\nlines"] {
            client.send(SUBMIT_JOB_BG, &[function, "id,1", "data"]);
            assert_eq!(client.receive().0, JOB_CREATED);
        }
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait().code(), Some(0));
        let log = folder.read("log");
        let lines: Vec<_> = log.lines().filter(|line| line.contains("accepted,")).collect();
        assert_eq!(lines.len(), logged, "{level}:\n{log}");
        if let [first, second] = lines[..] {
            assert!(first.starts_with(" NOTICE ") && first.contains(" accepted,reverse,id,1,0"), "{first}");
            assert!(second.contains(r" accepted,two\x0alines,id,1,0"), "{second}");
        }
    }
}

#[test]
fn a_log_nobody_reads_does_not_stop_the_server() {
    let folder = Folder::new();
    let (_unread, writer) = std::io::pipe().unwrap();
    let (mut process, mut client) = start_at(&folder, "NOTICE", "stderr", writer.into());
    // Each leaves a line of some 80 bytes; a pipe holds 64 KiB, and lines are queued up to a number below this one.
    for _ in 0..100 {
        for _ in 0..200 {
            client.send(SUBMIT_JOB_BG, &["f", "", "data"]);
        }
        for _ in 0..200 {
            assert_eq!(client.receive().0, JOB_CREATED);
        }
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
}

/// A server that does not log where it listens, and a client of it.
fn start_at(folder: &Folder, level: &str, log: &str, stderr: Stdio) -> (Process, Peer) {
    let port = free_port();
    let name = port.to_string();
    let args = ["-L", "127.0.0.1", "-p", &name, "-l", log, "-P", "pid", "--verbose", level];
    let process = Process::start(folder.command(&args).stderr(stderr));
    let stream = wait_for("the server", || connect(([127, 0, 0, 1], port).into()).ok());
    (process, Peer(stream))
}

#[test]
fn usr1_lets_connected_clients_and_workers_finish_and_nobody_new_in() {
    let folder = Folder::new();
    let mut server = folder.start(&[]);
    let (mut client, mut worker) = (Peer::new(&server), Peer::worker(&server));
    let handle = client.submit(SUBMIT_JOB);
    server.signal(Signal::SIGUSR1);
    wait_for("the socket to be closed", || TcpStream::connect(server.address).is_err().then_some(()));
    assert_eq!(worker.grab(), handle);
    assert!(server.is_running());
    worker.send(WORK_COMPLETE, &[&handle, "done"]);
    assert_eq!(client.receive(), (WORK_COMPLETE, format!("{handle}\0done")));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn term_cuts_running_jobs_off_at_once() {
    let folder = Folder::new();
    let mut server = folder.start(&[]);
    let (mut client, mut worker) = (Peer::new(&server), Peer::worker(&server));
    client.submit(SUBMIT_JOB);
    worker.grab();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn without_a_job_there_is_none_to_grab() {
    let folder = Folder::new();
    let server = folder.start(&[]);
    let mut worker = Peer::worker(&server);
    worker.send(GRAB_JOB, &[]);
    assert_eq!(worker.receive().0, NO_JOB);
}
