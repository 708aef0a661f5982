//! What `top` knows: the functions as they were told last, and how fast that changed.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::super::Failure;
use super::super::api::{Api, Query};
use super::super::functions::sum;
use super::super::show;
use crate::clock::{Clock, Stopwatch};

/// Looks that the curve of a function shows.
pub(super) const CURVE: usize = 8;

/// A column to sort by.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SortBy {
    Name,
    Workers,
    Waiting,
    Running,
    Age,
    In,
    Out,
    Failed,
}

/// A function as the server told it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    running: u64,
    workers: u64,
    waiting: u64,
    oldest: Option<f64>,
    submitted: Option<u64>,
    ended: Option<u64>,
    failed: Option<u64>,
    is_paused: bool,
}

/// One look at the server.
#[derive(Debug)]
pub(super) struct Sample {
    functions: Vec<(Vec<u8>, String, Told)>,
    has_more: bool,
    version: String,
    since_last: Stopwatch,
}

impl Sample {
    /// Looks at up to so many functions.
    pub(super) fn take(api: &Api, query: &Query, most: usize) -> Result<Sample, Failure> {
        let since_last = Stopwatch::start();
        let server = api.get(&[b"server"], &Query::new())?;
        let mut functions = Vec::new();
        let listed = api.list(&[b"functions"], query, Some(most), |function| {
            let name = show::text(&function, "function");
            functions.push((show::name(&function, "function"), name, Told::read(&function)));
            Ok(())
        })?;
        let version = show::text(&server, "version");
        Ok(Sample { functions, has_more: listed.has_more, version, since_last })
    }
}

impl Told {
    fn read(function: &Value) -> Told {
        let count = |field: &str| function.get(field).filter(|value| !value.is_null()).map(sum);
        let failed = count("failed");
        Told {
            running: sum(&function["running"]),
            workers: sum(&function["workers"]),
            waiting: sum(&function["queued"]),
            oldest: show::moment(&function["oldest_queued"])
                .map(|since| Clock::new().now().since(since).as_secs_f64()),
            submitted: count("submitted"),
            ended: count("succeeded").map(|succeeded| succeeded + failed.unwrap_or(0)),
            failed,
            is_paused: function["paused"] == true,
        }
    }
}

/// A line of the view.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) running: u64,
    pub(super) workers: u64,
    pub(super) waiting: u64,
    pub(super) oldest: Option<f64>,
    /// Jobs a second that came; none before the second look.
    pub(super) incoming: Option<f64>,
    /// Jobs a second that ended.
    pub(super) outgoing: Option<f64>,
    pub(super) failed: Option<u64>,
    pub(super) is_paused: bool,
    /// How many jobs waited, at the last looks.
    pub(super) curve: VecDeque<u64>,
}

impl Row {
    /// Those that wait and those that run.
    pub(super) fn jobs(&self) -> u64 {
        self.waiting + self.running
    }

    /// Whether anything waits, runs, comes or goes.
    pub(super) fn is_active(&self) -> bool {
        let moves = |rate: Option<f64>| rate.is_some_and(|rate| rate > 0.0);
        self.jobs() > 0 || moves(self.incoming) || moves(self.outgoing)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "function": self.name, "jobs": self.jobs(), "running": self.running, "workers": self.workers,
            "waiting": self.waiting, "oldest_queued_age": self.oldest, "in": self.incoming, "out": self.outgoing,
            "failed": self.failed, "paused": self.is_paused,
        })
    }

    /// The order for a column: names from a on, numbers from the largest on.
    pub(super) fn compare(&self, other: &Row, by: SortBy) -> Ordering {
        let number = |a: u64, b: u64| b.cmp(&a);
        let fraction = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
        let order = match by {
            SortBy::Name => return self.name.cmp(&other.name),
            SortBy::Workers => number(self.workers, other.workers),
            SortBy::Waiting => number(self.waiting, other.waiting),
            SortBy::Running => number(self.running, other.running),
            SortBy::Age => fraction(self.oldest, other.oldest),
            SortBy::In => fraction(self.incoming, other.incoming),
            SortBy::Out => fraction(self.outgoing, other.outgoing),
            SortBy::Failed => number(self.failed.unwrap_or(0), other.failed.unwrap_or(0)),
        };
        let running = number(self.running, other.running);
        order.then(running).then_with(|| self.name.cmp(&other.name))
    }
}

