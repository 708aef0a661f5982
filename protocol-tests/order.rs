//! Replies come in the order of the requests; results after the handle they belong to.

use std::time::Duration;

use crate::support::peer::request;
use crate::support::{Peer, Server, kind, now};

#[test]
fn replies_of_every_kind_come_in_request_order() {
    let server = Server::start();
    let mut peer = server.connect();
    let mut all = Vec::new();
    for round in 0..100 {
        all.extend(request(kind::ECHO_REQ, format!("{round}").as_bytes()));
        all.extend(request(kind::SUBMIT_JOB_BG, b"f\0\0x"));
        all.extend(b"version\r\n");
        all.extend(request(kind::ALL_YOURS, b""));
        all.extend(request(kind::GET_STATUS, b"H:none:0"));
        all.extend(request(kind::OPTION_REQ, b"exceptions"));
        all.extend(b"nonsense\n");
        all.extend(request(kind::GRAB_JOB, b""));
    }
    peer.send_raw(&all);
    for round in 0..100 {
        peer.expect(kind::ECHO_RES, &[format!("{round}").as_bytes()]);
        peer.created();
        assert!(peer.line().starts_with("OK "));
        peer.expect_error("INVALID_COMMAND");
        assert_eq!(peer.frame().kind, kind::STATUS_RES);
        peer.expect(kind::OPTION_RES, &[b"exceptions"]);
        assert_eq!(peer.line(), "ERR UNKNOWN_COMMAND Unknown+server+commandnonsense\r\n");
        peer.expect(kind::NO_JOB, &[]);
    }
    peer.expect_nothing();
}

#[test]
fn a_handle_comes_before_everything_about_its_job_however_fast_the_worker_is() {
    let server = Server::start();
    let mut worker = server.connect();
    worker.can_do("f");
    let address = server.address();
    let working = std::thread::spawn(move || {
        for _ in 0..500 {
            let job = loop {
                worker.pre_sleep();
                worker.expect_noop();
                if let Some(job) = worker.grab() {
                    break job;
                }
            };
            worker.data(&job.handle, b"d");
            worker.complete(&job.handle, b"r");
        }
    });
    let mut client = crate::support::Peer::connect(address);
    for _ in 0..500 {
        let handle = client.submit("f", "", b"");
        client.expect_data(&handle, b"d");
        client.expect_complete(&handle, b"r");
    }
    working.join().expect("the worker served every job");
}

#[test]
fn a_connection_is_forgotten_before_the_server_closes_its_side() {
    // Many tests rely on it: who sees the end of a connection sees a server without it.
    let server = Server::start();
    let mut admin = server.connect();
    for _ in 0..200 {
        let mut worker = server.connect();
        worker.can_do("f");
        worker.leave();
        assert_eq!(admin.admin("workers").lines().count(), 2);
    }
}

#[test]
fn pipelined_submits_get_their_answers_in_order_also_when_some_are_refused() {
    let server = Server::start();
    let (mut client, mut admin) = (server.connect(), server.connect());
    admin.admin("create function full");
    admin.admin("maxqueue full 1");
    client.submit_bg("full", "", b"");
    let mut all = Vec::new();
    for _ in 0..50 {
        all.extend(request(kind::SUBMIT_JOB, b"f\0\0x"));
        all.extend(request(kind::SUBMIT_JOB_BG, b"full\0\0x"));
    }
    client.send_raw(&all);
    for _ in 0..50 {
        client.created();
        client.expect(kind::ERROR, &[b"QUEUE_ERROR", b"Job queue is full"]);
    }
}

#[test]
fn a_dialogue_cut_in_two_at_any_byte_is_the_same_dialogue() {
    let server = Server::start();
    let dialogue = mixed_dialogue();
    for cut in 0..=dialogue.len() {
        let mut peer = server.connect();
        peer.send_raw(&dialogue[..cut]);
        // Long enough, as a rule, for the server to read the first part by itself. If not, this cut tests less.
        peer.receive_until(now() + Duration::from_millis(1), |_| false);
        peer.send_raw(&dialogue[cut..]);
        expect_the_replies(&mut peer);
        peer.leave();
    }
}

#[test]
fn a_dialogue_sent_byte_by_byte_is_the_same_dialogue() {
    let server = Server::start();
    let mut peer = server.connect();
    for byte in mixed_dialogue() {
        peer.send_raw(&[byte]);
    }
    expect_the_replies(&mut peer);
}

#[test]
fn many_dialogues_in_one_write_are_the_same_dialogues() {
    let server = Server::start();
    let mut peer = server.connect();
    peer.send_raw(&mixed_dialogue().repeat(100));
    (0..100).for_each(|_| expect_the_replies(&mut peer));
}

/// Packets and lines of many kinds, as one run of bytes.
fn mixed_dialogue() -> Vec<u8> {
    [
        request(kind::SET_CLIENT_ID, b"me"),
        b"version\r\n".to_vec(),
        request(kind::CAN_DO, b"f"),
        request(kind::SUBMIT_JOB, b"f\0\0payload\0more"),
        b"nonsense\n".to_vec(),
        request(kind::GRAB_JOB_UNIQ, b""),
        request(kind::PRE_SLEEP, b""),
        request(kind::ECHO_REQ, b"\0REQ\0\0\0\x10\0\0\0\0version\n"),
        request(kind::SUBMIT_REDUCE_JOB, b"f\0\0reducer\0\0payload"),
        request(kind::GRAB_JOB_ALL, b""),
        request(kind::WORK_COMPLETE, b"H:none:1\0"),
        request(kind::ALL_YOURS, b""),
        b"maxqueue\n".to_vec(),
        request(kind::GET_STATUS_UNIQUE, b"none"),
        request(kind::CANT_DO, b"other"),
        b"\n".to_vec(),
        request(kind::ECHO_REQ, b""),
    ]
    .concat()
}

fn expect_the_replies(peer: &mut Peer) {
    assert!(peer.line().starts_with("OK "));
    let handle = peer.created();
    assert_eq!(peer.line(), "ERR UNKNOWN_COMMAND Unknown+server+commandnonsense\r\n");
    peer.expect(kind::JOB_ASSIGN_UNIQ, &[handle.as_bytes(), b"f", b"", b"payload\0more"]);
    peer.expect(kind::ECHO_RES, &[b"\0REQ\0\0\0\x10\0\0\0\0version\n"]);
    // The worker sleeps, so its own submit wakes it; the packet may stand on either side of the handle.
    let handle = match peer.frame() {
        noop if noop.kind == kind::NOOP => peer.created(),
        created => {
            peer.expect_noop();
            String::from_utf8(created.body).expect("a handle")
        }
    };
    peer.expect(kind::JOB_ASSIGN_ALL, &[handle.as_bytes(), b"f", b"", b"reducer", b"payload"]);
    peer.expect_error("JOB_NOT_FOUND");
    peer.expect_error("INVALID_COMMAND");
    assert!(peer.line().starts_with("ERR INVALID_ARGUMENTS"));
    peer.expect(kind::STATUS_RES_UNIQUE, &[b"none", b"0", b"0", b"0", b"0", b"0"]);
    assert_eq!(peer.line(), "ERR UNKNOWN_COMMAND Unknown+server+command\r\n");
    peer.expect(kind::ECHO_RES, &[b""]);
}
