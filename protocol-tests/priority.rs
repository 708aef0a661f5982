//! Which job a worker gets.

use crate::support::{Server, kind};

#[test]
fn a_later_high_job_overtakes_and_an_earlier_low_one_is_overtaken() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let low = client.submit_as(kind::SUBMIT_JOB_LOW, "f", "", b"");
    let normal = client.submit("f", "", b"");
    let high = client.submit_as(kind::SUBMIT_JOB_HIGH_BG, "f", "", b"");
    worker.can_do("f");
    let order = [(); 3].map(|()| worker.take_job().handle);
    assert_eq!(order, [high, normal, low]);
}

#[test]
fn foreground_and_background_jobs_of_one_priority_share_one_line() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let submitted = [
        client.submit("f", "", b""),
        client.submit_bg("f", "", b""),
        client.submit_at("f", "", "0", b""),
        client.submit("f", "", b""),
    ];
    worker.can_do("f");
    assert_eq!([(); 4].map(|()| worker.take_job().handle), submitted);
}

#[test]
fn priority_counts_across_all_functions_of_a_worker() {
    // gearmand 1.1.20 serves the first function with any job; 2.0.0 does as Gearhouse does.
    let server = Server::gearhouse(&[]);
    for (first, second) in [("a", "b"), ("b", "a")] {
        let (mut client, mut worker) = (server.connect(), server.connect());
        let low = client.submit_as(kind::SUBMIT_JOB_LOW_BG, first, "", b"");
        let normal = client.submit_bg(second, "", b"");
        let high = client.submit_as(kind::SUBMIT_JOB_HIGH_BG, first, "", b"");
        worker.can_do("a");
        worker.can_do("b");
        let order = [(); 3].map(|()| worker.take_job().handle);
        assert_eq!(order, [high, normal, low]);
        order.iter().for_each(|handle| worker.complete(handle, b""));
    }
}

#[test]
fn functions_of_equal_priority_take_turns() {
    // gearmand 1.1.20 does so with --round-robin only, 2.0.0 always.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    for function in ["a", "b", "c"] {
        (0..4).for_each(|_| drop(client.submit_bg(function, "", b"")));
    }
    for function in ["a", "b", "c"] {
        worker.can_do(function);
    }
    for round in 0..4 {
        let mut served: Vec<Vec<u8>> = (0..3).map(|_| worker.take_job().function).collect();
        served.sort();
        assert_eq!(served, [b"a", b"b", b"c"], "round {round} served a function twice");
    }
}

#[test]
fn a_busy_function_does_not_starve_a_quiet_one() {
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    (0..100).for_each(|_| drop(client.submit_bg("busy", "", b"")));
    client.submit_bg("quiet", "", b"");
    worker.can_do("busy");
    worker.can_do("quiet");
    let first = [worker.take_job().function, worker.take_job().function];
    assert!(first.contains(&b"quiet".to_vec()), "two grabs served {first:?}");
}
