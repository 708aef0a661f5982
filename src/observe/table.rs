//! All functions as they were last read. A reading brings those that changed; so a server with very many idle functions
//! costs no more than one with few.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::broker::{Broker, Reading, StoreFacts};
use crate::engine::view::Totals;
use crate::engine::{Counts, FunctionTally, SeenFunction};
use crate::history::Facts;
use crate::traces;
use crate::types::{FunctionId, Timestamp};

/// The table, for all who ask. Reads the broker when asked.
#[derive(Debug, Default)]
pub struct Watch {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    functions: HashMap<FunctionId, SeenFunction>,
    /// Of all functions that are there.
    sum: Sum,
    /// Those that changed since [`Watch::changes`] was last asked for, as they were then.
    changed: HashMap<FunctionId, Option<SeenFunction>>,
    /// What had happened to jobs in all by then.
    told: Counts,
    /// [`SeenFunction::oldest`] of all functions, each with how many have it.
    oldest: BTreeMap<Timestamp, usize>,
    /// All functions, the busiest first: a scrape takes the first thousand, however many there are.
    ranks: BTreeSet<Rank>,
}

/// A function's [`weight`], and what tells apart those of the same.
type Rank = (Reverse<u64>, FunctionId);

/// What the numbers of all functions add up to.
#[derive(Clone, Debug, Default)]
struct Sum {
    counts: Counts,
    ready: [usize; 3],
    scheduled: usize,
    held: usize,
}

/// The server at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// The server as a whole.
    pub totals: Totals,
    /// What happened to jobs of all functions.
    pub counts: Counts,
    /// Jobs that may be handed out, by priority.
    pub ready: [usize; 3],
    /// Jobs that are not due yet.
    pub scheduled: usize,
    /// Jobs that wait until an operator releases them.
    pub held: usize,
    /// What the store is doing, if there is one.
    pub store: Option<StoreFacts>,
    /// How the history goes, if there is one.
    pub history: Option<Facts>,
    /// How sending traces goes, if there are any.
    pub traces: Option<traces::Facts>,
    /// Connections there are.
    pub connections: usize,
    /// Bytes that wait for peers to read them.
    pub outbox_bytes: usize,
    /// The busiest functions, by name.
    pub functions: Vec<Function>,
    /// How many functions are not among them.
    pub not_shown: usize,
}

/// One function of a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct Function {
    /// What is known of it.
    pub seen: SeenFunction,
    /// Its histograms are shown: there are fewer of these, since each is many series.
    pub has_histograms: bool,
}

/// What changed since it was last asked for.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The server as a whole.
    pub total: Change,
    /// Functions that changed, and those that are gone.
    pub functions: Vec<Change>,
}

/// How a function, or the whole server, changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its name; empty: the whole server.
    pub name: Bytes,
    /// Jobs that may be handed out, by priority.
    pub ready: [usize; 3],
    /// Jobs that are not due yet.
    pub scheduled: usize,
    /// Jobs that workers have.
    pub running: usize,
    /// Connections that registered it; in all: any.
    pub workers: usize,
    /// Since when the first of the jobs that may be handed out could be.
    pub oldest: Option<Timestamp>,
    /// What happened to jobs meanwhile.
    pub counts: Counts,
}

impl Watch {
    /// Functions that are shown unless told otherwise.
    pub const FUNCTIONS: usize = 1000;

    /// One in so many of them is shown with its histograms.
    const HISTOGRAMS: usize = 10;

    /// A table that nothing was read into yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The server as it is now, with at most so many functions.
    pub fn snapshot(&self, broker: &Broker, now: Timestamp, most: usize) -> Snapshot {
        let (table, reading) = self.read(broker);
        let functions = table.busiest(most);
        let mut counts = table.sum.counts.clone();
        counts.merge(&reading.gone);
        Snapshot {
            at: now,
            counts,
            ready: table.sum.ready,
            scheduled: table.sum.scheduled,
            held: table.sum.held,
            store: reading.store,
            history: None,
            traces: None,
            connections: reading.connections,
            outbox_bytes: broker.outbox_bytes(),
            not_shown: table.functions.len() - functions.len(),
            functions,
            totals: reading.totals,
        }
    }

