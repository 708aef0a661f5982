//! Counts, times and processor time of one scenario.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use nix::errno::Errno;
use nix::time::ClockId;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::super::Failure;
use crate::clock::Clock;

/// Microseconds since the Unix epoch: a number that no other run has.
pub(super) fn micros() -> u64 {
    Clock::new().now().as_micros()
}

/// Measures while a scenario runs. One thread uses it.
pub(super) struct Meter {
    name: &'static str,
    began: Instant,
    until: Instant,
    done: Cell<u64>,
    /// Microseconds from a request to its answer.
    latencies: RefCell<Histogram<u64>>,
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
            Some(pid) => Some((pid, processor_time(pid)?)),
            None => None,
        };
        let began = Instant::now();
        Ok(Meter {
            name,
            began,
            until: began + time,
            done: Cell::new(0),
            latencies: RefCell::new(new_histogram()),
            server,
            bar,
        })
    }

    /// The moment, for [`Meter::done`].
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Whether requests may still be begun.
    pub fn goes_on(&self, now: Instant) -> bool {
        now < self.until
    }

    /// One job is done that was begun then.
    pub fn done(&self, begun: Instant, now: Instant) {
        let done = self.done.get() + 1;
        self.done.set(done);
        // Beyond its bound the histogram takes its largest value.
        self.latencies.borrow_mut().saturating_record((now - begun).as_micros() as u64);
        if done.is_multiple_of(4096) {
            let time = now - self.began;
            self.bar.set_position(time.as_millis() as u64);
            self.bar.set_message(format!("{:.0}/s", done as f64 / time.as_secs_f64()));
        }
    }

    /// Stops measuring.
    pub fn finish(self) -> Result<Figures, Failure> {
        self.bar.finish_and_clear();
        let server = match self.server {
            Some((pid, before)) => Some(processor_time(pid)?.saturating_sub(before)),
            None => None,
        };
        Ok(Figures {
            scenario: self.name,
            jobs: self.done.get(),
            time: Instant::now() - self.began,
            latencies: self.latencies.into_inner(),
            server,
        })
    }
}

/// Up to an hour, three digits.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(3_600_000_000, 3).unwrap_or_else(|_| unreachable!("these bounds are accepted"))
}

/// User and system time of a process so far, by its own clock: /proc counts in steps that a short run does not fill.
fn processor_time(pid: u32) -> Result<Duration, Failure> {
    let wrong = |why| {
        Failure::usage(format!("cannot read the processor time of process {pid} (option --pid): {why}"))
    };
    // Zero would be this process.
    let process = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(|| wrong(Errno::ESRCH))?;
    let time = ClockId::pid_cpu_clock_id(Pid::from_raw(process)).and_then(ClockId::now).map_err(wrong)?;
    Ok(Duration::from(time))
}
