//! A full disk, short writes, input/output errors and failed syncs, at every call of a run.
//!
//! A full disk keeps nothing of a batch, and the batch may be tried again. After anything else the store is not used
//! any more; whatever the system made of what it could not write, all that was acknowledged is there at the next start,
//! and after a power cut that follows it.

use super::driver::{Ending, Plan, drive};
use super::page_cache::{AfterFailedSync, PageCache};
use super::script::{LARGE, Model};
use super::shim::{Bench, quick_place};
use super::trace::{Event, count};
use super::watch::{Watch, check};

/// Calls of a run that fail in a plain test run, for each kind of fault; `GEARHOUSE_DISK_FAULTS=all` fails every one.
const CALLS: usize = 10;

/// Calls at the beginning of a run that fail in any case.
const FIRST: usize = 12;

/// Kinds of calls that may find no room.
const GROWING: &str = "WTAC";

/// Growth of the index in shared memory: found too late for nothing of a batch to be in the log.
const INDEX: &str = "m";

#[derive(Clone, Copy)]
struct Fault {
    kinds: &'static str,
    action: &'static str,
    /// Whether all calls from this one on fail, until relieved.
    lasts: bool,
}

#[test]
fn a_full_disk_keeps_nothing_of_a_batch_and_takes_it_when_there_is_room() {
    let fault = |kinds, action, lasts| Fault { kinds, action, lasts };
    let faults = [fault(GROWING, "28", false), fault(GROWING, "full", true), fault(INDEX, "28", true)];
    let outcomes = faults.map(at_every_call);
    assert!(outcomes.iter().all(|outcome| outcome.full > 0), "no call found the disk full: {outcomes:?}");
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed).sum();
    assert_eq!(failed, 0, "a full disk is no reason to give up: {outcomes:?}");
}

#[test]
fn a_short_write_is_completed() {
    let outcome = at_every_call(Fault { kinds: "W", action: "short", lasts: false });
    assert_eq!((outcome.failed, outcome.refused, outcome.full), (0, 0, 0), "{outcome:?}");
}

#[test]
fn a_write_error_is_final() {
    let outcomes = [false, true].map(|lasts| at_every_call(Fault { kinds: "WTU", action: "5", lasts }));
    assert!(outcomes.iter().all(|outcome| outcome.failed > 0), "{outcomes:?}");
}

#[test]
fn a_failed_sync_is_final_wherever_it_happens() {
    let outcome = at_every_call(Fault { kinds: "b", action: "5", lasts: false });
    // All but those of the directory and of the reserve, which hold nothing.
    assert!(outcome.failed + outcome.refused > outcome.runs / 2, "{outcome:?}");
}

#[derive(Debug, Default)]
struct Outcome {
    runs: usize,
    /// Runs in which the store said that the disk is full.
    full: usize,
    failed: usize,
    refused: usize,
    /// Images of power cuts that were looked at.
    images: usize,
}

/// Runs a driver, once for each call that fails, and another one behind it on a good disk.
fn at_every_call(fault: Fault) -> Outcome {
    let (seed, batches) = if fault.kinds == INDEX { (LARGE, 5) } else { (40, 50) };
    let plans = [Ending::Close, Ending::Kill, Ending::Close];
    let plans: Vec<Plan> = (seed..).zip(plans).map(|(seed, ending)| Plan { seed, batches, ending }).collect();
    let bench = Bench::new();
    drive(&bench, plans[0]);
    let calls = count(&bench.trace(), fault.kinds);
    let every = match std::env::var("GEARHOUSE_DISK_FAULTS") {
        Ok(all) if all == "all" => 1,
        _ => calls.div_ceil(CALLS),
    };
    let mut outcome = Outcome::default();
    // All of the first, by which a store is made.
    let chosen = (1..=calls).filter(|call| *call <= FIRST || call % every == fault.kinds.len() % every);
    for call in chosen {
        let bench = Bench::new();
        let last = if fault.lasts { 999_999_999 } else { call };
        bench.fail(&format!("{} {} {call} {last}", fault.kinds, fault.action));
        drive(&bench, plans[0]);
        bench.relieve();
        // No power was cut: the system still shows what it could not write.
        plans[1..].iter().for_each(|plan| drive(&bench, *plan));
        let events = bench.trace();
        let marks = |start: &str| {
            events.iter().any(|event| matches!(event, Event::Mark(mark) if mark.starts_with(start)))
        };
        outcome.runs += 1;
        outcome.full += usize::from(marks("full"));
        outcome.failed += usize::from(marks("failed"));
        outcome.refused += usize::from(marks("refused"));
        if let Some(kept) = std::env::var_os("GEARHOUSE_DISK_KEEP") {
            // For whoever looks into what went wrong.
            std::fs::copy(bench.path("trace"), kept).unwrap();
        }
        let what = format!("{} {} at call {call}, lasting: {}", fault.kinds, fault.action, fault.lasts);
        for treatment in
            [AfterFailedSync::StillDirty, AfterFailedSync::Forgotten, AfterFailedSync::Mixed(call as u64)]
        {
            if marks("failed") || treatment == AfterFailedSync::StillDirty {
                outcome.images += cut_at_some_points(&events, treatment, &plans, call as u64, &what);
            }
        }
    }
    println!("{} {} {}: {outcome:?}", fault.kinds, fault.action, fault.lasts);
    outcome
}

/// The power is cut where something went wrong, where a process ended or began, and at some points between.
fn cut_at_some_points(
    events: &[Event],
    treatment: AfterFailedSync,
    plans: &[Plan],
    seed: u64,
    what: &str,
) -> usize {
    let mut watch = Watch::new(PageCache::new(treatment), Model::default(), plans);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut images = 0;
    for (index, event) in events.iter().enumerate() {
        watch.apply(event);
        let (is_point, is_full) = match event {
            Event::Mark(mark) => {
                (!mark.starts_with("begin") && !mark.starts_with("end"), mark.starts_with("full"))
            }
            Event::Begin => (index > 0, false),
            _ => (random.usize(..events.len()) < 6, false),
        };
        if !is_point && index + 1 < events.len() {
            continue;
        }
        let folder = tempfile::tempdir_in(quick_place()).unwrap();
        let mood = watch.cache.cut(random.u64(..), folder.path());
        let mut expected = watch.expected.clone();
        if is_full && !what.starts_with(INDEX) {
            // Of what was refused for want of room nothing may be kept.
            expected.with_batch = None;
        }
        if let Err(wrong) = check(folder.path(), &expected) {
            panic!("{what}, {treatment:?}: after event {index} ({event:?}), disk {mood}: {wrong}");
        }
        images += 1;
    }
    images
}
