//! `--daemon`.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use super::server::{Folder, finish, listening, send_signal, stderr, stdout, wait_for};

const ARGS: [&str; 7] = [
    "--daemon",
    "--listen=127.0.0.1",
    "--port=0",
    "--log-file=log",
    "--pid-file=pid",
    "--verbose=INFO",
    "-R",
];

/// A daemon, ended with the test.
struct Daemon(u32);

impl Daemon {
    fn start(folder: &Folder) -> Self {
        let output = folder.run(&ARGS);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()));
        Self(folder.read("pid").trim().parse().unwrap())
    }

    /// Where it listens, as its log tells; the log may come a moment later than the readiness.
    fn address(folder: &Folder) -> SocketAddr {
        wait_for("the log", || listening(&folder.read("log")))
    }

    fn has_ended(&self) -> bool {
        // A zombie has ended too: whoever inherits it may not collect it.
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        status.is_empty() || status.contains("\nState:\tZ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0 as i32), Signal::SIGKILL);
    }
}

#[test]
fn it_is_ready_when_the_command_returns_with_0_and_detached_from_where_it_was_started() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    // No waiting: the address is bound, the pid file written.
    TcpStream::connect(Daemon::address(&folder)).unwrap();
    let proc = format!("/proc/{}", daemon.0);
    assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap().to_str(), Some("/"));
    for stream in ["0", "1", "2"] {
        assert_eq!(
            fs::read_link(format!("{proc}/fd/{stream}")).unwrap().to_str(),
            Some("/dev/null"),
            "{stream}"
        );
    }
    let pid = Pid::from_raw(daemon.0 as i32);
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "a session of its own");
    assert_eq!(fs::read_to_string(format!("{proc}/comm")).unwrap().trim(), "gearmand");
}

#[test]
fn relative_paths_mean_the_folder_it_was_started_in_also_after_rotation_and_at_the_end() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    fs::rename(folder.path("log"), folder.path("log.1")).unwrap();
    send_signal(daemon.0, Signal::SIGHUP);
    wait_for("the new log file", || folder.read("log").contains("reopened").then_some(()));
    send_signal(daemon.0, Signal::SIGTERM);
    wait_for("the end", || daemon.has_ended().then_some(()));
    assert!(!folder.path("pid").exists());
    assert!(folder.read("log").contains("Shutdown complete"));
}

#[test]
fn a_failure_to_start_reaches_who_started_it() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    let port = Daemon::address(&folder).port().to_string();
    for (args, reason) in [
        (["-p", &port, "-P", "pid2"], port.as_str()),
        (["-p", "0", "-P", "missing/pid"], "missing/pid"),
        (["-p", "abc", "-P", "pid2"], "abc"),
    ] {
        let mut all = vec!["-d", "-L", "127.0.0.1", "-l", "log2"];
        all.extend(args);
        let output = folder.run(&all);
        assert_eq!(output.status.code(), Some(1), "{all:?}");
        assert!(stderr(&output).contains(reason), "{all:?}: {}", stderr(&output));
    }
    assert!(!daemon.has_ended());
    assert!(!folder.path("pid2").exists());
}

#[test]
fn it_starts_where_standard_output_is_closed_or_broken() {
    for redirect in [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"] {
        let folder = Folder::new();
        let script = format!(r#"exec ./gearmand "$@" {redirect}"#);
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &script, "sh"]).args(ARGS).current_dir(folder.path("")).stdin(Stdio::null());
        assert_eq!(finish(&mut command).status.code(), Some(0), "{redirect}");
        let daemon = Daemon(folder.read("pid").trim().parse().unwrap());
        assert!(!daemon.has_ended(), "{redirect}");
    }
}
