//! CAN_DO_TIMEOUT: how long a worker may take.

use std::time::Duration;

use crate::support::{Server, kind, now, peer::Status};

#[test]
fn a_job_that_takes_too_long_goes_to_another_worker() {
    let server = Server::start();
    let (mut client, mut slow, mut sleeper) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    slow.can_do_timeout("f", "1000");
    slow.take_job();
    sleeper.can_do("f");
    sleeper.pre_sleep();
    sleeper.expect_noop();
    assert_eq!(sleeper.take_job().handle, handle);
    sleeper.complete(&handle, b"in time");
    client.expect_complete(&handle, b"in time");
    client.expect_nothing();
}

#[test]
fn reports_do_not_buy_time() {
    let server = Server::with_flags(&["--job-retries", "1"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do_timeout("f", "1000");
    worker.take_job();
    let deadline = now() + Duration::from_secs(5);
    loop {
        worker.progress(&handle, "1", "2");
        let got = client.frame();
        if got.kind == kind::WORK_FAIL {
            break;
        }
        assert!(now() < deadline, "the job still runs after five seconds of reports");
        client.receive_until(now() + Duration::from_millis(50), |client| !client.unread().is_empty());
    }
}

#[test]
fn values_that_mean_no_timeout() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let mut jobs = Vec::new();
    for value in ["0", "-5", "abc", ""] {
        worker.can_do_timeout(&format!("f{value}"), value);
        jobs.push(client.submit(&format!("f{value}"), "", b""));
        worker.take_job();
    }
    client.expect_silence(Duration::from_millis(1500));
    for handle in jobs {
        assert_eq!(client.status(&handle).state(), Status::RUNNING);
    }
}

#[test]
fn a_timeout_in_a_form_that_only_some_libraries_send_is_a_registration_without_timeout() {
    // Four big-endian bytes: gearman-go and npm's gearman. No separator at all: Net_Gearman with null.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.send(kind::CAN_DO_TIMEOUT, &[b"binary", &[0, 0, 0, 1]]);
    worker.send(kind::CAN_DO_TIMEOUT, &[b"none"]);
    for function in ["binary", "none"] {
        client.submit(function, "", b"");
        worker.take_job();
    }
    client.expect_silence(Duration::from_millis(1500));
}

#[test]
fn the_newest_registration_decides_the_timeout() {
    let server = Server::gearhouse(&["--job-retries", "1"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    worker.can_do_timeout("f", "1000");
    let handle = client.submit("f", "", b"");
    worker.take_job();
    client.expect_fail(&handle);
    worker.can_do("f");
    client.submit("f", "", b"");
    worker.take_job();
    client.expect_silence(Duration::from_millis(1500));
}
