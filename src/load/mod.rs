//! A load generator for Gearman servers: what `gearhouse bench` and the comparison in `benches/compare` drive.
//!
//! One thread plays all clients and workers. Everything that comes back is checked: handles, payloads, names, unique
//! ids, and that each job is handed out once and answered once.

mod book;
mod client;
mod process;
mod wires;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;

use self::book::Book;
use self::client::Client;
use self::wires::Wires;
use self::worker::Worker;
use crate::client::{ClientError, refused};
use crate::clock::Stopwatch;
use crate::protocol::{BadHeader, Frame, HEADER_LEN, Header, Kind, Magic};

pub use self::book::Tally;
pub use self::process::processor_time;

/// What jobs look like, and how many are on their way at once.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The server; the first that answers counts.
    pub addresses: Vec<SocketAddr>,
    /// Functions, which jobs are of in turn, and which each worker offers.
    pub functions: Vec<String>,
    /// Bytes of each job, [`Setup::LEAST_PAYLOAD`] to [`Setup::MOST_PAYLOAD`].
    pub payload: usize,
    /// Unique ids of the jobs.
    pub unique: Unique,
    /// What clients ask.
    pub ask: Ask,
    /// How many requests each client has on their way.
    pub outstanding: usize,
    /// How workers ask for a job: [`Kind::GrabJob`] or [`Kind::GrabJobUniq`].
    pub grab: Kind,
    /// How many jobs each worker asks for at once.
    pub grabs: usize,
}

impl Setup {
    /// A payload carries the number of its job.
    pub const LEAST_PAYLOAD: usize = 8;

    /// A packet holds no more than 4 GiB.
    pub const MOST_PAYLOAD: usize = 1 << 30;
}

/// Unique ids of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique {
    /// None.
    Empty,
    /// One for each job.
    Each,
    /// So many that come again and again: while all jobs are queued, these are all there are.
    Of(u64),
}

/// What clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Bytes that come back.
    Echo,
    /// Jobs whose results no one waits for: their acknowledgement is the answer.
    Background,
    /// Jobs whose result is the answer.
    Foreground,
}

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No connection.
    #[error("cannot connect to the server: {0}")]
    Connect(io::Error),
    /// A connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The server refused, or spoke something else.
    #[error(transparent)]
    Answer(#[from] ClientError),
    /// The server gave an answer that is not true.
    #[error("the server is wrong: {0}")]
    Wrong(String),
}

impl From<BadHeader> for LoadError {
    fn from(bad: BadHeader) -> LoadError {
        ClientError::from(bad).into()
    }
}

#[derive(Debug)]
enum Role {
    Client(Client),
    Worker(Worker),
}

/// The connections and the jobs between them.
#[derive(Debug)]
pub struct Load {
    wires: Wires,
    /// What each connection is, by its number.
    roles: Vec<Role>,
    book: Book,
    watch: Stopwatch,
}

impl Load {
    /// A load without connections.
    pub fn new(setup: Setup) -> Result<Load, LoadError> {
        let wires = Wires::new().map_err(LoadError::Broken)?;
        Ok(Load { wires, roles: Vec::new(), book: Book::new(setup), watch: Stopwatch::start() })
    }

    /// Connects so many clients. They ask nothing before [`Load::allow`].
    pub fn connect_clients(&mut self, count: usize) -> Result<(), LoadError> {
        for _ in 0..count {
            let wire = self.wires.connect(&self.book.setup.addresses)?;
            self.roles.push(Role::Client(Client::new(wire)));
        }
        Ok(())
    }

    /// Connects so many workers, which say what they can do. They take no jobs before [`Load::grab`].
    pub fn connect_workers(&mut self, count: usize) -> Result<(), LoadError> {
        for _ in 0..count {
            let wire = self.wires.connect(&self.book.setup.addresses)?;
            let mut worker = Worker::default();
            worker.introduce(&self.book, self.wires.output(wire));
            self.roles.push(Role::Worker(worker));
        }
        Ok(())
    }

    /// Ends all connections. Jobs that are queued at the server are still known.
    pub fn disconnect(&mut self) -> Result<(), LoadError> {
        self.wires = Wires::new().map_err(LoadError::Broken)?;
        self.roles.clear();
        Ok(())
    }

    /// From now on clients ask this.
    pub fn ask(&mut self, ask: Ask) {
        self.book.setup.ask = ask;
    }

    /// Clients send so many requests more, each as many at once as the setup says.
    pub fn allow(&mut self, requests: u64) {
        self.book.allowed = requests;
        self.fill();
    }

    /// Clients wait while so many jobs are queued.
    pub fn bound_queue(&mut self, jobs: u64) {
        self.book.queue_bound = jobs;
    }

    /// Sends one request over the client of this index; its time counts from `due`.
    pub fn ask_one(&mut self, client: usize, due: Duration) {
        let mut clients = self.roles.iter_mut().enumerate().filter_map(|(wire, role)| match role {
            Role::Client(client) => Some((wire, client)),
            Role::Worker(_) => None,
        });
        if let Some((wire, client)) = clients.nth(client) {
            client.ask(&mut self.book, due, self.wires.output(wire));
        }
    }

