//! The history against a naive one, over simulated time; and what becomes of files that are not what they should be.

use std::collections::BTreeMap;
use std::fs;

use fastrand::Rng;
use rusqlite::Connection;

use super::*;

/// The beginning of a coarse step, in the middle of nothing else.
const BEGIN: u64 = 1_800_000_000;

fn open(directory: Option<&Path>) -> Arc<History> {
    History::open(directory, Timestamp::from_secs(BEGIN), Bounds::default()).unwrap()
}

/// How one function stands and what it does, each second.
type Naive = BTreeMap<(u64, Vec<u8>), Second>;

/// Functions that come, work, rest and go; every second is told to the history as a server would, and to a naive one.
struct World {
    random: Rng,
    levels: BTreeMap<Vec<u8>, Level>,
    naive: Naive,
    second: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            levels: BTreeMap::new(),
            naive: Naive::new(),
            second: BEGIN + 137,
        }
    }

    fn step(&mut self, history: &History) {
        let mut changed = Vec::new();
        let mut events_of_all = Events::default();
        for index in 0..3_u8 {
            let name = vec![b'a' + index];
            let level = self.levels.entry(name.clone()).or_default();
            let mut events = Events::default();
            // Long rests, and bursts.
            let is_awake = (self.second / 40 + u64::from(index)).is_multiple_of(3);
            if is_awake && self.random.u8(..4) == 0 {
                level.waiting[usize::from(index)] = self.random.u64(..3) * 10;
                level.running = self.random.u64(..5);
                level.workers = self.random.u64(..2) * 7;
                let has_any = level.waiting.iter().sum::<u64>() > 0;
                level.oldest = has_any.then(|| Timestamp::from_secs(self.second - self.random.u64(..50)));
                events.submitted = self.random.u64(..9);
                events.succeeded = self.random.u64(..3);
                events.failed = self.random.u64(..2);
                (0..events.succeeded).for_each(|_| events.wait.add(self.random.u64(..1 << 30)));
            }
            let before =
                self.naive.get(&(self.second - 1, name.clone())).map_or(Level::default(), |was| was.level);
            let second = Second { function: name.clone(), level: *level, events };
            if second.level != before || second.events != Events::default() {
                changed.push(second.clone());
            }
            events_of_all.submitted += second.events.submitted;
            self.naive.insert((self.second, name), second);
        }
        let total = Second { function: vec![], level: Level::default(), events: events_of_all };
        self.naive.insert((self.second, vec![]), total.clone());
        history.take_load(Timestamp::from_secs(self.second), total, changed);
        self.second += 1;
    }

    /// The server stands still, and knows nothing of what happened in the meantime.
    fn restart(&mut self, seconds: u64) {
        self.levels.clear();
        self.second += seconds;
    }

    /// What there should be.
    fn expected(&self, function: &[u8], from: u64, to: u64, step: u64) -> BTreeMap<u64, Sample> {
        let mut buckets: BTreeMap<u64, Sample> = BTreeMap::new();
        for second in from..to {
            if let Some(known) = self.naive.get(&(second, function.to_vec())) {
                let bucket = second / step * step;
                buckets.entry(bucket).or_insert_with(|| Sample::begin(bucket)).merge(&known.sample(second));
            }
        }
        buckets
    }

    fn check(&self, history: &History, from: u64, to: u64, step: u64) {
        for function in [b"".as_slice(), b"a", b"b", b"c"] {
            let (start, end) = (Timestamp::from_secs(from), Timestamp::from_secs(to));
            let found = history.load(function, start, end, step).unwrap().samples;
            let expected = self.expected(function, from, to, step);
            let found: BTreeMap<u64, Sample> =
                found.into_iter().map(|sample| (sample.at.as_secs(), sample)).collect();
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (at, expected) in expected {
                assert_eq!(found[&at], expected, "{:?} at {at} in steps of {step}", function.escape_ascii());
            }
        }
    }
}

#[test]
fn load_is_what_a_naive_history_tells_in_every_grain() {
    for seed in 0..4 {
        let history = open(None);
        let mut world = World::new(seed);
        for _ in 0..1_000 + seed * 77 {
            world.step(&history);
        }
        history.flush();
        let (begin, end) = (BEGIN + 137, world.second);
        for step in [1, 10, 30, 300, 600] {
            let aligned = |second: u64| second / step * step;
            world.check(&history, aligned(begin), end, step);
            world.check(&history, aligned(begin + 450), aligned(end - 111), step);
        }
        // A range that ends where nothing is known yet, and one before anything was.
        world.check(&history, begin + 500, end + 100, 1);
        assert!(
            history
                .load(b"a", Timestamp::default(), Timestamp::from_secs(BEGIN), 60)
                .unwrap()
                .samples
                .is_empty()
        );
        history.close();
    }
}

