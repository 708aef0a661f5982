//! How attempts and jobs end: what is tried again, what is over, what is kept of it and for how long.

use std::time::Duration;

use bytes::Bytes;
use gearhouse::engine::{Life, Outcome, Reach, Reason, Retirement, What, Worker};
use gearhouse::policy::{LONGEST, Retention, Rules};
use gearhouse::protocol::StatusNumbers;
use gearhouse::types::{ConnId, Timestamp};

use super::super::seen::Seen;
use super::state::{Over, State};
use super::{Job, Model};

/// How often a job that lost its worker returns to its old place rather than to the tail.
const KEEPS_PLACE: u32 = 2;

/// Jobs that are over and make room for something new, at most.
const MOST_RETIRED: usize = 16;

impl Model {
    /// A worker lost a job.
    pub(super) fn put_back(&mut self, number: u64, reason: Reason, seen: &mut Seen) {
        let index = self.index_of(number).expect("a lost job is there");
        let (waiting, handle) = (self.jobs[index].waiting.clone(), self.job_handle(index));
        if self.fail_attempt(index, reason, None, seen) {
            Self::tell_failed(&waiting, &handle, seen);
        }
    }

    /// An attempt came to nothing. Whether the job is over.
    pub(super) fn fail_attempt(
        &mut self,
        index: usize,
        reason: Reason,
        result: Option<&Bytes>,
        seen: &mut Seen,
    ) -> bool {
        if self.jobs[index].is_cancelled() {
            self.finish(index, Outcome::Cancelled, None, seen);
            return true;
        }
        if self.jobs[index].kept && !self.hands_out() && reason == Reason::Lost {
            self.must_log_run(index, seen);
            let again = self.now;
            let ended = self.attempt_ended(&self.jobs[index], reason, Some(again));
            self.must_note(&self.jobs[index], ended, seen);
            self.jobs[index].attempts -= 1;
            self.make_ready(index, seen);
            self.write(index);
            return false;
        }
        self.jobs[index].losses += 1;
        let is_unwanted = !self.jobs[index].is_wanted();
        if is_unwanted && !matches!(reason, Reason::Failed | Reason::Exception) {
            self.must_note_if_watched(&self.jobs[index], What::Dropped, seen);
            self.remove(index, seen);
            return true;
        }
        let job = &self.jobs[index];
        let rules = self.rules(&job.function);
        let is_tried = match reason {
            Reason::Failed | Reason::Exception => rules.retry_failed,
            Reason::TimedOut | Reason::LeaseExpired => rules.retry_timed_out,
            Reason::Lost => rules.retry_lost,
            Reason::Expired => unreachable!("it was not attempted"),
        };
        let is_over =
            is_unwanted || !is_tried || self.most_attempts(job).is_some_and(|most| job.attempts >= most);
        let again = self.check_attempt(index, reason, is_over, &rules, seen);
        if is_over {
            self.finish(index, Outcome::Failed(reason), result, seen);
            return true;
        }
        if self.jobs[index].losses > KEEPS_PLACE {
            self.places += 1;
            self.jobs[index].place = self.places;
        }
        if again > self.now {
            self.leave_worker(index, seen);
            let job = &mut self.jobs[index];
            (job.state, job.numbers) = (State::Delayed(again), (0, 0));
        } else {
            self.make_ready(index, seen);
        }
        self.write(index);
        false
    }

    /// How often a job is handed out at most.
    pub(super) fn most_attempts(&self, job: &Job) -> Option<u32> {
        job.terms.attempts.or(self.rules(&job.function).attempts).filter(|most| *most > 0)
    }

