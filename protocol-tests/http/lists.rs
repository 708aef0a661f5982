//! Jobs, functions, workers and schedules as they are looked at.

use serde_json::{Value, json};

use super::serve;
use crate::support::{eventually, kind};

fn handles(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["handle"].as_str().expect("a handle")).collect()
}

#[test]
fn a_job_is_shown_as_it_stands() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut client = server.connect();
    let mut worker = server.connect();
    worker.send(kind::SET_CLIENT_ID, &[b"w1"]);
    worker.can_do_timeout("f", "60000");
    let handle = client.submit("f", "u", b"payload");
    let path = format!("/api/v1/jobs/{handle}");
    let queued = json!({
        "handle": handle, "function": "f", "unique": "u", "state": "queued", "priority": "normal", "background": false,
        "attempts": 0, "losses": 0, "waiting_clients": 1, "payload_size": 7,
    });
    let mut told = api.look(&path);
    assert!(told.as_object_mut().unwrap().remove("submitted").is_some_and(|at| at.is_string()));
    assert_eq!(told, queued);
    worker.take_job();
    worker.progress(&handle, "3", "10");
    worker.settle();
    let running = api.look(&path);
    assert_eq!(
        (&running["state"], &running["progress"]),
        (&json!("running"), &json!({"numerator": 3, "denominator": 10}))
    );
    assert_eq!(running["worker"], json!({"id": 2, "address": "127.0.0.1", "client_id": "w1"}));
    assert!(running["deadline"].is_string());
    assert_eq!(api.look(&format!("{path}?fields=state,unique")), json!({"state": "running", "unique": "u"}));
    api.get(&format!("{path}?fields=state,colour")).expect_problem(422, "invalid");

    let later = server.connect().submit_at("f", "", "4000000000", b"");
    let later = api.look(&format!("/api/v1/jobs/{later}"));
    assert_eq!(
        (&later["state"], &later["due"]),
        (&json!("scheduled"), &json!("2096-10-02T07:06:40.000000Z"))
    );
    assert_eq!(later["background"], true);
    worker.leave();
    assert_eq!(api.look(&path)["losses"], 1);
}

#[test]
fn bytes_that_are_no_text_are_told_in_base64_and_found_all_the_same() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    peer.send(kind::SUBMIT_JOB_BG, &[b"f\xff/ \xc3\xbc", b"u\xff", b"\xff\xfe"]);
    let handle = peer.created();
    let job = api.look(&format!("/api/v1/jobs/{handle}"));
    assert_eq!((&job["function"], &job["function_base64"]), (&Value::Null, &json!("Zv8vIMO8")));
    assert_eq!((&job["unique"], &job["unique_base64"]), (&Value::Null, &json!("df8=")));
    assert_eq!(api.get(&format!("/api/v1/jobs/{handle}/payload")).body, b"\xff\xfe");
    assert_eq!(api.look(&format!("/api/v1/jobs/{handle}?fields=unique")), json!({"unique_base64": "df8="}));
    assert_eq!(api.look("/api/v1/functions/f%FF%2F%20%C3%BC")["queued"]["normal"], 1);
    // As a parameter it would be taken for another name.
    api.get("/api/v1/jobs?function=f%FF*").expect_problem(422, "invalid");
    api.get("/api/v1/functions?function=f%FF*").expect_problem(422, "invalid");
}

