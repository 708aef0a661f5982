//! All that is whole in a damaged store, and what can be told of the rest.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::fold::Fold;
use super::pages::{Pages, Range, Row, Table};
use super::{row, schema};
use crate::engine::Record;
use crate::store::StoreError;
use crate::types::{JobId, Printable};

/// In the order of the numbers below.
pub(super) const TABLES: [&str; 8] =
    ["job", "body", "ops", "schedule", "function", "numbers", "result", "policy"];
const JOB: usize = 0;
const BODY: usize = 1;
const OPS: usize = 2;
const SCHEDULE: usize = 3;
const FUNCTION: usize = 4;
const NUMBERS: usize = 5;
const RESULT: usize = 6;
const POLICY: usize = 7;

/// Where a row stands: its page, and which one it is there.
type Place = (u32, u16);

/// All that is whole, and what is known of the rest.
pub(super) struct Found<'a> {
    pages: &'a Pages,
    tables: Vec<Table>,
    /// How many rows of jobs there can have been on what cannot be read.
    room: u64,
    jobs: BTreeMap<i64, Place>,
    bodies: BTreeMap<i64, Place>,
    results: BTreeMap<i64, Place>,
    bad_jobs: BTreeSet<i64>,
    bad_bodies: BTreeSet<i64>,
    fold: Fold,
    /// Rows of `ops`: the first and last of each run that is gone.
    ops_gone: Vec<Range>,
    policies: BTreeMap<String, Record<'static>>,
    functions: BTreeMap<Vec<u8>, Record<'static>>,
    recurring: BTreeMap<i64, Record<'static>>,
    /// What else is gone.
    told: Vec<String>,
    numbered: Option<u64>,
    is_log_missing: bool,
}

impl<'a> Found<'a> {
    pub fn read(pages: &'a Pages, roots: [u32; 8], is_log_missing: bool) -> Self {
        let (tables, room) = pages.tables(&roots);
        let mut found = Self {
            pages,
            tables,
            room,
            jobs: BTreeMap::new(),
            bodies: BTreeMap::new(),
            results: BTreeMap::new(),
            bad_jobs: BTreeSet::new(),
            bad_bodies: BTreeSet::new(),
            fold: Fold::default(),
            ops_gone: Vec::new(),
            policies: BTreeMap::new(),
            functions: BTreeMap::new(),
            recurring: BTreeMap::new(),
            told: Vec::new(),
            numbered: None,
            is_log_missing,
        };
        found.changes();
        found.each(JOB, |found, place, row| {
            let is_whole = row::read_meta(job(row.id), column(row, 0)).is_ok();
            if is_whole {
                found.jobs.insert(row.id, place);
            } else {
                found.bad_jobs.insert(row.id);
            }
            is_whole
        });
        found.each(BODY, |found, place, row| {
            let is_whole = row::read_body(job(row.id), column(row, 0)).is_ok();
            if is_whole {
                found.bodies.insert(row.id, place);
            } else {
                found.bad_bodies.insert(row.id);
            }
            is_whole
        });
        // What is wrong with one of these is told by itself.
        found.each(RESULT, |found, place, row| {
            match row::read_result(job(row.id), column(row, 0)) {
                Ok(_) => drop(found.results.insert(row.id, place)),
                Err(row::BadRow) if found.fold.is_over(job(row.id)) => {}
                Err(row::BadRow) => {
                    found.told.push(format!("gone: the result of job {}, whose row is damaged", row.id));
                }
            }
            true
        });
        found.each(POLICY, |found, _, row| {
            found.policy(row);
            true
        });
        found.each(FUNCTION, |found, _, row| {
            found.function(row);
            true
        });
        found.each(SCHEDULE, |found, _, row| {
            found.recurring(row);
            true
        });
        found.each(NUMBERS, |found, _, row| {
            let number = row::read_number(column(row, 0)).ok().map(|number| number.0);
            found.numbered = found.numbered.max(number);
            number.is_some()
        });
        found
    }

    /// Calls with each row of a table that can be made out, to be told whether its number can be trusted. If not, a row
    /// with any number that its page may hold is gone.
    fn each(&mut self, table: usize, mut look: impl FnMut(&mut Self, Place, &Row) -> bool) {
        for (leaf, range) in self.tables[table].leaves.clone() {
            for index in 0..self.pages.rows(leaf) {
                match self.pages.row(leaf, index) {
                    Some(row) => {
                        if !look(self, (leaf, index), &row) {
                            self.tables[table].lost.push(range);
                            self.room += 1;
                        }
                    }
                    None if table == JOB || table == BODY => {}
                    None => self.told.push(format!("gone: a row of table {}", TABLES[table])),
                }
            }
        }
    }