    /// What is said of an attempt that ended; when the next one is due, which is left to chance within bounds.
    fn check_attempt(
        &self,
        index: usize,
        reason: Reason,
        is_over: bool,
        rules: &Rules,
        seen: &mut Seen,
    ) -> Timestamp {
        self.must_log_run(index, seen);
        let job = &self.jobs[index];
        let said = seen.next_note(self.now, Reach::All, job).what;
        let What::AttemptEnded { again, .. } = said else {
            panic!("the end of an attempt is said, and not {said:?}")
        };
        let expected = self.attempt_ended(job, reason, again);
        assert_eq!(said, expected, "the end of an attempt is said as it was");
        assert_eq!(again.is_none(), is_over, "it is tried again if it must be: {said:?}");
        let again = again.unwrap_or(self.now);
        let doubled = (1..job.attempts).fold(rules.backoff, |wait, _| wait.saturating_mul(2));
        let longest = if rules.backoff_max.is_zero() { LONGEST } else { rules.backoff_max };
        let wait = doubled.min(longest);
        let (least, most) = (wait.mul_f64(0.75), wait.mul_f64(1.25).min(longest));
        let waited = again.since(self.now);
        let slack = Duration::from_micros(1);
        assert!(
            is_over || (waited + slack >= least && waited <= most + slack),
            "{waited:?} is within a quarter of {wait:?}"
        );
        again
    }

    fn attempt_ended(&self, job: &Job, reason: Reason, again: Option<Timestamp>) -> What {
        What::AttemptEnded {
            attempt: job.attempts,
            started: job.last_start.expect("it was handed out"),
            reason,
            worker: self.worker_of(job),
            again,
        }
    }

    /// After a restart no one knows who had it.
    fn worker_of(&self, job: &Job) -> Worker {
        job.run().map_or_else(Worker::default, |run| self.worker(run.by))
    }

    /// When the attempt began that ends now is written, and how far it came.
    pub(super) fn must_log_run(&self, index: usize, seen: &mut Seen) {
        let job = &self.jobs[index];
        let start = job.last_start.expect("it was handed out");
        let what = What::Started { attempt: job.attempts, worker: self.worker_of(job) };
        self.must_log(job, start, what, seen);
        if job.run().is_some_and(|run| run.has_untold) {
            let (numerator, denominator) = job.numbers;
            let numbers = StatusNumbers { numerator, denominator };
            self.must_log(job, self.now, What::Progress(numbers), seen);
        }
    }

    /// A worker has done its job.
    pub(super) fn succeed(&mut self, index: usize, result: &Bytes, seen: &mut Seen) {
        let outcome = if self.jobs[index].is_cancelled() { Outcome::Cancelled } else { Outcome::Succeeded };
        self.finish(index, outcome, Some(result), seen);
    }

    /// A job has ended: it is kept for as long as the rules say, or gone.
    pub(super) fn finish(&mut self, index: usize, outcome: Outcome, result: Option<&Bytes>, seen: &mut Seen) {
        let job = &self.jobs[index];
        let (kept, window) = (self.keeps(job, outcome), self.window(job, outcome));
        // Nothing is written of a job of which nothing is kept, unless something is already.
        let leaves_nothing = outcome == Outcome::Succeeded && kept.is_none() && window.is_none();
        if leaves_nothing && !seen.is_noted(job) {
            self.must_note_if_watched(job, What::Ended(outcome), seen);
        } else {
            self.must_log(job, job.submitted, What::Submitted, seen);
            if job.is_running() && !matches!(outcome, Outcome::Failed(_)) {
                self.must_log_run(index, seen);
            }
            self.must_note(job, What::Ended(outcome), seen);
        }
        if kept.is_none() && window.is_none() {
            return self.remove(index, seen);
        }
        self.leave_worker(index, seen);
        let mut job = self.jobs.remove(index);
        let time = kept.map_or(Duration::ZERO, |kept| kept.time).max(window.unwrap_or_default());
        let number = job.number.expect("it was named");
        // One that ran before may have a result of then on the disk.
        let is_told = job.first_start != job.last_start || result.is_some_and(|result| !result.is_empty());
        let is_written = job.kept && is_told && !seen.keeps_nothing();
        let result_record = if is_written {
            let (record, body) = seen.result_of(number);
            let sent = result.cloned().unwrap_or_default();
            assert_eq!(body, sent, "the result is written as it was sent");
            record
        } else {
            0
        };
        job.state = State::Over(Over {
            outcome,
            at: self.now,
            retires: self.now.after(time),
            result: result.cloned(),
            result_record,
            answers_until: window.map(|window| self.now.after(window)),
        });
        (job.patience, job.numbers) = (None, (0, 0));
        job.waiting.clear();
        job.written = Some(job.standing());
        let function = job.function.clone();
        self.over.push(job);
        if let Some(kept) = kept
            && self.alike(&function, outcome).count() > kept.count as usize
        {
            self.retire_oldest(&function, outcome, seen);
        }
    }

