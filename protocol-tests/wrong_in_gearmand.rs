//! Where gearmand is wrong or weak, and Gearhouse is right. One or more tests for each line of
//! docs/compatibility.md, in its order and by its numbers.
//!
//! Run with `GEARHOUSE_TEST_SERVER=/usr/sbin/gearmand` they fail, which shows that they test what they say.

use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::peer::{Status, request};
use crate::support::{PATIENCE, Peer, Server, eventually, kind, now};

// W3: lost wake-ups.

#[test]
fn w3_a_worker_that_sleeps_again_without_grabbing_is_woken_again() {
    let server = Server::start();
    let (mut client, mut sleeper, mut other) = (server.connect(), server.connect(), server.connect());
    sleeper.can_do("f");
    sleeper.sleep();
    client.submit_bg("f", "", b"");
    sleeper.expect_noop();
    other.can_do("f");
    other.take_job();
    sleeper.sleep();
    client.submit_bg("f", "", b"");
    sleeper.expect_noop();
}

#[test]
fn w3_a_woken_worker_that_vanishes_passes_the_wake_on() {
    let server = Server::with_flags(&["--worker-wakeup", "1"]);
    let mut client = server.connect();
    let mut sleepers = sleepers(&server, 3, &["f"]);
    client.submit_bg("f", "", b"");
    while sleepers.len() > 1 {
        let woken = take_the_woken(&mut sleepers);
        drop(woken);
    }
    sleepers[0].expect_noop();
}

#[test]
fn w3_a_woken_worker_that_takes_another_job_passes_the_wake_on() {
    let server = Server::with_flags(&["--worker-wakeup", "1"]);
    let (mut client, mut both) = (server.connect(), server.connect());
    both.can_do("f");
    both.can_do("g");
    both.sleep();
    client.submit_bg("f", "", b"");
    both.expect_noop();
    // The wake for f is with the first worker already when the second comes.
    let mut only_f = server.connect();
    only_f.pre_sleep();
    only_f.can_do("f");
    only_f.settle();
    client.submit_as(kind::SUBMIT_JOB_HIGH_BG, "g", "", b"");
    assert_eq!(both.take_job().function, b"g");
    only_f.expect_noop();
    assert_eq!(only_f.take_job().function, b"f");
}

#[test]
fn w3_a_woken_worker_that_gives_the_function_up_passes_the_wake_on() {
    let server = Server::with_flags(&["--worker-wakeup", "1"]);
    let mut client = server.connect();
    let mut sleepers = sleepers(&server, 2, &["f"]);
    client.submit_bg("f", "", b"");
    let mut woken = take_the_woken(&mut sleepers);
    woken.cant_do("f");
    sleepers[0].expect_noop();
}

// W4: a job promised to a background client must not depend on others.

#[test]
fn w4_a_background_job_outlives_a_client_that_joined_it() {
    let server = Server::start();
    let (mut background, mut joins, mut worker) = (server.connect(), server.connect(), server.connect());
    let handle = background.submit_bg("f", "U", b"x");
    assert_eq!(joins.submit("f", "U", b"y"), handle);
    joins.leave();
    worker.can_do("f");
    assert_eq!(worker.grab().map(|job| job.handle), Some(handle));
}

#[test]
fn w4_a_foreground_job_that_a_background_client_joined_outlives_its_creator() {
    let server = Server::start();
    let (mut creator, mut background, mut worker) = (server.connect(), server.connect(), server.connect());
    let handle = creator.submit("f", "U", b"x");
    assert_eq!(background.submit_bg("f", "U", b"y"), handle);
    creator.leave();
    worker.can_do("f");
    let job = worker.grab().expect("the job was acknowledged to a background client");
    assert_eq!((job.handle, job.data), (handle, b"x".to_vec()));
}

