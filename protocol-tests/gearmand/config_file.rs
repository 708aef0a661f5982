//! The configuration file.

use std::process::Command;

use super::server::{Folder, debians, finish, free_port, stderr};

const FILES: &[&str] = &[
    "",
    "--port=4731\n",
    "--port 4731\n",
    "--port\n4731\n",
    "-p4731 -dR\n",
    "port=4731\n",
    "[gearmand]\nport = 4731\n",
    "# a comment that names --port=1\n--threads=2\n",
    "# a comment that names --port=1\n--port=2\n",
    "#--port=1\n--port=2\n",
    "words that mean nothing --port=4731 - more\n",
    "--port=4731 -- --unheard-of\n",
    "--unheard-of\n",
    "--unheard-of=1 --port=1\n",
    "-Z\n",
    "-RZ\n",
    "--port=1 --port=1\n",
    "--port=\n",
    "--port\n",
    "--verbose=loud\n",
    "--verbose\n",
    "--backlog=abc\n",
    "--daemon=1\n",
    "--hashtable-buckets=0\n",
    "--config-file=/nowhere/x\n",
    "--check-args\n",
    "--help\n",
    // Names may be cut here, where that leaves no doubt.
    "--rou --por=4731 --verb=INFO\n",
    "--keepalive\n",
    "--keep\n",
    "--keepalive-i=3\n",
    "--ssl\n",
    "--s\n",
    "--Round-robin\n",
    "--port -d\n",
    "--port --daemon\n",
];

#[test]
fn a_file_is_right_or_wrong_as_it_is_for_gearmand() {
    let folder = Folder::new();
    for content in FILES {
        folder.write("conf", content);
        let file = format!("--config-file={}", folder.path("conf").display());
        let theirs = finish(Command::new(debians()).args(["--check-args", &file]));
        let ours = folder.run(&["--check-args", &file]);
        assert_eq!(
            ours.status.code(),
            theirs.status.code(),
            "{content:?}: {}{}",
            stderr(&ours),
            stderr(&theirs)
        );
    }
}

#[test]
fn a_files_flags_are_used_and_the_command_line_wins() {
    let folder = Folder::new();
    let (one, other) = (free_port(), free_port());
    folder.write(
        "conf",
        format!("# how we run it\n-p {one}\t--listen=127.0.0.1\r\n--log-file=log --pid 'x --verbose=INFO\n"),
    );
    let server = folder.start_by(folder.command(&["--config-file=conf"]));
    assert_eq!(server.address.port(), one);
    drop(server);
    std::fs::remove_file(folder.path("log")).unwrap();
    let server = folder.start_by(folder.command(&["--config-file=conf", &format!("--port={other}")]));
    assert_eq!(server.address.port(), other);
}

#[test]
fn a_mistake_in_a_file_names_the_file_and_a_missing_file_is_one() {
    let folder = Folder::new();
    folder.write("conf", "--unheard-of");
    for (args, words) in [
        (["--config-file=conf"], ["conf", "--unheard-of"]),
        (["--config-file=missing.conf"], ["missing.conf", "No such file"]),
    ] {
        let output = folder.run(&args);
        assert_eq!(output.status.code(), Some(1));
        assert!(words.iter().all(|word| stderr(&output).contains(word)), "{}", stderr(&output));
    }
}
