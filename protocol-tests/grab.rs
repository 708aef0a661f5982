//! Taking jobs.

use crate::support::peer::request;
use crate::support::{Server, kind};

#[test]
fn one_worker_may_run_several_jobs_and_end_them_in_any_order() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let handles = [(); 3].map(|()| client.submit("f", "", b""));
    handles.iter().for_each(|_| drop(worker.take_job()));
    for handle in [&handles[2], &handles[0], &handles[1]] {
        worker.complete(handle, b"");
        client.expect_complete(handle, b"");
    }
}

#[test]
fn grabs_in_one_write_are_answered_in_order() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handles = [(); 2].map(|()| client.submit_bg("f", "u", b"x"));
    worker.can_do("f");
    worker.send_raw(
        &[kind::GRAB_JOB, kind::GRAB_JOB_UNIQ, kind::GRAB_JOB_ALL].map(|kind| request(kind, b"")).concat(),
    );
    worker.expect(kind::JOB_ASSIGN, &[handles[0].as_bytes(), b"f", b"x"]);
    worker.expect(kind::NO_JOB, &[]);
    worker.expect(kind::NO_JOB, &[]);
}

#[test]
fn a_job_goes_to_one_worker_only() {
    let server = Server::start();
    let mut client = server.connect();
    client.submit_bg("f", "", b"");
    let mut got = 0;
    let mut workers: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for worker in &mut workers {
        worker.can_do("f");
        got += worker.grab().into_iter().count();
    }
    assert_eq!(got, 1);
}

#[test]
fn a_worker_gets_only_jobs_of_its_functions() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    client.submit_bg("f", "", b"");
    worker.can_do("g");
    assert_eq!(worker.grab(), None);
    worker.can_do("f");
    worker.cant_do("f");
    assert_eq!(worker.grab(), None);
    worker.can_do("f");
    worker.reset_abilities();
    assert_eq!(worker.grab(), None);
    worker.can_do("f");
    assert!(worker.grab().is_some());
}

#[test]
fn a_body_on_a_packet_that_has_none_is_ignored() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    worker.send(kind::PRE_SLEEP, &[b"abc"]);
    worker.send(kind::GRAB_JOB, &[b"abc"]);
    assert_eq!(worker.assigned(), None);
    let handle = client.submit_bg("f", "", b"");
    worker.send(kind::GRAB_JOB_UNIQ, &[b"a", b"b"]);
    assert_eq!(worker.assigned().map(|job| job.handle), Some(handle));
    worker.send(kind::RESET_ABILITIES, &[b"x"]);
    worker.expect_nothing();
}

#[test]
fn a_job_of_a_worker_that_vanished_is_taken_by_the_next_with_its_unique_id_and_payload() {
    let server = Server::start();
    let (mut client, mut dies, mut lives) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit("f", "U", b"x");
    dies.can_do("f");
    let first = dies.take_job();
    dies.leave();
    lives.can_do("f");
    assert_eq!(lives.take_job(), first);
    lives.complete(&handle, b"r");
    client.expect_complete(&handle, b"r");
    client.expect_nothing();
}

#[test]
fn all_jobs_of_a_worker_that_vanished_come_back() {
    let server = Server::start();
    let (mut client, mut dies, mut lives) = (server.connect(), server.connect(), server.connect());
    let mut handles: Vec<String> = (0..20).map(|_| client.submit_bg("f", "", b"")).collect();
    dies.can_do("f");
    (0..20).for_each(|_| drop(dies.take_job()));
    dies.leave();
    lives.can_do("f");
    let mut again: Vec<String> = (0..20).map(|_| lives.take_job().handle).collect();
    handles.sort();
    again.sort();
    assert_eq!(again, handles);
    assert_eq!(lives.grab(), None);
}