#[test]
fn w4_a_background_job_that_was_joined_survives_client_and_worker() {
    let server = Server::start();
    let (mut background, mut joins, mut dies) = (server.connect(), server.connect(), server.connect());
    let handle = background.submit_bg("f", "U", b"x");
    dies.can_do("f");
    dies.take_job();
    joins.submit("f", "U", b"y");
    joins.leave();
    dies.leave();
    let mut worker = server.connect();
    worker.can_do("f");
    assert_eq!(worker.grab().map(|job| job.handle), Some(handle));
}

// W5: a job nobody waits for is gone at once.

#[test]
fn w5_a_job_whose_only_client_left_is_gone_from_every_count() {
    let server = Server::start();
    let mut client = server.connect();
    let handle = client.submit("f", "U", b"x");
    client.leave();
    assert_eq!(server.admin("status"), "f\t0\t0\t0\n.\n");
    assert_eq!(server.admin("show jobs"), ".\n");
    assert_eq!(server.connect().status(&handle).state(), Status::UNKNOWN);
}

#[test]
fn w5_a_submit_after_the_only_client_left_is_a_job_of_its_own() {
    let server = Server::start();
    let (mut leaves, mut client, mut worker) = (server.connect(), server.connect(), server.connect());
    let abandoned = leaves.submit("f", "U", b"x");
    leaves.leave();
    let handle = client.submit("f", "U", b"y");
    assert_ne!(handle, abandoned);
    worker.can_do("f");
    let job = worker.grab().expect("the second submit is a job");
    assert_eq!((&job.handle, &job.data[..]), (&handle, &b"y"[..]));
    worker.complete(&handle, b"r");
    client.expect_complete(&handle, b"r");
}

// W6: exceptions.

#[test]
fn w6_an_exception_reaches_clients_without_the_option_as_a_failure_with_the_bare_handle() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    worker.exception(&handle, b"boom");
    client.expect_fail(&handle);
}

#[test]
fn w6_a_failure_after_an_exception_is_swallowed() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    worker.exception(&handle, b"boom");
    worker.fail(&handle);
    worker.expect_nothing();
    assert_eq!(client.frame().kind, kind::WORK_FAIL);
    client.expect_nothing();
}

#[test]
fn w6_a_trailing_zero_byte_of_a_workers_failure_is_not_passed_on() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    worker.send(kind::WORK_FAIL, &[handle.as_bytes(), b""]);
    client.expect_fail(&handle);
}

// W7: cancelling and dropping.

#[test]
fn w7_a_cancelled_job_is_gone_at_once_and_cannot_be_cancelled_again() {
    let server = Server::start();
    let mut client = server.connect();
    let handle = client.submit("f", "U", b"");
    assert_eq!(server.admin(&format!("cancel job {handle}")), "OK\r\n");
    client.expect_fail(&handle);
    assert_eq!(server.admin("status"), "f\t0\t0\t0\n.\n");
    assert_eq!(server.admin("show jobs"), ".\n");
    assert_eq!(server.admin(&format!("cancel job {handle}")), "ERR UNKNOWN_JOB\r\n");
    client.expect_nothing();
    assert_ne!(client.submit("f", "U", b""), handle);
}

#[test]
fn w7_the_result_of_a_cancelled_running_job_is_swallowed() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    assert_eq!(server.admin(&format!("cancel job {handle}")), "OK\r\n");
    client.expect_fail(&handle);
    worker.data(&handle, b"d");
    worker.progress(&handle, "1", "2");
    worker.complete(&handle, b"r");
    worker.expect_nothing();
    client.expect_nothing();
    assert_eq!(server.admin("status"), "f\t0\t0\t1\n.\n");
}

#[test]
fn w7_a_cancelled_job_never_runs_again_when_its_worker_vanishes() {
    let server = Server::start();
    let (mut client, mut dies, mut lives) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit_bg("f", "", b"");
    dies.can_do("f");
    dies.take_job();
    assert_eq!(server.admin(&format!("cancel job {handle}")), "OK\r\n");
    assert_eq!(server.admin("show jobs"), format!("{handle}\t0\t0\t1\n.\n"), "its worker has it still");
    dies.leave();
    assert_eq!(server.admin("show jobs"), ".\n");
    lives.can_do("f");
    assert_eq!(lives.grab(), None);
}

