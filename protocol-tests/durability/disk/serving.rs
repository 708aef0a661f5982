//! What a server does while its disk is full, fails or is slow, and what it has kept afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use super::server::Server;
use super::shim::Bench;
use crate::support::{Peer, eventually, kind};

/// All writes of the store's files find no room.
const FULL: &str = "WTAC 28 1 999999999";

/// All syncs fail.
const FAILING: &str = "b 5 1 999999999";

/// Syncs do not return.
const SLOW: &str = "b hang 1 999999999";

fn submit_bg(peer: &mut Peer, unique: &str) {
    peer.send(kind::SUBMIT_JOB_BG, &[b"kept", unique.as_bytes(), unique.as_bytes()]);
}

/// A worker takes all that waits: handles and payloads.
fn all_waiting(server: &Server) -> BTreeSet<(String, String)> {
    let mut worker = server.connect();
    worker.can_do("kept");
    let mut found = BTreeSet::new();
    while let Some(job) = worker.grab() {
        let is_new = found.insert((job.handle, String::from_utf8(job.data).unwrap()));
        assert!(is_new, "a job was handed out twice");
    }
    found
}

fn foreground_goes_on(server: &Server) {
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("at once");
    let handle = client.submit("at once", "", b"please");
    let job = worker.take_job();
    worker.complete(&job.handle, b"done");
    client.expect_complete(&handle, b"done");
    client.expect_nothing();
}

/// Submits until one is refused, which must be said in these words; gives what was acknowledged before.
fn refused_from_now_on(server: &Server, words: &str) -> BTreeSet<(String, String)> {
    let mut client = server.connect();
    let mut kept = BTreeSet::new();
    eventually("background jobs are refused", || {
        let unique = format!("before the refusal {}", kept.len());
        submit_bg(&mut client, &unique);
        let answer = client.frame();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.kind == kind::JOB_CREATED {
            kept.insert((text, unique));
            return None;
        }
        assert_eq!(answer.kind, kind::ERROR, "{answer:?}");
        assert!(text.starts_with("QUEUE_ERROR\0") && text.contains(words), "{text}");
        Some(())
    });
    kept
}

#[test]
fn a_full_disk_refuses_background_jobs_and_nothing_else_until_there_is_room() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let mut client = server.connect();
    let handle = client.submit_bg("kept", "first", b"first");
    let mut worker = server.connect();
    worker.can_do("kept");
    let running = worker.take_job();
    let second = client.submit_bg("kept", "second", b"second");

    // What was gathered when the disk filled up is kept with what was set aside for it; the shim lets nothing pass, so
    // here it waits.
    bench.fail(FULL);
    let mut early = server.connect();
    submit_bg(&mut early, "early");
    server.expect_log("is full");
    refused_from_now_on(&server, "disk is full");
    foreground_goes_on(&server);
    assert!(server.connect().admin("ready").contains("full"), "readiness says nothing of it");
    worker.complete(&running.handle, b"");
    worker.expect_nothing();
    assert_eq!(client.status(&handle).state(), (false, false), "a running job cannot finish");

    bench.relieve();
    let early_handle = early.created();
    server.expect_log("has room again");
    let last = client.submit_bg("kept", "last", b"last");
    drop(worker);
    server.kill();
    let server = Server::start(&bench);
    let expected = [(second, "second"), (early_handle, "early"), (last, "last")];
    let expected: BTreeSet<_> =
        expected.into_iter().map(|(handle, unique)| (handle, unique.to_owned())).collect();
    assert_eq!(all_waiting(&server), expected);
}

#[test]
fn a_server_on_a_full_disk_refuses_to_start_or_starts_with_what_was_set_aside() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let handle = server.connect().submit_bg("kept", "first", b"first");
    server.stop();
    bench.fail(FULL);
    let (status, log) = Server::refusal(&bench, &[]);
    assert!(!status.success() && log.contains("is full") && log.contains("free some space"), "{log}");
    // The first write only: what was set aside is given up, and then there is room.
    bench.fail("W 28 1 1");
    let server = Server::start(&bench);
    assert_eq!(all_waiting(&server), [(handle, "first".to_owned())].into());
    // And one that could set nothing aside starts, but takes no background jobs yet.
    server.stop();
    bench.fail("A 28 1 999999999");
    std::fs::remove_file(bench.store().join("reserve")).unwrap();
    let server = Server::start(&bench);
    server.expect_log("no room");
    assert!(refused_from_now_on(&server, "disk is full").is_empty());
    foreground_goes_on(&server);
    bench.relieve();
    server.expect_log("has room again");
    server.connect().submit_bg("kept", "second", b"second");
}

#[test]
fn a_server_that_is_told_to_end_while_it_reads_its_store_does_so_and_loses_nothing() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let handle = server.connect().submit_bg("kept", "first", b"first");
    server.kill();
    // The first sync is of what is set aside, before it listens; the others are of what is read.
    bench.fail("b hang 2 999999999");
    let mut server = Server::reading(&bench);
    let mut waiting = server.connect();
    submit_bg(&mut waiting, "too early");
    let ended = server.end();
    assert!(ended.success() && server.log().contains("stopped"), "{ended}: {}", server.log());
    waiting.expect_closed();
    bench.relieve();
    assert_eq!(all_waiting(&Server::start(&bench)), [(handle, "first".to_owned())].into());
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_operator_is_told() {
    for fault in [FAILING, "W 5 1 999999999"] {
        let bench = Bench::new();
        let server = Server::start(&bench);
        let mut client = server.connect();
        let kept = client.submit_bg("kept", "first", b"first");
        bench.fail(fault);
        let mut held = server.connect();
        submit_bg(&mut held, "held");
        held.expect_closed();
        server.expect_log("check the disk, then start the server again");
        // Also when the disk seems good again.
        bench.relieve();
        let acknowledged = refused_from_now_on(&server, "store failed");
        assert!(acknowledged.is_empty(), "acknowledged after a failure: {acknowledged:?}");
        foreground_goes_on(&server);
        assert!(server.connect().admin("ready").contains("failed"), "readiness says nothing of it");
        server.kill();
        let server = Server::start(&bench);
        let mut found = all_waiting(&server);
        // Nobody knows of this one; the client was not told that it is kept.
        found.retain(|(_, data)| data != "held");
        assert_eq!(found, [(kept, "first".to_owned())].into(), "{fault}");
        server.connect().submit_bg("kept", "again", b"again");
    }
}

#[test]
fn nothing_is_acknowledged_before_its_sync_has_returned_and_nobody_else_waits_for_it() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let mut client = server.connect();
    client.submit_bg("kept", "first", b"first");
    bench.fail(SLOW);
    submit_bg(&mut client, "slow");
    // Behind it on the same connection: these wait for their turn.
    client.send(kind::ECHO_REQ, &[b"behind"]);
    client.send(kind::SUBMIT_JOB, &[b"nobody does this", b"", b""]);
    let mut second = server.connect();
    submit_bg(&mut second, "as slow");
    for _ in 0..20 {
        foreground_goes_on(&server);
    }
    client.expect_silence(Duration::from_millis(300));
    second.expect_silence(Duration::from_millis(50));
    bench.relieve();
    let handle = client.created();
    assert_eq!(client.frame().kind, kind::ECHO_RES);
    assert_eq!(client.frame().kind, kind::JOB_CREATED);
    second.created();
    assert_eq!(client.status(&handle).state(), (true, false));
}
