//! `gearhouse submit`: what reaches the worker, and what the user gets to see.

use std::fs;
use std::io::{BufRead, BufReader};

use gearhouse::client::Client;
use gearhouse::protocol::{Frame, Kind};

use super::run::{eventually, finish, run};
use super::server::Server;

/// A worker by hand: takes one job of the function when there is one.
fn take(server: &Server, function: &str) -> (Client, Frame) {
    let mut client = server.client();
    client.send(Kind::CanDo, &[function.as_bytes()]).unwrap();
    let mut job = None;
    eventually("a job is there", || {
        let frame = client.ask(Kind::GrabJobAll, &[]).unwrap();
        job = (frame.kind != Kind::NoJob).then_some(frame);
        job.is_some()
    });
    (client, job.unwrap())
}

fn handle(job: &Frame) -> &[u8] {
    job.arguments().next().unwrap()
}

#[test]
fn the_result_comes_out_exactly_as_it_was() {
    let server = Server::start(&[]);
    let _worker = server.work("echo", &[], "cat");
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    assert_eq!(server.run_with(&["submit", "echo", "-"], &bytes).stdout, bytes);
    assert_eq!(server.run_with(&["submit", "echo"], &bytes).stdout, bytes);
    assert_eq!(server.run_with(&["submit", "echo", "typed"], &bytes).well(), "typed");
    assert_eq!(server.run(&["submit", "echo", ""]).well(), "");
}

#[test]
fn data_and_warnings_come_before_the_end() {
    let server = Server::start(&[]);
    let mut client = server.command(&["submit", "f", "x"]).spawn().unwrap();
    let (mut worker, job) = take(&server, "f");
    worker.send(Kind::WorkData, &[handle(&job), b"first\n"]).unwrap();
    let mut stdout = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    worker.send(Kind::WorkWarning, &[handle(&job), b"mind the gap"]).unwrap();
    worker.send(Kind::WorkStatus, &[handle(&job), b"1", b"2"]).unwrap();
    worker.send(Kind::WorkComplete, &[handle(&job), b"last"]).unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "last");
    let ended = finish(client);
    // Progress is for terminals only.
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), "mind the gap\n"));
}

#[test]
fn a_job_that_fails_ends_with_1_and_an_exception_is_shown() {
    let server = Server::start(&[]);
    let client = server.command(&["submit", "f", "x"]).spawn().unwrap();
    let (mut worker, job) = take(&server, "f");
    worker.send(Kind::WorkFail, &[handle(&job)]).unwrap();
    assert_eq!(finish(client).with_code(1), "error: the job failed\n");

    let client = server.command(&["submit", "f", "x"]).spawn().unwrap();
    let (mut worker, job) = take(&server, "f");
    worker.send(Kind::WorkException, &[handle(&job), b"no such picture"]).unwrap();
    assert_eq!(finish(client).with_code(1), "error: the job failed: no such picture\n");
}

#[test]
fn background_jobs_of_higher_priority_are_done_first() {
    let server = Server::start(&[]);
    for priority in ["low", "normal", "high"] {
        let handle = server.run(&["submit", "f", "--background", "--priority", priority, priority]).well();
        assert!(handle.starts_with("H:") && handle.ends_with('\n'), "{handle:?}");
    }
    for priority in ["high", "normal", "low"] {
        let (mut worker, job) = take(&server, "f");
        assert_eq!(job.arguments().last(), Some(priority.as_bytes()));
        worker.send(Kind::WorkComplete, &[handle(&job), b""]).unwrap();
    }
}

#[test]
fn foreground_jobs_have_priorities_too() {
    let server = Server::start(&[]);
    let mut clients = Vec::new();
    for (waiting, priority) in [(1, "low"), (2, "high")] {
        clients.push(server.command(&["submit", "f", "--priority", priority, priority]).spawn().unwrap());
        eventually("the job is queued", || server.jobs("f") == waiting);
    }
    for priority in ["high", "low"] {
        let (mut worker, job) = take(&server, "f");
        assert_eq!(job.arguments().last(), Some(priority.as_bytes()));
        worker.send(Kind::WorkComplete, &[handle(&job), b""]).unwrap();
    }
    clients.into_iter().for_each(|client| assert_eq!(finish(client).code, Some(0)));
}

#[test]
fn the_same_unique_id_joins_the_job_that_is_there() {
    let server = Server::start(&[]);
    let submit = |unique: &str| server.run(&["submit", "f", "--background", "--unique", unique, "x"]).well();
    let first = submit("order-7");
    assert_eq!(submit("order-7"), first);
    assert_ne!(submit("order-8"), first);
}

