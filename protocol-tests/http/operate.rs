//! What an operator changes: policies, functions, workers, schedules.

use serde_json::{Value, json};

use super::{Answer, Api, serve};
use crate::support::{eventually, kind};

#[track_caller]
fn put(api: &Api, method: &str, path: &str, body: &Value) -> Answer {
    api.send(method, path, &[("content-type", "application/json")], body.to_string().as_bytes())
}

#[track_caller]
fn act(api: &Api, path: &str) -> Value {
    api.send("POST", path, &[], &[]).ok()
}

#[test]
fn policies_are_laid_over_each_other_and_each_rule_says_where_it_is_from() {
    let (_server, api) = serve(&[]);
    let set = put(&api, "PUT", "/api/v1/policies/img.*", &json!({"attempts": 5, "backoff": "1m 30s"})).ok();
    assert_eq!(
        set,
        json!({"pattern": "img.*", "origin": "operator", "policy": {"attempts": 5, "backoff": 90}})
    );
    let changed = put(&api, "PATCH", "/api/v1/policies/img.a", &json!({"attempts": 7, "order": "lifo"})).ok();
    assert_eq!(changed["policy"], json!({"attempts": 7, "order": "lifo"}));
    let changed = put(&api, "PATCH", "/api/v1/policies/img.a", &json!({"order": null, "rate": 3})).ok();
    assert_eq!(changed["policy"], json!({"attempts": 7, "rate": 3.0}));

    let held = api.look("/api/v1/functions/img.a/policy");
    let rule = |rule: &str| (held["rules"][rule].clone(), held["sources"][rule].clone());
    assert_eq!(rule("attempts"), (json!(7), json!("operator img.a")));
    assert_eq!(rule("backoff"), (json!(90), json!("operator img.*")));
    assert_eq!(rule("rate"), (json!(3.0), json!("operator img.a")));
    assert_eq!(rule("order"), (json!("fifo"), json!("default")));
    assert_eq!(rule("lease"), (json!(0), json!("default")));
    assert_eq!(
        held["rules"].as_object().unwrap().keys().collect::<Vec<_>>(),
        held["sources"].as_object().unwrap().keys().collect::<Vec<_>>()
    );

    let all = api.all("/api/v1/policies?limit=1");
    let patterns: Vec<&str> = all.iter().map(|set| set["pattern"].as_str().unwrap()).collect();
    assert_eq!(patterns, ["img.*", "img.a"]);
    assert_eq!(api.send("DELETE", "/api/v1/policies/img.*", &[], &[]).status, 204);
    api.get("/api/v1/policies/img.*").expect_problem(404, "not-found");
    api.send("DELETE", "/api/v1/policies/img.*", &[], &[]).expect_problem(404, "not-found");
    put(&api, "PUT", "/api/v1/policies/f", &json!({"attempt": 1})).expect_problem(422, "invalid");
    put(&api, "PATCH", "/api/v1/policies/f", &json!({"attempt": null})).expect_problem(422, "invalid");
    put(&api, "PUT", "/api/v1/policies/f", &json!([1])).expect_problem(422, "invalid");
    // What is nothing is not there.
    assert_eq!(put(&api, "PUT", "/api/v1/policies/f", &json!({})).status, 204);
    api.get("/api/v1/policies/f").expect_problem(404, "not-found");
    let paused = act(&api, "/api/v1/functions/nosuch/pause");
    assert_eq!(paused, json!({"function": "nosuch", "paused": true, "unknown": true}));
}

