//! The ways of jobs through the server whose instructions are counted.

use std::collections::VecDeque;

use bytes::Bytes;
use gearhouse::protocol::{Frame, Kind};

use crate::server::{Peer, Server};
use crate::support::{can_do, complete, grab, pre_sleep, read, submit};

/// Jobs that are counted. As many go the same way before, so that memory and tables are there already.
pub const JOBS: u64 = 1024;

/// Submits in a read of a client that has many.
const BATCH: u64 = 64;

/// A way, with what stands beside it.
pub struct Path {
    /// What its figure is stored under.
    pub name: &'static str,
    way: fn(&mut Script),
    /// Jobs that wait all the while.
    queued: u64,
    unique: bool,
    /// Functions of the worker.
    abilities: usize,
    /// Workers that sleep.
    sleepers: usize,
}

const SUBMIT: Path =
    Path { name: "", way: Script::submit, queued: 1000, unique: false, abilities: 1, sleepers: 0 };
const WORK: Path = Path { way: Script::work, ..SUBMIT };

/// All of them.
pub const PATHS: [Path; 11] = [
    Path { name: "submit-1k", ..SUBMIT },
    Path { name: "submit-100k", queued: 100_000, ..SUBMIT },
    Path { name: "submit-unique-1k", unique: true, ..SUBMIT },
    Path { name: "submit-unique-100k", queued: 100_000, unique: true, ..SUBMIT },
    Path { name: "work-1k", ..WORK },
    Path { name: "work-100k", queued: 100_000, ..WORK },
    Path { name: "work-unique-1k", unique: true, ..WORK },
    Path { name: "work-unique-100k", queued: 100_000, unique: true, ..WORK },
    Path { name: "work-20k-abilities", abilities: 20_000, ..WORK },
    Path { name: "round-trip", way: Script::round_trip, queued: 0, ..SUBMIT },
    Path { name: "wake-one-of-1000", way: Script::wake, queued: 0, abilities: 0, sleepers: 1000, ..SUBMIT },
];

/// Goes the way of that name.
pub fn run(name: &str) {
    let path = PATHS.iter().find(|path| path.name == name).expect("the caller names one of them");
    let mut script = Script::new(path);
    let mut server = Server::new();
    let mut peers: Vec<Peer> = (0..=WORKER + path.sleepers).map(|_| server.connect()).collect();
    for is_rehearsal in [true, false] {
        (path.way)(&mut script);
        for (peer, bytes, counts) in script.reads.drain(..) {
            let peer = &mut peers[peer];
            if counts && !is_rehearsal {
                counted(&mut server, peer, &bytes)
            } else {
                server.read(peer, &bytes)
            }
        }
    }
    // A way that was not gone would look cheap.
    let row = format!("function-0\t{}\t", path.queued);
    assert!(server.status().contains(&row), "{name}: jobs were not done:\n{}", server.status());
}

/// Valgrind counts what happens between entering and leaving this function, see [`crate::counts`].
#[inline(never)]
fn counted(server: &mut Server, peer: &mut Peer, read: &[u8]) {
    server.read(peer, read);
}

const CLIENT: usize = 0;
const WORKER: usize = 1;

/// What peers send, written down before it is counted: which connection, one read of it, and whether it counts.
struct Script {
    reads: Vec<(usize, Bytes, bool)>,
    unique: bool,
    /// The last number that the engine gave out: to a job, or to a sleeper's place in its line.
    number: u64,
    /// Jobs that wait, first served first.
    waiting: VecDeque<u64>,
    /// Workers that sleep, first woken first.
    asleep: VecDeque<usize>,
}

impl Script {
    fn new(path: &Path) -> Self {
        let mut script = Self {
            reads: Vec::new(),
            unique: path.unique,
            number: 0,
            waiting: VecDeque::new(),
            asleep: VecDeque::new(),
        };
        script.says(WORKER, (0..path.abilities).map(can_do), false);
        for sleeper in WORKER..WORKER + path.sleepers {
            script.says(sleeper, [can_do(0)], false);
            script.sleeps(sleeper, false);
        }
        for _ in 0..path.queued {
            script.submits(Kind::SubmitJobBg, 1, false);
        }
        script
    }

    fn says(&mut self, peer: usize, packets: impl IntoIterator<Item = Frame>, counts: bool) {
        self.reads.push((peer, read(packets), counts));
    }

    fn submits(&mut self, kind: Kind, jobs: u64, counts: bool) {
        let numbers = self.number + 1..=self.number + jobs;
        let unique = self.unique;
        self.says(CLIENT, numbers.clone().map(|number| submit(kind, 0, unique.then_some(number))), counts);
        self.number += jobs;
        self.waiting.extend(numbers);
    }

    fn ends(&mut self) -> Frame {
        complete(self.waiting.pop_front().expect("a job was submitted before"))
    }

    fn sleeps(&mut self, worker: usize, counts: bool) {
        self.says(worker, [pre_sleep()], counts);
        self.number += 1;
        self.asleep.push_back(worker);
    }

    /// A client submits background jobs, many in a read. What it adds is taken away again.
    fn submit(&mut self) {
        self.batches(true, false);
    }

    /// A worker ends its job and asks for the next in one read. What it takes away is added before.
    fn work(&mut self) {
        self.batches(false, true);
    }

    fn batches(&mut self, count_submits: bool, count_work: bool) {
        for _ in 0..JOBS / BATCH {
            self.submits(Kind::SubmitJobBg, BATCH, count_submits);
            self.says(WORKER, [grab()], count_work);
            for _ in 1..BATCH {
                let end = self.ends();
                self.says(WORKER, [end, grab()], count_work);
            }
            let end = self.ends();
            self.says(WORKER, [end], count_work);
        }
    }

    /// A client waits for a job that a worker does; every packet is a read of its own.
    fn round_trip(&mut self) {
        for _ in 0..JOBS {
            self.submits(Kind::SubmitJob, 1, true);
            self.says(WORKER, [grab()], true);
            let end = self.ends();
            self.says(WORKER, [end], true);
        }
    }

    /// A background job wakes a worker, which does it, finds no other and sleeps again.
    fn wake(&mut self) {
        for _ in 0..JOBS {
            self.submits(Kind::SubmitJobBg, 1, true);
            let worker = self.asleep.pop_front().expect("all but one sleep");
            self.says(worker, [grab()], true);
            let end = self.ends();
            self.says(worker, [end, grab()], true);
            self.sleeps(worker, true);
        }
    }
}
