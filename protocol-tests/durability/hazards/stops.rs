//! Stops and starts that lose nothing and change nothing, and what is kept where.

use std::path::PathBuf;

use super::house::House;
use crate::support::peer::Status;
use crate::support::{Server, kind};

#[test]
fn a_server_that_is_stopped_keeps_its_queued_jobs() {
    let mut house = House::new();
    let mut client = house.connect();
    for payload in ["1", "2", "3"] {
        client.submit_bg("f", "", payload.as_bytes());
    }
    house.stop();
    assert_eq!(house.payloads(&["f"]), ["1", "2", "3"]);
}

#[test]
fn a_server_that_is_told_to_shut_down_keeps_its_queued_jobs() {
    let mut house = House::new();
    let mut client = house.connect();
    client.submit_bg("f", "", b"x");
    assert_eq!(client.admin("shutdown"), "OK\r\n");
    assert_eq!(house.server().wait().code(), Some(0));
    house.start_again();
    assert_eq!(house.payloads(&["f"]), ["x"]);
}

#[test]
fn what_ended_before_an_orderly_stop_stays_so() {
    let mut house = House::new();
    let (mut client, mut worker) = (house.connect(), house.worker(&["f"]));
    let handle = client.submit_bg("f", "", b"x");
    worker.take_job();
    worker.complete(&handle, b"");
    worker.settle();
    house.stop();
    assert_eq!(house.connect().status(&handle).state(), Status::UNKNOWN);
}

#[test]
fn a_job_that_ran_when_the_server_was_stopped_is_not_used_up() {
    let mut house = House::gearhouse(&["--job-attempts", "1", "--stop-timeout", "100ms"]);
    let handle = house.connect().submit_bg("f", "", b"x");
    let mut worker = house.worker(&["f"]);
    worker.take_job();
    house.stop();
    let listed = house.admin("show jobs");
    assert!(listed.starts_with(&format!("{handle}\t0\t")), "no worker lost it: {listed}");
    assert_eq!(house.worker(&["f"]).take_job().handle, handle);
}

#[test]
fn two_restarts_in_a_row_change_nothing() {
    let mut house = House::gearhouse(&[]);
    let mut client = house.connect();
    for (index, kind) in [kind::SUBMIT_JOB_BG, kind::SUBMIT_JOB_HIGH_BG, kind::SUBMIT_JOB_LOW_BG]
        .iter()
        .cycle()
        .take(60)
        .enumerate()
    {
        client.submit_as(*kind, if index % 2 == 0 { "f" } else { "g" }, &format!("{index}"), b"x");
    }
    client.submit_at("f", "late", "4000000000", b"x");
    client.send(kind::SUBMIT_JOB_SCHED, &[b"h", b"id", b"1", b"4", b"29", b"2", b"*", b"x"]);
    client.created();
    house.admin("maxqueue f 5");
    house.admin("create function made");
    let mut worker = house.worker(&["f", "g"]);
    worker.take_job();
    worker.take_job();
    let done = worker.take_job();
    worker.complete(&done.handle, b"");
    worker.leave();
    house.seal();
    let all = |house: &House| {
        ["show jobs", "show unique jobs", "show schedules", "status", "prioritystatus"]
            .map(|command| house.admin(command))
    };
    let before = all(&house);
    house.kill();
    let once = all(&house);
    assert_eq!(once, before);
    house.kill();
    assert_eq!(all(&house), once);
    house.stop();
    assert_eq!(all(&house), once);
}

#[test]
fn the_memory_store_writes_nothing() {
    let server = Server::serve(&["--store", "memory"]);
    let mut client = server.connect();
    client.submit_bg("f", "", b"x");
    client.admin("maxqueue f 5");
    assert_eq!(files(&place_of(&server)), Vec::<PathBuf>::new());
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
    let open: Vec<PathBuf> = open.filter_map(|file| std::fs::read_link(file.path()).ok()).collect();
    let files: Vec<&PathBuf> = open.iter().filter(|path| path.is_file()).collect();
    assert!(files.is_empty(), "it has files open: {files:?}");
}

#[test]
fn the_default_data_directory_is_below_where_the_server_runs() {
    let server = Server::serve(&[]);
    server.connect().submit_bg("f", "", b"a payload to be found");
    let place = place_of(&server);
    assert_eq!(files(&place), [place.join("gearhouse-data")]);
    let bytes: Vec<u8> =
        files(&place.join("gearhouse-data")).iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let payload = b"a payload to be found";
    assert!(bytes.windows(payload.len()).any(|part| part == payload), "the job is in none of its files");
}

#[test]
fn an_acknowledged_job_is_in_the_files_at_once() {
    // A kill would not show it: what a process has written is safe from its own end without a sync, and this test
    // can't cut the power. But a job that is not even written when it is acknowledged is found out.
    let mut house = House::gearhouse(&[]);
    let mut client = house.connect();
    for index in 0..50 {
        let payload = format!("payload number {index}.");
        client.submit_bg("f", "", payload.as_bytes());
        let data = PathBuf::from(house.data());
        let written = files(&data).iter().any(|file| {
            let bytes = std::fs::read(file).unwrap_or_default();
            bytes.windows(payload.len()).any(|part| part == payload.as_bytes())
        });
        assert!(written, "{payload} was acknowledged and is in no file");
    }
    house.kill();
}

/// The directory a server runs in.
fn place_of(server: &Server) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/cwd", server.pid())).unwrap()
}

fn files(directory: &PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
