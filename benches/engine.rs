//! What the queue manager alone costs a job: `cargo bench --bench engine`. No sockets, no locks, no parsing.
//!
//! Every figure is taken at a depth that stays: what a round submits the next takes out, or the other way round.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod support;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Buf as _;
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use gearhouse::engine::{Drain, Engine, Lister, Load, Output, Record, Seed, Settings};
use gearhouse::protocol::{Kind, Listing, Refusal, Request, Response, WriteBuf};
use gearhouse::types::{ConnId, JobId, RecordNo, Timestamp};

const CLIENT: ConnId = ConnId(1);
const WORKER: ConnId = ConnId(2);
const NOW: Timestamp = Timestamp::from_secs(1);

/// Jobs between two looks at the clock.
const ROUND: u64 = 1000;

const MANY: usize = 20_000;

/// Encodes answers as a server does, and forgets them.
#[derive(Default)]
struct Answers(WriteBuf);

impl Output for Answers {
    fn persist(&mut self, _: Record<'_>) -> Result<RecordNo, Refusal> {
        Ok(RecordNo::NONE)
    }
    fn send(&mut self, _: ConnId, _: RecordNo, response: Response<'_>) {
        response.encode(&mut self.0);
        self.0.advance(self.0.len());
    }
    fn hold(&mut self, _: ConnId, _: RecordNo, _: JobId) {}
    fn fill(&mut self, _: ConnId, _: JobId, _: Response<'_>) {}
    fn load(&mut self, _: Load) {}
    fn close(&mut self, _: ConnId, _: &'static str) {}
    fn shutdown(&mut self, _: Drain) {}
}

/// An engine with one client, one worker and a backlog.
struct Queues {
    engine: Engine,
    answers: Answers,
    /// Whether jobs have unique ids.
    unique: bool,
    /// Jobs go to so many functions in turn.
    functions: usize,
    submitted: u64,
    done: u64,
}

impl Queues {
    fn new(depth: u64, unique: bool, functions: usize, abilities: usize) -> Self {
        let settings = Settings { handle_prefix: support::PREFIX.into(), ..Settings::default() };
        let mut engine = Engine::new(settings, Seed { first_job: JobId(1), hash: 7 });
        for conn in [CLIENT, WORKER] {
            engine.connect(conn, Ipv4Addr::LOCALHOST.into());
        }
        let mut queues =
            Self { engine, answers: Answers::default(), unique, functions, submitted: 0, done: 0 };
        queues.apply(WORKER, (0..abilities).map(support::can_do).map(support::request).collect());
        let submits = queues.submits(depth);
        queues.apply(CLIENT, submits);
        queues
    }

    fn apply(&mut self, conn: ConnId, requests: Vec<Request>) {
        for request in requests {
            self.engine.apply(NOW, conn, request, &mut self.answers);
        }
    }

    fn submits(&mut self, count: u64) -> Vec<Request> {
        let from = self.submitted;
        self.submitted += count;
        let submit = |number: u64| {
            let function = number as usize % self.functions;
            support::request(support::submit(Kind::SubmitJobBg, function, self.unique.then_some(number)))
        };
        (from..self.submitted).map(submit).collect()
    }

    /// Grabs and ends. Jobs are numbered from 1 in the order in which they were submitted, and are served in it.
    fn work(&mut self, count: u64) -> Vec<Request> {
        let from = self.done;
        self.done += count;
        let work = |job: u64| [support::grab(), support::complete(job + 1)].map(support::request);
        (from..self.done).flat_map(work).collect()
    }

    fn submit_round(&mut self) -> Duration {
        let submits = self.submits(ROUND);
        self.timed(CLIENT, submits)
    }

    fn work_round(&mut self) -> Duration {
        let work = self.work(ROUND);
        self.timed(WORKER, work)
    }

    fn timed(&mut self, conn: ConnId, requests: Vec<Request>) -> Duration {
        let began = Instant::now();
        self.apply(conn, requests);
        began.elapsed()
    }

    /// A bench whose work was not what its name says would be worse than none.
    fn assert_depth(&self, depth: u64) {
        let text = self.status();
        let rows = String::from_utf8_lossy(&text);
        let queued: u64 = rows.lines().filter_map(|row| row.split('\t').nth(1)?.parse::<u64>().ok()).sum();
        assert_eq!(queued, depth, "jobs that wait after the bench");
    }

    fn status(&self) -> Vec<u8> {
        let (mut lister, mut text) = (Lister::new(Listing::Status), Vec::new());
        while self.engine.list(&mut lister, 1000, &mut text) {}
        text
    }
}

fn depths(criterion: &mut Criterion) {
    for (depth, shown) in [(1_000, "1k queued"), (1_000_000, "1M queued")] {
        for (unique, ids) in [(false, "no ids"), (true, "unique ids")] {
            let mut queues = Queues::new(depth, unique, 1, 1);
            round(criterion, "submit", &format!("{shown}, {ids}"), || {
                let spent = queues.submit_round();
                queues.work_round();
                spent
            });
            round(criterion, "grab and complete", &format!("{shown}, {ids}"), || {
                queues.submit_round();
                queues.work_round()
            });
            queues.assert_depth(depth);
        }
    }
}

fn abilities(criterion: &mut Criterion) {
    let cases = [
        ("with 1 ability", 1, 1),
        ("with 20k abilities, jobs in one", MANY, 1),
        ("with 20k abilities, jobs in all", MANY, MANY),
    ];
    for (name, abilities, functions) in cases {
        let depth = 2 * MANY as u64;
        let mut queues = Queues::new(depth, false, functions, abilities);
        round(criterion, "grab and complete", name, || {
            queues.submit_round();
            queues.work_round()
        });
        queues.assert_depth(depth);
    }
}

fn register(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("register");
    group.throughput(Throughput::Elements(MANY as u64)).sampling_mode(SamplingMode::Flat);
    let abilities: Vec<Request> = (0..MANY).map(support::can_do).map(support::request).collect();
    group.bench_function("20k functions", |bencher| {
        let empty = || (Queues::new(0, false, 1, 0), abilities.clone());
        bencher.iter_batched_ref(
            empty,
            |(queues, abilities)| queues.apply(WORKER, std::mem::take(abilities)),
            BatchSize::PerIteration,
        );
    });
}

fn status(criterion: &mut Criterion) {
    let queues = Queues::new(MANY as u64, false, MANY, MANY);
    let mut group = criterion.benchmark_group("list");
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function("status of 20k functions", |bencher| bencher.iter(|| queues.status()));
}

/// Times rounds that know themselves which part of them counts. Times shown are a round's; throughput is in jobs.
fn round(criterion: &mut Criterion, group: &str, name: &str, mut round: impl FnMut() -> Duration) {
    let mut group = criterion.benchmark_group(group);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| round()).sum());
    });
}

criterion::criterion_group! {
    name = benches;
    config = support::criterion();
    targets = depths, abilities, register, status
}
criterion::criterion_main!(benches);
