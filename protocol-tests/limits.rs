//! Bounds an operator sets, reached one by one. What attackers make of bounds is in hostile.rs.

use std::time::Duration;

use crate::support::{PATIENCE, Peer, Server, kind, now};

#[test]
fn a_silent_connection_is_closed_only_where_the_operator_wants_it() {
    let server = Server::serve(&["--idle-timeout", "1s"]);
    let (mut silent, mut talks) = (server.connect(), server.connect());
    let deadline = now() + PATIENCE;
    while !silent.is_closed() {
        assert!(now() < deadline, "a silent connection stays open");
        talks.expect_nothing();
        silent.receive_until(now() + Duration::from_millis(100), Peer::is_closed);
    }
    talks.expect_nothing();
}

#[test]
fn connections_beyond_the_bound_are_closed_at_once() {
    let server = Server::serve(&["--max-connections", "3"]);
    let mut within = [(); 3].map(|()| {
        let mut peer = server.connect();
        peer.expect_nothing();
        peer
    });
    server.connect().expect_closed();
    within.iter_mut().for_each(Peer::expect_nothing);
    let [leaves, ..] = within;
    leaves.leave();
    server.connect().expect_nothing();
}

#[test]
fn a_function_name_beyond_the_bound_is_refused_to_clients_and_ends_a_worker() {
    let server = Server::serve(&["--max-function-name", "10"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("0123456789");
    client.submit_bg("0123456789", "", b"");
    assert!(worker.grab().is_some());
    client.send(kind::SUBMIT_JOB_BG, &[b"0123456789a", b"", b""]);
    client.expect_error("ARGUMENT_TOO_LARGE");
    // There is no answer to CAN_DO that a library would understand.
    worker.can_do("0123456789a");
    worker.expect_closed();
}

#[test]
fn a_job_is_given_up_after_as_many_attempts_as_allowed() {
    let server = Server::serve(&["--job-attempts", "3"]);
    let mut client = server.connect();
    let handle = client.submit("f", "", b"");
    let background = client.submit_bg("g", "", b"");
    for _ in 0..3 {
        client.expect_nothing();
        let mut worker = server.connect();
        worker.can_do("f");
        worker.can_do("g");
        worker.take_job();
        worker.take_job();
        worker.leave();
    }
    client.expect_fail(&handle);
    assert!(!client.status(&background).known);
    client.expect_nothing();
}
