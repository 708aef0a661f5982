//! Time, progress and processor time of one scenario.

use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use super::super::Failure;
use crate::clock::{Clock, Stopwatch};
use crate::load::processor_time;

/// Microseconds since the Unix epoch: a number that no other run has.
pub(super) fn micros() -> u64 {
    Clock::new().now().as_micros()
}

/// Measures while a scenario runs.
pub(super) struct Meter {
    name: &'static str,
    watch: Stopwatch,
    server: Option<(u32, Duration)>,
    bar: ProgressBar,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Figures {
    pub scenario: &'static str,
    pub jobs: u64,
    pub time: Duration,
    /// Microseconds from a request to its answer.
    pub latencies: Histogram<u64>,
    /// Processor time of the server, all its threads.
    pub server: Option<Duration>,
}

impl Meter {
    /// Begins to measure. `server`: the process whose processor time is read.
    pub fn start(
        name: &'static str,
        time: Duration,
        server: Option<u32>,
        shows_progress: bool,
    ) -> Result<Meter, Failure> {
        let bar =
            if shows_progress { ProgressBar::new(time.as_millis() as u64) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix:10} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        let server = match server {
            Some(pid) => Some((pid, used(pid)?)),
            None => None,
        };
        Ok(Meter { name, watch: Stopwatch::start(), server, bar })
    }

    /// Shows how many jobs are done so far.
    pub fn show(&self, jobs: u64) {
        let time = self.watch.elapsed();
        self.bar.set_position(time.as_millis() as u64);
        self.bar.set_message(format!("{:.0}/s", jobs as f64 / time.as_secs_f64()));
    }

    /// Stops measuring: so many jobs were done, and this long did they take.
    pub fn finish(self, jobs: u64, latencies: Histogram<u64>) -> Result<Figures, Failure> {
        let time = self.watch.elapsed();
        self.bar.finish_and_clear();
        let server = match self.server {
            Some((pid, before)) => Some(used(pid)?.saturating_sub(before)),
            None => None,
        };
        Ok(Figures { scenario: self.name, jobs, time, latencies, server })
    }
}

fn used(pid: u32) -> Result<Duration, Failure> {
    processor_time(pid).map_err(|error| {
        Failure::usage(format!("cannot read the processor time of process {pid} (option --pid): {error}"))
    })
}
