//! What kind of a world a seed makes. Each seed draws its own mix, and leaves much out altogether: so some worlds are
//! all disconnects, some all coalescing, and faults that need one thing often and another never are found too.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use gearhouse::engine::Settings;
use gearhouse::policy::{Retention, Rules};

use super::keeper::Habits;
use super::operate::policy;
use super::peer::{Habit, Topic};

pub struct Swarm {
    pub settings: Settings,
    /// What the disk is like, if there is one.
    pub disk: Option<Habits>,
    pub max_outbox: usize,
    pub max_frame: u64,
    pub first_number: u64,
    /// Most connections at once.
    pub peers: usize,
    /// Most jobs at once, roughly: the plain model and the checks walk all of them.
    pub jobs: usize,
    pub functions: Vec<Bytes>,
    pub uniques: Vec<Bytes>,
    pub actions: Weights<Action>,
    pub topics: Weights<Topic>,
    pub habits: Weights<Habit>,
    /// In percent: how often a peer does what its habits do not foresee.
    pub whims: u32,
    /// In percent: how often what was said arrives and is answered at once.
    pub haste: u32,
    /// In percent: how often a delivery ends in the middle of something.
    pub cuts: u32,
    /// In percent: how often the timer is late.
    pub late_timer: u32,
    pub batch: usize,
    /// Steps between two checks of all tables, and of all lists.
    pub check_every: usize,
    pub compare_every: usize,
    /// Someone listens to all that happens to jobs.
    pub is_watched: bool,
}

/// What happens in a step.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Speak,
    Arrive,
    Read,
    Tick,
    Jump,
    Connect,
    Leave,
    BreakOff,
    Operate,
}

/// Choices and how often each is made.
pub struct Weights<T> {
    choices: Vec<(T, u32)>,
    total: u32,
}

impl<T: Copy> Weights<T> {
    /// Leaves out some choices, and makes some far more frequent.
    fn drawn(rng: &mut Rng, usual: &[(T, u32)]) -> Self {
        let choices: Vec<(T, u32)> = usual
            .iter()
            .map(|(choice, weight)| {
                let weight = match rng.u32(0..10) {
                    0..2 => 0,
                    2..7 => *weight,
                    7..9 => weight * 3,
                    _ => weight * 20,
                };
                (*choice, weight)
            })
            .collect();
        Self::of(choices)
    }

    fn of(choices: Vec<(T, u32)>) -> Self {
        let total = choices.iter().map(|(_, weight)| weight).sum();
        Self { choices, total }
    }

