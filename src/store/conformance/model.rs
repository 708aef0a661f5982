//! What a store was given, kept in the plainest way, and what it gives back compared with that.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::engine::Record;
use crate::policy::Policy;
use crate::protocol::{MaxQueue, Spec};
use crate::store::Reader;
use crate::types::{JobId, Printable};

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Model {
    jobs: BTreeMap<JobId, Record<'static>>,
    recurring: BTreeMap<JobId, Record<'static>>,
    results: BTreeMap<JobId, Bytes>,
    functions: BTreeMap<Vec<u8>, (MaxQueue, bool)>,
    policies: BTreeMap<String, Policy>,
}

impl Model {
    pub fn apply(&mut self, record: Record<'static>) {
        match record {
            Record::Queued { id, .. } => drop(self.jobs.insert(id, record)),
            Record::Stands { id, standing: now } => {
                if let Some(Record::Queued { standing, .. }) = self.jobs.get_mut(&id) {
                    *standing = now;
                }
            }
            Record::Result { id, body } => drop(self.results.insert(id, body)),
            Record::Done(id) => {
                self.jobs.remove(&id);
                self.results.remove(&id);
            }
            Record::Scheduled { id, .. } => drop(self.recurring.insert(id, record)),
            Record::Unscheduled(id) => drop(self.recurring.remove(&id)),
            Record::Function { name, limits: [None, None, None], pinned: false } => {
                self.functions.remove(name.as_ref());
            }
            Record::Function { name, limits, pinned } => {
                self.functions.insert(name.into_owned(), (limits, pinned));
            }
            Record::Policy { pattern, policy: None } => drop(self.policies.remove(pattern.as_ref())),
            Record::Policy { pattern, policy: Some(policy) } => {
                self.policies.insert(pattern.into_owned(), *policy);
            }
        }
    }

    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Spec)> {
        self.jobs.iter().filter_map(|(id, record)| match record {
            Record::Queued { spec, .. } => Some((*id, spec.as_ref())),
            _ => None,
        })
    }

    pub fn recurring(&self) -> impl Iterator<Item = JobId> {
        self.recurring.keys().copied()
    }

    /// Compares what a replay gave back with this.
    pub fn compare(&self, found: Vec<Record<'static>>) -> Result<(), String> {
        let (mut jobs, mut recurring, mut functions) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let (mut policies, mut is_past_policies) = (BTreeSet::new(), false);
        for record in found {
            if let Record::Policy { pattern, .. } = &record
                && is_past_policies
            {
                return Err(format!("policies come first, before what they rule: {pattern}"));
            }
            is_past_policies |= !matches!(record, Record::Policy { .. });
            match record {
                Record::Queued { id, .. } => {
                    if jobs.last().is_some_and(|last| *last >= id) {
                        return Err(format!("jobs come in the order of their numbers, once each: {id:?}"));
                    }
                    jobs.push(id);
                    same_job(self.jobs.get(&id), &record)?;
                }
                Record::Scheduled { id, .. } => {
                    if !recurring.insert(id) {
                        return Err(format!("recurring job {} comes twice", id.0));
                    }
                    if self.recurring.get(&id) != Some(&record) {
                        let expected = self.recurring.get(&id);
                        return Err(format!("recurring job: {record:?} came, {expected:?} was kept"));
                    }
                }
                Record::Function { name, limits, pinned } => {
                    let kept = self.functions.get(name.as_ref());
                    if kept != Some(&(limits, pinned)) || !functions.insert(name.to_vec()) {
                        let name = Printable(&name);
                        return Err(format!("function {name}: {limits:?} {pinned}, {kept:?} was kept"));
                    }
                }
                Record::Policy { pattern, policy } => {
                    let kept = self.policies.get(pattern.as_ref());
                    if kept != policy.as_deref() || !policies.insert(pattern.to_string()) {
                        return Err(format!("policy {pattern}: {policy:?}, {kept:?} was kept"));
                    }
                }
                Record::Stands { .. } | Record::Result { .. } | Record::Done(_) | Record::Unscheduled(_) => {
                    return Err(format!("a replay tells what is kept, not what happened: {record:?}"));
                }
            }
        }
        let lost = self.jobs.keys().find(|id| jobs.binary_search(id).is_err());
        if let Some(lost) = lost.or_else(|| self.recurring.keys().find(|id| !recurring.contains(id))) {
            return Err(format!("what was kept comes back: {lost:?} was lost"));
        }
        if let Some(lost) = self.policies.keys().find(|pattern| !policies.contains(*pattern)) {
            return Err(format!("what was kept comes back: the policy for {lost} was lost"));
        }
        match self.functions.keys().find(|name| !functions.contains(*name)) {
            Some(lost) => Err(format!("what was kept comes back: function {} was lost", Printable(lost))),
            None => Ok(()),
        }
    }

    /// Reads these jobs and compares: bodies and results of jobs that are kept, each once, and nothing for any other.
    pub fn read(&self, reader: &mut dyn Reader, ids: &[JobId]) -> Result<(), String> {
        let mut found = BTreeMap::new();
        let mut twice = None;
        let read = reader.read(ids, &mut |id, body| {
            if found.insert(id, body).is_some() {
                twice = Some(id);
            }
        });
        read.map_err(|error| format!("read failed: {error}"))?;
        if twice.is_some() || found.len() != ids.len() {
            return Err(format!("a reader passes on each job it is asked for, once: {ids:?}, {twice:?}"));
        }
        for id in ids {
            let result =
                reader.read_result(*id).map_err(|error| format!("reading a result failed: {error}"))?;
            let expected = self.results.get(id);
            if result.as_ref() != expected {
                let id = id.0;
                return Err(format!("the result of job {id} is read as {result:?}, {expected:?} was kept"));
            }
            let expected = match self.jobs.get(id) {
                Some(Record::Queued { spec, .. }) => Some(spec.body()),
                _ => None,
            };
            match (found.get(id).and_then(Option::as_ref), expected) {
                (Some(body), Some(expected)) if body == expected => {}
                (None, None) => {}
                (Some(_), Some(_)) => return Err(format!("another body of job {} is read", id.0)),
                (None, Some(_)) => return Err(format!("the body of job {} is not found", id.0)),
                (Some(_), None) => return Err(format!("job {} is unknown, but has a body", id.0)),
            }
        }
        Ok(())
    }
}

fn same_job(kept: Option<&Record<'static>>, found: &Record<'static>) -> Result<(), String> {
    let (
        Some(Record::Queued { standing: kept_standing, spec: kept_spec, terms: kept_terms, .. }),
        Record::Queued { id, standing, spec, terms },
    ) = (kept, found)
    else {
        return Err(format!("what is over does not come back: {found:?}"));
    };
    let id = id.0;
    if standing != kept_standing {
        return Err(format!("job {id} stands {standing:?}, it was kept as {kept_standing:?}"));
    }
    if terms != kept_terms {
        return Err(format!("job {id} has the terms {terms:?}, it was kept with {kept_terms:?}"));
    }
    if spec.unique() == b"-" && !spec.is_whole() {
        return Err(format!("a job that coalesces by its payload comes with it: job {id} did not"));
    }
    let kept_spec: Cow<'_, Spec> =
        if spec.is_whole() { Cow::Borrowed(kept_spec) } else { Cow::Owned(kept_spec.without_payload()) };
    if spec.as_ref() != kept_spec.as_ref() {
        return Err(format!("job {id} is {spec:?}, it was kept as {kept_spec:?}"));
    }
    Ok(())
}
