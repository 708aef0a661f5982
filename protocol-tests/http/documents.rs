//! Health, the server's facts, the OpenAPI document and its page.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::serve;
use crate::command_line::run::run;
use crate::support::{Server, eventually};

#[test]
fn it_says_that_it_lives_and_is_ready_until_it_ends() {
    let (server, api) = serve(&["--store", "memory", "--stop-timeout", "off"]);
    assert_eq!(api.get("/healthz").body, b"ok\n");
    assert_eq!(eventually("it is ready", || (api.get("/readyz").status == 200).then_some(200)), 200);

    let mut worker = server.connect();
    worker.can_do("f");
    server.connect().submit_bg("f", "", b"x");
    let job = worker.take_job();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let problem =
        eventually("it is not ready", || Some(api.get("/readyz")).filter(|ready| ready.status == 503));
    problem.expect_problem(503, "unavailable");
    assert_eq!(api.get("/healthz").status, 200);
    assert_eq!(api.look("/api/v1/server")["state"], "draining_running");
    api.post("/api/v1/jobs", &json!({"function": "f"})).expect_problem(503, "unavailable");
    worker.complete(&job.handle, b"");
    let mut server = server;
    assert!(server.wait().success());
}

#[test]
fn the_server_tells_what_it_is() {
    let (server, api) = serve(&["--threads", "1"]);
    let mut peer = server.connect();
    peer.submit_bg("f", "u", b"payload");
    peer.submit_at("g", "", "4000000000", b"x");
    let facts = api.look("/api/v1/server");
    assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(facts["state"], "serving");
    assert_eq!(facts["listen"], json!([server.address().to_string()]));
    assert_eq!(facts["http"], json!([api.address()]));
    assert_eq!(facts["store"]["kind"], "sqlite");
    assert_eq!(facts["store"]["ready"], true);
    assert_eq!(facts["threads"], 1);
    assert_eq!((&facts["jobs"]["total"], &facts["jobs"]["running"]), (&json!(2), &json!(0)));
    assert_eq!((&facts["functions"], &facts["schedules"]), (&json!(2), &json!(0)));
    assert!(facts["memory"]["jobs"].as_u64() > Some(100), "{facts}");
    let started = facts["started"].as_str().unwrap();
    assert!(started.len() == 27 && started.ends_with('Z'), "{started}");
}

#[test]
fn what_is_polled_has_a_tag_and_is_told_once() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    peer.can_do("f");
    let job = peer.submit_bg("f", "", b"x");
    let schedule = api.post("/api/v1/schedules", &json!({"function": "g", "cron": "0 0 1 1 *"})).ok();
    let job = format!("/api/v1/jobs/{job}");
    let schedule = format!("/api/v1/schedules/{}", schedule["handle"].as_str().unwrap());
    for path in [
        "/api/v1/server",
        "/api/v1/functions",
        "/api/v1/functions/f",
        "/api/v1/functions/f/policy",
        "/api/v1/workers",
        "/api/v1/workers/1",
        "/api/v1/jobs",
        &job,
        "/api/v1/schedules",
        &schedule,
        "/api/v1/policies",
        "/api/v1/audit",
        "/api/v1/load?from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z",
        "/api/v1/openapi.json",
    ] {
        let first = api.get(path);
        let tag = first.header("etag").expect(path).to_owned();
        let second = api.send("GET", path, &[("if-none-match", &tag)], &[]);
        assert_eq!(
            (second.status, &second.body[..], second.header("etag")),
            (304, &b""[..], Some(&*tag)),
            "{path}"
        );
    }
    let tag = api.get("/api/v1/functions").header("etag").unwrap().to_owned();
    peer.submit_bg("f", "", b"y");
    let other = api.send("GET", "/api/v1/functions", &[("if-none-match", &tag)], &[]);
    assert_eq!((other.status, &other.ok()["items"][0]["queued"]["normal"]), (200, &json!(2)));
}

