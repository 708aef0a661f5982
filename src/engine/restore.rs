//! The log is read back, before anyone connects.

use super::content::Content;
use super::job::Job;
use super::{Engine, Outcome, Output, Phase, Reason, Record, Standing};
use crate::policy::Terms;
use crate::protocol::{Refusal, Spec};
use crate::types::{FunctionId, JobId, Timestamp};

impl Engine {
    /// Takes one record that a store kept: jobs that are not over, each once, as they stand; recurring jobs; functions.
    ///
    /// # Errors
    /// A recurring job whose fields cannot be read.
    pub fn restore(&mut self, now: Timestamp, record: Record<'_>) -> Result<(), Refusal> {
        self.advance_clock(now);
        match record {
            Record::Queued { id, standing, spec, terms } => {
                self.restore_job(id, standing, spec.into_owned(), terms.map(|terms| *terms));
            }
            Record::Scheduled { id, plan, spec } => {
                self.pass_number(id.0);
                self.restore_schedule(id, plan.into_owned(), spec.into_owned())?;
            }
            Record::Policy { pattern, policy } => {
                if let Some(policy) = policy {
                    self.restore_policy(&pattern, *policy);
                }
            }
            Record::Function { name, limits, pinned } => {
                let function = self.make_function(&name);
                let entry = self.functions.change(function);
                (entry.limits, entry.pinned) = (limits, pinned);
            }
            Record::Stands { .. } | Record::Result { .. } | Record::Done(_) | Record::Unscheduled(_) => {
                debug_assert!(false, "a store folds what happened to a job into the job");
            }
        }
        Ok(())
    }

    fn restore_job(&mut self, id: JobId, standing: Standing, spec: Spec, terms: Option<Terms>) {
        self.pass_number(id.0.max(standing.place));
        let function = self.make_function(spec.function());
        let content = Content::new(&spec);
        let mut job = Job::new(content, function, standing.priority, standing.due, standing.submitted);
        let is_due = standing.due.is_none_or(|due| due <= self.now);
        if is_due {
            job.make_waiting(None);
        }
        job.kept = true;
        job.stand_as(id, standing, terms);
        match standing.phase {
            Phase::Waiting => {
                let since = standing.due.unwrap_or_default().max(standing.submitted);
                if is_due {
                    job.wait_at_most(since, self.wait_timeout(&job));
                }
            }
            Phase::Held => job.hold(),
            Phase::Running | Phase::Cancelling => self.broken_off.push((id, standing.phase)),
            Phase::Over { outcome, at } => job.end(self.over_again(&job, outcome, at)),
        }
        self.stand_apart(function, id, &spec, &mut job);
        self.insert(id, job);
    }

    /// Of several jobs with one unique id one only stands in the index: the first that is not over, else the last. They
    /// come back beside each other if one was set aside, since its payload could not be read, or could not answer.
    fn stand_apart(&mut self, function: FunctionId, id: JobId, spec: &Spec, job: &mut Job) {
        let is_found = job.over().is_none_or(|over| over.answers_until.is_some());
        let Some(other) = self.find_joined(function, spec).filter(|_| is_found) else { return };
        if self.jobs.get(other).is_some_and(|other| other.over().is_some()) {
            self.stop_answering(other);
        } else if let Some(over) = job.over_mut() {
            over.answers_until = None;
        } else {
            job.never_joined = true;
            self.apart.insert(id);
        }
    }

    /// All is read: numbers begin here, if this is larger than those seen so far, and jobs that were with a worker when
    /// the last process ended are lost to it. A job that ends its worker, or the server, is not run for ever.
    pub fn begin(&mut self, first: JobId, out: &mut impl Output) {
        self.next_number = self.next_number.max(first.0);
        for (id, phase) in std::mem::take(&mut self.broken_off) {
            if phase == Phase::Cancelling {
                self.note_run(id, out);
                self.finish(id, Outcome::Cancelled, None, out);
            } else {
                self.put_back(id, Reason::Lost, out);
            }
        }
        self.functions.note_memories();
    }

    /// Numbers that were given out are not given out again.
    fn pass_number(&mut self, number: u64) {
        self.next_number = self.next_number.max(number + 1);
    }
}
