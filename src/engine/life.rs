//! How attempts and jobs end: what is tried again, what is over, what is kept of it and for how long.

use std::hash::BuildHasher as _;
use std::time::Duration;

use bytes::Bytes;

use super::function::ending;
use super::job::{Job, Over, Waiting};
use super::note::{Retirement, What};
use super::unique::Key;
use super::{Engine, Outcome, Output, Reason, Record, reply};
use crate::policy::{LONGEST, Retention, Rules};
use crate::protocol::{LARGE, Response, Work};
use crate::types::{ConnId, FunctionId, JobId, RecordNo, Timestamp};

impl Engine {
    /// A worker has done its job, and nothing of it is to be kept. The caller tells who waits, whom this returns.
    pub(super) fn succeed(&mut self, id: JobId, by: ConnId, work: &Work, out: &mut impl Output) -> Waiting {
        let Some(mut job) = self.remove_job(id, out) else { return Waiting::new() };
        let waiting = if job.waiting().is_empty() { Waiting::new() } else { job.take_waiting() };
        self.functions.count_end(job.function, Outcome::Succeeded);
        // The end's number, as it was told if it was.
        self.recents.push(id, &job, self.serial, by, work.data_len());
        waiting
    }

    /// An attempt came to nothing: the job is tried again, now or later, or it is over. Who waits for it then is
    /// returned, to be told by the caller.
    pub(super) fn fail_attempt(
        &mut self,
        id: JobId,
        reason: Reason,
        result: Option<&Bytes>,
        out: &mut impl Output,
    ) -> Waiting {
        let Some(job) = self.jobs.get_mut(id) else { return Waiting::new() };
        if job.is_cancelled() {
            return self.finish(id, Outcome::Cancelled, None, out);
        }
        if job.kept && reason == Reason::Lost && self.draining == Some(super::Drain::Running) {
            // The server ends, and connections with it: that costs a job that outlives it no attempt.
            self.note_attempt(id, reason, Some(self.now), out);
            if let Some(job) = self.jobs.get_mut(id) {
                job.forget_attempt();
            }
            self.make_ready(id, None, out);
            self.persist_standing(id, out);
            return Waiting::new();
        }
        job.lose();
        let is_unwanted = job.waiting().is_empty() && !job.kept;
        if is_unwanted && !matches!(reason, Reason::Failed | Reason::Exception) {
            let function = job.function;
            self.note_live(id, What::Dropped, out);
            self.functions.count_end(function, Outcome::Cancelled);
            self.remove_job(id, out);
            return Waiting::new();
        }
        let rules = &self.functions.get(job.function).rules;
        let is_tried = match reason {
            Reason::Failed | Reason::Exception => rules.retry_failed,
            Reason::TimedOut | Reason::LeaseExpired => rules.retry_timed_out,
            Reason::Lost => rules.retry_lost,
            Reason::Expired => false,
        };
        if is_unwanted || !is_tried || attempts_of(rules, job).is_some_and(|most| job.attempts() >= most) {
            self.note_attempt(id, reason, None, out);
            return self.finish(id, Outcome::Failed(reason), result, out);
        }
        let function = job.function;
        let wait = backoff(rules, job.attempts(), self.chance.hash_one((id.0, job.attempts())));
        let again = self.now.after(wait);
        let place = if job.losses() > Job::KEEPS_PLACE { Some(self.next_number()) } else { None };
        self.note_attempt(id, reason, Some(again), out);
        self.functions.count_retry(function, reason);
        if wait.is_zero() {
            self.make_ready(id, place, out);
        } else {
            self.restand(id, out, |job| {
                if let Some(place) = place {
                    job.set_place(place);
                }
                job.make_waiting(Some(again));
            });
        }
        self.persist_standing(id, out);
        Waiting::new()
    }

