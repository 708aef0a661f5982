//! The metrics page, read by the parsers of those who will read it; and the alert rules, tried by Prometheus' own tool.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use gearhouse::broker::{Broker, Next, Sinks};
use gearhouse::engine::{Action, Did, Seed, Settings};
use gearhouse::observe::{Format, Watch, render};
use gearhouse::policy::Policy;
use gearhouse::protocol::{Frame, Kind, Request};
use gearhouse::store::memory::MemoryStore;
use gearhouse::types::{JobId, Timestamp};

use crate::http::serve;

const NOON: Timestamp = Timestamp::from_secs(1_800_000_000);

struct House {
    broker: Broker,
    watch: Watch,
}

impl House {
    fn new() -> Self {
        let seed = Seed { first_job: JobId(1), hash: 1 };
        let settings = Settings { handle_prefix: "H".into(), ..Settings::default() };
        Self { broker: Broker::new(settings, seed, 1 << 20), watch: Watch::new() }
    }

    /// One that keeps jobs, though not for long.
    fn with_store() -> Self {
        let seed = Seed { first_job: JobId(1), hash: 1 };
        let store = Box::new(MemoryStore::default());
        let (broker, mut committer, _) = Broker::open_driven(
            NOON,
            Settings::default(),
            seed,
            1 << 20,
            store,
            &AtomicU64::new(0),
            Sinks::default(),
        )
        .unwrap();
        let house = Self { broker, watch: Watch::new() };
        house.say(&[(Kind::SubmitJobBg, &[b"f", b"", b"x"]), (Kind::SubmitJobBg, &[b"f", b"", b"x"])]);
        while committer.step() == Next::Now {}
        house
    }

    /// A connection that stays, and says this.
    fn say(&self, packets: &[(Kind, &[&[u8]])]) {
        let (conn, outbox) = self.broker.open(Ipv4Addr::LOCALHOST.into());
        for (kind, arguments) in packets {
            let request = Request::parse(Frame::request(*kind, arguments));
            self.broker.apply(NOON, conn, &outbox, &mut vec![request]);
        }
    }

    fn page(&self, format: Format, most: usize) -> String {
        let snapshot = self.watch.snapshot(&self.broker, NOON.after(Duration::from_secs(5)), most);
        render(snapshot, "1.2.3", format)
    }
}

/// A function of each trouble: quotes, what is no UTF-8, a line's end, nothing done yet; and one with some life.
fn lively() -> House {
    let house = House::new();
    for name in [b"a\"b\\c".as_slice(), b"\xff\xfe", b"line\nend", "größer".as_bytes()] {
        house.say(&[(Kind::SubmitJobBg, &[name, b"", b"x"])]);
    }
    house.say(&[(Kind::CanDo, &[b"idle"])]);
    house.say(&[
        (Kind::SubmitJobHighBg, &[b"lively", b"u", b"x"]),
        (Kind::SubmitJobBg, &[b"lively", b"u", b"x"]),
        (Kind::SubmitJobBg, &[b"lively", b"", b"x"]),
        (Kind::SubmitJobLowBg, &[b"lively", b"", b"x"]),
        (Kind::CanDo, &[b"lively"]),
        (Kind::GrabJob, &[]),
        (Kind::GrabJob, &[]),
        (Kind::WorkFail, &[b"H:5"]),
    ]);
    house
}

#[test]
fn promtool_finds_nothing_wrong_with_the_page() {
    for house in [House::new(), House::with_store(), lively()] {
        let page = house.page(Format::Prometheus, Watch::FUNCTIONS);
        must_please_promtool(&page);
    }
}

#[track_caller]
fn must_please_promtool(page: &str) {
    let said = feed(Command::new("promtool").args(["check", "metrics"]), page);
    let found = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    // The names of the exporters that were here first are what they are.
    let inherited = |line: &&str| line.starts_with("gearman_version_info");
    let found: Vec<&str> = found.lines().filter(|line| !line.is_empty() && !inherited(line)).collect();
    assert!(found.is_empty(), "{found:#?}\n{page}");
}

