//! Whatever goes wrong is a problem as RFC 9457 has it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use super::serve;
use crate::support::{PATIENCE, eventually};

#[test]
fn each_problem_has_its_status_and_a_page() {
    let (_server, api) = serve(&["--store", "memory", "--http-max-body", "1000"]);
    let json_type = ("content-type", "application/json");
    let jobs = "/api/v1/jobs";
    api.get("/nothing").expect_problem(404, "not-found");
    api.get("/api/v1/nothing").expect_problem(404, "not-found");
    api.get("/api/v1/jobs/H:nowhere:1").expect_problem(404, "not-found");
    api.get("/api/v1/jobs/nonsense").expect_problem(404, "not-found");
    api.get("/api/v1/jobs/nonsense/payload").expect_problem(404, "not-found");
    api.get("/api/v1/functions/f").expect_problem(404, "not-found");
    api.get("/api/v1/workers/7000").expect_problem(404, "not-found");
    api.get("/api/v1/workers/x").expect_problem(404, "not-found");
    api.get("/api/v1/schedules/x").expect_problem(404, "not-found");
    api.get("/problems/nothing").expect_problem(404, "not-found");
    let method = api.send("DELETE", "/api/v1/server", &[], &[]);
    method.expect_problem(405, "method-not-allowed");
    assert!(method.header("allow").is_some_and(|allow| allow.contains("GET")), "{method:?}");
    api.get("/api/v1/jobs?colour=red").expect_problem(400, "unreadable");
    api.get("/api/v1/jobs?state=lost").expect_problem(400, "unreadable");
    api.get("/api/v1/jobs?limit=many").expect_problem(400, "unreadable");
    api.get("/api/v1/jobs?limit=0").expect_problem(422, "invalid");
    api.get("/api/v1/functions?limit=1001").expect_problem(422, "invalid");
    for list in ["jobs", "functions", "workers", "clients", "schedules"] {
        api.get(&format!("/api/v1/{list}?after=x*")).expect_problem(422, "invalid");
    }
    api.get("/api/v1/jobs?state=running&after=n1").expect_problem(422, "invalid");

    api.send("POST", jobs, &[("content-type", "text/plain")], b"x").expect_problem(415, "media-type");
    api.send("POST", jobs, &[json_type], b"{\"function\":").expect_problem(400, "unreadable");
    api.send("POST", "/api/v1/jobs?unique=u", &[json_type], b"{}").expect_problem(400, "unreadable");
    api.send("POST", jobs, &[json_type], &[b' '; 1001]).expect_problem(413, "too-large");
    let wrong = [
        json!(7),
        json!([]),
        json!({}),
        json!({"function": ""}),
        json!({"function": "a\u{0}b"}),
        json!({"function": "f", "colour": "red"}),
        json!({"function": "f", "priority": "urgent"}),
        json!({"function": "f", "payload": "x", "payload_base64": "eA=="}),
        json!({"function": "f", "payload_base64": "x"}),
        json!({"function": "f", "delay": -1}),
        json!({"function": "f", "delay": 1e300}),
        json!({"function": "f", "at": "tomorrow"}),
        json!({"function": "f", "at": "2026-11-29T00:00:00Z", "delay": 1}),
        json!([{"function": "f"}, {"function": ""}]),
    ];
    for job in wrong {
        let problem = api.post(jobs, &job).expect_problem(422, "invalid");
        assert_eq!(problem.get("index").is_some(), job.get(1).is_some(), "{problem}");
    }
    api.post("/api/v1/jobs?function=f", &json!({"function": "f"})).expect_problem(400, "unreadable");
    let long = "u".repeat(600);
    let refused = api.post(jobs, &json!({"function": "f", "unique": long}));
    assert_eq!(refused.status, 201, "its default bound is 1024 bytes");
    assert_eq!(
        api.look("/api/v1/jobs")["items"].as_array().map(Vec::len),
        Some(1),
        "nothing else was submitted"
    );

    for name in ["too-large", "queue-full", "no-token"] {
        let page = api.get(&format!("/problems/{name}"));
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    }
}

#[test]
fn what_is_wrong_in_an_array_is_told_with_its_place() {
    let (_server, api) = serve(&["--store", "memory"]);
    for wrong in [json!({"function": 1}), json!({"function": "f", "attempts": "3"}), json!({"function": ""})]
    {
        let problem =
            api.post("/api/v1/jobs", &json!([{"function": "f"}, wrong, {}])).expect_problem(422, "invalid");
        assert_eq!(problem["index"], 1, "{problem}");
    }
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    api.send("POST", "/api/v1/jobs", &packed, b"{}").expect_problem(415, "media-type");
    assert_eq!(api.all("/api/v1/jobs").len(), 0);
}

#[test]
fn what_the_queue_refuses_is_told_with_its_code() {
    let (server, api) = serve(&["--store", "memory", "--max-unique", "4"]);
    let problem = api.post("/api/v1/jobs", &json!({"function": "f", "unique": "12345"}));
    assert_eq!(problem.expect_problem(422, "invalid")["code"], "ARGUMENT_TOO_LARGE");
    server.admin("maxqueue f 1");
    api.submit(&json!({"function": "f"}));
    let full = api.post("/api/v1/jobs", &json!({"function": "f"}));
    assert_eq!(full.expect_problem(503, "queue-full")["code"], "QUEUE_ERROR");
    assert!(full.header("retry-after").is_some());
    let waited = api.post("/api/v1/jobs?wait=true", &json!({"function": "f"}));
    waited.expect_problem(503, "queue-full");
    let followed = [("accept", "text/event-stream")];
    api.send("POST", "/api/v1/functions/f/jobs", &followed, b"").expect_problem(503, "queue-full");
    let both = api.post("/api/v1/jobs", &json!([{"function": "f"}, {"function": "g"}])).ok();
    assert_eq!(both["items"][0]["problem"]["type"], "/problems/queue-full");
    assert!(both["items"][1]["handle"].is_string());
}

#[test]
fn too_many_requests_of_one_address_are_refused_for_a_while() {
    let (_server, api) = serve(&["--store", "memory", "--http-rate", "2"]);
    let refused =
        eventually("the rate is over", || Some(api.get("/healthz")).filter(|answer| answer.status != 200));
    refused.expect_problem(429, "too-many-requests");
    assert_eq!(refused.header("retry-after"), Some("1"));
    eventually("the bucket refills", || (api.get("/healthz").status == 200).then_some(()));
}

#[test]
fn too_many_connections_are_told_so() {
    let (_server, api) = serve(&["--store", "memory", "--http-max-connections", "1"]);
    let mut first = TcpStream::connect(api.address()).unwrap();
    let ask = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", api.address());
    first.write_all(ask.as_bytes()).unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 15];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let refused = api.get("/healthz");
    refused.expect_problem(503, "busy");
    assert_eq!(refused.header("connection"), Some("close"));
    drop(first);
    eventually("there is room again", || (api.get("/healthz").status == 200).then_some(()));
}

#[test]
fn nothing_that_is_answered_is_taken_for_a_page() {
    let (_server, api) = serve(&["--store", "memory"]);
    let handle = api.submit(&json!({"function": "f", "payload": "<script>alert(1)</script>"}));
    for path in ["/api/v1/server".to_owned(), format!("/api/v1/jobs/{handle}/payload"), "/nothing".to_owned()]
    {
        let answer = api.get(&path);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'; sandbox"));
        assert!(answer.header("access-control-allow-origin").is_none());
    }
}