#[test]
fn a_wrong_value_is_told_with_its_rule_in_plain_words() {
    let (_server, api) = serve(&["--store", "memory"]);
    for (rule, value, why) in [
        ("attempts", json!(-1), "attempts: -1 is not a whole number from 0 to 4294967295"),
        ("rate", json!("fast"), "rate: expected a number from 0 on"),
        ("lease", json!(true), "lease: expected a number of seconds, or a time as in \"1h 30m\""),
        (
            "lease",
            json!("soon"),
            "lease: \"soon\" is neither a number of seconds nor a time as in \"1h 30m\"",
        ),
        ("max_waiting_bytes", json!("much"), "max_waiting_bytes: \"much\" is no size"),
        (
            "max_waiting_bytes",
            json!(-1),
            "max_waiting_bytes: expected a whole number of bytes, or a size as in",
        ),
        ("retry_failed", json!("yes"), "retry_failed: invalid type: string \"yes\", expected a boolean"),
    ] {
        let problem = put(&api, "PATCH", "/api/v1/policies/f", &json!({"order": "lifo", rule: value}));
        let detail = problem.expect_problem(422, "invalid")["detail"].clone();
        assert!(detail.as_str().unwrap().starts_with(why), "{detail}");
    }
    let set = put(&api, "PUT", "/api/v1/policies/f", &json!({"max_waiting_bytes": "1MiB"})).ok();
    assert_eq!(set["policy"], json!({"max_waiting_bytes": 1 << 20}));
}

#[test]
fn what_waits_is_bounded_for_a_function_and_in_all_and_the_refusal_says_by_what() {
    let (server, api) = serve(&["--max-waiting", "3", "--max-waiting-bytes", "100B"]);
    put(&api, "PUT", "/api/v1/policies/f", &json!({"max_waiting": 1, "max_waiting_bytes": 50})).ok();
    let mut client = server.connect();
    let refused = |client: &mut crate::support::Peer, function: &str, payload: &[u8], why: &str| {
        client.send(kind::SUBMIT_JOB_BG, &[function.as_bytes(), b"", payload]);
        client.expect(kind::ERROR, &[b"QUEUE_ERROR", format!("Job queue is full: {why}").as_bytes()]);
    };
    refused(&mut client, "f", &[b'x'; 51], "max_waiting_bytes of f is 50");
    let first = client.submit_bg("f", "", b"x");
    refused(&mut client, "f", b"x", "max_waiting of f is 1");
    refused(&mut client, "g", &[b'x'; 100], "max-waiting-bytes of the server is 100");
    let delayed = api.submit(&json!({"function": "g", "delay": 1000}));
    act(&api, &format!("/api/v1/jobs/{delayed}/hold"));
    client.submit_bg("g", "", b"x");
    refused(&mut client, "h", b"", "max-waiting of the server is 3");
    let refused = api.post("/api/v1/jobs", &json!({"function": "h"}));
    refused.expect_problem(503, "queue-full");
    let jobs = api.look("/api/v1/server")["jobs"].clone();
    assert_eq!(
        (&jobs["waiting"], &jobs["waiting_bytes"], &jobs["max_waiting"]),
        (&json!(3), &json!(2), &json!(3))
    );
    // One that runs or has ended waits no more; an operator is not bound.
    let mut worker = server.connect();
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, first);
    worker.fail(&first);
    client.submit_bg("h", "", b"");
    act(&api, &format!("/api/v1/jobs/{first}/retry"));
    assert_eq!(api.look("/api/v1/server")["jobs"]["waiting"], 4);
}

#[test]
fn a_worker_that_stays_silent_is_named_in_the_servers_log() {
    let (server, api) = serve(&["--store", "memory"]);
    put(&api, "PUT", "/api/v1/policies/f", &json!({"lease": 0.05})).ok();
    let (mut peer, mut worker) = (server.connect(), server.connect());
    let job = peer.submit_bg("f", "", b"x");
    worker.send(kind::SET_CLIENT_ID, &[b"sleepy"]);
    worker.can_do("f");
    worker.take_job();
    eventually("the log names it", || {
        let log = server.log();
        let line = log.lines().find(|line| line.contains("within its lease"))?;
        (line.contains("sleepy") && line.contains(&job) && line.contains("WARN")).then_some(())
    });
}

