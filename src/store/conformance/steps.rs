//! The suite's steps, each for one promise.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::{Suite, plan, queued, queued_on, scheduled, spec};
use crate::engine::{Outcome, Phase, Reason, Record, Standing};
use crate::policy::{Misfire, Order, Overlap, Plan, Policy, Terms};
use crate::protocol::Kind;
use crate::trace_context::TraceContext;
use crate::types::{JobId, Priority, Timestamp};

/// A promise, and what looks whether it is kept.
type Step = (&'static str, fn(&mut Suite<'_>));

/// In the order in which they are run.
pub(super) const STEPS: [Step; 19] = [
    ("numbers never repeat, whether or not anything was kept", numbers_never_repeat),
    ("each kind of job comes back as it was", each_kind_of_job),
    ("bytes of any value", bytes_of_any_value),
    ("large bodies", large_bodies),
    ("a job stands as was told of it last", stands),
    ("each phase of a job comes back", phases),
    ("what its submit asked for comes back with a job", terms),
    ("a job that is over does not come back", done),
    ("a job that came and went within one batch", came_and_went),
    ("what a job ended with is read until the job is gone", results),
    ("recurring jobs are made, replaced and cancelled", recurring),
    ("functions are limited, pinned and forgotten", functions),
    ("policies are set, replaced and lifted", policies),
    ("records count in the order of their batch", order_within_a_batch),
    ("an empty batch changes nothing", empty_batch),
    ("a reader finds what was kept, and nothing else", reading),
    ("a reader reads while the store is written to", reading_beside_writing),
    ("many changes to one job", many_changes),
    ("housekeeping keeps everything, and appending goes on after it", tidying),
];

fn standing(priority: Priority, due: Option<u64>, losses: u32, place: u64) -> Standing {
    let new = Standing::new(JobId(place), priority, due.map(Timestamp::from_micros), Timestamp::default());
    Standing { losses, ..new }
}

fn numbers_never_repeat(suite: &mut Suite<'_>) {
    for _ in 0..5 {
        suite.restart();
    }
    let job = suite.job(b"", b"x");
    suite.append(&[job]);
    for _ in 0..5 {
        suite.restart();
    }
}

fn each_kind_of_job(suite: &mut Suite<'_>) {
    let kinds: [(Kind, &[&[u8]]); 7] = [
        (Kind::SubmitJobBg, &[b"f", b"", b"payload"]),
        (Kind::SubmitJobHighBg, &[b"f", b"unique", b""]),
        (Kind::SubmitJobLowBg, &[b"", b"", b""]),
        (Kind::SubmitJobBg, &[b"f", b"-", b"by payload"]),
        (Kind::SubmitReduceJobBackground, &[b"f", b"u", b"reducer", b"aggregator", b"payload"]),
        (Kind::SubmitReduceJobBackground, &[b"f", b"u2", b"", b"", b""]),
        (Kind::SubmitJobEpoch, &[b"f", b"u3", b"1700000000", b"later"]),
    ];
    for priority in Priority::ALL {
        for (due, losses) in [(None, 0), (Some(1), 1), (Some(u64::MAX), u32::MAX)] {
            for (kind, arguments) in kinds {
                let id = suite.number();
                let job = queued(id, standing(priority, due, losses, id.0 + 7), spec(kind, arguments));
                suite.append(&[job]);
            }
        }
    }
}

fn bytes_of_any_value(suite: &mut Suite<'_>) {
    let all: Vec<u8> = (0..=255).collect();
    let mut batch = Vec::new();
    for byte in 0..=255_u8 {
        batch.push(suite.job(&[b'u', byte.max(1)], &[byte]));
    }
    let id = suite.number();
    let names = spec(Kind::SubmitJobBg, &[&all[1..], &all[1..], &all]);
    batch.push(queued(id, standing(Priority::Low, None, 0, id.0), names));
    batch.push(Record::Function { name: all.into(), limits: [None; 3], pinned: true });
    suite.append(&batch);
}

