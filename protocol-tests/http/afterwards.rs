//! What is told of a job after it happened, and while it does: its log, its result, and the events of all jobs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use super::{Api, serve};
use crate::command_line::run::text;
use crate::support::peer::request;
use crate::support::{Server, eventually, kind};

/// Reads a stream of events: their names and data.
struct Events(BufReader<Box<dyn std::io::Read>>);

impl Events {
    #[track_caller]
    fn of(api: &Api, path: &str, headers: &[(&str, &str)]) -> Events {
        let headers = [&[("accept", "text/event-stream")], headers].concat();
        let answer = api.begin("GET", path, &headers, b"");
        assert_eq!(answer.status(), 200);
        Events(BufReader::new(Box::new(answer.into_body().into_reader())))
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("a stream") == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => name = text.to_owned(),
                Some(("data", text)) => data = serde_json::from_str(text).expect("JSON"),
                None if line == "\n" && !name.is_empty() => return Some((name, data)),
                _ => {}
            }
        }
    }

    fn names(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).map(|(name, _)| name).collect()
    }
}

fn words(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["what"].as_str().expect("a word")).collect()
}

#[test]
fn the_log_of_a_job_tells_its_whole_life_in_order() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let job = server.connect().submit_bg("f", "", b"x");
    let path = format!("/api/v1/jobs/{job}/log");
    api.send("POST", &format!("/api/v1/jobs/{job}/hold"), &[], b"").ok();
    api.send("POST", &format!("/api/v1/jobs/{job}/release"), &[], b"").ok();
    worker.take_job();
    worker.leave();
    eventually("it is back in the line", || {
        (api.look(&format!("/api/v1/jobs/{job}"))["state"] == "queued").then_some(())
    });
    let mut worker = server.connect();
    worker.can_do("f");
    worker.take_job();
    worker.fail(&job);
    worker.settle();
    let all = api.all(&path);
    let attempts = ["started", "attempt_ended", "started", "attempt_ended", "failed"];
    assert_eq!(words(&all), [&["submitted", "held", "released"][..], &attempts].concat(), "{all:?}");
    assert_eq!(
        (&all[4]["reason"], &all[6]["reason"], &all[5]["attempt"]),
        (&json!("lost"), &json!("failed"), &json!(2))
    );
    assert!(all[4]["started"].is_string() && all[4]["started_micros"].is_null(), "{}", all[4]);
    assert_eq!(all[3]["worker"], all[4]["worker"]);
    assert!(all[3]["worker"]["id"].is_u64(), "{}", all[3]);
    let serials: Vec<u64> = all.iter().map(|entry| entry["serial"].as_u64().unwrap()).collect();
    assert!(serials.is_sorted_by(|one, other| one < other), "{serials:?}");
    assert_eq!(api.all(&format!("{path}?limit=1")), all, "page by page it is the same");
    let newer = api.look(&format!("{path}?newer_than={}", serials[3]));
    assert_eq!(newer["items"].as_array().unwrap()[..], all[4..]);
    let last = serials.last().unwrap();
    assert_eq!(api.look(&format!("{path}?newer_than={last}")), json!({"items": [], "next": null}));
    api.get("/api/v1/jobs/H:x:1/log").expect_problem(404, "not-found");

    // Whatever becomes of it, what was told stays told.
    api.send("POST", &format!("/api/v1/jobs/{job}/retry"), &[], b"").ok();
    worker.take_job();
    worker.complete(&job, b"");
    worker.settle();
    let whole = api.all(&path);
    assert_eq!(whole[..all.len()], all[..]);
    assert_eq!(words(&whole[all.len()..]), ["retried", "started", "succeeded"]);
    let row = api.look(&format!("/api/v1/jobs/{job}"));
    assert!(row["first_start"].as_str() < row["last_start"].as_str(), "{row}");
    assert_eq!(whole[all.len() + 1]["at"], row["last_start"]);
}