#[test]
fn a_policy_of_the_file_is_told_apart_from_an_operators() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("gearhouse.toml");
    std::fs::write(&file, "[policy.\"img.*\"]\npaused = true\nlease = \"30s\"\n").unwrap();
    let (_server, api) =
        serve(&["--store", "memory", "--job-attempts", "3", "--config", file.to_str().unwrap()]);
    assert_eq!(api.look("/api/v1/policies/img.*")["origin"], "file");
    let lifted = api.send("DELETE", "/api/v1/policies/img.*", &[], &[]).expect_problem(409, "not-possible");
    assert!(lifted["detail"].as_str().unwrap().contains("configuration file"), "{lifted}");
    put(&api, "PATCH", "/api/v1/policies/img.*", &json!({"lease": 5})).ok();
    let both = api.look("/api/v1/policies/img.*");
    assert_eq!((&both["origin"], &both["policy"]), (&json!("operator"), &json!({"lease": 5})));
    assert_eq!(both["file"], json!({"paused": true, "lease": 30}));
    assert_eq!(api.send("DELETE", "/api/v1/policies/img.*", &[], &[]).status, 204);
    assert_eq!(api.look("/api/v1/functions/img.a/policy")["sources"]["attempts"], "option");
    let held = api.look("/api/v1/functions/img.a/policy");
    assert_eq!((&held["rules"]["lease"], &held["sources"]["lease"]), (&json!(30), &json!("file img.*")));
    let resumed = act(&api, "/api/v1/functions/img.a/resume");
    assert_eq!(resumed, json!({"function": "img.a", "paused": false}));
    let held = api.look("/api/v1/functions/img.a/policy");
    assert_eq!(
        (&held["rules"]["paused"], &held["sources"]["paused"]),
        (&json!(false), &json!("operator img.a"))
    );
}

#[test]
fn a_paused_function_hands_out_nothing_until_it_is_resumed() {
    let (server, api) = serve(&[]);
    server.connect().submit_bg("f", "", b"x");
    act(&api, "/api/v1/functions/f/pause");
    assert_eq!(api.look("/api/v1/functions/f")["paused"], true);
    let mut worker = server.connect();
    worker.can_do("f");
    worker.send(kind::GRAB_JOB, &[]);
    worker.expect(kind::NO_JOB, &[]);
    act(&api, "/api/v1/functions/f/resume");
    assert_eq!(worker.take_job().data, b"x");
    assert_eq!(api.all("/api/v1/policies"), [Value::Null; 0]);
}

#[test]
fn a_purge_deletes_what_waits_and_nothing_else() {
    let (server, api) = serve(&[]);
    let mut peer = server.connect();
    let mut worker = server.connect();
    peer.submit_bg("f", "", b"first");
    worker.can_do("f");
    worker.take_job();
    for _ in 0..700 {
        peer.submit_bg("f", "", b"x");
    }
    peer.submit_at("f", "", "4000000000", b"later");
    let other = peer.submit_bg("g", "", b"x");
    let mut waiting = server.connect();
    let handle = waiting.submit("f", "", b"in front");
    let (mut purged, mut after) = (0, String::new());
    loop {
        let answer = act(&api, &format!("/api/v1/functions/f/purge{after}"));
        purged += answer["purged"].as_u64().unwrap();
        let Some(next) = answer["next"].as_str() else { break };
        after = format!("?after={next}");
    }
    assert_eq!(purged, 702);
    waiting.expect_fail(&handle);
    let function = api.look("/api/v1/functions/f");
    assert_eq!((&function["running"], &function["queued"]["normal"]), (&json!(1), &json!(0)));
    assert_eq!(api.look(&format!("/api/v1/jobs/{other}"))["state"], "queued");
    api.send("POST", "/api/v1/functions/none/purge", &[], &[]).expect_problem(404, "not-found");
}

#[test]
fn a_function_is_dropped_when_it_is_not_in_use() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    peer.submit_bg("f", "", b"x");
    let drop = || api.send("DELETE", "/api/v1/functions/f", &[], &[]);
    drop().expect_problem(409, "in-use");
    act(&api, "/api/v1/functions/f/purge");
    assert_eq!(drop().status, 204);
    drop().expect_problem(404, "not-found");
}

