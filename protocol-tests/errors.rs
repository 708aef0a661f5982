//! Packets the server does not take, and what becomes of the connection.

use crate::support::peer::{packet, request};
use crate::support::{Server, kind};

#[test]
fn packets_that_only_servers_send_are_refused_and_the_connection_goes_on() {
    let server = Server::start();
    let mut peer = server.connect();
    let from_servers = [
        kind::NOOP,
        kind::JOB_CREATED,
        kind::NO_JOB,
        kind::JOB_ASSIGN,
        kind::ECHO_RES,
        kind::ERROR,
        kind::STATUS_RES,
        kind::ALL_YOURS,
        kind::OPTION_RES,
        kind::JOB_ASSIGN_UNIQ,
        kind::JOB_ASSIGN_ALL,
        kind::STATUS_RES_UNIQUE,
        5,
    ];
    for kind in from_servers {
        peer.send_raw(&request(kind, b"a\0b\0c\0d\0e\0f"));
        peer.expect(kind::ERROR, &[b"INVALID_COMMAND", b"Command not expected"]);
    }
}

#[test]
fn packets_of_no_known_type_or_magic_close_their_connection_and_no_other() {
    let server = Server::start();
    let mut good = server.connect();
    for bytes in [
        request(0, b""),
        request(43, b""),
        request(1000, b""),
        request(0x7fff_ffff, b"x"),
        packet(b"\0RES", 43, b""),
        packet(b"\0req", kind::ECHO_REQ, b""),
        b"\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    ] {
        let mut bad = server.connect();
        bad.send_raw(&bytes);
        bad.expect_closed();
        good.expect_nothing();
    }
}

#[test]
fn what_was_sent_before_a_bad_packet_is_still_done() {
    let server = Server::start();
    let (mut bad, mut worker) = (server.connect(), server.connect());
    bad.send_raw(&[request(kind::SUBMIT_JOB_BG, b"f\0\0x"), request(0, b"")].concat());
    bad.receive_until(crate::support::now() + crate::support::PATIENCE, |peer| peer.is_closed());
    worker.can_do("f");
    assert!(worker.grab().is_some());
}

#[test]
fn response_magic_is_refused_for_requests() {
    let server = Server::start();
    let mut peer = server.connect();
    for kind in [kind::ECHO_REQ, kind::GRAB_JOB, kind::NOOP] {
        peer.send_raw(&packet(b"\0RES", kind, b""));
        peer.expect(kind::ERROR, &[b"INVALID_MAGIC", b"Request magic expected"]);
    }
    peer.expect_nothing();
}

#[test]
fn a_unique_id_beyond_its_bound_is_refused_and_the_connection_goes_on() {
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let longest = vec![b'u'; 1024];
    client.send(kind::SUBMIT_JOB_BG, &[b"f", &longest, b"x"]);
    client.created();
    assert_eq!(worker.take_job().unique, longest);
    let too_long = vec![b'u'; 1025];
    let fields: &[&[u8]] = &[b"f", &too_long, b"x"];
    let reduce: &[&[u8]] = &[b"f", &too_long, b"r", b"", b"x"];
    let reducer: &[&[u8]] = &[b"f", b"u", &too_long, b"", b"x"];
    for (kind, arguments) in [
        (kind::SUBMIT_JOB, fields),
        (kind::SUBMIT_JOB_HIGH_BG, fields),
        (kind::SUBMIT_JOB_EPOCH, &[b"f", &too_long, b"1", b"x"]),
        (kind::SUBMIT_REDUCE_JOB, reduce),
        (kind::SUBMIT_REDUCE_JOB_BACKGROUND, reduce),
        (kind::SUBMIT_REDUCE_JOB, reducer),
    ] {
        client.send(kind, arguments);
        client.expect(kind::ERROR, &[b"ARGUMENT_TOO_LARGE", b"Unique value too large"]);
    }
    assert_eq!(worker.grab(), None);
}

#[test]
fn the_bound_of_unique_ids_can_be_gearmands() {
    let server = Server::serve(&["--max-unique", "64"]);
    let mut client = server.connect();
    client.submit_bg("f", &"u".repeat(64), b"");
    client.send(kind::SUBMIT_JOB_BG, &[b"f", &[b'u'; 65], b"d"]);
    client.expect(kind::ERROR, &[b"ARGUMENT_TOO_LARGE", b"Unique value too large"]);
}
