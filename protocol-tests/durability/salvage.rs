//! A store that is damaged in one place, anywhere: refused, or all of it is served; and with `--salvage` all that is
//! whole is served, nothing that is wrong, and what is missing is told.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gearhouse::engine::{Outcome, Phase, Record, Standing};
use gearhouse::policy::{Plan, Policy, Terms};
use gearhouse::protocol::{Kind, Spec};
use gearhouse::store::sqlite::{Inspection, SqliteStore};
use gearhouse::store::{Store, StoreError};
use gearhouse::types::{JobId, Priority, Timestamp};

const PAGE: usize = 4096;

/// What the process that made the store has set aside: numbers below it may have been given out.
const GIVEN_OUT: u64 = 1 << 40;

/// A store as it should be, and the folder that it is in.
struct Good {
    folder: tempfile::TempDir,
    jobs: BTreeMap<u64, Bytes>,
    results: BTreeMap<u64, Bytes>,
    over: BTreeSet<u64>,
    others: usize,
}

fn spec(id: u64) -> Spec {
    // Some go beyond a page.
    let len = if id.is_multiple_of(97) { 9000 } else { (id * 7 % 200) as usize };
    let payload = format!("payload of {id} {}", "x".repeat(len));
    let unique = if id.is_multiple_of(11) { String::new() } else { format!("unique-{id}") };
    let body = [b"resize", unique.as_bytes(), payload.as_bytes()].join(&0);
    Spec::parse(Kind::SubmitJobBg, Bytes::from(body)).unwrap().0
}

fn queued(id: u64) -> Record<'static> {
    let terms = Terms { mime: Some("text/plain".to_owned()), ..Terms::default() };
    let terms = id.is_multiple_of(13).then_some(Box::new(terms));
    Record::Queued { id: JobId(id), standing: standing(id), spec: Cow::Owned(spec(id)), terms }
}

fn standing(id: u64) -> Standing {
    Standing::new(JobId(id), Priority::Normal, None, Timestamp::from_secs(id))
}

/// What this job ended with, which it is kept with.
fn result(id: u64) -> Bytes {
    let len = if id.is_multiple_of(97) { 9000 } else { (id % 50) as usize };
    Bytes::from(format!("result of {id} {}", "y".repeat(len)))
}

fn kept(id: u64) -> [Record<'static>; 2] {
    let phase = Phase::Over { outcome: Outcome::Succeeded, at: Timestamp::from_secs(9) };
    let standing = Standing { phase, ..standing(id) };
    let id = JobId(id);
    [Record::Result { id, body: result(id.0) }, Record::Stands { id, standing }]
}

