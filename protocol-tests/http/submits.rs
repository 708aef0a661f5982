//! Jobs that are submitted over HTTP: in the background, waited for, followed.

use std::io::{BufRead, BufReader, Read};
use std::thread;

use serde_json::{Value, json};

use super::{Api, serve};
use crate::support::{Peer, eventually, kind};

const JOBS: &str = "/api/v1/jobs";

/// Waits until a job is there, takes it, and gives its handle.
fn take(worker: &mut Peer) -> String {
    eventually("a job comes", || worker.grab()).handle
}

#[test]
fn a_job_has_everything_that_was_said_of_it() {
    let (server, api) = serve(&["--store", "memory"]);
    let answer =
        api.post(JOBS, &json!({"function": "f", "unique": "u", "priority": "high", "payload": "für"}));
    let handle = answer.ok()["handle"].as_str().unwrap().to_owned();
    assert_eq!((answer.status, answer.header("location")), (201, Some(&*format!("{JOBS}/{handle}"))));
    let job = api.look(&format!("{JOBS}/{handle}"));
    assert_eq!(
        (&job["priority"], &job["background"], &job["unique"]),
        (&json!("high"), &json!(true), &json!("u"))
    );
    let again = api.post(JOBS, &json!({"function": "f", "unique": "u"}));
    assert_eq!((again.status, again.header("location")), (200, Some(&*format!("{JOBS}/{handle}"))));
    assert_eq!(again.json(), json!({"handle": handle, "joined": true}), "an equal unique id is the same job");

    let bytes =
        api.submit(&json!({"function_base64": "Zv8=", "unique_base64": "df8=", "payload_base64": "AP8="}));
    let reduce = api.submit(&json!({"function": "r", "reducer": "sum", "payload": "x"}));
    let raw = api.send(
        "POST",
        "/api/v1/functions/raw/jobs?priority=low&unique=x%20y",
        &[("content-type", "application/json")],
        b"{\"any\": 7}",
    );
    let raw = raw.ok()["handle"].as_str().unwrap().to_owned();
    assert_eq!(api.look(&format!("{JOBS}/{raw}"))["priority"], "low");

    let mut worker = server.connect();
    for function in ["f", "r", "raw"] {
        worker.can_do(function);
    }
    worker.send(kind::CAN_DO, &[b"f\xff"]);
    let mut taken: Vec<_> = (0..4).map(|_| worker.grab_as(kind::GRAB_JOB_ALL).unwrap()).collect();
    taken.sort_by(|a, b| a.function.cmp(&b.function));
    let part = |index: usize| (&taken[index].handle, &taken[index].unique[..], &taken[index].data[..]);
    assert_eq!(part(0), (&handle, &b"u"[..], "für".as_bytes()));
    assert_eq!(part(1), (&bytes, &b"u\xff"[..], &b"\0\xff"[..]));
    assert_eq!((part(2).0, &taken[2].reducer[..]), (&reduce, &b"sum"[..]));
    assert_eq!(part(3), (&raw, &b"x y"[..], &b"{\"any\": 7}"[..]));
}

#[test]
fn a_job_can_be_for_later() {
    let (_server, api) = serve(&["--store", "memory"]);
    let at = api.submit(&json!({"function": "f", "at": "2096-10-02T09:06:40.5+02:00"}));
    assert_eq!(api.look(&format!("{JOBS}/{at}"))["due"], "2096-10-02T07:06:40.500000Z");
    for delay in [json!(3600.5), json!("1h 30m")] {
        let delayed = api.submit(&json!({"function": "f", "delay": delay}));
        assert_eq!(api.look(&format!("{JOBS}/{delayed}"))["state"], "scheduled");
    }
    let answer = api.send("POST", "/api/v1/functions/f/jobs?delay=1h", &[], b"x").ok();
    assert_eq!(api.look(&format!("{JOBS}/{}", answer["handle"].as_str().unwrap()))["state"], "scheduled");
    for past in [json!({"function": "f", "delay": 0}), json!({"function": "f", "at": "1969-01-01T00:00:00Z"})]
    {
        let handle = api.submit(&past);
        assert_eq!(api.look(&format!("{JOBS}/{handle}"))["state"], "queued", "{past}");
    }
}

