//! The log is read back, before anyone connects.

use super::content::Content;
use super::job::Job;
use super::{Engine, Record, Standing};
use crate::protocol::{Refusal, Spec};
use crate::types::{JobId, Timestamp};

impl Engine {
    /// Takes one record that a store kept: jobs that are not over, each once, as they stand; recurring jobs; functions.
    ///
    /// # Errors
    /// A recurring job whose fields cannot be read.
    pub fn restore(&mut self, now: Timestamp, record: Record<'_>) -> Result<(), Refusal> {
        self.advance_clock(now);
        match record {
            Record::Queued { id, standing, spec } => self.restore_job(id, standing, spec.into_owned()),
            Record::Scheduled { id, fields, spec } => {
                self.pass_number(id.0);
                self.restore_schedule(id, &fields, spec.into_owned())?;
            }
            Record::Function { name, limits, pinned } => {
                let function = self.functions.find_or_create(&name);
                let entry = self.functions.get_mut(function);
                (entry.limits, entry.pinned) = (limits, pinned);
            }
            Record::Lost { .. } | Record::Done(_) | Record::Unscheduled(_) => {
                debug_assert!(false, "a store folds what happened to a job into the job");
            }
        }
        Ok(())
    }

    fn restore_job(&mut self, id: JobId, standing: Standing, spec: Spec) {
        self.pass_number(id.0.max(standing.place));
        let function = self.functions.find_or_create(spec.function());
        // A job that was set aside, since its payload could not be read, comes back beside the one that was submitted in
        // its stead: no one joins it any more.
        let is_taken = self.find_joined(function, &spec).is_some();
        let due = standing.due.filter(|due| *due > self.now);
        let mut job = Job::new(Content::new(&spec), function, standing.priority, due);
        job.kept = true;
        job.never_joined = is_taken;
        job.stand_as(id, standing);
        self.insert(id, job);
    }

    /// The first number that may be given out, if it is larger than those seen so far.
    pub fn begin_numbers(&mut self, first: JobId) {
        self.next_number = self.next_number.max(first.0);
    }

    /// Numbers that were given out are not given out again.
    fn pass_number(&mut self, number: u64) {
        self.next_number = self.next_number.max(number + 1);
    }
}
