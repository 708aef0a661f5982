//! What the server's process uses, and what a scenario's figures are called.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io};

use gearhouse::clock::Stopwatch;
use gearhouse::load::processor_time;
use hdrhistogram::Histogram;

/// Figures of one run, by name; those of a curve end in `@` and the place on it. Less is better in all that are judged.
pub type Figures = BTreeMap<String, f64>;

/// A measured stretch of a run.
pub struct Span {
    pid: u32,
    before: Duration,
    watch: Stopwatch,
}

impl Span {
    pub fn start(pid: u32) -> io::Result<Span> {
        Ok(Span { pid, before: processor_time(pid)?, watch: Stopwatch::start() })
    }

    /// So many jobs were done: microseconds of processor time a job, and jobs a second.
    pub fn end(self, jobs: u64, cpu: &str, rate: &str, figures: &mut Figures) -> io::Result<()> {
        let (used, time) = (processor_time(self.pid)? - self.before, self.watch.elapsed());
        if jobs > 0 {
            figures.insert(cpu.to_owned(), used.as_secs_f64() * 1e6 / jobs as f64);
            figures.insert(rate.to_owned(), jobs as f64 / time.as_secs_f64());
        }
        Ok(())
    }
}

/// Microseconds that half and that 99 of 100 answers took at most.
pub fn insert_quantiles(times: &Histogram<u64>, figures: &mut Figures) {
    figures.insert("p50".into(), times.value_at_quantile(0.5) as f64);
    figures.insert("p99".into(), times.value_at_quantile(0.99) as f64);
}

/// Bytes of memory that the process has.
pub fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kibibytes.ok_or(io::ErrorKind::InvalidData)? * 1024)
}