#[test]
fn the_log_of_a_job_that_is_gone_tells_its_whole_life_and_why_it_is() {
    let files = tempfile::tempdir().unwrap();
    let options = ["--data-dir", text(files.path())];
    let (mut server, api) = serve(&options);
    let mut worker = server.connect();
    worker.can_do("f");
    let [first, second, deleted] =
        ["f", "f", "g"].map(|function| server.connect().submit_bg(function, "", b"x"));
    let headers = [("content-type", "application/json")];
    let policy = b"{\"keep_succeeded\": 60, \"keep_succeeded_count\": 1}";
    api.send("PUT", "/api/v1/policies/f", &headers, policy).ok();
    for _ in 0..2 {
        let handle = worker.take_job().handle;
        worker.complete(&handle, b"");
    }
    worker.settle();
    api.send("DELETE", &format!("/api/v1/jobs/{deleted}"), &[], b"").ok();
    let told = |api: &Api, job: &str| api.all(&format!("/api/v1/jobs/{job}/log"));
    let before = [&first, &second, &deleted].map(|job| told(&api, job));
    assert_eq!(words(&before[0]), ["submitted", "started", "succeeded", "retired"], "{before:?}");
    assert!(before[0][1]["worker"]["address"].is_string(), "{before:?}");
    assert_eq!(before[0][3]["reason"], "count");
    assert_eq!(words(&before[1]), ["submitted", "started", "succeeded"]);
    assert_eq!(words(&before[2]), ["submitted", "retired"]);
    assert_eq!(before[2][1]["reason"], "deleted");
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    let (_server, api) = serve(&options);
    assert_eq!([&first, &second, &deleted].map(|job| told(&api, job)), before);
}

#[test]
fn all_that_a_worker_says_in_one_go_is_in_the_log() {
    let (server, api) = serve(&["--store", "memory"]);
    let job = server.connect().submit_bg("f", "", b"x");
    let mut worker = server.connect();
    worker.can_do("f");
    worker.take_job();
    let said = |number: u8| [job.as_bytes(), b"\0", &[b'a' + number][..]].concat();
    let packets = (0..20).map(|number| request(crate::support::kind::WORK_WARNING, &said(number)));
    worker.send_raw(&packets.collect::<Vec<_>>().concat());
    worker.send(crate::support::kind::WORK_DATA, &[job.as_bytes(), b"\xff\x00"]);
    worker.complete(&job, b"");
    worker.settle();
    let all = api.all(&format!("/api/v1/jobs/{job}/log"));
    let warnings: String = all
        .iter()
        .filter(|entry| entry["what"] == "warning")
        .map(|entry| entry["data"].as_str().unwrap())
        .collect();
    assert_eq!(warnings, "abcdefghijklmnopqrst");
    assert_eq!(words(&all[22..]), ["data", "succeeded"]);
    assert_eq!((&all[22]["data"], &all[22]["data_base64"]), (&Value::Null, &json!("/wA=")));
    assert!(all[1]["worker"]["address"].is_string(), "{}", all[1]);
    // Who had it is known also when that has left.
    worker.leave();
    eventually("it left", || api.all("/api/v1/workers").is_empty().then_some(()));
    assert_eq!(api.all(&format!("/api/v1/jobs/{job}/log")), all);
}

#[test]
fn progress_and_the_time_that_comes_are_in_the_log() {
    let (server, api) = serve(&["--store", "memory"]);
    let [job, later] =
        [0.05, 3600.0].map(|delay| api.submit(&json!({"function": "f", "delay": delay, "keep": 60})));
    let mut worker = server.connect();
    worker.can_do("f");
    eventually("it is due", || (api.look(&format!("/api/v1/jobs/{job}"))["state"] == "queued").then_some(()));
    worker.take_job();
    let path = format!("/api/v1/jobs/{job}/log");
    eventually("progress is written", || {
        worker.progress(&job, "1", "3");
        worker.settle();
        words(&api.all(&path)).contains(&"progress").then_some(())
    });
    worker.progress(&job, "2", "3");
    worker.complete(&job, b"");
    worker.settle();
    let all = api.all(&path);
    assert_eq!(words(&all[..4]), ["submitted", "due", "started", "progress"], "{all:?}");
    let [.., last, end] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (&last["numerator"], &last["denominator"], &end["what"]),
        (&json!(2), &json!(3), &json!("succeeded"))
    );
    api.send("POST", &format!("/api/v1/jobs/{later}/run"), &[], b"").ok();
    assert_eq!(words(&api.all(&format!("/api/v1/jobs/{later}/log"))), ["submitted", "run"]);
}