#[test]
fn load_goes_on_where_it_was_after_a_restart_in_the_middle_of_a_step() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(9);
    for pause in [3, 47, 0] {
        let history = open(Some(directory.path()));
        for _ in 0..333 {
            world.step(&history);
        }
        history.close();
        world.restart(pause);
    }
    let history = open(Some(directory.path()));
    let counted = |function: &[u8], step| {
        let (from, to) = (Timestamp::from_secs(BEGIN), Timestamp::from_secs(world.second));
        let found = history.load(function, from, to, step).unwrap().samples;
        let events = found.iter().map(|sample| sample.events.submitted).sum::<u64>();
        (found.iter().map(|sample| sample.seconds).sum::<u64>(), events)
    };
    for function in [b"".as_slice(), b"a", b"b", b"c"] {
        let all = world.naive.iter().filter(|((_, name), _)| name == function);
        let submitted = all.map(|(_, second)| second.events.submitted).sum::<u64>();
        for step in [1, 10, 300] {
            assert_eq!(counted(function, step), (999, submitted), "{} {step}", function.escape_ascii());
        }
    }
    history.close();
}

#[test]
fn a_function_that_does_nothing_has_no_rows_and_one_that_rests_has_few() {
    let history = open(None);
    let resting = Level { workers: 5, ..Level::default() };
    for second in BEGIN..BEGIN + 3000 {
        let changed = if second == BEGIN {
            (0..50)
                .map(|number| Second {
                    function: vec![b'f', number],
                    level: resting,
                    events: Events::default(),
                })
                .collect()
        } else {
            Vec::new()
        };
        history.take_load(Timestamp::from_secs(second), Second::default(), changed);
    }
    history.flush();
    let count = |sql| lock(&history.connection).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    // In each period a row of each grain; beside those of the whole server.
    assert_eq!(count("SELECT count(*) FROM load"), 10 * 3 * 50 + 3000 + 300 + 10);
    let found = history
        .load(&[b'f', 7], Timestamp::from_secs(BEGIN + 299), Timestamp::from_secs(BEGIN + 2000), 1)
        .unwrap()
        .samples;
    assert_eq!(found.len(), 1701);
    assert!(found.iter().all(|sample| sample.workers.last == 5));
    history.close();
}

