//! Which job comes next.

use super::house::House;
use crate::support::kind;

#[test]
fn priority_and_order_are_what_they_were() {
    let mut house = House::new();
    let mut client = house.connect();
    let kinds = [kind::SUBMIT_JOB_LOW_BG, kind::SUBMIT_JOB_BG, kind::SUBMIT_JOB_HIGH_BG];
    for round in 0..40 {
        for kind in kinds {
            // Unique ids against the order, in case someone keeps jobs by them.
            let (unique, payload) = (format!("{kind}-{}", 1000 - round), format!("{kind} {round}"));
            client.submit_as(kind, "f", &unique, payload.as_bytes());
        }
    }
    let expected: Vec<String> =
        kinds.iter().rev().flat_map(|kind| (0..40).map(move |round| format!("{kind} {round}"))).collect();
    house.kill();
    assert_eq!(house.payloads(&["f"]), expected);
    house.kill();
    assert_eq!(house.payloads(&["f"]), expected);
}

#[test]
fn jobs_from_before_the_kill_come_before_those_from_after_it() {
    let mut house = House::new();
    for life in 0..4 {
        let mut client = house.connect();
        for job in 0..3 {
            client.submit_bg("f", "", format!("{life}.{job}").as_bytes());
        }
        house.kill();
    }
    let expected: Vec<String> =
        (0..4).flat_map(|life| (0..3).map(move |job| format!("{life}.{job}"))).collect();
    assert_eq!(house.payloads(&["f"]), expected);
}

#[test]
fn a_job_that_was_delayed_does_not_lose_its_place_to_a_kill() {
    let mut house = House::new();
    let mut client = house.connect();
    client.submit_at("f", "", "1", b"due long ago");
    client.submit_bg("f", "", b"second");
    house.kill();
    assert_eq!(house.payloads(&["f"]), ["due long ago", "second"]);
}

#[test]
fn a_job_that_went_to_the_end_of_the_line_stays_there() {
    let mut house = House::gearhouse(&[]);
    let mut client = house.connect();
    for payload in ["kills its workers", "second", "third"] {
        client.submit_bg("f", "", payload.as_bytes());
    }
    for _ in 0..3 {
        let mut worker = house.worker(&["f"]);
        assert_eq!(worker.take_job().data, b"kills its workers");
        worker.leave();
    }
    client.submit_bg("f", "", b"fourth");
    house.kill();
    assert_eq!(house.payloads(&["f"]), ["second", "third", "kills its workers", "fourth"]);
}

#[test]
fn attempts_so_far_are_remembered() {
    let mut house = House::gearhouse(&["--job-attempts", "3"]);
    let handle = house.connect().submit_bg("f", "", b"x");
    for losses in 1..3 {
        let mut worker = house.worker(&["f"]);
        worker.take_job();
        worker.leave();
        house.seal();
        house.kill();
        let listed = house.admin("show jobs");
        assert!(listed.starts_with(&format!("{handle}\t{losses}\t")), "{listed}");
    }
    let mut worker = house.worker(&["f"]);
    worker.take_job();
    worker.leave();
    assert_eq!(house.worker(&["f"]).grab(), None, "its three attempts are used up");
    house.seal();
    house.kill();
    assert_eq!(house.worker(&["f"]).grab(), None, "it came back");
}

#[test]
fn an_attempt_that_ran_out_of_time_is_remembered() {
    let mut house = House::gearhouse(&["--job-attempts", "2"]);
    house.connect().submit_bg("f", "", b"x");
    let mut worker = house.connect();
    worker.can_do_timeout("f", "1000");
    worker.take_job();
    let mut other = house.worker(&["f"]);
    other.sleep();
    other.expect_noop();
    house.seal();
    house.kill();
    let mut worker = house.worker(&["f"]);
    worker.take_job();
    worker.leave();
    assert_eq!(house.worker(&["f"]).grab(), None, "its second attempt was its last");
}
