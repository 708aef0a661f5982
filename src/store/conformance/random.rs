//! Batches drawn at random, with restarts, housekeeping and reading in between.

use bytes::Bytes;

use super::{Suite, plan, queued_on, scheduled, spec};
use crate::engine::{Outcome, Phase, Reason, Record, Standing};
use crate::policy::{Policy, Terms};
use crate::protocol::Kind;
use crate::types::{JobId, Priority, Timestamp};

/// Batches a seed.
const BATCHES: usize = 60;

pub(super) fn run(suite: &mut Suite<'_>, seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for number in 0..BATCHES {
        let alive: Vec<JobId> = suite.model.jobs().map(|(id, _)| id).collect();
        let mut batch: Vec<Record<'static>> = Vec::new();
        // A job ends once, and nothing happens to it later.
        let mut over: Vec<JobId> = Vec::new();
        for _ in 0..dice.below(80) {
            let record = draw(suite, &mut dice, &alive, &mut over, &batch);
            batch.extend(record);
        }
        suite.append(&batch);
        match dice.below(10) {
            0 => suite.restart(),
            1 => suite.tidy(),
            2 => {
                let mut reader = suite.reader();
                suite.read_all(reader.as_mut());
            }
            3 | 4 => {
                if let Err(error) = suite.store().tidy() {
                    suite.broken(format_args!("seed {seed}, batch {number}: {error}"));
                }
            }
            _ => {}
        }
    }
}

fn draw(
    suite: &mut Suite<'_>,
    dice: &mut Dice,
    alive: &[JobId],
    over: &mut Vec<JobId>,
    batch: &[Record<'static>],
) -> Option<Record<'static>> {
    let in_batch = |record: &Record<'static>| matches!(record, Record::Queued { .. }).then(|| record.clone());
    let known: Option<JobId> = match (dice.below(3), batch.iter().filter_map(in_batch).next_back()) {
        (0, Some(Record::Queued { id, .. })) => Some(id),
        _ => dice.one_of(alive),
    };
    let known = known.filter(|id| !over.contains(id));
    match dice.below(15) {
        0..=4 => {
            let id = suite.number();
            let (payload, unique) = (dice.bytes(), dice.below(3));
            let names: [&[u8]; 3] = [b"", b"-", b"unique"];
            let unique = names[usize::try_from(unique).unwrap_or(0)];
            let terms = (dice.below(4) == 0)
                .then(|| Terms { attempts: u32::try_from(dice.below(9)).ok(), ..Terms::default() });
            let standing = standing(dice, id.0);
            Some(queued_on(id, standing, spec(Kind::SubmitJobBg, &[b"f", unique, &payload]), terms))
        }
        5 | 6 => Some(Record::Stands { id: known?, standing: standing(dice, suite.next) }),
        12 | 13 => Some(Record::Result { id: known?, body: Bytes::from(dice.bytes()) }),
        14 => {
            let pattern = ["*", "a*", "a", "b"][usize::try_from(dice.below(4)).unwrap_or(0)];
            let attempts = u32::try_from(dice.below(9)).ok();
            let policy = (dice.below(3) > 0).then(|| Box::new(Policy { attempts, ..Policy::default() }));
            Some(Record::Policy { pattern: pattern.into(), policy })
        }
        7..=9 => {
            let id = known?;
            over.push(id);
            Some(Record::Done(id))
        }
        10 => {
            let made: Vec<JobId> = suite.model.recurring().collect();
            match (dice.below(3), dice.one_of(&made)) {
                (0, Some(id)) => Some(Record::Unscheduled(id)),
                (1, Some(id)) => Some(scheduled(id, plan("5 5 * * *"), recurring(dice))),
                _ => Some(scheduled(suite.number(), plan("0 0 1 1 *"), recurring(dice))),
            }
        }
        _ => {
            let name = vec![b'a' + dice.bytes().first().copied().unwrap_or(0) % 8];
            let limits = [(); 3].map(|()| u32::try_from(dice.below(3)).ok().filter(|limit| *limit > 0));
            Some(Record::Function { name: name.into(), limits, pinned: dice.below(2) == 0 })
        }
    }
}

fn recurring(dice: &mut Dice) -> crate::protocol::Spec {
    spec(Kind::SubmitJobSched, &[b"f", b"", b"*", b"*", b"*", b"*", b"*", &dice.bytes()])
}

fn standing(dice: &mut Dice, place: u64) -> Standing {
    let priority = dice.one_of(&Priority::ALL).unwrap_or(Priority::Normal);
    let due = (dice.below(4) == 0).then(|| Timestamp::from_micros(dice.next() | 1));
    let mut small = || u32::try_from(dice.below(3)).unwrap_or(0);
    let (attempts, losses) = (small(), small());
    let mut time = || (dice.below(2) == 0).then(|| Timestamp::from_micros(dice.below(3)));
    let (first_start, last_start) = (time(), time());
    let outcomes = [Outcome::Succeeded, Outcome::Cancelled, Outcome::Failed(Reason::TimedOut)];
    let outcome = dice.one_of(&outcomes).unwrap_or(Outcome::Cancelled);
    let at = Timestamp::from_micros(dice.next());
    let over = Phase::Over { outcome, at };
    let phases = [Phase::Waiting, Phase::Held, Phase::Running, Phase::Cancelling, over];
    let phase = dice.one_of(&phases).unwrap_or_default();
    let submitted = Timestamp::from_micros(dice.next());
    Standing { priority, phase, due, attempts, losses, place, submitted, first_start, last_start }
}

/// Numbers from a seed (xorshift64): the same on every machine, which the suite must not need a library for.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let index = self.below(u64::try_from(list.len()).unwrap_or(1));
        list.get(usize::try_from(index).unwrap_or(0)).copied()
    }

    /// Mostly short, sometimes none, now and then long.
    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.below(20) {
            0 => 0,
            1 => self.below(20_000),
            _ => self.below(200),
        };
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }
}
