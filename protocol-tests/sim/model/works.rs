//! What becomes of a job: handed out, worked on, lost, ended.

use bytes::Bytes;
use gearhouse::engine::Output as _;
use gearhouse::protocol::{Flavor, Kind};
use gearhouse::types::{ConnId, RecordNo};

use super::super::ask::Work;
use super::super::item::first_argument;
use super::super::seen::Seen;
use super::{Job, Model, State};

/// How often a job that lost its worker returns to its old place rather than to the tail.
const KEEPS_PLACE: u32 = 2;

/// Jobs that a connection held and holds no more are remembered, so many, and what it says of them is swallowed.
const REMEMBERED: usize = 64;

impl Model {
    /// One of the best jobs, or NO_JOB if there is none.
    pub(super) fn grab(&mut self, conn: ConnId, flavor: Flavor, seen: &mut Seen) {
        self.answer_call(conn);
        let candidates = self.candidates(conn);
        if candidates.is_empty() {
            return seen.packet(conn, Kind::NoJob, b"");
        }
        let held = seen.held(conn);
        let (kind, body) = match held {
            Some(number) => (Kind::JobAssign, Bytes::from(self.handle(number))),
            None => seen.next(conn),
        };
        let handle = first_argument(&body).0;
        let index = candidates.iter().copied().find(|index| self.job_handle(*index) == handle);
        let index = index.unwrap_or_else(|| {
            let best: Vec<String> = candidates.iter().map(|index| self.job_handle(*index)).collect();
            panic!(
                "{conn} grabbed: the best is {best:?} and it was sent {} {}",
                kind.name(),
                handle.escape_ascii()
            )
        });
        // A job that will never be safe was told to no one, and runs all the same.
        let record = self.jobs[index].record;
        seen.depends_on(if seen.is_lost(RecordNo(record)) { 0 } else { record });
        if held.is_some() {
            let job = &mut self.jobs[index];
            assert!(job.kept && job.record <= seen.durable, "only what is safe leaves memory");
            job.owed = Some(flavor);
        } else {
            assert_eq!((kind, body), self.assignment(index, flavor), "the job arrives as it was submitted");
        }

        let (now, job) = (self.now, &self.jobs[index]);
        let (function, number) = (job.function.clone(), job.number.expect("it was named"));
        let abilities = &self.peer(conn).abilities;
        let timeout =
            abilities.iter().find(|ability| ability.function == function).and_then(|found| found.timeout);
        let job = self.index_of(number).map(|index| &mut self.jobs[index]).expect("it is there");
        job.state = State::Running { by: conn, deadline: timeout.map(|timeout| now.after(timeout)) };
        self.turns += 1;
        let turn = self.turns;
        let served = self.functions.iter_mut().find(|served| served.name == function);
        served.expect("functions with jobs exist").turn = turn;
    }

    pub(super) fn assignment(&self, index: usize, flavor: Flavor) -> (Kind, Bytes) {
        let job = &self.jobs[index];
        let handle = self.job_handle(index);
        let (kind, fields): (Kind, Vec<&[u8]>) = match flavor {
            Flavor::Plain => (Kind::JobAssign, vec![handle.as_bytes(), &job.function, &job.payload]),
            Flavor::All if !job.reducer.is_empty() => (
                Kind::JobAssignAll,
                vec![handle.as_bytes(), &job.function, &job.unique, &job.reducer, &job.payload],
            ),
            Flavor::Unique | Flavor::All => {
                (Kind::JobAssignUniq, vec![handle.as_bytes(), &job.function, &job.unique, &job.payload])
            }
        };
        (kind, fields.join(&0).into())
    }

    /// The jobs of which one must be handed to this connection: priority first, then the function served longest
    /// ago, then age. Several only if their functions were never served.
    pub(super) fn candidates(&self, conn: ConnId) -> Vec<usize> {
        let Some(peer) = self.peers.iter().find(|peer| peer.conn == conn).filter(|_| self.hands_out()) else {
            return Vec::new();
        };
        let turn = |name: &Bytes| {
            let function = self.functions.iter().find(|function| function.name == *name);
            function.expect("functions with jobs exist").turn
        };
        let ready: Vec<usize> = (0..self.jobs.len())
            .filter(|index| {
                self.jobs[*index].state == State::Ready && peer.can_do(&self.jobs[*index].function)
            })
            .collect();
        let rank = |index: &usize| (self.jobs[*index].priority, turn(&self.jobs[*index].function));
        let best = ready.iter().map(rank).min();
        let first = ready.iter().filter(|index| Some(rank(index)) == best);
        let is_oldest = |index: &&usize| {
            let job = &self.jobs[**index];
            let mut others = ready.iter().map(|other| &self.jobs[*other]);
            let is_before = |other: &Job| {
                other.function == job.function && other.priority == job.priority && other.place < job.place
            };
            !others.any(is_before)
        };
        first.filter(is_oldest).copied().collect()
    }

