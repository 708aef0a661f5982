//! A job is there with all that it was given, or is over and stays so.

use std::time::Duration;

use super::house::House;
use crate::support::peer::{Status, request};
use crate::support::{eventually, kind};

#[test]
fn an_acknowledged_job_is_there_with_all_that_it_was_given() {
    let mut house = House::new();
    let mut client = house.connect();
    client.send(kind::SUBMIT_REDUCE_JOB_BACKGROUND, &[b"f", b"id", b"sum", b"", b"pay\0load"]);
    let handle = client.created();
    house.kill();
    let job = house.worker(&["f"]).grab_as(kind::GRAB_JOB_ALL).expect("it was acknowledged");
    assert_eq!(job.handle, handle);
    assert_eq!((&job.function[..], &job.unique[..]), (&b"f"[..], &b"id"[..]));
    assert_eq!((&job.reducer[..], &job.data[..]), (&b"sum"[..], &b"pay\0load"[..]));
}

#[test]
fn jobs_that_were_submitted_in_one_go_are_all_there() {
    let mut house = House::new();
    let mut client = house.connect();
    let payloads: Vec<String> = (0..1000).map(|index| index.to_string()).collect();
    let packets = payloads.iter().map(|payload| {
        request(kind::SUBMIT_JOB_BG, &[&b"f"[..], payload.as_bytes(), payload.as_bytes()].join(&0))
    });
    client.send_raw(&packets.collect::<Vec<_>>().concat());
    payloads.iter().for_each(|_| drop(client.created()));
    house.kill();
    assert_eq!(house.payloads(&["f"]), payloads);
}

#[test]
fn a_job_without_a_payload_is_there_and_keeps_no_server_from_starting() {
    let mut house = House::new();
    let handle = house.connect().submit_bg("f", "", b"");
    house.kill();
    let job = house.worker(&["f"]).take_job();
    assert_eq!((job.handle, job.data), (handle, Vec::new()));
}

#[test]
fn payloads_of_all_sizes_and_bytes_come_back_whole() {
    let mut house = House::new();
    let mut client = house.connect();
    let payload = |size: usize| (0..size).map(|at| (at * 7 + at / 251) as u8).collect::<Vec<u8>>();
    let sizes = [0, 1, 4095, 4096, 4097, 65_535, 65_536, 1 << 20, 5_000_000];
    for size in sizes {
        client.submit_bg("f", "", &payload(size));
    }
    house.kill();
    let mut worker = house.worker(&["f"]);
    for size in sizes {
        assert!(worker.take_job().data == payload(size), "{size} bytes are not what they were");
    }
    assert_eq!(worker.grab(), None);
}

#[test]
fn function_names_and_unique_ids_of_any_bytes_come_back() {
    let mut house = House::new();
    let mut client = house.connect();
    let names: [&[u8]; 5] = [b"a'b\"c", b"%s;--", b"\xff\xfe\x01", "größe".as_bytes(), b"tab\tand blank "];
    for name in names {
        client.send(kind::SUBMIT_JOB_BG, &[name, name, b"x"]);
        client.created();
    }
    house.kill();
    for name in names {
        let mut worker = house.connect();
        worker.send(kind::CAN_DO, &[name]);
        let job = worker.grab_as(kind::GRAB_JOB_UNIQ).expect("it was acknowledged");
        assert_eq!((&job.function[..], &job.unique[..]), (name, name));
    }
}

#[test]
fn a_job_that_ended_does_not_come_back() {
    let mut house = House::new();
    let mut client = house.connect();
    for unique in ["complete", "fail", "exception"] {
        client.submit_bg("f", unique, b"x");
    }
    house.kill();
    let mut worker = house.worker(&["f"]);
    for _ in 0..3 {
        let job = worker.take_job();
        match &job.unique[..] {
            b"complete" => worker.complete(&job.handle, b""),
            b"fail" => worker.fail(&job.handle),
            _ => worker.exception(&job.handle, b"no"),
        }
    }
    worker.submit_bg("other", "", b"");
    for _ in 0..2 {
        house.kill();
        assert_eq!(house.worker(&["f"]).grab(), None);
        assert_eq!(house.admin("show jobs").lines().count(), 2, "the other job and the end of the list");
    }
}

#[test]
fn jobs_that_came_and_went_at_once_leave_nothing() {
    let mut house = House::new();
    let (mut client, mut worker) = (house.connect(), house.worker(&["f"]));
    for _ in 0..200 {
        client.submit_bg("f", "", b"x");
        let job = worker.take_job();
        worker.complete(&job.handle, b"");
    }
    worker.submit_bg("other", "", b"");
    house.kill();
    assert_eq!(house.admin("status"), "other\t1\t0\t0\n.\n");
}

#[test]
fn the_end_of_one_job_without_unique_id_ends_no_other() {
    for unique in ["", "-"] {
        let mut house = House::new();
        let mut client = house.connect();
        let handles = [(); 3].map(|()| client.submit_bg("f", unique, b""));
        let mut worker = house.worker(&["f"]);
        let job = worker.take_job();
        worker.complete(&job.handle, b"");
        worker.submit_bg("other", "", b"");
        house.kill();
        let mut worker = house.worker(&["f"]);
        let left = [worker.take_job().handle, worker.take_job().handle];
        assert_eq!((&job.handle, &left[..]), (&handles[0], &handles[1..]), "with the unique id {unique:?}");
        assert_eq!(worker.grab(), None);
    }
}

