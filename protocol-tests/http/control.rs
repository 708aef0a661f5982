//! What operators do to jobs.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Api, serve};
use crate::command_line::run::{eventually, run, text};
use crate::support::{Server, kind};

const ACTIONS: &str = "/api/v1/jobs/actions";

fn act(api: &Api, handle: &str, action: &str) -> Value {
    api.send("POST", &format!("/api/v1/jobs/{handle}/{action}"), &[], b"").ok()
}

fn state(api: &Api, handle: &str) -> String {
    api.look(&format!("/api/v1/jobs/{handle}"))["state"].as_str().expect("a state").to_owned()
}

/// A connection that can do `f`.
fn worker(server: &Server) -> crate::support::Peer {
    let mut worker = server.connect();
    worker.can_do("f");
    worker
}

#[test]
fn a_job_goes_through_all_that_an_operator_can_do() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut client = server.connect();
    let job = client.submit_bg("f", "u", b"x");
    assert_eq!(act(&api, &job, "hold"), json!({"handle": job, "outcome": "held"}));
    assert_eq!(state(&api, &job), "held");
    let path = |action: &str| format!("/api/v1/jobs/{job}/{action}");
    let refused = api.send("POST", &path("hold"), &[], b"");
    assert_eq!(
        refused.expect_problem(409, "not-possible")["detail"],
        "The job is held; release it first",
        "{refused:?}"
    );
    assert_eq!(act(&api, &job, "release")["outcome"], "queued");
    assert_eq!(api.post(&path("priority"), &json!({"priority": "high"})).ok()["outcome"], "moved");
    assert_eq!(api.look(&format!("/api/v1/jobs/{job}"))["priority"], "high");
    api.post(&path("priority"), &json!({"priority": "highest"})).expect_problem(422, "invalid");
    assert_eq!(act(&api, &job, "cancel")["outcome"], "cancelled");
    assert_eq!(state(&api, &job), "cancelled");
    api.send("POST", &path("cancel"), &[], b"").expect_problem(409, "not-possible");
    assert_eq!(act(&api, &job, "retry")["outcome"], "queued");
    let mut worker = worker(&server);
    worker.take_job();
    assert_eq!(act(&api, &job, "cancel")["outcome"], "cancelling");
    assert_eq!(state(&api, &job), "cancelling");
    api.send("DELETE", &format!("/api/v1/jobs/{job}"), &[], b"").expect_problem(409, "not-possible");
    worker.complete(&job, b"");
    worker.settle();
    assert_eq!(state(&api, &job), "cancelled");
    assert_eq!(api.send("DELETE", &format!("/api/v1/jobs/{job}"), &[], b"").ok()["outcome"], "deleted");
    api.get(&format!("/api/v1/jobs/{job}")).expect_problem(404, "not-found");
    api.send("POST", &path("cancel"), &[], b"").expect_problem(404, "not-found");

    let later = client.submit_at("f", "", "4000000000", b"later");
    assert_eq!(act(&api, &later, "run")["outcome"], "queued");
    assert_eq!(worker.take_job().handle, later);
}

#[test]
fn what_was_done_is_there_after_a_crash() {
    let files = tempfile::tempdir().unwrap();
    let options = ["--data-dir", text(files.path())];
    let (mut server, api) = serve(&options);
    let mut client = server.connect();
    let [held, cancelled, deleted, high] =
        ["a", "b", "c", "d"].map(|unique| client.submit_bg("f", unique, b"x"));
    act(&api, &held, "hold");
    act(&api, &cancelled, "cancel");
    api.send("DELETE", &format!("/api/v1/jobs/{deleted}"), &[], b"").ok();
    let body = json!({"action": "priority", "priority": "high", "handles": [high]});
    assert_eq!(api.post(ACTIONS, &body).ok()["done"], 1);
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    let (_server, api) = serve(&options);
    assert_eq!((state(&api, &held), state(&api, &cancelled)), ("held".to_owned(), "cancelled".to_owned()));
    api.get(&format!("/api/v1/jobs/{deleted}")).expect_problem(404, "not-found");
    assert_eq!(api.look(&format!("/api/v1/jobs/{high}"))["priority"], "high");
}