#[test]
fn a_log_is_followed_to_the_end_of_the_job() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let job = server.connect().submit_bg("f", "", b"x");
    let path = format!("/api/v1/jobs/{job}/log");
    let mut events = Events::of(&api, &path, &[]);
    assert_eq!(events.next().unwrap().0, "submitted");
    worker.take_job();
    assert_eq!(events.next().unwrap().0, "started");
    worker.progress(&job, "1", "2");
    let (name, progress) = events.next().unwrap();
    assert_eq!((&*name, &progress["numerator"]), ("progress", &json!(1)));
    worker.send(crate::support::kind::WORK_WARNING, &[job.as_bytes(), b"careful"]);
    let (name, warning) = events.next().unwrap();
    assert_eq!((&*name, &warning["data"]), ("warning", &json!("careful")));
    worker.complete(&job, b"done");
    assert_eq!(events.names(), ["succeeded"]);
    let serial = warning["serial"].to_string();
    assert_eq!(Events::of(&api, &path, &[("last-event-id", &serial)]).names(), ["succeeded"]);
    let mut told = api.all(&path);
    // Of progress there is an entry if the second was not that of the start.
    told.retain(|entry| entry["what"] != "progress");
    assert_eq!(words(&told), ["submitted", "started", "warning", "succeeded"]);
}

#[test]
fn what_happens_is_told_to_those_who_watch() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut all = Events::of(&api, "/api/v1/events", &[]);
    let mut ends = Events::of(&api, "/api/v1/events?function=f*&what=succeeded,failed", &[]);
    let mut worker = server.connect();
    worker.can_do("f");
    worker.can_do("g");
    let other = server.connect().submit_bg("g", "", b"x");
    let job = server.connect().submit_bg("f", "", b"x");
    for _ in 0..2 {
        let handle = worker.take_job().handle;
        worker.complete(&handle, b"");
    }
    let (name, ended) = ends.next().unwrap();
    assert_eq!((&*name, &ended["handle"], &ended["function"]), ("succeeded", &json!(job), &json!("f")));
    assert!(ended["at"].is_string(), "{ended}");
    let mut told: Vec<(String, String)> = (0..6)
        .map(|_| all.next().unwrap())
        .map(|(name, data)| (data["handle"].as_str().unwrap().to_owned(), name))
        .collect();
    told.sort();
    let mut expected = Vec::new();
    for handle in [&job, &other] {
        for name in ["submitted", "started", "succeeded"] {
            expected.push((handle.clone(), name.to_owned()));
        }
    }
    expected.sort();
    assert_eq!(told, expected);
    api.get("/api/v1/events?what=nonsense").expect_problem(422, "invalid");
    api.get("/api/v1/events?handle=nonsense").expect_problem(422, "invalid");
    // The server does not wait for those who watch.
    let mut server = server;
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
    assert_eq!(all.next(), None);
}

#[test]
fn no_more_may_watch_than_the_server_has_room_for() {
    let (_server, api) = serve(&["--store", "memory"]);
    let mut watching: Vec<Events> = (0..64).map(|_| Events::of(&api, "/api/v1/events", &[])).collect();
    api.get("/api/v1/events").expect_problem(503, "busy");
    watching.pop();
    eventually("there is room again", || {
        let answer = api.begin("GET", "/api/v1/events", &[], b"");
        (answer.status() == 200).then_some(())
    });
}