#[test]
fn a_job_that_ran_at_the_kill_runs_again() {
    let mut house = House::new();
    let mut client = house.connect();
    let (first, second) = (client.submit_bg("f", "", b"1"), client.submit_bg("f", "", b"2"));
    let mut worker = house.worker(&["f"]);
    assert_eq!(worker.take_job().handle, first);
    house.kill();
    assert_eq!(house.connect().status(&first).state(), Status::WAITING);
    let mut worker = house.worker(&["f"]);
    assert_eq!([worker.take_job().handle, worker.take_job().handle], [first, second]);
}

#[test]
fn a_foreground_job_is_not_there_after_a_restart() {
    let mut house = House::new();
    let mut client = house.connect();
    let handle = client.submit("f", "id", b"x");
    house.seal();
    house.kill();
    assert_eq!(house.connect().status(&handle).state(), Status::UNKNOWN);
    assert_eq!(house.worker(&["f"]).grab(), None);
}

#[test]
fn a_background_submit_that_joined_a_foreground_job_is_kept() {
    for is_running in [false, true] {
        let mut house = House::new();
        let (mut foreground, mut background) = (house.connect(), house.connect());
        let handle = foreground.submit("f", "id", b"the first");
        let mut worker = house.worker(&["f"]);
        if is_running {
            worker.take_job();
        }
        assert_eq!(background.submit_bg("f", "id", b"the second"), handle);
        house.kill();
        let job = house.worker(&["f"]).take_job();
        assert_eq!((job.handle, &job.data[..]), (handle, &b"the first"[..]), "running: {is_running}");
    }
}

#[test]
fn a_foreground_client_that_joined_and_left_takes_no_job_along() {
    let mut house = House::new();
    let (mut background, mut foreground) = (house.connect(), house.connect());
    let handle = background.submit_bg("f", "id", b"x");
    assert_eq!(foreground.submit("f", "id", b"y"), handle);
    foreground.leave();
    house.kill();
    let mut worker = house.worker(&["f"]);
    assert_eq!(worker.take_job().handle, handle);
    worker.complete(&handle, b"");
    worker.submit_bg("other", "", b"");
    house.kill();
    assert_eq!(house.worker(&["f"]).grab(), None, "it was done");
}

#[test]
fn a_delayed_job_keeps_its_time() {
    let mut house = House::new();
    let mut client = house.connect();
    let due = seconds() + 2;
    let soon = client.submit_at("f", "soon", &due.to_string(), b"x");
    let late = client.submit_at("f", "late", &(due + 10_000).to_string(), b"x");
    house.kill();
    let mut worker = house.worker(&["f"]);
    let job = eventually("the job becomes due", || worker.grab_as(kind::GRAB_JOB_UNIQ));
    assert_eq!(job.handle, soon);
    assert!(seconds() >= due, "it was handed out before its time");
    house.kill();
    assert_eq!(house.connect().status(&late).state(), Status::WAITING);
    let mut worker = house.worker(&["f"]);
    assert_eq!(worker.take_job().handle, soon);
    assert_eq!(worker.grab(), None, "the other has hours to go");
}

#[test]
fn a_sleeping_worker_is_woken_for_a_job_that_was_delayed_before_the_kill() {
    let mut house = House::new();
    house.connect().submit_at("f", "", &(seconds() + 2).to_string(), b"x");
    house.kill();
    let mut worker = house.worker(&["f"]);
    worker.sleep();
    worker.expect_noop();
    worker.take_job();
}

#[test]
fn a_job_whose_time_passed_while_no_server_ran_is_handed_out_at_once() {
    let mut house = House::new();
    let due = seconds() + 1;
    house.connect().submit_at("f", "", &due.to_string(), b"x");
    house.server().signal(nix::sys::signal::Signal::SIGKILL);
    house.server().wait();
    eventually("its time passes", || (seconds() > due).then_some(()));
    house.start_again();
    house.worker(&["f"]).take_job();
}

#[test]
fn a_recurring_job_keeps_handle_and_fields() {
    let mut house = House::gearhouse(&[]);
    let mut client = house.connect();
    let declare = |client: &mut crate::support::Peer, minute: &[u8]| {
        client.send(kind::SUBMIT_JOB_SCHED, &[b"f", b"id", minute, b"4", b"29", b"2", b"*", b"x"]);
        client.created()
    };
    let handle = declare(&mut client, b"1");
    house.kill();
    let listed = house.admin("show schedules");
    assert!(listed.starts_with(&format!("{handle}\tf\tid\t1 4 29 2 *\t")), "{listed}");
    assert_eq!(declare(&mut house.connect(), b"2"), handle, "the same unique id replaces it");
    house.kill();
    let listed = house.admin("show schedules");
    assert!(listed.starts_with(&format!("{handle}\tf\tid\t2 4 29 2 *\t")), "{listed}");
    assert_eq!(listed.lines().count(), 2);
    assert_eq!(house.admin(&format!("cancel job {handle}")), "OK\r\n");
    house.kill();
    assert_eq!(house.admin("show schedules"), ".\n");
}

fn seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}
