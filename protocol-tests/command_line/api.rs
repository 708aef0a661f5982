//! Commands over the HTTP API: what they ask, what they show, how they end. The answers are laid ready.

use serde_json::{Value, json};

use super::run::{end, run};
use super::stand_in::StandIn;

const ACTIONS: &str = "POST /jobs/actions";

fn job(handle: &str) -> Value {
    json!({
        "handle": handle, "function": "resize", "unique": "", "state": "failed", "reason": "timed_out",
        "priority": "normal", "background": true, "attempts": 3, "payload_size": 12,
        "worker": {"id": 7, "address": "127.0.0.1", "client_id": "w"},
    })
}

fn page(items: &[Value], next: Option<&str>) -> Value {
    json!({"items": items, "next": next})
}

#[test]
fn a_list_goes_on_page_by_page_and_ends_at_its_limit() {
    let api = StandIn::start(&[
        ("GET /jobs?state=failed&limit=3", 200, page(&[job("H:a:1"), job("H:a:2")], Some("x y"))),
        ("GET /jobs?state=failed&limit=1&after=x%20y", 200, page(&[job("H:a:3")], Some("more"))),
    ]);
    let ended = api.run(&["jobs", "--state", "failed", "--limit", "3"]);
    let table = ended.well();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(
        table.contains("H:a:3   resize    failed (timed_out)  normal      -         3       12  7/w     -\n")
    );
    assert!(ended.stderr.contains("there are more"), "{}", ended.stderr);
    assert!(!table.contains('\x1b'), "colours are for terminals");
    let lines = api.run(&["jobs", "--limit", "3", "--json", "list", "--state", "failed"]).well();
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap(), job("H:a:1"));
}

#[test]
fn every_part_of_a_filter_is_asked_for() {
    let asked = "GET /jobs?state=queued&function=img%2E*&priority=high&unique=u&handle=H:a:1&min_age=90&max_age=3600\
                 &worker=7&payload=a%26b&limit=1000";
    let asked = asked.replace('*', "%2A");
    let api = StandIn::start(&[(&asked, 200, page(&[], None))]);
    let filter = "--state queued --function img.* --priority high --unique u --handle H:a:1 --min-age 1m30s \
                  --max-age 1h --worker 7 --payload a&b --limit all";
    let args: Vec<&str> = ["jobs"].into_iter().chain(filter.split_whitespace()).collect();
    api.run(&args).well();
    assert_eq!(api.asked()[0].line, asked);
}

#[test]
fn an_action_says_what_happened_to_which_job_and_why_not_to_the_others() {
    let results = json!({"matched": 2, "done": 1, "results": [
        {"handle": "H:a:1", "outcome": "cancelled"},
        {"handle": "H:a:2", "outcome": "refused", "reason": "the job has ended"},
    ]});
    let api = StandIn::start(&[(ACTIONS, 200, results)]);
    let ended = api.run(&["jobs", "cancel", "--yes", "H:a:1", "H:a:2"]);
    assert!(ended.with_code(1).contains("cancel: done to 1 job, not to 1"), "{}", ended.stderr);
    assert_eq!(ended.stdout, b"H:a:1  cancelled\nH:a:2  not done: the job has ended\n");
    assert_eq!(api.bodies(ACTIONS), [json!({"action": "cancel", "handles": ["H:a:1", "H:a:2"]})]);
}

#[test]
fn what_destroys_asks_and_where_no_one_can_be_asked_it_does_nothing() {
    let api =
        StandIn::start(&[(ACTIONS, 200, json!({"matched": 5, "done": 0, "results": [], "next": null}))]);
    let commands: [&[&str]; 7] = [
        &["jobs", "cancel", "H:a:1"],
        &["jobs", "delete", "--all"],
        &["job", "H:a:1", "cancel"],
        &["functions", "purge", "f"],
        &["functions", "drop", "f"],
        &["workers", "disconnect", "7"],
        &["schedules", "delete", "H:a:1"],
    ];
    for args in commands {
        assert!(api.run(args).with_code(2).contains("say --yes"), "{args:?}");
    }
    assert!(api.asked().iter().all(|asked| asked.body["dry_run"] == true), "{:?}", api.asked());
}

