//! What a driver has a store keep, drawn from a seed, and the plain model of what must be there afterwards.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use gearhouse::engine::{Outcome, Phase, Reason, Record, Standing};
use gearhouse::policy::{Plan, Policy, Terms};
use gearhouse::protocol::{Kind, MaxQueue, Spec};
use gearhouse::store::sqlite::SqliteStore;
use gearhouse::store::{Store, StoreError};
use gearhouse::types::{JobId, Priority, Timestamp};

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub jobs: BTreeMap<u64, Job>,
    schedules: BTreeMap<u64, (Plan, Vec<u8>)>,
    functions: BTreeMap<Vec<u8>, (MaxQueue, bool)>,
    policies: BTreeMap<String, Policy>,
}

/// A job with all that is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    standing: Standing,
    terms: Option<Terms>,
    pub body: Vec<u8>,
    result: Option<Bytes>,
}

impl Model {
    /// What a store holds, bodies included, and the first number it gives out.
    pub fn of(store: &mut SqliteStore) -> Result<(Model, u64), StoreError> {
        let mut model = Model::default();
        let first = store.replay(&mut |record| model.apply(&record))?;
        let ids: Vec<JobId> = model.jobs.keys().copied().map(JobId).collect();
        let mut reader = store.reader()?;
        reader.read(&ids, &mut |id, body| {
            if let Some(job) = model.jobs.get_mut(&id.0) {
                job.body = body.map_or(b"DAMAGED".to_vec(), |body| body.to_vec());
            }
        })?;
        for (id, job) in &mut model.jobs {
            job.result = reader.read_result(JobId(*id))?;
        }
        Ok((model, first.0))
    }

    pub fn apply(&mut self, record: &Record<'_>) {
        match record {
            Record::Queued { id, standing, spec, terms } => {
                let terms = terms.as_deref().cloned();
                let body = spec.body().to_vec();
                self.jobs.insert(id.0, Job { standing: *standing, terms, body, result: None });
            }
            Record::Stands { id, standing } => {
                if let Some(job) = self.jobs.get_mut(&id.0) {
                    job.standing = *standing;
                }
            }
            Record::Result { id, body } => {
                if let Some(job) = self.jobs.get_mut(&id.0) {
                    job.result = Some(body.clone());
                }
            }
            Record::Done(id) => {
                self.jobs.remove(&id.0);
            }
            Record::Scheduled { id, plan, spec } => {
                self.schedules.insert(id.0, (plan.as_ref().clone(), spec.body().to_vec()));
            }
            Record::Unscheduled(id) => {
                self.schedules.remove(&id.0);
            }
            Record::Function { name, limits: [None, None, None], pinned: false } => {
                self.functions.remove(name.as_ref());
            }
            Record::Function { name, limits, pinned } => {
                self.functions.insert(name.to_vec(), (*limits, *pinned));
            }
            Record::Policy { pattern, policy: None } => {
                self.policies.remove(pattern.as_ref());
            }
            Record::Policy { pattern, policy: Some(policy) } => {
                self.policies.insert(pattern.to_string(), policy.as_ref().clone());
            }
        }
    }

    /// What is in one and not in the other, in few words.
    pub fn difference(&self, other: &Model) -> String {
        let missing: Vec<_> = self.jobs.keys().filter(|id| !other.jobs.contains_key(id)).collect();
        let extra: Vec<_> = other.jobs.keys().filter(|id| !self.jobs.contains_key(id)).collect();
        let changed: Vec<_> = self
            .jobs
            .iter()
            .filter(|(id, job)| other.jobs.get(id).is_some_and(|found| found != *job))
            .map(|(id, _)| id)
            .collect();
        let rest = self.schedules == other.schedules
            && self.functions == other.functions
            && self.policies == other.policies;
        format!(
            "jobs missing {missing:?}, too many {extra:?}, changed {changed:?}, the rest is the same: {rest}"
        )
    }
}

/// A seed whose third batch is so large that the index of the write-ahead log has to grow for it.
pub const LARGE: u64 = 999;

/// Seeds that end in this digit end more jobs at once than are put away in one commit.
pub const MANY: u64 = 9;

/// Batches from a seed.
pub struct Script {
    /// Batches until there are many jobs, and then that all of them end.
    until_many: Option<u32>,
    /// Batches until the large one.
    until_large: Option<u32>,
    random: fastrand::Rng,
    alive: Model,
    next: u64,
}

impl Script {
    pub fn new(seed: u64, alive: Model, first: u64) -> Self {
        let until_large = (seed == LARGE).then_some(2);
        let until_many = (seed % 10 == MANY && seed != LARGE).then_some(4);
        Self { until_many, until_large, random: fastrand::Rng::with_seed(seed), alive, next: first }
    }

    /// The largest number given out so far.
    pub fn last_number(&self) -> u64 {
        self.next - 1
    }

    /// What the store must hold once all batches so far are kept.
    pub fn model(&self) -> &Model {
        &self.alive
    }