/// With jobs folded away, jobs that are over by a row of `ops` only, and one of each other thing; as after a stop or as
/// after a kill.
fn good(count: u64, is_stopped: bool) -> Good {
    let made = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(made.path(), false).unwrap();
    store.replay(&mut |_| {}).unwrap();
    let submit = |store: &mut SqliteStore, first: u64, last: u64| {
        for first in (first..last).step_by(50) {
            store.append(&(first..first + 50).map(queued).collect::<Vec<_>>()).unwrap();
        }
    };
    submit(&mut store, 1, count / 2);
    let mut over = BTreeSet::new();
    let mut end = |store: &mut SqliteStore, ids: &mut dyn Iterator<Item = u64>| {
        let batch: Vec<_> = ids.map(|id| Record::Done(JobId(id))).collect();
        over.extend(batch.iter().map(|record| match record {
            Record::Done(id) => id.0,
            _ => 0,
        }));
        store.append(&batch).unwrap();
    };
    end(&mut store, &mut (200..400));
    let (early, late) = (400..500, 500..600);
    store.append(&early.clone().flat_map(kept).collect::<Vec<_>>()).unwrap();
    // All is in the data file then, and what comes later in the log.
    while store.tidy().unwrap() {}
    submit(&mut store, count / 2 + 1, count);
    store.append(&late.clone().flat_map(kept).collect::<Vec<_>>()).unwrap();
    let standing = Standing { losses: 1, place: count + 100, ..standing(5) };
    store.append(&[Record::Stands { id: JobId(5), standing }]).unwrap();
    for first in [20, 410, 700, 900, 1100] {
        end(&mut store, &mut (first..first + 3));
    }
    let recurring = spec(count + 1);
    let plan = Cow::Owned(Plan { fields: "0 8 * * *".to_owned(), ..Plan::default() });
    let policy = Some(Box::new(Policy { attempts: Some(3), ..Policy::default() }));
    store
        .append(&[
            Record::Policy { pattern: "re*".into(), policy },
            Record::Scheduled { id: JobId(count + 1), plan, spec: Cow::Owned(recurring) },
            Record::Function { name: b"resize"[..].into(), limits: [Some(9), None, None], pinned: true },
        ])
        .unwrap();
    let copy = tempfile::tempdir().unwrap();
    if is_stopped {
        drop(store);
        copy_files(made.path(), copy.path());
    } else {
        copy_files(made.path(), copy.path());
        assert!(fs::metadata(copy.path().join("jobs.db-wal")).unwrap().len() > 0);
    }
    let jobs = (1..=count).filter(|id| !over.contains(id)).map(|id| (id, spec(id).body().clone())).collect();
    let results = early.chain(late).filter(|id| !over.contains(id)).map(|id| (id, result(id))).collect();
    Good { folder: copy, jobs, results, over, others: 3 }
}

