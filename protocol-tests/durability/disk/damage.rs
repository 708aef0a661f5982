//! Files that are not as they were written: refused with file and place, nothing changed; with `--salvage` the rest is
//! served. And directories that are not to be used at all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use super::server::Server;
use super::shim::Bench;
use crate::support::eventually;

const JOBS: usize = 60;

/// A store with jobs; `ending` stops or kills its server. Gives the handles.
fn with_jobs(bench: &Bench, ending: impl FnOnce(Server)) -> Vec<String> {
    let server = Server::start(bench);
    let mut client = server.connect();
    let handles = (0..JOBS)
        .map(|n| {
            client.submit_bg(
                "kept",
                &format!("unique-{n:03}"),
                format!("payload-{n:03}-").repeat(40).as_bytes(),
            )
        })
        .collect();
    drop(client);
    ending(server);
    handles
}

/// The files whose content matters, to see that nothing was changed.
fn files(bench: &Bench) -> BTreeMap<String, Vec<u8>> {
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    fs::read_dir(bench.store())
        .unwrap()
        .flatten()
        .filter(|entry| !["jobs.db-shm", "reserve", "lock"].contains(&name(entry).as_str()))
        .map(|entry| (name(&entry), fs::read(entry.path()).unwrap()))
        .collect()
}

/// The server must refuse, say these words and change nothing.
#[track_caller]
fn refused(bench: &Bench, words: &[&str]) {
    let before = files(bench);
    for _ in 0..2 {
        let (status, log) = Server::refusal(bench, &[]);
        assert!(!status.success(), "it ended as if all were well: {log}");
        for word in words {
            assert!(log.contains(word), "not said: {word:?}; but: {log}");
        }
        let after = files(bench);
        let changed = before.iter().find(|(name, content)| after.get(*name) != Some(*content));
        assert!(changed.is_none(), "{} was changed although the server refused", changed.unwrap().0);
    }
}

/// Changes the nth place where these bytes stand in a file.
fn flip(path: &Path, bytes: &[u8], nth: usize) {
    let mut content = fs::read(path).unwrap();
    let places: Vec<usize> =
        (0..content.len() - bytes.len()).filter(|at| content[*at..].starts_with(bytes)).collect();
    content[places[nth] + 2] ^= 4;
    fs::write(path, content).unwrap();
}

fn waiting(server: &Server) -> Vec<String> {
    let mut worker = server.connect();
    worker.can_do("kept");
    std::iter::from_fn(|| worker.grab()).map(|job| job.handle).collect()
}

#[test]
fn a_flipped_bit_in_a_job_is_refused_with_its_place_and_salvage_serves_the_rest() {
    let bench = Bench::new();
    let handles = with_jobs(&bench, Server::stop);
    let file = bench.store().join("jobs.db");
    // The row of the job comes first in the file or second, by where its payload went; one of them is its row.
    let place = job_row_of(&file, b"unique-017");
    flip(&file, b"unique-017", place);
    let number = handles[17].rsplit(':').next().unwrap();
    let row = format!("row {number}");
    refused(&bench, &["jobs.db", &row, "table job", "checksum", "--salvage", "Nothing was changed"]);
    let server = Server::with(&bench, false, &["--salvage"]);
    assert!(server.log().contains(&row), "it does not say which job is gone: {}", server.log());
    let rest: Vec<String> = handles.iter().filter(|handle| **handle != handles[17]).cloned().collect();
    // Said once: from now on nothing is damaged.
    server.stop();
    let server = Server::start(&bench);
    assert_eq!(waiting(&server), rest);
}

/// Which of the places where a unique id stands is not followed by the payload.
fn job_row_of(file: &Path, unique: &[u8]) -> usize {
    let content = fs::read(file).unwrap();
    let places = (0..content.len() - 40).filter(|at| content[*at..].starts_with(unique));
    let mut rows = places
        .enumerate()
        .filter(|(_, at)| !content[*at..*at + 30].windows(7).any(|part| part == b"payload"));
    rows.next().unwrap().0
}

#[test]
fn a_payload_that_went_bad_is_found_when_it_is_needed_and_never_handed_out() {
    let bench = Bench::new();
    let handles = with_jobs(&bench, Server::stop);
    flip(&bench.store().join("jobs.db"), b"payload-030-payload", 0);
    let server = Server::start(&bench);
    let mut worker = server.connect();
    worker.can_do("kept");
    let mut client = server.connect();
    let mut found = Vec::new();
    // Set aside when it is read ahead of need or when its turn has come.
    eventually("all others are handed out", || {
        while let Some(job) = worker.grab() {
            assert_ne!(job.handle, handles[30], "a payload that is not as it was written was handed out");
            assert!(job.data.starts_with(b"payload-"), "{:?}", job.data);
            found.push(job.handle);
        }
        (found.len() == JOBS - 1).then_some(())
    });
    assert_eq!(client.status(&handles[30]).state(), (false, false));
    let number = handles[30].rsplit(':').next().unwrap();
    server.expect_log(&format!("the payload of job {number} is missing or damaged"));
}