    /// What changed since this was last asked for. For one who asks, again and again.
    pub fn changes(&self, broker: &Broker) -> Changes {
        let (mut table, reading) = self.read(broker);
        let changed = std::mem::take(&mut table.changed);
        let mut functions = Vec::with_capacity(changed.len());
        for (id, before) in changed {
            let now = table.functions.get(&id);
            let same = now.zip(before.as_ref()).is_some_and(|(now, before)| now.name == before.name);
            if let Some(before) = before.as_ref().filter(|_| !same) {
                functions.push(Change::gone(before.name.clone()));
            }
            if let Some(now) = now {
                functions.push(Change::between(before.as_ref().filter(|_| same), now));
            }
        }
        let mut counts = table.sum.counts.clone();
        counts.merge(&reading.gone);
        let since = counts.since(&table.told);
        table.told = counts;
        let total = Change {
            name: Bytes::new(),
            ready: table.sum.ready,
            scheduled: table.sum.scheduled,
            running: reading.totals.running,
            workers: reading.totals.workers,
            oldest: table.oldest(),
            counts: since,
        };
        Changes { total, functions }
    }

    /// Brings the table up to date. One reading after the other: what one of them took, the next one lacks.
    fn read(&self, broker: &Broker) -> (MutexGuard<'_, Table>, Reading) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reading = broker.read();
        reading.changed.drain(..).for_each(|tally| table.note(tally));
        (table, reading)
    }
}

impl Table {
    fn note(&mut self, FunctionTally { id, seen }: FunctionTally) {
        if let Some(seen) = &seen {
            self.sum.add(seen);
        }
        let before = match seen {
            Some(seen) => self.functions.insert(id, seen),
            None => self.functions.remove(&id),
        };
        if let Some(before) = &before {
            self.sum.remove(before);
            self.forget_oldest(before);
            self.ranks.remove(&(Reverse(weight(before)), id));
        }
        if let Some(seen) = self.functions.get(&id) {
            self.ranks.insert((Reverse(weight(seen)), id));
            if let Some(oldest) = seen.oldest {
                *self.oldest.entry(oldest).or_default() += 1;
            }
        }
        self.changed.entry(id).or_insert(before);
    }

    fn forget_oldest(&mut self, before: &SeenFunction) {
        let Some(oldest) = before.oldest else { return };
        if let Some(count) = self.oldest.get_mut(&oldest) {
            *count -= 1;
            if *count == 0 {
                self.oldest.remove(&oldest);
            }
        }
    }

    /// Since when the first job of all lines could have been handed out.
    fn oldest(&self) -> Option<Timestamp> {
        self.oldest.first_key_value().map(|(oldest, _)| *oldest)
    }

    /// The functions with most to tell, by name.
    fn busiest(&self, most: usize) -> Vec<Function> {
        let with_histograms = most.div_ceil(Watch::HISTOGRAMS);
        let busiest = self.ranks.iter().take(most).filter_map(|(_, id)| self.functions.get(id));
        let mut shown: Vec<Function> = busiest
            .enumerate()
            .map(|(rank, seen)| Function { seen: seen.clone(), has_histograms: rank < with_histograms })
            .collect();
        shown.sort_by(|a, b| a.seen.name.cmp(&b.seen.name));
        shown
    }
}

/// How much there is to tell of a function: jobs that it has, and had. It is its own past that keeps it on the page, so the
/// choice hardly changes from one time to the next.
fn weight(seen: &SeenFunction) -> u64 {
    let ever = seen.counts.as_ref().map_or(0, |counts| counts.submitted + counts.started);
    let waiting = seen.ready.iter().sum::<usize>() + seen.scheduled.iter().sum::<usize>() + seen.held;
    ever + (waiting + seen.running) as u64
}

impl Change {
    fn gone(name: Bytes) -> Self {
        let counts = Counts::default();
        Self { name, ready: [0; 3], scheduled: 0, running: 0, workers: 0, oldest: None, counts }
    }

    fn between(before: Option<&SeenFunction>, now: &SeenFunction) -> Self {
        let counts = match (&now.counts, before.and_then(|before| before.counts.as_ref())) {
            (Some(now), Some(before)) => now.since(before),
            (Some(now), None) => (**now).clone(),
            (None, _) => Counts::default(),
        };
        Self {
            name: now.name.clone(),
            ready: now.ready,
            scheduled: now.scheduled.iter().sum(),
            running: now.running,
            workers: now.workers,
            oldest: now.oldest,
            counts,
        }
    }
}

impl Sum {
    fn add(&mut self, seen: &SeenFunction) {
        if let Some(counts) = &seen.counts {
            self.counts.merge(counts);
        }
        for (sum, ready) in self.ready.iter_mut().zip(seen.ready) {
            *sum += ready;
        }
        self.scheduled += seen.scheduled.iter().sum::<usize>();
        self.held += seen.held;
    }

    fn remove(&mut self, seen: &SeenFunction) {
        if let Some(counts) = &seen.counts {
            self.counts = self.counts.since(counts);
        }
        for (sum, ready) in self.ready.iter_mut().zip(seen.ready) {
            *sum -= ready;
        }
        self.scheduled -= seen.scheduled.iter().sum::<usize>();
        self.held -= seen.held;
    }
}
