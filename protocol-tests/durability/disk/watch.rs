//! Follows a trace: the page cache, and what may be found after a power cut at each moment.

use std::path::Path;
use std::sync::Arc;

use gearhouse::store::sqlite::SqliteStore;

use super::driver::{Plan, hash};
use super::page_cache::PageCache;
use super::script::{Model, Script};
use super::trace::Event;

/// What a store must hold now.
#[derive(Clone)]
pub struct Expected {
    /// All that was acknowledged.
    pub kept: Arc<Model>,
    /// The same and the batch that is being appended, if there is one.
    pub with_batch: Option<Arc<Model>>,
    /// The largest number given out.
    pub last_number: u64,
}

pub struct Watch<'a> {
    pub cache: PageCache,
    pub expected: Expected,
    plans: std::slice::Iter<'a, Plan>,
    script: Script,
}

impl<'a> Watch<'a> {
    pub fn new(cache: PageCache, kept: Model, plans: &'a [Plan]) -> Self {
        let script = Script::new(0, Model::default(), 1);
        let expected = Expected { kept: Arc::new(kept), with_batch: None, last_number: 0 };
        Self { cache, expected, plans: plans.iter(), script }
    }

    pub fn apply(&mut self, event: &Event) {
        self.cache.apply(event);
        let Event::Mark(mark) = event else { return };
        let words: Vec<&str> = mark.split(' ').collect();
        match words[0] {
            "open" => self.opened(words[1].parse().unwrap(), words[2].parse().unwrap()),
            "begin" => {
                self.script.batch();
                self.expected.with_batch = Some(Arc::new(self.script.model().clone()));
                self.expected.last_number = self.script.last_number();
                assert_eq!(words[2], self.script.last_number().to_string(), "driver and watch disagree");
            }
            "end" => self.expected.kept = self.expected.with_batch.take().unwrap(),
            "refused" => {
                self.plans.next();
            }
            _ => {}
        }
    }

    /// A process came after another one that ended or was killed: no power was cut, so all that was kept is there.
    fn opened(&mut self, first: u64, found: u64) {
        let plan = self.plans.next().expect("as many plans as processes");
        let Expected { kept, with_batch, last_number } = &mut self.expected;
        if let Some(whole) = with_batch.take().filter(|whole| hash(whole) == found) {
            *kept = whole;
        }
        assert_eq!(hash(kept), found, "what is found after a restart is not what was kept");
        assert!(first > *last_number, "number {first} may have been given out before");
        *last_number = first - 1;
        self.script = Script::new(plan.seed, kept.as_ref().clone(), first);
    }
}

/// Opens what lies in a directory as a store and compares. Gives what is there.
pub fn check(folder: &Path, expected: &Expected) -> Result<(), String> {
    let opened = SqliteStore::open(folder, false);
    let found = opened.and_then(|mut store| Model::of(&mut store));
    let (found, first) = found.map_err(|error| format!("it does not open: {error}"))?;
    let whole = expected.with_batch.as_ref().is_some_and(|whole| **whole == found);
    if !whole && *expected.kept != found {
        let and_batch = expected.with_batch.as_ref().map(|whole| whole.difference(&found));
        let difference = expected.kept.difference(&found);
        return Err(format!("against what was kept: {difference}; with the batch in flight: {and_batch:?}"));
    }
    if first <= expected.last_number {
        return Err(format!("number {first} was given out before; the last was {}", expected.last_number));
    }
    Ok(())
}