#[test]
fn a_result_is_there_as_long_as_its_job_is_kept_also_after_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let options = ["--data-dir", text(files.path())];
    let (mut server, api) = serve(&options);
    let png = api.submit(&json!({"function": "f", "keep": 3600, "mime": "image/png"}));
    let [object, plain, forgotten, failed] = [Some(60), Some(60), None, None]
        .map(|keep| api.submit(&json!({"function": "f", "keep": keep, "payload": "x"})));
    let result = |api: &Api, handle: &str| api.get(&format!("/api/v1/jobs/{handle}/result"));
    let detail = |api: &Api, handle: &str| {
        result(api, handle).expect_problem(404, "not-found")["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail(&api, &png).contains("has not ended"));
    assert_eq!(result(&api, &png).json()["state"], "queued");
    let mut worker = server.connect();
    worker.can_do("f");
    for body in [&b"\x89PNG\xff"[..], b"{\"a\": 1}", b"hello", b"gone"] {
        let handle = worker.take_job().handle;
        worker.complete(&handle, body);
    }
    worker.take_job();
    worker.fail(&failed);
    worker.settle();
    let told = |api: &Api| {
        for (handle, kind, body) in [
            (&png, "image/png", &b"\x89PNG\xff"[..]),
            (&object, "application/json", b"{\"a\": 1}"),
            (&plain, "text/plain; charset=utf-8", b"hello"),
        ] {
            let answer = result(api, handle);
            assert_eq!((answer.status, &answer.body[..]), (200, body));
            assert_eq!(answer.header("content-type"), Some(kind));
        }
        assert!(detail(api, &failed).contains("failed"), "{}", detail(api, &failed));
    };
    told(&api);
    assert!(detail(&api, &forgotten).contains("only a line of it is kept"), "{}", detail(&api, &forgotten));
    let job = format!("/api/v1/jobs/{forgotten}");
    for (method, path, status, name) in [
        ("GET", format!("{job}/payload"), 404, "not-found"),
        ("POST", format!("{job}/cancel"), 409, "not-possible"),
        ("POST", format!("{job}/retry"), 409, "not-possible"),
        ("DELETE", job, 409, "not-possible"),
    ] {
        let problem = api.send(method, &path, &[], b"").expect_problem(status, name);
        assert!(
            problem["detail"].as_str().unwrap().contains("succeeded, and only a line of it"),
            "{problem}"
        );
    }
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.wait();
    let (_server, api) = serve(&options);
    told(&api);
    assert_eq!(api.look(&format!("/api/v1/jobs/{png}"))["mime"], "image/png");
}

#[test]
fn a_job_is_submitted_on_terms_of_its_own() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.can_do("f");
    let once = api.submit(&json!({"function": "f", "attempts": 1, "run_timeout": 0.05}));
    worker.take_job();
    let failed = eventually("it ran out of time", || {
        Some(api.look(&format!("/api/v1/jobs/{once}"))).filter(|job| job["state"] == "failed")
    });
    assert_eq!(failed["reason"], "timed_out");
    assert_eq!(failed["asked"], json!({"attempts": 1, "run_timeout": 0.05}));
    let reduce = api.submit(&json!({"function": "g", "reducer": "r", "keep": 60}));
    let part = api.look(&format!("/api/v1/jobs/{reduce}?fields=reducer,asked"));
    assert_eq!(part, json!({"reducer": "r", "asked": {"keep": 60.0}}));
    let plain = api.submit(&json!({"function": "g"}));
    let plain = api.look(&format!("/api/v1/jobs/{plain}"));
    assert!(plain.get("asked").is_none() && plain.get("reducer").is_none(), "{plain}");
    let answer = api.send("POST", "/api/v1/functions/f/jobs?keep=0&mime=text/csv", &[], b"x").ok();
    let handle = answer["handle"].as_str().unwrap();
    assert_eq!(api.look(&format!("/api/v1/jobs/{handle}"))["mime"], "text/csv");
    // In an array each has its own, and the answers are in their order.
    let many =
        json!([{"function": "f"}, {"function": "f", "mime": "a/b"}, {"function": ""}, {"function": "f"}]);
    api.post("/api/v1/jobs", &many).expect_problem(422, "invalid");
    let many = json!([{"function": "f"}, {"function": "f", "mime": "a/b"}, {"function": "f"}]);
    let items = api.post("/api/v1/jobs", &many).ok()["items"].clone();
    let mimes: Vec<Value> = (0..3)
        .map(|at| {
            api.look(&format!("/api/v1/jobs/{}", items[at]["handle"].as_str().unwrap()))["mime"].clone()
        })
        .collect();
    assert_eq!(mimes, [Value::Null, json!("a/b"), Value::Null]);
    for wrong in [
        json!({"keep": -1}),
        json!({"run_timeout": 1e10}),
        json!({"mime": "nonsense"}),
        json!({"mime": "a/\n"}),
    ] {
        let mut job = json!({"function": "f"});
        job.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        api.post("/api/v1/jobs", &job).expect_problem(422, "invalid");
    }
}

