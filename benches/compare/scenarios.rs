//! What is run, and what must come out.

use gearhouse::load::{Ask, Unique};

use super::measure::Figures;
use super::run::{Result, Run, Shape};
use super::servers::{BIG_TABLES, RIVALS, WAKES_ONE};

/// On which processors a scenario runs: on one with the server, named with `-1c`, on all, or both in turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    All,
    Both,
}

type Runs = fn(&Run) -> Result<Figures>;

/// 8 clients with 64 requests each on their way, 8 workers that take one job at a time.
const S: Shape = Shape::COMMON;

const SCENARIOS: &[(&str, On, Runs)] = &[
    ("submit-nouniq", On::Both, |run| run.submit(Shape { unique: Unique::Empty, ..S }, 600_000)),
    ("submit", On::Both, |run| run.submit(S, 100_000)),
    ("submit-1x1", On::Both, |run| run.submit(Shape { clients: 1, outstanding: 1, ..S }, 20_000)),
    ("submit-4k", On::All, |run| {
        run.submit(Shape { outstanding: 16, payload: 4096, unique: Unique::Empty, ..S }, 50_000)
    }),
    ("roundtrip", On::Both, |run| run.steady(Shape { clients: 4, outstanding: 32, ..S }, Ask::Foreground)),
    ("roundtrip-1x1x1", On::Both, |run| {
        run.steady(Shape { clients: 1, outstanding: 1, workers: 1, ..S }, Ask::Foreground)
    }),
    ("roundtrip-64x64", On::Both, |run| {
        run.steady(Shape { clients: 64, outstanding: 1, workers: 64, ..S }, Ask::Foreground)
    }),
    ("roundtrip-batch", On::Both, |run| {
        run.steady(Shape { clients: 4, workers: 4, grabs: 16, ..S }, Ask::Foreground)
    }),
    ("drain", On::Both, |run| run.drain(Shape { unique: Unique::Empty, ..S }, 50_000)),
    ("drain-batch", On::Both, |run| run.drain(Shape { unique: Unique::Empty, grabs: 16, ..S }, 50_000)),
    ("pump", On::All, |run| run.steady(Shape { clients: 4, unique: Unique::Empty, ..S }, Ask::Background)),
    ("unique-1k", On::Both, |run| run.coalesce(Shape { unique: Unique::Of(1_000), ..S }, 1_000_000)),
    ("unique-50k", On::All, |run| run.coalesce(Shape { unique: Unique::Of(50_000), ..S }, 200_000)),
    ("open-2k", On::Both, Run::open),
    ("herd-100", On::Both, |run| run.herd(&[100])),
    ("herd-1000", On::All, |run| run.herd(&[1_000])),
    ("depth", On::All, |run| run.depth(Unique::Empty)),
    ("depth-uniq", On::All, |run| run.depth(Unique::Each)),
    ("functions-20k", On::All, |run| run.functions(&[20_000])),
    ("admin-20k", On::All, |run| run.admin(20_000)),
    ("memory", On::All, Run::memory),
    ("memory-idle", On::All, Run::memory_idle),
    ("growth-sleepers", On::All, |run| run.herd(&[1, 10, 100, 1_000])),
    ("growth-functions", On::All, |run| run.functions(&[1, 10, 100, 1_000, 10_000])),
];

/// A scenario by the name that the tables give it.
#[derive(Clone)]
pub struct Scenario {
    pub name: String,
    /// Server and generator share one processor: the steadiest figures.
    pub is_pinned: bool,
    pub run: Runs,
}

impl Scenario {
    pub fn all() -> Vec<Scenario> {
        let form = |name: &str, is_pinned, run| Scenario { name: name.to_owned(), is_pinned, run };
        let pinned = SCENARIOS.iter().filter(|(_, on, _)| *on == On::Both);
        let pinned = pinned.map(|(name, _, run)| form(&format!("{name}-1c"), true, *run));
        pinned.chain(SCENARIOS.iter().map(|(name, _, run)| form(name, false, *run))).collect()
    }
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub enum Bar {
    /// The least of these servers' figures is so many times ours.
    Over(&'static [&'static str], f64, f64),
    /// Ours is not over this.
    AtMost(f64, f64),
}