#[test]
fn several_jobs_are_named_and_each_is_answered() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut client = server.connect();
    let jobs: Vec<String> = (0..200).map(|_| client.submit_bg("f", "", b"x")).collect();
    worker(&server).take_job();
    eventually("its worker is gone", || state(&api, &jobs[0]) == "queued");
    let mut handles = jobs.clone();
    handles.insert(100, "H:elsewhere:1".to_owned());
    let dry = api.post(ACTIONS, &json!({"action": "hold", "handles": handles, "dry_run": true})).ok();
    assert_eq!((&dry["matched"], &dry["done"], &dry["next"]), (&json!(200), &json!(0), &Value::Null));
    assert_eq!(
        (dry["results"].as_array().unwrap().len(), &dry["results"][0]["handle"]),
        (1, &json!(handles[100]))
    );
    let dry = api.post(ACTIONS, &json!({"action": "release", "handles": handles, "dry_run": true})).ok();
    assert_eq!((&dry["matched"], dry["results"].as_array().unwrap().len()), (&json!(0), 201));
    assert_eq!(
        dry["results"][0],
        json!({"handle": jobs[0], "outcome": "not_done", "reason": "the job is not held"})
    );
    let done = api.post(ACTIONS, &json!({"action": "hold", "handles": handles})).ok();
    assert_eq!((&done["matched"], &done["done"], &done["next"]), (&json!(201), &json!(200), &Value::Null));
    let results = done["results"].as_array().unwrap();
    let told: Vec<&str> = results.iter().map(|result| result["handle"].as_str().unwrap()).collect();
    assert_eq!(told, handles);
    assert_eq!(results[0], json!({"handle": jobs[0], "outcome": "held"}));
    assert_eq!(results[100]["outcome"], "not_done");
    assert!(results[100]["reason"].as_str().unwrap().contains("no such job"), "{}", results[100]);
    assert!(results.iter().enumerate().all(|(at, result)| result["reason"].is_null() == (at != 100)));
    let many: Vec<String> = (0..1001).map(|number| format!("H:x:{number}")).collect();
    api.post(ACTIONS, &json!({"action": "hold", "handles": many})).expect_problem(422, "invalid");
}

/// Does something to all that a filter finds, request by request: how many were counted before, and each handle.
fn all_found(api: &Api, action: &str, filter: &Value) -> (u64, Vec<String>) {
    let ask = |dry_run: bool| {
        let (mut matched, mut handles, mut after) = (0, Vec::new(), Value::Null);
        loop {
            let mut body = json!({"action": action, "filter": filter, "dry_run": dry_run, "after": after});
            if action == "priority" {
                body["priority"] = json!("low");
            }
            let answer = api.post(ACTIONS, &body).ok();
            matched += answer["matched"].as_u64().unwrap();
            for result in answer["results"].as_array().unwrap() {
                assert!(result["reason"].is_null(), "{result}");
                handles.push(result["handle"].as_str().unwrap().to_owned());
            }
            after = answer["next"].clone();
            if after.is_null() {
                return (matched, handles);
            }
        }
    };
    let (counted, none) = ask(true);
    assert_eq!(none, [""; 0]);
    (counted, ask(false).1)
}

#[test]
fn what_a_filter_finds_is_acted_on_once_each() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut client = server.connect();
    let mut all = HashSet::new();
    for _ in 0..1500 {
        all.insert(client.submit_bg("f", "", b"x"));
    }
    for _ in 0..200 {
        all.insert(client.submit_as(kind::SUBMIT_JOB_HIGH_BG, "f", "", b"y"));
    }
    let other = client.submit_bg("g", "", b"x");
    // Each of them moves the jobs to where the list comes to later, or came from.
    for (action, filter) in [
        ("priority", json!({"function": "f"})),
        ("hold", json!({"function": "f"})),
        ("release", json!({"function": "*f*"})),
        ("cancel", json!({"function": "f", "max_age": 3600})),
        ("retry", json!({"function": "f", "state": "cancelled"})),
        ("delete", json!({"function": "f"})),
    ] {
        let (counted, done) = all_found(&api, action, &filter);
        // Of those that were cancelled 1,000 are kept.
        let expected = if matches!(action, "retry" | "delete") { 1000 } else { all.len() };
        assert_eq!((counted as usize, done.len()), (expected, expected), "{action}");
        assert_eq!(done.iter().collect::<HashSet<_>>().len(), expected, "{action}");
        assert!(done.iter().all(|handle| all.contains(handle)), "{action}");
    }
    assert_eq!(state(&api, &other), "queued");
    assert_eq!(all_found(&api, "cancel", &json!({"min_age": 3600})), (0, Vec::new()));
    assert_eq!(all_found(&api, "cancel", &json!({"handle": other})), (1, vec![other]));
    let some: Vec<String> = (0..5).map(|_| client.submit_bg("h", "", b"x")).collect();
    api.send("POST", &format!("/api/v1/jobs/{}/cancel", some[0]), &[], b"").ok();
    for (dry_run, done) in [(true, 0), (false, 3)] {
        let body = json!({"action": "cancel", "filter": {"function": "h"}, "limit": 3, "dry_run": dry_run});
        let answer = api.post(ACTIONS, &body).ok();
        assert_eq!((&answer["matched"], &answer["done"]), (&json!(3), &json!(done)), "{answer}");
    }
    for body in [
        json!({"action": "cancel"}),
        json!({"action": "cancel", "handles": [], "filter": {}}),
        json!({"action": "cancel", "handles": [], "limit": 1}),
        json!({"action": "cancel", "filter": {}, "limit": 0}),
        json!({"action": "cancel", "filter": {"colour": "red"}}),
        json!({"action": "cancel", "filter": {}, "after": "x"}),
        json!({"action": "cancel", "filter": {}, "priority": "low"}),
        json!({"action": "priority", "filter": {}}),
        json!({"action": "paint", "filter": {}}),
    ] {
        api.post(ACTIONS, &body).expect_problem(422, "invalid");
    }
}

