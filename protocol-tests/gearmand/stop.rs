//! Signals, and what is left behind.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::signal::Signal;

use super::server::{Folder, wait_for};

#[test]
fn term_and_int_end_at_once_with_0_whoever_is_connected() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = Folder::new();
        let mut server = folder.start(&[]);
        let mut stream = server.connect();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        // End of file or a reset: closed either way.
        assert!(!matches!(stream.read(&mut [0; 16]), Ok(1..)));
        assert!(server.log().contains("Shutdown complete"), "{}", server.log());
    }
}

#[test]
fn the_pid_file_names_the_process_while_it_runs_and_is_gone_after_it() {
    let folder = Folder::new();
    folder.write("pid", "99999999 is stale\n");
    let mut server = folder.start(&[]);
    assert_eq!(folder.read("pid"), format!("{}\n", server.pid()));
    server.signal(Signal::SIGTERM);
    server.wait();
    assert!(!folder.path("pid").exists());
}

#[test]
fn a_pid_file_that_another_wrote_and_a_device_are_left_alone() {
    let folder = Folder::new();
    let mut server = folder.start(&[]);
    folder.write("pid", "1\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(folder.read("pid"), "1\n");

    // As root, gearmand would take the device away from everybody.
    let null = "/dev/null";
    std::fs::remove_file(folder.path("log")).unwrap();
    let mut server = folder.start_by(folder.command(&[
        "--listen=127.0.0.1",
        "--port=0",
        "--log-file=log",
        "--pid-file",
        null,
        "--verbose=INFO",
    ]));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(std::path::Path::new(null).exists());
}

#[test]
fn hup_opens_the_log_file_anew() {
    let folder = Folder::new();
    let mut server = folder.start(&[]);
    std::fs::rename(folder.path("log"), folder.path("log.1")).unwrap();
    server.signal(Signal::SIGHUP);
    wait_for("the new log file", || folder.read("log").contains("reopened").then_some(()));
    server.signal(Signal::SIGTERM);
    server.wait();
    assert!(folder.read("log").contains("Shutdown complete"));
    assert!(!folder.read("log.1").contains("Shutdown complete"));
}

#[test]
fn hup_keeps_the_old_log_where_no_new_one_can_be_opened() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("logs")).unwrap();
    std::os::unix::fs::symlink("logs/log", folder.path("log")).unwrap();
    let server = folder.start(&[]);
    std::fs::rename(folder.path("logs"), folder.path("moved")).unwrap();
    server.signal(Signal::SIGHUP);
    wait_for("the complaint", || folder.read("moved/log").contains("not reopened").then_some(()));
}

#[test]
fn usr1_ends_an_idle_server_with_0() {
    let folder = Folder::new();
    let mut server = folder.start(&[]);
    server.signal(Signal::SIGUSR1);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!folder.path("pid").exists());
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_server_goes_on_after_hup_and_a_broken_connection() {
    let folder = Folder::new();
    let mut server = folder.start(&[]);
    server.signal(Signal::SIGHUP);
    drop(server.connect());
    let mut stream = server.connect();
    stream.write_all(b"version\n").unwrap();
    assert!(server.is_running());
}
