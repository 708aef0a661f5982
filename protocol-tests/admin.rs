//! The text commands.

use std::io::Read;

use crate::support::peer::Status;
use crate::support::{Server, kind};

#[test]
fn commands_may_be_in_any_case_with_either_line_end_and_blanks_behind() {
    let server = Server::start();
    let mut admin = server.connect();
    for line in ["status\n", "STATUS\r\n", "Status   \n", "status  \r\n"] {
        admin.send_text(line);
        assert_eq!(admin.reply(), ".\n", "{line:?}");
    }
    admin.expect_nothing();
}

#[test]
fn an_empty_line_and_a_leading_blank_are_unknown_commands() {
    let server = Server::start();
    let mut admin = server.connect();
    for line in ["\n", "\r\n", " status\n"] {
        admin.send_text(line);
        assert_eq!(admin.line(), "ERR UNKNOWN_COMMAND Unknown+server+command\r\n", "{line:?}");
    }
}

#[test]
fn commands_with_too_few_or_unknown_arguments_say_so() {
    let server = Server::start();
    let mut admin = server.connect();
    let incomplete = |command: &str| {
        format!("ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+{command}\r\n")
    };
    let unknown = |word: &str| format!("ERR UNKNOWN_COMMAND Unknown+server+command{word}\r\n");
    let show = || "ERR UNKNOWN_SHOW_ARGUMENTS\r\n".to_owned();
    let replies = [
        ("maxqueue", incomplete("maxqueue")),
        ("create", incomplete("create")),
        ("create function", incomplete("create")),
        ("create x y", incomplete("create")),
        ("create function a b", incomplete("create")),
        ("drop", incomplete("drop")),
        ("drop function", incomplete("drop")),
        ("drop x y", incomplete("drop")),
        ("drop function nosuch", "ERR function not found\r\n".to_owned()),
        ("cancel", unknown("cancel")),
        ("cancel job", unknown("cancel")),
        ("cancel job H:no:1", "ERR UNKNOWN_JOB\r\n".to_owned()),
        ("cancel x y", "ERR UNKNOWN_ERROR\r\n".to_owned()),
        ("cancel job a b", "ERR UNKNOWN_ERROR\r\n".to_owned()),
        ("show", unknown("show")),
        ("show x", show()),
        ("show unique", show()),
        ("show jobs extra", show()),
    ];
    for (command, reply) in replies {
        assert_eq!(admin.admin(command), reply, "{command}");
    }
    admin.expect_nothing();
}

#[test]
fn several_lines_in_one_write_are_answered_in_one_write() {
    // mod_gearman sends status and version together and reads both replies at once. gearmand's may part.
    let server = Server::gearhouse(&[]);
    let mut admin = server.connect();
    admin.send_text("status\nversion\n");
    let mut stream = admin.stream();
    let mut buffer = [0; 1000];
    let length = stream.read(&mut buffer).expect("a reply");
    let text = String::from_utf8_lossy(&buffer[..length]);
    assert!(text.starts_with(".\nOK ") && text.ends_with('\n'), "{text:?}");
}

#[test]
fn status_counts_waiting_running_and_workers() {
    let server = Server::start();
    let (mut client, mut worker, mut admin) = (server.connect(), server.connect(), server.connect());
    worker.can_do("f");
    worker.can_do("g");
    let handles = [(); 3].map(|()| client.submit_bg("f", "", b""));
    worker.settle();
    let count = |admin: &mut crate::support::Peer| {
        let status = admin.admin("status");
        status.lines().find(|line| line.starts_with("f\t")).expect("a line for f").to_owned()
    };
    assert_eq!(count(&mut admin), "f\t3\t0\t1");
    worker.take_job();
    worker.take_job();
    assert_eq!(count(&mut admin), "f\t3\t2\t1");
    worker.complete(&handles[0], b"");
    worker.fail(&handles[1]);
    worker.settle();
    assert_eq!(count(&mut admin), "f\t1\t0\t1");
    worker.leave();
    assert_eq!(count(&mut admin), "f\t1\t0\t0");
    assert!(admin.admin("status").contains("g\t0\t0\t0\n"));
}

