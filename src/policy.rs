//! What an operator may decide about the jobs of a function, and a submit about its one job. Plain values, as they are
//! written in the configuration file, sent over HTTP and kept by the store.
//!
//! A function's rules are laid over each other value by value: what is built in, then the policies whose pattern fits,
//! the least exact first, then the one for exactly this name.

use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::trace_context::TraceContext;

/// Some of the rules for a function: what is not said is left to a less exact policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// How many times a job is handed out at most; 0: as often as it takes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub attempts: Option<u32>,
    /// Whether a job that its worker says failed is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_failed: Option<bool>,
    /// Whether a job that ran out of time is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_timed_out: Option<bool>,
    /// Whether a job whose worker vanished is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_lost: Option<bool>,
    /// Wait before the second attempt; it doubles with each further one. Zero: none.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub backoff: Option<Duration>,
    /// Longest such wait; zero: any.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub backoff_max: Option<Duration>,
    /// How long a job may run; zero: as the worker says.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub run_timeout: Option<Duration>,
    /// How long a job may be queued before it starts; zero: for ever.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub wait_timeout: Option<Duration>,
    /// How long a worker may say nothing of a job that it runs; zero: for ever.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub lease: Option<Duration>,
    /// Which job of a priority goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Most jobs that wait; 0: as many as fit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub max_waiting: Option<u64>,
    /// Most bytes of payload that wait; 0: as many as fit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "size")]
    pub max_waiting_bytes: Option<u64>,
    /// Most jobs that run at once, over all workers; 0: as many as are grabbed.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub max_running: Option<u64>,
    /// Jobs handed out a second, on average, one in eleven days at least; 0: as many as are grabbed.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_negative")]
    #[schema(minimum = 0)]
    pub rate: Option<f64>,
    /// Jobs handed out at once after a rest, where there is a rate; 0 is as 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub burst: Option<u32>,
    /// Nothing is handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// How long a job that succeeded is kept, with payload and result; zero: only in the list of the latest.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub keep_succeeded: Option<Duration>,
    /// How long one that failed is kept.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub keep_failed: Option<Duration>,
    /// How long one that was cancelled is kept.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub keep_cancelled: Option<Duration>,
    /// Most jobs that are kept after they succeeded; 0: none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub keep_succeeded_count: Option<u32>,
    /// Most jobs that are kept after they failed; 0: none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub keep_failed_count: Option<u32>,
    /// Most jobs that are kept after they were cancelled; 0: none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub keep_cancelled_count: Option<u32>,
    /// For how long after a job succeeded a submit with its unique id is answered with it; zero: not at all.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub unique_window: Option<Duration>,
}

/// Which of the jobs of one priority goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The one that came first.
    #[default]
    Fifo,
    /// The one that came last.
    Lifo,
}

/// All rules for one function, none left open. [`Rules::default`] is what is built in: gearmand's behaviour, and failed
/// and cancelled jobs kept for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// See [`Policy::attempts`].
    pub attempts: Option<u32>,
    /// See [`Policy::retry_failed`].
    pub retry_failed: bool,
    /// See [`Policy::retry_timed_out`].
    pub retry_timed_out: bool,
    /// See [`Policy::retry_lost`].
    pub retry_lost: bool,
    /// See [`Policy::backoff`].
    pub backoff: Duration,
    /// See [`Policy::backoff_max`].
    pub backoff_max: Duration,
    /// See [`Policy::run_timeout`].
    pub run_timeout: Option<Duration>,
    /// See [`Policy::wait_timeout`].
    pub wait_timeout: Option<Duration>,
    /// See [`Policy::lease`].
    pub lease: Option<Duration>,
    /// See [`Policy::order`].
    pub order: Order,
    /// See [`Policy::max_waiting`].
    pub max_waiting: Option<u64>,
    /// See [`Policy::max_waiting_bytes`].
    pub max_waiting_bytes: Option<u64>,
    /// See [`Policy::max_running`].
    pub max_running: Option<u64>,
    /// Time between two jobs that are handed out, from [`Policy::rate`].
    pub spacing: Option<Duration>,
    /// See [`Policy::burst`].
    pub burst: u32,
    /// See [`Policy::paused`].
    pub paused: bool,
    /// What is kept of jobs that succeeded.
    pub keep_succeeded: Retention,
    /// What is kept of jobs that failed.
    pub keep_failed: Retention,
    /// What is kept of jobs that were cancelled.
    pub keep_cancelled: Retention,
    /// See [`Policy::unique_window`].
    pub unique_window: Option<Duration>,
}

/// What is kept of jobs after their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long; zero: not at all.
    pub time: Duration,
    /// How many at most; the oldest goes first.
    pub count: u32,
}

