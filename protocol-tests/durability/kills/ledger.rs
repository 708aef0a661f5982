//! What must be there after a kill, what may be, and what must not.
//!
//! Plain books, kept from outside: what was submitted and acknowledged, what was ended, what was looked at. After
//! each restart the server's own list settles what was open, so that what it lists then must be there from then on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::job::{Key, Origin, Submit, is_foreground};
use super::load::{Answer, Event};

#[derive(Default)]
pub struct Ledger {
    /// Jobs that are there, by the numbers in their handles.
    pub alive: BTreeMap<u64, Job>,
    /// Submits that were not answered, by token, with the life they belong to.
    unclear: HashMap<u64, (u64, Submit)>,
    /// The largest number given out so far, and what it was when the last load began.
    top: u64,
    floor: u64,
    /// What holds of limits, of functions that stay and of recurring jobs: all that may, as long as it is open.
    pub limits: BTreeMap<String, Vec<Option<u32>>>,
    pub pinned: BTreeMap<String, Vec<bool>>,
    pub schedules: BTreeMap<String, Recurring>,
    life: u64,
    expected: BTreeMap<u64, Expected>,
    /// Jobs that no one knows of may have been lost by workers that left in the middle of a grab.
    abandoned: u32,
    pub counts: Counts,
    pub faults: Vec<String>,
}

/// One job that is there.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The submits that were answered with its handle.
    pub claims: Vec<Submit>,
    pub losses: u32,
    /// The life in which it was first seen.
    since: u64,
}

/// What may be so after the end of a life.
#[derive(Default)]
struct Expected {
    job: Job,
    must: bool,
    must_not: Option<&'static str>,
    ended: bool,
    taken: u32,
}

/// A recurring job by its unique id.
#[derive(Default, Debug)]
pub struct Recurring {
    pub number: u64,
    pub fields: Vec<Option<[String; 5]>>,
}

/// A line of `show jobs` and its fellow of `show unique jobs`.
#[derive(Debug)]
pub struct Listed {
    pub number: u64,
    pub losses: u32,
    pub is_kept: bool,
    pub unique: String,
}

#[derive(Default, Debug, Clone, Copy)]
pub struct Counts {
    pub acknowledged: u64,
    pub joined: u64,
    pub unanswered: u64,
    pub ended: u64,
    pub came_back: u64,
    pub looked_into: u64,
}

impl Job {
    /// What submits join it by, if that is known.
    pub fn key(&self) -> Option<Key> {
        self.claims.first()?.key()
    }

    /// Whether no other submit than the one that was answered can have made it.
    pub fn maker_is_known(&self) -> bool {
        self.claims.len() == 1 && self.claims[0].key().is_none()
    }
}

/// A life of the server, and what comes after it.
impl Ledger {
    /// Takes what happened in a life that has ended. `is_flushed`: the server ended by itself.
    pub fn after(&mut self, life: &[Vec<Event>], is_flushed: bool) {
        self.life += 1;
        self.abandoned = 0;
        self.expected = std::mem::take(&mut self.alive)
            .into_iter()
            .map(|(number, job)| (number, Expected { job, must: true, ..Default::default() }))
            .collect();
        self.floor = self.top;
        for events in life {
            self.take(events, is_flushed);
        }
        let joinable = self.unanswered_background_keys();
        for expected in self.expected.values_mut() {
            let claims = &expected.job.claims;
            let may_be_joined = || claims.iter().filter_map(Submit::key).any(|key| joinable.contains(&key));
            let is_foreground = !claims.is_empty() && claims.iter().all(Submit::is_foreground);
            if !expected.must && is_foreground && !may_be_joined() {
                expected.must_not = expected.must_not.or(Some("it was a foreground job"));
            }
            expected.must &= !expected.ended;
        }
        self.check_origins(life);
        self.check_unique_ids();
    }