fn large_bodies(suite: &mut Suite<'_>) {
    let mut large = vec![0_u8; 5 << 20];
    large.iter_mut().zip(0_u64..).for_each(|(byte, index)| *byte = ((index * index) >> 7) as u8);
    let batch =
        [suite.job(b"large", &large), suite.job(&[b'u'; 60_000], &large[1..]), suite.job(b"-", &large)];
    suite.append(&batch);
    suite.restart();
    let mut reader = suite.reader();
    suite.read_all(reader.as_mut());
    drop(reader);
    suite.append(&batch.map(|record| Record::Done(id_of(&record))));
}

fn stands(suite: &mut Suite<'_>) {
    let batch: Vec<Record<'static>> = (0..6).map(|_| suite.job(b"", b"x")).collect();
    let ids: Vec<JobId> = batch.iter().map(id_of).collect();
    suite.append(&batch);
    let moved = |id: &JobId, losses| Record::Stands {
        id: *id,
        standing: standing(Priority::High, Some(9), losses, id.0 + 1000),
    };
    suite.append(&[moved(&ids[0], 1), moved(&ids[1], 1)]);
    suite.append(&[moved(&ids[0], 2), moved(&ids[2], 1), moved(&ids[2], 2)]);
    suite.restart();
    suite.append(&[moved(&ids[0], 3), moved(&ids[3], 1)]);
    suite.append(&[Record::Done(ids[3]), moved(&ids[4], 1), Record::Done(ids[4])]);
    suite.tidy();
    suite.restart();
    suite.append(&[moved(&ids[0], 4)]);
    suite.tidy();
}

/// All phases that are over or not.
fn all_phases(at: Timestamp) -> Vec<Phase> {
    let reasons = [
        Reason::Failed,
        Reason::Exception,
        Reason::TimedOut,
        Reason::Lost,
        Reason::LeaseExpired,
        Reason::Expired,
    ];
    let outcomes = [Outcome::Succeeded, Outcome::Cancelled].into_iter().chain(reasons.map(Outcome::Failed));
    let phases = [Phase::Waiting, Phase::Held, Phase::Running, Phase::Cancelling];
    phases.into_iter().chain(outcomes.map(|outcome| Phase::Over { outcome, at })).collect()
}

fn phases(suite: &mut Suite<'_>) {
    let time = |micros| Some(Timestamp::from_micros(micros));
    for phase in all_phases(Timestamp::from_micros(u64::MAX)) {
        let id = suite.number();
        let new = Standing::new(id, Priority::Low, None, Timestamp::from_micros(u64::MAX));
        let spec = spec(Kind::SubmitJobBg, &[b"f", b"", b"x"]);
        let once = Standing { phase, attempts: 1, first_start: time(5), last_start: time(5), ..new };
        let often = Standing { attempts: u32::MAX, losses: u32::MAX, last_start: time(6), ..once };
        // As it is submitted, when it changed, and when that was folded.
        suite.append(&[queued(id, Standing { phase, ..new }, spec)]);
        for standing in [once, often, Standing { first_start: None, ..once }, Standing { losses: 1, ..new }] {
            suite.append(&[Record::Stands { id, standing: Standing { phase, ..standing } }]);
            suite.restart();
            suite.tidy();
            suite.restart();
        }
    }
}

fn terms(suite: &mut Suite<'_>) {
    let long = Terms { mime: Some("x".repeat(100_000)), ..Terms::default() };
    let every = Terms {
        attempts: Some(3),
        run_timeout: Some(Duration::from_millis(1500)),
        keep: Some(Duration::ZERO),
        mime: Some("text/plain".to_owned()),
        trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=x")
            .map(Box::new),
    };
    for terms in [Terms::default(), every, long] {
        let id = suite.number();
        let spec = spec(Kind::SubmitReduceJobBackground, &[b"f", b"-", b"add", b"", b"x"]);
        let standing = standing(Priority::Normal, None, 0, id.0);
        suite.append(&[queued_on(id, standing, spec, Some(terms))]);
        suite.restart();
        let standing = Standing { phase: Phase::Held, ..standing };
        suite.append(&[Record::Stands { id, standing }]);
        suite.restart();
        suite.tidy();
        suite.restart();
    }
}