fn copy_files(from: &Path, to: &Path) {
    for name in ["jobs.db", "jobs.db-wal", "lock"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// What a start serves.
struct Served {
    jobs: BTreeMap<u64, Option<Bytes>>,
    results: BTreeMap<u64, Bytes>,
    others: usize,
    next: u64,
}

fn start(folder: &Path, salvage: bool) -> Result<Served, StoreError> {
    let mut store = SqliteStore::open(folder, salvage)?;
    let (mut specs, mut others) = (BTreeMap::new(), 0);
    let next = store.replay(&mut |record| match record {
        Record::Queued { id, spec, .. } => {
            assert!(specs.insert(id, spec).is_none(), "job {} is there twice", id.0);
        }
        _ => others += 1,
    })?;
    let ids: Vec<JobId> = specs.keys().copied().collect();
    let (mut jobs, mut results) = (BTreeMap::new(), BTreeMap::new());
    let mut reader = store.reader()?;
    for id in &ids {
        results.extend(reader.read_result(*id)?.map(|body| (id.0, body)));
    }
    reader.read(&ids, &mut |id, body| {
        // As the engine does before it hands the job out.
        let whole = body.and_then(|body| specs[&id].with_body(body));
        jobs.insert(id.0, whole.map(|spec| spec.body().clone()));
    })?;
    Ok(Served { jobs, results, others, next: next.0 })
}

/// Whether what was told covers this job.
fn is_told(gone: &str, id: u64) -> bool {
    gone.lines().any(|line| {
        let numbers: Vec<u64> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        if line.contains("numbers between") {
            (numbers[1]..=numbers[2]).contains(&id)
        } else if line.contains("numbers from") {
            id >= numbers[1]
        } else if line.contains("numbers beyond") {
            id > numbers[0]
        } else {
            line.starts_with("gone: job ") && numbers[0] == id
        }
    })
}

impl Good {
    /// The same with damage done to it, started each way. What was told and whether the plain start refused.
    #[track_caller]
    fn with(&self, what: &str, damage: impl Fn(&Path)) -> (String, bool) {
        let copy = || {
            let copy = tempfile::tempdir().unwrap();
            copy_files(self.folder.path(), copy.path());
            damage(copy.path());
            copy
        };
        let is_refused = self.plain(what, copy().path());
        let folder = copy();
        let damaged = fs::read(folder.path().join("jobs.db")).unwrap();
        let served = start(folder.path(), true).unwrap_or_else(|error| panic!("{what}: {error}"));
        let aside = folder.path().join("damaged-1");
        let gone = fs::read_to_string(aside.join("gone.txt")).unwrap_or_default();
        for (id, body) in &self.jobs {
            match served.jobs.get(id) {
                Some(found) => assert_eq!(found.as_ref(), Some(body), "{what}: job {id} is wrong: {gone}"),
                None => assert!(is_told(&gone, *id), "{what}: job {id} is missing: {gone}"),
            }
        }
        for (id, body) in &self.results {
            match served.results.get(id) {
                Some(found) => assert_eq!(found, body, "{what}: the result of {id} is wrong: {gone}"),
                None => assert!(
                    is_told(&gone, *id)
                        || gone.contains("gone: the result of")
                        || gone.contains("gone: results")
                        || gone.contains("what else was changed last"),
                    "{what}: the result of {id} is missing: {gone}"
                ),
            }
        }
        for id in served.jobs.keys().filter(|id| !self.jobs.contains_key(id)) {
            assert!(self.over.contains(id) && gone.contains("again"), "{what}: job {id} came back: {gone}");
        }
        assert!(served.others == self.others || gone.contains("gone: "), "{what}: {gone}");
        assert!(served.next > GIVEN_OUT, "{what}: number {} may be given out twice", served.next);
        if is_refused {
            assert!(aside.exists(), "{what}: refused, but nothing to salvage");
            assert!(
                fs::read(aside.join("jobs.db")).unwrap() == damaged,
                "{what}: the file was not kept as it was"
            );
        }
        // What was said once is done with.
        let mut faults = Vec::new();
        Inspection::open(folder.path()).unwrap().verify(&mut |fault| faults.push(fault)).unwrap();
        assert!(faults.is_empty(), "{what}: {faults:?}");
        let again = start(folder.path(), false).unwrap_or_else(|error| panic!("{what}: {error}"));
        let is_same = again.jobs == served.jobs && again.results == served.results;
        assert!(is_same && again.others == served.others, "{what}: it changed");
        assert!(again.next > served.next, "{what}");
        (gone, is_refused)
    }

    /// A start without being told to salvage: whether it was refused.
    #[track_caller]
    fn plain(&self, what: &str, folder: &Path) -> bool {
        let served = match start(folder, false) {
            Ok(served) => served,
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("jobs.db"), "{what}: {said}");
                return true;
            }
        };
        for (id, body) in &self.jobs {
            match served.jobs.get(id) {
                // Its payload is not as it was written, and it will be set aside.
                Some(None) => {}
                Some(Some(found)) => assert_eq!(found, body, "{what}: job {id} is wrong and nothing is said"),
                None => panic!("{what}: job {id} is missing and nothing is said"),
            }
        }
        for (id, found) in &served.results {
            assert_eq!(Some(found), self.results.get(id), "{what}: a wrong result of {id} is read");
        }
        assert_eq!(served.jobs.len(), self.jobs.len(), "{what}: jobs came back and nothing is said");
        assert_eq!(served.others, self.others, "{what}: something is missing and nothing is said");
        assert!(served.next > GIVEN_OUT, "{what}");
        false
    }
}

/// More of them by an environment variable.
fn seeds(few: u64) -> u64 {
    std::env::var("GEARHOUSE_SALVAGE_SEEDS").map_or(few, |said| said.parse().unwrap())
}

