//! Sleeping workers and who wakes them.

use crate::support::{Server, kind};

#[test]
fn a_worker_that_only_grabs_after_a_noop_gets_every_job() {
    // The way of Python's and aiogear's workers.
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    worker.pre_sleep();
    for _ in 0..20 {
        let handle = client.submit("f", "", b"");
        worker.expect_noop();
        assert_eq!(worker.take_job().handle, handle);
        worker.complete(&handle, b"");
        client.expect_complete(&handle, b"");
        worker.pre_sleep();
    }
}

#[test]
fn a_worker_that_never_sleeps_gets_jobs_by_asking() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    assert_eq!(worker.grab(), None);
    client.submit_bg("f", "", b"");
    worker.expect_nothing();
    assert!(worker.grab().is_some());
}

#[test]
fn pre_sleep_before_any_ability_is_harmless_and_repeated_ones_too() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.sleep();
    worker.sleep();
    worker.can_do("f");
    worker.sleep();
    worker.sleep();
    client.submit_bg("f", "", b"");
    worker.expect_noop();
    worker.expect_nothing();
}

#[test]
fn a_worker_may_sleep_while_it_runs_a_job() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let first = client.submit("f", "", b"");
    worker.take_job();
    worker.sleep();
    let second = client.submit("f", "", b"");
    worker.expect_noop();
    assert_eq!(worker.take_job().handle, second);
    worker.complete(&second, b"2");
    worker.complete(&first, b"1");
    client.expect_complete(&second, b"2");
    client.expect_complete(&first, b"1");
}

#[test]
fn a_job_that_comes_back_wakes_a_sleeper() {
    let server = Server::start();
    let (mut client, mut dies, mut sleeper) = (server.connect(), server.connect(), server.connect());
    client.submit_bg("f", "", b"");
    dies.can_do("f");
    dies.take_job();
    sleeper.can_do("f");
    sleeper.sleep();
    drop(dies);
    sleeper.expect_noop();
    assert!(sleeper.grab().is_some());
}

#[test]
fn a_job_of_another_function_wakes_nobody() {
    let server = Server::start();
    let (mut client, mut sleeper) = (server.connect(), server.connect());
    sleeper.can_do("f");
    sleeper.sleep();
    client.submit_bg("g", "", b"");
    sleeper.expect_nothing();
    sleeper.cant_do("f");
    sleeper.expect_nothing();
    client.submit_bg("f", "", b"");
    sleeper.expect_nothing();
}

#[test]
fn a_sleeper_stays_asleep_through_every_packet_but_a_grab() {
    let server = Server::start();
    let (mut client, mut sleeper) = (server.connect(), server.connect());
    sleeper.can_do("f");
    sleeper.sleep();
    sleeper.send(kind::SET_CLIENT_ID, &[b"me"]);
    sleeper.can_do("g");
    sleeper.send(kind::GET_STATUS, &[b"H:x:1"]);
    assert_eq!(sleeper.frame().kind, kind::STATUS_RES);
    sleeper.send_text("version\n");
    sleeper.line();
    client.submit_bg("f", "", b"");
    sleeper.expect_noop();
}

#[test]
fn every_job_is_taken_though_many_workers_sleep_and_grab_in_turn() {
    let server = Server::start();
    let mut client = server.connect();
    let mut workers: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for worker in &mut workers {
        worker.can_do("f");
        worker.sleep();
    }
    for round in 0..40 {
        client.submit_bg("f", "", &[round]);
    }
    let mut taken = 0;
    for worker in &mut workers {
        worker.expect_noop();
        while worker.grab().is_some() {
            taken += 1;
        }
        worker.pre_sleep();
    }
    assert_eq!(taken, 40);
}
