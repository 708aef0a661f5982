//! `gearhouse work`: how a command becomes a worker, and how it ends.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use gearhouse::protocol::Kind;
use nix::sys::signal::Signal;

use super::run::{Running, eventually, finish, text};
use super::server::Server;

/// A script that marks that it runs, and goes on when it may, or when the test is over.
fn gate(files: &Path) -> String {
    let dir = text(files);
    format!("touch {dir}/begun; until test -e {dir}/go || ! test -e {dir}; do sleep 0.01; done; ")
}

#[test]
fn the_payload_goes_in_and_the_output_comes_out_whatever_its_size() {
    let server = Server::start(&[]);
    let _worker = server.work("f", &[], "cat");
    let payload = vec![b'x'; 5 << 20];
    assert!(server.run_with(&["submit", "f"], &payload).stdout == payload);
    // One that does not read what it is given is as good.
    let _worker = server.work("deaf", &[], "echo done");
    assert_eq!(server.run_with(&["submit", "deaf"], &payload).well(), "done\n");
}

#[test]
fn the_exit_code_decides_between_success_and_failure() {
    let server = Server::start(&[]);
    let _worker = server.work("f", &[], "read -r how; echo output; eval \"$how\"");
    assert_eq!(server.run(&["submit", "f", "exit 0"]).well(), "output\n");
    for failure in ["exit 1", "exit 255", "kill -9 $$"] {
        let ended = server.run(&["submit", "f", failure]);
        assert_eq!(ended.with_code(1), "error: the job failed\n", "{failure}");
        assert_eq!(ended.stdout, b"", "{failure}");
    }
}

#[test]
fn the_command_finds_its_job_in_its_environment() {
    let server = Server::start(&[]);
    let script = "echo $GEARHOUSE_JOB_FUNCTION $GEARHOUSE_JOB_UNIQUE $GEARHOUSE_JOB_HANDLE";
    let _worker = server.work("f", &[], script);
    let told = server.run(&["submit", "f", "x", "--unique", "order-7"]).well();
    assert!(told.starts_with("f order-7 H:"), "{told}");
}

#[test]
fn output_comes_at_once_where_it_is_streamed() {
    let server = Server::start(&[]);
    let files = tempfile::tempdir().unwrap();
    let script = format!("echo first; {} echo second", gate(files.path()));
    let _worker = server.work("f", &["--stream"], &script);
    let mut client = server.client();
    client.ask(Kind::SubmitJob, &[b"f", b"", b""]).unwrap();
    let first = client.receive().unwrap();
    assert_eq!((first.kind, first.arguments().last()), (Kind::WorkData, Some(&b"first\n"[..])));
    fs::write(files.path().join("go"), "").unwrap();
    let second = client.receive().unwrap();
    assert_eq!((second.kind, second.arguments().last()), (Kind::WorkData, Some(&b"second\n"[..])));
    let end = client.receive().unwrap();
    assert_eq!((end.kind, end.arguments().last()), (Kind::WorkComplete, Some(&b""[..])));
}

#[test]
fn so_many_jobs_are_done_at_once() {
    let server = Server::start(&[]);
    let files = tempfile::tempdir().unwrap();
    // Each of the two waits for the other to run.
    let dir = text(files.path());
    let script =
        format!("read -r me other; touch {dir}/$me; until test -e {dir}/$other; do sleep 0.01; done");
    let _worker = server.work("f", &["--jobs", "2"], &script);
    let clients = ["a b", "b a"].map(|data| server.command(&["submit", "f", data]).spawn().unwrap());
    clients.into_iter().for_each(|client| assert_eq!(finish(client).code, Some(0)));
}

#[test]
fn a_worker_with_a_count_ends_after_so_many_jobs() {
    let server = Server::start(&[]);
    for _ in 0..6 {
        server.run(&["submit", "f", "--background", "x"]).well();
    }
    assert!(server.work("f", &["--count", "2"], "true").wait().success());
    assert_eq!(server.jobs("f"), 4);
    assert!(server.work("f", &["--count", "3", "--jobs", "2"], "true").wait().success());
    assert_eq!(server.jobs("f"), 1);
}