#[test]
fn many_jobs_are_submitted_at_once_and_answered_in_their_order() {
    let (server, api) = serve(&[]);
    let jobs: Vec<Value> =
        (0..1000).map(|index| json!({"function": "f", "payload": index.to_string()})).collect();
    let answer = api.post(JOBS, &json!(jobs));
    assert_eq!(answer.status, 200);
    let items = answer.ok()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 1000);
    for index in [0, 63, 64, 999] {
        let handle = items[index]["handle"].as_str().unwrap();
        assert_eq!(api.get(&format!("{JOBS}/{handle}/payload")).body, index.to_string().as_bytes());
    }
    assert_eq!(server.connect().admin("status"), "f\t1000\t0\t0\n.\n");
    let too_many = vec![json!({"function": "f"}); 10_001];
    api.post(JOBS, &json!(too_many)).expect_problem(422, "invalid");
}

/// What is answered 201 is there after the server was killed.
#[test]
fn who_joins_a_job_is_told_so_also_within_one_array_and_after_its_end() {
    let (server, api) = serve(&["--store", "memory"]);
    let old = api.submit(&json!({"function": "f", "unique": "old"}));
    let of = |unique: &str, attempts: u32| json!({"function": "f", "unique": unique, "attempts": attempts});
    // More than are carried out in one go.
    let mut jobs: Vec<Value> = (0..200).map(|index| of(&index.to_string(), index)).collect();
    jobs.extend([of("0", 1), of("old", 1), of("", 1), of("new", 1), of("new", 1)]);
    let items = api.post(JOBS, &json!(jobs)).ok()["items"].clone();
    let have_joined: Vec<bool> = (0..jobs.len()).map(|index| items[index]["joined"] == true).collect();
    let expected: Vec<bool> = (0..jobs.len()).map(|index| [200, 201, 204].contains(&index)).collect();
    assert_eq!(have_joined, expected);
    assert_eq!((&items[200]["handle"], &items[201]["handle"]), (&items[0]["handle"], &json!(old)));

    let headers = [("content-type", "application/json")];
    api.send("PUT", "/api/v1/policies/g", &headers, b"{\"unique_window\": 3600}").ok();
    let job = json!({"function": "g", "unique": "u"});
    let first = api.submit(&job);
    let mut worker = server.connect();
    worker.can_do("g");
    worker.take_job();
    worker.complete(&first, b"done");
    worker.settle();
    assert_eq!(api.post(JOBS, &job).status, 200);
    let waited = api.post(&format!("{JOBS}?wait=true"), &job).ok();
    assert_eq!(waited, json!({"handle": first, "state": "succeeded", "joined": true, "result": "done"}));
}

#[test]
fn who_waits_is_told_how_and_why_a_job_ended_badly() {
    let (server, api) = serve(&["--store", "memory"]);
    let waits = |job: Value| {
        let api = api.clone();
        thread::spawn(move || api.post(&format!("{JOBS}?wait=true"), &job).ok())
    };
    let mut worker = server.connect();
    worker.can_do("f");
    let timed_out = waits(json!({"function": "f", "attempts": 1, "run_timeout": 0.05}));
    take(&mut worker);
    let timed_out = timed_out.join().unwrap();
    assert_eq!((&timed_out["state"], &timed_out["reason"]), (&json!("failed"), &json!("timed_out")));
    let cancelled = waits(json!({"function": "f"}));
    let handle = take(&mut worker);
    api.send("POST", &format!("{JOBS}/{handle}/cancel"), &[], b"").ok();
    assert_eq!(cancelled.join().unwrap(), json!({"handle": handle, "state": "cancelled"}));
}

#[test]
fn a_background_job_is_on_disk_when_it_is_answered() {
    let files = tempfile::tempdir().unwrap();
    let data = files.path().join("data");
    let options = ["--handle-prefix", "H:x", "--data-dir", data.to_str().unwrap()];
    let (server, api) = serve(&options);
    let handles: Vec<String> =
        (0..20).map(|index| api.submit(&json!({"function": "f", "payload": index.to_string()}))).collect();
    server.signal(nix::sys::signal::Signal::SIGKILL);
    drop(server);
    let (_server, api) = serve(&options);
    eventually("the store is read", || (api.get("/readyz").status == 200).then_some(()));
    let found = api.all(JOBS);
    let found: Vec<&str> = found.iter().map(|job| job["handle"].as_str().unwrap()).collect();
    assert_eq!(found, handles);
}