#[test]
fn only_an_operators_token_changes_how_the_server_works() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("tokens.toml");
    let file = file.to_str().unwrap();
    let token =
        |name: &str, scope: &str, functions: &[&str]| super::access::token(file, name, scope, functions);
    let (submit, operate) = (token("submit", "submit", &[]), token("operate", "operate", &["img.*"]));
    let (_server, api) = serve(&["--store", "memory", "--http-tokens", file]);
    let (submit, operate) = (api.with_token(&submit), api.with_token(&operate));
    let set = |api: &Api, pattern: &str| {
        put(api, "PUT", &format!("/api/v1/policies/{pattern}"), &json!({"attempts": 1}))
    };
    set(&submit, "img.a").expect_problem(403, "not-allowed");
    set(&operate, "mail").expect_problem(403, "not-allowed");
    set(&operate, "*").expect_problem(403, "not-allowed");
    assert_eq!(set(&operate, "img.a*").status, 200);
    submit.send("POST", "/api/v1/functions/img.a/pause", &[], &[]).expect_problem(403, "not-allowed");
    assert_eq!(submit.get("/metrics").status, 200);
    api.get("/metrics").expect_problem(401, "no-token");
}

#[test]
fn the_load_of_the_last_seconds_is_told() {
    let (server, api) = serve(&[]);
    let mut peer = server.connect();
    let mut worker = server.connect();
    let handle = peer.submit_bg("f", "", b"x");
    worker.can_do("f");
    worker.can_do("g");
    worker.take_job();
    worker.complete(&handle, b"");
    peer.submit_bg("f", "", b"x");
    worker.settle();
    let steps = eventually("a second passes", || {
        let load = api.look("/api/v1/load?function=f");
        let items = load["items"].as_array().unwrap().clone();
        let done: u64 = items.iter().filter_map(|step| step["succeeded"].as_u64()).sum();
        (done > 0).then_some(items)
    });
    let last = steps.last().unwrap();
    assert_eq!((&last["waiting"]["normal"], &last["workers"]), (&json!(1), &json!(1)), "{last}");
    assert!(last["oldest_age"].as_f64() > Some(0.0), "{last}");
    let busy = steps.iter().find(|step| step["succeeded"] == 1).unwrap();
    assert_eq!((&busy["wait"]["count"], &busy["run"]["count"]), (&json!(1), &json!(1)), "{busy}");
    assert!(!api.look("/api/v1/load?step=10")["items"].as_array().unwrap().is_empty());
    let all = api.look("/api/v1/load?from=1970-01-01T00:00:00Z");
    assert_eq!(all["step"], 1, "{all}");
    assert_eq!(all["items"].as_array().unwrap().last().unwrap()["workers"], 1, "{all}");
    api.get("/api/v1/load?function=nowhere").expect_problem(404, "not-found");
    api.get("/api/v1/load?function=f*").expect_problem(422, "invalid");
    api.get("/api/v1/load?from=yesterday").expect_problem(422, "invalid");
    api.get("/api/v1/load?step=0").expect_problem(422, "invalid");
}

