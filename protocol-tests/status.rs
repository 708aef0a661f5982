//! Asking how far a job is.

use crate::support::{Server, kind, peer::Status};

#[test]
fn an_unknown_handle_is_repeated_with_zeros() {
    let server = Server::start();
    let mut client = server.connect();
    for handle in ["H:nowhere:1", "", "x", "H:nowhere:99999999999999999999999999"] {
        client.send(kind::GET_STATUS, &[handle.as_bytes()]);
        client.expect(kind::STATUS_RES, &[handle.as_bytes(), b"0", b"0", b"0", b"0"]);
    }
}

#[test]
fn a_job_is_known_from_its_handle_to_its_end() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit_bg("f", "", b"");
    assert_eq!(client.status(&handle).state(), Status::WAITING);
    worker.can_do("f");
    worker.take_job();
    assert_eq!(client.status(&handle).state(), Status::RUNNING);
    worker.complete(&handle, b"");
    worker.settle();
    assert_eq!(client.status(&handle).state(), Status::UNKNOWN);
}

#[test]
fn a_trailing_zero_byte_after_the_handle_is_ignored() {
    let server = Server::start();
    let mut client = server.connect();
    let handle = client.submit_bg("f", "", b"");
    client.send(kind::GET_STATUS, &[handle.as_bytes(), b""]);
    client.expect(kind::STATUS_RES, &[handle.as_bytes(), b"1", b"0", b"0", b"0"]);
}

#[test]
fn progress_is_the_last_that_was_told_and_starts_anew_with_the_next_worker() {
    let server = Server::start();
    let (mut client, mut dies, mut lives) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit_bg("f", "", b"");
    dies.can_do("f");
    dies.take_job();
    for (numerator, denominator) in [("1", "10"), ("9", "10"), ("0", "0"), ("7", "3")] {
        dies.progress(&handle, numerator, denominator);
        dies.settle();
        let progress = client.status(&handle).progress;
        assert_eq!(progress, (numerator.to_owned(), denominator.to_owned()));
    }
    dies.leave();
    assert_eq!(client.status(&handle).progress, ("0".to_owned(), "0".to_owned()));
    lives.can_do("f");
    lives.take_job();
    assert_eq!(client.status(&handle).state(), Status::RUNNING);
}

#[test]
fn a_job_whose_client_left_runs_on_and_is_known() {
    let server = Server::start();
    let (mut client, mut other, mut worker) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    client.leave();
    assert_eq!(other.status(&handle).state(), Status::RUNNING);
    worker.complete(&handle, b"");
    worker.expect_nothing();
    assert_eq!(other.status(&handle).state(), Status::UNKNOWN);
}

#[test]
fn an_empty_unique_id_is_never_found() {
    let server = Server::start();
    let mut client = server.connect();
    client.submit_bg("f", "", b"");
    client.send(kind::GET_STATUS_UNIQUE, &[b""]);
    client.expect(kind::STATUS_RES_UNIQUE, &[b"", b"0", b"0", b"0", b"0", b"0"]);
}

#[test]
fn the_number_of_waiting_clients_follows_them_coming_and_going() {
    let server = Server::start();
    let (mut background, mut client) = (server.connect(), server.connect());
    background.submit_bg("f", "U", b"");
    assert_eq!(background.status_unique("U").1, "0");
    client.submit("f", "U", b"");
    client.submit("f", "U", b"");
    assert_eq!(background.status_unique("U").1, "2");
}
