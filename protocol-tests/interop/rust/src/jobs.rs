//! Jobs: submitted by the crate's client, done by its worker.

use bytes::Bytes;
use futures::StreamExt;
use gearman::client::{
    Client, ClientBuilder, JobEvent, JobHandle, JobStatus, Priority, SubmitOptions, SubmittedJob,
};
use gearman::{GearmanError, Result};

use crate::support::{Outcome, Report, Worker, address, eventually, function, payload, restart_server, same};

const MIB: usize = 1 << 20;
const PAYLOAD_SIZES: [usize; 9] = [0, 1, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 20 * MIB];

pub(crate) async fn check(report: &mut Report) {
    report.check("foreground", foreground()).await;
    report.check("background", background()).await;
    report.check("priorities", priorities()).await;
    report.check("progress", progress()).await;
    report.check("data", data()).await;
    report.check("warning", warning()).await;
    report.check("exception", exception()).await;
    report.check_unless_gearmand("W6", "exception_without_option", exception_without_option()).await;
    report.check("fail", fail()).await;
    report.check("unique", unique()).await;
    report.check("status", status()).await;
    report.check("status_by_unique", status_by_unique()).await;
    report.check("payloads", payloads()).await;
    report.check("epoch", epoch()).await;
    report.check("reducer", reducer()).await;
    report.check("worker_dies", worker_dies()).await;
}

/// Last, because it has the server forget everything.
pub(crate) async fn check_reconnect(report: &mut Report) {
    report.check("reconnect", reconnect()).await;
}

pub(crate) async fn client() -> Result<Client> {
    ClientBuilder::new().servers([address()]).connect().await
}

pub(crate) async fn submit(
    client: &Client,
    kind: &str,
    unique: Option<&str>,
    data: &str,
    options: SubmitOptions,
) -> Result<SubmittedJob> {
    client.submit(&function(kind), unique, Bytes::copy_from_slice(data.as_bytes()), options).await
}

async fn foreground() -> Outcome {
    let _worker = Worker::start(&["echo"])?;
    let result = client().await?.submit_fg(&function("echo"), "hello").await?;
    same("the result", &result, &Bytes::from_static(b"hello"))
}

async fn background() -> Outcome {
    let mut worker = Worker::start(&["record"])?;
    let client = client().await?;
    let handle = client.submit_bg(&function("record"), "unwatched").await?;
    same("what ran", &worker.wait_for("ran ").await?.as_str(), &"unwatched")?;
    eventually(async || Ok(!client.get_status(&handle).await?.known)).await
}

async fn priorities() -> Outcome {
    let client = client().await?;
    let mut watched = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let options = SubmitOptions::background().with_priority(priority);
        submit(&client, "order-record", None, &format!("{priority:?}-bg"), options).await?;
        let options = SubmitOptions::foreground().with_priority(priority);
        watched.push(submit(&client, "order-record", None, &format!("{priority:?}-fg"), options).await?);
    }
    let mut worker = Worker::start(&["order-record"])?;
    for expected in ["High-bg", "High-fg", "Normal-bg", "Normal-fg", "Low-bg", "Low-fg"] {
        same("the next in order", &worker.wait_for("ran ").await?.as_str(), &expected)?;
    }
    for job in watched {
        same("the number of events", &all_events(job).await.len(), &1)?;
    }
    Ok(())
}

async fn progress() -> Outcome {
    let _worker = Worker::start(&["progress"])?;
    let seen = events_of("progress", "").await?;
    let expected: Vec<String> =
        (1..=4).map(|step| format!("status {step}/4")).chain(["complete".into()]).collect();
    same("the events", &seen, &expected)
}

async fn data() -> Outcome {
    let _worker = Worker::start(&["chunks"])?;
    same(
        "the events",
        &events_of("chunks", "a,\0b\u{e9},,c").await?,
        &texts(&["data a", "data \0b\u{e9}", "data", "data c", "complete end"]),
    )
}

async fn warning() -> Outcome {
    let _worker = Worker::start(&["warn"])?;
    same(
        "the events",
        &events_of("warn", "beware\0!").await?,
        &texts(&["warning beware\0!", "complete warned"]),
    )
}

async fn exception() -> Outcome {
    let mut worker = Worker::start(&["raise", "record"])?;
    let client = ClientBuilder::new().servers([address()]).with_exceptions(true).connect().await?;
    let job = submit(&client, "raise", None, "broken\0!", SubmitOptions::foreground()).await?;
    same("the events", &all_events(job).await, &texts(&["exception broken\0!"]))?;
    // The worker must have come through it.
    client.submit_fg(&function("record"), "next").await?;
    same("what ran", &worker.wait_for("ran ").await?.as_str(), &"next")
}

async fn exception_without_option() -> Outcome {
    let _worker = Worker::start(&["raise", "echo"])?;
    same("the events", &events_of("raise", "broken").await?, &texts(&["fail"]))?;
    same("the events of the next job", &events_of("echo", "next").await?, &texts(&["complete next"]))
}

async fn fail() -> Outcome {
    let _worker = Worker::start(&["fail"])?;
    match client().await?.submit_fg(&function("fail"), "").await {
        Err(GearmanError::JobFailed { .. }) => Ok(()),
        other => Err(format!("the result is {other:?}").into()),
    }
}