    /// A job has ended: it is kept for as long as the rules say, or gone. Who waited for it is returned, to be told by
    /// the caller.
    pub(super) fn finish(
        &mut self,
        id: JobId,
        outcome: Outcome,
        result: Option<&Bytes>,
        out: &mut impl Output,
    ) -> Waiting {
        self.note_end(id, outcome, true, out);
        let Some(job) = self.jobs.get(id) else { return Waiting::new() };
        let rules = &self.functions.get(job.function).rules;
        let window = window(rules, job, outcome);
        let kept = keeps(rules, job, outcome);
        let time = kept.map_or(Duration::ZERO, |kept| kept.time).max(window.unwrap_or_default());
        let function = job.function;
        self.functions.count_end(function, outcome);
        if time.is_zero() {
            let job = self.remove_job(id, out);
            return job.map(|mut job| job.take_waiting()).unwrap_or_default();
        }
        let most = kept.map_or(u32::MAX, |kept| kept.count);
        let over =
            Over {
                outcome,
                at: self.now,
                retires: self.now.after(time),
                // Not a part of a large body that would stay for it.
                result: result.map(|body| {
                    if body.len() <= LARGE { Bytes::copy_from_slice(body) } else { body.clone() }
                }),
                result_record: RecordNo::NONE,
                answers_until: window.map(|window| self.now.after(window)),
                is_loading: false,
            };
        let waiting = self.take_waiting(id);
        if over.answers_until.is_none()
            && let Some(job) = self.jobs.get(id)
        {
            self.uniques.remove(id, job);
        }
        self.restand(id, out, |job| job.end(over));
        // One that ran before may have a result of then on the disk, which is not that of now.
        let is_written = self.jobs.get(id).is_some_and(|job| {
            let ran_before = job.first_start() != job.last_start();
            job.kept && (ran_before || result.is_some_and(|body| !body.is_empty()))
        });
        let body = is_written.then(|| result.cloned().unwrap_or_default());
        // If the store cannot keep it, it is in memory for as long as the process lives.
        let on_disk = body.and_then(|body| out.persist(Record::Result { id, body }).ok());
        if let (Some(record), Some(over)) = (on_disk, self.jobs.get_mut(id).and_then(Job::over_mut)) {
            over.result_record = record;
        }
        let record = self.persist_standing(id, out);
        self.consider_eviction(id, record);
        self.expire_if_unused(function);
        if self.functions.get(function).over[ending(outcome)].len() > most as usize {
            self.retire_oldest(function, outcome, out);
        }
        waiting
    }

    /// Retires the job that ended first of those of a function that ended alike, if this one is of those and there are
    /// more than are to be kept.
    pub(super) fn retire_surplus(&mut self, id: JobId, out: &mut impl Output) -> bool {
        let Some((job, over)) = self.jobs.get(id).and_then(|job| Some((job, job.over()?))) else {
            return false;
        };
        let (function, outcome) = (job.function, over.outcome);
        let entry = self.functions.get(function);
        let most = keeps(&entry.rules, job, outcome).map_or(u32::MAX, |kept| kept.count);
        let is_surplus = entry.over[ending(outcome)].len() > most as usize;
        if is_surplus {
            self.retire_oldest(function, outcome, out);
        }
        is_surplus
    }

    fn retire_oldest(&mut self, function: FunctionId, outcome: Outcome, out: &mut impl Output) {
        if let Some((_, oldest)) = self.functions.get(function).over[ending(outcome)].first().copied() {
            self.retire(oldest, Retirement::Count, out);
        }
    }

    /// What was kept of a job that is over goes for good.
    pub(super) fn retire(&mut self, id: JobId, why: Retirement, out: &mut impl Output) {
        self.note(id, What::Retired(why), out);
        if let Some(job) = self.remove_job(id, out) {
            // Their answer was still to be read.
            self.tell_failed(id, job.waiting(), out);
        }
    }

    /// What a job that ended is kept with, after a restart. Its result is on disk.
    pub(super) fn over_again(&self, job: &Job, outcome: Outcome, at: Timestamp) -> Over {
        let rules = &self.functions.get(job.function).rules;
        let time = keeps(rules, job, outcome).map_or(Duration::ZERO, |kept| kept.time);
        let window = window(rules, job, outcome);
        let answers_until = window.map(|window| at.after(window)).filter(|until| *until > self.now);
        let retires = at.after(time).max(answers_until.unwrap_or_default());
        let (result, result_record) = (None, RecordNo::NONE);
        Over { outcome, at, retires, result, result_record, answers_until, is_loading: false }
    }