fn change(path: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_anywhere_costs_at_most_what_stands_there_and_is_told() {
    let good = good(2000, true);
    let len = fs::metadata(good.folder.path().join("jobs.db")).unwrap().len() as usize;
    let mut refused = 0;
    for seed in 0..seeds(100) {
        let mut random = fastrand::Rng::with_seed(seed);
        // Half of them where SQLite keeps its own structure: the first bytes of a page.
        let page = random.usize(0..len / PAGE);
        let within = if seed % 2 == 0 { PAGE } else { 200 };
        let at = page * PAGE + random.usize(0..within);
        // A format of a later version, and not damage.
        if (60..64).contains(&at) {
            continue;
        }
        let bit = random.u8(0..8);
        let what = format!("seed {seed}: bit {bit} of byte {at}, page {}", page + 1);
        let (gone, is_refused) = good.with(&what, |folder| {
            change(folder.join("jobs.db"), |bytes| bytes[at] ^= 1 << bit);
        });
        refused += u64::from(is_refused);
        let lost = gone.lines().filter(|line| line.starts_with("gone: job ")).count();
        assert!(lost <= 100, "{what}: {lost} jobs are gone for one bit: {gone}");
    }
    assert!(refused > seeds(100) / 12, "{refused}");
}

#[test]
fn a_flipped_bit_in_the_head_of_a_page_is_never_passed_over() {
    let good = good(1000, true);
    let len = fs::metadata(good.folder.path().join("jobs.db")).unwrap().len() as usize;
    for seed in 0..seeds(100) {
        let mut random = fastrand::Rng::with_seed(seed);
        // The first pages after the head's are the roots; the type, the count of rows, the place of each.
        let page = if seed % 2 == 0 { random.usize(2..12) } else { random.usize(2..len / PAGE) };
        let at = page * PAGE + random.usize(0..24);
        let bit = random.u8(0..8);
        let what = format!("seed {seed}: bit {bit} of byte {} of page {}", at % PAGE, page + 1);
        good.with(&what, |folder| change(folder.join("jobs.db"), |bytes| bytes[at] ^= 1 << bit));
    }
}

#[test]
fn a_row_less_on_a_page_that_looks_whole_is_refused_and_told() {
    let good = good(1000, true);
    let bytes = fs::read(good.folder.path().join("jobs.db")).unwrap();
    let mut tried = 0;
    for page in 2..bytes.len() / PAGE {
        let count = page * PAGE + 4;
        // A leaf of any table; those of payloads are read later, each payload by its number.
        if bytes[page * PAGE] == 13 && bytes[count] > 1 && (tried < 20 || page < 12) {
            good.with(&format!("page {}", page + 1), |folder| {
                change(folder.join("jobs.db"), |bytes| bytes[count] -= 1);
            });
            tried += 1;
        }
    }
    assert!(tried > 10);
}

#[test]
fn many_faults_at_once_are_no_worse_than_each() {
    let good = good(1500, true);
    let pages = fs::metadata(good.folder.path().join("jobs.db")).unwrap().len() as usize / PAGE;
    for seed in 0..seeds(30) {
        good.with(&format!("seed {seed}"), |folder| {
            let mut random = fastrand::Rng::with_seed(seed);
            change(folder.join("jobs.db"), |bytes| {
                for _ in 0..random.usize(2..10) {
                    // Not the first page, which may then be a newer version's.
                    let start = random.usize(1..pages) * PAGE;
                    match random.u8(0..3) {
                        0 => bytes[start..start + PAGE].fill(0),
                        1 => bytes[start + random.usize(0..100)] ^= 1 << random.u8(0..8),
                        _ => bytes[start + random.usize(0..PAGE)] ^= 1 << random.u8(0..8),
                    }
                }
            });
        });
    }
}

#[test]
fn a_page_that_is_gone_costs_its_jobs_which_are_told_and_no_others() {
    let good = good(2000, true);
    let len = fs::metadata(good.folder.path().join("jobs.db")).unwrap().len() as usize;
    let pages = len / PAGE;
    // All that matter most, and some of the others.
    for page in (0..15).chain((15..pages).step_by(pages / 25)) {
        let what = format!("page {} of {pages}", page + 1);
        let (gone, _) = good.with(&what, |folder| {
            change(folder.join("jobs.db"), |bytes| bytes[page * PAGE..(page + 1) * PAGE].fill(0));
        });
        let lost = gone.lines().filter(|line| line.starts_with("gone: job ")).count();
        assert!(lost <= 100, "{what}: {lost} jobs are gone: {gone}");
    }
    // A run of pages takes both tables' rows of the same jobs.
    for seed in 0..seeds(10) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (first, count) = (random.usize(12..pages), random.usize(2..60));
        let last = (first + count).min(pages);
        good.with(&format!("pages {first} to {last}"), |folder| {
            change(folder.join("jobs.db"), |bytes| bytes[first * PAGE..last * PAGE].fill(0));
        });
    }
}

