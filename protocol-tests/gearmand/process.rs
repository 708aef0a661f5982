//! Limits and users.

use std::fs;

use nix::unistd::{User, geteuid};

use super::server::{Folder, stderr};

#[test]
fn root_becomes_the_user_and_its_log_and_pid_files_are_the_users() {
    let folder = Folder::new();
    if !geteuid().is_root() {
        let output = folder.run(&["-u", "nobody", "-p", "0", "-l", "log", "-P", "pid"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("only root"), "{}", stderr(&output));
        return;
    }
    let nobody = User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(&folder.path(""), Some(nobody.uid), Some(nobody.gid)).unwrap();
    let mut server = folder.start(&["--user=nobody", "--coredump"]);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    for (key, id) in [("Uid", nobody.uid.as_raw()), ("Gid", nobody.gid.as_raw())] {
        assert!(status.contains(&format!("{key}:\t{id}\t{id}\t{id}\t{id}\n")), "{status}");
    }
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    assert!(!groups.split_whitespace().any(|group| group == "0"), "root's groups are kept: {groups}");
    for file in ["log", "pid"] {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(folder.path(file)).unwrap().uid(), nobody.uid.as_raw(), "{file}");
    }
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!folder.path("pid").exists());
}

#[test]
fn a_file_the_user_could_not_write_is_not_written_by_root_for_it() {
    if !geteuid().is_root() {
        return; // There is no root to be led astray.
    }
    let folder = Folder::new();
    let output = folder.run(&["-u", "nobody", "-L", "127.0.0.1", "-p", "0", "-l", "log", "-P", "pid"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("log") && stderr(&output).contains("pid"), "{}", stderr(&output));
    assert!(!folder.path("log").exists() && !folder.path("pid").exists());
}

#[test]
fn an_unknown_user_is_refused() {
    let output = Folder::new().run(&["-u", "nobody-of-this-name", "-p", "0", "-l", "none", "-P", "pid"]);
    assert_eq!(output.status.code(), Some(1));
    let reason = if geteuid().is_root() { "nobody-of-this-name" } else { "only root" };
    assert!(stderr(&output).contains(reason), "{}", stderr(&output));
}

#[test]
fn limits_are_set_as_asked() {
    let folder = Folder::new();
    let server = folder.start(&["--file-descriptors=300", "--coredump"]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let soft = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(soft("Max open files"), "300");
    assert_ne!(soft("Max core file size"), "0");
}
