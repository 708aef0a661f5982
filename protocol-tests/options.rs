//! OPTION_REQ, SET_CLIENT_ID, and exceptions.

use crate::support::{Server, kind};

#[test]
fn an_exception_reaches_those_who_asked_for_it_and_is_a_failure_to_the_others() {
    let server = Server::start();
    let (mut asked, mut did_not, mut worker) = (server.connect(), server.connect(), server.connect());
    asked.send(kind::OPTION_REQ, &[b"exceptions"]);
    asked.expect(kind::OPTION_RES, &[b"exceptions"]);
    let handle = asked.submit("f", "U", b"");
    did_not.submit("f", "U", b"");
    worker.can_do("f");
    worker.take_job();
    worker.exception(&handle, b"boom\0boom");
    asked.expect(kind::WORK_EXCEPTION, &[handle.as_bytes(), b"boom\0boom"]);
    assert_eq!(did_not.frame().kind, kind::WORK_FAIL);
    worker.expect_nothing();
}

#[test]
fn exceptions_may_be_asked_for_after_the_submit() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    client.send(kind::OPTION_REQ, &[b"EXCEPTIONS"]);
    client.expect(kind::OPTION_RES, &[b"EXCEPTIONS"]);
    worker.exception(&handle, b"boom");
    client.expect(kind::WORK_EXCEPTION, &[handle.as_bytes(), b"boom"]);
}

#[test]
fn the_flag_exceptions_is_the_option_for_every_connection() {
    let server = Server::with_flags(&["--exceptions"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    worker.exception(&handle, b"boom");
    client.expect(kind::WORK_EXCEPTION, &[handle.as_bytes(), b"boom"]);
}

#[test]
fn the_name_of_an_option_comes_back_byte_for_byte_with_its_trailing_zero() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(kind::OPTION_REQ, &[b"exceptions", b""]);
    client.expect(kind::OPTION_RES, &[b"exceptions", b""]);
}

#[test]
fn an_unknown_option_is_an_error_and_the_connection_goes_on() {
    let server = Server::start();
    let mut client = server.connect();
    for option in ["", "exception", "exceptionss", &"x".repeat(100)] {
        client.send(kind::OPTION_REQ, &[option.as_bytes()]);
        client.expect(kind::ERROR, &[b"UNKNOWN_OPTION", b"Server does not recognize given option"]);
    }
}

#[test]
fn the_last_client_id_is_the_one_that_is_listed() {
    let server = Server::start();
    let mut worker = server.connect();
    worker.can_do("f");
    for id in ["first", "second"] {
        worker.send(kind::SET_CLIENT_ID, &[id.as_bytes()]);
    }
    worker.expect_nothing();
    let workers = server.admin("workers");
    assert!(workers.contains(" 127.0.0.1 second : f\n"), "{workers}");
    assert!(!workers.contains("first"), "{workers}");
}

#[test]
fn a_client_id_is_cut_at_127_bytes_when_listed() {
    let server = Server::start();
    let mut worker = server.connect();
    worker.send(kind::SET_CLIENT_ID, &[&[b'x'; 500]]);
    worker.expect_nothing();
    let workers = server.admin("workers");
    assert!(workers.contains(&format!(" {} :", "x".repeat(127))), "{workers}");
}

#[test]
fn a_client_id_with_blanks_cannot_break_the_listing() {
    let server = Server::gearhouse(&[]);
    let mut worker = server.connect();
    worker.send(kind::SET_CLIENT_ID, &[b"a b\nc\td"]);
    worker.expect_nothing();
    let workers = server.admin("workers");
    for line in workers.lines().filter(|line| *line != ".") {
        assert_eq!(line.split(' ').nth(3), Some(":"), "the fourth field must be the colon: {workers:?}");
    }
}