#[test]
fn prioritystatus_counts_what_waits_by_priority() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    for (kind, count) in
        [(kind::SUBMIT_JOB_HIGH_BG, 3), (kind::SUBMIT_JOB_BG, 2), (kind::SUBMIT_JOB_LOW_BG, 1)]
    {
        (0..count).for_each(|_| drop(client.submit_as(kind, "f", "", b"")));
    }
    assert_eq!(server.admin("prioritystatus"), "f\t3\t2\t1\t0\n.\n");
    worker.can_do("f");
    worker.take_job();
    assert_eq!(server.admin("prioritystatus"), "f\t2\t2\t1\t1\n.\n");
}

#[test]
fn workers_lists_every_connection_with_what_it_can_do() {
    let server = Server::start();
    let (mut worker, mut admin) = (server.connect(), server.connect());
    worker.send(kind::SET_CLIENT_ID, &[b"me"]);
    worker.can_do("f");
    worker.can_do("g");
    worker.settle();
    let list = admin.admin("workers");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!((lines.len(), lines[lines.len() - 1]), (3, "."), "{list}");
    for line in &lines[..2] {
        let number = line.split(' ').next().unwrap_or("");
        assert!(number.parse::<i32>().is_ok(), "libraries read the first field as a number: {line}");
    }
    let of_worker = lines.iter().find(|line| line.contains(" me : ")).expect("the worker is listed");
    let (_, functions) = of_worker.split_once(" 127.0.0.1 me : ").expect("address and id");
    let mut functions: Vec<&str> = functions.split(' ').collect();
    functions.sort();
    assert_eq!(functions, ["f", "g"]);
    assert!(lines.iter().any(|line| line.ends_with(" 127.0.0.1 - :")), "the asking connection: {list}");
    worker.leave();
    assert_eq!(admin.admin("workers").lines().count(), 2);
}

#[test]
fn show_jobs_tells_retries_and_background() {
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    let foreground = client.submit("f", "a", b"");
    let background = client.submit_bg("f", "b", b"");
    worker.can_do("f");
    worker.take_job();
    worker.leave();
    let list = server.admin("show jobs");
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort();
    assert!(lines.contains(&format!("{foreground}\t1\t0\t0").as_str()), "{list}");
    assert!(lines.contains(&format!("{background}\t0\t0\t1").as_str()), "{list}");
    let uniques = server.admin("show unique jobs");
    let mut lines: Vec<&str> = uniques.lines().collect();
    lines.sort();
    assert_eq!(lines, [".", "a", "b"]);
}

#[test]
fn a_created_function_is_listed_and_a_dropped_one_is_not() {
    let server = Server::start();
    let mut admin = server.connect();
    assert_eq!(admin.admin("create function f"), "OK\r\n");
    assert_eq!(admin.admin("create function f"), "OK\r\n");
    assert_eq!(admin.admin("status"), "f\t0\t0\t0\n.\n");
    assert_eq!(admin.admin("drop function f"), "OK\r\n");
    assert_eq!(admin.admin("status"), ".\n");
    assert_eq!(admin.admin("drop function f"), "ERR function not found\r\n");
}

#[test]
fn a_function_with_workers_or_running_jobs_is_not_dropped() {
    let server = Server::start();
    let (mut client, mut worker, mut admin) = (server.connect(), server.connect(), server.connect());
    let busy = "ERR there are still connected workers or executing clients\r\n";
    worker.can_do("f");
    worker.settle();
    assert_eq!(admin.admin("drop function f"), busy);
    let handle = client.submit("f", "", b"");
    worker.take_job();
    assert_eq!(admin.admin("drop function f"), busy);
    worker.complete(&handle, b"");
    client.expect_complete(&handle, b"");
}