    fn changes(&mut self) {
        let (mut all, mut bad) = (BTreeMap::new(), BTreeSet::new());
        self.each(OPS, |_, _, row| {
            match row::read_changes(row.id, column(row, 0)) {
                Ok(changes) => drop(all.insert(row.id, changes)),
                Err(row::BadRow) => drop(bad.insert(row.id)),
            }
            true
        });
        // They are numbered without gaps, from any number on.
        let mut last = None;
        for (seq, changes) in all {
            if let Some(last) = last.filter(|last| last + 1 < seq) {
                self.ops_gone.push((last + 1, seq - 1));
            }
            last = Some(seq);
            self.fold.note(seq, &changes);
        }
        let gaps = self.ops_gone.clone();
        let is_in_gap = |seq: &i64| gaps.iter().any(|(first, last)| (first..=last).contains(&seq));
        self.ops_gone.extend(bad.iter().filter(|seq| !is_in_gap(seq)).map(|seq| (*seq, *seq)));
    }

    fn policy(&mut self, row: &Row) {
        match row::read_policy(column(row, 0), column(row, 1)) {
            Ok((pattern, policy)) => {
                let record =
                    Record::Policy { pattern: Cow::Owned(pattern.clone()), policy: Some(Box::new(policy)) };
                self.policies.insert(pattern, record);
            }
            Err(row::BadRow) => {
                self.told.push(format!("gone: the policy for {}", Printable(column(row, 0))));
            }
        }
    }

    fn function(&mut self, row: &Row) {
        let name = column(row, 0);
        match row::read_limits(name, column(row, 1)) {
            Ok((limits, pinned)) => {
                let record = Record::Function { name: Cow::Owned(name.to_vec()), limits, pinned };
                self.functions.insert(name.to_vec(), record);
            }
            Err(row::BadRow) => self.told.push(format!("gone: the limits of function {}", Printable(name))),
        }
    }

    fn recurring(&mut self, row: &Row) {
        let id = job(row.id);
        match row::read_schedule(id, [0, 1, 2].map(|index| column(row, index))) {
            Ok((plan, spec)) => {
                let record = Record::Scheduled { id, plan: Cow::Owned(plan), spec: Cow::Owned(spec) };
                self.recurring.insert(row.id, record);
            }
            Err(row::BadRow) => {
                self.told.push(format!("gone: recurring job {}, whose row is damaged", row.id))
            }
        }
    }

    pub fn is_nothing(&self) -> bool {
        let is_any = self.numbered.is_some() || !self.functions.is_empty() || !self.recurring.is_empty();
        !is_any && self.policies.is_empty() && self.jobs.is_empty() && self.bodies.is_empty()
    }

