//! What each version of the format left on a disk is opened by this one, and nothing of it is missing.
//!
//! `formats/N/jobs.db` was written by the first version that wrote format N; `jobs.jsonl` beside it is its export, and
//! says what must be found, in the lines of that version. A version with a new format writes its own folder when these tests are run: commit it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use gearhouse::client::Client;
use gearhouse::engine::{Outcome, Phase, Reason, Record, Standing};
use gearhouse::policy::{Misfire, Overlap, Plan, Policy, Terms};
use gearhouse::protocol::{Kind, Spec};
use gearhouse::store::Store;
use gearhouse::store::lines::Line;
use gearhouse::store::sqlite::{Inspection, SqliteStore};
use gearhouse::types::{JobId, Priority, Timestamp};

/// When the jobs came.
const SUBMITTED: Timestamp = Timestamp::from_secs(1_700_000_000);

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-tests/durability/formats");

/// The folders of all formats, oldest first.
fn kept() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(KEPT).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort_by_key(|folder| folder.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap());
    assert!(!folders.is_empty());
    folders
}

/// A copy of what was kept, to be opened.
fn copy(folder: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(folder.join("jobs.db"), directory.path().join("jobs.db")).unwrap();
    directory
}

fn expected(folder: &Path) -> Vec<Line> {
    lines(&fs::read_to_string(folder.join("jobs.jsonl")).unwrap())
}

/// What an export says, whatever the format of its lines.
fn lines(export: &str) -> Vec<Line> {
    export.lines().map(|line| Line::read(line.as_bytes()).unwrap()).collect()
}

fn export(directory: &Path) -> Vec<Line> {
    lines(&store("export", directory))
}

fn is_of_job(line: &Line, job: JobId) -> bool {
    matches!(line, Line::Thing(Record::Queued { id, .. } | Record::Result { id, .. }) if *id == job)
}

#[test]
fn every_format_is_read_as_it_was_written() {
    for folder in kept() {
        let directory = copy(&folder);
        assert_eq!(export(directory.path()), expected(&folder), "{}", folder.display());
        store("verify", directory.path());
        let bytes = |folder: &Path| fs::read(folder.join("jobs.db")).unwrap();
        assert!(bytes(directory.path()) == bytes(&folder), "who only reads changes nothing");
    }
}

#[test]
fn every_format_is_kept_on_with() {
    for folder in kept() {
        let directory = copy(&folder);
        let mut store_of_it = SqliteStore::open(directory.path(), false).unwrap();
        let mut first = None;
        let next = store_of_it.replay(&mut |record| {
            if let Record::Queued { id, .. } = record {
                first = first.or(Some(id));
            }
        });
        let (first, next) = (first.expect("a job"), next.unwrap());
        // Also what that format did not know.
        let policy = Some(Box::new(Policy { attempts: Some(2), ..Policy::default() }));
        let policy = Record::Policy { pattern: "new*".into(), policy };
        store_of_it.append(std::slice::from_ref(&policy)).unwrap();
        store_of_it.append(&[job(next.0, Priority::Low, b"new", b"", b"x"), Record::Done(first)]).unwrap();
        while store_of_it.tidy().unwrap() {}
        drop(store_of_it);
        store("verify", directory.path());
        let now = export(directory.path());
        for line in expected(&folder) {
            let is_changed = matches!(line, Line::End(_)) || is_of_job(&line, first);
            assert!(is_changed || now.contains(&line), "{}: {line:?} is missing", folder.display());
        }
        assert!(now.iter().any(|line| is_of_job(line, next)) && now.contains(&Line::Thing(policy)));
        assert!(!now.iter().any(|line| is_of_job(line, first)));
        assert_eq!(Inspection::open(directory.path()).unwrap().format(), newest());
    }
}

/// A store that was never opened before.
fn newest() -> i64 {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    Inspection::open(directory.path()).unwrap().format()
}

