//! The only reader of time.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::types::Timestamp;

/// The time of day that never goes back.
///
/// It follows the system's clock, since delayed and recurring jobs are due at a time of day. When that clock is set
/// back, it goes on at half its speed until the system's has caught up, so that time-outs still end.
#[derive(Debug)]
pub struct Clock {
    last: Mutex<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    told: Timestamp,
    at: Instant,
}

impl Clock {
    /// A clock that shows the system's time.
    pub fn new() -> Self {
        let (told, at) = read();
        Self { last: Mutex::new(Reading { told, at }) }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        let (of_day, at) = read();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.told = step(last.told, at.saturating_duration_since(last.at), of_day);
        last.at = at;
        last.told
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where time is read")]
fn read() -> (Timestamp, Instant) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Timestamp::default().after(since_epoch), Instant::now())
}

fn step(told: Timestamp, passed: std::time::Duration, of_day: Timestamp) -> Timestamp {
    of_day.max(told.after(passed / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