#[test]
fn a_job_for_later_waits_and_one_for_earlier_does_not() {
    let server = Server::start(&[]);
    server.run(&["submit", "later", "--at", "+1h", "x"]).well();
    let mut worker = server.client();
    worker.send(Kind::CanDo, &[b"later"]).unwrap();
    assert_eq!(worker.ask(Kind::GrabJob, &[]).unwrap().kind, Kind::NoJob);
    assert_eq!(server.jobs("later"), 1);
    server.run(&["submit", "now", "--at", "2020-01-01T00:00:00+01:00", "x"]).well();
    take(&server, "now");
}

#[test]
fn a_job_for_every_morning_is_listed_and_can_be_ended() {
    let server = Server::start(&[]);
    let handle = server.run(&["submit", "f", "--every", "30 8 * * Mon-Fri", "--unique", "u", "x"]).well();
    let handle = handle.trim_end();
    let listed = server.json(&["admin", "schedules"]);
    assert_eq!(listed[0]["handle"], handle);
    assert_eq!((&listed[0]["function"], &listed[0]["unique"]), (&"f".into(), &"u".into()));
    assert_eq!(listed[0]["fields"], "30 8 * * Mon-Fri");
    assert!(listed[0]["next"].as_u64().unwrap() > 1_700_000_000);
    assert!(server.run(&["admin", "schedules"]).well().contains("T08:30:00Z"));
    server.run(&["admin", "cancel", handle]).well();
    assert_eq!(server.json(&["admin", "schedules"]), serde_json::json!([]));
    let ended = server.run(&["submit", "f", "--every", "61 * * * *", "x"]);
    assert!(ended.with_code(2).contains("refused"), "{}", ended.stderr);
}

#[test]
fn a_reducer_reaches_the_worker() {
    let server = Server::start(&[]);
    server.run(&["submit", "f", "--background", "--reducer", "sum", "x\n"]).well();
    let (_worker, job) = take(&server, "f");
    let arguments: Vec<&[u8]> = job.arguments().skip(1).collect();
    assert_eq!(arguments, [&b"f"[..], b"", b"sum", b"x\n"]);
}

#[test]
fn each_line_becomes_a_job_and_one_that_fails_does_not_stop_the_others() {
    let server = Server::start(&[]);
    let _worker = server.work("f", &[], "read -r line; test \"$line\" != bad && printf %s \"<$line>\"");
    let ended = server.run_with(&["submit", "f", "--lines"], b"one\nbad\ntwo");
    assert!(ended.with_code(1).contains("1 of 3 jobs failed"), "{}", ended.stderr);
    assert_eq!(ended.stdout, b"<one>\n<two>\n");

    let handles = server.run_with(&["submit", "g", "--lines", "--background"], b"one\ntwo\n").well();
    assert_eq!((handles.lines().count(), server.jobs("g")), (2, 2));
}

#[test]
fn a_server_that_is_not_there_is_named_and_ends_with_2() {
    let address = {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        taken.local_addr().unwrap().to_string()
    };
    for command in [&["submit", "f", "x"][..], &["admin", "status"]] {
        let ended = run(&[command, &["--server", &address]].concat());
        assert!(ended.with_code(2).contains(&format!("cannot connect to the server at {address}")));
    }
    let ended = run(&["submit", "f", "x", "--server", "nowhere.invalid"]);
    assert!(ended.with_code(2).contains("nowhere.invalid:4730"), "{}", ended.stderr);
}

#[test]
fn a_full_queue_and_an_end_that_never_comes_end_with_2() {
    let server = Server::start(&[]);
    server.run(&["admin", "max-queue", "f", "1"]).well();
    let ended = server.run(&["submit", "f", "x", "--timeout", "200ms"]);
    assert!(ended.with_code(2).contains("no answer in time"), "{}", ended.stderr);
    server.run(&["submit", "f", "x", "--background"]).well();
    let ended = server.run(&["submit", "f", "x", "--background"]);
    assert!(ended.with_code(2).contains("Job queue is full"), "{}", ended.stderr);
}

#[test]
fn a_server_that_is_cut_off_while_a_job_is_waited_for_ends_with_2() {
    let mut server = Server::start(&[]);
    let client = server.command(&["submit", "f", "x"]).spawn().unwrap();
    eventually("the job is queued", || server.jobs("f") == 1);
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    assert!(finish(client).with_code(2).contains("closed the connection"));
}

#[test]
fn a_result_that_nobody_takes_is_no_success() {
    let server = Server::start(&[]);
    let _worker = server.work("f", &[], "echo result");
    let mut command = server.command(&["submit", "f", "x"]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let client = command.stdout(full).spawn().unwrap();
    assert!(finish(client).with_code(2).contains("cannot write the result"));
}
