//! Power cuts at every sync of a run and between: whatever the disk made of what was not synced, all that was
//! acknowledged is there, a batch in flight wholly or not at all, and no number is given out twice.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use super::driver::{Ending, Plan, drive};
use super::page_cache::PageCache;
use super::script::{MANY, Model};
use super::shim::{Bench, quick_place};
use super::trace::Event;
use super::watch::{Expected, Watch, check};

/// Images that are looked at in a plain test run; `GEARHOUSE_POWER_CUTS` names another number.
const CUTS: usize = 2000;

/// Seeds of the runs; `GEARHOUSE_POWER_CUT_SEED` puts another one in the first one's place.
const SEEDS: u64 = 3;

pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_power_cut_loses_what_was_acknowledged_or_brings_back_what_was_done() {
    let cuts = number("GEARHOUSE_POWER_CUTS", CUTS as u64) as usize / SEEDS as usize;
    let first = number("GEARHOUSE_POWER_CUT_SEED", 1);
    let mut totals = Totals::default();
    for seed in first..first + SEEDS {
        let bench = Bench::new();
        // A clean end, a kill, and once more, so that starts are cut too.
        let plans = [Ending::Close, Ending::Kill, Ending::Close].map(|ending| Plan {
            seed: seed * 10 + ending as u64,
            batches: 90,
            ending,
        });
        plans.iter().for_each(|plan| drive(&bench, *plan));
        let watch = Watch::new(PageCache::default(), Model::default(), &plans);
        totals.add(cut_at_many_points(&bench.trace(), watch, seed, cuts));
    }
    println!("{totals:?}");
    assert!(totals.unsynced > totals.images, "the images say little: too little was unsynced in them");
}

#[test]
fn no_power_cut_while_ends_are_put_away_brings_back_what_was_done() {
    let bench = Bench::new();
    let plans = [Plan { seed: MANY, batches: 30, ending: Ending::Kill }];
    drive(&bench, plans[0]);
    let watch = Watch::new(PageCache::default(), Model::default(), &plans);
    let images = number("GEARHOUSE_POWER_CUTS", CUTS as u64) as usize / 10;
    println!("{:?}", cut_at_many_points(&bench.trace(), watch, 1, images));
}

#[test]
fn a_power_cut_after_a_power_cut_loses_nothing_either() {
    let mut totals = Totals::default();
    for seed in 0..number("GEARHOUSE_POWER_CUTS", CUTS as u64) / 400 {
        let bench = Bench::new();
        let plan = |n| Plan { seed: 7000 + seed * 10 + n, batches: 40, ending: Ending::Kill };
        let plans = [plan(0), plan(1)];
        drive(&bench, plans[0]);
        let mut watch = Watch::new(PageCache::default(), Model::default(), &plans);
        let events = bench.trace();
        let cut = fastrand::Rng::with_seed(seed).usize(events.len() / 4..events.len());
        events[..cut].iter().for_each(|event| watch.apply(event));
        let again = Bench::new();
        watch.cache.cut(seed, &again.store());
        watch.cache = PageCache::from_disk(&again.store());
        drive(&again, plans[1]);
        totals.add(cut_at_many_points(&again.trace(), watch, seed, 60));
    }
    println!("{totals:?}");
}

#[derive(Debug, Default)]
pub struct Totals {
    pub events: usize,
    pub syncs: usize,
    pub points: usize,
    pub images: usize,
    /// Sectors, lengths and names that were unsynced, summed over the images.
    pub unsynced: usize,
}

impl Totals {
    pub fn add(&mut self, other: Totals) {
        self.events += other.events;
        self.syncs += other.syncs;
        self.points += other.points;
        self.images += other.images;
        self.unsynced += other.unsynced;
    }
}

/// Lays down about so many images of power cuts: before and after every sync, and as many points between.
pub fn cut_at_many_points(events: &[Event], mut watch: Watch<'_>, seed: u64, images: usize) -> Totals {
    let mut random = fastrand::Rng::with_seed(seed);
    let is_end_of_sync = |event: &Event| matches!(event, Event::Synced(_) | Event::SyncFailed(_));
    let syncs = events.iter().filter(|event| is_end_of_sync(event)).count();
    let between = syncs as f64 / events.len() as f64;
    let each = (images / (3 * syncs)).max(1);
    // With fewer images than points, points are left out.
    let share = images as f64 / (3 * syncs * each) as f64;
    let mut totals = Totals { events: events.len(), syncs, ..Totals::default() };
    let (to_check, images) = mpsc::sync_channel::<Image>(8);
    let images = Arc::new(Mutex::new(images));
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let checkers: Vec<_> = (0..2)
            .map(|_| {
                let (images, count) = (images.clone(), &count);
                scope.spawn(move || {
                    while let Ok(image) = { images.lock().unwrap().recv() } {
                        image.check();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // When all who check have failed there is nobody to take images, and sending one says so.
        drop(images);
        for (index, event) in events.iter().enumerate() {
            watch.apply(event);
            let is_sync_over = is_end_of_sync(event);
            let is_sync_about_to_be = events.get(index + 1).is_some_and(is_end_of_sync);
            let is_point = is_sync_over || is_sync_about_to_be || random.f64() < between;
            if !is_point || random.f64() > share {
                continue;
            }
            totals.points += 1;
            for _ in 0..each {
                let image = Image::lay_down(&watch, index, random.u64(..));
                totals.unsynced += watch.cache.unsynced();
                if to_check.send(image).is_err() || checkers.iter().any(|checker| checker.is_finished()) {
                    drop(to_check);
                    panic!("see above");
                }
            }
        }
        drop(to_check);
    });
    totals.images = count.into_inner();
    totals
}

/// A disk after a power cut.
struct Image {
    folder: tempfile::TempDir,
    expected: Expected,
    what: String,
}

impl Image {
    fn lay_down(watch: &Watch<'_>, event: usize, seed: u64) -> Self {
        let folder = tempfile::tempdir_in(quick_place()).unwrap();
        let mood = watch.cache.cut(seed, folder.path());
        let what = format!("power cut after event {event}, image {seed}, disk {mood}");
        Self { folder, expected: watch.expected.clone(), what }
    }

    fn check(self) {
        // A copy of what is wrong, before it is opened, is worth more than a message.
        let kept = std::env::var_os("GEARHOUSE_POWER_CUT_KEEP").map(PathBuf::from);
        if let Some(kept) = kept.map(|kept| kept.join(format!("{:?}", std::thread::current().id()))) {
            let kept = &kept;
            let _ = std::fs::remove_dir_all(kept);
            std::fs::create_dir_all(kept).unwrap();
            for entry in std::fs::read_dir(self.folder.path()).unwrap().flatten() {
                std::fs::copy(entry.path(), kept.join(entry.file_name())).unwrap();
            }
        }
        if let Err(wrong) = check(self.folder.path(), &self.expected) {
            panic!("{}: {wrong}", self.what);
        }
    }
}