    /// Passes on all that is whole, and tells what is not. Gives a number beyond all that were given out.
    pub fn pass_on(
        &self,
        add: &mut dyn FnMut(Record<'static>) -> Result<(), StoreError>,
        tell: &mut dyn FnMut(String),
    ) -> Result<JobId, StoreError> {
        self.policies.values().chain(self.functions.values()).cloned().try_for_each(&mut *add)?;
        for (id, place) in &self.jobs {
            if self.fold.is_over(job(*id)) {
                continue;
            }
            let Some(row) = self.pages.row(place.0, place.1) else { continue };
            let Ok(row::Meta { standing, spec, terms }) = row::read_meta(job(*id), column(&row, 0)) else {
                continue;
            };
            let body = self.body(*id).map(Bytes::from);
            let function = Printable(spec.function()).to_string();
            let Some(spec) = body.and_then(|body| spec.with_body(body)) else {
                tell(format!("gone: job {id}, of {function}: its payload is missing or damaged"));
                continue;
            };
            let standing = self.fold.standing(job(*id), standing);
            let (spec, terms) = (Cow::Owned(spec), terms.map(Box::new));
            add(Record::Queued { id: job(*id), standing, spec, terms })?;
            if let Some(body) = self.result(*id).map(Bytes::from) {
                add(Record::Result { id: job(*id), body })?;
            }
        }
        self.recurring.values().cloned().try_for_each(&mut *add)?;
        self.tell_jobs(tell);
        self.tell_ranges(tell);
        self.tell_others(tell);
        Ok(self.next())
    }

    fn body(&self, id: i64) -> Option<Vec<u8>> {
        let place = self.bodies.get(&id)?;
        let row = self.pages.row(place.0, place.1)?;
        row::read_body(job(id), column(&row, 0)).ok().map(<[u8]>::to_vec)
    }

    fn result(&self, id: i64) -> Option<Vec<u8>> {
        let place = self.results.get(&id)?;
        let row = self.pages.row(place.0, place.1)?;
        row::read_result(job(id), column(&row, 0)).ok().map(<[u8]>::to_vec)
    }

    /// Jobs whose number is known although their row is not whole.
    fn tell_jobs(&self, tell: &mut dyn FnMut(String)) {
        for id in self.bodies.keys().filter(|id| !self.jobs.contains_key(id) && !self.fold.is_over(job(**id)))
        {
            let body = self.body(*id).unwrap_or_default();
            let function = Printable(body.split(|byte| *byte == 0).next().unwrap_or_default());
            tell(format!("gone: job {id}, of {function}: its row is missing or damaged"));
        }
        // A damaged row may have a wrong number: there must be another sign of the job.
        let is_in =
            |table: usize, id: i64| self.tables[table].lost.iter().any(|range| id > range.0 && id <= range.1);
        for id in self.bad_jobs.union(&self.bad_bodies) {
            let signs = [
                self.bad_jobs.contains(id) || is_in(JOB, *id),
                self.bad_bodies.contains(id) || is_in(BODY, *id),
            ];
            let is_told = self.jobs.contains_key(id) || self.bodies.contains_key(id);
            if signs == [true, true] && !is_told && !self.fold.is_over(job(*id)) {
                tell(format!("gone: job {id}: its row and its payload are missing or damaged"));
            }
        }
    }

    /// Jobs of which nothing is left: both tables have lost the place where they stood.
    fn tell_ranges(&self, tell: &mut dyn FnMut(String)) {
        let known: BTreeSet<i64> = self.jobs.keys().chain(self.bodies.keys()).copied().collect();
        let is_known = |id: i64| known.contains(&id) || self.fold.is_over(job(id));
        for (mut low, mut high) in common(merged(&self.tables[JOB].lost), merged(&self.tables[BODY].lost)) {
            while low < high && is_known(low + 1) {
                low += 1;
            }
            while high > low && high < i64::MAX && is_known(high) {
                high -= 1;
            }
            let over = self.fold.over().range(job(low + 1)..).take_while(|id| **id <= job(high));
            let accounted = known.range(low + 1..).take_while(|id| **id <= high).count()
                + over.filter(|id| !known.contains(&id.0.cast_signed())).count();
            let most = self.room.min((high - low).unsigned_abs() - accounted as u64);
            let place = if high == i64::MAX {
                format!("with numbers from {} on", low + 1)
            } else {
                format!("with numbers between {} and {high}", low + 1)
            };
            if most > 0 {
                tell(format!("gone: what stood on pages that cannot be read: at most {most} jobs {place}"));
            }
        }
        if self.is_log_missing {
            let last = known.last().max(self.recurring.keys().last()).copied().unwrap_or(0);
            tell(format!(
                "gone: what was in the write-ahead log: jobs with numbers beyond {last}, how many cannot be told, and \
                 what else was changed last"
            ));
        }
    }

    fn tell_others(&self, tell: &mut dyn FnMut(String)) {
        self.told.iter().cloned().for_each(&mut *tell);
        let is_damaged = |table: usize| !self.tables[table].lost.is_empty();
        if is_damaged(SCHEDULE) {
            tell("gone: recurring jobs that stood on pages that cannot be read".to_owned());
        }
        if is_damaged(FUNCTION) {
            tell("gone: limits of functions that stood on pages that cannot be read".to_owned());
        }
        if is_damaged(RESULT) {
            tell("gone: results of jobs that stood on pages that cannot be read".to_owned());
        }
        if is_damaged(POLICY) {
            tell("gone: policies that stood on pages that cannot be read".to_owned());
        }
        for (first, last) in &self.ops_gone {
            tell(format!("rows {first} to {last} of table ops are gone: jobs that ended then run again"));
        }
        if is_damaged(OPS) || self.is_log_missing || self.pages.lost_of_log() {
            tell("what was noted of ends may be gone: jobs that had ended may run again".to_owned());
        }
    }

    fn next(&self) -> JobId {
        let last = [self.jobs.keys().last(), self.bodies.keys().last(), self.recurring.keys().last()];
        let last = last.into_iter().flatten().max().map_or(0, |last| last.unsigned_abs());
        let is_sure =
            !self.is_log_missing && !self.pages.lost_of_log() && self.tables[NUMBERS].lost.is_empty();
        match self.numbered {
            Some(number) if is_sure => JobId(number.max(last + 1)),
            number => JobId(schema::beyond(number.unwrap_or(0).max(last))),
        }
    }
}

fn job(id: i64) -> JobId {
    JobId(id.unsigned_abs())
}

fn column(row: &Row, index: usize) -> &[u8] {
    row.columns.get(index).map_or(&[], Vec::as_slice)
}

/// In their order, and none touching another.
fn merged(ranges: &[Range]) -> Vec<Range> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for (low, high) in sorted {
        match merged.last_mut() {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

/// What is in a range of both.
fn common(some: Vec<Range>, others: Vec<Range>) -> Vec<Range> {
    let both = |a: &Range, b: &Range| Some((a.0.max(b.0), a.1.min(b.1))).filter(|(low, high)| low < high);
    some.iter().flat_map(|a| others.iter().filter_map(|b| both(a, b)).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_where_both_have_lost_something() {
        let some = merged(&[(20, 30), (0, 5), (4, 10)]);
        assert_eq!(some, [(0, 10), (20, 30)]);
        assert_eq!(common(some, vec![(8, 25), (30, 40)]), [(8, 10), (20, 25)]);
    }
}
