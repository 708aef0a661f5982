//! `--daemon`.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

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
struct Daemon<'a> {
    folder: &'a Folder,
    pid: u32,
}

impl<'a> Daemon<'a> {
    fn start(folder: &'a Folder) -> Self {
        Self::start_by(folder, &mut folder.command(&ARGS))
    }

    fn start_by(folder: &'a Folder, command: &mut Command) -> Self {
        // Before anything can fail, so that no daemon is left behind.
        let mut daemon = Self { folder, pid: 0 };
        let output = finish(command);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", stderr(&output));
        assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()));
        daemon.pid = daemon.pid_in_file().unwrap();
        daemon
    }

    fn pid_in_file(&self) -> Option<u32> {
        self.folder.read("pid").trim().parse().ok()
    }

    /// Where it listens, as its log tells; the log may come a moment later than the readiness.
    fn address(&self) -> SocketAddr {
        wait_for("the log", || listening(&self.folder.read("log")))
    }

    fn has_ended(&self) -> bool {
        // A zombie has ended too: whoever inherits it may not collect it.
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.is_empty() || status.contains("\nState:\tZ")
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if let Some(pid) = self.pid_in_file() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }
}

#[test]
fn it_is_ready_when_the_command_returns_with_0_and_detached_from_where_it_was_started() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    // No waiting: the address is bound, the pid file written.
    TcpStream::connect(daemon.address()).unwrap();
    let proc = format!("/proc/{}", daemon.pid);
    assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap().to_str(), Some("/"));
    for stream in ["0", "1", "2"] {
        assert_eq!(
            fs::read_link(format!("{proc}/fd/{stream}")).unwrap().to_str(),
            Some("/dev/null"),
            "{stream}"
        );
    }
    let pid = Pid::from_raw(daemon.pid as i32);
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "a session of its own");
    assert_eq!(fs::read_to_string(format!("{proc}/comm")).unwrap().trim(), "gearmand");
}

#[test]
fn relative_paths_mean_the_folder_it_was_started_in_also_after_rotation_and_at_the_end() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    fs::rename(folder.path("log"), folder.path("log.1")).unwrap();
    send_signal(daemon.pid, Signal::SIGHUP);
    wait_for("the new log file", || folder.read("log").contains("reopened").then_some(()));
    send_signal(daemon.pid, Signal::SIGTERM);
    wait_for("the end", || daemon.has_ended().then_some(()));
    assert!(!folder.path("pid").exists());
    assert!(folder.read("log").contains("Shutdown complete"));
}

#[test]
fn a_failure_to_start_reaches_who_started_it() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    let port = daemon.address().port().to_string();
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
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script, "sh"]).args(ARGS).current_dir(folder.path("")).stdin(Stdio::null());
        let daemon = Daemon::start_by(&folder, &mut command);
        assert!(!daemon.has_ended(), "{redirect}");
    }
}
