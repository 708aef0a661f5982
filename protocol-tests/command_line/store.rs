//! `gearhouse store`: a stopped server's store told, checked, taken out and put in elsewhere.

use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use gearhouse::engine::{Outcome, Phase, Record, Standing};
use gearhouse::policy::{Plan, Policy, Terms};
use gearhouse::protocol::{Kind, Spec};
use gearhouse::store::Store;
use gearhouse::store::sqlite::SqliteStore;
use gearhouse::types::{JobId, Priority, Timestamp};
use nix::sys::signal::Signal;
use serde_json::json;

use super::run::{Ended, end, eventually, gearhouse, run, text};
use super::server::Server;

/// When jobs came, where that is known.
const SUBMITTED: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A place for a store, and for files beside it.
pub(super) struct Place(pub(super) tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A store in `name` to which these batches were given.
    pub(super) fn store(&self, name: &str, batches: &[&[Record<'static>]]) -> PathBuf {
        let path = self.path(name);
        let mut store = SqliteStore::open(&path, false).unwrap();
        store.replay(&mut |_| {}).unwrap();
        batches.iter().for_each(|batch| store.append(batch).unwrap());
        path
    }
}

fn spec(kind: Kind, arguments: &[&[u8]]) -> Cow<'static, Spec> {
    Cow::Owned(Spec::parse(kind, Bytes::from(arguments.join(&0))).unwrap().0)
}

pub(super) fn job(
    id: u64,
    priority: Priority,
    function: &[u8],
    unique: &[u8],
    payload: &[u8],
) -> Record<'static> {
    let standing = Standing::new(JobId(id), priority, None, SUBMITTED);
    let spec = spec(Kind::SubmitJobBg, &[function, unique, payload]);
    Record::Queued { id: JobId(id), standing, spec, terms: None }
}

fn recurring(id: u64) -> Record<'static> {
    let spec = spec(Kind::SubmitJobSched, &[b"report", b"weekly", b"0", b"8", b"*", b"*", b"*", b"\xff"]);
    let fields = "0 8 * * Mon-Fri".to_owned();
    let plan = Plan { fields, monday_is_zero: true, ..Plan::default() };
    Record::Scheduled { id: JobId(id), plan: Cow::Owned(plan), spec }
}

/// One of each thing that can survive, and things that ended.
fn all_kinds() -> Vec<Vec<Record<'static>>> {
    let all: Vec<u8> = (0..=255).collect();
    let standing = |id: u64, due, losses| {
        let new = Standing::new(JobId(id), Priority::Low, due, Timestamp::default());
        Standing { losses, place: id + 50, ..new }
    };
    let started = Some(SUBMITTED.after(Duration::from_secs(1)));
    let stands = |id: u64, phase| {
        let new = Standing::new(JobId(id), Priority::Normal, None, SUBMITTED);
        let standing = Standing { phase, attempts: 1, first_start: started, last_start: started, ..new };
        Record::Stands { id: JobId(id), standing }
    };
    let at = SUBMITTED.after(Duration::from_secs(2));
    let over = |id: u64, outcome| stands(id, Phase::Over { outcome, at });
    let result = |id: u64, body: &'static [u8]| Record::Result { id: JobId(id), body: body.into() };
    let terms = Terms { keep: Some(Duration::from_millis(1500)), ..Terms::default() };
    let policy = Policy { attempts: Some(3), ..Policy::default() };
    let far = Some(Timestamp::from_secs(4_000_000_000));
    let reduce = spec(Kind::SubmitReduceJobBackground, &[b"sum", b"r", b"add", b"aggregator", b"1 2"]);
    let epoch = spec(Kind::SubmitJobEpoch, &[b"later", b"", b"4000000000", b"x"]);
    vec![
        vec![
            job(1, Priority::High, b"resize", b"u1", b"over soon"),
            job(2, Priority::High, b"resize", b"u2", b"stays"),
            job(3, Priority::Normal, b"resize", b"-", "f\u{fc}r \"alle\"\n".as_bytes()),
            job(4, Priority::Normal, b"\xfe", b"\xff", &all),
            job(5, Priority::Low, b"resize", b"", b""),
            Record::Queued { id: JobId(6), standing: standing(6, far, 0), spec: epoch, terms: None },
            Record::Queued {
                id: JobId(7),
                standing: standing(7, None, 3),
                spec: reduce,
                terms: Some(Box::new(terms)),
            },
            recurring(8),
            job(9, Priority::Normal, b"resize", b"u9", b"succeeded"),
            job(10, Priority::Normal, b"resize", b"u10", b"cancelled"),
            job(11, Priority::Normal, b"resize", b"u11", b"gone with its result"),
            Record::Policy { pattern: "re*".into(), policy: Some(Box::new(policy)) },
            Record::Function { name: b"resize"[..].into(), limits: [Some(9), None, Some(7)], pinned: false },
            Record::Function { name: b"\x80"[..].into(), limits: [None; 3], pinned: true },
        ],
        vec![
            Record::Done(JobId(1)),
            Record::Stands { id: JobId(5), standing: standing(5, None, 1) },
            result(9, b"well \xff"),
            over(9, Outcome::Succeeded),
            over(10, Outcome::Cancelled),
            result(11, b"not found"),
            over(11, Outcome::Succeeded),
        ],
        vec![Record::Done(JobId(11))],
    ]
}

