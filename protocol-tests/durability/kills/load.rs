//! Clients, workers and an operator, each on a connection of its own, that go on until the server is gone.
//!
//! What each of them did and was told is returned in its own order; nothing is known of the order between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

use fastrand::Rng;

use super::job::{Origin, Payload, Submit};
use super::operator;
use super::submitter;
use super::worker;

/// Functions that workers serve and clients submit to.
pub const FUNCTIONS: [&str; 4] = ["mail", "resize", "resize.large", "index"];

/// What one of them did.
#[derive(Clone, Debug)]
pub enum Event {
    /// A job was submitted.
    Submitted(Submit, Answer),
    /// A worker was handed a job that says this of itself.
    Taken(u64, Origin),
    /// A worker left a GRAB_JOB behind whose answer it did not read.
    Abandoned,
    /// A worker asked, and there was nothing.
    Nothing,
    /// A worker sent the end of a job. `sealed`: something that came later in the log was acknowledged.
    Ended { number: u64, sealed: bool },
    /// An operator cancelled a job.
    Cancelled(u64, Answer),
    /// An operator limited a function's queue.
    Limited { function: String, limit: u32, answer: Answer },
    /// An operator made a function, or dropped it.
    Pinned { function: String, made: bool, answer: Answer },
    /// A recurring job was declared.
    Scheduled { unique: String, fields: [String; 5], answer: Answer },
}

/// What the server said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Acknowledged, with the number of the handle if there is one, else 0.
    Yes(u64),
    No,
    /// Nothing, before it was gone.
    None,
}

/// All that runs against one life of a server.
pub struct Load {
    threads: Vec<JoinHandle<Vec<Event>>>,
    stop: Arc<AtomicBool>,
}

/// What every part of the load is given.
pub struct Part {
    pub address: SocketAddr,
    pub random: Rng,
    pub stop: Arc<AtomicBool>,
    /// The next token of its own.
    pub token: u64,
    /// Handles of jobs that were there when the load began.
    pub known: Arc<Vec<String>>,
}

impl Part {
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// Whether something of this chance, in a hundred, happens.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }
}

impl Load {
    /// Begins a load that follows from the seed, as far as chance and the system allow. `life` numbers the lives of
    /// one data directory.
    pub fn start(address: SocketAddr, seed: u64, life: u64, known: Vec<String>) -> Load {
        let mut random = Rng::with_seed(seed);
        let stop = Arc::new(AtomicBool::new(false));
        let known = Arc::new(known);
        let (clients, workers) = (random.usize(1..5), random.usize(0..3));
        let mut plays: Vec<fn(Part) -> Vec<Event>> = vec![submitter::play; clients];
        plays.extend(vec![worker::play as fn(Part) -> Vec<Event>; workers]);
        plays.push(operator::play);
        let threads = plays.into_iter().enumerate().map(|(index, play)| {
            let part = Part {
                address,
                random: random.fork(),
                stop: stop.clone(),
                token: life << 32 | (index as u64) << 24,
                known: known.clone(),
            };
            std::thread::spawn(move || play(part))
        });
        Load { threads: threads.collect(), stop }
    }

    /// Tells all to end by themselves, and returns what they did.
    pub fn stop(self) -> Vec<Vec<Event>> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Returns what they did once the server is gone.
    pub fn finish(self) -> Vec<Vec<Event>> {
        let played = self.threads.into_iter().map(JoinHandle::join);
        played.map(|events| events.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    }
}

/// Seconds since the epoch.
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Sizes as they come in the field: mostly small, now and then large, sometimes nothing.
pub fn payload(part: &mut Part) -> Payload {
    match part.random.u32(..100) {
        0..6 => Payload::Empty,
        6..80 => Payload::Own(part.random.usize(..200)),
        80..97 => Payload::Own(part.random.usize(..6000)),
        _ => Payload::Own(part.random.usize(..100 << 10)),
    }
}