    /// To everyone who waits, if the job is this connection's; else an ERROR, or nothing if it was lately.
    pub(super) fn work(&mut self, conn: ConnId, work: &Work, seen: &mut Seen) {
        let handle = &work.handle;
        let held = (0..self.jobs.len())
            .find(|index| self.jobs[*index].is_running_by(conn) && self.job_handle(*index) == *handle);
        let Some(index) = held else {
            let texts: Vec<String> =
                self.peer(conn).ended.clone().into_iter().map(|number| self.handle(number)).collect();
            if !texts.iter().any(|text| text == handle) {
                seen.error(conn, "JOB_NOT_FOUND");
            }
            return;
        };
        let data = work.data.clone().unwrap_or_default();
        let data = match work.kind {
            Kind::WorkStatus => {
                let (numerator, denominator) = first_argument(&data);
                self.jobs[index].numbers = (number(&numerator), number(&denominator));
                let [numerator, denominator] = [numerator, denominator]
                    .map(|text| if text.is_empty() { Bytes::from_static(b"0") } else { text });
                [numerator, denominator].join(&0).into()
            }
            _ => data,
        };
        for waiting in self.jobs[index].waiting.clone() {
            let is_failure = match work.kind {
                Kind::WorkFail => true,
                Kind::WorkException => !self.peer(waiting).exceptions,
                _ => false,
            };
            if is_failure {
                seen.packet(waiting, Kind::WorkFail, handle);
            } else {
                seen.packet(waiting, work.kind, &[&handle[..], &data].join(&0));
            }
        }
        if matches!(work.kind, Kind::WorkComplete | Kind::WorkFail | Kind::WorkException) {
            self.remove(index, seen);
        }
    }

    /// A worker lost a job.
    pub(super) fn put_back(&mut self, number: u64, seen: &mut Seen) {
        let index = self.index_of(number).expect("a lost job is there");
        if self.jobs[index].kept && !self.hands_out() {
            return self.make_ready(index, seen);
        }
        self.jobs[index].losses += 1;
        let job = &self.jobs[index];
        let is_used_up = self.settings.attempts.is_some_and(|attempts| job.losses >= attempts);
        if is_used_up || !job.is_wanted() {
            self.fail(index, seen);
            return self.remove(index, seen);
        }
        if job.losses > KEEPS_PLACE {
            self.places += 1;
            self.jobs[index].place = self.places;
        }
        self.make_ready(index, seen);
    }

    /// A delayed job is due, or a running one is put back.
    pub(super) fn make_ready(&mut self, index: usize, seen: &mut Seen) {
        self.leave_worker(index, seen);
        let job = &mut self.jobs[index];
        job.state = State::Ready;
        job.numbers = (0, 0);
        self.one_more_ready();
    }

    /// Takes a job out of the world.
    pub(super) fn remove(&mut self, index: usize, seen: &mut Seen) {
        self.leave_worker(index, seen);
        self.jobs.remove(index);
    }

    fn leave_worker(&mut self, index: usize, seen: &mut Seen) {
        self.answer_in_vain(index, seen);
        let State::Running { by, .. } = self.jobs[index].state else { return };
        let number = self.jobs[index].number.expect("it was named");
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.conn == by) {
            peer.ended.push(number);
            let forgotten = peer.ended.len().saturating_sub(REMEMBERED);
            peer.ended.drain(..forgotten);
        }
    }

    /// Tells all who wait that the job failed.
    pub(super) fn fail(&self, index: usize, seen: &mut Seen) {
        for waiting in &self.jobs[index].waiting {
            seen.packet(*waiting, Kind::WorkFail, self.job_handle(index).as_bytes());
        }
    }

    /// The server ends: no one waits any more for these jobs.
    pub(super) fn fail_awaited(&mut self, which: impl Fn(&Job) -> bool, seen: &mut Seen) {
        let awaited = self.jobs.iter().filter(|job| !job.waiting.is_empty() && which(job));
        for number in awaited.filter_map(|job| job.number).collect::<Vec<_>>() {
            let index = self.index_of(number).expect("no other job ends");
            self.fail(index, seen);
            self.jobs[index].waiting.clear();
            if !self.jobs[index].kept {
                self.remove(index, seen);
            }
        }
    }
}

/// What a text begins with, as a number. Texts here are short.
fn number(text: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(text);
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}