#[test]
fn a_worker_that_is_asked_to_stop_goes_when_it_is_done_and_one_that_is_disconnected_at_once() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    let job = peer.submit_bg("f", "", b"x");
    let next = peer.submit_bg("f", "", b"x");
    let mut worker = server.connect();
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, job);
    let found = &api.all("/api/v1/workers")[0];
    let id = found["id"].as_u64().unwrap();
    assert_eq!(found["draining"], false);
    assert!(found["connected"].as_str() <= found["heard"].as_str(), "{found}");
    assert_eq!(act(&api, &format!("/api/v1/workers/{id}/stop"))["draining"], true);
    assert_eq!(api.look(&format!("/api/v1/workers/{id}"))["draining"], true);
    worker.send(kind::GRAB_JOB, &[]);
    worker.expect(kind::NO_JOB, &[]);
    worker.complete(&job, b"");
    worker.expect_closed();

    let mut worker = server.connect();
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, next);
    let id = api.all("/api/v1/workers")[0]["id"].as_u64().unwrap();
    act(&api, &format!("/api/v1/workers/{id}/disconnect"));
    worker.expect_closed();
    eventually("its job goes back", || {
        (api.look(&format!("/api/v1/jobs/{next}"))["state"] == "queued").then_some(())
    });
    api.send("POST", "/api/v1/workers/999/stop", &[], &[]).expect_problem(404, "not-found");

    // A client that waits is no worker.
    let job = peer.submit("g", "", b"x");
    let client = api.all("/api/v1/clients").into_iter().find(|found| found["awaiting"] == 1).unwrap();
    let stop = format!("/api/v1/workers/{}/stop", client["id"]);
    api.send("POST", &stop, &[], &[]).expect_problem(409, "not-possible");
    assert_eq!(api.look(&format!("/api/v1/jobs/{job}"))["state"], "queued");
}

#[test]
fn a_schedule_is_made_changed_paused_run_and_ended() {
    let (_server, api) = serve(&[]);
    let asked = json!({
        "function": "report", "unique": "daily", "cron": "30 8 * * Sun", "zone": "Europe/Berlin", "payload": "p",
        "misfire": "once", "overlap": "skip",
    });
    let made = api.post("/api/v1/schedules", &asked);
    assert_eq!(made.status, 201, "{made:?}");
    let row = made.json();
    let path = format!("/api/v1/schedules/{}", row["handle"].as_str().unwrap());
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(
        (&row["zone"], &row["misfire"], &row["overlap"]),
        (&json!("Europe/Berlin"), &json!("once"), &json!("skip"))
    );
    assert_eq!((&row["monday_is_zero"], &row["payload_size"]), (&json!(false), &json!(1)));
    assert_eq!(row["words"], "At 08:30, on Sunday.");
    assert_eq!(api.look(&path), row);
    let again = api.post("/api/v1/schedules", &asked);
    assert_eq!((again.status, again.header("location")), (200, Some(path.as_str())), "there was one");
    assert_eq!(again.json()["handle"], row["handle"], "the same function and unique id");

    let changed = put(&api, "PATCH", &path, &json!({"cron": "0 0 1 1 *", "zone": null})).ok();
    assert_eq!((&changed["cron"], &changed["zone"]), (&json!("0 0 1 1 *"), &json!("UTC")));
    assert_eq!((&changed["payload_size"], &changed["overlap"]), (&json!(1), &json!("skip")));
    assert_eq!(act(&api, &format!("{path}/pause"))["paused"], true);
    let paused = api.look(&path);
    assert!(paused["paused"] == true && paused.get("next_run").is_none(), "{paused}");
    let job = act(&api, &format!("{path}/run"))["handle"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&format!("/api/v1/jobs/{job}/payload")).body, b"p");
    let resumed = act(&api, &format!("{path}/resume"));
    assert!(resumed["paused"] == false && resumed["next_run"].is_string(), "{resumed}");
    let anew = put(&api, "PUT", &path, &json!({"function": "report", "cron": "* * * * *"})).ok();
    assert_eq!((&anew["handle"], &anew["unique"]), (&row["handle"], &json!("")));
    assert_eq!((&anew["payload_size"], &anew["misfire"]), (&json!(0), &json!("skip")));

    let form =
        json!({"function": "report", "function_base64": null, "payload": null, "payload_base64": "AP8="});
    let changed = put(&api, "PATCH", &path, &form).ok();
    assert_eq!(
        (&changed["function"], &changed["payload_size"]),
        (&json!("report"), &json!(2)),
        "null undoes no other"
    );

    for wrong in [
        json!({"function": "f", "function_base64": "Zg==", "cron": "* * * * *"}),
        json!({"cron": "* * * * *"}),
        json!({"function": "f"}),
        json!({"function": "f", "cron": "61 * * * *"}),
        json!({"function": "f", "cron": "* * * * *", "zone": "Nowhere"}),
        json!({"function": "f", "cron": "* * * * *", "colour": "red"}),
    ] {
        api.post("/api/v1/schedules", &wrong).expect_problem(422, "invalid");
    }
    let text = put(&api, "PATCH", &path, &json!({"paused": true})).status;
    let typed = |kind: &str| api.send("PUT", &path, &[("content-type", kind)], asked.to_string().as_bytes());
    typed("text/plain").expect_problem(415, "media-type");
    typed("application/merge-patch+json").expect_problem(415, "media-type");
    assert_eq!((text, typed("application/json; charset=utf-8").status), (200, 200));
    assert_eq!(api.send("DELETE", &path, &[], &[]).status, 204);
    api.get(&path).expect_problem(404, "not-found");
    put(&api, "PATCH", &path, &json!({"zone": "UTC"})).expect_problem(404, "not-found");
}