#[test]
fn it_takes_an_operator_and_only_for_the_functions_of_its_token() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let token = |name: &str, scope: &str, functions: &[&str]| {
        let mut args = vec!["token", "create", name, "--scope", scope, "--file", text(&file)];
        for pattern in functions {
            args.extend(["--functions", pattern]);
        }
        run(&args).well().trim().to_owned()
    };
    let (submitter, images, all) =
        (token("sub", "submit", &[]), token("images", "operate", &["img.*"]), token("all", "operate", &[]));
    let (_server, api) = serve(&["--store", "memory", "--http-tokens", text(&file)]);
    let [submitter, images, all] = [&submitter, &images, &all].map(|token| api.with_token(token));
    let mail = submitter.submit(&json!({"function": "mail"}));
    let image = submitter.submit(&json!({"function": "img.crop"}));
    let cancel =
        |api: &Api, handle: &str| api.send("POST", &format!("/api/v1/jobs/{handle}/cancel"), &[], b"");
    cancel(&submitter, &mail).expect_problem(403, "not-allowed");
    submitter.post(ACTIONS, &json!({"action": "cancel", "filter": {}})).expect_problem(403, "not-allowed");
    cancel(&images, &mail).expect_problem(404, "not-found");
    let done = images.post(ACTIONS, &json!({"action": "hold", "handles": [mail, image]})).ok();
    assert_eq!((&done["results"][0]["outcome"], &done["done"]), (&json!("not_done"), &json!(1)));
    let done = images.post(ACTIONS, &json!({"action": "cancel", "filter": {}})).ok();
    assert_eq!(done["results"], json!([{"handle": image, "outcome": "cancelled"}]));
    assert_eq!(cancel(&all, &mail).ok()["outcome"], "cancelled");
    cancel(&all, &mail).expect_problem(409, "not-possible");

    let told = |audit: &Value| ["who", "action", "target", "outcome"].map(|field| audit[field].clone());
    let audits: Vec<_> = all.all("/api/v1/audit?limit=3").iter().map(told).collect();
    let expected = [
        ["all", "cancel", &*mail, "not done: the job has ended"],
        ["all", "cancel", &mail, "cancelled"],
        ["images", "cancel", "{}", "done to 1 of 1"],
        ["images", "hold", &format!("{mail} {image}"), "done to 1 of 2"],
    ];
    assert_eq!(audits, expected.map(|audit| audit.map(|text| json!(text))));
    images.get("/api/v1/audit").expect_problem(403, "not-allowed");
    let page = submitter.look("/api/v1/audit?limit=3");
    assert!(page["next"].is_string() && page["items"][0]["at"].is_string(), "{page}");
}

#[test]
fn what_was_answered_is_in_the_audit_and_the_log_of_a_server_that_is_killed_then() {
    let files = tempfile::tempdir().unwrap();
    let options = ["--data-dir", text(files.path())];
    let (mut server, mut api) = serve(&options);
    let job = api.submit(&json!({"function": "f"}));
    for action in ["hold", "release", "cancel", "retry"] {
        api.send("POST", &format!("/api/v1/jobs/{job}/{action}"), &[], b"").ok();
        server.signal(nix::sys::signal::Signal::SIGKILL);
        server.wait();
        (server, api) = serve(&options);
        assert_eq!(api.look("/api/v1/audit?limit=1")["items"][0]["action"], action);
    }
    let log = api.all(&format!("/api/v1/jobs/{job}/log"));
    let words: Vec<_> = log.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(words, ["submitted", "held", "released", "cancelled", "retried"]);
}

#[test]
fn the_audit_tells_to_what_something_was_set_and_what_text_commands_changed() {
    let (server, api) = serve(&["--store", "memory"]);
    let headers = [("content-type", "application/json")];
    api.send("PUT", "/api/v1/policies/img.*", &headers, b"{\"attempts\": 3}").ok();
    api.send("PATCH", "/api/v1/policies/img.*", &headers, b"{\"attempts\": null, \"lease\": 9}").ok();
    let job = server.connect().submit_bg("f", "", b"x");
    let mut admin = server.connect();
    for command in [
        &*format!("cancel job {job}"),
        "maxqueue f 10 20",
        "create function g",
        "drop function g",
        "drop function nowhere",
        "status",
    ] {
        admin.admin(command);
    }
    let told = |audit: &Value| ["action", "target", "outcome"].map(|field| audit[field].clone());
    let all = api.all("/api/v1/audit");
    let expected = [
        ["drop function", "g", "done"],
        ["create function", "g", "done"],
        ["maxqueue", "f 10 20 none", "done"],
        ["cancel", &job, "done"],
        ["change policy", "img.*", "done: {\"attempts\":null,\"lease\":9}"],
        ["set policy", "img.*", "done: {\"attempts\":3}"],
    ];
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected.map(|audit| audit.map(|text| json!(text))));
    assert_eq!(all[0]["who"], "127.0.0.1 (text protocol)");
}