#[test]
fn who_reads_events_too_slowly_is_told_how_many_there_were() {
    const JOBS: u64 = 60_000;
    let (_server, api) = serve(&["--store", "memory"]);
    let function = "f".repeat(500);
    let mut events = Events::of(&api, "/api/v1/events", &[]);
    // More than the server holds for one who is behind, and than the sockets between the two take.
    let jobs = vec![json!({"function": function}); 10_000];
    for _ in 0..JOBS / 10_000 {
        api.post("/api/v1/jobs", &json!(jobs)).ok();
    }
    let (mut told, mut missed) = (0, 0);
    while told + missed < JOBS {
        match events.next().expect("the stream goes on") {
            (name, data) if name == "missed" => missed += data["missed"].as_u64().unwrap(),
            (name, _) => {
                assert_eq!(name, "submitted");
                told += 1;
            }
        }
    }
    assert!(missed > 0 && told > 0 && told + missed == JOBS, "{told} {missed}");
    // And then it is up to date again.
    api.post("/api/v1/jobs", &json!({"function": "g"})).ok();
    assert_eq!(events.next().unwrap().1["function"], "g");
}

#[test]
fn within_the_unique_window_a_job_that_ended_is_the_answer_also_after_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let options = ["--data-dir", text(files.path())];
    let (mut server, api) = serve(&options);
    let headers = [("content-type", "application/json")];
    api.send("PUT", "/api/v1/policies/f", &headers, b"{\"unique_window\": 3600}").ok();
    let first = server.connect().submit_bg("f", "said", b"x");
    let silent = server.connect().submit_bg("f", "silent", b"x");
    let mut worker = server.connect();
    worker.can_do("f");
    for result in [&b"once"[..], b""] {
        let handle = worker.take_job().handle;
        worker.complete(&handle, result);
    }
    worker.settle();
    let answered = |server: &Server| {
        for (unique, handle, result) in [("said", &first, &b"once"[..]), ("silent", &silent, b"")] {
            let mut client = server.connect();
            assert_eq!(client.submit("f", unique, b"x"), *handle);
            client.expect_complete(handle, result);
        }
    };
    answered(&server);
    // Once this is acknowledged the ends before it are on disk, too.
    server.connect().submit_bg("later", "", b"x");
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    let (server, api) = serve(&options);
    answered(&server);
    api.send("DELETE", &format!("/api/v1/jobs/{first}"), &[], b"").ok();
    assert_ne!(server.connect().submit("f", "said", b"x"), first);
}

/// All of a moment has the same time, and numbers run ahead of it.
#[test]
fn the_end_is_told_once_however_much_was_said_in_its_moment() {
    let (server, api) = serve(&["--store", "memory"]);
    let job = api.submit(&json!({"function": "f", "keep": 600}));
    let mut worker = server.connect();
    worker.can_do("f");
    worker.take_job();
    let say = |kind, body: &[u8]| request(kind, &[job.as_bytes(), body].join(&0));
    let all = [say(kind::WORK_WARNING, b"\x80").repeat(700), say(kind::WORK_COMPLETE, b"done")].concat();
    worker.send_raw(&all);
    worker.settle();
    let entries = eventually("all is written", || {
        let entries = api.all(&format!("/api/v1/jobs/{job}/log?limit=1000"));
        (entries.len() >= 703).then_some(entries)
    });
    assert_eq!(entries.len(), 703);
    assert_eq!(words(&entries[700..]), ["warning", "warning", "succeeded"]);
    assert_eq!(entries[701]["data_base64"], "gA==");
    let serials: BTreeSet<_> = entries.iter().filter_map(|entry| entry["serial"].as_u64()).collect();
    assert_eq!(serials.len(), entries.len());
}
