//! Traces, as a collector gets them: a tiny one of our own, which keeps what is sent to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::examples::run_examples_of;
use crate::http::{Api, serve};
use crate::support::{Peer, Server, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Takes spans, for as long as the test runs.
struct Collector {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Self {
        Self::answering(TcpListener::bind("127.0.0.1:0").unwrap(), "200 OK", "{}")
    }

    fn answering(listener: TcpListener, status: &'static str, body: &'static str) -> Self {
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Value>>>::default());
        let kept = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = kept.clone();
                thread::spawn(move || while answer(&stream, &kept, status, body).is_some() {});
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn spans(&self) -> Vec<Value> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .flat_map(|request| items(&request["resourceSpans"][0]["scopeSpans"][0]["spans"]))
            .collect()
    }

    /// The spans of a job, once they are here: its own, then those of its attempts.
    #[track_caller]
    fn spans_of(&self, handle: &str) -> Vec<Value> {
        eventually(&format!("the spans of {handle} come"), || {
            let spans = self.spans().into_iter();
            Some(spans.filter(|span| attribute(span, "messaging.message.id") == handle).collect())
                .filter(|spans: &Vec<Value>| !spans.is_empty())
        })
    }
}

/// Reads a request, keeps what it brings, and answers it. `None`: no other one comes.
fn answer(mut stream: &TcpStream, kept: &Mutex<Vec<Value>>, status: &str, body: &str) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    let length = head.split_once("\r\ncontent-length: ")?.1.lines().next()?.parse().ok()?;
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent).ok()?;
    kept.lock().unwrap().push(serde_json::from_slice(&sent).expect("what is sent is JSON"));
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .ok()
}

fn items(list: &Value) -> Vec<Value> {
    list.as_array().expect("a list").clone()
}

fn attribute(span: &Value, key: &str) -> Value {
    let attributes = items(&span["attributes"]);
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.map_or(Value::Null, |found| {
        let value = &found["value"];
        value.get("stringValue").or_else(|| value.get("intValue")).expect("text or a number").clone()
    })
}

fn nanos(span: &Value, key: &str) -> u64 {
    span[key].as_str().and_then(|text| text.parse().ok()).expect("a number of 64 bits, as text")
}

fn traced(collector: &Collector) -> (Server, Api) {
    serve(&["--otlp", &collector.url()])
}

/// A worker does the next job of this function.
#[track_caller]
fn work(server: &Server, function: &str) -> String {
    let mut worker = server.connect();
    worker.can_do(function);
    let job = worker.take_job();
    worker.complete(&job.handle, b"");
    worker.settle();
    job.handle
}

/// A job, and the worker that has it.
#[track_caller]
fn started(server: &Server) -> (Peer, String) {
    let handle = server.connect().submit_bg("mail", "", b"x");
    let mut worker = server.connect();
    worker.can_do("mail");
    worker.take_job();
    (worker, handle)
}

