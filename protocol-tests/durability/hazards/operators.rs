//! What an operator decided.

use super::house::House;
use crate::support::kind;
use crate::support::peer::Status;

#[test]
fn a_cancelled_job_does_not_return() {
    let mut house = House::new();
    let mut client = house.connect();
    let far = "4000000000";
    let handles = [
        client.submit_bg("running", "", b""),
        client.submit_bg("waiting", "", b""),
        client.submit_at("delayed", "", far, b""),
    ];
    let mut worker = house.worker(&["running"]);
    worker.take_job();
    for handle in &handles {
        assert_eq!(client.admin(&format!("cancel job {handle}")), "OK\r\n");
    }
    house.kill();
    assert_eq!(house.admin("status"), ".\n");
    for handle in &handles {
        assert_eq!(house.connect().status(handle).state(), Status::UNKNOWN);
    }
}

#[test]
fn a_cancelled_job_gives_its_unique_id_back_for_good() {
    let mut house = House::new();
    let mut client = house.connect();
    let first = client.submit_bg("f", "id", b"1");
    assert_eq!(client.admin(&format!("cancel job {first}")), "OK\r\n");
    let second = client.submit_bg("f", "id", b"2");
    house.kill();
    assert_eq!(house.connect().submit_bg("f", "id", b"3"), second);
    assert_eq!(house.payloads(&["f"]), ["2"]);
}

#[test]
fn a_limit_holds_after_a_restart_until_it_is_lifted() {
    let mut house = House::gearhouse(&[]);
    assert_eq!(house.admin("maxqueue f 3 2 1"), "OK\n");
    house.kill();
    let mut client = house.connect();
    client.submit_as(kind::SUBMIT_JOB_LOW_BG, "f", "", b"");
    client.send(kind::SUBMIT_JOB_LOW_BG, &[b"f", b"", b""]);
    client.expect_error("QUEUE_ERROR");
    client.submit_bg("f", "", b"");
    client.send(kind::SUBMIT_JOB_BG, &[b"f", b"", b""]);
    client.expect_error("QUEUE_ERROR");
    client.submit_as(kind::SUBMIT_JOB_HIGH_BG, "f", "", b"");
    client.send(kind::SUBMIT_JOB_HIGH_BG, &[b"f", b"", b""]);
    client.expect_error("QUEUE_ERROR");
    assert_eq!(house.admin("maxqueue f"), "OK\n");
    house.kill();
    house.connect().submit_as(kind::SUBMIT_JOB_LOW_BG, "f", "", b"");
}

#[test]
fn what_was_refused_is_not_there_after_a_restart() {
    let mut house = House::new();
    let mut client = house.connect();
    client.submit_bg("f", "", b"taken");
    assert!(house.admin("maxqueue f 1").starts_with("OK"));
    client.send(kind::SUBMIT_JOB_BG, &[b"f", b"", b"refused"]);
    client.expect_error("QUEUE_ERROR");
    house.seal();
    house.kill();
    assert_eq!(house.payloads(&["f"]), ["taken"]);
}

#[test]
fn a_function_that_was_made_is_there_until_it_is_dropped() {
    let mut house = House::gearhouse(&[]);
    assert_eq!(house.admin("create function made"), "OK\r\n");
    house.kill();
    assert_eq!(house.admin("status"), "made\t0\t0\t0\n.\n");
    assert_eq!(house.admin("drop function made"), "OK\r\n");
    house.kill();
    assert_eq!(house.admin("status"), ".\n");
}

#[test]
fn the_jobs_of_a_dropped_function_do_not_return() {
    let mut house = House::gearhouse(&[]);
    let mut client = house.connect();
    let handle = client.submit_bg("f", "id", b"x");
    assert!(client.admin("drop function f").starts_with("ERR"), "it has a job");
    assert_eq!(client.admin(&format!("cancel job {handle}")), "OK\r\n");
    assert_eq!(client.admin("drop function f"), "OK\r\n");
    house.kill();
    assert_eq!(house.admin("status"), ".\n");
    assert_eq!(house.worker(&["f"]).grab(), None);
}

#[test]
fn a_limit_and_a_made_function_do_not_undo_each_other() {
    let mut house = House::gearhouse(&[]);
    house.admin("create function f");
    house.admin("maxqueue f 1");
    house.admin("maxqueue g 1");
    house.admin("create function g");
    house.admin("maxqueue g");
    house.kill();
    assert_eq!(house.admin("status"), "f\t0\t0\t0\ng\t0\t0\t0\n.\n");
    let mut client = house.connect();
    client.submit_bg("f", "", b"");
    client.send(kind::SUBMIT_JOB_BG, &[b"f", b"", b""]);
    client.expect_error("QUEUE_ERROR");
    client.submit_bg("g", "", b"");
    client.submit_bg("g", "", b"");
}