fn results(suite: &mut Suite<'_>) {
    let result = |job: &Record<'static>, body: &'static [u8]| Record::Result {
        id: id_of(job),
        body: Bytes::from_static(body),
    };
    let over = |job: &Record<'static>| {
        let (outcome, at) = (Outcome::Succeeded, Timestamp::from_micros(7));
        let standing = standing(Priority::Normal, None, 0, 1);
        Record::Stands {
            id: id_of(job),
            standing: Standing { phase: Phase::Over { outcome, at }, ..standing },
        }
    };
    let batch: Vec<Record<'static>> = (0..6).map(|_| suite.job(b"", b"x")).collect();
    let ids: Vec<JobId> = batch.iter().map(id_of).collect();
    let [kept, again, gone, gone_at_once, empty, none] = &batch[..] else { return };
    suite.append(&batch);
    let mut reader = suite.reader();
    suite.read(reader.as_mut(), &ids);
    suite.append(&[result(kept, b"kept"), over(kept), result(again, b"first"), over(again)]);
    suite.append(&[result(again, b"second"), over(again), result(empty, b""), over(empty), over(none)]);
    suite.append(&[result(gone, b"gone"), over(gone)]);
    suite.read(reader.as_mut(), &ids[..2]);
    suite.append(&[result(gone_at_once, b"no trace"), over(gone_at_once), Record::Done(id_of(gone_at_once))]);
    suite.read_all(reader.as_mut());
    if !matches!(reader.read_result(id_of(gone_at_once)), Ok(None)) {
        suite.broken("a result whose job is gone in the same batch leaves no trace");
    }
    suite.append(&[Record::Done(id_of(gone))]);
    let within = suite.job(b"", b"came and went within a batch");
    let whole = [within.clone(), result(&within, b"no trace"), over(&within), Record::Done(id_of(&within))];
    suite.append(&whole);
    suite.tidy();
    // Of what is gone nothing may come back, when all is tidy.
    suite.read(reader.as_mut(), &[&ids[..], &[id_of(&within)]].concat());
    drop(reader);
    suite.restart();
    let mut reader = suite.reader();
    suite.read(reader.as_mut(), &ids);
    let large = Bytes::from(vec![b'r'; 3 << 20]);
    suite.append(&[Record::Result { id: id_of(kept), body: large }]);
    suite.read_all(reader.as_mut());
}

fn done(suite: &mut Suite<'_>) {
    let batch: Vec<Record<'static>> = (0..9).map(|_| suite.job(b"", b"x")).collect();
    suite.append(&batch);
    let over: Vec<Record<'static>> = batch.iter().map(|job| Record::Done(id_of(job))).collect();
    suite.append(&over[..3]);
    suite.restart();
    over[4..7].iter().for_each(|end| suite.append(std::slice::from_ref(end)));
    suite.tidy();
    suite.restart();
    suite.append(&over[7..]);
}

fn came_and_went(suite: &mut Suite<'_>) {
    let (first, stays, last) = (suite.job(b"a", b"x"), suite.job(b"b", b"y"), suite.job(b"c", b"z"));
    let moved = standing(Priority::Low, None, 1, 5);
    suite.append(&[
        first.clone(),
        stays,
        Record::Stands { id: id_of(&first), standing: moved },
        Record::Done(id_of(&first)),
        last.clone(),
        Record::Done(id_of(&last)),
    ]);
    let mut reader = suite.reader();
    suite.read(reader.as_mut(), &[id_of(&first), id_of(&last)]);
}

