//! How a server starts: addresses, log, environment, streams, and what it refuses.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::server::{Folder, Process, finish, free_port, listening, stderr, stdout, wait_for};

#[test]
fn it_starts_with_an_empty_environment_under_both_names() {
    let folder = Folder::new();
    // The folder's commands have nothing in their environment.
    drop(folder.start(&[]));
    std::fs::remove_file(folder.path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
    command.args([
        "gearmand",
        "--listen=127.0.0.1",
        "-p",
        "0",
        "-l",
        "log",
        "-P",
        "pid",
        "--verbose",
        "INFO",
    ]);
    command.env_clear().current_dir(folder.path(""));
    drop(folder.start_by(command));
}

#[test]
fn the_default_port_is_taken_from_the_environment_and_a_flag_goes_before_it() {
    let folder = Folder::new();
    let (one, other) = (free_port(), free_port());
    let base = ["--listen=127.0.0.1", "--log-file=log", "--pid-file=pid", "--verbose=INFO"];
    let mut command = folder.command(&base);
    command.env("GEARMAND_PORT", one.to_string());
    assert_eq!(folder.start_by(command).address.port(), one);

    std::fs::remove_file(folder.path("log")).unwrap();
    let mut command = folder.command(&base);
    command.args(["-p", &other.to_string()]).env("GEARMAND_PORT", one.to_string());
    assert_eq!(folder.start_by(command).address.port(), other);

    let mut command = folder.command(&base);
    let output = finish(command.env("GEARMAND_PORT", "abc"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("GEARMAND_PORT 'abc'"), "{}", stderr(&output));
}

#[test]
fn a_name_is_listened_on_at_all_its_addresses_and_no_name_means_all_of_them() {
    let folder = Folder::new();
    let port = free_port().to_string();
    for (listen, address) in [("localhost", "127.0.0.1:"), ("", "0.0.0.0:")] {
        let args = ["--listen", listen, "--port", &port, "-l", "log", "-P", "pid", "--verbose=INFO"];
        let server = folder.start_by(folder.command(&args));
        assert!(server.log().contains(&format!("Listening on {address}{port}")), "{}", server.log());
        TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        if std::net::TcpListener::bind("[::1]:0").is_ok() && listen.is_empty() {
            wait_for("the IPv6 socket", || TcpStream::connect(format!("[::1]:{port}")).ok());
        }
        drop(server);
        std::fs::remove_file(folder.path("log")).unwrap();
    }
}

#[test]
fn what_cannot_be_started_ends_with_1_and_says_why() {
    let folder = Folder::new();
    for (args, reason) in [
        (&["--port=abc"][..], "'abc'"),
        (&["--port=-1"], "'-1'"),
        (&["--port=65536"], "'65536'"),
        (&["--listen=nowhere.invalid"], "nowhere.invalid"),
        (&["--listen=203.0.113.7"], "203.0.113.7"),
        (&["--pid-file=missing/pid"], "missing/pid"),
        (&["--verbose=info"], "FATAL, ALERT"),
        (&["--job-retries=256"], "1 to 255"),
        (&["--job-retries=-2"], "1 to 255"),
        (&["--threads=-1"], "negative"),
        (&["--file-descriptors=18446744073709551615"], "limit of open files"),
        (&["--keepalive", "--keepalive-count=128"], "1 to 127"),
        (&["--job-handle-prefix=0123456789012345678901234567890123456789012"], "handles repeat"),
        (&["--job-handle-prefix=a b"], "blanks"),
        (&["--ssl"], "TLS proxy"),
        (&["--queue-type=libsqlite3", "--libsqlite3-db=x"], "gearhouse serve --data-dir"),
        (&["--queue-type=foo"], "builtin"),
        (&["--queue-type", ""], "builtin"),
        (&["--store-queue-on-shutdown"], "gearhouse serve --data-dir"),
        (&["--protocol=http"], "HTTP is not provided"),
        (&["--protocol=foo"], "no such protocol"),
    ] {
        for log in ["log", "none", "stderr"] {
            let mut all = vec!["--log-file", log];
            if !args.iter().any(|arg| arg.starts_with("--listen")) {
                all.push("--listen=127.0.0.1");
            }
            if !args.iter().any(|arg| arg.starts_with("--port")) {
                all.push("--port=0");
            }
            if !args.iter().any(|arg| arg.starts_with("--pid-file")) {
                all.push("--pid-file=pid");
            }
            all.extend(args);
            let output = folder.run(&all);
            assert_eq!(output.status.code(), Some(1), "{all:?}");
            assert!(stderr(&output).contains(reason), "{all:?}: {}", stderr(&output));
            assert_eq!(stderr(&output).lines().count(), 1, "{all:?}: {}", stderr(&output));
            assert!(!folder.path("pid").exists(), "{all:?}");
        }
    }
}

#[test]
fn an_address_in_use_ends_with_1_after_a_while() {
    let folder = Folder::new();
    let server = folder.start(&[]);
    let port = server.address.port().to_string();
    let output = folder.run(&["-L", "127.0.0.1", "-p", &port, "-l", "none", "-P", "other.pid"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("127.0.0.1:{port}")), "{}", stderr(&output));
    assert!(!folder.path("other.pid").exists());
}

#[test]
fn a_restart_waits_for_the_old_server_to_let_go_of_the_address() {
    let folder = Folder::new();
    let mut old = folder.start(&[]);
    let port = old.address.port().to_string();
    let other = Folder::new();
    let args = ["-L", "127.0.0.1", "-p", &port, "-l", "log", "-P", "pid", "--verbose=INFO"];
    let mut new = Process::start(&mut other.command(&args));
    old.signal(Signal::SIGTERM);
    assert_eq!(old.wait().code(), Some(0));
    wait_for("the new server", || listening(&other.read("log")));
    new.signal(Signal::SIGTERM);
    assert_eq!(new.wait().code(), Some(0));
}

#[test]
fn a_flag_that_changes_nothing_is_told_once_in_the_log_at_any_level() {
    let folder = Folder::new();
    let server = folder.start(&["--hashtable-buckets=3", "--mysql-host=db", "-R", "--keepalive-idle", "60"]);
    for flag in ["--hashtable-buckets", "--mysql-host", "--keepalive-idle"] {
        assert_eq!(server.log().matches(flag).count(), 1, "{flag}:\n{}", server.log());
    }
    assert!(!server.log().contains("--round-robin"), "{}", server.log());
    drop(server);

    let log = folder.path("quiet").display().to_string();
    let args =
        ["-L", "127.0.0.1", "-p", "0", "-l", &log, "-P", "pid2", "--verbose=FATAL", "--hashtable-buckets=3"];
    let _process = Process::start(&mut folder.command(&args));
    wait_for("the note", || folder.read("quiet").contains("--hashtable-buckets").then_some(()));
}

#[test]
fn a_log_file_that_cannot_be_opened_is_told_and_replaced_by_stderr() {
    let folder = Folder::new();
    let args = ["-L", "127.0.0.1", "-p", "0", "-l", "missing/log", "-P", "pid", "--verbose=INFO"];
    let mut process = Process::start(folder.command(&args).stderr(Stdio::piped()));
    wait_for("the pid file", || folder.path("pid").exists().then_some(()));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    let said = process.stderr();
    assert!(said.contains("missing/log") && said.contains("Listening on"), "{said}");
}

#[test]
fn log_lines_look_like_gearmands() {
    let folder = Folder::new();
    let server = folder.start(&[]);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("Listening")).unwrap();
    // `   INFO 2026-11-25 10:16:21.000000 [  main ] Listening on 127.0.0.1:4730`
    assert!(line.starts_with("   INFO 20"), "{line}");
    let shape: String =
        line[8..34].chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    assert_eq!(shape, "0000-00-00 00:00:00.000000");
    assert!(line[34..].starts_with(" [  main ] Listening on 127.0.0.1:"), "{line}");
}

#[test]
fn help_and_version_are_printed_on_standard_output() {
    let folder = Folder::new();
    let version = folder.run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let words: Vec<_> = stdout(&version).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[0], "gearmand");
    assert!(words[1].starts_with("1.1.20+gearhouse."), "{words:?}");
    assert_eq!(stdout(&folder.run(&["-V"])), stdout(&version));
    let help = folder.run(&["-h"]);
    assert_eq!((help.status.code(), stderr(&help)), (Some(0), String::new()));
    assert!(stdout(&help).contains("--worker-wakeup"));
}