    fn take(&mut self, events: &[Event], is_flushed: bool) {
        let mut last = 0;
        for event in events {
            match event {
                Event::Submitted(submit, Answer::Yes(number)) => {
                    let is_new = submit.key().is_none();
                    if is_new && *number <= last {
                        self.fault(format!("{number} was given out after {last} on one connection"));
                    }
                    if is_new {
                        last = *number;
                    }
                    self.acknowledge(submit, *number);
                }
                Event::Submitted(submit, Answer::None) => {
                    self.counts.unanswered += 1;
                    self.unclear.insert(submit.token, (self.life, submit.clone()));
                }
                Event::Taken(number, origin) => {
                    self.top = self.top.max(*number);
                    let expected = self.expected.entry(*number).or_default();
                    expected.taken += 1;
                    // Nothing is handed out before it is safe, acknowledged or not.
                    expected.must |= matches!(origin, Origin::Token { kind, .. } if !is_foreground(*kind));
                }
                Event::Abandoned => self.abandoned += 1,
                Event::Ended { number, sealed } => {
                    self.counts.ended += 1;
                    let expected = self.expected.entry(*number).or_default();
                    expected.ended = true;
                    if *sealed || is_flushed {
                        expected.must_not = Some("its end was safe");
                    }
                }
                Event::Cancelled(number, answer) => {
                    let expected = self.expected.entry(*number).or_default();
                    expected.ended |= *answer != Answer::No;
                    if matches!(answer, Answer::Yes(_)) {
                        expected.must_not = Some("it was cancelled");
                    }
                }
                Event::Limited { function, limit, answer } => {
                    let known = self.limits.entry(function.clone()).or_insert_with(|| vec![None]);
                    note(known, Some(*limit), *answer);
                }
                Event::Pinned { function, made, answer } => {
                    let known = self.pinned.entry(function.clone()).or_insert_with(|| vec![false]);
                    note(known, *made, *answer);
                }
                Event::Scheduled { unique, fields, answer } => self.schedule(unique, fields, *answer),
                Event::Submitted(_, Answer::No) | Event::Nothing => {}
            }
        }
    }

    fn acknowledge(&mut self, submit: &Submit, number: u64) {
        self.counts.acknowledged += 1;
        let is_known = self.expected.contains_key(&number);
        if !is_known && number <= self.floor {
            self.faults
                .push(format!("{number}, of an earlier life and over since then, was given to {submit:?}"));
        }
        self.top = self.top.max(number);
        let expected = self.expected.entry(number).or_default();
        self.counts.joined += u64::from(!expected.job.claims.is_empty());
        if let Some(first) = expected.job.claims.first()
            && (first.key() != submit.key() || submit.key().is_none())
        {
            self.faults.push(format!("{number} was given to {first:?} and to {submit:?}"));
        }
        expected.must |= !submit.is_foreground();
        expected.job.claims.push(submit.clone());
    }

    fn schedule(&mut self, unique: &str, fields: &[String; 5], answer: Answer) {
        let known = self.schedules.entry(unique.to_owned()).or_default();
        if known.fields.is_empty() {
            known.fields.push(None);
        }
        if let Answer::Yes(number) = answer {
            let was_there = !known.fields.contains(&None);
            if was_there && known.number != number {
                self.faults.push(format!("recurring job {unique} was {}, is {number}", known.number));
            }
            known.number = number;
            self.top = self.top.max(number);
        }
        note(&mut known.fields, Some(fields.clone()), answer);
    }

    fn unanswered_background_keys(&self) -> HashSet<Key> {
        let of_this_life = self.unclear.values().filter(|(life, _)| *life == self.life);
        let background = of_this_life.filter(|(_, submit)| !submit.is_foreground());
        background.filter_map(|(_, submit)| submit.key()).collect()
    }