#[test]
fn jobs_are_found_by_everything_that_can_be_said_of_them() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    let plain = peer.submit_bg("img.resize", "a", b"one needle");
    let high = peer.submit_as(kind::SUBMIT_JOB_HIGH_BG, "img.crop", "b", b"two");
    let low = peer.submit_as(kind::SUBMIT_JOB_LOW_BG, "mail", "a", b"three");
    let later = peer.submit_at("mail", "c", "4000000000", b"four needle");
    let large = peer.submit_bg("large", "", &[&vec![b'x'; 100_000][..], b"needle"].concat());
    let mut worker = server.connect();
    worker.can_do("mail");
    assert_eq!(worker.take_job().handle, low);
    let find = |filter: &str| {
        let items = api.all(&format!("/api/v1/jobs{filter}"));
        let mut found: Vec<String> = handles(&items).into_iter().map(str::to_owned).collect();
        found.sort();
        found
    };
    let sorted = |handles: &[&String]| {
        let mut handles: Vec<String> = handles.iter().map(|handle| (*handle).clone()).collect();
        handles.sort();
        handles
    };
    let cases: [(&str, &[&String]); 20] = [
        ("", &[&plain, &high, &low, &later, &large]),
        ("?limit=1", &[&plain, &high, &low, &later, &large]),
        ("?state=queued", &[&plain, &high, &large]),
        ("?state=running", &[&low]),
        ("?state=running&limit=1", &[&low]),
        ("?state=scheduled", &[&later]),
        ("?function=mail", &[&low, &later]),
        ("?function=mail&limit=1", &[&low, &later]),
        ("?function=mail&state=queued", &[]),
        ("?function=img.resize&state=queued", &[&plain]),
        ("?function=img.*", &[&plain, &high]),
        ("?function=*m*&state=scheduled", &[&later]),
        ("?function=nothing", &[]),
        ("?priority=high", &[&high]),
        ("?priority=low&function=mail", &[&low]),
        ("?unique=a", &[&plain, &low]),
        ("?unique=a&function=mail", &[&low]),
        ("?worker=2", &[&low]),
        ("?worker=1", &[]),
        ("?payload=needle", &[&plain, &later, &large]),
    ];
    for (filter, expected) in cases {
        assert_eq!(find(filter), sorted(expected), "{filter}");
    }
    assert_eq!(find("?payload=needle&function=mail"), sorted(&[&later]));
    assert_eq!(find("?payload=four%20needle"), sorted(&[&later]));
}

#[test]
fn a_queue_is_told_in_the_order_of_service() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    let mut expected = Vec::new();
    for (kind, range) in [
        (kind::SUBMIT_JOB_LOW_BG, 0..70),
        (kind::SUBMIT_JOB_BG, 70..200),
        (kind::SUBMIT_JOB_HIGH_BG, 200..201),
    ] {
        let submitted: Vec<String> =
            range.map(|index| peer.submit_as(kind, "f", "", format!("{index}").as_bytes())).collect();
        expected.splice(0..0, submitted);
    }
    let items = api.all("/api/v1/jobs?function=f&state=queued&limit=64");
    assert_eq!(handles(&items), expected);
    let page = api.look("/api/v1/jobs?function=f&state=queued&priority=low&limit=7");
    assert_eq!(handles(page["items"].as_array().unwrap()), expected[131..138]);
    let mut worker = server.connect();
    worker.can_do("f");
    assert_eq!(worker.take_job().handle, expected[0]);
    let items = api.all("/api/v1/jobs?function=f&state=queued&limit=64");
    assert_eq!(handles(&items), expected[1..]);
}

#[test]
fn what_succeeded_lately_comes_last_in_lists_that_do_not_exclude_it() {
    let (server, api) = serve(&["--store", "memory"]);
    let (mut peer, mut worker) = (server.connect(), server.connect());
    let done: Vec<String> = (0..3).map(|index| peer.submit_bg("f", &format!("u{index}"), b"x")).collect();
    worker.can_do("f");
    for job in &done {
        worker.take_job();
        worker.complete(job, b"");
    }
    worker.settle();
    let queued = peer.submit_bg("g", "u1", b"x");
    let latest_first: Vec<&String> = done.iter().rev().collect();
    for page in ["", "?limit=1", "?limit=2"] {
        let listed = api.all(&format!("/api/v1/jobs{page}"));
        assert_eq!(handles(&listed), [&[&queued][..], &latest_first].concat(), "{page}");
    }
    for (filter, found) in [
        ("unique=u1", vec![&queued, &done[1]]),
        ("unique=u1&limit=1", vec![&queued, &done[1]]),
        ("unique=u1&state=succeeded", vec![&done[1]]),
        ("unique=u1&state=queued", vec![&queued]),
        ("priority=normal&state=queued", vec![&queued]),
        ("function=f*", latest_first),
    ] {
        assert_eq!(handles(&api.all(&format!("/api/v1/jobs?{filter}"))), found, "{filter}");
    }
}