#[test]
fn who_waits_is_given_the_result() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let waiting = |job: Value| {
        let api = api.clone();
        thread::spawn(move || api.post("/api/v1/jobs?wait=true", &job).ok())
    };
    let asked = waiting(json!({"function": "f", "payload": "x"}));
    let handle = take(&mut worker);
    assert_eq!(api.look(&format!("{JOBS}/{handle}"))["background"], false);
    worker.send(kind::WORK_WARNING, &[handle.as_bytes(), b"hot"]);
    worker.data(&handle, b"part 1, ");
    worker.data(&handle, b"part 2");
    worker.complete(&handle, b"done");
    let expected = json!({
        "handle": handle, "state": "succeeded", "result": "done", "data": "part 1, part 2", "warnings": ["hot"],
    });
    assert_eq!(asked.join().unwrap(), expected);

    let asked = waiting(json!({"function": "f"}));
    let handle = take(&mut worker);
    worker.fail(&handle);
    assert_eq!(asked.join().unwrap(), json!({"handle": handle, "state": "failed", "reason": "failed"}));
    let asked = waiting(json!({"function": "f"}));
    let handle = take(&mut worker);
    worker.exception(&handle, b"\xff");
    assert_eq!(
        asked.join().unwrap(),
        json!({"handle": handle, "state": "failed", "reason": "exception", "exception_base64": "/w=="})
    );
}

#[test]
fn who_waits_for_a_delayed_job_is_given_the_result_and_no_job_stays_if_it_leaves() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let asked = {
        let api = api.clone();
        thread::spawn(move || {
            api.post("/api/v1/jobs?wait=true", &json!({"function": "f", "delay": 3600, "payload": "x"})).ok()
        })
    };
    let scheduled = || api.look(&format!("{JOBS}?state=scheduled"))["items"][0].clone();
    let job = eventually("the job is there", || Some(scheduled()).filter(|job| !job.is_null()));
    assert_eq!((&job["background"], &job["waiting_clients"]), (&json!(false), &json!(1)));
    let handle = job["handle"].as_str().unwrap();
    assert!(worker.grab().is_none(), "it is not due");
    api.send("POST", &format!("{JOBS}/{handle}/run"), &[], &[]).ok();
    assert_eq!(take(&mut worker), handle);
    worker.complete(handle, b"done");
    assert_eq!(asked.join().unwrap(), json!({"handle": handle, "state": "succeeded", "result": "done"}));

    let path = "/api/v1/functions/f/jobs?delay=0.05";
    let mut stream = follow(&api, path, "text/plain", b"x");
    assert_eq!(event(&mut stream).unwrap().0, "created");
    let handle = take(&mut worker);
    worker.complete(&handle, b"soon");
    assert_eq!(event(&mut stream).unwrap().0, "result");

    let stream =
        api.begin("POST", "/api/v1/functions/f/jobs?delay=3600", &[("accept", "text/event-stream")], b"x");
    assert!(!scheduled().is_null());
    drop(stream);
    eventually("the job is dropped", || scheduled().is_null().then_some(()));
}

/// Two submits that are one job have its packets twice; each is given them once.
#[test]
fn submits_that_join_one_another_are_each_given_the_result() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let jobs = json!([
        {"function": "f", "unique": "u"}, {"function": "f", "unique": "v"}, {"function": "f", "unique": "u"},
    ]);
    let asked = {
        let api = api.clone();
        thread::spawn(move || api.post("/api/v1/jobs?wait=true", &jobs).ok())
    };
    let (first, second) = (take(&mut worker), take(&mut worker));
    worker.data(&first, b"a");
    worker.data(&second, b"b");
    worker.data(&first, b"c");
    worker.complete(&second, b"2");
    worker.complete(&first, b"1");
    let of_first = json!({"handle": first, "state": "succeeded", "result": "1", "data": "ac"});
    let of_second = json!({"handle": second, "state": "succeeded", "result": "2", "data": "b"});
    let mut joined = of_first.clone();
    joined["joined"] = json!(true);
    assert_eq!(asked.join().unwrap()["items"], json!([of_first, of_second, joined]));
}

#[test]
fn a_job_whose_only_waiter_leaves_is_dropped() {
    let (server, api) = serve(&["--store", "memory"]);
    let stream = api.begin("POST", "/api/v1/functions/f/jobs", &[("accept", "text/event-stream")], b"x");
    assert_eq!(api.all(JOBS).len(), 1);
    drop(stream);
    // The client keeps connections, and closes those whose answers were not read to their ends.
    eventually("the job is dropped", || api.all(JOBS).is_empty().then_some(()));
    assert_eq!(server.connect().admin("status"), "f\t0\t0\t0\n.\n");
}

/// The next event of a stream: its name and its data.
fn event(stream: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut name, mut data) = (String::new(), Value::Null);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).expect("a line") == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("event", text)) => name = text.to_owned(),
            Some(("data", text)) => data = serde_json::from_str(text).expect("JSON"),
            _ if line == "\n" && !name.is_empty() => return Some((name, data)),
            _ => {}
        }
    }
}