#[test]
fn all_that_a_filter_finds_is_counted_first_and_done_page_by_page() {
    let counted =
        |matched, next: Option<&str>| json!({"matched": matched, "done": 0, "results": [], "next": next});
    let api =
        StandIn::start(&[(ACTIONS, 200, counted(1000, Some("c1"))), (ACTIONS, 200, counted(234, None))]);
    let filter = ["--function", "resize", "--min-age", "1h", "--all"];
    let said = api.run(&[&["jobs", "hold"], &filter[..], &["--dry-run"]].concat()).well();
    assert_eq!(said, "hold 1234 jobs: nothing was done\n");
    let filter_said = json!({"function": "resize", "min_age": 3600});
    assert_eq!(
        api.bodies(ACTIONS),
        [
            json!({"action": "hold", "filter": filter_said, "dry_run": true}),
            json!({"action": "hold", "filter": filter_said, "dry_run": true, "after": "c1"}),
        ]
    );

    let did = |handle: &str, next: Option<&str>| json!({"matched": 1, "done": 1, "results": [{"handle": handle, "outcome": "queued"}], "next": next});
    let api = StandIn::start(&[(ACTIONS, 200, did("H:a:1", Some("c1"))), (ACTIONS, 200, did("H:a:2", None))]);
    let ended = api.run(&[&["jobs", "priority", "low"], &filter[..]].concat());
    assert_eq!(ended.well(), "H:a:1  queued\nH:a:2  queued\n");
    assert!(ended.stderr.contains("done to 2 jobs"), "{}", ended.stderr);
    let last = json!({"action": "priority", "priority": "low", "filter": filter_said, "after": "c1"});
    assert_eq!(api.bodies(ACTIONS)[1], last);
}

#[test]
fn with_a_limit_no_more_are_asked_for_than_are_left_of_it() {
    let did = |handle: &str, next: Option<&str>| json!({"matched": 1, "done": 1, "results": [{"handle": handle, "outcome": "queued"}], "next": next});
    let api =
        StandIn::start(&[(ACTIONS, 200, did("H:a:1", Some("c1"))), (ACTIONS, 200, did("H:a:2", Some("c2")))]);
    let args = ["jobs", "retry", "--state", "failed", "--limit", "2", "--all"];
    assert_eq!(api.run(&args).well(), "H:a:1  queued\nH:a:2  queued\n");
    let filter = json!({"state": "failed"});
    let first = json!({"action": "retry", "filter": filter, "limit": 2});
    assert_eq!(
        api.bodies(ACTIONS),
        [first, json!({"action": "retry", "filter": filter, "limit": 1, "after": "c1"})]
    );

    let none = json!({"matched": 0, "done": 0, "results": [], "next": null});
    let api = StandIn::start(&[(ACTIONS, 200, none)]);
    let ended = api.run(&["jobs", "delete", "--all", "--limit", "2"]);
    assert_eq!((ended.well(), api.asked().len()), (String::new(), 1), "nothing to ask about");
    assert!(ended.stderr.contains("done to 0 jobs"), "{}", ended.stderr);
}

#[test]
fn a_dry_run_does_nothing_to_jobs_that_are_named_either() {
    let undone = json!({"handle": "H:a:2", "outcome": "not_done", "reason": "the job has ended"});
    let answer = json!({"matched": 1, "done": 0, "results": [undone], "next": null});
    let api = StandIn::start(&[(ACTIONS, 200, answer)]);
    let told = api.run(&["jobs", "cancel", "H:a:1", "H:a:2", "--dry-run"]).well();
    assert_eq!(told, "H:a:2  not done: the job has ended\ncancel 1 job: nothing was done\n");
    let asked = json!({"action": "cancel", "handles": ["H:a:1", "H:a:2"], "dry_run": true});
    assert_eq!(api.bodies(ACTIONS), [asked]);
}