#[test]
fn w7_a_function_with_queued_jobs_is_not_dropped() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit_bg("f", "", b"");
    let busy = "ERR there are still connected workers or executing clients\r\n";
    assert_eq!(server.admin("drop function f"), busy);
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, handle);
}

#[test]
fn w7_a_function_is_dropped_by_its_exact_name() {
    let server = Server::start();
    server.admin("create function Resize");
    assert_eq!(server.admin("drop function resize"), "ERR function not found\r\n");
    assert_eq!(server.admin("drop function Resize"), "OK\r\n");
}

// W8: one deadline for each running job.

#[test]
fn w8_every_job_of_a_worker_has_its_own_timeout() {
    let server = Server::with_flags(&["--job-retries", "1"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do_timeout("f", "1000");
    let handles = [(); 2].map(|()| client.submit("f", "", b""));
    worker.take_job();
    worker.take_job();
    client.expect_fail(&handles[0]);
    client.expect_fail(&handles[1]);
}

#[test]
fn w8_a_job_without_timeout_does_not_stop_the_clock_of_another() {
    let server = Server::with_flags(&["--job-retries", "1"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do_timeout("timed", "1000");
    worker.can_do("untimed");
    let timed = client.submit("timed", "", b"");
    worker.take_job();
    client.submit("untimed", "", b"");
    worker.take_job();
    client.expect_fail(&timed);
    client.expect_nothing();
}

#[test]
fn w8_pre_sleep_does_not_stop_the_clock() {
    let server = Server::with_flags(&["--job-retries", "1"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do_timeout("f", "1000");
    let handle = client.submit("f", "", b"");
    worker.take_job();
    worker.pre_sleep();
    client.expect_fail(&handle);
}

// W9: an ability that comes late.

#[test]
fn w9_a_sleeping_worker_that_registers_a_function_is_woken_for_its_jobs() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    client.submit_bg("f", "", b"");
    worker.sleep();
    worker.can_do("f");
    worker.expect_noop();
    assert!(worker.grab().is_some());
}

// W10: unique ids.

#[test]
fn w10_a_unique_id_of_64_bytes_and_more_arrives_as_it_was_sent() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    for length in [63, 64, 65, 1024] {
        let unique = "u".repeat(length);
        client.submit_bg("f", &unique, b"data");
        let job = worker.take_job();
        assert_eq!((job.unique, job.data), (unique.into_bytes(), b"data".to_vec()));
    }
}

// W11: giving up a function does not take its running jobs away.

#[test]
fn w11_cant_do_leaves_the_running_job_with_its_worker() {
    leaves_the_running_job(|worker| worker.cant_do("f"));
}

#[test]
fn w11_reset_abilities_leaves_the_running_job_with_its_worker() {
    leaves_the_running_job(Peer::reset_abilities);
}

fn leaves_the_running_job(give_up: impl Fn(&mut Peer)) {
    let server = Server::start();
    let (mut client, mut worker, mut other) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    give_up(&mut worker);
    worker.settle();
    other.can_do("f");
    assert_eq!(other.grab(), None);
    worker.complete(&handle, b"r");
    client.expect_complete(&handle, b"r");
    worker.expect_nothing();
}

// W12: limits.

#[test]
fn w12_maxqueue_is_remembered_for_a_function_that_does_not_exist_yet() {
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(server.admin("maxqueue f 1").trim_end(), "OK");
    client.submit_bg("f", "", b"");
    client.send(kind::SUBMIT_JOB_BG, &[b"f", b"", b""]);
    client.expect(kind::ERROR, &[b"QUEUE_ERROR", b"Job queue is full"]);
}

// W13: one unique id in two functions.

#[test]
fn w13_get_status_unique_answers_for_the_running_job_else_for_the_newest() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let first = client.submit("f", "U", b"");
    client.submit_bg("g", "U", b"");
    assert_eq!(client.status_unique("U").1, "0", "the newest has no waiting client");
    worker.can_do("f");
    worker.take_job();
    worker.progress(&first, "3", "4");
    assert_eq!(client.frame().kind, kind::WORK_STATUS);
    let (status, waiting) = client.status_unique("U");
    assert_eq!((status.state(), waiting.as_str()), (Status::RUNNING, "1"));
    assert_eq!(status.progress, ("3".to_owned(), "4".to_owned()));
}

#[test]
fn w13_show_unique_asks_about_one_function() {
    let server = Server::start();
    let mut client = server.connect();
    let handles = ["f", "g"].map(|function| client.submit_bg(function, "U", b""));
    for (function, handle) in ["f", "g"].iter().zip(&handles) {
        let reply = server.admin(&format!("show unique {function} U"));
        assert!(reply.contains(handle.as_str()), "{reply}");
        assert!(!handles.iter().any(|other| other != handle && reply.contains(other.as_str())), "{reply}");
    }
    let none = server.admin("show unique h U");
    assert!(!handles.iter().any(|handle| none.contains(handle.as_str())), "{none}");
}

// W14: a name that ends in a bare line feed.

#[test]
fn w14_create_function_keeps_the_whole_name_with_either_line_end() {
    let server = Server::start();
    let mut admin = server.connect();
    for line in ["create function abcd\n", "create function efgh\r\n"] {
        admin.send_text(line);
        assert_eq!(admin.line(), "OK\r\n");
    }
    let status = admin.admin("status");
    assert!(status.contains("abcd\t0\t0\t0\n") && status.contains("efgh\t0\t0\t0\n"), "{status}");
}

// W15: bounds.

#[test]
fn w15_a_packet_beyond_the_bound_is_refused_before_it_is_sent() {
    let server = Server::serve(&["--max-frame", "1KiB"]);
    let mut client = server.connect();
    let body = [b"f\0\0".to_vec(), vec![b'x'; 1021]].concat();
    client.send_raw(&request(kind::SUBMIT_JOB_BG, &body));
    client.created();
    let mut header = request(kind::SUBMIT_JOB_BG, b"");
    header[8..].copy_from_slice(&1025_u32.to_be_bytes());
    client.send_raw(&header);
    client.expect_error("ARGUMENT_TOO_LARGE");
    client.expect_closed();
}

#[test]
fn w15_a_declared_length_reserves_nothing() {
    let server = Server::start();
    let before = address_space(&server);
    let mut header = request(kind::SUBMIT_JOB, b"");
    header[8..].copy_from_slice(&(200_u32 << 20).to_be_bytes());
    let mut peers: Vec<Peer> = (0..8).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.send_raw(&[&header[..], b"f\0\0"].concat());
    }
    // A round trip on a connection that was opened later: the packets above have been looked at, as a rule.
    for _ in 0..10 {
        server.connect().expect_nothing();
    }
    let grown = address_space(&server).saturating_sub(before);
    assert!(grown < 400 << 20, "eight idle headers made the server reserve {} MiB", grown >> 20);
}

// W16: handles.

#[test]
fn w16_handles_are_not_used_again_after_a_restart() {
    let handles = [(); 2].map(|()| {
        let server = Server::start();
        let mut client = server.connect();
        [(); 3].map(|()| client.submit_bg("f", "", b""))
    });
    assert!(handles[0].iter().all(|handle| !handles[1].contains(handle)), "{handles:?}");
}

// W17: the length in the header is where a packet ends.

#[test]
fn w17_a_packet_with_too_few_arguments_is_refused_and_the_next_one_is_read() {
    let server = Server::start();
    let mut client = server.connect();
    for (kind, body) in [
        (kind::SUBMIT_JOB, &b"abcde"[..]),
        (kind::SUBMIT_JOB_BG, b"f\0u"),
        (kind::SUBMIT_JOB_EPOCH, b"f\0u\x001"),
        (kind::SUBMIT_REDUCE_JOB, b"f\0u\0r\0data"),
    ] {
        client.send_raw(&[request(kind, body), request(kind::ECHO_REQ, b"next")].concat());
        client.expect_error("INVALID_PACKET");
        client.expect(kind::ECHO_RES, &[b"next"]);
    }
}

#[test]
fn w17_a_result_without_separator_does_not_swallow_the_packet_behind_it() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    worker
        .send_raw(&[request(kind::WORK_COMPLETE, handle.as_bytes()), request(kind::GRAB_JOB, b"")].concat());
    assert_eq!(worker.assigned(), None);
    client.expect_complete(&handle, b"");
}

// W18: there is always an answer.

#[test]
fn w18_questions_about_names_that_are_too_long_are_answered() {
    let server = Server::start();
    let mut client = server.connect();
    for length in [63, 64, 65, 1000, 5000] {
        let name = vec![b'n'; length];
        client.send(kind::GET_STATUS, &[&name]);
        client.expect(kind::STATUS_RES, &[&name, b"0", b"0", b"0", b"0"]);
        client.send(kind::GET_STATUS_UNIQUE, &[&name]);
        client.expect(kind::STATUS_RES_UNIQUE, &[&name, b"0", b"0", b"0", b"0", b"0"]);
    }
}

#[test]
fn w18_a_time_beyond_all_numbers_is_the_latest_one() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit_at("f", "", "99999999999999999999999999", b"");
    assert_eq!(client.status(&handle).state(), Status::WAITING);
    worker.can_do("f");
    assert_eq!(worker.grab(), None);
}

