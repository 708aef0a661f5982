//! `gearhouse serve`: what it is told, from where, and how it ends.

use std::fs;
use std::net::TcpListener;

use gearhouse::protocol::Kind;
use nix::sys::signal::Signal;

use super::run::{end, eventually, gearhouse, run, text};
use super::server::Server;

/// The prefix of the handles that a server makes.
fn prefix(server: &Server) -> String {
    let handle = server.run(&["submit", "f", "--background", "x"]).well();
    handle.rsplit_once(':').expect("a handle").0.to_owned()
}

#[test]
fn the_command_line_counts_before_the_environment_and_that_before_the_file() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("gearhouse.toml");
    fs::write(&file, "listen = [\"127.0.0.1:0\"]\nhandle-prefix = \"file\"\n").unwrap();

    let mut command = gearhouse(&["serve", "--config", text(&file)]);
    assert_eq!(prefix(&Server::from(&mut command)), "file");
    command.env("GEARHOUSE_OPT_HANDLE_PREFIX", "environment");
    assert_eq!(prefix(&Server::from(&mut command)), "environment");
    command.args(["--handle-prefix", "typed"]);
    assert_eq!(prefix(&Server::from(&mut command)), "typed");
}

#[test]
fn gearhouse_alone_serves_with_what_the_environment_says() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("gearhouse.toml");
    fs::write(&file, "handle-prefix = \"file\"\n").unwrap();
    let mut command = gearhouse(&[]);
    command.env("GEARHOUSE_OPT_LISTEN", "127.0.0.1:0").env("GEARHOUSE_OPT_CONFIG", &file);
    let server = Server::from(&mut command);
    assert_eq!(prefix(&server), "file");
}

#[test]
fn variables_of_container_platforms_mean_nothing() {
    let mut command = gearhouse(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("GEARHOUSE_PORT", "tcp://10.0.0.1:4730").env("GEARHOUSE_SERVICE_HOST", "10.0.0.1");
    let server = Server::from(&mut command);
    assert_eq!(server.run(&["admin", "ping"]).well(), "OK\n");
    assert_eq!(server.run(&["admin", "ready"]).well(), "OK\n");
}

#[test]
fn every_address_that_was_asked_for_is_listened_on_and_logged() {
    let mut command = gearhouse(&["serve"]);
    command.env("GEARHOUSE_OPT_LISTEN", "127.0.0.1:0,127.0.0.2:0");
    let server = Server::from(&mut command);
    server.logged("listening on 127.0.0.1:");
    let line = server.logged("listening on 127.0.0.2:");
    let (_, second) = line.split_once("listening on ").unwrap();
    assert_eq!(server.run(&["admin", "ping", "--server", second]).well(), "OK\n");
}

#[test]
fn a_port_that_is_taken_ends_with_exit_code_1_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["serve", "--store", "memory", "--listen", &address]);
    assert!(ended.with_code(1).contains(&format!("cannot listen on {address}")), "{}", ended.stderr);
}

#[test]
fn a_wrong_key_in_the_file_is_named_with_file_and_line() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("gearhouse.toml");
    fs::write(&file, "\nmax-fram = 1\n").unwrap();
    let ended = run(&["serve", "--config", text(&file)]);
    let said = ended.with_code(2);
    assert!(said.contains(text(&file)) && said.contains("line 2") && said.contains("max-fram"), "{said}");
}

#[test]
fn a_directory_for_the_memory_store_is_refused_wherever_it_is_said() {
    let files = tempfile::tempdir().unwrap();
    let memory = ["serve", "--store", "memory"];
    let ended = run(&[&memory[..], &["--data-dir", text(files.path())]].concat());
    assert!(ended.with_code(2).contains("keeps nothing on disk"), "{}", ended.stderr);
    let ended = end(gearhouse(&memory).env("GEARHOUSE_OPT_DATA_DIR", files.path()), b"");
    assert!(ended.with_code(2).contains("keeps nothing on disk"), "{}", ended.stderr);
}

#[test]
fn an_option_reaches_the_server() {
    let server = Server::start(&["--max-unique", "8", "--exceptions"]);
    let ended = server.run(&["submit", "f", "x", "--unique", "123456789"]);
    assert!(ended.with_code(2).contains("Unique value too large"), "{}", ended.stderr);
}

#[test]
fn sigterm_lets_the_running_job_end_and_tells_its_client() {
    let files = tempfile::tempdir().unwrap();
    let (begun, go) = (files.path().join("begun"), files.path().join("go"));
    let mut server = Server::start(&[]);
    let script =
        format!("touch {}; until test -e {}; do sleep 0.01; done; echo late", text(&begun), text(&go));
    let _worker = server.work("slow", &[], &script);
    let client = server.command(&["submit", "slow", "x"]).spawn().unwrap();
    eventually("the job runs", || begun.exists());
    server.signal(Signal::SIGTERM);
    server.logged("stopping");
    fs::write(&go, "").unwrap();
    assert_eq!(super::run::finish(client).well(), "late\n");
    assert!(server.wait().success());
}

#[test]
fn sigusr1_first_hands_out_what_is_queued() {
    let mut server = Server::start(&[]);
    for _ in 0..3 {
        server.run(&["submit", "later", "--background", "x"]).well();
    }
    let mut client = server.client();
    client.send(Kind::CanDo, &[b"later"]).unwrap();
    // Accepted, and not only connected: the socket that listens goes at once.
    client.ask(Kind::EchoReq, &[b"here"]).unwrap();
    server.signal(Signal::SIGUSR1);
    server.logged("stopping");
    for _ in 0..3 {
        let job = client.ask(Kind::GrabJob, &[]).unwrap();
        assert_eq!(job.kind, Kind::JobAssign);
        let handle = job.arguments().next().unwrap();
        client.send(Kind::WorkComplete, &[handle, b""]).unwrap();
    }
    assert!(server.wait().success());
}

#[test]
fn the_log_can_be_json_and_as_quiet_as_wished() {
    let server = Server::start(&["--log-format", "json"]);
    let line = server.logged("listening on");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(line.to_string().contains("listening on 127.0.0.1:"), "{line}");
    let level = |server: &Server| server.client().line(b"verbose").unwrap();
    assert_eq!(level(&server), "OK INFO");
    assert_eq!(level(&Server::start(&["--log-level", "debug"])), "OK DEBUG");
}

#[test]
fn the_log_file_is_opened_anew_on_sighup() {
    let files = tempfile::tempdir().unwrap();
    let (log, moved) = (files.path().join("log"), files.path().join("log.1"));
    let memory = ["serve", "--store", "memory"];
    let mut command =
        gearhouse(&[&memory[..], &["--listen", "127.0.0.1:0", "--log-file", text(&log)]].concat());
    let mut server = super::run::Running::start(&mut command);
    let wrote = |path| fs::read_to_string(path).unwrap_or_default();
    eventually("the log is begun", || wrote(&log).contains("listening on 127.0.0.1:"));
    fs::rename(&log, &moved).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the log is opened anew", || log.exists());
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(wrote(&log).contains("stopped"), "{}", wrote(&log));
    assert!(!wrote(&moved).contains("stopped"));
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named() {
    let ended = run(&["serve", "--listen", "127.0.0.1:0", "--log-file", "/nowhere/log"]);
    assert!(ended.with_code(2).contains("/nowhere/log"), "{}", ended.stderr);
}