#[test]
fn it_must_be_clear_which_jobs_are_meant() {
    let cases: [(&[&str], &str); 4] = [
        (&["jobs", "hold"], "name the jobs"),
        (&["jobs", "hold", "--state", "queued"], "say --all"),
        (&["jobs", "hold", "H:a:1", "--state", "queued"], "not both"),
        (&["jobs", "hold", "H:a:1", "--all"], "cannot be used with"),
    ];
    for (args, said) in cases {
        let ended = run(args);
        assert!(ended.with_code(2).contains(said), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn why_there_is_no_answer_is_said_with_what_to_do() {
    let nobody = run(&["jobs", "--http", "127.0.0.1:1"]);
    let said = nobody.with_code(2);
    assert!(said.contains("http://127.0.0.1:1") && said.contains("GEARHOUSE_OPT_HTTP_URL"), "{said}");
    assert!(run(&["jobs", "--http", "https://jobs"]).with_code(2).contains("no TLS"));

    let problem =
        |detail: &str| json!({"type": "/problems/x", "title": "An access token is needed", "detail": detail});
    let api = StandIn::start(&[
        ("GET /jobs?limit=100", 401, problem("The token is unknown here")),
        ("GET /functions?limit=1000", 403, problem("This needs a token of scope read")),
        ("GET /workers?limit=1000", 200, json!("hello")),
    ]);
    let said = api.run(&["jobs"]).with_code(1).to_owned();
    assert!(said.contains("unknown here") && said.contains("--token @FILE"), "{said}");
    let said = api.run(&["functions"]).with_code(1).to_owned();
    assert!(said.contains("This needs a token of scope read (an access token is needed)"), "{said}");
    assert!(api.run(&["workers"]).with_code(2).contains("is not Gearhouse's HTTP API"));
}

#[test]
fn the_token_is_sent_wherever_it_is_said() {
    let api = StandIn::start(&[("GET /jobs?limit=100", 200, page(&[], None))]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let in_file = format!("@{}", file.display());
    api.run(&["jobs"]).well();
    api.run(&["jobs", "--token", "typed"]).well();
    api.run(&["jobs", "--token", &in_file]).well();
    end(api.command(&["jobs"]).env("GEARHOUSE_OPT_TOKEN", &in_file), b"").well();
    let sent: Vec<Option<String>> = api.asked().into_iter().map(|asked| asked.authorization).collect();
    let sent: Vec<Option<&str>> = sent.iter().map(Option::as_deref).collect();
    let from_file = Some("Bearer from-file");
    assert_eq!(sent, [None, Some("Bearer typed"), from_file, from_file]);
    assert!(run(&["jobs", "--token", "@/nowhere"]).with_code(2).contains("/nowhere"));
}

#[test]
fn the_log_of_a_job_is_followed_until_it_ends() {
    let entry = |serial: u64, what: &str| json!({"serial": serial, "at": "2027-01-31T08:30:00.000000Z", "what": what});
    let state = "GET /jobs/H:a:1?fields=state";
    let api = StandIn::start(&[
        (state, 200, json!({"state": "running"})),
        (state, 200, json!({"state": "failed"})),
        ("GET /jobs/H:a:1/log?limit=1000", 200, page(&[entry(5, "submitted")], None)),
        ("GET /jobs/H:a:1/log?newer_than=5&limit=1000", 200, page(&[entry(9, "ended")], None)),
    ]);
    let told = api.run(&["job", "H:a:1", "log", "--follow"]).well();
    assert_eq!(told, "5  2027-01-31T08:30:00.000000Z  submitted\n9  2027-01-31T08:30:00.000000Z  ended\n");
}

#[test]
fn a_followed_job_that_is_gone_has_ended() {
    let state = "GET /jobs/H:a:1?fields=state";
    let api = StandIn::start(&[
        (state, 200, json!({"state": "running"})),
        (state, 404, json!({"title": "There is nothing of this name", "detail": "There is no job H:a:1"})),
        ("GET /jobs/H:a:1/log?limit=1000", 200, page(&[], None)),
        ("GET /jobs/H:a:1/log?limit=1000", 404, json!({"title": "There is nothing of this name"})),
    ]);
    assert_eq!(api.run(&["job", "H:a:1", "log", "--follow"]).well(), "");
    assert!(api.run(&["job", "H:b:1", "log", "--follow"]).with_code(1).contains("H:b:1"));
}

#[test]
fn a_policy_is_set_and_lifted_and_told_with_where_each_value_comes_from() {
    let path = "/policies/img%2E%2A";
    let (patch, get, delete) = (format!("PATCH {path}"), format!("GET {path}"), format!("DELETE {path}"));
    let policy = json!({"pattern": "img.*", "origin": "operator", "policy": {"attempts": 5, "backoff": 10}});
    let rules = json!({
        "rules": {"attempts": 5, "order": "fifo", "lease": null},
        "sources": {"attempts": "operator img.*", "order": "default", "lease": "default"},
    });
    let mut with_file = policy.clone();
    with_file["file"] = json!({"attempts": 2, "paused": true});
    let api = StandIn::start(&[
        (&patch, 200, policy.clone()),
        (&get, 200, with_file),
        (&delete, 204, Value::Null),
        ("GET /functions/img%2Ea/policy", 200, rules),
        ("GET /functions/img%2Ea", 200, json!({"function": "img.a", "queued": {"high": 1}})),
        ("GET /policies?limit=1000", 200, page(&[policy], None)),
    ]);
    let set = ["functions", "policy", "set", "img.*", "attempts=5", "backoff=10s", "paused=true"];
    assert_eq!(api.run(&set).well(), "attempts  5\nbackoff   10\n");
    let got = api.run(&["functions", "policy", "get", "img.*"]).well();
    assert_eq!(
        got,
        "RULE      VALUE  FROM\nattempts  5      operator\nbackoff   10     operator\npaused    true   file\n"
    );
    assert!(
        api.run(&["functions", "policy", "set", "", "attempts=5"]).with_code(2).contains("name a function")
    );
    api.run(&["functions", "policy", "unset", "img.*", "backoff"]).well();
    api.run(&["functions", "policy", "unset", "img.*"]).well();
    assert_eq!(
        api.bodies(&patch),
        [json!({"attempts": 5, "backoff": "10s", "paused": true}), json!({"backoff": null})]
    );
    assert_eq!(api.asked().last().unwrap().line, delete);
    let listed = api.run(&["functions", "policy", "list"]).well();
    assert_eq!(listed, "PATTERN  SET BY    VALUES\nimg.*    operator  attempts=5 backoff=10\n");

    let table = api.run(&["functions", "policy", "get", "img.a"]).well();
    let expected = "\
RULE      VALUE  FROM
attempts  5      operator img.*
lease     -      default
order     fifo   default
";
    assert_eq!(table, expected);
    let shown = api.run(&["functions", "show", "img.a"]).well();
    assert_eq!(shown, format!("function     img.a\nqueued high  1\n\n{expected}"));
}

#[test]
fn one_function_or_worker_that_refuses_does_not_stop_the_others() {
    let refused = json!({"title": "There is nothing of this name", "detail": "There is no function g"});
    let api = StandIn::start(&[
        ("POST /functions/g/pause", 404, refused.clone()),
        ("POST /functions/f%20%FF/pause", 200, json!({})),
        ("POST /workers/1/stop", 404, refused),
        ("POST /workers/2/stop", 200, json!({})),
    ]);
    let mut pause = api.command(&["functions", "pause", "g"]);
    pause.arg(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"f \xff"));
    let ended = end(&mut pause, b"");
    assert!(ended.with_code(1).contains("g: the server refused: There is no function g"), "{}", ended.stderr);
    assert!(String::from_utf8_lossy(&ended.stdout).contains("paused"));
    assert_eq!(api.run(&["workers", "stop", "1", "2"]).code, Some(1));
    assert_eq!(api.asked().len(), 4);
}

#[test]
fn a_schedule_is_made_of_what_was_said() {
    let made = json!({"handle": "H:a:4", "cron": "30 8 * * Mon-Fri"});
    let api = StandIn::start(&[("POST /schedules", 201, made), ("PATCH /schedules/H:a:4", 200, json!({}))]);
    let create = "--zone Europe/Berlin --payload-file - --overlap skip --misfire once --unique r";
    let mut args = vec!["schedules", "create", "report", "30 8 * * Mon-Fri"];
    args.extend(create.split(' '));
    let told = end(&mut api.command(&args), b"\xff").well();
    assert!(told.contains("handle  H:a:4"), "{told}");
    let expected = json!({
        "function": "report", "cron": "30 8 * * Mon-Fri", "zone": "Europe/Berlin", "payload_base64": "/w==",
        "overlap": "skip", "misfire": "once", "unique": "r",
    });
    assert_eq!(api.bodies("POST /schedules"), [expected]);
    api.run(&["schedules", "change", "H:a:4", "--cron", "* * * * *"]).well();
    assert_eq!(api.bodies("PATCH /schedules/H:a:4"), [json!({"cron": "* * * * *"})]);
    assert!(api.run(&["schedules", "change", "H:a:4"]).with_code(2).contains("nothing is to be changed"));
}

#[test]
fn load_is_a_table_and_a_curve_of_the_range_that_was_asked_for() {
    let item = |waiting: u64| {
        json!({"at": "2027-01-31T08:00:00.000000Z", "waiting": {"high": 0, "normal": waiting, "low": 0},
            "running": 2, "oldest_age": 61.5, "wait": {"p95": 0.25}})
    };
    let range =
        "from=2027%2D01%2D31T08:00:00%2E000000Z&to=2027%2D01%2D31T08:00:10%2E000000Z&step=5&function=f";
    let line = format!("GET /load?{}", range.replace("%2D", "-"));
    let api = StandIn::start(&[(&line, 200, page(&[item(1), item(8)], None))]);
    let args =
        ["load", "--function", "f", "--from", "2027-01-31T08:00:00Z", "--to", "2027-01-31T09:00:10+01:00"];
    let table = api.run(&[&args[..], &["--step", "5s"]].concat()).well();
    assert!(table.contains("2027-01-31 08:00:00        8        2"), "{table}");
    assert!(table.contains("1m01s     250ms"), "{table}");
    assert!(table.contains("waiting    ▁█  most 8\n"), "{table}");
    assert!(run(&["load", "--from", "1m", "--to", "2m"]).with_code(2).contains("before"));
}