    /// `None` if everything was left out.
    pub fn choose(&self, rng: &mut Rng) -> Option<T> {
        let mut at = rng.u32(0..self.total.max(1));
        let chosen = self.choices.iter().find(|(_, weight)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        chosen.map(|(choice, _)| *choice)
    }
}

impl Swarm {
    pub fn drawn(rng: &mut Rng) -> Self {
        let mut settings = settings(rng);
        let disk = rng.bool().then(|| Habits::drawn(rng));
        if disk.is_some() {
            // Payloads that find no room in memory live on the disk only.
            settings.max_memory = choice(rng, &[3000, 6000, 20_000, 1 << 30]);
        }
        let jobs = choice(rng, &[6, 20, 20, 60, 60, 150]);
        let mut functions: Vec<Bytes> =
            [&b"a"[..], b"bb", b"Abc", b"", b".dot", b"t\tab", b"abc", b"longer-than-others"]
                .iter()
                .map(|name| Bytes::from_static(name))
                .collect();
        rng.shuffle(&mut functions);
        functions.truncate(rng.usize(1..=8));
        let mut uniques: Vec<Bytes> = [&b""[..], b"-", b"u", b"v", b"w", b"#", b"\xff\xfe", b"U"]
            .iter()
            .map(|unique| Bytes::from_static(unique))
            .collect();
        uniques.push(vec![b'x'; settings.max_unique].into());
        if rng.u8(0..3) == 0 {
            uniques.push(vec![b'x'; settings.max_unique + 1].into());
        }
        rng.shuffle(&mut uniques);
        uniques.truncate(rng.usize(1..=10));
        let mut actions = Weights::drawn(rng, ACTIONS).choices;
        actions.push((Action::Speak, 60));
        actions.push((Action::Connect, 2));
        let mut topics = Weights::drawn(rng, TOPICS).choices;
        topics.push((Topic::Submit, 5));
        Self {
            max_outbox: choice(rng, &[300, 5000, 1 << 20, 1 << 20]),
            max_frame: 20_000,
            first_number: choice(rng, &[1, 60, 1 << 20, u64::MAX >> 1]),
            peers: choice(rng, &[3, 6, 10, 10, 16]),
            jobs,
            functions,
            uniques,
            actions: Weights::of(actions),
            topics: Weights::of(topics),
            habits: Weights::of(
                Weights::drawn(rng, HABITS)
                    .choices
                    .into_iter()
                    .chain([(Habit::Worker, 4), (Habit::Client, 4)])
                    .collect(),
            ),
            whims: choice(rng, &[0, 3, 10, 40]),
            haste: choice(rng, &[20, 60, 90, 100]),
            cuts: choice(rng, &[0, 20, 80]),
            late_timer: choice(rng, &[0, 10, 60]),
            batch: choice(rng, &[1, 4, 64]),
            check_every: jobs.div_ceil(20),
            compare_every: rng.usize(5..60),
            is_watched: rng.bool(),
            settings,
            disk,
        }
    }
}

fn settings(rng: &mut Rng) -> Settings {
    Settings {
        handle_prefix: "H:sim".into(),
        rules: Rules {
            attempts: choice(rng, &[None, None, Some(1), Some(2), Some(4)]),
            keep_succeeded: retention(rng),
            keep_failed: retention(rng),
            keep_cancelled: retention(rng),
            ..Rules::default()
        },
        policies: match rng.u8(0..4) {
            0 => vec![("a*".into(), policy(rng)), ("bb".into(), policy(rng))],
            _ => Vec::new(),
        },
        wake_per_job: choice(rng, &[1, 1, 1, 2, 3, u32::MAX]),
        exceptions: rng.u8(0..8) == 0,
        max_unique: choice(rng, &[8, 64, 1024]),
        max_function_name: choice(rng, &[10, 512, 512, 512, 512]),
        max_abilities: choice(rng, &[2, 1000, 1000, 1000, 1000]),
        max_functions: choice(rng, &[3, 1000, 1000, 1000, 1000]),
        function_grace: choice(rng, &[Duration::ZERO, Duration::from_secs(2), Duration::from_secs(600)]),
        remote_shutdown: rng.bool(),
        version: "1.2.3".into(),
        max_memory: choice(rng, &[6000, 1 << 30, 1 << 30, 1 << 30]),
        max_waiting: choice(rng, &[None, None, None, Some(5)]),
        max_waiting_bytes: choice(rng, &[None, None, None, Some(200)]),
        ..Settings::default()
    }
}

fn retention(rng: &mut Rng) -> Retention {
    let time = choice(rng, &[0, 0, 3, 100, 30_000]);
    Retention { time: Duration::from_secs(time), count: choice(rng, &[1, 3, 1000]) }
}

/// Any of these.
pub fn choice<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())].clone()
}

/// What happens how often in a usual world.
const ACTIONS: &[(Action, u32)] = &[
    (Action::Speak, 200),
    (Action::Arrive, 60),
    (Action::Read, 60),
    (Action::Tick, 40),
    (Action::Jump, 2),
    (Action::Connect, 8),
    (Action::Leave, 4),
    (Action::BreakOff, 1),
    (Action::Operate, 12),
];

const HABITS: &[(Habit, u32)] =
    &[(Habit::Client, 10), (Habit::Worker, 12), (Habit::Sleeper, 6), (Habit::Moody, 6), (Habit::Operator, 2)];

/// What a peer speaks of how often in a usual world, if it speaks of what it likes.
const TOPICS: &[(Topic, u32)] = &[
    (Topic::Submit, 40),
    (Topic::Epoch, 4),
    (Topic::Sched, 2),
    (Topic::Reduce, 4),
    (Topic::Status, 6),
    (Topic::StatusUnique, 4),
    (Topic::Option, 2),
    (Topic::Grab, 20),
    (Topic::PreSleep, 15),
    (Topic::Update, 15),
    (Topic::End, 20),
    (Topic::Late, 3),
    (Topic::Foreign, 3),
    (Topic::CanDo, 12),
    (Topic::CanDoTimeout, 6),
    (Topic::CantDo, 4),
    (Topic::Reset, 2),
    (Topic::List, 4),
    (Topic::Cancel, 4),
    (Topic::Create, 1),
    (Topic::Drop, 3),
    (Topic::MaxQueue, 2),
    (Topic::ShowUnique, 2),
    (Topic::Echo, 2),
    (Topic::ClientId, 2),
    (Topic::Nonsense, 2),
    (Topic::Breaking, 1),
];
