//! `gearhouse bench`: figures that add up, and nothing left behind.

use serde_json::Value;

use super::run::run;
use super::server::Server;

fn bench(server: &Server, options: &[&str]) -> Vec<Value> {
    let json = server.run(&[&["bench", "--time", "100ms", "--json"], options].concat()).well();
    serde_json::from_str(&json).expect("JSON")
}

#[test]
fn each_scenario_tells_its_figures_and_leaves_no_job() {
    let server = Server::start(&[]);
    let figures = bench(&server, &[]);
    let names: Vec<&str> = figures.iter().filter_map(|entry| entry["scenario"].as_str()).collect();
    assert_eq!(names, ["echo", "submit", "work", "round-trip"]);
    for entry in &figures {
        assert!(entry["jobs"].as_u64() > Some(0), "{entry}");
        let micros = |key: &str| entry[key].as_u64().expect(key);
        assert!(micros("p50_us") <= micros("p99_us") && micros("p99_us") <= micros("max_us"), "{entry}");
        assert!(entry["server_cpu_us_per_job"].is_null(), "{entry}");
    }
    assert_eq!(figures[1]["jobs"], figures[2]["jobs"], "what was submitted is worked");
    let functions = server.json(&["admin", "status"]);
    assert!(functions.as_array().unwrap().iter().all(|function| function["jobs"] == 0), "{functions}");
}

#[test]
fn jobs_that_no_scenario_worked_are_taken_back() {
    let server = Server::start(&["--store", "memory"]);
    bench(&server, &["submit", "--clients", "1", "--outstanding", "1"]);
    let functions = server.json(&["admin", "status"]);
    assert!(functions.as_array().unwrap().iter().all(|function| function["jobs"] == 0), "{functions}");
}

#[test]
fn the_servers_processor_time_is_told_when_its_process_is_known() {
    let server = Server::start(&[]);
    let pid = server.client().line(b"getpid").unwrap();
    let figures = bench(&server, &["round-trip", "--pid", pid.trim_start_matches("OK ")]);
    assert!(figures[0]["server_cpu_us_per_job"].as_f64() > Some(0.0), "{figures:?}");
}

#[test]
fn a_refusal_ends_it_with_the_servers_words() {
    let server = Server::start(&["--max-memory", "2KiB"]);
    let ended = server.run(&["bench", "submit", "--time", "100ms"]);
    assert!(ended.with_code(1).contains("Job queue is full"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let said = run(&["bench", "work"]);
    assert!(said.with_code(2).contains("submit"), "{}", said.stderr);
    let said = run(&["bench", "echo", "--server", "127.0.0.1:1"]);
    assert!(said.with_code(2).contains("cannot connect"), "{}", said.stderr);
}
