//! What was asked and what came of it: every job from its submit to its end.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;
use hdrhistogram::Histogram;

use super::{Ask, LoadError, Setup, Unique, wrong};

/// Counts since the load was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Requests sent.
    pub asked: u64,
    /// Requests answered: with what came back, a job's handle, or its result.
    pub answered: u64,
    /// Jobs that workers have done.
    pub worked: u64,
    /// Times that a worker was woken.
    pub noops: u64,
}

/// What clients and workers share.
#[derive(Debug)]
pub(super) struct Book {
    pub setup: Setup,
    /// When the last bytes came.
    pub now: Duration,
    pub tally: Tally,
    pub answer_times: Histogram<u64>,
    pub grab_times: Histogram<u64>,
    /// Requests that may still be sent.
    pub allowed: u64,
    /// Clients wait while so many jobs are queued.
    pub queue_bound: u64,
    /// Jobs that may still be asked for.
    pub grabs_allowed: u64,
    /// The payload of the job submitted last: all differ only in the number that they begin with.
    payload: Vec<u8>,
    next: u64,
    /// Number of the oldest job that is kept; older ones have ended.
    first: u64,
    jobs: VecDeque<Job>,
    /// Jobs in the list that no worker has done.
    queued: u64,
}

#[derive(Debug)]
struct Job {
    /// Hash of its handle: 0 until one was seen.
    handle: u64,
    begun: Duration,
    client: usize,
    is_created: bool,
    is_worked: bool,
    is_awaited: bool,
}

impl Book {
    pub fn new(setup: Setup) -> Book {
        let length = setup.payload.max(Setup::LEAST_PAYLOAD);
        Book {
            payload: (0..length).map(|at| b'a' + (at % 26) as u8).collect(),
            setup,
            now: Duration::ZERO,
            tally: Tally::default(),
            answer_times: new_histogram(),
            grab_times: new_histogram(),
            allowed: 0,
            queue_bound: u64::MAX,
            grabs_allowed: 0,
            next: 0,
            first: 0,
            jobs: VecDeque::new(),
            queued: 0,
        }
    }

    pub fn may_ask(&self) -> bool {
        self.allowed > 0 && self.queued < self.queue_bound
    }

    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Notes a submission. The number of the job, which is a new one's or, if its unique id is taken, an older one's.
    pub fn submit(&mut self, client: usize, begun: Duration) -> u64 {
        let number = self.next;
        self.next += 1;
        self.payload[..Setup::LEAST_PAYLOAD].copy_from_slice(&number.to_be_bytes());
        let job = self.joined(number);
        if job == number {
            let is_awaited = self.setup.ask == Ask::Foreground;
            let (is_created, is_worked) = (false, false);
            self.jobs.push_back(Job { handle: 0, begun, client, is_created, is_worked, is_awaited });
            self.queued += 1;
        }
        job
    }

    pub fn function(&self, job: u64) -> &str {
        &self.setup.functions[(job % self.setup.functions.len() as u64) as usize]
    }

    /// The unique id of a job, as long as those that libraries draw.
    pub fn unique(&self, job: u64) -> String {
        match self.setup.unique {
            Unique::Empty => String::new(),
            Unique::Each | Unique::Of(_) => format!("{job:036}"),
        }
    }

    /// The payload of what was submitted last.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The job of a payload that came back whole. Of jobs that were joined, the server keeps the first that it saw.
    pub fn job(&self, payload: &[u8]) -> Result<u64, LoadError> {
        match payload.split_first_chunk() {
            Some((number, filler)) if filler == &self.payload[Setup::LEAST_PAYLOAD..] => {
                Ok(self.joined(u64::from_be_bytes(*number)))
            }
            _ => Err(wrong("a payload came back as another")),
        }
    }

    pub fn created(&mut self, job: u64, handle: &[u8]) -> Result<(), LoadError> {
        let entry = self.entry(job, handle)?;
        entry.is_created = true;
        self.forget_ended();
        Ok(())
    }

    pub fn worked(&mut self, job: u64, handle: &[u8]) -> Result<(), LoadError> {
        let entry = self.entry(job, handle)?;
        if entry.is_worked {
            return Err(wrong(format!("job {job} was handed out twice")));
        }
        entry.is_worked = true;
        self.queued -= 1;
        self.tally.worked += 1;
        self.forget_ended();
        Ok(())
    }

    /// A result came to this client. When the job was begun.
    pub fn completed(&mut self, job: u64, handle: &[u8], client: usize) -> Result<Duration, LoadError> {
        let entry = self.entry(job, handle)?;
        if !(entry.is_created && entry.is_worked && entry.is_awaited && entry.client == client) {
            return Err(wrong(format!("job {job} came to its end out of turn, or at another client")));
        }
        entry.is_awaited = false;
        let begun = entry.begun;
        self.forget_ended();
        Ok(begun)
    }