#[test]
fn streams_that_cannot_be_written_do_no_harm() {
    let folder = Folder::new();
    let streams: [fn() -> Stdio; 2] = [broken_pipe, full_device];
    for flag in ["--help", "--version"] {
        for stream in streams {
            let status = folder.command(&[flag]).stdout(stream()).status().unwrap();
            assert_eq!(status.code(), Some(0), "{flag}");
        }
    }
    let args = ["-L", "127.0.0.1", "-p", "0", "-l", "stderr", "-P", "pid", "--verbose=DEBUG"];
    let mut closed = Command::new("/bin/sh");
    closed.args(["-c", r#"exec ./gearmand "$@" <&- >&- 2>&-"#, "sh"]).args(args).current_dir(folder.path(""));
    let mut commands = vec![closed];
    for stream in streams {
        let mut command = folder.command(&args);
        command.stdout(stream()).stderr(stream());
        commands.push(command);
    }
    for command in &mut commands {
        let mut process = Process::start(command);
        wait_for("the pid file", || folder.read("pid").ends_with('\n').then_some(()));
        process.signal(Signal::SIGHUP);
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait().code(), Some(0), "{command:?}");
        assert!(!folder.path("pid").exists());
    }
}

fn broken_pipe() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

fn full_device() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn syslog_that_is_not_there_does_no_harm() {
    let folder = Folder::new();
    let mut server = folder.start(&["--syslog"]);
    server.signal(Signal::SIGHUP);
    wait_for("the log", || server.log().contains("reopened").then_some(()));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
