//! What one function, or the whole server, did over a stretch of time; how stretches become one; how they are written.

use serde::{Deserialize, Serialize};

use crate::engine::Histogram;
use crate::types::Timestamp;

/// The numbers of one function, or of the whole server, in one second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// The function's name; empty: the whole server.
    pub function: Vec<u8>,
    /// How things stood at its end.
    pub level: Level,
    /// What happened in it.
    pub events: Events,
}

/// How things stand at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Jobs that may be handed out, by priority.
    pub waiting: [u64; 3],
    /// Jobs that workers have.
    pub running: u64,
    /// Jobs that are not due yet.
    pub scheduled: u64,
    /// Workers: connections that registered the function; of the whole server: that registered any.
    pub workers: u64,
    /// Since when the first of the jobs that may be handed out could be.
    pub oldest: Option<Timestamp>,
}

/// What happens over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Jobs that were made.
    pub submitted: u64,
    /// Jobs that ended well.
    pub succeeded: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// How long jobs waited that were handed out.
    pub wait: Histogram,
    /// How long jobs ran that ended or were lost.
    pub run: Histogram,
}

/// A number over a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    /// The number in each of the seconds, added up.
    pub sum: u64,
    /// The largest of them.
    pub max: u64,
    /// The last of them.
    pub last: u64,
}

impl Gauge {
    /// The mean over so many seconds.
    pub fn average(&self, seconds: u64) -> f64 {
        self.sum as f64 / seconds.max(1) as f64
    }

    fn merge(&mut self, later: Gauge) {
        self.sum += later.sum;
        self.max = self.max.max(later.max);
        self.last = later.last;
    }
}

/// A stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When it begins.
    pub at: Timestamp,
    /// Seconds of it in which the server ran: what averages are taken over.
    pub seconds: u64,
    /// Jobs that may be handed out, by priority.
    pub waiting: [Gauge; 3],
    /// Jobs that workers have.
    pub running: Gauge,
    /// Jobs that are not due yet.
    pub scheduled: Gauge,
    /// Workers.
    pub workers: Gauge,
    /// Since when the first of the jobs that could be handed out at its end could be.
    pub oldest: Option<Timestamp>,
    /// The largest age of such a job, in microseconds.
    pub oldest_age: u64,
    /// What happened in it.
    pub events: Events,
}

impl Level {
    /// Nothing is there.
    pub fn is_zero(&self) -> bool {
        *self == Level::default()
    }
}

impl Events {
    /// How much happened.
    pub fn weight(&self) -> u64 {
        self.submitted + self.succeeded + self.failed + self.wait.count()
    }

    fn merge(&mut self, other: &Events) {
        self.submitted += other.submitted;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.wait.merge(&other.wait);
        self.run.merge(&other.run);
    }
}

impl Sample {
    /// Nothing yet, from here on.
    pub fn begin(second: u64) -> Self {
        Self { at: Timestamp::from_secs(second), ..Self::default() }
    }

    /// So many seconds up to `end` in which things stood like this and nothing happened.
    pub fn still(level: &Level, seconds: u64, end: u64) -> Self {
        let gauge = |number| Gauge { sum: number * seconds, max: number, last: number };
        Self {
            at: Timestamp::from_secs(end - seconds),
            seconds,
            waiting: level.waiting.map(gauge),
            running: gauge(level.running),
            scheduled: gauge(level.scheduled),
            workers: gauge(level.workers),
            oldest: level.oldest,
            oldest_age: level.oldest.map_or(0, |oldest| micros(Timestamp::from_secs(end), oldest)),
            events: Events::default(),
        }
    }

    /// Adds what came after it.
    pub fn merge(&mut self, later: &Sample) {
        if later.seconds == 0 {
            return;
        }
        self.seconds += later.seconds;
        for (mine, theirs) in self.waiting.iter_mut().zip(later.waiting) {
            mine.merge(theirs);
        }
        self.running.merge(later.running);
        self.scheduled.merge(later.scheduled);
        self.workers.merge(later.workers);
        self.oldest = later.oldest;
        self.oldest_age = self.oldest_age.max(later.oldest_age);
        self.events.merge(&later.events);
    }