impl Retention {
    /// Nothing is kept.
    pub const NONE: Retention = Retention { time: Duration::ZERO, count: 0 };
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Rules {
    fn default() -> Self {
        Self {
            attempts: None,
            retry_failed: false,
            retry_timed_out: true,
            retry_lost: true,
            backoff: Duration::ZERO,
            backoff_max: Duration::from_secs(3600),
            run_timeout: None,
            wait_timeout: None,
            lease: None,
            order: Order::Fifo,
            max_waiting: None,
            max_waiting_bytes: None,
            max_running: None,
            spacing: None,
            burst: 1,
            paused: false,
            keep_succeeded: Retention { time: Duration::ZERO, count: 10_000 },
            keep_failed: Retention { time: 7 * DAY, count: 10_000 },
            keep_cancelled: Retention { time: DAY, count: 1_000 },
            unique_window: None,
        }
    }
}

impl Rules {
    /// The same as a policy that leaves nothing open.
    pub fn to_policy(&self) -> Policy {
        Policy {
            attempts: Some(self.attempts.unwrap_or(0)),
            retry_failed: Some(self.retry_failed),
            retry_timed_out: Some(self.retry_timed_out),
            retry_lost: Some(self.retry_lost),
            backoff: Some(self.backoff),
            backoff_max: Some(self.backoff_max),
            run_timeout: Some(self.run_timeout.unwrap_or_default()),
            wait_timeout: Some(self.wait_timeout.unwrap_or_default()),
            lease: Some(self.lease.unwrap_or_default()),
            order: Some(self.order),
            max_waiting: Some(self.max_waiting.unwrap_or(0)),
            max_waiting_bytes: Some(self.max_waiting_bytes.unwrap_or(0)),
            max_running: Some(self.max_running.unwrap_or(0)),
            rate: Some(self.spacing.map_or(0.0, |spacing| 1.0 / spacing.as_secs_f64())),
            burst: Some(self.burst),
            paused: Some(self.paused),
            keep_succeeded: Some(self.keep_succeeded.time),
            keep_failed: Some(self.keep_failed.time),
            keep_cancelled: Some(self.keep_cancelled.time),
            keep_succeeded_count: Some(self.keep_succeeded.count),
            keep_failed_count: Some(self.keep_failed.count),
            keep_cancelled_count: Some(self.keep_cancelled.count),
            unique_window: Some(self.unique_window.unwrap_or_default()),
        }
    }

    /// Lays a policy over these rules: what it says counts.
    pub fn overlay(&mut self, policy: &Policy) {
        fn take<T: Copy>(rule: &mut T, said: Option<T>) {
            if let Some(said) = said {
                *rule = said;
            }
        }
        fn bound(rule: &mut Option<u64>, said: Option<u64>) {
            take(rule, said.map(|said| Some(said).filter(|said| *said > 0)));
        }
        fn span(rule: &mut Option<Duration>, said: Option<Duration>) {
            take(rule, said.map(|said| Some(said).filter(|said| !said.is_zero())));
        }
        take(&mut self.attempts, policy.attempts.map(|said| Some(said).filter(|said| *said > 0)));
        take(&mut self.retry_failed, policy.retry_failed);
        take(&mut self.retry_timed_out, policy.retry_timed_out);
        take(&mut self.retry_lost, policy.retry_lost);
        take(&mut self.backoff, policy.backoff);
        take(&mut self.backoff_max, policy.backoff_max);
        span(&mut self.run_timeout, policy.run_timeout);
        span(&mut self.wait_timeout, policy.wait_timeout);
        span(&mut self.lease, policy.lease);
        take(&mut self.order, policy.order);
        bound(&mut self.max_waiting, policy.max_waiting);
        bound(&mut self.max_waiting_bytes, policy.max_waiting_bytes);
        bound(&mut self.max_running, policy.max_running);
        take(&mut self.spacing, policy.rate.map(spacing));
        take(&mut self.burst, policy.burst.map(|burst| burst.max(1)));
        take(&mut self.paused, policy.paused);
        take(&mut self.keep_succeeded.time, policy.keep_succeeded);
        take(&mut self.keep_failed.time, policy.keep_failed);
        take(&mut self.keep_cancelled.time, policy.keep_cancelled);
        take(&mut self.keep_succeeded.count, policy.keep_succeeded_count);
        take(&mut self.keep_failed.count, policy.keep_failed_count);
        take(&mut self.keep_cancelled.count, policy.keep_cancelled_count);
        span(&mut self.unique_window, policy.unique_window);
    }
}

/// The time between two jobs at so many a second; none for what is no rate. Within a microsecond and eleven days.
fn spacing(rate: f64) -> Option<Duration> {
    (rate > 0.0).then(|| Duration::from_micros((1e6 / rate).clamp(1.0, 1e12) as u64))
}

/// What a submit over HTTP may ask for its one job, beyond the protocol. It counts before the function's policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// See [`Policy::attempts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// See [`Policy::run_timeout`].
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub run_timeout: Option<Duration>,
    /// How long the job is kept after its end, however it ends.
    #[serde(skip_serializing_if = "Option::is_none", with = "seconds")]
    pub keep: Option<Duration>,
    /// MIME type of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// The trace that the job is part of. No wish of its client's: it comes with the job, and goes where the job goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<TraceContext>>,
}