#[test]
fn a_file_that_was_cut_short_is_served_up_to_there_and_the_rest_is_told() {
    let good = good(2000, true);
    let len = fs::metadata(good.folder.path().join("jobs.db")).unwrap().len() as usize;
    for seed in 0..seeds(20) {
        let left = fastrand::Rng::with_seed(seed).usize(13 * PAGE..len);
        let (gone, is_refused) = good.with(&format!("seed {seed}: {left} bytes of {len}"), |folder| {
            change(folder.join("jobs.db"), |bytes| bytes.truncate(left));
        });
        assert!(is_refused && !gone.is_empty(), "{gone}");
    }
}

#[test]
fn a_log_that_is_missing_or_damaged_costs_what_it_held_and_no_more() {
    let good = good(1200, false);
    let log = |folder: &Path| folder.join("jobs.db-wal");
    let len = fs::metadata(log(good.folder.path())).unwrap().len() as usize;
    let (gone, is_refused) = good.with("no log", |folder| fs::remove_file(log(folder)).unwrap());
    assert!(is_refused && gone.contains("write-ahead log"), "{gone}");
    for seed in 0..seeds(40) {
        let mut random = fastrand::Rng::with_seed(seed);
        // The head, the head of a frame, or anywhere. The last commit cannot be told from one that was torn.
        let frame = 32 + random.usize(0..len / (PAGE + 24) - 12) * (PAGE + 24);
        let at = match seed % 3 {
            0 => random.usize(0..32),
            1 => frame + random.usize(0..24),
            _ => frame + random.usize(0..PAGE),
        };
        let bit = random.u8(0..8);
        let what = format!("seed {seed}: bit {bit} of byte {at} of {len} of the log");
        let (gone, _) = good.with(&what, |folder| change(log(folder), |bytes| bytes[at] ^= 1 << bit));
        let lost = gone.lines().filter(|line| line.starts_with("gone: job ")).count();
        assert!(lost <= 100, "{what}: {lost} jobs are gone: {gone}");
    }
}

#[test]
fn an_end_that_cannot_be_read_is_told() {
    let good = good(1000, true);
    for job in [20_u64, 410, 1100] {
        // A change is its letter and the job's number; of the payloads and rows none has the letter before.
        let change_of = [&b"D"[..], &job.to_le_bytes()].concat();
        let (gone, is_refused) = good.with(&format!("the end of job {job}"), |folder| {
            change(folder.join("jobs.db"), |bytes| {
                let at = bytes.windows(9).position(|part| part == change_of);
                bytes[at.expect("its end was not folded yet") + 1] ^= 64;
            });
        });
        assert!(is_refused && gone.contains("run again"), "{gone}");
    }
}

#[test]
fn numbers_do_not_repeat_although_the_log_that_told_them_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path(), false).unwrap();
    store.replay(&mut |_| {}).unwrap();
    store.append(&[queued(1)]).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_files(folder.path(), copy.path());
    fs::remove_file(copy.path().join("jobs.db-wal")).unwrap();
    assert!(start(copy.path(), false).is_err());
    let served = start(copy.path(), true).unwrap();
    assert!(served.jobs.is_empty() && served.next > GIVEN_OUT, "{}", served.next);
    let gone = fs::read_to_string(copy.path().join("damaged-1/gone.txt")).unwrap();
    assert!(is_told(&gone, 1), "{gone}");
}

