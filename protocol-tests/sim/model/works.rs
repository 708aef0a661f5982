//! What becomes of a job: handed out, worked on, lost, ended.

use std::collections::BTreeSet;

use bytes::Bytes;
use gearhouse::engine::Output as _;
use gearhouse::engine::{Reason, What};
use gearhouse::policy::Order;
use gearhouse::protocol::{Flavor, Kind, StatusNumbers};
use gearhouse::types::{ConnId, RecordNo, Timestamp};

use super::super::ask::Work;
use super::super::item::first_argument;
use super::super::seen::Seen;
use super::state::{Run, State};
use super::{Job, Model};

/// Jobs that a connection held and holds no more are remembered, so many, and what it says of them is swallowed.
const REMEMBERED: usize = 64;

/// Bytes of what a worker says that a job's log holds.
const TAIL: usize = 1024;

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
        let job = &self.jobs[index];
        let record = if seen.is_lost(RecordNo(job.record)) { 0 } else { job.record };
        // Where attempts are counted out, the start must be safe.
        let is_counted = job.kept && self.most_attempts(job).is_some() && !seen.keeps_nothing();
        seen.depends_on(if is_counted { record.max(seen.new_record()) } else { record });
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
        let rules = self.rules(&function);
        let worker = self.worker(conn);
        let index = self.index_of(number).expect("it is there");
        let job = &mut self.jobs[index];
        let rule = match job.terms.run_timeout {
            Some(said) => Some(said).filter(|said| !said.is_zero()),
            None => rules.run_timeout,
        };
        let timeout = match (timeout, rule) {
            (Some(of_worker), Some(rule)) => Some(of_worker.min(rule)),
            (of_worker, rule) => of_worker.or(rule),
        };
        job.state = State::Running(Run {
            by: conn,
            limit: timeout.map(|timeout| now.after(timeout)),
            lease: rules.lease,
            heard: now,
            noted: now.as_secs(),
            has_untold: false,
            is_cancelled: false,
        });
        job.patience = None;
        job.attempts += 1;
        job.first_start = job.first_start.or(Some(now));
        job.last_start = Some(now);
        let attempt = job.attempts;
        self.write(index);
        self.must_note_if_watched(&self.jobs[index], What::Started { attempt, worker }, seen);
        self.turns += 1;
        let turn = self.turns;
        let served = self.functions.iter_mut().find(|served| served.name == function);
        let served = served.expect("functions with jobs exist");
        served.turn = turn;
        if let Some(spacing) = rules.spacing {
            let before = served.used.iter().copied().max().unwrap_or_default();
            served.used.push(before.max(now).after(spacing));
            served.used.retain(|back| *back > now);
            if served.used.len() >= rules.burst as usize {
                served.throttled = served.used.iter().copied().min();
            }
        }
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
        let peer = self.peers.iter().find(|peer| peer.conn == conn);
        let Some(peer) = peer.filter(|peer| self.hands_out() && !peer.is_stopping) else {
            return Vec::new();
        };
        let turn = |name: &Bytes| {
            let function = self.functions.iter().find(|function| function.name == *name);
            function.expect("functions with jobs exist").turn
        };
        let ready: Vec<usize> = (0..self.jobs.len())
            .filter(|index| {
                let job = &self.jobs[*index];
                job.is_ready() && peer.can_do(&job.function) && self.open_count(&job.function) > 0
            })
            .collect();
        let rank = |index: &usize| (self.jobs[*index].priority, turn(&self.jobs[*index].function));
        let best = ready.iter().map(rank).min();
        let first = ready.iter().filter(|index| Some(rank(index)) == best);
        let is_next = |index: &&usize| {
            let job = &self.jobs[**index];
            let order = self.rules(&job.function).order;
            let mut others = ready.iter().map(|other| &self.jobs[*other]);
            let is_before = |other: &Job| {
                let is_ahead = match order {
                    Order::Fifo => other.place < job.place,
                    Order::Lifo => other.place > job.place,
                };
                other.function == job.function && other.priority == job.priority && is_ahead
            };
            !others.any(is_before)
        };
        first.filter(is_next).copied().collect()
    }

    /// How many ready jobs of a function may be handed out, as far as its rules are concerned: of its burst perhaps
    /// fewer.
    pub(super) fn open_count(&self, name: &Bytes) -> usize {
        let function = self.functions.iter().find(|function| function.name == *name);
        let rules = self.rules(name);
        if rules.paused || function.is_none_or(|function| function.throttled.is_some()) {
            return 0;
        }
        let running = self.jobs_of(name).filter(|job| job.is_running()).count();
        let slots = rules.max_running.map_or(usize::MAX, |most| (most as usize).saturating_sub(running));
        let burst = rules.spacing.map_or(usize::MAX, |_| rules.burst as usize);
        self.jobs_of(name).filter(|job| job.is_ready()).count().min(slots).min(burst)
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
                let numbers = (number(&numerator), number(&denominator));
                self.jobs[index].numbers = numbers;
                let numbers = StatusNumbers { numerator: numbers.0, denominator: numbers.1 };
                let (now, start) =
                    (self.now.as_secs(), self.jobs[index].last_start.expect("it runs").as_secs());
                let State::Running(run) = &mut self.jobs[index].state else { unreachable!("it runs") };
                // One in each hundredth of its time, and in each second.
                let is_due = now - run.noted > (now - start) / 100;
                run.has_untold = !is_due;
                if is_due {
                    run.noted = now;
                    self.must_note(&self.jobs[index], What::Progress(numbers), seen);
                } else {
                    self.must_note_if_watched(&self.jobs[index], What::Progress(numbers), seen);
                }
                let [numerator, denominator] = [numerator, denominator]
                    .map(|text| if text.is_empty() { Bytes::from_static(b"0") } else { text });
                [numerator, denominator].join(&0).into()
            }
            _ => data,
        };
        let tail = || data.slice(data.len().saturating_sub(TAIL)..);
        let job = &self.jobs[index];
        let waiting = job.waiting.clone();
        let is_told = match work.kind {
            Kind::WorkComplete => {
                self.succeed(index, &data, seen);
                true
            }
            Kind::WorkFail => self.fail_attempt(index, Reason::Failed, Some(&data), seen),
            Kind::WorkException => self.fail_attempt(index, Reason::Exception, Some(&data), seen),
            kind => {
                match kind {
                    Kind::WorkData => self.must_note(job, What::Data(tail()), seen),
                    Kind::WorkWarning => self.must_note(job, What::Warning(tail()), seen),
                    _ => {}
                }
                if let State::Running(run) = &mut self.jobs[index].state {
                    run.heard = self.now;
                }
                true
            }
        };
        for waiting in waiting.into_iter().filter(|_| is_told) {
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
    }

    /// A job is put into its line, or back into it.
    pub(super) fn make_ready(&mut self, index: usize, seen: &mut Seen) {
        self.leave_worker(index, seen);
        let since = match self.jobs[index].state {
            State::Delayed(until) => until.min(self.now),
            _ => self.now,
        };
        let patience = self.patience(&self.jobs[index], since);
        let job = &mut self.jobs[index];
        (job.state, job.patience, job.numbers) = (State::Ready, patience, (0, 0));
        self.one_more_ready();
    }

    /// Since when a job is ready, and when it is given up, if it is never handed out.
    pub(super) fn patience(&self, job: &Job, since: Timestamp) -> Option<(Timestamp, Option<Timestamp>)> {
        let timeout = self.rules(&job.function).wait_timeout;
        (job.attempts == 0).then(|| (since, timeout.map(|timeout| since.after(timeout))))
    }

    /// Takes a job out of the world.
    pub(super) fn remove(&mut self, index: usize, seen: &mut Seen) {
        self.leave_worker(index, seen);
        self.jobs.remove(index);
    }

    /// Its worker has it no more.
    pub(super) fn leave_worker(&mut self, index: usize, seen: &mut Seen) {
        self.answer_in_vain(index, seen);
        let Some(Run { by, .. }) = self.jobs[index].run().copied() else { return };
        if self.rules(&self.jobs[index].function).max_running.is_some() {
            // There may be room for another beside those that run.
            self.one_more_ready();
        }
        let number = self.jobs[index].number.expect("it was named");
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.conn == by) {
            peer.ended.push(number);
            let forgotten = peer.ended.len().saturating_sub(REMEMBERED);
            peer.ended.drain(..forgotten);
            let is_stopping = peer.is_stopping;
            let mut others = self.jobs.iter().filter(|job| job.number != Some(number));
            if is_stopping && !others.any(|job| job.is_running_by(by)) {
                seen.closed(by);
            }
        }
    }

    /// Tells all who wait that the job failed.
    pub(super) fn fail(&self, index: usize, seen: &mut Seen) {
        Self::tell_failed(&self.jobs[index].waiting, &self.job_handle(index), seen);
    }

    /// The server ends: no one waits any more for these jobs.
    pub(super) fn fail_awaited(&mut self, which: impl Fn(&Job) -> bool, seen: &mut Seen) {
        let all = self.jobs.iter().chain(&self.over);
        let awaited = all.filter(|job| !job.waiting.is_empty() && which(job)).filter_map(|job| job.number);
        for number in awaited.collect::<BTreeSet<_>>() {
            let Some(index) = self.index_of(number) else {
                let index = self.over_index_of(number).expect("no other job ends");
                let (waiting, handle) =
                    (std::mem::take(&mut self.over[index].waiting), self.job_handle_of(&self.over[index]));
                Self::tell_failed(&waiting, &handle, seen);
                continue;
            };
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