impl Terms {
    /// The wishes alone.
    pub fn without_trace(&self) -> Terms {
        let Terms { attempts, run_timeout, keep, ref mime, trace: _ } = *self;
        Terms { attempts, run_timeout, keep, mime: mime.clone(), trace: None }
    }
}

/// When and how a recurring job is submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Five cron fields, separated by blanks: minute, hour, day of the month, month, day of the week.
    pub fields: String,
    /// Whether days of the week are counted from 0 = Monday, as the protocol's SCHED packet does, and not as cron does.
    #[serde(skip_serializing_if = "is_false")]
    pub monday_is_zero: bool,
    /// The name of the time zone the fields are meant in; empty: UTC.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// What becomes of a time that passed while no server ran.
    pub misfire: Misfire,
    /// What happens when the job of the last time is still there.
    pub overlap: Overlap,
    /// It is not submitted until this is lifted.
    #[serde(skip_serializing_if = "is_false")]
    pub paused: bool,
    /// When it was to be submitted next, in microseconds; written only where a restart must know it.
    #[serde(skip_serializing_if = "is_zero")]
    pub next: u64,
    /// The number of the job that it submitted last; written only where a restart must know it.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_job: u64,
}

impl Plan {
    /// Whether a restart must know what it did last.
    pub fn has_memory(&self) -> bool {
        self.misfire == Misfire::Once || self.overlap == Overlap::Skip
    }
}

/// What becomes of a time that passed while no server ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Misfire {
    /// It is not made up for.
    #[default]
    Skip,
    /// One job is submitted for all of them.
    Once,
}

/// What happens when the job of the last time is still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Another is submitted, which an equal unique id joins to the first.
    #[default]
    Allow,
    /// None is submitted.
    Skip,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The longest time that a rule may say: more than any job waits.
pub const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// Durations as numbers of seconds, which may have a fraction. People may also write `30s` or `1h 30m`.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::LONGEST;

    const NO_TIME: &str = "neither a number of seconds nor a time as in \"1h 30m\"";

    pub(crate) fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) if span.subsec_nanos() == 0 => to.serialize_u64(span.as_secs()),
            Some(span) => to.serialize_f64(span.as_secs_f64()),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        read(Option::<Said>::deserialize(from)?)
    }

    /// As it stands in an address, where everything is text.
    pub(crate) fn in_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let said = Option::<String>::deserialize(from)?;
        read(said.map(|text| text.parse().map_or(Said::Text(text), Said::Seconds)))
    }

    fn read<E: Error>(said: Option<Said>) -> Result<Option<Duration>, E> {
        let seconds = match said {
            None => return Ok(None),
            Some(Said::Seconds(seconds)) => seconds,
            Some(Said::Text(text)) => humantime::parse_duration(&text)
                .map_err(|_| E::custom(format!("{text:?} is {NO_TIME}")))?
                .as_secs_f64(),
        };
        if !(0.0..=LONGEST.as_secs_f64()).contains(&seconds) {
            let longest = LONGEST.as_secs();
            return Err(E::custom(format!("{seconds} is not between 0 and {longest} seconds")));
        }
        // Whole microseconds: what the engine counts in.
        Ok(Some(Duration::from_micros((seconds * 1e6).round() as u64)))
    }

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number of seconds, or a time as in \"1h 30m\"")]
    enum Said {
        Seconds(f64),
        Text(String),
    }
}

fn not_negative<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number from 0 on")]
    enum Said {
        Number(f64),
    }
    let number = Option::<Said>::deserialize(from)?.map(|Said::Number(number)| number);
    let wrong = |number| D::Error::custom(format!("{number} is no number from 0 on"));
    number.map(|number| if number >= 0.0 { Ok(number) } else { Err(wrong(number)) }).transpose()
}

/// Bytes as a whole number. People may also write `64MiB`.
fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a whole number of bytes, or a size as in \"64MiB\"")]
    enum Said {
        Bytes(#[serde(deserialize_with = "whole::deserialize")] Option<u64>),
        Text(String),
    }
    match Said::deserialize(from)? {
        Said::Bytes(bytes) => Ok(bytes),
        Said::Text(text) => {
            let size = text.parse::<ByteSize>().ok().filter(|size| i64::try_from(size.0).is_ok());
            let wrong = || D::Error::custom(format!("{text:?} is no size; write for example 64KiB or 1GiB"));
            size.map(|ByteSize(bytes)| Some(bytes)).ok_or_else(wrong)
        }
    }
}

