//! What is answered over HTTP while the disk is full, and when it has failed.

use serde_json::{Value, json};

use super::server::Server;
use super::shim::Bench;
use crate::support::{PATIENCE, eventually, kind};

/// All writes of the store's files find no room.
const FULL: &str = "WTAC 28 1 999999999";

/// All syncs fail.
const FAILING: &str = "b 5 1 999999999";

/// The HTTP API of a server behind the shim.
#[derive(Clone)]
struct Api {
    base: String,
    agent: ureq::Agent,
}

struct Answer {
    status: u16,
    has_retry_after: bool,
    body: Value,
}

impl Api {
    fn of(server: &Server) -> Api {
        let base = eventually("the server logs where HTTP is", || {
            let log = server.log();
            let (_, rest) = log.split_once("HTTP on ")?;
            Some(rest.split_once("/api/")?.0.to_owned())
        });
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Api { base, agent: config.build().into() }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
        let mut answer = self.agent.run(request).unwrap();
        Answer {
            status: answer.status().as_u16(),
            has_retry_after: answer.headers().contains_key("retry-after"),
            body: answer.body_mut().read_json().unwrap_or_default(),
        }
    }

    fn submit(&self) -> Answer {
        self.ask("POST", "/api/v1/jobs", &json!({"function": "kept", "payload": "x"}))
    }

    /// Whatever must be on disk is refused in these words, and nothing else is.
    #[track_caller]
    fn expect_refusals(&self, words: &str, job: &str) {
        let schedule = json!({"function": "kept", "cron": "* * * * *"});
        for (method, path, body) in [
            ("POST", "/api/v1/jobs".to_owned(), json!({"function": "kept"})),
            ("POST", "/api/v1/schedules".to_owned(), schedule),
            ("PUT", "/api/v1/policies/kept".to_owned(), json!({"attempts": 3})),
            ("POST", "/api/v1/functions/kept/pause".to_owned(), Value::Null),
            ("GET", "/readyz".to_owned(), Value::Null),
        ] {
            let Answer { status, has_retry_after, body } = self.ask(method, &path, &body);
            assert_eq!(
                (status, &body["type"]),
                (503, &json!("/problems/unavailable")),
                "{method} {path}: {body}"
            );
            assert!(body["detail"].as_str().unwrap().contains(words), "{method} {path}: {body}");
            assert!(has_retry_after, "{method} {path}: {body}");
        }
        let many = self.ask("POST", "/api/v1/jobs", &json!([{"function": "kept"}]));
        assert_eq!((many.status, &many.body["items"][0]["problem"]["status"]), (200, &json!(503)));
        let facts = self.ask("GET", "/api/v1/server", &Value::Null).body;
        assert_eq!(facts["store"]["ready"], false, "{facts}");
        assert_eq!(self.ask("GET", "/healthz", &Value::Null).status, 200);
        assert_eq!(self.ask("GET", &format!("/api/v1/jobs/{job}"), &Value::Null).status, 200);
    }
}

#[test]
fn a_full_disk_and_a_failed_one_are_told_as_such_and_what_needs_no_disk_is_answered() {
    let bench = Bench::new();
    let server = Server::with(&bench, false, &["--http", "127.0.0.1:0"]);
    let api = Api::of(&server);
    let first = api.submit();
    assert_eq!(first.status, 201, "{}", first.body);
    let job = first.body["handle"].as_str().unwrap();

    bench.fail(FULL);
    let mut early = server.connect();
    early.send(kind::SUBMIT_JOB_BG, &[b"early", b"", b"x"]);
    server.expect_log("is full");
    eventually("it is not ready", || (api.ask("GET", "/readyz", &Value::Null).status == 503).then_some(()));
    api.expect_refusals("disk is full", job);
    // What becomes of a job that is there is written as soon as there is room, and answered then.
    let held = std::thread::spawn({
        let (api, path) = (api.clone(), format!("/api/v1/jobs/{job}/hold"));
        move || api.ask("POST", &path, &Value::Null)
    });
    let path = format!("/api/v1/jobs/{job}");
    eventually("it is held", || (api.ask("GET", &path, &Value::Null).body["state"] == "held").then_some(()));
    assert!(!held.is_finished(), "it was answered before it was safe");
    bench.relieve();
    assert_eq!(held.join().unwrap().body["outcome"], "held");
    early.created();
    server.expect_log("has room again");
    let again = api.submit();
    assert_eq!(again.status, 201, "{}", again.body);

    bench.fail(FAILING);
    // It was taken, and then not safe.
    let lost = api.submit();
    assert_eq!((lost.status, &lost.body["type"]), (503, &json!("/problems/unavailable")), "{}", lost.body);
    server.expect_log("check the disk, then start the server again");
    bench.relieve();
    api.expect_refusals("store failed", job);
    let refused = api.ask("POST", &format!("/api/v1/jobs/{job}/release"), &Value::Null);
    assert_eq!(
        (refused.status, &refused.body["type"]),
        (503, &json!("/problems/unavailable")),
        "{}",
        refused.body
    );
}