/// A figure that must be so good, and aims at better.
pub struct Row {
    pub scenario: String,
    pub figure: &'static str,
    pub bar: Bar,
}

/// What is asked of a figure in a scenario on one processor, and of the same on all with default threads.
const TIMES: &[(&str, &str, f64, f64)] = &[
    ("submit-nouniq-1c", "cpu", 3.0, 5.0),
    ("submit-1c", "cpu", 12.0, 25.0),
    ("submit-1x1-1c", "cpu", 1.2, 1.4),
    ("submit-4k", "cpu", 1.8, 2.4),
    ("roundtrip-1c", "cpu", 1.4, 1.8),
    ("roundtrip-1x1x1-1c", "cpu", 1.1, 1.2),
    ("roundtrip-1x1x1-1c", "p50", 1.1, 1.2),
    ("roundtrip-64x64-1c", "cpu", 1.2, 1.4),
    ("roundtrip-batch-1c", "cpu", 1.4, 1.8),
    ("drain-1c", "cpu", 1.8, 2.5),
    ("drain-batch-1c", "cpu", 2.8, 4.5),
    ("pump", "cpu", 1.25, 1.5),
    ("unique-1k-1c", "cpu", 1.0, 1.4),
    ("unique-50k", "cpu", 4.0, 8.0),
    ("open-2k-1c", "cpu", 4.0, 5.0),
    ("open-2k-1c", "p50", 1.0, 3.5),
    ("open-2k-1c", "p99", 1.0, 1.0),
    ("herd-100-1c", "cpu@100", 25.0, 36.0),
    ("herd-1000", "cpu@1000", 200.0, 450.0),
    ("functions-20k", "submit cpu@20000", 3.0, 6.0),
    ("functions-20k", "drain cpu@20000", 4.0, 6.0),
    ("functions-20k", "CAN_DO cpu@20000", 1.0, 2.0),
    ("admin-20k", "status cpu", 5.0, 10.0),
];

const OTHERS: &[(&str, &str, Bar)] = &[
    ("herd-100-1c", "cpu@100", Bar::Over(&[WAKES_ONE], 2.0, 2.0)),
    ("herd-1000", "cpu@1000", Bar::Over(&[WAKES_ONE], 2.0, 2.0)),
    ("depth", "drain cpu@1000000", Bar::Over(&[BIG_TABLES], 2.0, 3.0)),
    ("depth", "drain cpu@3000000", Bar::Over(&[BIG_TABLES], 2.0, 3.0)),
    ("depth", "drain growth", Bar::AtMost(1.2, 1.1)),
    ("depth-uniq", "submit growth", Bar::AtMost(1.5, 1.2)),
    ("depth-uniq", "drain growth", Bar::AtMost(1.5, 1.2)),
    ("admin-20k", "p99 growth", Bar::AtMost(1.3, 1.1)),
    ("memory", "bytes", Bar::AtMost(320.0, 220.0)),
    ("memory-idle", "bytes", Bar::AtMost(2_700.0, 1_024.0)),
];

impl Row {
    pub fn all() -> Vec<Row> {
        let row = |scenario: &str, figure, bar| Row { scenario: scenario.to_owned(), figure, bar };
        let times =
            TIMES.iter().map(|(name, figure, must, aim)| row(name, figure, Bar::Over(&RIVALS, *must, *aim)));
        let others = OTHERS.iter().map(|(name, figure, bar)| row(name, figure, *bar));
        // With the threads that it has by default, it is nowhere worse than gearmand's best on few processors.
        let two = TIMES.iter().filter_map(|(name, figure, _, aim)| {
            Some(row(name.strip_suffix("-1c")?, figure, Bar::Over(&RIVALS[..1], 1.0, *aim)))
        });
        times.chain(others).chain(two).collect()
    }
}