#[test]
fn a_damaged_store_of_an_old_format_is_refused_as_it_is_and_salvaged() {
    let folder = Path::new(KEPT).join("1");
    let directory = copy(&folder);
    let file = directory.path().join("jobs.db");
    let mut bytes = fs::read(&file).unwrap();
    // Within a payload's names, which its row in `job` has too.
    let at = bytes.windows(3).position(|part| part == b"two").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let mut plain = SqliteStore::open(directory.path(), false).unwrap();
    let refused = plain.replay(&mut |_| {}).map(drop);
    drop(plain);
    if refused.is_err() {
        assert!(fs::read(&file).unwrap() == bytes, "a store that is refused is left as it is");
    }
    drop(SqliteStore::open(directory.path(), true).unwrap());
    let found = export(directory.path());
    for line in expected(&folder) {
        let is_lost = is_of_job(&line, JobId(2)) || matches!(line, Line::End(_));
        assert!(is_lost || found.contains(&line), "{line:?} is missing");
    }
    assert!(!found.iter().any(|line| is_of_job(line, JobId(2))));
}

#[test]
fn a_server_hands_out_what_every_format_holds() {
    for folder in kept() {
        let directory = copy(&folder);
        let server = Served::start(directory.path());
        let mut worker = server.client();
        let (mut ready, mut in_all, mut recurring) = (BTreeMap::new(), 0, 0);
        for line in expected(&folder) {
            match line {
                Line::Thing(Record::Queued { id, standing, spec, .. }) => {
                    worker.send(Kind::CanDo, &[spec.function()]).unwrap();
                    // A start ends what was cancelled while a worker had it.
                    let is_over = matches!(standing.phase, Phase::Over { .. } | Phase::Cancelling);
                    in_all += u64::from(!is_over);
                    let is_ready = matches!(standing.phase, Phase::Waiting | Phase::Running);
                    if is_ready && standing.due.is_none() {
                        ready.insert(format!("H:x:{}", id.0), spec.payload().to_vec());
                    }
                }
                Line::Thing(Record::Scheduled { .. }) => recurring += 1,
                _ => {}
            }
        }
        assert_eq!(worker.list(b"show jobs").unwrap().len() as u64, in_all, "{}", folder.display());
        assert_eq!(worker.list(b"show schedules").unwrap().len(), recurring);
        let mut handed_out = BTreeMap::new();
        loop {
            let answer = worker.ask(Kind::GrabJob, &[]).unwrap();
            if answer.kind == Kind::NoJob {
                break;
            }
            let mut parts = answer.body.splitn(3, |byte| *byte == 0);
            let handle = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
            handed_out.insert(handle, parts.nth(1).unwrap().to_vec());
        }
        assert_eq!(handed_out, ready, "{}", folder.display());
    }
}

#[test]
fn the_format_that_is_written_now_is_kept_and_has_not_changed_under_its_number() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    let format = Inspection::open(directory.path()).unwrap().format();
    let folder = Path::new(KEPT).join(format.to_string());
    if !folder.exists() {
        fs::create_dir(&folder).unwrap();
        fs::copy(directory.path().join("jobs.db"), folder.join("jobs.db")).unwrap();
        fs::write(folder.join("jobs.jsonl"), store("export", directory.path())).unwrap();
        panic!("{} was written: look at it, and commit it", folder.display());
    }
    assert_eq!(export(directory.path()), expected(&folder));
    let then = copy(&folder);
    assert_eq!(tables(directory.path()), tables(then.path()), "a new layout needs a new number");
}

/// How the tables were made, and every row.
fn tables(directory: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(directory.join("jobs.db")).unwrap();
    let rows = |select: &str| -> Vec<String> {
        let mut select = connection.prepare(select).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
            let values: Vec<_> = (0..columns).map(|column| format!("{:?}", row.get_ref(column))).collect();
            Ok(values.join(" "))
        };
        select.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    let mut all = rows("SELECT name, sql FROM sqlite_schema ORDER BY name");
    for table in ["job", "body", "result", "ops", "schedule", "function", "policy", "numbers"] {
        all.extend(rows(&format!("SELECT '{table}', * FROM {table} ORDER BY 2")));
    }
    all
}