#[test]
fn what_is_no_store_any_more_is_left_alone() {
    let good = good(1000, true);
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(40 * PAGE).collect();
    for content in [&b""[..], &noise, &[0; 20 * PAGE]] {
        let folder = tempfile::tempdir().unwrap();
        copy_files(good.folder.path(), folder.path());
        fs::write(folder.path().join("jobs.db"), content).unwrap();
        for salvage in [false, true] {
            let said = start(folder.path(), salvage).map(|_| ()).expect_err("it must refuse").to_string();
            assert!(said.contains("jobs.db"), "{said}");
            assert!(fs::read(folder.path().join("jobs.db")).unwrap() == content, "it was changed");
        }
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.file_name()).collect();
        names.retain(|name| name != "reserve" && name != "jobs.db-wal");
        names.sort();
        assert_eq!(names, ["jobs.db", "lock"], "something was left");
    }
}

#[test]
fn a_second_salvage_keeps_what_the_first_one_put_aside() {
    let good = good(1000, true);
    let folder = tempfile::tempdir().unwrap();
    copy_files(good.folder.path(), folder.path());
    let file = folder.path().join("jobs.db");
    let mut kept = Vec::new();
    for page in [2, 3] {
        change(file.clone(), |bytes| bytes[page * PAGE] ^= 0xff);
        kept.push(fs::read(&file).unwrap());
        start(folder.path(), true).unwrap();
        // With nothing to salvage, nothing is done.
        start(folder.path(), true).unwrap();
    }
    for (number, kept) in kept.into_iter().enumerate() {
        let aside = folder.path().join(format!("damaged-{}", number + 1));
        assert!(fs::read(aside.join("jobs.db")).unwrap() == kept);
    }
    assert!(!folder.path().join("damaged-3").exists());
}

#[test]
fn a_salvage_that_is_broken_off_leaves_the_old_state_or_the_new_one() {
    let good = good(1000, false);
    let salvaged = tempfile::tempdir().unwrap();
    copy_files(good.folder.path(), salvaged.path());
    change(salvaged.path().join("jobs.db-wal"), |bytes| bytes[32 + 20 * (PAGE + 24) + 500] ^= 1);
    let before = tempfile::tempdir().unwrap();
    copy_files(salvaged.path(), before.path());
    // The new store as the salvage left it, before anything else was written to it.
    let served = start(salvaged.path(), true).unwrap();
    let new = fs::read(salvaged.path().join("jobs.db")).unwrap();

    // It was still being made.
    let folder = tempfile::tempdir().unwrap();
    copy_files(before.path(), folder.path());
    fs::create_dir_all(folder.path().join("salvaging/new")).unwrap();
    fs::write(folder.path().join("salvaging/new/jobs.db"), &new[..3 * PAGE]).unwrap();
    assert!(start(folder.path(), false).is_err(), "the damaged log is refused as before");
    assert!(start(folder.path(), true).unwrap().jobs == served.jobs);

    // It was whole, and some of the steps that put it in place were taken.
    for steps in 0..=5 {
        let folder = tempfile::tempdir().unwrap();
        copy_files(before.path(), folder.path());
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("salvaged/new")).unwrap();
        fs::write(path("salvaged/gone.txt"), "").unwrap();
        fs::write(path("salvaged/new/jobs.db"), &new).unwrap();
        let renames = [
            ("jobs.db-wal", "salvaged/jobs.db-wal"),
            ("jobs.db", "salvaged/jobs.db"),
            ("salvaged/new/jobs.db", "jobs.db"),
        ];
        for (from, to) in renames.iter().take(steps) {
            fs::rename(path(from), path(to)).unwrap();
        }
        if steps > 3 {
            fs::remove_dir_all(path("salvaged/new")).unwrap();
        }
        if steps > 4 {
            fs::write(path("lock"), "stopped\n").unwrap();
        }
        let refused = Inspection::open(folder.path()).expect_err("it is half done").to_string();
        assert!(refused.contains("in the middle of a salvage"), "{refused}");
        let found =
            start(folder.path(), false).unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        assert!(found.jobs == served.jobs, "after {steps} steps");
        for name in ["jobs.db", "jobs.db-wal"] {
            let kept = fs::read(path("damaged-1").join(name)).unwrap();
            assert!(kept == fs::read(before.path().join(name)).unwrap(), "{name} after {steps} steps");
        }
        assert!(!path("salvaged").exists());
    }
}
