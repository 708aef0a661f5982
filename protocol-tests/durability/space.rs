//! How much memory and disk a backlog takes, and that both come back when it has gone.

use std::path::Path;
use std::time::Duration;

use crate::support::peer::request;
use crate::support::{Peer, Server, kind, within};

const MIB: u64 = 1 << 20;

/// Files shrink when nothing else is to be done, and memory comes back some seconds after that: on a busy machine it
/// takes its time.
const GIVEN_BACK: Duration = Duration::from_secs(60);

/// Jobs asked for before their answers are read.
const GATHERED: usize = 100;

fn serve(data: &Path, options: &[&str]) -> Server {
    let fixed = ["--data-dir", data.to_str().unwrap()];
    Server::serve(&fixed.into_iter().chain(options.iter().copied()).collect::<Vec<_>>())
}

/// A payload of so many bytes that tells which one it is.
fn payload(number: usize, len: usize) -> Vec<u8> {
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(len, b'a' + (number % 26) as u8);
    payload
}

fn submit(client: &mut Peer, numbers: std::ops::Range<usize>, len: usize) {
    for start in numbers.clone().step_by(GATHERED) {
        let some = start..numbers.end.min(start + GATHERED);
        let submits = some.clone().flat_map(|number| {
            request(kind::SUBMIT_JOB_BG, &[&b"f\0\0"[..], &payload(number, len)].concat())
        });
        client.send_raw(&submits.collect::<Vec<_>>());
        some.for_each(|_| drop(client.created()));
    }
}

/// Takes and ends jobs, which must come in order and whole.
fn drain(worker: &mut Peer, numbers: std::ops::Range<usize>, len: usize) {
    for start in numbers.clone().step_by(GATHERED) {
        let some = start..numbers.end.min(start + GATHERED);
        worker.send_raw(&request(kind::GRAB_JOB_UNIQ, b"").repeat(some.len()));
        let mut ends = Vec::new();
        for number in some {
            let job = worker.assigned().expect("a job that waits is handed out");
            assert!(job.data == payload(number, len), "job {number} is not what was submitted");
            ends.extend(request(kind::WORK_COMPLETE, format!("{}\0", job.handle).as_bytes()));
        }
        worker.send_raw(&ends);
    }
    worker.settle();
}

/// The most memory the server ever held.
fn peak(server: &Server) -> u64 {
    server.memory().peak
}

/// Bytes of the files that hold jobs.
fn on_disk(data: &Path) -> u64 {
    let len = |name| std::fs::metadata(data.join(name)).map_or(0, |file| file.len());
    len("jobs.db") + len("jobs.db-wal")
}

#[test]
fn a_backlog_larger_than_memory_comes_back_whole_and_in_order_and_so_does_its_room() {
    const JOBS: usize = 100_000;
    const LEN: usize = 2000;
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &["--max-memory", "128MiB"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    // What a server that has worked a little takes is the measure.
    submit(&mut client, 0..1000, 100);
    drain(&mut worker, 0..1000, 100);
    let before = server.memory();

    submit(&mut client, 0..JOBS, LEN);
    assert!(on_disk(data.path()) > (JOBS * LEN) as u64, "all of it is on disk");
    assert!(peak(&server) < 128 * MIB, "{} MiB, filled", peak(&server) / MIB);
    drain(&mut worker, 0..JOBS, LEN);
    assert!(peak(&server) < 128 * MIB, "{} MiB, drained", peak(&server) / MIB);

    let told = || format!("the files shrink: {} bytes now", on_disk(data.path()));
    within(GIVEN_BACK, told, || (on_disk(data.path()) < MIB).then_some(()));
    let may_hold = before.resident + before.resident / 2;
    let told = || format!("memory comes back below {may_hold}: {before:?} before, {:?} now", server.memory());
    within(GIVEN_BACK, told, || (server.resident() < may_hold).then_some(()));
}

#[test]
fn disk_space_comes_back_although_jobs_keep_coming() {
    const JOBS: usize = 40_000;
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    submit(&mut client, 0..JOBS, 1000);
    assert!(on_disk(data.path()) > JOBS as u64 * 1000);
    drain(&mut worker, 0..JOBS, 1000);
    let told = || format!("the files shrink under a trickle of jobs: {} bytes now", on_disk(data.path()));
    within(GIVEN_BACK, told, || {
        submit(&mut client, 0..1, 100);
        (on_disk(data.path()) < 8 * MIB).then_some(())
    });
}

#[test]
fn a_long_queue_is_served_after_a_kill() {
    const JOBS: usize = 200_000;
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    submit(&mut server.connect(), 0..JOBS, 100);
    drop(server);

    let server = serve(data.path(), &[]);
    assert_eq!(server.admin("status"), format!("f\t{JOBS}\t0\t0\n.\n"));
    assert!(server.log().contains("200,000 jobs read"), "it is said what was found");
    let mut worker = server.connect();
    worker.can_do("f");
    drain(&mut worker, 0..1000, 100);
    // Behind them, too, nothing is lost or moved.
    assert_eq!(server.admin("status"), format!("f\t{}\t0\t1\n.\n", JOBS - 1000));
}