#[test]
fn no_schedule_becomes_what_another_one_is() {
    let (_server, api) = serve(&[]);
    let asked = |unique: &str| json!({"function": "report", "unique": unique, "cron": "0 8 * * *"});
    let path = |made: Answer| format!("/api/v1/schedules/{}", made.ok()["handle"].as_str().unwrap());
    let first = path(api.post("/api/v1/schedules", &asked("first")));
    let second = path(api.post("/api/v1/schedules", &asked("second")));
    put(&api, "PUT", &second, &asked("first")).expect_problem(409, "not-possible");
    put(&api, "PATCH", &second, &json!({"unique": "first"})).expect_problem(409, "not-possible");
    assert_eq!(
        (&api.look(&first)["unique"], &api.look(&second)["unique"]),
        (&json!("first"), &json!("second"))
    );
    // What it is itself it may stay, and what none is it may become; the function that it leaves is left unused.
    assert_eq!(put(&api, "PUT", &second, &asked("second")).status, 200);
    assert_eq!(put(&api, "PATCH", &second, &json!({"function": "other", "unique": "first"})).status, 200);
    assert_eq!(api.look("/api/v1/functions/other")["schedules"], 1);
    assert_eq!(api.send("DELETE", &first, &[], &[]).status, 204);
    assert_eq!(put(&api, "PATCH", &second, &json!({"function": "report"})).status, 200);
    assert_eq!(api.all("/api/v1/schedules").len(), 1);
}

#[test]
fn a_number_is_whole_however_it_is_written_and_within_what_the_document_says() {
    let (_server, api) = serve(&["--store", "memory"]);
    let set = |rules: Value| put(&api, "PUT", "/api/v1/policies/f", &rules);
    assert_eq!(
        set(json!({"attempts": 5.0, "max_waiting": 7})).ok()["policy"],
        json!({"attempts": 5, "max_waiting": 7})
    );
    for wrong in [
        json!({"attempts": 5.5}),
        json!({"attempts": -1}),
        json!({"attempts": 4_294_967_296_u64}),
        json!({"max_waiting_bytes": 9_223_372_036_854_775_808_u64}),
        json!({"rate": -1}),
        json!({"lease": 1e10}),
    ] {
        set(wrong).expect_problem(422, "invalid");
    }
    assert_eq!(api.look("/api/v1/jobs?worker=9223372036854775807")["items"], json!([]));
    api.get("/api/v1/jobs?worker=9223372036854775808").expect_problem(400, "unreadable");
    assert_eq!(api.look("/api/v1/jobs?min_age=1e9")["items"], json!([]));
    assert_eq!(api.look("/api/v1/jobs?min_age=1h+30m")["items"], json!([]));
    for age in ["inf", "-1", "soon", "2e9"] {
        api.get(&format!("/api/v1/jobs?min_age={age}")).expect_problem(400, "unreadable");
    }
}
