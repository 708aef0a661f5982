//! Who may ask: this machine without a token, others with one, and each only for what it is good for.

use std::fs;

use serde_json::json;

use super::{Api, serve};
use crate::command_line::run::{run, text};
use crate::support::eventually;

/// Makes a token in a file.
pub(super) fn token(file: &str, name: &str, scope: &str, functions: &[&str]) -> String {
    let mut args = vec!["token", "create", name, "--scope", scope, "--file", file];
    for pattern in functions {
        args.extend(["--functions", pattern]);
    }
    run(&args).well().trim().to_owned()
}

#[test]
fn an_address_for_others_needs_tokens() {
    let start = |options: &[&str]| {
        run(&[&["serve", "--store", "memory", "--listen", "127.0.0.1:0", "--http", "0.0.0.0:0"], options]
            .concat())
    };
    let said = start(&[]);
    let said = said.with_code(1);
    assert!(said.contains("needs access tokens") && said.contains("gearhouse token create"), "{said}");
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let missing = start(&["--http-tokens", text(&file)]);
    assert!(missing.with_code(1).contains(text(&file)), "{}", missing.stderr);
    fs::write(&file, "").unwrap();
    assert!(start(&["--http-tokens", text(&file)]).with_code(1).contains("needs access tokens"));
    fs::write(&file, "[[token]]\nname = 7\n").unwrap();
    assert!(start(&["--http-tokens", text(&file)]).with_code(1).contains("line 2"));
}