/// One of all that a store can hold: rows that were folded, and changes that were not yet.
fn write(directory: &Path) {
    let all: Vec<u8> = (0..=255).collect();
    let long: Vec<u8> = all.iter().copied().cycle().take(6000).collect();
    let reduce = &[&b"sum"[..], b"r", b"add", b"aggregator", b"1 2"];
    let sched = &[&b"report"[..], b"weekly", b"0", b"8", b"*", b"*", b"Mon-Fri", b"all of it"];
    let lost = |id: u64, priority, due: Option<u64>, losses| {
        let new = Standing::new(JobId(id), priority, due.map(Timestamp::from_secs), SUBMITTED);
        Record::Stands { id: JobId(id), standing: Standing { losses, place: id + 100, ..new } }
    };
    let delayed = |id: u64, due| Record::Queued {
        id: JobId(id),
        standing: Standing::new(JobId(id), Priority::Normal, Some(due), SUBMITTED),
        spec: spec(Kind::SubmitJobEpoch, &[b"later", b"", b"40000000000", b"x"]),
        terms: None,
    };
    let started = Some(Timestamp::from_secs(1_700_000_100));
    let stands = |id: u64, phase| {
        let new = Standing::new(JobId(id), Priority::Normal, None, SUBMITTED);
        let standing = Standing { phase, attempts: 1, first_start: started, last_start: started, ..new };
        Record::Stands { id: JobId(id), standing }
    };
    let over =
        |id: u64, outcome| stands(id, Phase::Over { outcome, at: Timestamp::from_secs(39_000_000_000) });
    let result = |id: u64, body: &[u8]| Record::Result { id: JobId(id), body: Bytes::copy_from_slice(body) };
    let plan = |fields: &str| Plan { fields: fields.to_owned(), ..Plan::default() };
    let policy = |pattern: &'static str, policy: Option<Policy>| Record::Policy {
        pattern: pattern.into(),
        policy: policy.map(Box::new),
    };
    let terms = Terms {
        attempts: Some(3),
        keep: Some(Duration::from_millis(1500)),
        mime: Some("text/plain".to_owned()),
        ..Terms::default()
    };
    let function =
        |name: &'static [u8], limits, pinned| Record::Function { name: name.into(), limits, pinned };
    let folded = [
        job(1, Priority::High, b"f", b"one", b"high"),
        job(2, Priority::Normal, b"f", b"two", &all),
        job(3, Priority::Low, b"f", b"", b""),
        job(4, Priority::Low, b"f", b"-", b"by its payload"),
        job(5, Priority::High, b"f", b"over", b"is not found"),
        lost(3, Priority::High, None, 1),
        Record::Done(JobId(5)),
        // Kept after their ends, the second one not for long.
        job(13, Priority::Normal, b"f", b"kept", b"with its result"),
        job(14, Priority::Normal, b"f", b"gone", b"with its result"),
        result(13, &all),
        over(13, Outcome::Succeeded),
        result(14, b"is not found"),
        over(14, Outcome::Failed(Reason::Exception)),
        job(15, Priority::Normal, b"f", b"held", b"until it is released"),
        stands(15, Phase::Held),
        policy("*", Some(Policy { attempts: Some(4), backoff: Some(Duration::ZERO), ..Policy::default() })),
        policy("gone", Some(Policy::default())),
    ];
    let unfolded: [&[Record<'static>]; 3] = [
        &[
            job(6, Priority::High, b"f\xff", b"\xfe", &long),
            job(7, Priority::Low, b"g", b"seven", b"lost twice"),
            job(8, Priority::Normal, b"g", b"over", b"is not found"),
            delayed(9, Timestamp::from_secs(40_000_000_000)),
            Record::Queued {
                id: JobId(10),
                standing: Standing {
                    attempts: 2,
                    losses: 2,
                    first_start: started,
                    last_start: started.map(|start| start.after(Duration::from_secs(9))),
                    ..Standing::new(JobId(10), Priority::Normal, None, SUBMITTED)
                },
                spec: spec(Kind::SubmitReduceJobBackground, reduce),
                terms: Some(Box::new(terms)),
            },
            job(16, Priority::Normal, b"f", b"running", b"when the server stopped"),
            job(17, Priority::Normal, b"f", b"cancelling", b"when the server stopped"),
            job(18, Priority::Normal, b"f", b"expired", b""),
        ],
        &[
            Record::Scheduled {
                id: JobId(11),
                plan: Cow::Owned(Plan {
                    zone: "Europe/Berlin".to_owned(),
                    misfire: Misfire::Once,
                    overlap: Overlap::Skip,
                    ..plan("0 8 * * Mon-Fri")
                }),
                spec: spec(Kind::SubmitJobSched, sched),
            },
            Record::Scheduled {
                id: JobId(12),
                plan: Cow::Owned(plan("0 8 * * *")),
                spec: spec(Kind::SubmitJobSched, sched),
            },
            function(b"f", [Some(10_000), None, Some(5)], false),
            function(b"g\x80", [None; 3], true),
            lost(7, Priority::Low, None, 1),
            lost(2, Priority::Normal, Some(40_000_000_000), 9),
            stands(16, Phase::Running),
            stands(17, Phase::Cancelling),
            over(18, Outcome::Failed(Reason::Expired)),
        ],
        &[
            lost(7, Priority::Low, None, 2),
            Record::Done(JobId(8)),
            Record::Done(JobId(14)),
            Record::Unscheduled(JobId(12)),
            policy("f", Some(Policy { paused: Some(false), ..Policy::default() })),
            policy("gone", None),
        ],
    ];
    let mut store = SqliteStore::open(directory, false).unwrap();
    store.replay(&mut |_| {}).unwrap();
    store.append(&folded).unwrap();
    while store.tidy().unwrap() {}
    unfolded.into_iter().for_each(|batch| store.append(batch).unwrap());
    drop(store);
    assert!(!directory.join("jobs.db-wal").exists(), "a store that is closed is one file");
}