#[test]
fn no_more_functions_than_allowed_have_rows_and_the_busiest_do() {
    let bounds = Bounds { functions: 3, ..Bounds::default() };
    let history = History::open(None, Timestamp::from_secs(BEGIN), bounds).unwrap();
    for second in BEGIN..BEGIN + 20 {
        let busy = |number: u8| {
            let events = Events { submitted: u64::from(number), ..Events::default() };
            Second { function: vec![number], level: Level::default(), events }
        };
        history.take_load(Timestamp::from_secs(second), Second::default(), (1..=9).map(busy).collect());
    }
    history.flush();
    let find = "SELECT count(*), min(name) FROM load JOIN function ON id = function WHERE grain = ?1 AND name <> x''";
    for (grain, expected) in [(1, 3 * 20), (10, 3 * 2)] {
        let connection = lock(&history.connection);
        let (count, first): (i64, Vec<u8>) =
            connection.query_row(find, [grain], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((count, first), (expected, vec![7]), "grain {grain}");
    }
    history.close();
}

#[test]
fn what_is_old_goes_grain_by_grain() {
    let bounds = Bounds {
        load: [Duration::from_secs(600), Duration::from_secs(6_000), Duration::from_secs(1 << 30)],
        ..Bounds::default()
    };
    let history = History::open(None, Timestamp::from_secs(BEGIN), bounds).unwrap();
    for second in BEGIN..BEGIN + 20_000 {
        history.take_load(Timestamp::from_secs(second), Second::default(), Vec::new());
        if second % 1000 == 0 {
            history.flush();
        }
    }
    history.flush();
    for (grain, most) in [(1, 600 + 600 + 10), (10, 600 + 600 + 1), (300, 67)] {
        let sql = "SELECT count(*) FROM load WHERE grain = ?1";
        let count: i64 = lock(&history.connection).query_row(sql, [grain], |row| row.get(0)).unwrap();
        assert!(count <= most && count >= most / 2, "{count} rows of grain {grain}");
    }
    let told = |from, to| history.load(b"", Timestamp::from_secs(from), Timestamp::from_secs(to), 1).unwrap();
    // Still there, only coarser; also for who asks from the beginning of all times.
    for all in [told(BEGIN, BEGIN + 20_000), told(0, BEGIN * 2)] {
        assert_eq!((all.step, all.samples.len()), (300, 20_000 / 300 + 1));
        assert_eq!(all.samples.iter().map(|sample| sample.seconds).sum::<u64>(), 20_000);
    }
    // What is promised by the second is told by the second.
    let end = BEGIN + 20_000;
    for late in 0..300 {
        let fine = told(end - 600 - late, end);
        assert_eq!((fine.step, fine.samples.len() as u64), (1, 600 + late));
    }
    history.close();
}

fn note(job: u64, serial: u64) -> Entry {
    Entry { job: JobId(job), serial, kind: 3, data: serial.to_string().into_bytes() }
}

#[test]
fn the_log_of_a_job_is_read_in_pages_from_a_serial_number_on() {
    let history = open(None);
    for serial in 1..=5 {
        history.note(note(1, BEGIN * 1_000_000 + serial));
        history.note(note(2, BEGIN * 1_000_000 + serial));
    }
    history.flush();
    let page = history.notes(JobId(1), 0, 3).unwrap();
    assert_eq!(page.len(), 3);
    let rest = history.notes(JobId(1), page[2].serial, 3).unwrap();
    assert_eq!(rest, [note(1, BEGIN * 1_000_000 + 4), note(1, BEGIN * 1_000_000 + 5)]);
    history.forget(JobId(1));
    history.flush();
    assert!(history.notes(JobId(1), 0, 9).unwrap().is_empty());
    assert_eq!(history.notes(JobId(2), 0, 9).unwrap().len(), 5);
    history.close();
}

#[test]
fn an_entry_that_is_told_again_is_there_once_and_another_with_its_number_is_not_lost() {
    let history = open(None);
    let first = note(1, BEGIN * 1_000_000);
    let other = Entry { data: b"other".to_vec(), ..first.clone() };
    for entry in [&first, &other, &first, &other] {
        history.note(entry.clone());
    }
    history.flush();
    let moved = Entry { serial: first.serial + 1, ..other };
    assert_eq!(history.notes(JobId(1), 0, 9).unwrap(), [first, moved]);
    history.close();
}

#[test]
fn a_job_that_talks_much_has_its_latest_entries_and_others_keep_theirs() {
    let bounds = Bounds { notes_of_job: 10, ..Bounds::default() };
    let history = History::open(None, Timestamp::from_secs(BEGIN), bounds).unwrap();
    let at = |micros: u64| BEGIN * 1_000_000 + micros;
    history.note(note(7, at(1)));
    for serial in 1..=25 {
        history.note(note(8, at(serial)));
        // Some are written together, some alone.
        if serial % 4 == 0 {
            history.flush();
        }
    }
    history.flush();
    let serials = |job| -> Vec<u64> {
        history.notes(JobId(job), 0, 100).unwrap().into_iter().map(|entry| entry.serial).collect()
    };
    assert_eq!((serials(7), serials(8)), (vec![at(1)], (16..=25).map(at).collect()));
}

#[test]
fn entries_go_when_they_are_old_and_when_the_file_is_too_large() {
    let bounds = Bounds { notes: Duration::from_secs(60), file: 300_000, ..Bounds::default() };
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(Some(directory.path()), Timestamp::from_secs(BEGIN), bounds).unwrap();
    let at = |second: u64| (BEGIN + second) * 1_000_000;
    history.note(note(1, at(0)));
    history.note(note(1, at(50)));
    history.note(note(1, at(100)));
    history.flush();
    history.note(note(2, at(100)));
    history.flush();
    let serials = |history: &History| -> Vec<u64> {
        history.notes(JobId(1), 0, 9).unwrap().into_iter().map(|entry| entry.serial).collect()
    };
    assert_eq!(serials(&history), [at(50), at(100)]);
    for serial in 0..40 {
        history.note(Entry { data: vec![b'x'; 50_000], ..note(3, at(100) + serial) });
        history.flush();
    }
    assert!(history.facts().file < 600_000, "{:?}", history.facts());
    assert!(serials(&history).is_empty());
    history.close();
}

#[test]
fn what_operators_did_is_read_newest_first_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(Some(directory.path()));
    for action in ["cancel", "hold", "release"] {
        history.audit(Audit {
            serial: 0,
            time: Timestamp::from_secs(BEGIN),
            who: "anna".to_owned(),
            action: action.to_owned(),
            target: "H:a:1".to_owned(),
            outcome: "done".to_owned(),
        });
    }
    history.close();
    let history = open(Some(directory.path()));
    let page = history.audits(None, 2).unwrap();
    assert_eq!(page.iter().map(|audit| audit.action.as_str()).collect::<Vec<_>>(), ["release", "hold"]);
    assert_eq!(history.audits(Some(page[1].serial), 2).unwrap()[0].action, "cancel");
    history.close();
}