    /// How things stood at its end.
    pub fn level(&self) -> Level {
        Level {
            waiting: self.waiting.map(|gauge| gauge.last),
            running: self.running.last,
            scheduled: self.scheduled.last,
            workers: self.workers.last,
            oldest: self.oldest,
        }
    }

    /// As a row of the file has it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Sample { waiting: [high, normal, low], running, scheduled, workers, events, .. } = self;
        let stored = Stored {
            seconds: self.seconds,
            gauges: [*high, *normal, *low, *running, *scheduled, *workers],
            oldest: self.oldest.map(Timestamp::as_micros),
            oldest_age: self.oldest_age,
            counts: [events.submitted, events.succeeded, events.failed],
            wait: Sparse::of(&events.wait),
            run: Sparse::of(&events.run),
        };
        postcard::to_stdvec(&stored).expect("numbers can be written")
    }

    /// The row of the file that begins at this second; `None` if it is none.
    pub fn from_bytes(second: u64, bytes: &[u8]) -> Option<Self> {
        let stored: Stored = postcard::from_bytes(bytes).ok()?;
        let [high, normal, low, running, scheduled, workers] = stored.gauges;
        let [submitted, succeeded, failed] = stored.counts;
        let events =
            Events { submitted, succeeded, failed, wait: stored.wait.whole()?, run: stored.run.whole()? };
        Some(Self {
            at: Timestamp::from_secs(second),
            seconds: stored.seconds,
            waiting: [high, normal, low],
            running,
            scheduled,
            workers,
            oldest: stored.oldest.map(Timestamp::from_micros),
            oldest_age: stored.oldest_age,
            events,
        })
    }
}

impl Second {
    /// As a stretch of one second, which ends when the next begins.
    pub fn sample(&self, second: u64) -> Sample {
        Sample { events: self.events.clone(), ..Sample::still(&self.level, 1, second + 1) }
    }
}

fn micros(now: Timestamp, then: Timestamp) -> u64 {
    now.as_micros().saturating_sub(then.as_micros())
}

/// A [`Sample`] in the file.
#[derive(Serialize, Deserialize)]
struct Stored {
    seconds: u64,
    gauges: [Gauge; 6],
    oldest: Option<u64>,
    oldest_age: u64,
    counts: [u64; 3],
    wait: Sparse,
    run: Sparse,
}

/// A histogram without its empty buckets.
#[derive(Serialize, Deserialize)]
struct Sparse {
    sum: u64,
    buckets: Vec<(u8, u64)>,
}

impl Sparse {
    fn of(histogram: &Histogram) -> Self {
        let counted = (0..).zip(histogram.buckets).filter(|(_, count)| *count > 0);
        Self { sum: histogram.sum, buckets: counted.collect() }
    }

    fn whole(&self) -> Option<Histogram> {
        let mut histogram = Histogram { sum: self.sum, ..Histogram::default() };
        for (index, count) in &self.buckets {
            *histogram.buckets.get_mut(usize::from(*index))? = *count;
        }
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read_back_as_it_was_written() {
        let mut second = Second { function: b"f".to_vec(), ..Second::default() };
        second.level = Level {
            waiting: [1, 200, 3_000_000],
            running: 4,
            scheduled: 5,
            workers: 6,
            oldest: Some(Timestamp::from_secs(90)),
        };
        second.events.submitted = 7;
        second.events.wait.add(1_000);
        second.events.run.add(u64::MAX);
        let sample = second.sample(100);
        assert_eq!(sample.oldest_age, 11_000_000);
        assert_eq!(Sample::from_bytes(100, &sample.to_bytes()), Some(sample));
        assert_eq!(Sample::from_bytes(100, b"\xff\xff"), None);
    }

    #[test]
    fn an_idle_second_takes_few_bytes() {
        assert!(Second::default().sample(1).to_bytes().len() < 32);
    }
}