async fn unique() -> Outcome {
    // Twice on one connection, as the crate allows, and once on another.
    let (client, other) = (client().await?, client().await?);
    let mut jobs = Vec::new();
    for (submitter, data) in [(&client, "first"), (&client, "second"), (&other, "third")] {
        jobs.push(
            submit(submitter, "unique-record", Some("the-one"), data, SubmitOptions::foreground()).await?,
        );
    }
    same("the handles", &jobs[1].handle, &jobs[0].handle)?;
    same("the handles", &jobs[2].handle.as_str(), &jobs[0].handle.as_str())?;
    let mut worker = Worker::start(&["unique-record"])?;
    for job in jobs {
        same("the events", &all_events(job).await, &texts(&["complete first"]))?;
    }
    client.submit_fg(&function("unique-record"), "last").await?;
    same("what ran first", &worker.wait_for("ran ").await?.as_str(), &"first")?;
    same("what ran next", &worker.wait_for("ran ").await?.as_str(), &"last")
}

async fn status() -> Outcome {
    let client = client().await?;
    let handle = client.submit_bg(&function("status-hold"), "x").await?;
    let ask = async || client.get_status(&handle).await.map(numbers);
    same("the status of a waiting job", &ask().await?, &(true, false, 0, 0, None))?;
    let mut worker = Worker::start(&["status-hold"])?;
    worker.wait_for("holding").await?;
    eventually(async || Ok(ask().await? == (true, true, 3, 10, None))).await?;
    worker.go().await?;
    eventually(async || Ok(ask().await? == (false, false, 0, 0, None))).await
}

async fn status_by_unique() -> Outcome {
    let client = client().await?;
    let job = submit(&client, "asked-hold", Some("asked-for"), "x", SubmitOptions::foreground()).await?;
    let ask = async |handle: &JobHandle| client.get_status_unique(handle).await.map(numbers);
    same("the status of a waiting job", &ask(&job.handle).await?, &(true, false, 0, 0, Some(1)))?;
    let mut worker = Worker::start(&["asked-hold"])?;
    same("the unique id at the worker", &worker.wait_for("holding").await?.as_str(), &"asked-for")?;
    eventually(async || Ok(ask(&job.handle).await? == (true, true, 3, 10, Some(1)))).await?;
    worker.go().await?;
    let handle = job.handle.clone();
    same("the events", &all_events(job).await, &texts(&["status 3/10", "complete x"]))?;
    eventually(async || Ok(ask(&handle).await? == (false, false, 0, 0, Some(0)))).await
}

async fn payloads() -> Outcome {
    let _worker = Worker::start(&["echo"])?;
    let client = client().await?;
    for size in PAYLOAD_SIZES {
        let sent = payload(size);
        let got = client.submit_fg(&function("echo"), sent.clone()).await?;
        same(&format!("the equality of {size} bytes"), &(got == sent), &true)?;
    }
    Ok(())
}

async fn epoch() -> Outcome {
    let client = client().await?;
    let future = client.submit_epoch(&function("epoch-record"), None, 4_102_444_800, "future").await?;
    client.submit_epoch(&function("epoch-record"), None, 1_000_000_000, "past").await?;
    let mut worker = Worker::start(&["epoch-record"])?;
    same("what ran", &worker.wait_for("ran ").await?.as_str(), &"past")?;
    let status = client.get_status(&future).await?;
    same("the status of the future job", &numbers(status), &(true, false, 0, 0, None))
}

async fn reducer() -> Outcome {
    let _worker = Worker::start(&["reduce"])?;
    let client = client().await?;
    let job = client.submit_reduce_job(&function("reduce"), None, "by-sum", "x", false).await?;
    same("the events", &all_events(job).await, &texts(&["complete by-sum"]))?;
    // Without a reducer, GRAB_JOB_ALL is answered by another packet.
    same("the events of a plain job", &events_of("reduce", "x").await?, &texts(&["complete"]))
}

async fn worker_dies() -> Outcome {
    let client = client().await?;
    let job =
        submit(&client, "dying-hold", Some("a-unique-id"), "survivor", SubmitOptions::foreground()).await?;
    let mut first = Worker::start(&["dying-hold"])?;
    same("the unique id at the worker", &first.wait_for("holding").await?.as_str(), &"a-unique-id")?;
    first.kill().await?;
    let mut second = Worker::start(&["dying-hold"])?;
    same("the unique id at the second worker", &second.wait_for("holding").await?.as_str(), &"a-unique-id")?;
    second.go().await?;
    same("the events", &all_events(job).await, &texts(&["status 3/10", "status 3/10", "complete survivor"]))
}

async fn reconnect() -> Outcome {
    let _worker = Worker::start(&["echo"])?;
    let client = client().await?;
    let ask = async |data: &'static str| client.submit_fg(&function("echo"), data).await;
    same("the result", &ask("before").await?, &Bytes::from_static(b"before"))?;
    restart_server().await?;
    // Both come back by themselves; a submission meanwhile is refused.
    eventually(async || Ok(ask("after").await.is_ok_and(|result| result == "after"))).await
}

/// The events of one foreground job from its own client, as text.
async fn events_of(kind: &str, data: &str) -> Result<Vec<String>> {
    let client = client().await?;
    Ok(all_events(submit(&client, kind, None, data, SubmitOptions::foreground()).await?).await)
}

async fn all_events(job: SubmittedJob) -> Vec<String> {
    let Some(events) = job.events else { return Vec::new() };
    let text = |word: &str, data: &Bytes| {
        format!("{word} {}", String::from_utf8_lossy(data)).trim_end_matches(' ').to_owned()
    };
    events
        .map(|event| match event {
            JobEvent::Status { numerator, denominator } => format!("status {numerator}/{denominator}"),
            JobEvent::Data(data) => text("data", &data),
            JobEvent::Warning(data) => text("warning", &data),
            JobEvent::Complete(data) => text("complete", &data),
            JobEvent::Exception(data) => text("exception", &data),
            JobEvent::Fail => "fail".into(),
        })
        .collect()
        .await
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn numbers(status: JobStatus) -> (bool, bool, u64, u64, Option<u32>) {
    (status.known, status.running, status.numerator, status.denominator, status.client_count)
}