fn recurring(suite: &mut Suite<'_>) {
    let [a, b, c] = [(); 3].map(|()| suite.number());
    let sched =
        |payload: &[u8]| spec(Kind::SubmitJobSched, &[b"f", b"u", b"0", b"8", b"*", b"*", b"*", payload]);
    let every = Plan {
        fields: "1 1 1 1 1".to_owned(),
        monday_is_zero: true,
        zone: "Europe/Berlin".to_owned(),
        misfire: Misfire::Once,
        overlap: Overlap::Skip,
        paused: true,
        next: u64::MAX,
        last_job: 5,
    };
    suite.append(&[
        scheduled(a, plan("0 8 * * *"), sched(b"one")),
        scheduled(b, plan("* * * * *"), sched(b"")),
        scheduled(c, every, sched(b"\0\xff")),
    ]);
    suite.restart();
    suite.append(&[scheduled(a, plan("0 9 * * *"), sched(b"another")), Record::Unscheduled(b)]);
    let mut reader = suite.reader();
    let ids: Vec<JobId> = suite.model.recurring().collect();
    suite.read(reader.as_mut(), &ids);
}

fn functions(suite: &mut Suite<'_>) {
    let function =
        |name: &'static [u8], limits, pinned| Record::Function { name: name.into(), limits, pinned };
    suite.append(&[
        function(b"one", [Some(1), Some(u32::MAX), None], false),
        function(b"two", [None; 3], true),
        function(b"three", [Some(3); 3], true),
        function(b"", [Some(4); 3], false),
    ]);
    suite.restart();
    suite.append(&[function(b"one", [None, None, Some(9)], true), function(b"two", [None; 3], false)]);
    suite.restart();
    suite.append(&[function(b"three", [None; 3], true), function(b"never was", [None; 3], false)]);
}

fn policies(suite: &mut Suite<'_>) {
    let policy = |pattern: &'static str, policy: Option<Policy>| Record::Policy {
        pattern: pattern.into(),
        policy: policy.map(Box::new),
    };
    let attempts = |attempts| Some(Policy { attempts: Some(attempts), ..Policy::default() });
    let odd = Policy {
        backoff: Some(Duration::from_micros(1_500_001)),
        order: Some(Order::Lifo),
        rate: Some(0.1),
        max_waiting: Some(i64::MAX as u64),
        paused: Some(true),
        ..Policy::default()
    };
    suite.append(&[
        policy("*", attempts(1)),
        policy("m\u{fc}ll*", Some(odd)),
        policy("", Some(Policy::default())),
        policy("gone", attempts(2)),
        policy("gone", None),
    ]);
    suite.restart();
    suite.append(&[policy("*", attempts(3)), policy("never was", None), policy("", None)]);
    suite.restart();
    suite.append(&[policy("*", None), policy("*", attempts(4))]);
}

fn order_within_a_batch(suite: &mut Suite<'_>) {
    let (one, two) = (suite.number(), suite.number());
    let function = |limits, pinned| Record::Function { name: b"again"[..].into(), limits, pinned };
    let sched = |payload: &[u8]| spec(Kind::SubmitJobBg, &[b"f", b"", payload]);
    let job = suite.job(b"", b"x");
    let lost =
        |losses| Record::Stands { id: id_of(&job), standing: standing(Priority::High, None, losses, 3) };
    suite.append(&[
        scheduled(one, plan("1 * * * *"), sched(b"first")),
        Record::Unscheduled(one),
        scheduled(one, plan("2 * * * *"), sched(b"second")),
        scheduled(one, plan("3 * * * *"), sched(b"third")),
        scheduled(two, plan("1 * * * *"), sched(b"")),
        Record::Unscheduled(two),
        function([Some(1); 3], false),
        function([None; 3], false),
        function([None, Some(2), None], true),
        job.clone(),
        lost(1),
        lost(2),
    ]);
    suite.restart();
    suite.append(&[lost(3), lost(4), function([None, Some(2), None], false), function([None; 3], false)]);
}

fn empty_batch(suite: &mut Suite<'_>) {
    suite.append(&[]);
    suite.restart();
    suite.append(&[]);
    suite.tidy();
}

fn reading(suite: &mut Suite<'_>) {
    let mut early = suite.reader();
    suite.read_all(early.as_mut());
    let batch = [suite.job(b"", b""), suite.job(b"-", b"p"), suite.job(b"u", &[0; 70_000])];
    suite.append(&batch);
    // What was kept is found at once, also by a reader that was there before.
    suite.read_all(early.as_mut());
    suite.tidy();
    suite.read_all(early.as_mut());
    let never = suite.number();
    suite.read(early.as_mut(), &[never, JobId(0), JobId(i64::MAX.unsigned_abs() - 1), id_of(&batch[1])]);
    suite.read(early.as_mut(), &[]);
    drop(early);
    suite.restart();
    let mut later = suite.reader();
    suite.read_all(later.as_mut());
}