#[track_caller]
fn submit(api: &Api, headers: &[(&str, &str)]) -> String {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = api.send("POST", "/api/v1/jobs", &headers, br#"{"function": "mail"}"#);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["handle"].as_str().expect("a handle").to_owned()
}

/// A number of the metrics page.
#[track_caller]
fn metric(api: &Api, name: &str) -> u64 {
    let page = String::from_utf8(api.get("/metrics").body).unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
}

#[test]
fn a_job_has_a_span_from_its_submit_to_its_end_and_one_for_its_attempt() {
    let collector = Collector::start();
    let (server, api) = traced(&collector);
    let handle = server.connect().submit_bg("mail", "u1", b"x");
    assert_eq!(work(&server, "mail"), handle);
    let spans = collector.spans_of(&handle);
    let [job, attempt] = spans.as_slice() else { panic!("{spans:?}") };

    assert_eq!((&job["name"], &job["kind"]), (&json!("job mail"), &json!(5)));
    assert_eq!(job.get("parentSpanId"), None);
    assert_eq!(job.get("status"), None);
    assert_eq!(job["traceId"].as_str().map(str::len), Some(32));
    assert_eq!(job["spanId"].as_str().map(str::len), Some(16));
    let expected = [
        ("messaging.system", "gearman"),
        ("messaging.destination.name", "mail"),
        ("messaging.operation.name", "job"),
        ("gearhouse.outcome", "succeeded"),
        ("gearhouse.priority", "normal"),
        ("gearhouse.unique", "u1"),
        ("gearhouse.attempts", "1"),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(job, key), value, "{key}");
    }
    assert_eq!(attribute(job, "error.type"), Value::Null);

    assert_eq!(attempt["name"], "process mail");
    assert_eq!((&attempt["traceId"], &attempt["parentSpanId"]), (&job["traceId"], &job["spanId"]));
    assert_eq!(attribute(attempt, "messaging.operation.type"), "process");
    assert_eq!(attribute(attempt, "network.peer.address"), "127.0.0.1");
    let [start, end] = ["startTimeUnixNano", "endTimeUnixNano"];
    assert!(nanos(job, start) <= nanos(attempt, start), "{spans:?}");
    assert!(nanos(attempt, start) <= nanos(attempt, end), "{spans:?}");
    assert_eq!(nanos(attempt, end), nanos(job, end));

    let resource = &collector.requests.lock().unwrap()[0]["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), "gearhouse");
    // The collector has it before the server hears that.
    eventually("what was sent is counted", || {
        (metric(&api, "gearhouse_traces_spans_sent_total") == 2).then_some(())
    });
    assert_eq!(metric(&api, "gearhouse_traces_spans_dropped_total"), 0);
}

#[test]
fn a_job_that_failed_has_the_status_of_an_error() {
    let collector = Collector::start();
    let (server, _) = traced(&collector);
    let (mut worker, handle) = started(&server);
    worker.fail(&handle);
    let spans = collector.spans_of(&handle);
    assert_eq!(spans.len(), 2, "{spans:?}");
    for span in &spans {
        assert_eq!(span["status"], json!({"code": 2, "message": "failed"}));
        assert_eq!(attribute(span, "error.type"), "failed");
    }
    assert_eq!(attribute(&spans[0], "gearhouse.outcome"), "failed");
}

#[test]
fn a_job_that_is_tried_again_has_a_span_for_each_attempt() {
    let collector = Collector::start();
    let (server, _) = traced(&collector);
    let (worker, handle) = started(&server);
    worker.leave();
    assert_eq!(work(&server, "mail"), handle);
    let spans = collector.spans_of(&handle);
    let [job, first, second] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((job.get("status"), attribute(job, "gearhouse.attempts")), (None, json!("2")));
    assert_eq!((&first["status"]["message"], second.get("status")), (&json!("lost"), None));
    assert_eq!([first, second].map(|span| attribute(span, "gearhouse.attempt")), ["1", "2"]);
    assert!([first, second].iter().all(|span| span["parentSpanId"] == job["spanId"]), "{spans:?}");
}

#[test]
fn a_job_that_no_one_waits_for_any_more_has_a_span() {
    let collector = Collector::start();
    let (server, _) = traced(&collector);
    let mut client = server.connect();
    let handle = client.submit("mail", "", b"x");
    client.leave();
    let spans = collector.spans_of(&handle);
    assert_eq!((spans.len(), attribute(&spans[0], "gearhouse.outcome")), (1, json!("dropped")));
}

#[test]
fn a_submit_over_http_goes_on_with_the_trace_of_its_caller() {
    let collector = Collector::start();
    let (server, api) = traced(&collector);
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let handle = submit(&api, &[("traceparent", &parent), ("tracestate", "a=1"), ("tracestate", "b=2")]);
    assert_eq!(work(&server, "mail"), handle);
    let spans = collector.spans_of(&handle);
    let [job, attempt] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((&job["traceId"], &job["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
    assert_eq!((&job["traceState"], &job["flags"]), (&json!("a=1,b=2"), &json!(0x301)));
    assert_eq!((&attempt["traceId"], &attempt["parentSpanId"]), (&json!(TRACE), &job["spanId"]));
}

#[test]
fn a_header_that_makes_no_sense_is_as_none_and_a_trace_that_is_not_recorded_is_left_alone() {
    let collector = Collector::start();
    let (server, api) = traced(&collector);
    let good = format!("00-{TRACE}-{PARENT}-01");
    let unrecorded = submit(&api, &[("traceparent", &good.replace("-01", "-00"))]);
    let cases = [
        vec![("traceparent", good[..50].to_owned())],
        vec![("traceparent", good.replace(TRACE, &"0".repeat(32)))],
        vec![("traceparent", good.clone()), ("traceparent", good.clone())],
        vec![("tracestate", "a=1".to_owned())],
    ];
    let mut own = Vec::new();
    for case in &cases {
        let headers: Vec<(&str, &str)> = case.iter().map(|(name, value)| (*name, value.as_str())).collect();
        own.push(submit(&api, &headers));
    }
    for _ in 0..=cases.len() {
        work(&server, "mail");
    }
    let mut traces = Vec::new();
    for handle in own {
        let job = collector.spans_of(&handle).remove(0);
        assert!(job.get("parentSpanId").is_none() && job.get("traceState").is_none(), "{job}");
        assert!(job["traceId"] != TRACE && !traces.contains(&job["traceId"]), "{job}");
        traces.push(job["traceId"].clone());
    }
    // It ended before all the others.
    let told = collector.spans();
    assert!(
        told.iter().all(|span| attribute(span, "messaging.message.id") != unrecorded.as_str()),
        "{told:?}"
    );
}

#[test]
fn a_restart_does_not_part_a_job_from_its_trace() {
    let collector = Collector::start();
    let files = tempfile::tempdir().unwrap();
    let options = ["--otlp", &collector.url(), "--data-dir", files.path().to_str().unwrap()];
    let (server, api) = serve(&options);
    let handle = submit(&api, &[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    drop(server);
    let (server, _) = serve(&options);
    assert_eq!(work(&server, "mail"), handle);
    let job = collector.spans_of(&handle).remove(0);
    assert_eq!((&job["traceId"], &job["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
}

#[test]
fn what_a_collector_that_is_down_missed_is_sent_when_it_is_up() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (server, api) = serve(&["--otlp", &format!("http://{address}")]);
    assert_eq!(metric(&api, "gearhouse_traces_up"), 1);
    let handle = server.connect().submit_bg("mail", "", b"x");
    work(&server, "mail");
    eventually("the server notices that nobody listens", || {
        (metric(&api, "gearhouse_traces_up") == 0).then_some(())
    });
    let later = server.connect().submit_bg("mail", "", b"x");
    work(&server, "mail");
    let collector = Collector::answering(TcpListener::bind(address).unwrap(), "200 OK", "");
    for handle in [handle, later] {
        assert_eq!(collector.spans_of(&handle).len(), 2);
    }
    eventually("the server says that all is well again", || {
        server.log().contains("traces are sent again; 0 spans were left out").then_some(())
    });
    assert_eq!(server.log().matches("traces cannot be sent").count(), 1, "{}", server.log());
    assert_eq!(metric(&api, "gearhouse_traces_up"), 1);
}

#[test]
fn what_a_collector_refuses_is_counted() {
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let partly = r#"{"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too old"}}"#;
    for (status, body, sent, dropped) in [("400 Bad Request", "", 0, 2), ("200 OK", partly, 1, 1)] {
        let collector = Collector::answering(listener(), status, body);
        let (server, api) = traced(&collector);
        server.connect().submit_bg("mail", "", b"x");
        work(&server, "mail");
        eventually("what was refused is counted", || {
            (metric(&api, "gearhouse_traces_spans_dropped_total") == dropped).then_some(())
        });
        assert_eq!(metric(&api, "gearhouse_traces_spans_sent_total"), sent);
        assert_eq!(metric(&api, "gearhouse_traces_up"), u64::from(status == "200 OK"));
    }
}

#[test]
fn the_last_spans_are_sent_before_the_server_ends() {
    let collector = Collector::start();
    let (mut server, _) = traced(&collector);
    let handle = server.connect().submit_bg("mail", "", b"x");
    work(&server, "mail");
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    let spans = collector.spans();
    assert!(spans.iter().any(|span| attribute(span, "messaging.message.id") == handle.as_str()), "{spans:?}");
}

#[test]
fn what_the_page_on_monitoring_tells_of_traces_is_so() {
    let collector = Collector::start();
    let (server, api) = traced(&collector);
    run_examples_of("docs/monitoring/README.md", &server, &api);
    let handle = work(&server, "mail");
    let job = collector.spans_of(&handle).remove(0);
    assert_eq!((&job["traceId"], &job["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
}