#[test]
fn maxqueue_limits_what_is_new_until_it_is_lifted() {
    let server = Server::start();
    let (mut client, mut admin) = (server.connect(), server.connect());
    admin.admin("create function f");
    assert_eq!(admin.admin("maxqueue f 2").trim_end(), "OK");
    client.submit_bg("f", "", b"");
    client.submit_as(kind::SUBMIT_JOB_LOW, "f", "", b"");
    for kind in [kind::SUBMIT_JOB_HIGH, kind::SUBMIT_JOB_BG, kind::SUBMIT_JOB_LOW_BG] {
        client.send(kind, &[b"f", b"", b""]);
        client.expect(kind::ERROR, &[b"QUEUE_ERROR", b"Job queue is full"]);
    }
    client.submit_bg("g", "", b"");
    assert_eq!(admin.admin("maxqueue f").trim_end(), "OK");
    client.submit_bg("f", "", b"");
}

#[test]
fn running_jobs_count_for_maxqueue() {
    let server = Server::start();
    let (mut client, mut worker, mut admin) = (server.connect(), server.connect(), server.connect());
    admin.admin("create function f");
    admin.admin("maxqueue f 1");
    let handle = client.submit_bg("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    client.send(kind::SUBMIT_JOB_BG, &[b"f", b"", b""]);
    client.expect_error("QUEUE_ERROR");
    worker.complete(&handle, b"");
    worker.settle();
    client.submit_bg("f", "", b"");
}

#[test]
fn a_job_that_comes_back_is_not_refused_by_maxqueue() {
    let server = Server::start();
    let (mut client, mut dies, mut lives) = (server.connect(), server.connect(), server.connect());
    server.admin("create function f");
    server.admin("maxqueue f 1");
    let handle = client.submit("f", "", b"");
    dies.can_do("f");
    dies.take_job();
    dies.leave();
    lives.can_do("f");
    assert_eq!(lives.take_job().handle, handle);
}

#[test]
fn a_cancelled_job_fails_for_every_client_that_waits_for_it() {
    let server = Server::start();
    let (mut a, mut b) = (server.connect(), server.connect());
    let handle = a.submit("f", "U", b"");
    b.submit("f", "U", b"");
    assert_eq!(server.admin(&format!("cancel job {handle}")), "OK\r\n");
    a.expect_fail(&handle);
    b.expect_fail(&handle);
}

#[test]
fn a_line_without_end_closes_its_connection() {
    let server = Server::start();
    let mut admin = server.connect();
    // Larger than the largest accepted line, smaller than what a socket takes at once.
    let _ = admin.try_send_raw(&[b'x'; 40_000]);
    admin.expect_closed();
}

#[test]
fn help_names_every_command() {
    let server = Server::gearhouse(&[]);
    let help = server.admin("help");
    for command in [
        "status",
        "prioritystatus",
        "workers",
        "show jobs",
        "show unique jobs",
        "show unique",
        "show schedules",
        "version",
        "verbose",
        "getpid",
        "maxqueue",
        "create function",
        "drop function",
        "cancel job",
        "shutdown",
    ] {
        assert!(help.contains(command), "{command} is missing in: {help}");
    }
}

#[test]
fn listings_are_sorted_by_name() {
    let server = Server::gearhouse(&[]);
    let mut admin = server.connect();
    for function in ["c", "a", "d", "b"] {
        admin.admin(&format!("create function {function}"));
    }
    let status = admin.admin("status");
    let names: Vec<&str> = status.lines().filter_map(|line| Some(line.split_once('\t')?.0)).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[test]
fn text_and_packets_share_a_worker_connection() {
    // abraxas asks for status and workers on the connection it works on.
    let server = Server::start();
    let (mut client, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let handle = client.submit("f", "", b"");
    worker.take_job();
    assert_eq!(worker.admin("status"), "f\t1\t1\t1\n.\n");
    assert_eq!(client.status(&handle).state(), Status::RUNNING);
    worker.complete(&handle, b"r");
    client.expect_complete(&handle, b"r");
}