#[test]
fn w18_progress_with_a_long_denominator_is_forwarded_and_shown_as_the_largest_number() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    worker.progress(&handle, "7", "123456789012345");
    client.expect(kind::WORK_STATUS, &[handle.as_bytes(), b"7", b"123456789012345"]);
    assert_eq!(client.status(&handle).progress, ("7".to_owned(), u32::MAX.to_string()));
}

// W20: functions do not pile up.

#[test]
fn w20_a_function_that_nobody_uses_any_more_disappears() {
    let server = Server::serve(&["--function-grace", "200ms"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    server.admin("create function created");
    server.admin("maxqueue limited 5");
    client.submit_bg("waiting", "", b"");
    worker.can_do("done");
    let handle = client.submit("done", "", b"");
    worker.take_job();
    worker.complete(&handle, b"");
    client.expect_complete(&handle, b"");
    worker.cant_do("done");
    eventually("the function is gone", || (!server.admin("status").contains("done")).then_some(()));
    let status = server.admin("status");
    let names: Vec<&str> = status.lines().filter_map(|line| Some(line.split_once('\t')?.0)).collect();
    assert_eq!(names, ["created", "limited", "waiting"]);
}

// W21: handles are never cut.

#[test]
fn w21_a_handle_prefix_that_leaves_no_room_for_numbers_is_refused_at_start() {
    let prefix = "p".repeat(43);
    let message = refuses_to_start(&["--job-handle-prefix", &prefix]);
    assert!(message.contains("job-handle-prefix"), "{message}");
    let server = Server::with_flags(&["--job-handle-prefix", &prefix[..42]]);
    let mut client = server.connect();
    let handles: std::collections::HashSet<String> =
        (0..120).map(|_| client.submit_bg("f", "", b"")).collect();
    assert_eq!(handles.len(), 120);
    assert!(handles.iter().all(|handle| handle.starts_with(&prefix[..42])));
}

// W22: one slow thing must not slow all.

#[test]
fn w22_delayed_jobs_do_not_slow_the_others_of_their_function() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let delayed = request(kind::SUBMIT_JOB_EPOCH, b"f\0\x004102444800\0x");
    for _ in 0..100 {
        client.send_raw(&delayed.repeat(1000));
        (0..1000).for_each(|_| drop(client.created()));
    }
    let mut time_for = |function: &str| {
        worker.can_do(function);
        let before = server.processor_time();
        for _ in 0..1000 {
            let handle = client.submit_bg(function, "", b"");
            assert_eq!(worker.take_job().handle, handle);
            worker.complete(&handle, b"");
        }
        worker.settle();
        server.processor_time() - before
    };
    let without = time_for("g");
    let with = time_for("f");
    // gearmand walks over all of them at each GRAB.
    let allowed = without * 2 + Duration::from_millis(100);
    assert!(with < allowed, "1000 jobs took {without:?}, and {with:?} behind 100,000 delayed ones");
}

#[test]
fn w22_a_server_without_free_descriptors_rests_and_goes_on_when_there_are_some_again() {
    let server = Server::with_flags(&["--file-descriptors", "128"]);
    let mut good = server.connect();
    good.expect_nothing();
    // The last ones may not even get through to the listening socket.
    let address = server.address();
    let moment = Duration::from_millis(100);
    let mut crowd: Vec<_> =
        (0..200).map_while(|_| TcpStream::connect_timeout(&address, moment).ok()).collect();
    good.expect_nothing();
    let before = server.processor_time();
    good.expect_silence(Duration::from_millis(500));
    let used = server.processor_time() - before;
    assert!(
        used < Duration::from_millis(50),
        "a full server used {used:?} in half a second of doing nothing"
    );
    good.expect_nothing();
    crowd.clear();
    eventually("a new peer is served", || {
        let mut peer = server.connect();
        peer.try_send_raw(b"version\n").ok()?;
        peer.try_line(Duration::from_secs(1))
    });
}

// W24: as many are woken as there are jobs.

#[test]
fn w24_one_job_wakes_one_of_many_sleepers() {
    let server = Server::start();
    let mut client = server.connect();
    let mut sleepers = sleepers(&server, 5, &["f"]);
    for woken in 1..=3 {
        client.submit_bg("f", "", b"");
        sleepers.iter_mut().for_each(Peer::settle);
        let count = sleepers.iter().filter(|sleeper| !sleeper.unread().is_empty()).count();
        assert_eq!(count, woken);
    }
    // And together they take them all.
    let mut taken = 0;
    for sleeper in sleepers.iter_mut().filter(|sleeper| !sleeper.unread().is_empty()) {
        sleeper.expect_noop();
        taken += sleeper.grab().into_iter().count();
    }
    assert_eq!(taken, 3);
}

// W25: the reply that Python's admin clients accept.

#[test]
fn w25_maxqueue_is_answered_with_ok_and_a_bare_line_feed() {
    let server = Server::start();
    server.admin("create function f");
    assert_eq!(server.admin("maxqueue f 5"), "OK\n");
    assert_eq!(server.admin("drop function f"), "OK\r\n");
}

// W26: small ones.

#[test]
fn w26_ipv6_peers_are_listed_by_their_whole_address() {
    let server = Server::serve_on(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), &[]);
    let workers = server.admin("workers");
    assert_eq!(workers.split(' ').nth(1), Some("::1"), "{workers}");
}

