//! `gearhouse admin`: tables for people, JSON for programs.

use gearhouse::protocol::Kind;
use serde_json::json;

use super::server::Server;

#[test]
fn functions_are_listed_with_their_jobs_and_workers() {
    let server = Server::start(&[]);
    let mut worker = server.client();
    worker.send(Kind::CanDo, &[b"resize"]).unwrap();
    for priority in ["high", "low", "low"] {
        server.run(&["submit", "resize", "--background", "--priority", priority, "x"]).well();
    }
    assert_eq!(worker.ask(Kind::GrabJob, &[]).unwrap().kind, Kind::JobAssign);
    server.run(&["admin", "create-function", "an-idle-one"]).well();

    let table = server.run(&["admin", "status"]).well();
    let expected = "\
FUNCTION     JOBS  RUNNING  WORKERS
an-idle-one     0        0        0
resize          3        1        1
";
    assert_eq!(table, expected);
    assert_eq!(server.status("resize"), json!({"function": "resize", "jobs": 3, "running": 1, "workers": 1}));
    let waiting = server.json(&["admin", "priority-status"]);
    assert_eq!(waiting[1], json!({"function": "resize", "high": 0, "normal": 0, "low": 2, "workers": 1}));
}

#[test]
fn connections_are_listed_with_what_their_workers_do() {
    let server = Server::start(&[]);
    let mut worker = server.client();
    worker.send(Kind::SetClientId, &[b"me"]).unwrap();
    worker.send(Kind::CanDo, &[b"g"]).unwrap();
    worker.send(Kind::CanDo, &[b"f"]).unwrap();
    worker.ask(Kind::EchoReq, &[b""]).unwrap();
    let list = server.json(&["admin", "workers"]);
    let connection = list.as_array().unwrap().iter().find(|entry| entry["id"] == "me").expect("the worker");
    assert_eq!((&connection["address"], &connection["functions"]), (&json!("127.0.0.1"), &json!(["f", "g"])));
    let table = server.run(&["admin", "workers"]).well();
    assert!(table.starts_with("CONNECTION  ADDRESS    ID  FUNCTIONS\n"), "{table}");
    assert!(table.contains("127.0.0.1  me  f g\n"), "{table}");
}

#[test]
fn jobs_are_listed_found_by_their_unique_id_and_cancelled() {
    let server = Server::start(&[]);
    let handle = server.run(&["submit", "f", "--background", "--unique", "order-7", "x"]).well();
    let handle = handle.trim_end();
    assert_eq!(
        server.json(&["admin", "jobs"]),
        json!([{"handle": handle, "retries": 0, "background": true}])
    );
    assert!(server.run(&["admin", "jobs"]).well().ends_with("yes\n"));
    assert_eq!(server.json(&["admin", "unique-jobs"]), json!([{"unique": "order-7"}]));
    let found = server.json(&["admin", "unique", "f", "order-7"]);
    assert_eq!(found, json!({"handle": handle, "state": "queued", "done": 0, "of": 0, "clients": 0}));

    assert_eq!(server.run(&["admin", "cancel", handle]).well(), "OK\n");
    assert_eq!(server.json(&["admin", "jobs"]), json!([]));
    assert_eq!(server.run(&["admin", "jobs"]).well(), "HANDLE  RETRIES  BACKGROUND\n");
}

#[test]
fn what_the_server_refuses_is_shown_and_ends_with_1() {
    let server = Server::start(&[]);
    server.run(&["submit", "f", "--background", "x"]).well();
    let cases: [(&[&str], &str); 4] = [
        (&["cancel", "H:nowhere:1"], "unknown job (UNKNOWN_JOB)"),
        (&["unique", "f", "none"], "unknown job (UNKNOWN_JOB)"),
        (&["drop-function", "g"], "function not found"),
        (&["drop-function", "f"], "there are still connected workers or executing clients"),
    ];
    for (args, why) in cases {
        let ended = server.run(&[&["admin"], args].concat());
        assert_eq!(ended.with_code(1), format!("error: the server refused: {why}\n"));
    }
}

#[test]
fn functions_are_made_limited_and_dropped() {
    let server = Server::start(&[]);
    assert_eq!(server.json(&["admin", "create-function", "f"]), json!({"ok": true}));
    let submit = || server.run(&["submit", "f", "--background", "x"]).code;
    server.run(&["admin", "max-queue", "f", "5", "1", "5"]).well();
    assert_eq!((submit(), submit()), (Some(0), Some(2)));
    server.run(&["admin", "max-queue", "f"]).well();
    assert_eq!(submit(), Some(0));
    assert!(
        server.run(&["admin", "max-queue", "f", "1", "2"]).with_code(2).contains("three: HIGH NORMAL LOW")
    );
    server.run(&["admin", "create-function", "g"]).well();
    server.run(&["admin", "drop-function", "g"]).well();
    assert_eq!(server.status("g"), json!(null));
}

#[test]
fn a_name_that_the_text_protocol_cannot_say_is_refused_not_cut() {
    let server = Server::start(&[]);
    for name in ["two words", "f\nshutdown", ""] {
        let ended = server.run(&["admin", "create-function", name]);
        assert!(ended.with_code(2).contains("cannot be said in the text protocol"), "{name:?}");
    }
    assert_eq!(server.json(&["admin", "status"]), json!([]));
}

#[test]
fn the_server_tells_its_version() {
    let server = Server::start(&[]);
    assert_eq!(server.run(&["admin", "version"]).well(), format!("{}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(server.json(&["admin", "version"]), json!({"version": env!("CARGO_PKG_VERSION")}));
}

#[test]
fn a_shutdown_ends_the_server_and_a_drain_does_its_jobs_first() {
    let mut server = Server::start(&[]);
    server.run(&["submit", "f", "x", "--background"]).well();
    server.run(&["admin", "shutdown"]).well();
    assert!(server.wait().success());

    let mut server = Server::start(&[]);
    server.run(&["submit", "f", "x", "--background"]).well();
    // No new connection is accepted later, so the worker is one that is there before.
    let mut worker = server.client();
    worker.send(Kind::CanDo, &[b"f"]).unwrap();
    server.run(&["admin", "shutdown", "--drain"]).well();
    server.logged("stopping");
    let job = worker.ask(Kind::GrabJob, &[]).unwrap();
    assert_eq!(job.kind, Kind::JobAssign);
    let handle = job.arguments().next().unwrap();
    worker.send(Kind::WorkComplete, &[handle, b""]).unwrap();
    assert!(server.wait().success());
}
