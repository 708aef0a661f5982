//! What the queue manager alone costs: submit, grab and complete of a background job, at two depths; and the same, with
//! what registering and listing takes, for a worker of very many functions.
//!
//! `cargo bench --bench engine` prints nanoseconds a job. No sockets, no locks: see docs/ARCHITECTURE.md.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::Bytes;
use gearhouse::engine::{Drain, Engine, Lister, Output, Record, Seed, Settings};
use gearhouse::protocol::{Flavor, Frame, Kind, Listing, Magic, Refusal, Request, Response, WriteBuf};
use gearhouse::types::{ConnId, JobId, RecordNo, Timestamp};

const JOBS: u64 = 200_000;

/// Encodes answers as a server does and keeps the handle of the job assigned last.
#[derive(Default)]
struct Sink {
    handle: String,
    line: WriteBuf,
}

impl Output for Sink {
    fn persist(&mut self, _: Record<'_>) -> Result<RecordNo, Refusal> {
        Ok(RecordNo::NONE)
    }
    fn send(&mut self, _: ConnId, _: RecordNo, response: Response<'_>) {
        if let Response::Assign { handle, .. } = &response {
            self.handle = handle.to_string();
        }
        response.encode(&mut self.line);
        self.line = WriteBuf::default();
    }
    fn hold(&mut self, _: ConnId, _: RecordNo, _: JobId) {}
    fn fill(&mut self, _: ConnId, _: JobId, _: Response<'_>) {}
    fn load(&mut self, _: JobId) {}
    fn close(&mut self, _: ConnId, _: &'static str) {}
    fn shutdown(&mut self, _: Drain) {}
}

fn request(kind: Kind, body: String) -> Request {
    Request::parse(Frame { magic: Magic::Request, kind, body: Bytes::from(body) })
}

fn main() {
    depths();
    functions(20_000);
    functions(100_000);
}

fn depths() {
    for depth in [1_000, 1_000_000] {
        let seed = Seed { first_job: JobId(1), hash: 7 };
        let mut engine = Engine::new(Settings::default(), seed);
        let (client, worker, now) = (ConnId(1), ConnId(2), Timestamp::from_secs(1));
        let mut sink = Sink::default();
        for conn in [client, worker] {
            engine.connect(conn, Ipv4Addr::LOCALHOST.into());
        }
        engine.apply(now, worker, request(Kind::CanDo, "f".into()), &mut sink);
        let submit = |number: u64| request(Kind::SubmitJobBg, format!("f\0u{number}\0payload"));
        for number in 0..depth {
            engine.apply(now, client, submit(number), &mut sink);
        }
        let began = Instant::now();
        for number in depth..depth + JOBS {
            engine.apply(now, client, submit(number), &mut sink);
            engine.apply(now, worker, Request::Grab(Flavor::Unique), &mut sink);
            let done = request(Kind::WorkComplete, format!("{}\0result", sink.handle));
            engine.apply(now, worker, done, &mut sink);
        }
        let a_job = began.elapsed().as_nanos() / u128::from(JOBS);
        println!(
            "{depth} jobs waiting: {a_job} ns for parse, submit, grab, complete of a job with a unique id"
        );
    }
}

fn functions(count: usize) {
    let mut engine = Engine::new(Settings::default(), Seed { first_job: JobId(1), hash: 7 });
    let (worker, now) = (ConnId(1), Timestamp::from_secs(1));
    let mut sink = Sink::default();
    engine.connect(worker, Ipv4Addr::LOCALHOST.into());
    let names: Vec<String> = (0..count).map(|number| format!("function-{number:06}")).collect();
    let began = Instant::now();
    for name in &names {
        engine.apply(now, worker, request(Kind::CanDo, name.clone()), &mut sink);
    }
    let able = began.elapsed();
    let began = Instant::now();
    for name in &names {
        engine.apply(now, worker, request(Kind::SubmitJobBg, format!("{name}\0\0payload")), &mut sink);
    }
    let submitted = began.elapsed();
    let began = Instant::now();
    let (mut text, mut lister) = (Vec::new(), Lister::new(Listing::Status));
    while engine.list(&mut lister, 1000, &mut text) {}
    let listed = began.elapsed();
    let began = Instant::now();
    for _ in &names {
        engine.apply(now, worker, Request::Grab(Flavor::Unique), &mut sink);
        let done = request(Kind::WorkComplete, format!("{}\0result", sink.handle));
        engine.apply(now, worker, done, &mut sink);
    }
    let worked = began.elapsed();
    let each = |time: std::time::Duration| time.as_nanos() / count as u128;
    println!(
        "{count} functions: ns for CAN_DO {}, submit {}, grab and complete {}, a row of `status` {}",
        each(able),
        each(submitted),
        each(worked),
        each(listed)
    );
}