    /// What workers were handed in that life was what clients had submitted.
    fn check_origins(&mut self, life: &[Vec<Event>]) {
        for event in life.iter().flatten() {
            if let Event::Taken(number, origin) = event {
                let claims = self.expected.get(number).map(|expected| &expected.job.claims[..]);
                let claims = claims.unwrap_or_default();
                if self.makers(claims, origin).next().is_none() {
                    self.fault(stranger(*number, claims, origin));
                }
            }
        }
    }

    /// As long as a job is there, submits with its unique id join it: of the jobs acknowledged for one unique id, all
    /// but the last must have been ended.
    fn check_unique_ids(&mut self) {
        let mut by_key: HashMap<Key, BTreeSet<u64>> = HashMap::new();
        for (number, expected) in &self.expected {
            let is_kept = expected.must || expected.ended;
            if let Some(key) = expected.job.key().filter(|_| is_kept) {
                by_key.entry(key).or_default().insert(*number);
            }
        }
        for (key, mut numbers) in by_key {
            numbers.pop_last();
            let open: Vec<u64> = numbers.into_iter().filter(|number| self.expected[number].must).collect();
            if !open.is_empty() {
                self.fault(format!("{key:?} was given a new job although {open:?} had not ended"));
            }
        }
    }

    /// Holds the server's list after a restart against what was to be expected.
    pub fn settle(&mut self, listed: &[Listed]) {
        let mut strangers = 0;
        for line in listed {
            self.top = self.top.max(line.number);
            let job = match self.expected.remove(&line.number) {
                Some(expected) => self.settle_one(line, expected),
                None => {
                    strangers += 1;
                    self.adopt(line)
                }
            };
            if self.alive.insert(line.number, job).is_some() {
                self.fault(format!("{} is there twice", line.number));
            }
        }
        for (number, expected) in std::mem::take(&mut self.expected) {
            if expected.must {
                self.fault(format!("{number} is gone: {:?}", expected.job));
            }
        }
        let open = |submit: &&(u64, Submit)| submit.0 == self.life && !submit.1.is_foreground();
        let most = self.unclear.values().filter(open).count();
        if strangers > most {
            self.fault(format!(
                "{strangers} jobs that no one was told of, where {most} submits were unanswered"
            ));
        }
        self.check_unique_ids_of(listed);
        self.forget();
    }

    fn settle_one(&mut self, line: &Listed, expected: Expected) -> Job {
        let Expected { mut job, must_not, ended, taken, .. } = expected;
        if let Some(why) = must_not {
            self.fault(format!("{} is there although {why}: {job:?}", line.number));
        }
        let (least, most) = (job.losses, job.losses + taken + self.abandoned);
        if !(least..=most).contains(&line.losses) {
            self.fault(format!("{} was lost {} times, not {least} to {most}", line.number, line.losses));
        }
        if let Some(claim) = job.claims.first()
            && claim.unique != line.unique
        {
            self.fault(format!("{} has the unique id {:?}, not as {claim:?}", line.number, line.unique));
        }
        self.counts.came_back += u64::from(ended);
        job.losses = line.losses;
        if job.since == 0 {
            job.since = self.life;
        }
        job
    }

    /// A job that nobody was told of: its submit was not answered.
    fn adopt(&mut self, line: &Listed) -> Job {
        if line.number <= self.floor {
            self.fault(format!("{} was over and came back", line.number));
        }
        if line.losses > self.abandoned {
            self.fault(format!("{} was lost {} times", line.number, line.losses));
        }
        Job { claims: Vec::new(), losses: line.losses, since: self.life }
    }

    /// No two jobs of a function have one unique id.
    fn check_unique_ids_of(&mut self, listed: &[Listed]) {
        if let Some(line) = listed.iter().find(|line| !line.is_kept) {
            self.fault(format!("{} is no background job", line.number));
        }
        let mut seen: HashMap<Key, u64> = HashMap::new();
        let mut twice = Vec::new();
        for (number, job) in &self.alive {
            if let Some(other) = job.key().and_then(|key| seen.insert(key, *number)) {
                twice.push(format!("{other} and {number} have one unique id: {job:?}"));
            }
        }
        self.faults.append(&mut twice);
    }

