//! Which rules hold for a function: for each of them the most exact policy that says something of it counts.

use std::time::Duration;

use gearhouse::engine::Origin;
use gearhouse::policy::{Policy, Retention, Rules};

use super::Model;

/// A policy and where it was set.
#[derive(Clone)]
pub struct Decree {
    pub pattern: String,
    pub origin: Origin,
    pub policy: Policy,
}

impl Model {
    /// The rules for a function of this name.
    pub fn rules(&self, function: &[u8]) -> Rules {
        let mut fitting: Vec<&Decree> =
            self.decrees.iter().filter(|decree| fits(decree.pattern.as_bytes(), function)).collect();
        let exactness = |decree: &Decree| {
            let stars = decree.pattern.matches('*').count();
            (stars == 0, decree.pattern.len() - stars, decree.pattern.clone(), decree.origin)
        };
        fitting.sort_by_key(|decree| std::cmp::Reverse(exactness(decree)));
        let said = Said { fitting };
        let base = &self.settings.rules;
        let retention = |time: Option<Duration>, count: Option<u32>, base: Retention| Retention {
            time: time.unwrap_or(base.time),
            count: count.unwrap_or(base.count),
        };
        Rules {
            attempts: said.of(|policy| policy.attempts).map_or(base.attempts, none_if_zero),
            retry_failed: said.of(|policy| policy.retry_failed).unwrap_or(base.retry_failed),
            retry_timed_out: said.of(|policy| policy.retry_timed_out).unwrap_or(base.retry_timed_out),
            retry_lost: said.of(|policy| policy.retry_lost).unwrap_or(base.retry_lost),
            backoff: said.of(|policy| policy.backoff).unwrap_or(base.backoff),
            backoff_max: said.of(|policy| policy.backoff_max).unwrap_or(base.backoff_max),
            run_timeout: said.of(|policy| policy.run_timeout).map_or(base.run_timeout, none_if_zero),
            wait_timeout: said.of(|policy| policy.wait_timeout).map_or(base.wait_timeout, none_if_zero),
            lease: said.of(|policy| policy.lease).map_or(base.lease, none_if_zero),
            order: said.of(|policy| policy.order).unwrap_or(base.order),
            max_waiting: said.of(|policy| policy.max_waiting).map_or(base.max_waiting, none_if_zero),
            max_waiting_bytes: said
                .of(|policy| policy.max_waiting_bytes)
                .map_or(base.max_waiting_bytes, none_if_zero),
            max_running: said.of(|policy| policy.max_running).map_or(base.max_running, none_if_zero),
            spacing: said.of(|policy| policy.rate).map_or(base.spacing, |rate| {
                (rate > 0.0).then(|| Duration::from_micros((1_000_000.0 / rate) as u64))
            }),
            burst: said.of(|policy| policy.burst).map_or(base.burst, |burst| burst.max(1)),
            paused: said.of(|policy| policy.paused).unwrap_or(base.paused),
            keep_succeeded: retention(
                said.of(|policy| policy.keep_succeeded),
                said.of(|policy| policy.keep_succeeded_count),
                base.keep_succeeded,
            ),
            keep_failed: retention(
                said.of(|policy| policy.keep_failed),
                said.of(|policy| policy.keep_failed_count),
                base.keep_failed,
            ),
            keep_cancelled: retention(
                said.of(|policy| policy.keep_cancelled),
                said.of(|policy| policy.keep_cancelled_count),
                base.keep_cancelled,
            ),
            unique_window: said.of(|policy| policy.unique_window).map_or(base.unique_window, none_if_zero),
        }
    }
}

/// Policies, the most exact first.
struct Said<'a> {
    fitting: Vec<&'a Decree>,
}

impl Said<'_> {
    fn of<T>(&self, rule: impl Fn(&Policy) -> Option<T>) -> Option<T> {
        self.fitting.iter().find_map(|decree| rule(&decree.policy))
    }
}

fn none_if_zero<T: Default + PartialEq>(said: T) -> Option<T> {
    Some(said).filter(|said| *said != T::default())
}

/// Tries every length for every star.
pub fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|from| fits(rest, &name[from..])),
        Some((byte, rest)) => name.first() == Some(byte) && fits(rest, &name[1..]),
    }
}