#[test]
fn w26_a_timeout_of_twenty_digits_is_a_very_long_one() {
    let mut server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    for digits in ["99999999999999999999", "18446744073709551615", "9223372036854775808"] {
        worker.can_do_timeout("f", digits);
        let handle = client.submit("f", "", b"");
        assert_eq!(worker.take_job().handle, handle);
    }
    client.expect_silence(Duration::from_millis(1200));
    assert!(server.is_running());
}

#[test]
fn w26_an_empty_queue_name_is_refused_with_a_message() {
    let message = refuses_to_start(&["--queue-type", ""]);
    assert!(message.contains("queue-type") && !message.contains("stack trace"), "{message}");
}

// W28: a stop that ends.

#[test]
fn w28_a_stopping_server_refuses_new_submits_and_ends_with_its_work() {
    let mut server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    server.signal(Signal::SIGUSR1);
    let address = server.address();
    eventually("new connections are refused", || Peer::try_connect(address).is_err().then_some(()));
    client.send(kind::SUBMIT_JOB_BG, &[b"f", b"", b""]);
    client.expect_error("SHUTDOWN");
    worker.complete(&handle, b"r");
    client.expect_complete(&handle, b"r");
    assert_eq!(server.wait().code(), Some(0));
}

// W29: an unlucky job is not sent to the end of the line.

