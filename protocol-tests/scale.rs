//! What one server carries: connections, functions, jobs, and payloads beside which small jobs go on. What each of them
//! costs is in docs/performance.md; here is bounded what must not grow with their number.

use std::sync::mpsc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

use crate::support::peer::request;
use crate::support::{PATIENCE, Peer, Server, eventually, kind, now};

const MIB: usize = 1 << 20;

#[test]
fn twenty_thousand_connections_take_little_memory_each() {
    let server = Server::serve(&["--store", "memory"]);
    // Where fewer files may be open: as many as leave enough to the tests beside this one.
    let count = raise_open_files().saturating_sub(2000).min(20_000);
    let before = server.resident();
    let hello = [request(kind::CAN_DO, b"f"), request(kind::PRE_SLEEP, b"")].concat();
    let mut workers: Vec<Peer> = (0..count).map(|_| server.connect()).collect();
    workers[0].send_raw(&hello);
    workers[0].settle();
    for worker in &mut workers[1..] {
        worker.send_raw(&hello);
    }
    eventually("all are registered", || {
        server.admin("status").starts_with(&format!("f\t0\t0\t{count}\n")).then_some(())
    });
    let each = server.resident().saturating_sub(before) / count;
    assert!(each <= 2700, "{each} bytes for a worker that sleeps");
    let listed = server.admin("workers").lines().count() as u64;
    assert!(listed > count, "{listed} of {count} connections are listed");

    // Who slept first is woken, and no one else.
    server.connect().submit_bg("f", "", b"");
    workers[0].expect_noop();
    workers[1].expect_nothing();
    workers.last_mut().expect("many").expect_nothing();
    for worker in &workers {
        // With a reset, so that their ports are not kept from the other tests for a minute.
        SockRef::from(worker.stream()).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }
}

#[test]
fn a_worker_of_a_hundred_thousand_functions_finds_each_job_at_once() {
    const FUNCTIONS: usize = 100_000;
    const TAKEN: usize = 20_000;
    let server = Server::serve(&["--store", "memory"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let names: Vec<String> = (0..FUNCTIONS).map(|number| format!("function-{number:06}")).collect();
    for some in names.chunks(1000) {
        let able = some.iter().flat_map(|name| request(kind::CAN_DO, name.as_bytes()));
        worker.send_raw(&able.collect::<Vec<u8>>());
        let jobs = some.iter().flat_map(|name| request(kind::SUBMIT_JOB_BG, &bg(name)));
        client.send_raw(&jobs.collect::<Vec<u8>>());
        take_answers(&mut client, some.len());
    }
    worker.settle();
    let before = server.processor_time();
    let mut taken = 0;
    while taken < TAKEN {
        worker.send_raw(&request(kind::GRAB_JOB, b"").repeat(1000));
        for name in &names[taken..taken + 1000] {
            assert_eq!(worker.assigned().expect("a job").function, name.as_bytes(), "the oldest first");
        }
        taken += 1000;
    }
    // Looking at each function for each job would be two thousand million looks.
    let spent = server.processor_time() - before;
    assert!(spent < Duration::from_secs(5), "{spent:?} for {TAKEN} jobs");
    assert_eq!(server.admin("status").lines().count(), FUNCTIONS + 1);
}

#[test]
fn a_million_jobs_take_little_memory_each_and_are_handed_out_in_order() {
    const JOBS: u64 = 1_000_000;
    let server = Server::serve(&["--store", "memory"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let payload = [b'x'; 100];
    let batch = request(kind::SUBMIT_JOB_BG, &[&b"f\0\0"[..], &payload].concat()).repeat(1000);
    let before = server.resident();
    for _ in 0..JOBS / 1000 {
        client.send_raw(&batch);
        take_answers(&mut client, 1000);
    }
    let each = server.resident().saturating_sub(before) / JOBS;
    assert!(each <= 320, "{each} bytes for a job of 100");
    assert_eq!(server.admin("status"), format!("f\t{JOBS}\t0\t0\n.\n"));
    worker.can_do("f");
    let mut last = String::new();
    for _ in 0..1000 {
        let job = worker.take_job();
        assert!(job.handle > last && job.data == payload, "{} after {last}", job.handle);
        last = job.handle;
    }
}

#[test]
fn small_jobs_go_on_beside_large_payloads_in_both_directions() {
    let server = Server::serve(&["--store", "memory"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let (mut small, mut small_worker) = (server.connect(), server.connect());
    small_worker.can_do("small");
    worker.can_do("large");
    let mut go_on = move || {
        for _ in 0..100 {
            let handle = small.submit("small", "", b"payload");
            assert_eq!(small_worker.take_job().handle, handle);
            small_worker.complete(&handle, b"result");
            small.expect_complete(&handle, b"result");
        }
    };
    let payload: Vec<u8> = (0..100 * MIB).map(|index| (index / 4096) as u8).collect();

    // Half of it has come.
    let submit = request(kind::SUBMIT_JOB, &[b"large\0\0", &payload[..]].concat());
    let (first, second) = submit.split_at(submit.len() / 2);
    client.send_raw(first);
    go_on();
    client.send_raw(second);
    let handle = client.created();

    // It waits for a worker that does not read it yet.
    worker.send_raw(&request(kind::GRAB_JOB, b""));
    go_on();
    let job = worker.assigned().expect("the job");
    assert!(job.handle == handle && job.data == payload);

    // While it streams back, with a small answer behind it on the same connection.
    let (done, is_done) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            worker.complete(&job.handle, &job.data);
            worker.settle();
            done.send(()).expect("someone waits");
        });
        scope.spawn(move || {
            client.send(kind::ECHO_REQ, &[b"behind"]);
            let mut answers = [client.frame(), client.frame()];
            answers.sort_by_key(|answer| answer.body.len());
            assert_eq!(answers[0].body, b"behind");
            assert!(answers[1].body[answers[1].body.len() - payload.len()..] == payload);
        });
        eventually("the large result is taken", || {
            go_on();
            is_done.try_recv().ok()
        });
    });
}

/// Takes so many JOB_CREATED. They are as long as each other: so are the numbers in them.
#[track_caller]
fn take_answers(client: &mut Peer, count: usize) {
    let others = (client.created().len() + 12) * (count - 1);
    client.receive_until(now() + PATIENCE, |client| client.unread().len() >= others);
    assert_eq!(client.take(others).len(), others);
}

fn bg(function: &str) -> Vec<u8> {
    [function.as_bytes(), b"\0\0payload"].concat()
}

/// Lets this process open as many files as the system allows it; how many that is.
fn raise_open_files() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raising the soft limit to the hard one");
    }
    hard
}
