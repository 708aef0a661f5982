//! Load over time, in three grains that are kept for longer the coarser they are. Pure: seconds go in, rows come out.
//!
//! A function of which nothing changed in a second has no row for it, and one that has nothing at all has none ever. So
//! that this can be told from a server that did not run, the whole server has a row for each second. And so that one need
//! not look back far for how a function stands, each that has anything has a row at the beginning of a [`PERIOD`].

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::sample::{Events, Level, Sample, Second};

/// The grains, in seconds.
pub(super) const GRAINS: [u64; 3] = [FINE, MIDDLE, COARSE];
pub(super) const FINE: u64 = 1;
pub(super) const MIDDLE: u64 = 10;
pub(super) const COARSE: u64 = 300;

/// How often each function that has anything has a row for certain.
pub(super) const PERIOD: u64 = COARSE;

/// A row of the file. What is there already is what came before.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub grain: u64,
    /// The second at which it begins; a multiple of the grain.
    pub begins: u64,
    pub function: Vec<u8>,
    pub sample: Sample,
}

/// What is needed to make rows of seconds.
#[derive(Debug)]
pub(super) struct Load {
    /// Functions that have anything, or had it in the present step; and the whole server, under the empty name.
    functions: HashMap<Vec<u8>, State>,
    /// The second that is to come; none before the first.
    next: Option<u64>,
    /// Fine rows of the present step of the middle grain.
    fine: Vec<Row>,
    /// Most functions that have a row in one step of a grain.
    most: usize,
}

#[derive(Debug)]
struct State {
    level: Level,
    /// What is known of the present step of the middle grain, if anything changed in it.
    open: Option<Box<Sample>>,
    /// What is not in the coarse row yet, but for what is open.
    rest: Box<Sample>,
    /// Up to here `rest` or `open` know of it.
    until: u64,
}

impl Load {
    pub fn new(most: usize) -> Self {
        Self { functions: HashMap::new(), next: None, fine: Vec::new(), most }
    }

    /// Takes a second: the whole server, and functions that changed. Returns the rows that are to be written now.
    pub fn add(&mut self, second: u64, total: Second, mut changed: Vec<Second>) -> Vec<Row> {
        let second = second.max(self.next.unwrap_or(0));
        // The clock was set forward, or the process stood still: nothing is known of the time between.
        let is_gap = self.next.is_some_and(|next| next != second);
        let mut rows = if is_gap { self.close() } else { Vec::new() };
        if is_gap {
            self.functions.values_mut().for_each(|state| state.until = second);
        }
        self.next = Some(second + 1);
        let most = self.most;
        if second.is_multiple_of(PERIOD) || is_gap {
            self.add_still(&mut changed);
        }
        changed.sort_by_cached_key(|change| Reverse(weight(&change.level, &change.events)));
        for (rank, change) in changed.iter().enumerate() {
            self.add_one(second, change, rank < most);
        }
        self.add_one(second, &total, true);
        if (second + 1).is_multiple_of(MIDDLE) {
            rows.append(&mut self.end_step(second + 1, false));
        }
        rows
    }

    /// Returns the rows of all that was taken. What is taken later is added to them.
    pub fn close(&mut self) -> Vec<Row> {
        self.next.take().map_or_else(Vec::new, |end| self.end_step(end, true))
    }

    /// Fine rows that were not returned yet.
    pub fn pending(&self) -> &[Row] {
        &self.fine
    }

    /// Those that have anything and did not change are taken as if they had.
    fn add_still(&self, changed: &mut Vec<Second>) {
        let known: HashSet<&[u8]> = changed.iter().map(|change| change.function.as_slice()).collect();
        let still: Vec<Second> = self
            .functions
            .iter()
            .filter(|(name, state)| {
                !state.level.is_zero() && !name.is_empty() && !known.contains(name.as_slice())
            })
            .map(|(name, state)| Second {
                function: name.clone(),
                level: state.level,
                events: Events::default(),
            })
            .collect();
        changed.extend(still);
    }

    fn add_one(&mut self, second: u64, change: &Second, is_shown: bool) {
        let sample = change.sample(second);
        let state = self.functions.entry(change.function.clone()).or_insert_with(|| State {
            level: Level::default(),
            open: None,
            rest: Box::new(Sample::begin(second)),
            until: second,
        });
        state.open_at(second);
        if let Some(open) = &mut state.open {
            open.merge(&sample);
        }
        (state.level, state.until) = (change.level, second + 1);
        if is_shown {
            self.fine.push(Row { grain: FINE, begins: second, function: change.function.clone(), sample });
        }
    }

    /// A step of the middle grain is over, and with it perhaps one of the coarse.
    fn end_step(&mut self, end: u64, is_last: bool) -> Vec<Row> {
        let middle = (end - 1) / MIDDLE * MIDDLE;
        let coarse = (end - 1) / COARSE * COARSE;
        let ends_coarse = end.is_multiple_of(COARSE) || is_last;
        let mut rows = std::mem::take(&mut self.fine);
        let mut of_middle = Vec::new();
        let mut of_coarse = Vec::new();
        for (name, state) in &mut self.functions {
            let row = |grain, begins, sample: Sample| Row { grain, begins, function: name.clone(), sample };
            let did_change = state.open.is_some();
            if did_change || ends_coarse {
                state.fill(end);
            }
            if let Some(open) = state.open.take() {
                state.rest.merge(&open);
                of_middle.push(row(MIDDLE, middle, *open));
            }
            if did_change || ends_coarse {
                let rest = std::mem::replace(&mut *state.rest, Sample::begin(end));
                if rest.seconds > 0 {
                    of_coarse.push(row(COARSE, coarse, rest));
                }
            }
        }
        self.functions.retain(|_, state| !state.level.is_zero());
        for mut some in [of_middle, of_coarse] {
            self.keep_busiest(&mut some);
            rows.append(&mut some);
        }
        rows
    }

    fn keep_busiest(&self, rows: &mut Vec<Row>) {
        if rows.len() > self.most + 1 {
            let is_total = |row: &Row| row.function.is_empty();
            rows.sort_by_cached_key(|row| {
                (!is_total(row), Reverse(weight(&row.sample.level(), &row.sample.events)))
            });
            rows.truncate(self.most + 1);
        }
    }
}

impl State {
    /// From this second on something is known of the step.
    fn open_at(&mut self, second: u64) {
        let begins = (second / MIDDLE * MIDDLE).max(self.until.min(second));
        if self.open.is_none() {
            // Up to the step nothing happened; that is told by the coarse row only.
            self.fill(begins);
            self.open = Some(Box::new(Sample::begin(begins)));
        }
        self.fill(second);
    }

    /// Until this second things stood as they stand.
    fn fill(&mut self, second: u64) {
        let seconds = second.saturating_sub(self.until);
        if seconds > 0 {
            let still = Sample::still(&self.level, seconds, second);
            self.open.as_mut().unwrap_or(&mut self.rest).merge(&still);
            self.until = second;
        }
    }
}

fn weight(level: &Level, events: &Events) -> u64 {
    events.weight() + level.waiting.iter().sum::<u64>() + level.running
}
