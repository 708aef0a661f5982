//! Jobs for a moment in the future.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Server, kind, peer::Status};

#[test]
fn a_job_runs_when_its_time_has_come_though_nothing_else_happens() {
    // gearmand 1.1.20 wakes nobody.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    worker.sleep();
    let due = unix_time() + 2;
    let handle = client.submit_at("f", "", &due.to_string(), b"");
    worker.expect_noop();
    assert!(unix_time() >= due, "woken before the time");
    assert_eq!(worker.take_job().handle, handle);
    assert!(unix_time() <= due + 5, "woken long after the time");
}

#[test]
fn a_delayed_job_is_known_and_counted_but_not_given_out() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit_at("f", "U", "4102444800", b"x");
    worker.can_do("f");
    assert_eq!(worker.grab(), None);
    worker.sleep();
    assert_eq!(client.status(&handle).state(), Status::WAITING);
    assert_eq!(server.admin("status"), "f\t1\t0\t1\n.\n");
    assert_eq!(server.admin("prioritystatus"), "f\t0\t1\t0\t1\n.\n");
    assert_eq!(server.admin("show jobs"), format!("{handle}\t0\t0\t1\n.\n"));
    assert_eq!(server.admin("show unique jobs"), "U\n.\n");
}

#[test]
fn a_time_that_is_past_or_no_time_means_now() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    for time in ["", "0", "1", "1000000000", "-7", "soon"] {
        let handle = client.submit_at("f", "", time, b"");
        let job = worker.grab().unwrap_or_else(|| panic!("a job for {time:?} is not given out"));
        assert_eq!(job.handle, handle);
    }
}

#[test]
fn leading_digits_are_the_time() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    client.submit_at("f", "", "4102444800.5", b"");
    assert_eq!(worker.grab(), None);
    client.submit_at("f", "", "12abc", b"");
    assert!(worker.grab().is_some());
}

#[test]
fn a_delayed_job_does_not_hide_the_ready_ones_behind_it() {
    // gearmand 1.1.20 says NOOP and then NO_JOB when the one behind is LOW.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    client.submit_at("f", "", "4102444800", b"");
    let low = client.submit_as(kind::SUBMIT_JOB_LOW_BG, "f", "", b"");
    worker.can_do("f");
    worker.pre_sleep();
    worker.expect_noop();
    assert_eq!(worker.take_job().handle, low);
}

#[test]
fn a_delayed_job_wakes_nobody_before_its_time() {
    // gearmand sends NOOPs for a job that nobody can take yet.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    worker.sleep();
    client.submit_at("f", "", "4102444800", b"");
    worker.expect_nothing();
}

#[test]
fn a_delayed_job_can_be_cancelled() {
    let server = Server::gearhouse(&[]);
    let mut client = server.connect();
    let handle = client.submit_at("f", "U", "4102444800", b"");
    assert_eq!(server.admin(&format!("cancel job {handle}")), "OK\r\n");
    assert_eq!(client.status(&handle).state(), Status::UNKNOWN);
    assert_ne!(client.submit_bg("f", "U", b""), handle);
}

#[test]
fn jobs_run_in_the_order_of_their_times_not_of_their_submission() {
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let soon = unix_time() + 1;
    let later = client.submit_at("f", "", &(soon + 1).to_string(), b"");
    let sooner = client.submit_at("f", "", &soon.to_string(), b"");
    for expected in [sooner, later] {
        worker.pre_sleep();
        worker.expect_noop();
        assert_eq!(worker.take_job().handle, expected);
    }
    worker.expect_silence(Duration::from_millis(50));
}

#[allow(clippy::disallowed_methods, reason = "SUBMIT_JOB_EPOCH takes calendar time")]
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