/// Payloads that are on disk only are fetched and searched there.
#[test]
fn payloads_that_are_on_disk_only_are_found_too() {
    let (server, api) = serve(&["--max-memory", "6MiB"]);
    let mut peer = server.connect();
    let payload = |index: usize| [&vec![b'p'; 60_000][..], format!("<{index}>").as_bytes()].concat();
    let jobs: Vec<String> = (0..100).map(|index| peer.submit_bg("f", "", &payload(index))).collect();
    eventually("payloads leave memory", || {
        peer.submit_bg("g", "", b"x");
        (api.look("/api/v1/server")["jobs"]["on_disk_only"].as_u64() > Some(50)).then_some(())
    });
    for index in [0, 50, 99] {
        let found = api.all(&format!("/api/v1/jobs?payload=%3C{index}%3E"));
        assert_eq!(handles(&found), [&jobs[index]], "{index}");
        assert_eq!(api.get(&format!("/api/v1/jobs/{}/payload", jobs[index])).body, payload(index), "{index}");
    }
    let on_disk = api.look("/api/v1/server")["jobs"]["on_disk_only"].as_u64();
    assert!(on_disk > Some(50), "who looks brings nothing back into memory");
}

#[test]
fn functions_are_counted() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    for (kind, count) in
        [(kind::SUBMIT_JOB_HIGH_BG, 1), (kind::SUBMIT_JOB_BG, 2), (kind::SUBMIT_JOB_LOW_BG, 3)]
    {
        (0..count).for_each(|_| drop(peer.submit_as(kind, "f", "", b"")));
    }
    peer.submit_at("f", "", "4000000000", b"");
    peer.submit_bg("g", "", b"");
    peer.admin("maxqueue g 7");
    peer.admin("create function h");
    let [mut awake, mut asleep] = [server.connect(), server.connect()];
    awake.can_do("f");
    awake.take_job();
    asleep.can_do("other");
    asleep.can_do("h");
    asleep.sleep();
    let expected = json!({
        "function": "f", "queued": {"high": 0, "normal": 2, "low": 3}, "scheduled": 1, "running": 1, "workers": 1,
        "schedules": 0, "limits": {"high": null, "normal": null, "low": null}, "pinned": false, "held": 0,
        "kept": {"succeeded": 0, "failed": 0, "cancelled": 0}, "highest_priority": "normal", "paused": false,
        "submitted": 7, "coalesced": 0, "succeeded": 0, "cancelled": 0, "failed": {}, "retried": {},
    });
    let mut all = api.all("/api/v1/functions?limit=1");
    let names: Vec<&Value> = all.iter().map(|function| &function["function"]).collect();
    assert_eq!(names, ["f", "g", "h", "other"]);
    for when in ["oldest_queued", "longest_wait"] {
        assert!(all[0].as_object_mut().unwrap().remove(when).is_some(), "{when}");
    }
    assert_eq!(having(&all[0], &expected), expected);
    assert_eq!(all[1]["limits"], json!({"high": 7, "normal": 7, "low": 7}));
    assert_eq!(all[2]["pinned"], true);
    assert_eq!(api.look("/api/v1/functions/h")["workers_asleep"], 1);
    assert_eq!(api.look("/api/v1/functions/f")["workers_asleep"], 0);
    let some = |pattern: &str| api.all(&format!("/api/v1/functions?function={pattern}&limit=1")).len();
    assert_eq!((some("g"), some("o*r"), some("*"), some("x*")), (1, 1, 4, 0));
}

#[test]
fn connections_are_told_with_what_they_do() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    worker.send(kind::SET_CLIENT_ID, &[b"w1"]);
    worker.can_do_timeout("b", "2500");
    worker.can_do("a");
    worker.settle();
    let mut client = server.connect();
    let handle = client.submit("a", "", b"");
    worker.take_job();
    let found = api.look("/api/v1/workers/1");
    let expected = json!({
        "id": 1, "address": "127.0.0.1", "client_id": "w1", "sleeping": false, "draining": false,
        "connected": found["connected"], "heard": found["heard"],
        "functions": [{"function": "a"}, {"function": "b", "timeout": 2.5}], "function_count": 2,
        "running": [handle], "running_count": 1, "awaiting": 0,
    });
    assert_eq!(api.look("/api/v1/workers")["items"], json!([expected]));
    assert_eq!(found, expected);
    let clients = api.all("/api/v1/clients?limit=1");
    assert_eq!(clients.len(), 2);
    assert_eq!((&clients[1]["awaiting"], &clients[1]["function_count"]), (&json!(1), &json!(0)));
    assert_eq!(api.all("/api/v1/workers?function=a*").len(), 1);
    assert_eq!(api.all("/api/v1/workers?function=c").len(), 0);
    worker.complete(&handle, b"");
    worker.sleep();
    let idle = api.look("/api/v1/workers/1");
    assert_eq!((&idle["sleeping"], &idle["running"]), (&json!(true), &json!([])));
    client.leave();
    assert_eq!(api.all("/api/v1/clients").len(), 1);
}