#[test]
fn what_comes_faster_than_it_can_be_written_is_left_out_and_counted() {
    let bounds = Bounds { queue: 1000, ..Bounds::default() };
    let history = History::open(None, Timestamp::from_secs(BEGIN), bounds).unwrap();
    let is_writing = lock(&history.connection);
    for serial in 0..100 {
        history.note(note(1, BEGIN * 1_000_000 + serial));
    }
    drop(is_writing);
    history.flush();
    let facts = history.facts();
    assert_eq!(facts.written + facts.dropped, 100);
    assert!(facts.dropped > 0 && facts.is_sound, "{facts:?}");
    history.close();
}

#[test]
fn a_damaged_history_is_set_aside_and_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(file::NAME);
    fs::write(&path, vec![7; 8192]).unwrap();
    let history = open(Some(directory.path()));
    history.note(note(1, BEGIN * 1_000_000));
    history.flush();
    assert!(history.facts().is_sound);
    assert_eq!(history.notes(JobId(1), 0, 9).unwrap().len(), 1);
    history.close();
    let aside = directory.path().join(format!("{}.damaged-{BEGIN}", file::NAME));
    assert_eq!(fs::read(aside).unwrap(), vec![7; 8192]);
    assert!(path.exists());
}

#[test]
fn a_history_that_is_damaged_while_it_is_written_is_set_aside_too() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(Some(directory.path()));
    (0..2000).for_each(|serial| {
        history.note(Entry { data: vec![b'x'; 100], ..note(1, BEGIN * 1_000_000 + serial) })
    });
    history.close();
    let path = directory.path().join(file::NAME);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 * 2..].fill(0xaa);
    fs::write(&path, bytes).unwrap();
    let history = open(Some(directory.path()));
    for serial in 0..100 {
        history.note(Entry { data: vec![b'x'; 100], ..note(1, BEGIN * 1_000_000 + 5000 + serial) });
        history.flush();
    }
    let aside = fs::read_dir(directory.path()).unwrap().flatten();
    let aside = aside.filter(|file| file.file_name().to_string_lossy().contains(".damaged-")).count();
    assert!(aside > 0, "{:?}", history.facts());
    assert!(history.facts().is_sound);
    assert!(!history.notes(JobId(1), 0, 9).unwrap().is_empty());
    history.close();
}

#[test]
fn a_newer_history_is_left_alone_and_the_server_runs_without_it() {
    let directory = tempfile::tempdir().unwrap();
    open(Some(directory.path())).close();
    let path = directory.path().join(file::NAME);
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", file::FORMAT + 1).unwrap();
    newer.close().unwrap();
    let before = fs::read(&path).unwrap();
    let refused = Place::File(path.clone()).open().unwrap_err();
    assert!(refused.to_string().contains("newer version"), "{refused}");

    let history = open(Some(directory.path()));
    history.note(note(1, BEGIN * 1_000_000));
    history.flush();
    assert_eq!(history.notes(JobId(1), 0, 9).unwrap().len(), 1);
    assert!(!history.facts().is_sound);
    history.close();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn where_no_file_can_be_made_the_history_is_kept_in_memory() {
    let history = open(Some(Path::new("/dev/null/nowhere")));
    history.note(note(1, BEGIN * 1_000_000));
    history.flush();
    assert_eq!((history.facts().is_sound, history.facts().written), (false, 1));
    history.close();
}
