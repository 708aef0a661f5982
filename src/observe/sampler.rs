//! Once a second: what changed, into the history.

use std::sync::Arc;
use std::time::Duration;

use super::{Change, Watch};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::history::{Events, History, Level, Second};
use crate::types::Timestamp;

/// Runs for as long as the server does.
pub async fn run_sampler(watch: Arc<Watch>, broker: Arc<Broker>, history: Arc<History>, clock: Arc<Clock>) {
    loop {
        // The end of a second, by the time of day.
        let now = clock.now();
        let end = Timestamp::from_secs(now.as_secs() + 1);
        tokio::time::sleep(end.since(now)).await;
        // The clock may have been set back, and goes slowly then.
        if clock.now() < end {
            continue;
        }
        // A reading takes locks for short times, and reckons for longer: not on a thread that serves.
        let (watch, broker, history) = (watch.clone(), broker.clone(), history.clone());
        let sampled = tokio::task::spawn_blocking(move || sample(&watch, &broker, &history, end)).await;
        if let Err(error) = sampled {
            tracing::error!("a sample of the load was not taken: {error}");
        }
    }
}

/// Tells the history of the second that ends at `end`.
pub fn sample(watch: &Watch, broker: &Broker, history: &History, end: Timestamp) {
    let changes = watch.changes(broker);
    let second = Timestamp::from_micros(end.as_micros().saturating_sub(SECOND));
    history.take_load(
        second,
        changes.total.into(),
        changes.functions.into_iter().map(Second::from).collect(),
    );
}

const SECOND: u64 = Duration::from_secs(1).as_micros() as u64;

impl From<Change> for Second {
    fn from(change: Change) -> Self {
        let counts = change.counts;
        Self {
            function: change.name.to_vec(),
            level: Level {
                waiting: change.ready.map(|count| count as u64),
                running: change.running as u64,
                scheduled: change.scheduled as u64,
                workers: change.workers as u64,
                oldest: change.oldest,
            },
            events: Events {
                submitted: counts.submitted,
                succeeded: counts.succeeded,
                failed: counts.failed.iter().sum(),
                wait: counts.wait,
                run: counts.run,
            },
        }
    }
}