    pub fn answered(&mut self, begun: Duration) {
        self.tally.answered += 1;
        record(&mut self.answer_times, self.now.saturating_sub(begun));
    }

    pub fn grabbed(&mut self, begun: Duration) {
        record(&mut self.grab_times, self.now.saturating_sub(begun));
    }

    pub fn check_handles(&self) -> Result<(), LoadError> {
        let mut handles: Vec<u64> =
            self.jobs.iter().filter(|job| job.is_created).map(|job| job.handle).collect();
        let jobs = handles.len();
        handles.sort_unstable();
        handles.dedup();
        match jobs - handles.len() {
            0 => Ok(()),
            shared => Err(wrong(format!("{shared} jobs share a handle with another"))),
        }
    }

    /// The job, which must have had this handle whenever one was told.
    fn entry(&mut self, job: u64, handle: &[u8]) -> Result<&mut Job, LoadError> {
        let index = job.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(entry) = index.and_then(|index| self.jobs.get_mut(index)) else {
            return Err(wrong(format!("job {job} is over, or never was")));
        };
        let handle = FixedState::with_seed(0).hash_one(handle).max(1);
        if entry.handle == 0 {
            entry.handle = handle;
        }
        if entry.handle != handle {
            return Err(wrong(format!("job {job} has two handles")));
        }
        Ok(entry)
    }

    fn joined(&self, number: u64) -> u64 {
        match self.setup.unique {
            Unique::Of(keys) => number % keys,
            Unique::Empty | Unique::Each => number,
        }
    }

    fn forget_ended(&mut self) {
        while self.jobs.front().is_some_and(|job| job.is_created && job.is_worked && !job.is_awaited) {
            self.jobs.pop_front();
            self.first += 1;
        }
    }
}

/// Beyond an hour the histogram takes its largest value.
fn record(times: &mut Histogram<u64>, time: Duration) {
    times.saturating_record(time.as_micros() as u64);
}

/// Up to an hour, three digits.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(3_600_000_000, 3).unwrap_or_else(|_| unreachable!("these bounds are accepted"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Kind;

    fn book(unique: Unique, ask: Ask) -> Book {
        let functions = vec!["f".to_owned()];
        let (grab, addresses) = (Kind::GrabJob, Vec::new());
        Book::new(Setup { addresses, functions, payload: 20, unique, ask, outstanding: 1, grab, grabs: 1 })
    }

    fn is_wrong<T>(what: Result<T, LoadError>) -> bool {
        matches!(what, Err(LoadError::Wrong(_)))
    }

    #[test]
    fn a_job_goes_its_way_once() {
        let mut book = book(Unique::Each, Ask::Foreground);
        let job = book.submit(3, Duration::ZERO);
        let payload = book.payload().to_vec();
        assert!(is_wrong(book.completed(job, b"H:1", 3)), "a result before the job was created");
        book.created(job, b"H:1").unwrap();
        assert!(is_wrong(book.worked(job, b"H:2")), "another handle");
        book.worked(book.job(&payload).unwrap(), b"H:1").unwrap();
        assert!(is_wrong(book.worked(job, b"H:1")), "handed out twice");
        assert!(is_wrong(book.completed(job, b"H:1", 4)), "the result of another client");
        book.completed(job, b"H:1", 3).unwrap();
        assert!(is_wrong(book.completed(job, b"H:1", 3)), "a second result");
        assert_eq!((book.queued(), book.jobs.len()), (0, 0));
    }

    #[test]
    fn payloads_and_handles_are_told_apart() {
        let mut book = book(Unique::Empty, Ask::Background);
        let jobs = [book.submit(0, Duration::ZERO), book.submit(0, Duration::ZERO)];
        let mut payload = book.payload().to_vec();
        *payload.last_mut().unwrap() ^= 1;
        assert!(is_wrong(book.job(&payload)));
        book.created(jobs[0], b"H:1").unwrap();
        book.check_handles().unwrap();
        book.created(jobs[1], b"H:1").unwrap();
        assert!(is_wrong(book.check_handles()));
    }

    #[test]
    fn jobs_of_one_unique_id_are_one() {
        let mut book = book(Unique::Of(2), Ask::Background);
        let jobs = [0; 5].map(|_| book.submit(0, Duration::ZERO));
        assert_eq!((jobs, book.queued()), ([0, 1, 0, 1, 0], 2));
        assert_eq!(book.job(book.payload()).unwrap(), 0);
        book.created(0, b"H:1").unwrap();
        assert!(is_wrong(book.created(0, b"H:2")), "a job of its own");
    }
}