#[test]
fn a_zeroed_page_and_a_file_cut_short_are_refused() {
    let bench = Bench::new();
    with_jobs(&bench, Server::stop);
    let good = fs::read(bench.store().join("jobs.db")).unwrap();
    let pages = good.len() / 4096;
    let mut zeroed = 0;
    for page in 1..pages {
        let mut bad = good.clone();
        bad[page * 4096..(page + 1) * 4096].fill(0);
        let bench = with_file(&bench, &bad);
        // A page of payloads is found only when they are read; those of jobs and changes at once.
        let (status, log) = Server::refusal_or_not(&bench);
        if let Some(status) = status {
            assert!(!status.success() && log.contains("jobs.db") && log.contains("damaged"), "{page}: {log}");
            assert_eq!(fs::read(bench.store().join("jobs.db")).unwrap(), bad);
            zeroed += 1;
        }
    }
    assert!(zeroed > 2, "{zeroed} of {pages} zeroed pages were found");
    refused(&with_file(&bench, &good[..(pages - 2) * 4096]), &["jobs.db", "damaged", "shorter"]);
    for empty in [&b""[..], &[0; 4096]] {
        refused(&with_file(&bench, empty), &["jobs.db"]);
    }
    fs::remove_file(bench.store().join("jobs.db")).unwrap();
    refused(&bench, &["jobs.db", "missing", "there was a store here"]);
}

/// The same data directory with other content in the file that holds the jobs.
fn with_file(bench: &Bench, content: &[u8]) -> Bench {
    let other = Bench::new();
    fs::copy(bench.store().join("lock"), other.store().join("lock")).unwrap();
    fs::write(other.store().join("jobs.db"), content).unwrap();
    other
}

#[test]
fn a_log_that_is_missing_or_damaged_before_its_end_is_refused() {
    let bench = Bench::new();
    with_jobs(&bench, Server::kill);
    let log = bench.store().join("jobs.db-wal");
    let good = fs::read(&log).unwrap();
    fs::remove_file(&log).unwrap();
    refused(&bench, &["jobs.db-wal", "missing", "--salvage"]);
    let frame = 4096 + 24;
    for at in [16, 32 + 10 * frame + 5, 32 + 10 * frame + 9, 32 + 20 * frame + 1000] {
        let mut bad = good.clone();
        bad[at] ^= 64;
        fs::write(&log, bad).unwrap();
        refused(&bench, &["jobs.db-wal", "not as it was written", "--salvage"]);
    }
    fs::write(&log, &good).unwrap();
    assert_eq!(waiting(&Server::start(&bench)).len(), JOBS);
}

#[test]
fn a_torn_end_of_the_log_is_dropped_and_no_more() {
    let bench = Bench::new();
    let handles = with_jobs(&bench, Server::kill);
    let log = bench.store().join("jobs.db-wal");
    let good = fs::read(&log).unwrap();
    // Into the last frame, its whole commit, and the zeros that a file system may leave.
    for (lost, zeros) in [(1, 0), (4000, 0), (2000, 2000)] {
        let mut torn = good[..good.len() - lost].to_vec();
        torn.resize(torn.len() + zeros, 0);
        let copy = Bench::new();
        fs::copy(bench.store().join("jobs.db"), copy.store().join("jobs.db")).unwrap();
        fs::write(copy.store().join("jobs.db-wal"), torn).unwrap();
        assert_eq!(waiting(&Server::start(&copy)), handles[..JOBS - 1]);
    }
}

#[test]
fn a_directory_that_is_not_to_be_used_is_refused_and_left_as_it_is() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    server.connect().submit_bg("kept", "first", b"first");
    let (status, log) = Server::refusal(&bench, &[]);
    assert!(!status.success() && log.contains("in use by a running server"), "{log}");
    server.stop();

    bench.fail("CW 30 1 999999999");
    refused(&bench, &["Read-only file system"]);
    bench.relieve();

    let file = bench.store().join("jobs.db");
    let good = fs::read(&file).unwrap();
    let set = |sql: &str| rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    set("PRAGMA user_version = 99");
    refused(&bench, &["newer version", "format 99"]);
    fs::write(&file, &good).unwrap();
    set("PRAGMA application_id = 7");
    refused(&bench, &["not a Gearhouse store"]);
    fs::write(&file, "a text of some length, that is no database at all".repeat(100)).unwrap();
    refused(&bench, &["not a Gearhouse store"]);

    fs::remove_dir_all(bench.store()).unwrap();
    fs::write(bench.store(), "a file").unwrap();
    let (status, log) = Server::refusal(&bench, &[]);
    assert!(!status.success() && log.contains(bench.store().to_str().unwrap()), "{log}");
    assert_eq!(fs::read(bench.store()).unwrap(), b"a file");
}

#[test]
fn a_directory_of_someone_else_is_refused() {
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let place = tempfile::Builder::new().permissions(everyone).tempdir().unwrap();
    // Root may use any directory, so the server runs as nobody then; /usr is root's everywhere.
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
    command.args([
        "serve",
        "--http",
        "off",
        "--store",
        "sqlite",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "/usr",
    ]);
    if geteuid().is_root() {
        // The program may lie where only root can go.
        let copy = place.path().join("gearhouse");
        fs::copy(env!("CARGO_BIN_EXE_gearhouse"), &copy).unwrap();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Command::new(&copy);
        command.args(arguments).uid(65534).gid(65534);
    }
    let output = command.current_dir("/").stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("/usr belongs to user 0"), "{log}");
    assert!(!Path::new("/usr/lock").exists());
}