    /// What was kept of a job goes for good.
    pub(super) fn retire(&mut self, number: u64, why: Retirement, seen: &mut Seen) {
        let index = self.over_index_of(number).expect("what is retired is over");
        self.must_note(&self.over[index], What::Retired(why), seen);
        self.drop_over(number, seen);
    }

    /// What was kept of a job goes. Who was answered with it and waits for its result still is told that there is none.
    pub(super) fn drop_over(&mut self, number: u64, seen: &mut Seen) -> Job {
        let index = self.over_index_of(number).expect("it is over");
        let job = self.over.remove(index);
        Self::tell_failed(&job.waiting, &self.job_handle_of(&job), seen);
        job
    }

    /// Jobs of this function that are over and ended alike, whatever the reason of a failure.
    fn alike(&self, function: &Bytes, outcome: Outcome) -> impl Iterator<Item = &Job> {
        let is_alike =
            move |other: Outcome| std::mem::discriminant(&other) == std::mem::discriminant(&outcome);
        let of_function = self.over.iter().filter(move |job| job.function == *function);
        of_function.filter(move |job| job.over().is_some_and(|over| is_alike(over.outcome)))
    }

    fn retire_oldest(&mut self, function: &Bytes, outcome: Outcome, seen: &mut Seen) {
        let oldest = self.alike(function, outcome).min_by_key(|job| job.ended());
        let number = oldest.and_then(|job| job.number).expect("there are too many");
        self.retire(number, Retirement::Count, seen);
    }

    /// What is kept of jobs that are over gives way to something new that takes so much memory. Whether that is needed
    /// depends on how much is on the disk only, and is left to the engine then.
    pub(super) fn make_room(&mut self, cost: u64, seen: &mut Seen) {
        for _ in 0..MOST_RETIRED {
            let Some(oldest) = self.over.iter().min_by_key(|job| job.ended()) else { return };
            let most = self.settings.max_memory;
            if self.memory() + cost <= most {
                return;
            }
            let number = oldest.number.expect("it was named");
            if !seen.has_note(number, &What::Retired(Retirement::Memory)) {
                let least = self.memory() - self.memory_on_disk(seen) + cost;
                assert!(least <= most, "what is over gives way: {least} of {most} bytes");
                return;
            }
            self.retire(number, Retirement::Memory, seen);
        }
    }

    /// The rules changed: jobs that are there already are looked at.
    pub(super) fn review(&mut self, seen: &mut Seen) {
        let live = self.jobs.iter().filter_map(|job| job.number);
        let mut numbers: Vec<u64> = live.chain(self.over.iter().filter_map(|job| job.number)).collect();
        numbers.sort_unstable();
        for number in numbers {
            if let Some(index) = self.index_of(number) {
                self.review_ready(index, seen);
            } else {
                self.review_over(number, seen);
            }
        }
    }

    /// A new wait time-out counts since the job is ready; it may have waited longer than that already.
    fn review_ready(&mut self, index: usize, seen: &mut Seen) {
        let job = &self.jobs[index];
        let Some((since, _)) = job.patience else { return };
        let (number, patience) = (job.number.expect("it was named"), self.patience(job, since));
        self.jobs[index].patience = patience;
        if let Some(when) = self.jobs[index].deadline().filter(|when| *when <= self.now) {
            self.note_open();
            self.come_due(when, number, seen);
        }
    }

    fn review_over(&mut self, number: u64, seen: &mut Seen) {
        while let Some(index) = self.over_index_of(number) {
            let job = &self.over[index];
            let over = job.over().expect("it is over");
            let (function, outcome) = (job.function.clone(), over.outcome);
            let kept = self.keeps(job, outcome);
            let most = kept.map_or(usize::MAX, |kept| kept.count as usize);
            if self.alike(&function, outcome).count() > most {
                self.retire_oldest(&function, outcome, seen);
                continue;
            }
            let was_answer = over.answers_until.is_some();
            let window = self.window(job, outcome).map(|window| over.at.after(window));
            let until = window.filter(|until| *until > self.now);
            let is_first = was_answer || until.is_none() || self.becomes_answer(index);
            let over = self.over[index].over().expect("it is over");
            let answers_until = until.filter(|_| is_first);
            let time = kept.map_or(Duration::ZERO, |kept| kept.time);
            let retires = over.at.after(time).max(answers_until.unwrap_or_default());
            if let State::Over(over) = &mut self.over[index].state {
                (over.retires, over.answers_until) = (retires, answers_until);
            }
            if retires <= self.now {
                self.retire(number, Retirement::Time, seen);
            }
            return;
        }
    }