    /// Unanswered submits matter as long as a job is there that one of them may have made.
    fn forget(&mut self) {
        let doubtful = self.alive.values().filter(|job| !job.maker_is_known());
        let oldest = doubtful.map(|job| job.since).min().unwrap_or(u64::MAX);
        self.unclear.retain(|_, (life, _)| *life >= oldest);
    }
}

/// While one looks at a server that is alone with the one who looks.
impl Ledger {
    /// A submit was acknowledged.
    pub fn submitted(&mut self, submit: Submit, number: u64) {
        self.counts.acknowledged += 1;
        match self.alive.get_mut(&number) {
            Some(job) if submit.key().is_some() && job.key().is_none_or(|key| Some(key) == submit.key()) => {
                job.claims.push(submit);
            }
            Some(job) => {
                let fault = format!("{number} is {job:?} and was given to {submit:?}");
                self.fault(fault);
            }
            None if number <= self.top => self.fault(format!("{number} was given out again, to {submit:?}")),
            None => {
                self.top = number;
                self.alive.insert(number, Job { claims: vec![submit], losses: 0, since: self.life });
            }
        }
    }

    /// A worker was handed this job: whether it is the one that was submitted.
    pub fn handed_out(&mut self, number: u64, function: &[u8], origin: &Origin, now: u64) {
        self.counts.looked_into += 1;
        let Some(job) = self.alive.get(&number) else {
            return self.fault(format!("{number} was handed out and is not in the list"));
        };
        if let Some(claim) = job.claims.first()
            && claim.function.as_bytes() != function
        {
            let fault = format!("{number} came as a job of {}: {claim:?}", String::from_utf8_lossy(function));
            return self.fault(fault);
        }
        let mut makers = self.makers(&job.claims, origin).peekable();
        let fault = if makers.peek().is_none() {
            Err(stranger(number, &job.claims, origin))
        } else if makers.all(|submit| submit.due > now) {
            Err(format!("{number} was handed out at {now}, before its time: {origin:?}"))
        } else {
            Ok(())
        };
        drop(makers);
        self.faults.extend(fault.err());
    }

    /// Whether a job may be withheld from workers at this second: it, or one that may have made it, has a time.
    pub fn may_wait(&self, job: &Job, now: u64) -> bool {
        let key = job.key();
        let unanswered = self.unclear.values().map(|(_, submit)| submit);
        let may_have_made_it = unanswered.filter(|submit| key.is_some() && submit.key() == key);
        job.claims.is_empty() || job.claims.iter().chain(may_have_made_it).any(|submit| submit.due >= now)
    }

    /// The submits that can have made a job that says this of itself: those that were answered with its handle, and
    /// those that were not answered and have its unique id.
    fn makers<'a>(&'a self, claims: &'a [Submit], origin: &'a Origin) -> impl Iterator<Item = &'a Submit> {
        let key = claims.first().map(Submit::key);
        let unanswered = self.unclear.values().map(|(_, submit)| submit);
        let has_key =
            move |submit: &&Submit| key.as_ref().is_none_or(|key| key.is_some() && *key == submit.key());
        claims.iter().chain(unanswered.filter(has_key)).filter(|submit| submit.made(origin))
    }

    pub fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }
}

fn stranger(number: u64, claims: &[Submit], origin: &Origin) -> String {
    format!("{number} says of itself {origin:?}, which none of those did who were given it: {claims:?}")
}

/// One more value that may be, or the only one.
fn note<T: PartialEq>(known: &mut Vec<T>, value: T, answer: Answer) {
    match answer {
        Answer::Yes(_) => *known = vec![value],
        Answer::None => known.push(value),
        Answer::No => {}
    }
}
