//! What every store promises, as a suite to run over it: [`check`] panics with a message that names what was broken.
//!
//! For whoever writes a [`Store`]: call it from a test. One store is opened again and again, which stands for restarts,
//! and all that was ever given to it must be there, or be over, each time. Slow disks, full ones and power cuts are not
//! looked at here: a store must keep these promises when nothing is wrong.

mod model;
mod random;
mod steps;

use std::borrow::Cow;

use bytes::Bytes;

use self::model::Model;
use super::{Reader, Store};
use crate::engine::{Record, Standing};
use crate::policy::{Plan, Terms};
use crate::protocol::{Kind, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// Numbers that a process gives to foreground jobs, of which no record tells, before it starts again.
const GIVEN_OUT_UNTOLD: u64 = 1 << 32;

/// Most pieces of housekeeping before the suite holds that they never end.
const MOST_TIDYING: usize = 1_000_000;

/// Runs all of it. Each call of `open` opens the same store, which holds nothing the first time; what was opened
/// before is dropped first, and so are its readers.
///
/// # Panics
/// If the store breaks a promise.
pub fn check(open: &mut dyn FnMut() -> Box<dyn Store>) {
    let mut suite = Suite::new(open);
    for (name, step) in steps::STEPS {
        suite.step = name;
        step(&mut suite);
        suite.restart();
    }
    for seed in 1..=8 {
        suite.step = "anything, at random";
        random::run(&mut suite, seed);
        suite.restart();
    }
}

/// A store under test, and what it must hold.
struct Suite<'a> {
    open: &'a mut dyn FnMut() -> Box<dyn Store>,
    store: Option<Box<dyn Store>>,
    model: Model,
    step: &'static str,
    /// What the last replay returned.
    first: u64,
    /// The next number to give out.
    next: u64,
}

impl<'a> Suite<'a> {
    fn new(open: &'a mut dyn FnMut() -> Box<dyn Store>) -> Self {
        let mut suite =
            Suite { open, store: None, model: Model::default(), step: "an empty store", first: 0, next: 0 };
        suite.restart();
        suite
    }

    /// Closes the store, opens it again, and compares what it gives back with what it was given.
    fn restart(&mut self) {
        self.store = None;
        let mut store = (self.open)();
        let mut found = Vec::new();
        let first = match store.replay(&mut |record| found.push(record)) {
            Ok(JobId(first)) => first,
            Err(error) => self.broken(format_args!("replay failed: {error}")),
        };
        if let Err(difference) = self.model.compare(found) {
            self.broken(difference);
        }
        if first < self.next || first == 0 {
            self.broken(format_args!(
                "numbers never repeat: replay returned {first}, but all below {} may have been given out",
                self.next
            ));
        }
        (self.store, self.first, self.next) = (Some(store), first, first + GIVEN_OUT_UNTOLD);
    }

    fn append(&mut self, batch: &[Record<'static>]) {
        if let Err(error) = self.store().append(batch) {
            self.broken(format_args!("append failed: {error}"));
        }
        batch.iter().cloned().for_each(|record| self.model.apply(record));
    }

    /// Tidies to the end.
    fn tidy(&mut self) {
        for _ in 0..MOST_TIDYING {
            match self.store().tidy() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.broken(format_args!("tidy failed: {error}")),
            }
        }
        self.broken("tidy says again and again that there is more to do");
    }

    fn reader(&mut self) -> Box<dyn Reader> {
        match self.store().reader() {
            Ok(reader) => reader,
            Err(error) => self.broken(format_args!("no reader: {error}")),
        }
    }

    /// Reads all jobs that are kept, with their results.
    fn read_all(&mut self, reader: &mut dyn Reader) {
        let ids: Vec<JobId> = self.model.jobs().map(|(id, _)| id).collect();
        self.read(reader, &ids);
    }

    /// Reads these jobs, which must be what was given to the store; others must be unknown.
    fn read(&self, reader: &mut dyn Reader, ids: &[JobId]) {
        if let Err(what) = self.model.read(reader, ids) {
            self.broken(what);
        }
    }

    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().expect("it is open between restarts").as_mut()
    }

    /// A job that was just submitted, with the next number.
    fn job(&mut self, unique: &[u8], payload: &[u8]) -> Record<'static> {
        let id = self.number();
        let standing = Standing::new(id, Priority::Normal, None, Timestamp::from_micros(id.0));
        queued(id, standing, spec(Kind::SubmitJobBg, &[b"f", unique, payload]))
    }

    fn number(&mut self) -> JobId {
        self.next += 1;
        JobId(self.next - 1)
    }

    fn broken(&self, what: impl std::fmt::Display) -> ! {
        panic!("the store breaks a promise ({}): {what}", self.step)
    }
}

fn queued(id: JobId, standing: Standing, spec: Spec) -> Record<'static> {
    queued_on(id, standing, spec, None)
}

fn queued_on(id: JobId, standing: Standing, spec: Spec, terms: Option<Terms>) -> Record<'static> {
    Record::Queued { id, standing, spec: Cow::Owned(spec), terms: terms.map(Box::new) }
}

fn scheduled(id: JobId, plan: Plan, spec: Spec) -> Record<'static> {
    Record::Scheduled { id, plan: Cow::Owned(plan), spec: Cow::Owned(spec) }
}

/// A plan of which nothing but this is said.
fn plan(fields: &str) -> Plan {
    Plan { fields: fields.to_owned(), ..Plan::default() }
}

/// A spec as a packet of this kind makes it.
fn spec(kind: Kind, arguments: &[&[u8]]) -> Spec {
    let body = Bytes::from(arguments.join(&0));
    Spec::parse(kind, body).expect("the suite's own packets are right").0
}