/// The last look, seen beside those before it.
#[derive(Debug, Default)]
pub(super) struct History {
    last: HashMap<Vec<u8>, Told>,
    curves: HashMap<Vec<u8>, VecDeque<u64>>,
    watch: Option<Stopwatch>,
    /// In the order in which the server tells them.
    pub(super) rows: Vec<Row>,
    /// Whether there are functions that were not looked at.
    pub(super) has_more: bool,
    pub(super) version: String,
}

impl History {
    pub(super) fn add(&mut self, sample: Sample) {
        let passed = self.watch.map(|watch| watch.elapsed().saturating_sub(sample.since_last.elapsed()));
        self.watch = Some(sample.since_last);
        self.has_more = sample.has_more;
        self.version = sample.version;
        self.update(sample.functions, passed);
    }

    fn update(&mut self, functions: Vec<(Vec<u8>, String, Told)>, passed: Option<Duration>) {
        let mut curves = HashMap::with_capacity(functions.len());
        let mut last = HashMap::with_capacity(functions.len());
        self.rows.clear();
        for (key, name, told) in functions {
            let before = self.last.get(&key);
            let rate = |count: fn(&Told) -> Option<u64>| {
                let seconds = passed?.as_secs_f64();
                // Counters of a server that began anew are less than before: no rate can be told.
                let more = count(&told)?.checked_sub(count(before?)?)?;
                (seconds > 0.0).then(|| more as f64 / seconds)
            };
            let mut curve = self.curves.remove(&key).unwrap_or_default();
            if curve.len() == CURVE {
                curve.pop_front();
            }
            curve.push_back(told.waiting);
            self.rows.push(Row {
                name,
                running: told.running,
                workers: told.workers,
                waiting: told.waiting,
                oldest: told.oldest,
                incoming: rate(|told| told.submitted),
                outgoing: rate(|told| told.ended),
                failed: told.failed,
                is_paused: told.is_paused,
                curve: curve.clone(),
            });
            curves.insert(key.clone(), curve);
            last.insert(key, told);
        }
        (self.curves, self.last) = (curves, last);
    }
}

#[cfg(test)]
impl History {
    /// With functions of these names and jobs that wait.
    pub(super) fn of(functions: &[(&str, u64)]) -> History {
        let told = |(name, waiting): &(&str, u64)| {
            (name.as_bytes().to_vec(), (*name).to_owned(), Told { waiting: *waiting, ..Told::default() })
        };
        let mut history = History { version: "1.2.3".to_owned(), ..History::default() };
        history.update(functions.iter().map(told).collect(), None);
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(submitted: u64, succeeded: u64) -> Told {
        Told::read(&json!({
            "queued": {"high": 1, "normal": 2, "low": 0}, "running": 4, "workers": 5,
            "submitted": submitted, "succeeded": succeeded, "failed": {"lost": 1, "failed": 1}, "paused": true,
        }))
    }

    #[test]
    fn rates_are_told_from_the_second_look_on() {
        let mut history = History::default();
        let name = || (b"f".to_vec(), "f".to_owned());
        let mut look = |told: Told, passed: Option<u64>| {
            history.update(vec![(name().0, name().1, told)], passed.map(Duration::from_secs));
            history.rows[0].clone()
        };
        let row = look(told(10, 4), None);
        assert_eq!((row.jobs(), row.waiting, row.failed, row.is_paused), (7, 3, Some(2), true));
        assert_eq!((row.incoming, row.outgoing), (None, None));
        let row = look(told(30, 5), Some(2));
        assert_eq!((row.incoming, row.outgoing), (Some(10.0), Some(0.5)));
        assert_eq!(row.curve, [3, 3]);
        let row = look(told(3, 0), Some(2));
        assert_eq!(row.incoming, None, "the server began anew");
    }

    #[test]
    fn a_curve_does_not_grow_for_ever() {
        let mut history = History::default();
        for _ in 0..100 {
            history.update(vec![(b"f".to_vec(), "f".to_owned(), Told::default())], None);
        }
        assert_eq!(history.rows[0].curve.len(), CURVE);
    }
}