    /// The rules changed: a job that is over goes at another time, perhaps now.
    pub(super) fn review_over(&mut self, id: JobId, out: &mut impl Output) {
        self.review_window(id);
        let Some((job, over)) = self.jobs.get(id).and_then(|job| Some((job, job.over()?))) else { return };
        let rules = &self.functions.get(job.function).rules;
        let time = keeps(rules, job, over.outcome).map_or(Duration::ZERO, |kept| kept.time);
        let retires = over.at.after(time).max(over.answers_until.unwrap_or_default());
        if retires <= self.now {
            return self.retire(id, Retirement::Time, out);
        }
        if retires != over.retires {
            self.restand(id, out, |job| {
                if let Some(over) = job.over_mut() {
                    over.retires = retires;
                }
            });
        }
    }

    /// The rules changed: submits with its unique id are answered with a job that is over for another time, or not.
    fn review_window(&mut self, id: JobId) {
        let Some((job, over)) = self.jobs.get(id).and_then(|job| Some((job, job.over()?))) else { return };
        let window = window(&self.functions.get(job.function).rules, job, over.outcome);
        let until = window.map(|window| over.at.after(window)).filter(|until| *until > self.now);
        if over.answers_until.is_some() {
            if until.is_none() {
                return self.stop_answering(id);
            }
        } else if until.is_some() {
            // One that is not over has its unique id before it, and of those that are, the one that came last.
            let key = Key::of(job.function, job.content.unique(), job.content.payload());
            let other = key.and_then(|key| self.uniques.find(&self.jobs, job.function, key));
            if let Some(other) = other {
                if other > id || self.live(other).is_some() {
                    return;
                }
                self.stop_answering(other);
            }
            if let Some(job) = self.jobs.get(id) {
                self.uniques.insert(&self.jobs, id, job);
            }
        }
        if let Some(over) = self.jobs.get_mut(id).and_then(Job::over_mut) {
            over.answers_until = until;
        }
    }

    /// Takes a job out of its state and puts it into another.
    pub(super) fn restand(&mut self, id: JobId, out: &mut impl Output, change: impl FnOnce(&mut Job)) {
        let Some(mut job) = self.jobs.remove(id) else { return };
        self.leave_state(id, &mut job, out);
        self.usage.bytes -= job.result_len();
        change(&mut job);
        self.usage.bytes += job.result_len();
        self.enter_state(id, &job);
        let function = job.function;
        self.jobs.insert(id, job);
        self.wake(function, out);
    }

    /// Writes how a job stands now, if it is kept. If the store has failed the next start finds it as it stood before.
    pub(super) fn persist_standing(&self, id: JobId, out: &mut impl Output) -> RecordNo {
        match self.jobs.get(id) {
            Some(job) if job.kept && out.keeps() => {
                let record = Record::Stands { id, standing: job.standing(id) };
                out.persist(record).unwrap_or(RecordNo::NONE)
            }
            _ => RecordNo::NONE,
        }
    }

    /// No one waits for a job any more; who did.
    pub(super) fn take_waiting(&mut self, id: JobId) -> Waiting {
        let waiting = self.jobs.get_mut(id).map(Job::take_waiting).unwrap_or_default();
        for conn in &waiting {
            if let Some(peer) = self.peers.get_mut(*conn) {
                peer.ties_mut().awaits.remove(&id);
            }
        }
        waiting
    }

    /// Tells these that the job failed.
    pub(super) fn tell_failed(&self, id: JobId, waiting: &[ConnId], out: &mut impl Output) {
        for conn in waiting {
            reply(out, *conn, Response::WorkFail(self.handle(id)));
        }
    }

    /// How long a job that is or becomes ready waits to be started; only for the first time.
    pub(super) fn wait_timeout(&self, job: &Job) -> Option<Duration> {
        self.functions.get(job.function).rules.wait_timeout.filter(|_| job.attempts() == 0)
    }

    /// No submit is answered with this job any more, which is over.
    pub(super) fn stop_answering(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(id) {
            self.uniques.remove(id, job);
        }
        if let Some(over) = self.jobs.get_mut(id).and_then(Job::over_mut) {
            over.answers_until = None;
        }
    }

    /// A job ends: it may not be there to tell how that came, if that is written at all.
    #[cold]
    pub(super) fn note_end(&mut self, id: JobId, outcome: Outcome, is_written: bool, out: &mut impl Output) {
        let what = What::Ended(outcome);
        if !is_written {
            return self.note_live(id, what, out);
        }
        self.note_submit(id, out);
        let has_attempt = self.jobs.get(id).is_some_and(Job::is_running);
        // Of an attempt that failed that was said.
        if has_attempt && !matches!(outcome, Outcome::Failed(_)) {
            self.note_run(id, out);
        }
        self.note(id, what, out);
    }