    /// Workers take so many jobs more; those that are asleep go on sleeping until they are woken.
    pub fn grab(&mut self, jobs: u64) {
        self.book.now = self.watch.elapsed();
        self.book.grabs_allowed = jobs;
        for (wire, role) in self.roles.iter_mut().enumerate() {
            if let Role::Worker(worker) = role {
                worker.grab(&mut self.book, self.wires.output(wire));
            }
        }
    }

    /// Sends, waits for what comes at most so long, and deals with it.
    pub fn turn(&mut self, patience: Duration) -> Result<(), LoadError> {
        let Load { wires, roles, book, watch } = self;
        wires.turn(patience, |wire, bytes, out| {
            book.now = watch.elapsed();
            let mut rest = bytes;
            while let Some((kind, body, after)) = next_packet(rest)? {
                rest = after;
                match &mut roles[wire] {
                    Role::Client(client) => client.receive(book, kind, body)?,
                    Role::Worker(worker) => worker.receive(book, kind, body, out)?,
                }
            }
            if let Role::Client(client) = &mut roles[wire] {
                client.fill(book, out);
            }
            Ok(bytes.len() - rest.len())
        })?;
        if self.book.queue_bound < u64::MAX {
            self.fill();
        }
        Ok(())
    }

    /// Goes on until this is so, or so long. Whether it is.
    pub fn run(
        &mut self,
        at_most: Duration,
        mut until: impl FnMut(&Load) -> bool,
    ) -> Result<bool, LoadError> {
        let end = self.watch.elapsed().saturating_add(at_most);
        loop {
            if until(self) {
                return Ok(true);
            }
            let now = self.watch.elapsed();
            if now >= end {
                return Ok(false);
            }
            self.turn((end - now).min(Duration::from_millis(20)))?;
        }
    }

    /// Time since the load was made, which [`Load::ask_one`] counts in.
    pub fn now(&self) -> Duration {
        self.watch.elapsed()
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        self.book.tally
    }

    /// Jobs that were submitted and not yet worked.
    pub fn queued(&self) -> u64 {
        self.book.queued()
    }

    /// Whether all workers have found no job and gone to sleep.
    pub fn is_asleep(&self) -> bool {
        self.workers().all(Worker::is_asleep)
    }

    /// Whether no worker waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.workers().all(Worker::is_idle)
    }

    /// Whether the server has heard what all workers can do.
    pub fn is_introduced(&self) -> bool {
        self.workers().all(Worker::is_introduced)
    }

    /// Microseconds from requests to their answers since [`Load::forget_times`].
    pub fn answer_times(&self) -> &Histogram<u64> {
        &self.book.answer_times
    }

    /// Microseconds that workers waited for a job since [`Load::forget_times`].
    pub fn grab_times(&self) -> &Histogram<u64> {
        &self.book.grab_times
    }

    /// Begins to measure times anew.
    pub fn forget_times(&mut self) {
        self.book.answer_times.reset();
        self.book.grab_times.reset();
    }

    /// Looks whether the jobs that are queued have handles of their own.
    pub fn check_handles(&self) -> Result<(), LoadError> {
        self.book.check_handles()
    }

    /// Where more can be waited for between the connections; what comes is not read.
    pub fn registry(&self) -> &mio::Registry {
        self.wires.registry()
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.roles.iter().filter_map(|role| match role {
            Role::Worker(worker) => Some(worker),
            Role::Client(_) => None,
        })
    }

    fn fill(&mut self) {
        self.book.now = self.watch.elapsed();
        for (wire, role) in self.roles.iter_mut().enumerate() {
            if let Role::Client(client) = role {
                client.fill(&mut self.book, self.wires.output(wire));
            }
        }
    }
}

/// A packet's kind and body, and what comes after it.
type Split<'a> = (Kind, &'a [u8], &'a [u8]);

/// Splits the first packet off, if it has come wholly.
fn next_packet(bytes: &[u8]) -> Result<Option<Split<'_>>, LoadError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let header = Header::parse(header)?;
    Ok(rest.split_at_checked(header.body_len as usize).map(|(body, after)| (header.kind, body, after)))
}

/// Appends a request with these arguments.
fn put(out: &mut Vec<u8>, kind: Kind, arguments: &[&[u8]]) {
    let length: usize = arguments.iter().map(|argument| argument.len() + 1).sum();
    let body_len = u32::try_from(length.saturating_sub(1)).unwrap_or(u32::MAX);
    out.extend_from_slice(&Header { magic: Magic::Request, kind, body_len }.to_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            out.push(0);
        }
        out.extend_from_slice(argument);
    }
}

/// An answer that makes no sense here, or a refusal in the server's words.
fn unexpected(kind: Kind, body: &[u8]) -> LoadError {
    LoadError::Answer(match kind {
        Kind::Error => {
            let body = Bytes::copy_from_slice(body);
            refused(&Frame { magic: Magic::Response, kind, body })
        }
        kind => ClientError::Unexpected(kind),
    })
}

fn wrong(what: impl Into<String>) -> LoadError {
    LoadError::Wrong(what.into())
}