#[test]
fn a_worker_that_sleeps_ends_at_the_first_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start(&[]);
        let mut worker = server.work("f", &["--jobs", "3"], "true");
        eventually("it is there", || server.status("f")["workers"] == 3);
        worker.signal(signal);
        assert!(worker.wait().success());
    }
}

#[test]
fn a_worker_that_is_told_to_end_first_finishes_its_job_and_takes_no_other() {
    let server = Server::start(&[]);
    let files = tempfile::tempdir().unwrap();
    let said = files.path().join("said");
    let script = format!("{} echo done", gate(files.path()));
    let mut command = server.command(&["work", "f", "--", "sh", "-c", &script]);
    let mut worker = Running::with_stderr(&mut command, fs::File::create(&said).unwrap());
    let first = server.command(&["submit", "f", "1"]).spawn().unwrap();
    eventually("the job runs", || files.path().join("begun").exists());
    server.run(&["submit", "f", "2", "--background"]).well();
    worker.signal(Signal::SIGTERM);
    // A signal takes a moment to be noticed, in which the worker may take a job.
    let is_noticed = || fs::read_to_string(&said).unwrap().contains("jobs to finish: 1");
    eventually("the worker notices", is_noticed);
    assert!(worker.is_running());
    fs::write(files.path().join("go"), "").unwrap();
    assert_eq!(finish(first).well(), "done\n");
    assert!(worker.wait().success());
    assert_eq!(server.jobs("f"), 1);
}

#[test]
fn a_second_signal_ends_a_worker_at_once_and_its_job_is_not_lost() {
    let server = Server::start(&[]);
    let files = tempfile::tempdir().unwrap();
    let script = format!("echo $$ > {}/pid; {}", text(files.path()), gate(files.path()));
    let mut worker = server.work("f", &[], &script);
    server.run(&["submit", "f", "x", "--background"]).well();
    eventually("the job runs", || files.path().join("begun").exists());
    let pid = fs::read_to_string(files.path().join("pid")).unwrap();
    worker.signal(Signal::SIGTERM);
    eventually("a second signal ends it", || {
        if worker.is_running() {
            worker.signal(Signal::SIGTERM);
        }
        !worker.is_running()
    });
    assert!(!worker.wait().success());
    eventually("the job is back", || server.status("f")["running"] == 0);
    assert_eq!(server.jobs("f"), 1);
    let command = Path::new("/proc").join(pid.trim());
    eventually("the command is gone", || !command.exists() || is_zombie(&command));
}

/// Ended, but not yet noticed by whoever inherited it.
fn is_zombie(process: &Path) -> bool {
    fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn a_command_that_takes_too_long_is_killed_and_its_job_done_again() {
    let server = Server::start(&[]);
    let files = tempfile::tempdir().unwrap();
    let first = files.path().join("first");
    let script = format!("if test -e {0}; then echo again; else touch {0}; sleep 600; fi", text(&first));
    let _worker = server.work("f", &["--timeout", "1s"], &script);
    assert_eq!(server.run(&["submit", "f", "x"]).well(), "again\n");
}

#[test]
fn a_command_that_cannot_be_run_ends_the_worker_and_its_job_is_not_lost() {
    let server = Server::start(&[]);
    server.run(&["submit", "f", "x", "--background"]).well();
    let ended = server.run(&["work", "f", "--", "/nowhere/command"]);
    assert!(ended.with_code(2).contains("cannot run /nowhere/command"), "{}", ended.stderr);
    eventually("the job is back", || server.status("f")["running"] == 0);
    assert_eq!(server.jobs("f"), 1);
}

#[test]
fn a_worker_comes_back_when_the_server_does() {
    let address = {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        taken.local_addr().unwrap().to_string()
    };
    let start = || Server::from(&mut super::run::gearhouse(&["serve", "--listen", &address]));
    let mut server = start();
    // Nobody reads what it says meanwhile, which must not end it.
    let (_, unread) = std::io::pipe().unwrap();
    let _worker = Running::with_stderr(&mut server.command(&["work", "f", "--", "echo", "done"]), unread);
    assert_eq!(server.run(&["submit", "f", "x"]).well(), "done\n");
    server.signal(Signal::SIGKILL);
    server.wait();
    let server = start();
    assert_eq!(server.run(&["submit", "f", "x"]).well(), "done\n");
}