/// The families of a page, as the parser of OpenMetrics' own library reads them.
#[track_caller]
fn parsed(page: &str) -> String {
    let parse = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
                 for family in read(sys.stdin.read()): print(family.type, family.name, len(family.samples))";
    let said = feed(Command::new("/usr/bin/python3").args(["-c", parse]), page);
    assert!(said.status.success(), "{}\n{page}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// What a running server is scraped for, in both formats.
#[test]
fn a_servers_own_page_is_read_by_both_parsers() {
    let (server, api) = serve(&[]);
    let mut peer = server.connect();
    let mut worker = server.connect();
    let handle = peer.submit_bg("f", "", b"x");
    worker.can_do("f");
    worker.take_job();
    worker.complete(&handle, b"");
    peer.submit_bg("f", "", b"x");
    worker.settle();
    peer.settle();
    let page = api.get("/metrics");
    assert_eq!(page.header("content-type"), Some(Format::Prometheus.content_type()));
    let page = String::from_utf8(page.body).unwrap();
    must_please_promtool(&page);
    for line in [
        "gearhouse_function_jobs_succeeded_total{function=\"f\"} 1",
        "gearhouse_function_job_wait_seconds_count{function=\"f\"} 1",
        "gearhouse_function_job_run_seconds_count{function=\"f\"} 1",
        "gearhouse_history_up 1",
        "gearhouse_store_ready 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(page.contains("gearhouse_function_oldest_queued_age_seconds{function=\"f\"}"), "{page}");
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let page = api.send("GET", "/metrics", &[("accept", accept)], &[]);
    assert_eq!(page.header("content-type"), Some(Format::OpenMetrics.content_type()));
    let families = parsed(&String::from_utf8(page.body).unwrap());
    assert!(families.contains("counter gearhouse_history_entries_written 1\n"), "{families}");
}

#[test]
fn a_strict_parser_reads_the_page_as_openmetrics() {
    for house in [House::new(), House::with_store(), lively()] {
        let page = house.page(Format::OpenMetrics, Watch::FUNCTIONS);
        let families = parsed(&page);
        assert!(families.contains("info gearman_version 1\n"), "{families}");
        assert!(families.contains("counter gearhouse_jobs_submitted 1\n"), "{families}");
    }
}

#[test]
fn dashboards_made_for_gearmand_find_their_names() {
    let page = lively().page(Format::Prometheus, Watch::FUNCTIONS);
    for line in [
        "gearman_up 1",
        "gearman_version_info{version=\"1.2.3\"} 1",
        "gearman_jobs{function=\"lively\"} 2",
        "gearman_jobs_running{function=\"lively\"} 1",
        "gearman_jobs_waiting{function=\"lively\"} 1",
        "gearman_workers{function=\"lively\"} 1",
        "gearman_jobs{function=\"größer\"} 1",
        "gearman_jobs{function=\"\\\\xff\\\\xfe\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn what_happened_to_jobs_is_told_by_function_and_in_all() {
    let page = lively().page(Format::Prometheus, Watch::FUNCTIONS);
    for line in [
        "gearhouse_function_jobs_submitted_total{function=\"lively\"} 3",
        "gearhouse_function_jobs_coalesced_total{function=\"lively\"} 1",
        "gearhouse_function_jobs_started_total{function=\"lively\"} 2",
        "gearhouse_function_jobs_failed_total{function=\"lively\",reason=\"failed\"} 1",
        "gearhouse_function_jobs_queued{function=\"lively\",priority=\"low\"} 1",
        "gearhouse_jobs_submitted_total 7",
        "gearhouse_jobs_failed_total{reason=\"failed\"} 1",
        "gearhouse_jobs_failed_total{reason=\"lost\"} 0",
        "gearhouse_jobs_running 1",
        "gearhouse_functions 6",
        "gearhouse_functions_not_shown 0",
        "gearhouse_connections 6",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn what_is_held_paused_limited_and_how_long_it_waits_is_told() {
    let house = House::new();
    let limits = Policy {
        paused: Some(true),
        max_running: Some(3),
        max_waiting_bytes: Some(1000),
        rate: Some(0.5),
        ..Policy::default()
    };
    house.say(&[(Kind::SubmitJobBg, &[b"slow", b"", b"x"]), (Kind::SubmitJobBg, &[b"slow", b"", b"x"])]);
    house.say(&[(Kind::SubmitJobBg, &[b"slower", b"", b"x"])]);
    assert!(house.page(Format::Prometheus, Watch::FUNCTIONS).contains("_paused{function=\"slower\"} 0\n"));
    // Nothing else happens to the functions.
    house.broker.set_policy(NOON, "slow*", Some(limits)).0.expect("it is kept nowhere");
    assert!(house.page(Format::Prometheus, Watch::FUNCTIONS).contains("_paused{function=\"slower\"} 1\n"));
    let (done, _) = house.broker.control(NOON, &[JobId(1)], Action::Hold);
    assert_eq!(done, [Ok(Did::Held)]);
    let due = (NOON.as_secs() + 2).to_string();
    house.say(&[(Kind::SubmitJobEpoch, &[b"later", b"", due.as_bytes(), b"x"])]);
    house.broker.advance(NOON.after(Duration::from_secs(2)));
    let page = house.page(Format::Prometheus, Watch::FUNCTIONS);
    for line in [
        "gearhouse_function_oldest_queued_age_seconds{function=\"later\"} 3.0",
        "gearhouse_function_oldest_queued_age_seconds{function=\"slow\"} 5.0",
        "gearman_jobs{function=\"slow\"} 2",
        "gearman_jobs_waiting{function=\"slow\"} 2",
        "gearhouse_function_jobs_queued{function=\"slow\",priority=\"normal\"} 1",
        "gearhouse_function_jobs_held{function=\"slow\"} 1",
        "gearhouse_function_paused{function=\"slow\"} 1",
        "gearhouse_function_limit{function=\"slow\",limit=\"max_running\"} 3.0",
        "gearhouse_function_limit{function=\"slow\",limit=\"max_waiting_bytes\"} 1000.0",
        "gearhouse_function_limit{function=\"slow\",limit=\"rate\"} 0.5",
        "gearhouse_jobs_held 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("limit=\"max_waiting\""), "what is not limited has no series");
}

#[test]
fn the_store_tells_how_many_records_each_sync_made_safe() {
    let page = House::with_store().page(Format::Prometheus, Watch::FUNCTIONS);
    for line in [
        "gearhouse_store_ready 1",
        "gearhouse_store_group_records_bucket{le=\"1\"} 0",
        "gearhouse_store_group_records_bucket{le=\"2\"} 1",
        "gearhouse_store_group_records_sum 2",
        "gearhouse_memory_bytes{part=\"store_backlog\"} 0",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[test]
fn the_page_shows_the_busiest_functions_and_counts_the_others() {
    let house = House::new();
    for number in 0..500 {
        let name = format!("f{number}");
        house.say(&[(Kind::SubmitJobBg, &[name.as_bytes(), b"", b""])]);
    }
    house.say(&[(Kind::SubmitJobBg, &[b"busy", b"", b""]), (Kind::SubmitJobBg, &[b"busy", b"", b""])]);
    let page = house.page(Format::Prometheus, 20);
    let shown = page.lines().filter(|line| line.starts_with("gearman_jobs{")).count();
    assert_eq!(shown, 20);
    assert!(page.contains("gearman_jobs{function=\"busy\"} 2\n"));
    assert!(page.contains("gearhouse_functions_not_shown 481\n"));
    assert!(page.contains("gearhouse_jobs_submitted_total 502\n"));
}

#[test]
fn alert_rules_hold_and_fire_when_they_should() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]] {
        let said =
            Command::new("promtool").args(arguments).current_dir(folder).output().expect("promtool runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(said.status.success(), "{arguments:?}:\n{}{}", text(&said.stdout), text(&said.stderr));
    }
}

#[test]
fn rules_and_dashboard_ask_only_for_what_there_is() {
    let document = include_str!("../docs/metrics.md");
    for (file, text) in [
        ("alerts.yml", include_str!("../docs/monitoring/alerts.yml")),
        ("grafana-dashboard.json", include_str!("../docs/monitoring/grafana-dashboard.json")),
    ] {
        let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let names = text
            .split(|char| !is_part(char))
            .filter(|word| word.starts_with("gearhouse_") || word.starts_with("gearman_"));
        for name in names {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let is_there = |name: &str| document.contains(&format!("| `{name}` |"));
            assert!(is_there(name) || family.is_some_and(is_there), "{file} asks for {name}");
        }
    }
    serde_json::from_str::<serde_json::Value>(include_str!("../docs/monitoring/grafana-dashboard.json"))
        .expect("the dashboard is JSON");
}

fn feed(command: &mut Command, text: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("protocol-tests/setup installs what reads metrics");
    let mut input = child.stdin.take().expect("it is piped");
    // Who ends early has found something wrong, and says so.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    child.wait_with_output().expect("it ends")
}