#[test]
fn schedules_are_those_of_the_protocol() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    let schedule = |peer: &mut crate::support::Peer, unique: &str| {
        let arguments: [&[u8]; 8] = [b"f", unique.as_bytes(), b"0", b"12", b"1", b"1", b"", b"abc"];
        peer.send(kind::SUBMIT_JOB_SCHED, &arguments);
        peer.created()
    };
    let made = ["a", "b", "c"].map(|unique| schedule(&mut peer, unique));
    let all = api.all("/api/v1/schedules?limit=2");
    assert_eq!(handles(&all), made);
    let first = api.look(&format!("/api/v1/schedules/{}", made[0]));
    assert_eq!(first, all[0]);
    assert_eq!(
        (&first["cron"], &first["unique"], &first["payload_size"]),
        (&json!("0 12 1 1 *"), &json!("a"), &json!(3))
    );
    assert!(first["next_run"].as_str().unwrap().ends_with("-01-01T12:00:00.000000Z"), "{first}");
    assert_eq!(api.get(&format!("/api/v1/schedules/{}/payload", made[0])).body, b"abc");
    assert_eq!(api.all("/api/v1/schedules?function=g").len(), 0);
    let job = peer.submit_bg("f", "", b"");
    api.get(&format!("/api/v1/schedules/{job}")).expect_problem(404, "not-found");
}

/// A worker with very many functions is told of by its first thousand.
#[test]
fn a_row_stays_short() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut worker = server.connect();
    for index in 0..3000 {
        worker.can_do(&format!("f{index}"));
    }
    worker.settle();
    let row = &api.all("/api/v1/workers")[0];
    assert_eq!(
        (row["functions"].as_array().map(Vec::len), &row["function_count"]),
        (Some(1000), &json!(3000))
    );
}

/// The fields of an object that another one has too.
fn having(object: &Value, other: &Value) -> Value {
    let has = |(name, _): &(&String, &Value)| other.get(name.as_str()).is_some();
    let fields = object.as_object().expect("it is an object").iter().filter(has);
    fields.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_unique_id_finds_its_jobs_wherever_they_are() {
    let (server, api) = serve(&["--store", "memory"]);
    let (mut peer, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let act = |job: &str, action: &str| api.post(&format!("/api/v1/jobs/{job}/{action}"), &json!({})).ok();
    let mut submit = || peer.submit_bg("f", "u", b"x");
    let failed = submit();
    worker.take_job();
    worker.fail(&failed);
    worker.settle();
    let cancelled = submit();
    act(&cancelled, "cancel");
    let retried = submit();
    act(&retried, "cancel");
    let cancelling = submit();
    worker.take_job();
    act(&cancelling, "cancel");
    let queued = submit();
    act(&retried, "retry");
    let elsewhere = peer.submit_bg("g", "u", b"x");
    let page = api.look("/api/v1/jobs?unique=u&limit=1");
    assert_eq!(handles(page["items"].as_array().unwrap()), [&queued], "as many as are asked for");
    for (filter, found) in [
        ("", vec![&queued, &elsewhere, &retried, &cancelling, &cancelled, &failed]),
        ("&limit=1", vec![&queued, &elsewhere, &retried, &cancelling, &cancelled, &failed]),
        ("&limit=2&function=f", vec![&queued, &retried, &cancelling, &cancelled, &failed]),
        ("&state=failed", vec![&failed]),
        ("&state=cancelled&limit=1", vec![&cancelled]),
        ("&state=cancelling", vec![&cancelling]),
        ("&state=queued&limit=1", vec![&queued, &elsewhere, &retried]),
        ("&worker=2", vec![&cancelling]),
        ("&function=g", vec![&elsewhere]),
    ] {
        assert_eq!(handles(&api.all(&format!("/api/v1/jobs?unique=u{filter}"))), found, "{filter}");
    }
}