pub(super) fn whole(place: &Place) -> PathBuf {
    let kinds = all_kinds();
    place.store("data", &kinds.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

pub(super) fn store(command: &str, directory: &Path, args: &[&str]) -> Ended {
    run(&[&["store", command, "--data-dir", text(directory)], args].concat())
}

pub(super) fn import(directory: &Path, lines: &str) -> Ended {
    end(&mut gearhouse(&["store", "import", "--data-dir", text(directory)]), lines.as_bytes())
}

pub(super) fn info(directory: &Path) -> serde_json::Value {
    serde_json::from_str(&store("info", directory, &["--json"]).well()).unwrap()
}

/// Every file but SQLite's index of its log, which whoever opens that makes anew.
pub(super) fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .filter(|(name, _)| !name.ends_with("-shm"))
        .collect();
    files.sort();
    files
}

/// Changes the file behind the store's back.
pub(super) fn tamper(directory: &Path, statement: &str) {
    let connection = rusqlite::Connection::open(directory.join("jobs.db")).unwrap();
    connection.execute_batch(statement).unwrap();
}

#[test]
fn a_running_server_has_its_store_to_itself() {
    let place = Place::new();
    let data = place.path("data");
    let _server = Server::start(&["--data-dir", text(&data)]);
    for command in ["info", "verify", "export", "import"] {
        let ended = match command {
            "import" => import(&data, "{\"kind\":\"store\",\"format\":1}\n"),
            _ => store(command, &data, &[]),
        };
        assert!(ended.with_code(2).contains("is in use by a running server"), "{command}: {}", ended.stderr);
    }
}

#[test]
fn a_directory_without_a_store_is_named_and_none_is_made() {
    let place = Place::new();
    for command in ["info", "verify", "export"] {
        let missing = place.path("missing");
        assert!(store(command, &missing, &[]).with_code(2).contains("missing holds no store"));
        assert!(!missing.exists());
        let empty = place.path("empty");
        fs::create_dir_all(&empty).unwrap();
        assert!(store(command, &empty, &[]).with_code(2).contains("empty holds no store"));
        assert!(contents(&empty).is_empty());
    }
    fs::write(place.path("empty/jobs.db"), "not a database, but some kilobytes of text".repeat(99)).unwrap();
    assert!(store("info", &place.path("empty"), &[]).with_code(2).contains("is not a Gearhouse store"));
}

#[test]
fn the_data_directory_is_the_servers_by_default_and_by_its_variable() {
    let place = Place::new();
    let data = whole(&place);
    let by = |name: &str| end(gearhouse(&["store", "export"]).env(name, &data), b"").well();
    let expected = store("export", &data, &[]).well();
    assert_eq!(by("GEARHOUSE_OPT_DATA_DIR"), expected);
    assert_eq!(by("STATE_DIRECTORY"), expected);
    fs::rename(&data, place.path("gearhouse-data")).unwrap();
    assert_eq!(end(gearhouse(&["store", "export"]).current_dir(place.0.path()), b"").well(), expected);
}

#[test]
fn what_a_killed_server_left_is_read_with_its_log_and_stays_as_it_is() {
    let place = Place::new();
    let data = place.path("data");
    let mut server = Server::start(&["--data-dir", text(&data)]);
    server.run(&["submit", "f", "--background", "--unique", "u", "payload"]).well();
    server.signal(Signal::SIGKILL);
    server.wait();
    assert!(fs::metadata(data.join("jobs.db-wal")).unwrap().len() > 0, "the job is in the log");
    fs::remove_file(data.join("jobs.db-shm")).unwrap();
    let before = contents(&data);
    assert_eq!(info(&data)["jobs"], 1);
    assert_eq!(
        store("verify", &data, &[]).well(),
        "1 job, 0 results, 0 recurring jobs, 0 functions, 0 policies: all as it was written\n"
    );
    assert!(store("export", &data, &[]).well().contains("\"unique\":\"u\""));
    assert!(contents(&data) == before, "a file was changed");
    assert!(!data.join("jobs.db-shm").exists(), "a file was left behind");
}

#[test]
fn jobs_are_counted_by_priority_state_and_function() {
    let place = Place::new();
    let data = whole(&place);
    let before = contents(&data);
    let told = info(&data);
    let expected = [
        ("jobs", json!(6)),
        ("high", json!(1)),
        ("normal", json!(2)),
        ("low", json!(3)),
        ("queued", json!(5)),
        ("delayed", json!(1)),
        ("recurring", json!(1)),
        ("functions_kept", json!(2)),
        ("held", json!(0)),
        ("running", json!(0)),
        ("results", json!(1)),
        ("result_bytes", json!(6)),
        ("policies", json!(1)),
        ("payload_bytes", json!(5 + 12 + 256 + 1 + 3 + 9 + 9)),
        ("oldest", json!({"number": 2, "function": "resize"})),
        ("format", json!(2)),
        ("next_number", json!((1_u64 << 40) + 1)),
        ("damaged_rows", json!(0)),
        ("functions_in_all", json!(4)),
    ];
    for (key, value) in expected {
        assert_eq!(told[key], value, "{key}");
    }
    assert_eq!((&told["over"]["succeeded"], &told["over"]["cancelled"]), (&json!(1), &json!(1)));
    assert_eq!(told["over"]["timed_out"], json!(0));
    assert_eq!(told["functions"][0], json!({"function": "resize", "jobs": 3, "payload_bytes": 17}));
    let table = store("info", &data, &["--limit", "1"]).well();
    assert!(
        table.ends_with(
            "\n\nFUNCTION  JOBS  BYTES\nresize       3     17\nand 3 more: --limit all lists them\n"
        )
    );
    assert!(table.contains("oldest job      2, of resize\n"), "{table}");
    assert!(table.contains("over, kept      2: succeeded 1, cancelled 1\n"), "{table}");
    let table = store("info", &data, &["--limit", "all"]).well();
    assert!(table.ends_with("\nsum          1      3\n\\xfe         1    256\n"), "{table}");
    assert!(contents(&data) == before, "a file was changed");
}

#[test]
fn an_export_says_all_that_survives_and_goes_in_and_out_unchanged() {
    let place = Place::new();
    let data = whole(&place);
    let before = contents(&data);
    let lines = store("export", &data, &[]).well();
    let expected = r#"{"kind":"store","format":2}
{"kind":"policy","pattern":"re*","policy":{"attempts":3}}
{"kind":"function","function":"resize","max_queue":{"high":9,"normal":null,"low":7},"pinned":false}
{"kind":"function","function":{"base64":"gA=="},"max_queue":{"high":null,"normal":null,"low":null},"pinned":true}
{"kind":"job","number":2,"function":"resize","unique":"u2","priority":"high","place":2,"losses":0,"submitted_micros":1700000000000000,"payload":"stays"}
{"kind":"job","number":3,"function":"resize","unique":"-","priority":"normal","place":3,"losses":0,"submitted_micros":1700000000000000,"payload":"für \"alle\"\n"}
"#;
    assert!(lines.starts_with(expected), "{lines}");
    let expected = r#"{"kind":"job","number":5,"function":"resize","unique":"","priority":"low","place":55,"losses":1,"payload":""}
{"kind":"job","number":6,"function":"later","unique":"","priority":"low","place":56,"losses":0,"due_micros":4000000000000000,"payload":"x"}
{"kind":"job","number":7,"function":"sum","unique":"r","reducer":"add","priority":"low","place":57,"losses":3,"terms":{"keep":1.5},"payload":"1 2"}
{"kind":"job","number":9,"function":"resize","unique":"u9","priority":"normal","phase":"over","outcome":"succeeded","place":9,"attempts":1,"losses":0,"submitted_micros":1700000000000000,"first_start_micros":1700000001000000,"last_start_micros":1700000001000000,"ended_micros":1700000002000000,"payload":"succeeded"}
{"kind":"result","number":9,"result":{"base64":"d2VsbCD/"}}
{"kind":"job","number":10,"function":"resize","unique":"u10","priority":"normal","phase":"over","outcome":"cancelled","place":10,"attempts":1,"losses":0,"submitted_micros":1700000000000000,"first_start_micros":1700000001000000,"last_start_micros":1700000001000000,"ended_micros":1700000002000000,"payload":"cancelled"}
{"kind":"recurring","number":8,"function":"report","unique":"weekly","plan":{"fields":"0 8 * * Mon-Fri","monday_is_zero":true,"misfire":"skip","overlap":"allow"},"payload":{"base64":"/w=="}}
{"kind":"end","next_number":1099511627777}
"#;
    assert!(lines.ends_with(expected), "{lines}");
    assert!(contents(&data) == before, "a file was changed");

    let file = place.path("jobs.jsonl");
    store("export", &data, &["--output", text(&file)]).well();
    assert_eq!(fs::read_to_string(&file).unwrap(), lines);
    let there = place.path("there");
    assert!(
        store("import", &there, &[text(&file)])
            .with_code(0)
            .contains("13 jobs, results, recurring jobs, functions and policies")
    );
    assert_eq!(store("export", &there, &[]).well(), lines);
    store("verify", &there, &[]).well();
    // By standard input too, and into what a server left without jobs.
    let used = place.store("used", &[&[job(1, Priority::Low, b"f", b"", b"")], &[Record::Done(JobId(1))]]);
    import(&used, &lines).with_code(0);
    assert_eq!(store("export", &used, &[]).well(), lines);
    store("verify", &used, &[]).well();
}

#[test]
fn a_server_goes_on_with_what_was_imported_in_its_order_and_with_its_handles() {
    let place = Place::new();
    let there = place.path("there");
    import(&there, &store("export", &whole(&place), &[]).well()).with_code(0);
    let server = Server::start(&["--data-dir", text(&there), "--handle-prefix", "H:x"]);
    let mut worker = server.client();
    worker.send(Kind::CanDo, &[b"resize"]).unwrap();
    for (handle, payload) in
        [("H:x:2", &b"stays"[..]), ("H:x:3", "für \"alle\"\n".as_bytes()), ("H:x:5", b"")]
    {
        let assigned = worker.ask(Kind::GrabJob, &[]).unwrap();
        assert_eq!(assigned.body, [handle.as_bytes(), b"resize", payload].join(&0));
    }
    assert_eq!(server.json(&["admin", "schedules"])[0]["handle"], "H:x:8");
    let handle = server.run(&["submit", "new", "--background", "x"]).well();
    assert_eq!(handle.trim_end(), format!("H:x:{}", (1_u64 << 40) + 1));
}

#[test]
fn a_wrong_line_is_named_and_nothing_is_imported() {
    let place = Place::new();
    let good = store("export", &whole(&place), &[]).well();
    let lines: Vec<&str> = good.lines().collect();
    let end = lines.len();
    let twice = [&lines[..end - 1], &[lines[4]], &lines[end - 1..]].concat().join("\n");
    let both = good.replace("\"recurring\",\"number\":8", "\"recurring\",\"number\":7");
    let cases = [
        (good.replace("\"payload\":\"stays\"", "\"payload\":\"stays"), "line 5:"),
        (good.replace("\"losses\":3", "\"losses\":-3"), "line 10:"),
        (good.replace("0 8 * * Mon-Fri", "0 8 * *"), "line 14: "),
        (good.replace("0 8 * * Mon-Fri", "0 8 31 2 *"), "line 14: "),
        (good.replace("\"re*\"", &format!("\"{}*\"", "r".repeat(1024))), "line 2: "),
        (good.replace("\"attempts\":3", "\"backoff\":-1"), "line 2: "),
        (lines[1..].join("\n"), "line 1: an export begins with"),
        ("x".to_owned(), "line 1: "),
        (String::new(), "line 0: an export begins with"),
        (lines[..end - 1].join("\n"), "line 14: an export ends with a line of the kind end"),
        (good.clone() + lines[3], "line 16: there is more"),
        (format!("{}\n{good}", lines[0]), "line 2: an export begins only once"),
        (twice, "line 15: its number came before"),
        (both, "line 14: its number came before"),
    ];
    for (wrong, named) in cases {
        let there = place.path("there");
        let ended = import(&there, &wrong);
        let said = ended.with_code(1);
        assert!(said.contains(named) && said.contains("Nothing was imported"), "{named}: {said}");
        if there.exists() {
            assert_eq!(info(&there)["jobs"], 0, "{named}");
            assert_eq!(info(&there)["functions_kept"], 0, "{named}");
        }
    }
}

#[test]
fn a_store_that_holds_jobs_is_not_imported_into() {
    let place = Place::new();
    let lines = store("export", &whole(&place), &[]).well();
    for (name, held) in [("a", job(100, Priority::Low, b"f", b"", b"")), ("b", recurring(100))] {
        let data = place.store(name, &[&[held]]);
        assert!(import(&data, &lines).with_code(1).contains("holds jobs already"));
    }
}

#[test]
fn an_import_that_is_killed_leaves_nothing_and_can_be_made_again() {
    let place = Place::new();
    let there = place.path("there");
    let mut command = gearhouse(&["store", "import", "--data-dir", text(&there)]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let line = |number| {
        let payload = "x".repeat(1 << 20);
        format!(
            "{{\"kind\":\"job\",\"number\":{number},\"function\":\"f\",\"unique\":\"\",\"priority\":\"low\",\
             \"place\":{number},\"losses\":0,\"payload\":\"{payload}\"}}\n"
        )
    };
    // More than SQLite keeps in memory, so that some of it is in the file already.
    let mut written = "{\"kind\":\"store\",\"format\":1}\n".to_owned();
    (1..=50).for_each(|number| written.push_str(&line(number)));
    input.write_all(written.as_bytes()).unwrap();
    eventually("a part is in the file", || {
        fs::metadata(there.join("jobs.db")).is_ok_and(|file| file.len() > 8 << 20)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(there.join("jobs.db-journal").exists());
    assert!(store("info", &there, &[]).with_code(2).contains("left half made: import again"));

    let lines = store("export", &whole(&place), &[]).well();
    import(&there, &lines).with_code(0);
    assert_eq!(store("export", &there, &[]).well(), lines);
    assert!(fs::metadata(there.join("jobs.db")).unwrap().len() < 1 << 20, "the space was given back");
}

#[test]
fn each_fault_is_told_with_its_file_and_place_and_what_it_costs() {
    // The row that is changed, and what is told of it.
    let cases = [
        (
            "UPDATE job SET meta = zeroblob(40) WHERE id = 2",
            "table job, row 2: its checksum is wrong; this job is lost",
        ),
        ("UPDATE job SET meta = 'text' WHERE id = 3", "table job, row 3: its checksum is wrong"),
        (
            "UPDATE body SET body = body || x'00' WHERE id = 3",
            "table job, row 3: the checksum of its payload is wrong; this job cannot be handed out",
        ),
        ("DELETE FROM body WHERE id = 7", "table job, row 7: its payload is not there"),
        ("DELETE FROM job WHERE id = 4", "table body, row 4: a payload without its job; this job is lost"),
        (
            "UPDATE ops SET changes = x'4400'",
            "table ops, row 1: its checksum is wrong; jobs that are over may come back",
        ),
        ("UPDATE schedule SET fields = '0 9 * * *'", "table schedule, row 8: its checksum is wrong"),
        ("UPDATE schedule SET body = x'00000000'", "this recurring job is lost"),
        (
            "UPDATE function SET name = 'resizf' WHERE name = CAST('resize' AS BLOB)",
            "table function, row 1: ",
        ),
        (
            "UPDATE numbers SET next = zeroblob(12)",
            "table numbers, row 1: its checksum is wrong; numbers of jobs may be",
        ),
        ("DELETE FROM numbers", "table numbers, row 1: the row is not there"),
        ("UPDATE job SET id = 90 WHERE id = 2", "table job, row 90: its checksum is wrong"),
    ];
    for (tampered, told) in cases {
        let place = Place::new();
        let data = whole(&place);
        tamper(&data, tampered);
        let before = contents(&data);
        let ended = store("verify", &data, &[]);
        assert!(ended.with_code(1).contains("--salvage"), "{}", ended.stderr);
        let shown = String::from_utf8(ended.stdout).unwrap();
        let expected = format!("{}: ", data.join("jobs.db").display());
        assert!(
            shown.lines().all(|line| line.starts_with(&expected)) && shown.contains(told),
            "{tampered}: {shown}"
        );
        assert!(contents(&data) == before, "{tampered}: a file was changed");
    }
    // A row of a job that is over is of no matter.
    let place = Place::new();
    let data = whole(&place);
    tamper(&data, "UPDATE job SET meta = zeroblob(40) WHERE id = 1");
    store("verify", &data, &[]).well();
    store("export", &data, &[]).well();
}

#[test]
fn a_damaged_page_is_told_and_the_other_tables_are_looked_at_all_the_same() {
    let place = Place::new();
    let many: Vec<_> = (1..=400).map(|id| job(id, Priority::Low, b"f", b"", &[b'x'; 50])).collect();
    let data = place.store("data", &[&many, &[recurring(401)]]);
    let file = data.join("jobs.db");
    let root: u32 = {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'job'", [], |row| row.get(0))
            .unwrap()
    };
    let root = usize::try_from(root).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[(root - 1) * 4096..root * 4096].fill(0);
    fs::write(&file, bytes).unwrap();
    let ended = store("verify", &data, &[]);
    ended.with_code(1);
    let shown = String::from_utf8(ended.stdout).unwrap();
    assert!(shown.contains("table job, rows from here on cannot be read"), "{shown}");
    assert!(ended.stderr.contains("1 recurring job,"), "{}", ended.stderr);
}

#[test]
fn a_damaged_store_is_exported_only_when_told_to_salvage_which_says_what_is_missing() {
    let place = Place::new();
    let data = whole(&place);
    tamper(&data, "UPDATE job SET meta = zeroblob(40) WHERE id = 2; DELETE FROM body WHERE id = 7");
    let file = place.path("jobs.jsonl");
    let ended = store("export", &data, &["--output", text(&file)]);
    assert!(ended.with_code(1).contains("damaged"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 1, "a file was left behind");
    let ended = store("export", &data, &[]);
    ended.with_code(1);
    assert!(!ended.stdout.ends_with(b"\"next_number\":1099511627777}\n"), "it seems whole");

    let ended = store("export", &data, &["--salvage"]);
    let said = ended.with_code(0);
    assert!(said.contains("gone: job 2, of resize: its row is missing or damaged"), "{said}");
    assert!(said.contains("gone: job 7, of sum: its payload is missing or damaged"), "{said}");
    let there = place.path("there");
    import(&there, &ended.well()).with_code(0);
    assert_eq!(info(&there)["jobs"], 4);
    assert_eq!(info(&data)["damaged_rows"], 1);
}