fn follow(api: &Api, path: &str, kind: &str, body: &[u8]) -> BufReader<impl Read + use<>> {
    let answer = api.begin("POST", path, &[("accept", "text/event-stream"), ("content-type", kind)], body);
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (200, "text/event-stream")
    );
    BufReader::new(answer.into_body().into_reader())
}

#[test]
fn a_stream_tells_what_the_worker_says_as_it_says_it() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let mut stream = follow(&api, "/api/v1/functions/f/jobs", "text/plain", b"x");
    let handle = take(&mut worker);
    let mut next = || event(&mut stream);
    assert_eq!(next(), Some(("created".into(), json!({"handle": handle, "index": 0}))));
    worker.progress(&handle, "1", "2");
    assert_eq!(next(), Some(("status".into(), json!({"handle": handle, "numerator": 1, "denominator": 2}))));
    worker.data(&handle, b"line 1\nline 2");
    assert_eq!(next(), Some(("data".into(), json!({"handle": handle, "data": "line 1\nline 2"}))));
    worker.send(kind::WORK_WARNING, &[handle.as_bytes(), b"\xff"]);
    assert_eq!(next(), Some(("warning".into(), json!({"handle": handle, "warning_base64": "/w=="}))));
    worker.complete(&handle, b"done");
    assert_eq!(next(), Some(("result".into(), json!({"handle": handle, "result": "done"}))));
    assert_eq!(next(), None);
}

#[test]
fn a_stream_of_many_jobs_ends_with_the_last() {
    let (server, api) = serve(&["--store", "memory", "--max-unique", "4"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let jobs = json!([{"function": "f"}, {"function": "f", "unique": "12345"}, {"function": "f"}]);
    let mut stream = follow(&api, JOBS, "application/json", jobs.to_string().as_bytes());
    let (first, second) = (take(&mut worker), take(&mut worker));
    worker.fail(&second);
    worker.exception(&first, b"why");
    let events: Vec<(String, Value)> = std::iter::from_fn(|| event(&mut stream)).collect();
    let names: Vec<&str> = events.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["created", "refused", "created", "failed", "exception"]);
    assert_eq!((&events[1].1["index"], &events[1].1["problem"]["status"]), (&json!(1), &json!(422)));
    assert_eq!(events[4].1, json!({"handle": first, "exception": "why"}));
}

#[test]
fn a_large_payload_goes_through_whole_in_both_directions() {
    let (server, api) = serve(&["--store", "memory"]);
    let payload: Vec<u8> = (0..5_000_000_u32).map(|index| (index % 251) as u8).collect();
    let mut worker = server.connect();
    worker.can_do("f");
    let asked = {
        let (api, payload) = (api.clone(), payload.clone());
        thread::spawn(move || api.send("POST", "/api/v1/functions/f/jobs?wait=true", &[], &payload).ok())
    };
    let job = eventually("a job comes", || worker.grab());
    assert!(job.data == payload);
    worker.complete(&job.handle, &payload);
    let result = asked.join().unwrap();
    let bytes =
        base64::Engine::decode(&base64::prelude::BASE64_STANDARD, result["result_base64"].as_str().unwrap());
    assert!(bytes.unwrap() == payload);
}

#[test]
fn a_request_with_a_key_is_done_once() {
    let (_server, api) = serve(&["--store", "memory"]);
    let send = |key: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        api.send("POST", JOBS, &headers, body.to_string().as_bytes())
    };
    let job = json!({"function": "f", "payload": "x"});
    let first = send("k1", &job);
    let second = send("k1", &job);
    assert_eq!(
        (second.status, &second.body, second.header("location")),
        (201, &first.body, first.header("location"))
    );
    assert_eq!(
        (first.header("idempotency-replayed"), second.header("idempotency-replayed")),
        (None, Some("true"))
    );
    send("k1", &json!({"function": "f", "payload": "y"})).expect_problem(422, "key-reused");
    assert_ne!(send("k2", &job).json(), first.json());
    let many = json!([job, job]);
    assert_eq!(send("k3", &many).json(), send("k3", &many).json());
    send("k4", &json!({"function": ""})).expect_problem(422, "invalid");
    assert_eq!(send("k4", &job).status, 201, "what was refused is not remembered");
    send("", &job).expect_problem(400, "unreadable");
    send("a\tb", &job).expect_problem(400, "unreadable");
    send(&"k".repeat(256), &job).expect_problem(400, "unreadable");
    let headers = [("idempotency-key", "k5")];
    api.send("POST", "/api/v1/functions/f/jobs?wait=true", &headers, b"x").expect_problem(422, "invalid");
    assert_eq!(api.all(JOBS).len(), 5);
}