#[test]
fn w29_a_job_that_comes_back_keeps_its_place_twice_and_then_makes_room() {
    let server = Server::start();
    let mut client = server.connect();
    let first = client.submit_bg("f", "", b"");
    let second = client.submit_bg("f", "", b"");
    for _ in 0..3 {
        let mut dies = server.connect();
        dies.can_do("f");
        assert_eq!(dies.take_job().handle, first);
        dies.leave();
    }
    let mut worker = server.connect();
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, second);
    assert_eq!(worker.take_job().handle, first);
}

// W30: a late result.

#[test]
fn w30_the_late_result_of_a_job_that_was_taken_away_is_swallowed() {
    let server = Server::with_flags(&["--job-retries", "2"]);
    let (mut client, mut late, mut next) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    late.can_do_timeout("f", "1000");
    late.take_job();
    next.can_do("f");
    next.pre_sleep();
    next.expect_noop();
    next.take_job();
    late.progress(&handle, "1", "2");
    late.complete(&handle, b"late");
    late.fail(&handle);
    late.expect_nothing();
    next.complete(&handle, b"in time");
    client.expect_complete(&handle, b"in time");
    client.expect_nothing();
}

#[test]
fn w30_a_handle_that_the_connection_never_had_is_still_an_error() {
    let server = Server::start();
    let mut worker = server.connect();
    worker.complete("H:nobody:1", b"");
    worker.expect(kind::ERROR, &[b"JOB_NOT_FOUND", b"Job given in work result not found"]);
}