    /// Whether a job that is over answers from now on: not beside one that is not over, and of those that are, the last
    /// one does.
    fn becomes_answer(&mut self, index: usize) -> bool {
        let (key, number) = (self.over[index].key(), self.over[index].number);
        if self.jobs.iter().any(|other| !other.is_double && other.key() == key) {
            return false;
        }
        let mut alike = self.over.iter_mut().filter(|other| other.key() == key);
        let other = alike.find(|other| other.over().is_some_and(|over| over.answers_until.is_some()));
        match other.map(|other| (other.number, &mut other.state)) {
            Some((other, _)) if other > number => false,
            Some((_, State::Over(over))) => {
                over.answers_until = None;
                true
            }
            _ => true,
        }
    }

    /// For how long a job that ends like this is kept, and how many like it.
    pub(super) fn keeps(&self, job: &Job, outcome: Outcome) -> Option<Retention> {
        let rules = self.rules(&job.function);
        let rule = match outcome {
            Outcome::Succeeded => rules.keep_succeeded,
            Outcome::Failed(_) => rules.keep_failed,
            Outcome::Cancelled => rules.keep_cancelled,
        };
        let time = job.terms.keep.unwrap_or(rule.time);
        (!time.is_zero() && rule.count > 0).then_some(Retention { time, count: rule.count })
    }

    /// For how long it is the answer to submits with its unique id.
    pub(super) fn window(&self, job: &Job, outcome: Outcome) -> Option<Duration> {
        let is_found = !job.is_double && job.key().is_some();
        self.rules(&job.function).unique_window.filter(|_| is_found && outcome == Outcome::Succeeded)
    }

    /// What the log must say of a job now.
    pub(super) fn write(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        job.written = Some(job.standing());
    }

    /// This must have been said of a job, next.
    pub(super) fn must_note(&self, job: &Job, what: What, seen: &mut Seen) {
        self.must_tell(job, self.now, Reach::All, what, seen);
    }

    /// This must have been written of a job, next: it happened then.
    pub(super) fn must_log(&self, job: &Job, at: Timestamp, what: What, seen: &mut Seen) {
        self.must_tell(job, at, Reach::Log, what, seen);
    }

    fn must_tell(&self, job: &Job, at: Timestamp, reach: Reach, what: What, seen: &mut Seen) {
        let said = seen.next_note(at, reach, job);
        assert_eq!(said.what, what, "what is said of {:?}", job.number);
        let is_end = matches!(what, What::Ended(_) | What::Dropped) && seen.is_watched;
        let life = is_end.then(|| Box::new(self.life(job)));
        assert_eq!(said.life, life, "what is said of the whole of {:?}", job.number);
    }

    fn life(&self, job: &Job) -> Life {
        let run = job.run().and_then(|run| Some((job.last_start?, self.worker(run.by))));
        Life {
            unique: job.unique.clone(),
            priority: job.priority,
            submitted: job.submitted,
            attempts: job.attempts,
            run,
            trace: job.terms.trace.clone(),
        }
    }

    /// The same for what is said only if someone listens.
    pub(super) fn must_note_if_watched(&self, job: &Job, what: What, seen: &mut Seen) {
        if seen.is_watched {
            self.must_tell(job, self.now, Reach::Watchers, what, seen);
        }
    }

    pub(super) fn worker(&self, conn: ConnId) -> Worker {
        let peer = self.peers.iter().find(|peer| peer.conn == conn).expect("it is connected");
        let client_id = if peer.client_id == "-" { String::new() } else { peer.client_id.clone() };
        Worker { conn: conn.0, address: peer.address.clone(), client_id }
    }

    /// Tells these that the job failed.
    pub(super) fn tell_failed(waiting: &[ConnId], handle: &str, seen: &mut Seen) {
        for conn in waiting {
            seen.packet(*conn, gearhouse::protocol::Kind::WorkFail, handle.as_bytes());
        }
    }
}