/// Whole numbers as JSON Schema has them, where `5.0` is one too. None is beyond 64 bits with a sign: the store, and many who
/// read them, have no more.
pub(crate) mod whole {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::Deserializer;
    use serde::de::{Error, Visitor};

    pub(crate) fn deserialize<'de, D, N>(from: D) -> Result<Option<N>, D::Error>
    where
        D: Deserializer<'de>,
        N: TryFrom<i64>,
    {
        from.deserialize_any(Whole { is_text: false, kind: PhantomData })
    }

    /// As it stands in an address, where everything is text.
    pub(crate) fn in_address<'de, D, N>(from: D) -> Result<Option<N>, D::Error>
    where
        D: Deserializer<'de>,
        N: TryFrom<i64>,
    {
        from.deserialize_any(Whole { is_text: true, kind: PhantomData })
    }

    struct Whole<N> {
        is_text: bool,
        kind: PhantomData<N>,
    }

    impl<N: TryFrom<i64>> Whole<N> {
        fn read<E: Error>(self, number: Option<i64>, said: impl fmt::Debug) -> Result<Option<N>, E> {
            let number = number.and_then(|number| N::try_from(number).ok());
            number.map(Some).ok_or_else(|| {
                E::custom(format_args!("{said:?} is not {}", &self as &dyn serde::de::Expected))
            })
        }
    }

    impl<N: TryFrom<i64>> Visitor<'_> for Whole<N> {
        type Value = Option<N>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let most = 1_u64.checked_shl(size_of::<N>() as u32 * 8).map_or(i64::MAX as u64, |most| most - 1);
            write!(f, "a whole number from 0 to {most}")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            self.read(Some(number), number)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            self.read(i64::try_from(number).ok(), number)
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
            let is_whole = number.fract() == 0.0 && (0.0..i64::MAX as f64).contains(&number);
            self.read(is_whole.then_some(number as i64), number)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let number = text.parse().ok().filter(|_| self.is_text);
            self.read(number, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_leaves_open_stays_as_it_is_and_zero_lifts_a_bound() {
        let mut rules = Rules { lease: Some(Duration::from_secs(1)), attempts: Some(3), ..Rules::default() };
        rules.overlay(&Policy { lease: Some(Duration::ZERO), rate: Some(4.0), ..Policy::default() });
        assert_eq!(
            (rules.lease, rules.attempts, rules.spacing),
            (None, Some(3), Some(Duration::from_millis(250)))
        );
    }

    #[test]
    fn rules_as_a_policy_leave_nothing_open_and_make_the_same_rules() {
        let rules = Rules {
            attempts: Some(3),
            lease: Some(Duration::from_secs(7)),
            spacing: Some(Duration::from_millis(250)),
            max_waiting: Some(9),
            keep_failed: Retention { time: DAY, count: 5 },
            ..Rules::default()
        };
        let mut again = Rules { retry_failed: true, burst: 7, max_running: Some(1), ..Rules::default() };
        again.overlay(&rules.to_policy());
        assert_eq!(again, rules);
    }

    #[test]
    fn a_policy_reads_back_as_written_and_says_only_what_it_was_told() {
        let policy = Policy {
            attempts: Some(3),
            backoff: Some(Duration::from_millis(1500)),
            lease: Some(Duration::from_secs(7)),
            order: Some(Order::Lifo),
            rate: Some(0.5),
            ..Policy::default()
        };
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(text, r#"{"attempts":3,"backoff":1.5,"lease":7,"order":"lifo","rate":0.5}"#);
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        assert_eq!(
            toml::from_str::<Policy>("attempts = 3\nbackoff = 1.5\nlease = '7s'\norder = 'lifo'\nrate = 0.5")
                .unwrap(),
            policy
        );
        for (size, bytes) in [("1MiB", 1 << 20), ("5 KB", 5000), ("0B", 0), ("7 B", 7), ("7", 7)] {
            let said = serde_json::from_str::<Policy>(&format!(r#"{{"max_waiting_bytes":"{size}"}}"#));
            assert_eq!(said.unwrap().max_waiting_bytes, Some(bytes));
        }
        assert!(serde_json::from_str::<Policy>(r#"{"max_waiting_bytes":"9EiB"}"#).is_err());
        assert!(serde_json::from_str::<Policy>(r#"{"lease":-1}"#).is_err());
        assert!(serde_json::from_str::<Policy>(r#"{"leese":1}"#).is_err());
    }
}