#[test]
fn with_tokens_no_one_is_let_in_without() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let reader = token(text(&file), "eyes", "read", &[]);
    let (_server, api) = serve(&["--store", "memory", "--http-tokens", text(&file)]);
    let refused = api.get("/api/v1/jobs");
    refused.expect_problem(401, "no-token");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    api.with_token("gh_wrong").get("/api/v1/jobs").expect_problem(401, "no-token");
    api.with_token(&reader[..reader.len() - 1]).get("/api/v1/jobs").expect_problem(401, "no-token");
    assert_eq!(api.with_token(&reader).get("/api/v1/jobs").status, 200);
    for path in ["/healthz", "/readyz", "/api/v1/openapi.json", "/api/"] {
        assert_eq!(api.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_scope_includes_those_before_it() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let tokens = ["read", "submit", "operate"].map(|scope| token(text(&file), scope, scope, &[]));
    let (_server, api) = serve(&["--store", "memory", "--http-tokens", text(&file)]);
    let status = |token: &str, body: &[u8]| {
        let api = api.with_token(token);
        if body.is_empty() {
            api.get("/api/v1/jobs").status
        } else {
            api.send("POST", "/api/v1/functions/f/jobs", &[], body).status
        }
    };
    assert_eq!(tokens.each_ref().map(|token| status(token, b"")), [200; 3]);
    assert_eq!(tokens.each_ref().map(|token| status(token, b"x")), [403, 201, 201]);
}

#[test]
fn a_token_for_some_functions_sees_and_does_nothing_else() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let images = token(text(&file), "images", "submit", &["img.*", "thumb"]);
    let all = token(text(&file), "all", "submit", &[]);
    let (server, api) = serve(&["--store", "memory", "--http-tokens", text(&file)]);
    let (images, all) = (api.with_token(&images), api.with_token(&all));
    let mut worker = server.connect();
    for function in ["img.resize", "mail"] {
        worker.can_do(function);
    }
    let mut mailer = server.connect();
    mailer.can_do("mail");
    mailer.settle();
    let mail = all.submit(&json!({"function": "mail", "unique": "m"}));
    let image = images.submit(&json!({"function": "img.resize", "unique": "i"}));
    images.submit(&json!({"function": "thumb"}));
    mailer.submit_at("mail", "", "4000000000", b"");
    mailer.send(crate::support::kind::SUBMIT_JOB_SCHED, &[b"mail", b"s", b"0", b"0", b"*", b"*", b"*", b""]);
    let schedule = mailer.created();

    images.post("/api/v1/jobs", &json!({"function": "mail"})).expect_problem(403, "not-allowed");
    images
        .post("/api/v1/jobs", &json!([{"function": "thumb"}, {"function": "mail"}]))
        .expect_problem(403, "not-allowed");
    let names = |api: &Api, path: &str| {
        let mut names: Vec<String> =
            api.all(path).iter().map(|item| item["function"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names(&images, "/api/v1/functions"), ["img.resize", "thumb"]);
    assert_eq!(names(&images, "/api/v1/jobs"), ["img.resize", "thumb"]);
    assert_eq!(names(&images, "/api/v1/jobs?function=m*"), [""; 0]);
    assert_eq!(names(&images, "/api/v1/jobs?unique=m"), [""; 0]);
    assert_eq!(names(&images, "/api/v1/schedules"), [""; 0]);
    assert_eq!(names(&all, "/api/v1/jobs"), ["img.resize", "mail", "thumb"]);
    assert_eq!(names(&all, "/api/v1/schedules"), ["mail"]);
    images.get(&format!("/api/v1/jobs/{mail}")).expect_problem(404, "not-found");
    images.get(&format!("/api/v1/jobs/{mail}/payload")).expect_problem(404, "not-found");
    images.get("/api/v1/functions/mail").expect_problem(404, "not-found");
    images.get(&format!("/api/v1/schedules/{schedule}")).expect_problem(404, "not-found");
    assert_eq!(images.look(&format!("/api/v1/jobs/{image}"))["unique"], "i");
    let workers = images.all("/api/v1/clients");
    assert_eq!(workers.len(), 1, "the mailer is none of its business");
    assert_eq!(workers[0]["functions"], json!([{"function": "img.resize"}]));
    assert_eq!(all.all("/api/v1/workers").len(), 2);
}

#[test]
fn a_token_for_some_functions_stops_no_worker_that_does_others_too() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let images = token(text(&file), "images", "operate", &["img.*"]);
    let (server, api) = serve(&["--store", "memory", "--http-tokens", text(&file)]);
    let images = api.with_token(&images);
    let mut both = server.connect();
    both.can_do("img.a");
    both.settle();
    let id = images.all("/api/v1/workers")[0]["id"].as_u64().unwrap();
    let act = |action: &str| images.send("POST", &format!("/api/v1/workers/{id}/{action}"), &[], &[]);
    both.can_do("mail");
    both.settle();
    for action in ["stop", "disconnect"] {
        act(action).expect_problem(403, "not-allowed");
    }
    // A job of the other function that it still has counts, too.
    let job = server.connect().submit_bg("mail", "", b"x");
    both.take_job();
    both.cant_do("mail");
    both.settle();
    act("disconnect").expect_problem(403, "not-allowed");
    both.complete(&job, b"");
    both.settle();
    assert_eq!(act("disconnect").status, 200);
    both.expect_closed();
}

#[test]
fn a_token_that_is_taken_out_of_the_file_is_good_no_more() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let first = token(text(&file), "first", "read", &[]);
    let (server, api) = serve(&["--store", "memory", "--http-tokens", text(&file)]);
    let second = token(text(&file), "second", "read", &[]);
    let status = |token: &str| api.with_token(token).get("/api/v1/server").status;
    assert_eq!((status(&first), status(&second)), (200, 200));
    fs::write(&file, "nonsense").unwrap();
    assert_eq!(status(&first), 200, "a file that cannot be read takes no token back");
    eventually("it is said", || server.log().contains("stay good").then_some(()));
    fs::write(&file, "").unwrap();
    assert_eq!((status(&first), status(&second)), (401, 401));
}

#[test]
fn a_page_of_another_site_is_not_answered() {
    let (_server, api) = serve(&["--store", "memory"]);
    let ask = |headers: &[(&str, &str)]| api.send("POST", "/api/v1/functions/f/jobs", headers, b"x");
    ask(&[("origin", "http://evil.example")]).expect_problem(403, "foreign-page");
    ask(&[("host", "evil.example")]).expect_problem(403, "foreign-page");
    assert_eq!(ask(&[("origin", &format!("http://{}", api.address()))]).status, 201);
    assert_eq!(api.all("/api/v1/jobs").len(), 1);
}