    fn note_attempt(&mut self, id: JobId, reason: Reason, again: Option<Timestamp>, out: &mut impl Output) {
        self.note_run(id, out);
        let Some(job) = self.jobs.get(id) else { return };
        let worker = self.worker_of(job);
        let what = What::AttemptEnded {
            attempt: job.attempts(),
            started: job.last_start().unwrap_or(job.submitted),
            reason,
            worker,
            again,
        };
        self.note(id, what, out);
    }
}

/// How often a job is handed out at most, if that is bounded.
pub(super) fn attempts_of(rules: &Rules, job: &Job) -> Option<u32> {
    let of_terms = job.terms().and_then(|terms| terms.attempts);
    of_terms.map_or(rules.attempts, |said| Some(said).filter(|said| *said > 0))
}

/// Whether nothing but a line in the list of the latest is kept of a job that succeeds now.
pub(super) fn leaves_nothing(rules: &Rules, job: &Job) -> bool {
    !job.is_cancelled()
        && window(rules, job, Outcome::Succeeded).is_none()
        && keeps(rules, job, Outcome::Succeeded).is_none()
}

/// What the rules, or what its submit asked for, keep of a job that ends like this.
fn keeps(rules: &Rules, job: &Job, outcome: Outcome) -> Option<Retention> {
    let rule = match outcome {
        Outcome::Succeeded => rules.keep_succeeded,
        Outcome::Failed(_) => rules.keep_failed,
        Outcome::Cancelled => rules.keep_cancelled,
    };
    let time = job.terms().and_then(|terms| terms.keep).unwrap_or(rule.time);
    Some(Retention { time, count: rule.count }).filter(|kept| !kept.time.is_zero() && kept.count > 0)
}

/// For how long a job that ends like this is the answer to submits with its unique id.
fn window(rules: &Rules, job: &Job, outcome: Outcome) -> Option<Duration> {
    let window = rules.unique_window?;
    if outcome != Outcome::Succeeded || job.never_joined {
        return None;
    }
    Key::of(job.function, job.content.unique(), job.content.payload()).map(|_| window)
}

/// The wait before the next attempt: doubled with each, and by chance a quarter more or less, so that what failed
/// together does not come back together; at the longest wait only less.
fn backoff(rules: &Rules, attempts: u32, chance: u64) -> Duration {
    if rules.backoff.is_zero() {
        return Duration::ZERO;
    }
    let doubled = 1_u32.checked_shl(attempts.saturating_sub(1).min(31)).unwrap_or(u32::MAX);
    let longest = if rules.backoff_max.is_zero() { LONGEST } else { rules.backoff_max };
    let wait = rules.backoff.saturating_mul(doubled).min(longest);
    let least = wait * 3 / 4;
    let spread = (wait * 5 / 4).min(longest) - least;
    (least + spread * (chance % 1024) as u32 / 1023).max(Duration::from_micros(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use foldhash::quality::FixedState;

    use super::*;

    #[test]
    fn what_failed_together_does_not_come_back_together_and_never_later_than_the_longest_wait() {
        let secs = Duration::from_secs;
        let waits = |backoff: u64, most: u64, attempts: u32| {
            let rules = Rules { backoff: secs(backoff), backoff_max: secs(most), ..Rules::default() };
            let chance = FixedState::with_seed(7);
            (0..1000_u64)
                .map(|job| self::backoff(&rules, attempts, chance.hash_one(job)))
                .collect::<BTreeSet<_>>()
        };
        for (waits, least, most) in [
            (waits(100, 1000, 1), 75, 125),
            (waits(100, 100, 1), 75, 100),
            (waits(100, 110, 9), 82, 110),
            (waits(100, 0, 3), 300, 500),
        ] {
            assert!(waits.len() > 500, "{}", waits.len());
            assert!(waits.first() >= Some(&secs(least)) && waits.last() <= Some(&secs(most)), "{waits:?}");
        }
        assert_eq!(waits(0, 100, 3).last(), Some(&Duration::ZERO));
    }
}
