//! Commands over the HTTP API, at a real server.

use gearhouse::protocol::Kind;
use serde_json::{Value, json};

use super::run::{Ended, end, eventually, text};
use super::server::Server;

const HTTP: [&str; 2] = ["--http", "127.0.0.1:0"];

/// Where the server says that its API is, once it answers there with more than that it is starting.
fn api(server: &Server) -> String {
    let line = server.logged("HTTP on ");
    let (_, url) = line.split_once("HTTP on ").unwrap();
    let url = url.trim_end_matches("/api/").to_owned();
    eventually("the API is open", || ureq::get(format!("{url}/readyz")).call().is_ok());
    url
}

#[track_caller]
fn run(server: &Server, args: &[&str]) -> Ended {
    end(server.command(args).env("GEARHOUSE_OPT_HTTP_URL", api(server)), b"")
}

#[track_caller]
fn lines(server: &Server, args: &[&str]) -> Vec<Value> {
    let told = run(server, &[args, &["--json"]].concat()).well();
    told.lines().map(|line| serde_json::from_str(line).expect("JSON in each line")).collect()
}

fn submit(server: &Server, args: &[&str]) -> String {
    let handle = server.run(&[&["submit", "--background"], args].concat()).well();
    handle.trim_end().to_owned()
}

#[test]
fn jobs_are_searched_and_shown_and_their_payload_comes_as_it_was() {
    let server = Server::start(&HTTP);
    let first = submit(&server, &["resize", "--priority", "high", "--unique", "u", "one"]);
    let second = submit(&server, &["resize", "two"]);
    let later = submit(&server, &["mail", "--at", "+1h", "three"]);
    let handles = |args: &[&str]| -> Vec<String> {
        let found = lines(&server, &[&["jobs"], args].concat());
        found.iter().map(|job| job["handle"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(handles(&[]), [&*first, &second, &later]);
    assert_eq!(handles(&["--function", "res*", "--state", "queued"]), [&*first, &second]);
    assert_eq!(handles(&["--payload", "hre"]), [&*later]);
    assert_eq!(handles(&["--priority", "high"]), [&*first]);
    assert_eq!(handles(&["--unique", "u"]), [&*first]);
    assert!(handles(&["--state", "running"]).is_empty());
    assert_eq!(handles(&["--limit", "all"]).len(), 3);

    let first_only = run(&server, &["jobs", "--limit", "1"]);
    assert_eq!(first_only.well().lines().count(), 2);
    assert!(first_only.stderr.contains("there are more"), "{}", first_only.stderr);
    let shown = run(&server, &["job", &first]).well();
    assert!(
        shown.starts_with("handle ") && shown.lines().nth(1).unwrap().starts_with("function "),
        "{shown}"
    );
    assert_eq!(lines(&server, &["job", &first])[0]["unique"], "u");
    assert_eq!(run(&server, &["job", &second, "payload"]).well(), "two");
    let nothing = run(&server, &["job", "H:nowhere:1"]);
    assert!(nothing.with_code(1).contains("There is no job H:nowhere:1"), "{}", nothing.stderr);
}

#[test]
fn functions_workers_and_schedules_are_listed() {
    let server = Server::start(&HTTP);
    submit(&server, &["resize", "one"]);
    submit(&server, &["resize", "two"]);
    let schedule = submit(&server, &["report", "--every", "30 8 * * Mon-Fri", "x"]);
    let mut worker = server.client();
    worker.send(Kind::SetClientId, &[b"me"]).unwrap();
    worker.send(Kind::CanDo, &[b"resize"]).unwrap();
    assert_eq!(worker.ask(Kind::GrabJob, &[]).unwrap().kind, Kind::JobAssign);

    let table = run(&server, &["functions"]).well();
    let row: Vec<&str> =
        table.lines().find(|line| line.starts_with("resize ")).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["resize", "1", "1", "1"], "{table}");
    assert_eq!(lines(&server, &["functions", "list", "--function", "rep*"])[0]["function"], "report");
    let workers = lines(&server, &["workers"]);
    assert_eq!((workers.len(), &workers[0]["client_id"]), (1, &json!("me")));
    let id = workers[0]["id"].to_string();
    assert!(run(&server, &["workers", "--function", "resize"]).well().contains(" me "));
    assert!(run(&server, &["workers", "show", &id]).well().contains("functions"));
    assert!(run(&server, &["workers", "show", "999999"]).with_code(1).contains("no connection 999999"));
    assert_eq!(lines(&server, &["jobs", "--worker", &id]).len(), 1);
    let schedules = run(&server, &["schedules"]).well();
    assert!(schedules.contains(&format!("{schedule}  report    30 8 * * Mon-Fri  UTC   in ")), "{schedules}");
    assert_eq!(lines(&server, &["schedules", "show", &schedule])[0]["function"], "report");

    let top = run(&server, &["top", "--once", "--interval", "10ms", "--function", "res*"]).well();
    let row: Vec<&str> = top.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["resize", "1", "1", "1"], "{top}");
}

#[test]
fn a_server_with_tokens_is_asked_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, file) = (folder.path().join("tokens.toml"), folder.path().join("token"));
    let made = super::run::run(&["token", "create", "me", "--scope", "read", "--file", text(&tokens)]).well();
    std::fs::write(&file, made).unwrap();
    let server = Server::start(&[&HTTP[..], &["--http-tokens", text(&tokens)]].concat());
    assert!(run(&server, &["jobs"]).with_code(1).contains("--token @FILE"));
    assert!(run(&server, &["jobs", "--token", "guess"]).with_code(1).contains("unknown"));
    let given = format!("@{}", file.display());
    assert_eq!(run(&server, &["jobs", "--token", &given]).well().lines().count(), 1);
}
