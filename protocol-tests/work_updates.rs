//! What workers report and who hears it.

use crate::support::peer::packet;
use crate::support::{Server, kind};

#[test]
fn reports_reach_the_client_in_order_and_byte_for_byte() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    let h = handle.as_bytes();
    let reports: &[(u32, &[&[u8]])] = &[
        (kind::WORK_DATA, &[h, b""]),
        (kind::WORK_STATUS, &[h, b"0.5", b"1"]),
        (kind::WORK_DATA, &[h, b"\0\xff\0"]),
        (kind::WORK_WARNING, &[h, b"careful"]),
        (kind::WORK_STATUS, &[h, b"", b"100%"]),
        (kind::WORK_DATA, &[h, &[b'x'; 100_000]]),
        (kind::WORK_COMPLETE, &[h, b"\0"]),
    ];
    for (kind, arguments) in reports {
        worker.send(*kind, arguments);
    }
    for (kind, arguments) in reports {
        client.expect(*kind, arguments);
    }
    client.expect_nothing();
}

#[test]
fn nobody_but_the_worker_of_a_job_may_report_on_it() {
    let server = Server::start();
    let (mut client, mut worker, mut other) = (server.connect(), server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    other.can_do("f");
    worker.take_job();
    let h = handle.as_bytes();
    for stranger in [&mut other, &mut client] {
        for kind in [kind::WORK_DATA, kind::WORK_WARNING, kind::WORK_COMPLETE, kind::WORK_EXCEPTION] {
            stranger.send(kind, &[h, b"x"]);
            stranger.expect_error("JOB_NOT_FOUND");
        }
        stranger.send(kind::WORK_STATUS, &[h, b"1", b"2"]);
        stranger.expect_error("JOB_NOT_FOUND");
        stranger.send(kind::WORK_FAIL, &[h]);
        stranger.expect_error("JOB_NOT_FOUND");
    }
    worker.complete(&handle, b"mine");
    client.expect_complete(&handle, b"mine");
}

#[test]
fn the_worker_of_one_job_may_not_report_on_another() {
    let server = Server::start();
    let (mut client, mut a, mut b) = (server.connect(), server.connect(), server.connect());
    a.can_do("f");
    b.can_do("f");
    let first = client.submit("f", "", b"");
    a.take_job();
    let second = client.submit("f", "", b"");
    b.take_job();
    a.complete(&second, b"wrong");
    a.expect_error("JOB_NOT_FOUND");
    b.complete(&second, b"2");
    client.expect_complete(&second, b"2");
    a.complete(&first, b"1");
    client.expect_complete(&first, b"1");
}

#[test]
fn a_failed_job_is_over_and_never_runs_again() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    for exception in [false, true] {
        let handle = client.submit("f", "", b"");
        worker.take_job();
        if exception {
            worker.exception(&handle, b"boom")
        } else {
            worker.fail(&handle)
        }
        assert_eq!(client.frame().kind, kind::WORK_FAIL);
        assert_eq!(worker.grab(), None);
    }
}

#[test]
fn a_result_without_separator_is_an_empty_result() {
    // Perl's workers send it so when a result is "" or "0". gearmand swallows the packet that follows.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let handle = client.submit("f", "", b"");
    worker.take_job();
    let h = handle.as_bytes();
    for kind in [kind::WORK_DATA, kind::WORK_WARNING, kind::WORK_COMPLETE] {
        worker.send(kind, &[h]);
        client.expect(kind, &[h, b""]);
    }
    worker.expect_nothing();
    client.send(kind::OPTION_REQ, &[b"exceptions"]);
    client.expect(kind::OPTION_RES, &[b"exceptions"]);
    let handle = client.submit("f", "", b"");
    worker.take_job();
    worker.send(kind::WORK_EXCEPTION, &[handle.as_bytes()]);
    client.expect(kind::WORK_EXCEPTION, &[handle.as_bytes(), b""]);
}

#[test]
fn progress_without_denominator_is_forwarded_with_an_added_zero() {
    // Perl's set_status with one argument, and Net_Gearman with null.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let handle = client.submit("f", "", b"");
    worker.take_job();
    worker.send(kind::WORK_STATUS, &[handle.as_bytes(), b"50"]);
    client.expect(kind::WORK_STATUS, &[handle.as_bytes(), b"50", b"0"]);
    assert_eq!(client.status(&handle).progress, ("50".to_owned(), "0".to_owned()));
}

#[test]
fn a_worker_may_send_its_reports_with_response_magic() {
    // As the workers of johnewart's gearman-java do. gearmand answers INVALID_MAGIC and the job never ends.
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    client.send(kind::OPTION_REQ, &[b"exceptions"]);
    client.frame();
    let with_data = |handle: &str| [handle.as_bytes(), b"\0", b"x"].concat();
    let handle = client.submit("f", "", b"");
    worker.take_job();
    for kind in [kind::WORK_DATA, kind::WORK_WARNING] {
        worker.send_raw(&packet(b"\0RES", kind, &with_data(&handle)));
        client.expect(kind, &[handle.as_bytes(), b"x"]);
    }
    worker.send_raw(&packet(b"\0RES", kind::WORK_STATUS, &[handle.as_bytes(), b"\x001\x002"].concat()));
    client.expect(kind::WORK_STATUS, &[handle.as_bytes(), b"1", b"2"]);
    worker.send_raw(&packet(b"\0RES", kind::WORK_COMPLETE, &with_data(&handle)));
    client.expect_complete(&handle, b"x");
    let handle = client.submit("f", "", b"");
    worker.take_job();
    worker.send_raw(&packet(b"\0RES", kind::WORK_FAIL, handle.as_bytes()));
    client.expect_fail(&handle);
    let handle = client.submit("f", "", b"");
    worker.take_job();
    worker.send_raw(&packet(b"\0RES", kind::WORK_EXCEPTION, &with_data(&handle)));
    client.expect(kind::WORK_EXCEPTION, &[handle.as_bytes(), b"x"]);
    worker.send_raw(&packet(b"\0RES", kind::CAN_DO, b"g"));
    worker.expect_error("INVALID_MAGIC");
}

#[test]
fn a_result_for_a_client_that_left_is_thrown_away_and_the_worker_is_not_told() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    client.leave();
    worker.data(&handle, b"x");
    worker.complete(&handle, b"x");
    worker.expect_nothing();
    assert_eq!(server.admin("status"), "f\t0\t0\t1\n.\n");
}