/// Every path of the document is answered by what it says, and none is missing from it.
#[test]
fn the_document_describes_what_is_there() {
    let (_server, api) = serve(&["--store", "memory"]);
    let answer = api.get("/api/v1/openapi.json");
    let document = answer.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push(format!("{method} {path}"));
            assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
    operations.sort();
    let expected = [
        "delete /api/v1/functions/{function}",
        "delete /api/v1/jobs/{handle}",
        "delete /api/v1/policies/{pattern}",
        "delete /api/v1/schedules/{handle}",
        "get /api/v1/audit",
        "get /api/v1/clients",
        "get /api/v1/events",
        "get /api/v1/functions",
        "get /api/v1/functions/{function}",
        "get /api/v1/functions/{function}/policy",
        "get /api/v1/jobs",
        "get /api/v1/jobs/{handle}",
        "get /api/v1/jobs/{handle}/log",
        "get /api/v1/jobs/{handle}/payload",
        "get /api/v1/jobs/{handle}/result",
        "get /api/v1/load",
        "get /api/v1/policies",
        "get /api/v1/policies/{pattern}",
        "get /api/v1/schedules",
        "get /api/v1/schedules/{handle}",
        "get /api/v1/schedules/{handle}/payload",
        "get /api/v1/server",
        "get /api/v1/workers",
        "get /api/v1/workers/{id}",
        "get /healthz",
        "get /metrics",
        "get /readyz",
        "patch /api/v1/policies/{pattern}",
        "patch /api/v1/schedules/{handle}",
        "post /api/v1/functions/{function}/jobs",
        "post /api/v1/functions/{function}/pause",
        "post /api/v1/functions/{function}/purge",
        "post /api/v1/functions/{function}/resume",
        "post /api/v1/jobs",
        "post /api/v1/jobs/actions",
        "post /api/v1/jobs/{handle}/cancel",
        "post /api/v1/jobs/{handle}/hold",
        "post /api/v1/jobs/{handle}/priority",
        "post /api/v1/jobs/{handle}/release",
        "post /api/v1/jobs/{handle}/retry",
        "post /api/v1/jobs/{handle}/run",
        "post /api/v1/schedules",
        "post /api/v1/schedules/{handle}/pause",
        "post /api/v1/schedules/{handle}/resume",
        "post /api/v1/schedules/{handle}/run",
        "post /api/v1/workers/{id}/disconnect",
        "post /api/v1/workers/{id}/stop",
        "put /api/v1/policies/{pattern}",
        "put /api/v1/schedules/{handle}",
    ];
    assert_eq!(operations, expected);
    references(&document, &document);
    let items = document["paths"].as_object().unwrap().values();
    let all = items.flat_map(|item| item.as_object().unwrap().values());
    let names: Vec<&str> = all.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let different: std::collections::BTreeSet<&&str> = names.iter().collect();
    assert_eq!(different.len(), expected.len(), "generators name their functions by them: {names:?}");
    // Schemas that are another's with a difference.
    let schema = |name: &str| &document["components"]["schemas"][name];
    assert_eq!(schema("JobPart")["required"], Value::Null);
    assert!(schema("Job")["required"].as_array().is_some_and(|fields| fields.contains(&json!("handle"))));
    assert_eq!(schema("Policy")["properties"]["lease"]["type"], "number");
    let kinds = schema("NewPolicy")["properties"]["lease"]["anyOf"].as_array().unwrap();
    assert_eq!(kinds.iter().map(|kind| &kind["type"]).collect::<Vec<_>>(), ["number", "string", "null"]);
    assert_eq!(schema("NewPolicy")["properties"]["attempts"]["type"], json!(["integer", "null"]));
}

/// Whatever is referred to is there.
fn references(value: &Value, document: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').expect("within the document");
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            fields.values().for_each(|value| references(value, document));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, document)),
        _ => {}
    }
}

#[test]
fn the_page_to_try_it_comes_whole_from_the_server() {
    let (_server, api) = serve(&["--store", "memory"]);
    let page = api.get("/api/");
    let html = String::from_utf8(page.body.clone()).unwrap();
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(!html.contains("http://") && !html.contains("https://"), "{html}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    for file in html.split('"').filter(|part| part.starts_with("./")) {
        let file = api.get(&format!("/api/{}", &file[2..]));
        assert_eq!(file.status, 200, "{file:?}");
        assert!(file.header("content-type").is_some_and(|kind| !kind.starts_with("text/html")), "{file:?}");
    }
    let start = String::from_utf8(api.get("/api/swagger-initializer.js").body).unwrap();
    assert!(start.contains("/api/v1/openapi.json"), "{start}");
    api.get("/api/nothing.js").expect_problem(404, "not-found");
}

#[test]
fn a_port_that_is_taken_ends_the_start_and_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["serve", "--store", "memory", "--listen", "127.0.0.1:0", "--http", &address]);
    let said = ended.with_code(1);
    assert!(said.contains(&format!("cannot listen on {address} for HTTP")), "{said}");
    assert!(said.contains("--http off"), "{said}");
}

#[test]
fn it_can_be_off() {
    let server = Server::serve(&["--store", "memory", "--http", "off"]);
    server.connect().settle();
    assert!(!server.log().contains("HTTP"), "{}", server.log());
}

#[test]
fn it_survives_the_end_of_a_server_that_someone_follows() {
    let (mut server, api) = serve(&["--store", "memory"]);
    let mut stream = api.begin("POST", "/api/v1/functions/f/jobs", &[("accept", "text/event-stream")], b"x");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let text = stream.body_mut().read_to_string().unwrap();
    assert!(text.contains("event: created") && text.contains("event: failed"), "{text}");
    assert!(server.wait().success());
}