/// Sleeping workers.
fn sleepers(server: &Server, count: usize, functions: &[&str]) -> Vec<Peer> {
    let asleep = |_| {
        let mut worker = server.connect();
        functions.iter().for_each(|function| worker.can_do(function));
        worker.sleep();
        worker
    };
    (0..count).map(asleep).collect()
}

/// Finds the one that has been woken, whichever it is, and takes it out.
fn take_the_woken(sleepers: &mut Vec<Peer>) -> Peer {
    let deadline = now() + PATIENCE;
    loop {
        sleepers.iter_mut().for_each(Peer::settle);
        if let Some(index) = sleepers.iter().position(|sleeper| !sleeper.unread().is_empty()) {
            let mut woken = sleepers.remove(index);
            woken.expect_noop();
            return woken;
        }
        assert!(now() < deadline, "nobody is woken although a job waits");
    }
}

/// Address space the server has reserved, in bytes.
fn address_space(server: &Server) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).expect("the server is gone");
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

/// The program under test ends with exit code 1 when it is given these flags; what it says.
fn refuses_to_start(flags: &[&str]) -> String {
    let mut command = match std::env::var_os("GEARHOUSE_TEST_SERVER") {
        Some(program) => Command::new(program),
        None => {
            let mut gearhouse = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
            gearhouse.arg("gearmand");
            gearhouse
        }
    };
    let fixed = ["--listen", "127.0.0.1", "--port", "0", "--log-file=stderr"];
    // Never a device: gearmand removes its pid file when it ends, whatever that is.
    let folder = tempfile::tempdir().expect("a folder for the pid file");
    let pid_file = format!("--pid-file={}", folder.path().join("pid").display());
    let mut child = command
        .args(fixed)
        .arg(pid_file)
        .args(flags)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let deadline = now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break status;
        }
        if now() > deadline {
            let _ = child.kill();
            panic!("it serves, although it was called with {flags:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut message = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut message).expect("text");
    assert_eq!(status.code(), Some(1), "{message}");
    message
}
