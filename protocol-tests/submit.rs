//! Submitting: what is accepted, what comes back, and what the worker is given.

use crate::support::{Server, kind};

#[test]
fn every_kind_of_submit_is_answered_with_a_handle_and_reaches_a_worker() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let plain: &[&[u8]] = &[b"f", b"", b"data"];
    let reduce: &[&[u8]] = &[b"f", b"", b"reducer", b"", b"data"];
    let submits = [
        (kind::SUBMIT_JOB, plain),
        (kind::SUBMIT_JOB_BG, plain),
        (kind::SUBMIT_JOB_HIGH, plain),
        (kind::SUBMIT_JOB_HIGH_BG, plain),
        (kind::SUBMIT_JOB_LOW, plain),
        (kind::SUBMIT_JOB_LOW_BG, plain),
        (kind::SUBMIT_JOB_EPOCH, &[b"f", b"", b"1", b"data"]),
        (kind::SUBMIT_REDUCE_JOB, reduce),
        (kind::SUBMIT_REDUCE_JOB_BACKGROUND, reduce),
    ];
    for (kind, arguments) in submits {
        client.send(kind, arguments);
        let handle = client.created();
        let job = worker.grab().expect("the job that was just submitted");
        assert_eq!((job.handle, job.data), (handle, b"data".to_vec()), "{}", kind::name(kind));
    }
}

#[test]
fn a_background_client_hears_nothing_after_its_handle() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    for kind in [kind::SUBMIT_JOB_BG, kind::SUBMIT_JOB_HIGH_BG, kind::SUBMIT_JOB_LOW_BG] {
        let handle = client.submit_as(kind, "f", "", b"x");
        worker.take_job();
        worker.progress(&handle, "1", "2");
        worker.data(&handle, b"part");
        worker.complete(&handle, b"whole");
        worker.expect_nothing();
    }
    client.expect_nothing();
}

#[test]
fn payloads_of_every_byte_and_any_length_arrive_unchanged_both_ways() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let lengths = [0, 1, 255, 4095, 4096, 4097, 65535, 65536, 65537, (1 << 20) - 1, 1 << 20, (1 << 20) + 1];
    for length in lengths {
        let payload: Vec<u8> = (0..length).map(|at: usize| (at ^ (at >> 8)) as u8).collect();
        let result: Vec<u8> = payload.iter().map(|byte| !byte).collect();
        let handle = client.submit("f", "", &payload);
        assert!(worker.take_job().data == payload, "the worker got another payload of {length} bytes");
        worker.complete(&handle, &result);
        let got = client.frame();
        let expected = [handle.as_bytes(), b"\0", &result].concat();
        assert!(
            got.kind == kind::WORK_COMPLETE && got.body == expected,
            "the client got another result of {length} bytes"
        );
    }
}

#[test]
fn a_payload_may_hold_zero_bytes_and_look_like_further_arguments() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    client.submit("f", "u", b"\0a\0\0b\0");
    assert_eq!(worker.take_job().data, b"\0a\0\0b\0");
}

#[test]
fn function_names_and_unique_ids_are_bytes_not_text() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.send(kind::CAN_DO, &[b"\xff\xfe \n"]);
    client.send(kind::SUBMIT_JOB_BG, &[b"\xff\xfe \n", b"\x01\x80\xff \t", b"x"]);
    client.created();
    let job = worker.take_job();
    assert_eq!(job.function, b"\xff\xfe \n");
    assert_eq!(job.unique, b"\x01\x80\xff \t");
}

#[test]
fn function_names_are_told_apart_by_case() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("Resize");
    client.submit_bg("resize", "", b"x");
    assert_eq!(worker.grab(), None);
}

#[test]
fn the_function_with_the_empty_name_is_a_function() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("");
    let handle = client.submit("", "", b"x");
    assert_eq!(worker.take_job().handle, handle);
}

#[test]
fn a_function_name_of_8000_bytes_works() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let name = "n".repeat(8000);
    worker.can_do(&name);
    let handle = client.submit_bg(&name, "", b"x");
    assert_eq!(worker.take_job().handle, handle);
}

#[test]
fn handles_fit_what_libraries_can_hold_and_no_two_are_equal() {
    let server = Server::start();
    let mut client = server.connect();
    let mut handles: Vec<String> = (0..300).map(|_| client.submit_bg("f", "", b"")).collect();
    for handle in &handles {
        assert!(handle.len() <= 63, "{handle} is longer than 63 bytes");
        assert!(handle.bytes().all(|byte| byte.is_ascii_graphic()), "{handle:?} has blanks or other bytes");
        assert!(!handle.contains("//"), "{handle} has the separator of Perl's clients");
        let number = handle.rsplit(':').next().unwrap_or("");
        assert!(number.parse::<u64>().is_ok(), "{handle} does not end in a number");
    }
    handles.sort();
    handles.dedup();
    assert_eq!(handles.len(), 300);
}

#[test]
fn a_job_waits_until_a_worker_comes() {
    let server = Server::start();
    let mut client = server.connect();
    let handle = client.submit("f", "", b"x");
    assert_eq!(server.admin("status"), "f\t1\t0\t0\n.\n");
    let mut worker = server.connect();
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, handle);
    worker.complete(&handle, b"r");
    client.expect_complete(&handle, b"r");
}

#[test]
fn a_reduce_job_with_an_empty_reducer_is_a_plain_job() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    client.send(kind::SUBMIT_REDUCE_JOB, &[b"f", b"u", b"", b"", b"x"]);
    client.created();
    worker.send(kind::GRAB_JOB_ALL, &[]);
    assert_eq!(worker.frame().kind, kind::JOB_ASSIGN_UNIQ);
}

#[test]
fn the_aggregator_of_a_reduce_job_is_not_part_of_its_payload() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    client.send(kind::SUBMIT_REDUCE_JOB_BACKGROUND, &[b"f", b"u", b"r", b"aggregator", b"x"]);
    client.created();
    let job = worker.grab_as(kind::GRAB_JOB_ALL).expect("the reduce job");
    assert_eq!((&job.reducer[..], &job.data[..]), (&b"r"[..], &b"x"[..]));
}

#[test]
fn many_submits_in_one_write_are_answered_one_by_one_in_order() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let mut all = Vec::new();
    for number in 0..1000 {
        let body = format!("f\0\0{number}");
        all.extend(crate::support::peer::request(kind::SUBMIT_JOB_BG, body.as_bytes()));
    }
    client.send_raw(&all);
    for number in 0..1000 {
        let handle = client.created();
        let job = worker.take_job();
        assert_eq!((job.handle, job.data), (handle, number.to_string().into_bytes()));
    }
}