    pub fn batch(&mut self) -> Vec<Record<'static>> {
        let mut batch = Vec::new();
        if self.until_large == Some(0) {
            while batch.len() < 75 {
                let record = self.queued(500_000);
                self.alive.apply(&record);
                batch.push(record);
            }
        }
        if self.until_many == Some(1) {
            for _ in 0..3000 {
                let record = self.queued(3);
                self.alive.apply(&record);
                batch.push(record);
            }
            self.until_many = Some(0);
            // They end with the next batch, below.
            return batch;
        }
        self.until_many = self.until_many.and_then(|batches| batches.checked_sub(1));
        self.until_large = self.until_large.and_then(|batches| batches.checked_sub(1));
        let (most, largest) = match self.random.u32(..20) {
            0 => (120, 8000),
            1..4 => (4, 30_000),
            4..12 => (12, 1500),
            _ => (2, 100),
        };
        for _ in 0..self.random.usize(1..=most) {
            let record = self.record(largest);
            self.alive.apply(&record);
            batch.push(record);
        }
        // The queue stays short, so that many images can be looked through.
        while self.alive.jobs.len() > 150 {
            let record = Record::Done(self.any_job());
            self.alive.apply(&record);
            batch.push(record);
        }
        batch
    }

    fn record(&mut self, largest: usize) -> Record<'static> {
        let is_empty = self.alive.jobs.is_empty();
        match self.random.u32(..24) {
            0..3 if !is_empty => Record::Done(self.any_job()),
            3 | 4 if !is_empty => {
                let (id, standing) = (self.any_job(), self.standing(0));
                Record::Stands { id, standing }
            }
            20 | 21 if !is_empty => {
                let len = self.random.usize(..=largest);
                let body = (0..len).map(|_| self.random.u8(..)).collect();
                Record::Result { id: self.any_job(), body }
            }
            22 => {
                let pattern = *self.random.choice(&["*", "function-1", "function-*"]).unwrap();
                let attempts = Some(self.random.u32(..9));
                let policy = Policy { attempts, ..Policy::default() };
                let policy = self.random.bool().then_some(Box::new(policy));
                Record::Policy { pattern: pattern.into(), policy }
            }
            5 => {
                let id = JobId(self.number());
                scheduled(id, "1 2 3 * *", self.spec(100))
            }
            6 => match self.alive.schedules.keys().next() {
                Some(id) if self.random.bool() => Record::Unscheduled(JobId(*id)),
                Some(id) => {
                    let id = JobId(*id);
                    scheduled(id, "5 * * * *", self.spec(300))
                }
                None => Record::Unscheduled(JobId(self.number())),
            },
            7 => {
                let limits = [None, Some(self.random.u32(1..9)), None];
                let limits = if self.random.bool() { limits } else { [None; 3] };
                let name = vec![b'f', self.random.u8(b'0'..=b'5')];
                Record::Function { name: name.into(), limits, pinned: self.random.bool() }
            }
            // Given to a foreground job, that nothing is kept of.
            8 => {
                self.number();
                self.queued(largest)
            }
            _ => self.queued(largest),
        }
    }

    fn queued(&mut self, largest: usize) -> Record<'static> {
        let id = self.number();
        let terms = Terms { mime: Some("text/plain".to_owned()), ..Terms::default() };
        let terms = (self.random.u32(..8) == 0).then_some(Box::new(terms));
        let (standing, spec) = (self.standing(id), Cow::Owned(self.spec(largest)));
        Record::Queued { id: JobId(id), standing, spec, terms }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn any_job(&mut self) -> JobId {
        let nth = self.random.usize(..self.alive.jobs.len());
        JobId(*self.alive.jobs.keys().nth(nth).unwrap())
    }

    fn standing(&mut self, place: u64) -> Standing {
        let random = &mut self.random;
        let mut time = || random.bool().then(|| Timestamp::from_micros(random.u64(1..1 << 50)));
        let (due, first_start, last_start, at) = (time(), time(), time(), time().unwrap_or_default());
        let outcomes = [Outcome::Succeeded, Outcome::Cancelled, Outcome::Failed(Reason::Lost)];
        let outcome = *random.choice(&outcomes).unwrap();
        let phases = [Phase::Waiting, Phase::Held, Phase::Running, Phase::Over { outcome, at }];
        Standing {
            priority: *random.choice(&Priority::ALL).unwrap(),
            phase: *random.choice(&phases).unwrap(),
            due,
            attempts: random.u32(..3),
            losses: random.u32(..3),
            place: place + random.u64(..5),
            submitted: at,
            first_start,
            last_start,
        }
    }

    fn spec(&mut self, largest: usize) -> Spec {
        let unique = match self.random.u32(..8) {
            0 => "-".to_owned(),
            1 => String::new(),
            _ => format!("unique-{}", self.random.u64(..)),
        };
        let mut body = format!("function-{}\0{unique}\0", self.random.u32(..4)).into_bytes();
        let length = self.random.usize(..=largest);
        body.extend((0..length).map(|_| self.random.u8(..)));
        Spec::parse(Kind::SubmitJobBg, Bytes::from(body)).unwrap().0
    }
}

fn scheduled(id: JobId, fields: &str, spec: Spec) -> Record<'static> {
    let plan = Plan { fields: fields.to_owned(), ..Plan::default() };
    Record::Scheduled { id, plan: Cow::Owned(plan), spec: Cow::Owned(spec) }
}
