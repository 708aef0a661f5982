//! Submits of one unique id are one job.

use std::time::Duration;

use crate::support::{Server, kind};

#[test]
fn the_first_submit_decides_payload_and_priority() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let joined = client.submit_as(kind::SUBMIT_JOB_LOW, "f", "U", b"first");
    assert_eq!(client.submit_as(kind::SUBMIT_JOB_HIGH, "f", "U", b"second"), joined);
    let other = client.submit("f", "V", b"");
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, other);
    let job = worker.take_job();
    assert_eq!((job.handle, job.data), (joined, b"first".to_vec()));
    assert_eq!(worker.grab(), None);
}

#[test]
fn a_client_may_wait_for_a_job_that_was_submitted_in_the_background() {
    let server = Server::start();
    let (mut background, mut client, mut worker) = (server.connect(), server.connect(), server.connect());
    let handle = background.submit_bg("f", "U", b"x");
    assert_eq!(client.submit("f", "U", b"y"), handle);
    worker.can_do("f");
    worker.take_job();
    worker.complete(&handle, b"r");
    client.expect_complete(&handle, b"r");
    background.expect_nothing();
}

#[test]
fn one_that_joins_late_hears_only_what_comes_after() {
    let server = Server::start();
    let (mut early, mut late, mut worker) = (server.connect(), server.connect(), server.connect());
    let handle = early.submit("f", "U", b"x");
    worker.can_do("f");
    worker.take_job();
    worker.data(&handle, b"one");
    early.expect_data(&handle, b"one");
    assert_eq!(late.submit("f", "U", b"x"), handle);
    worker.data(&handle, b"two");
    worker.complete(&handle, b"r");
    late.expect_data(&handle, b"two");
    late.expect_complete(&handle, b"r");
    early.expect_data(&handle, b"two");
    early.expect_complete(&handle, b"r");
}

#[test]
fn one_client_that_leaves_takes_nothing_from_the_others() {
    let server = Server::start();
    let (mut stays, mut leaves, mut worker) = (server.connect(), server.connect(), server.connect());
    let handle = leaves.submit("f", "U", b"x");
    assert_eq!(stays.submit("f", "U", b"x"), handle);
    leaves.leave();
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, handle);
    worker.complete(&handle, b"r");
    stays.expect_complete(&handle, b"r");
}

#[test]
fn a_running_job_whose_client_left_is_joined_by_the_next_submit() {
    let server = Server::start();
    let (mut first, mut second, mut worker) = (server.connect(), server.connect(), server.connect());
    let handle = first.submit("f", "U", b"x");
    worker.can_do("f");
    worker.take_job();
    first.leave();
    assert_eq!(second.submit("f", "U", b"y"), handle);
    worker.complete(&handle, b"r");
    second.expect_complete(&handle, b"r");
}

#[test]
fn unique_ids_differ_by_case() {
    let server = Server::start();
    let mut client = server.connect();
    assert_ne!(client.submit_bg("f", "abc", b""), client.submit_bg("f", "ABC", b""));
}

#[test]
fn a_unique_id_is_free_again_after_every_kind_of_end() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let mut last = String::new();
    let ends = [
        |worker: &mut crate::support::Peer, handle: &str| worker.complete(handle, b""),
        |worker: &mut crate::support::Peer, handle: &str| worker.fail(handle),
        |worker: &mut crate::support::Peer, handle: &str| worker.exception(handle, b""),
    ];
    for end in ends {
        let handle = client.submit_bg("f", "U", b"");
        assert_ne!(handle, last);
        worker.take_job();
        end(&mut worker, &handle);
        worker.settle();
        last = handle;
    }
    assert_ne!(client.submit_bg("f", "U", b""), last);
}

#[test]
fn joining_wakes_nobody() {
    let server = Server::start();
    let (mut client, mut sleeper, mut worker) = (server.connect(), server.connect(), server.connect());
    worker.can_do("f");
    client.submit("f", "U", b"");
    worker.take_job();
    sleeper.can_do("f");
    sleeper.sleep();
    client.submit("f", "U", b"");
    sleeper.expect_nothing();
}

#[test]
fn joining_a_delayed_job_means_waiting_for_its_time() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let delayed = client.submit_at("f", "U", "4102444800", b"");
    assert_eq!(client.submit_bg("f", "U", b""), delayed);
    worker.can_do("f");
    assert_eq!(worker.grab(), None);
}

#[test]
fn a_second_submit_joins_also_when_the_queue_is_full() {
    let server = Server::start();
    let (mut client, mut admin) = (server.connect(), server.connect());
    admin.admin("create function f");
    admin.admin("maxqueue f 1");
    let handle = client.submit_bg("f", "U", b"");
    assert_eq!(client.submit_bg("f", "U", b""), handle);
    client.send(kind::SUBMIT_JOB_BG, &[b"f", b"V", b""]);
    client.expect_error("QUEUE_ERROR");
}

#[test]
fn each_submit_of_one_connection_gets_its_own_copy_of_the_result() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handles = [(); 3].map(|()| client.submit("f", "U", b""));
    assert!(handles.iter().all(|handle| *handle == handles[0]));
    worker.can_do("f");
    worker.take_job();
    worker.complete(&handles[0], b"r");
    for handle in &handles {
        client.expect_complete(handle, b"r");
    }
    client.expect_silence(Duration::from_millis(50));
}
