//! The only reader of time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::Timestamp;

/// The time of day that never goes back.
///
/// It follows the system's clock, since delayed and recurring jobs are due at a time of day. When that clock is set
/// back, it goes on at half its speed until the system's has caught up, so that time-outs still end.
#[derive(Debug, Default)]
pub struct Clock {
    last: Mutex<Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    told: Timestamp,
    /// When that was, if the system's clock was behind it.
    ahead_at: Option<Instant>,
}

impl Clock {
    /// A clock that shows the system's time.
    pub fn new() -> Self {
        Self::default()
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        let of_day = of_day();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if of_day >= last.told {
            *last = Reading { told: of_day, ahead_at: None };
        } else {
            let at = monotonic();
            let passed = last.ahead_at.map_or(Duration::ZERO, |before| at.saturating_duration_since(before));
            *last = Reading { told: step(last.told, passed, of_day), ahead_at: Some(at) };
        }
        last.told
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where time is read")]
fn of_day() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().after(since_epoch)
}

#[expect(clippy::disallowed_methods, reason = "the one place where time is read")]
fn monotonic() -> Instant {
    Instant::now()
}

/// How much time has passed, to the nanosecond, whatever happens to the time of day: for those who measure.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    began: Instant,
}

impl Stopwatch {
    /// Begins to count.
    pub fn start() -> Self {
        Self { began: monotonic() }
    }

    /// The time since its start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

fn step(told: Timestamp, passed: Duration, of_day: Timestamp) -> Timestamp {
    of_day.max(told.after(passed / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_time_of_day_forward_and_never_goes_back() {
        let second = Duration::from_secs(1);
        let noon = Timestamp::from_secs(43_200);
        assert_eq!(step(noon, second, noon.after(second)), noon.after(second));
        let an_hour_on = noon.after(3600 * second);
        assert_eq!(step(noon, second, an_hour_on), an_hour_on);
        assert_eq!(step(an_hour_on, second, noon), an_hour_on.after(second / 2));
    }
}