fn job(id: u64, priority: Priority, function: &[u8], unique: &[u8], payload: &[u8]) -> Record<'static> {
    let standing = Standing::new(JobId(id), priority, None, SUBMITTED);
    let spec = spec(Kind::SubmitJobBg, &[function, unique, payload]);
    Record::Queued { id: JobId(id), standing, spec, terms: None }
}

fn spec(kind: Kind, arguments: &[&[u8]]) -> Cow<'static, Spec> {
    Cow::Owned(Spec::parse(kind, Bytes::from(arguments.join(&0))).unwrap().0)
}

/// What a command of `gearhouse store` writes.
#[track_caller]
fn store(command: &str, directory: &Path) -> String {
    let mut gearhouse = gearhouse();
    let output = gearhouse.args(["store", command, "--data-dir"]).arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn gearhouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The real server on a data directory, killed at the end.
struct Served {
    child: Child,
    address: std::net::SocketAddr,
}

impl Served {
    fn start(directory: &Path) -> Served {
        let mut command = gearhouse();
        command
            .args([
                "serve",
                "--http",
                "off",
                "--listen",
                "127.0.0.1:0",
                "--handle-prefix",
                "H:x",
                "--data-dir",
            ])
            .arg(directory);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = log.find(|line| line.as_ref().unwrap().contains("listening on ")).unwrap().unwrap();
        let (_, address) = line.split_once("listening on ").unwrap();
        // Nobody may be left who does not read what it writes.
        std::thread::spawn(move || log.for_each(drop));
        Served { child, address: address.trim().parse().unwrap() }
    }

    fn client(&self) -> Client {
        Client::connect(&[self.address]).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