fn reading_beside_writing(suite: &mut Suite<'_>) {
    let batch: Vec<Record<'static>> = (0..50).map(|_| suite.job(b"", b"stays")).collect();
    suite.append(&batch);
    let ids: Vec<JobId> = batch.iter().map(id_of).collect();
    let mut reader = suite.reader();
    let (stop, stopped) = mpsc::channel::<()>();
    let beside = thread::spawn(move || {
        let expected = spec(Kind::SubmitJobBg, &[b"f", b"", b"stays"]);
        let mut wrong = None;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) && wrong.is_none() {
            let read = reader.read(&ids, &mut |id, body| {
                if body.as_ref() != Some(expected.body()) {
                    wrong = Some(format!("the body of job {} cannot be read beside a write", id.0));
                }
            });
            wrong = wrong.or_else(|| read.err().map(|error| error.to_string()));
        }
        wrong
    });
    for _ in 0..60 {
        let (come, go) = (suite.job(b"", b"x"), suite.job(b"", &[b'y'; 3000]));
        suite.append(&[come, go.clone()]);
        suite.append(&[Record::Done(id_of(&go))]);
        if let Err(error) = suite.store().tidy() {
            suite.broken(error);
        }
    }
    drop(stop);
    if let Some(wrong) = beside.join().unwrap_or_else(|_| Some("the reader panicked".to_owned())) {
        suite.broken(wrong);
    }
}

fn many_changes(suite: &mut Suite<'_>) {
    let job = suite.job(b"", b"x");
    let beside: Vec<Record<'static>> = (0..100).map(|_| suite.job(b"", b"beside")).collect();
    suite.append(&[&[job.clone()][..], &beside].concat());
    for batch in 0..20_u32 {
        let changes: Vec<Record<'static>> = (1..=2000)
            .map(|change| {
                let losses = batch * 2000 + change;
                let job = if change % 50 == 0 { &beside[losses as usize / 50 % 100] } else { &job };
                let standing = standing(Priority::Normal, None, losses, u64::from(losses));
                Record::Stands { id: id_of(job), standing }
            })
            .collect();
        suite.append(&changes);
    }
    suite.restart();
    suite.append(&[Record::Done(id_of(&job))]);
}

fn tidying(suite: &mut Suite<'_>) {
    suite.tidy();
    let mut reader = suite.reader();
    suite.read_all(reader.as_mut());
    let batch: Vec<Record<'static>> = (0..3000).map(|_| suite.job(b"", b"comes and goes")).collect();
    suite.append(&batch);
    let over: Vec<Record<'static>> = batch.iter().map(|job| Record::Done(id_of(job))).collect();
    for share in over.chunks(100) {
        let job = suite.job(b"", b"stays");
        suite.append(&[&[job][..], share].concat());
        if let Err(error) = suite.store().tidy() {
            suite.broken(error);
        }
    }
    suite.tidy();
    let job = suite.job(b"after tidying", b"x");
    suite.append(&[job]);
    suite.read_all(reader.as_mut());
    // Space that was set aside is no part of what is kept.
    suite.store().use_reserve();
    suite.store().use_reserve();
    let job = suite.job(b"without reserve", b"x");
    suite.append(&[job]);
    if !suite.store().refill_reserve() {
        suite.broken("there is room for the reserve again, but it says there is none");
    }
}

fn id_of(record: &Record<'static>) -> JobId {
    match record {
        Record::Queued { id, .. } | Record::Stands { id, .. } | Record::Scheduled { id, .. } => *id,
        Record::Result { id, .. } | Record::Done(id) | Record::Unscheduled(id) => *id,
        Record::Function { .. } | Record::Policy { .. } => JobId(0),
    }
}
