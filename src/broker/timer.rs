//! Sleeps until the engine has something to do by itself.

use std::time::Duration;

use super::Broker;
use crate::clock::Clock;

/// Longest sleep: a system clock that was set forward is noticed this late.
const LONGEST: Duration = Duration::from_secs(1);

/// Runs for as long as the server does.
pub async fn run_timer(broker: &Broker, clock: &Clock) {
    loop {
        let deadline = broker.arm();
        let now = clock.now();
        match deadline {
            Some(deadline) if deadline <= now => {
                broker.advance(now);
                // Others get at the lock between two of its bounded steps.
                tokio::task::yield_now().await;
            }
            Some(deadline) => {
                let sleep = tokio::time::sleep(deadline.since(now).min(LONGEST));
                tokio::select! {
                    () = sleep => {}
                    () = broker.rearm.notified() => {}
                }
            }
            None => broker.rearm.notified().await,
        }
    }
}
