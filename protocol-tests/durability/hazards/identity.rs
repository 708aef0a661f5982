//! Which job a handle or a unique id means.

use std::collections::HashSet;

use super::house::House;
use crate::support::kind;
use crate::support::peer::Status;

#[test]
fn no_handle_is_given_out_twice_whoever_waits() {
    let mut house = House::new();
    let mut seen = HashSet::new();
    for restart in 0..5 {
        let mut client = house.connect();
        for _ in 0..20 {
            // A foreground job leaves nothing on the disk but its number.
            let foreground = client.submit("f", "", b"");
            assert!(seen.insert(foreground.clone()), "{foreground} twice, after {restart} restarts");
        }
        let background = client.submit_bg("f", "", b"");
        assert!(seen.insert(background.clone()), "{background} twice, after {restart} restarts");
        house.kill();
    }
}

#[test]
fn the_number_of_a_job_that_left_no_trace_is_not_given_out_again() {
    let mut house = House::new();
    let handle = house.connect().submit("f", "", b"");
    house.kill();
    let next = house.connect().submit_bg("f", "", b"");
    assert_ne!(next, handle);
    assert_eq!(house.connect().status(&handle).state(), Status::UNKNOWN);
}

#[test]
fn an_old_handle_still_means_its_own_job() {
    let mut house = House::new();
    let mut client = house.connect();
    let (done, waiting) = (client.submit_bg("f", "", b"1"), client.submit_bg("f", "", b"2"));
    let mut worker = house.worker(&["f"]);
    worker.take_job();
    worker.complete(&done, b"");
    house.seal();
    worker.settle();
    house.seal();
    house.kill();
    let mut client = house.connect();
    client.submit_bg("f", "", b"3");
    assert_eq!(client.status(&waiting).state(), Status::WAITING);
    assert_eq!(client.status(&done).state(), Status::UNKNOWN);
    let job = house.worker(&["f"]).take_job();
    assert_eq!((job.handle, &job.data[..]), (waiting, &b"2"[..]));
}

#[test]
fn a_unique_id_still_joins_after_a_restart() {
    let mut house = House::new();
    let mut client = house.connect();
    let named = client.submit_bg("f", "id", b"first");
    let by_payload = client.submit_bg("f", "-", b"the same");
    house.kill();
    let mut client = house.connect();
    assert_eq!(client.submit_bg("f", "id", b"second"), named);
    assert_eq!(client.submit("f", "id", b"third"), named);
    assert_eq!(client.submit_bg("f", "-", b"the same"), by_payload);
    assert_ne!(client.submit_bg("f", "-", b"another"), by_payload);
    assert_eq!(client.status_unique("id").0.state(), Status::WAITING);
    let job = house.worker(&["f"]).take_job();
    assert_eq!((job.handle, &job.data[..]), (named, &b"first"[..]));
}

#[test]
fn a_unique_id_is_free_after_its_job_and_names_the_next_one() {
    let mut house = House::new();
    let (mut client, mut worker) = (house.connect(), house.worker(&["f"]));
    let first = client.submit_bg("f", "id", b"1");
    worker.take_job();
    worker.complete(&first, b"");
    worker.settle();
    let second = client.submit_bg("f", "id", b"2");
    assert_ne!(first, second);
    house.kill();
    assert_eq!(house.connect().submit_bg("f", "id", b"3"), second);
    assert_eq!(house.payloads(&["f"]), ["2"]);
}

#[test]
fn one_unique_id_in_two_functions_is_two_jobs() {
    let mut house = House::new();
    let mut client = house.connect();
    let (f, g) = (client.submit_bg("f", "id", b"of f"), client.submit_bg("g", "id", b"of g"));
    assert_ne!(f, g);
    let mut worker = house.worker(&["f"]);
    assert_eq!(worker.take_job().handle, f);
    worker.complete(&f, b"");
    worker.submit_bg("other", "", b"");
    house.kill();
    let mut client = house.connect();
    assert_eq!(client.submit_bg("g", "id", b""), g);
    assert_ne!(client.submit_bg("f", "id", b"new"), f);
    assert_eq!(house.payloads(&["g"]), ["of g"]);
    assert_eq!(house.payloads(&["f"]), ["new"]);
}

#[test]
fn a_long_unique_id_comes_back_as_it_was() {
    let mut house = House::new();
    let unique = "u".repeat(64);
    let handle = house.connect().submit_bg("f", &unique, b"x");
    house.kill();
    assert_eq!(house.connect().submit_bg("f", &unique, b"y"), handle);
    let job = house.worker(&["f"]).grab_as(kind::GRAB_JOB_UNIQ).unwrap();
    assert_eq!(job.unique, unique.as_bytes());
}
