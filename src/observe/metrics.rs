//! The metrics page. Formats, escaping and endings are the business of the Prometheus project's own crate.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::names::{self, Name};
use super::{Function, Snapshot};
use crate::broker::{StoreFacts, StoreState};
use crate::engine::{ByReason, Counts, Histogram, Reason};
use crate::machine;
use crate::policy::Rules;
use crate::types::{Printable, Priority};

/// How a page may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus' own text, which everything reads.
    Prometheus,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// The format to answer a request with, by its header Accept: OpenMetrics for who names it.
    pub fn accepted(accept: Option<&str>) -> Self {
        let wants = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it =
                parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            is_it && !parts.any(|part| matches!(part.split_once('='), Some(("q", q)) if q.parse() == Ok(0.0)))
        };
        let named = accept.is_some_and(|accept| accept.split(',').any(wants));
        if named { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// What a page of this format is sent as.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The page. `version`: the server's.
pub fn render(snapshot: Snapshot, version: &str, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { snapshot, version: version.to_owned() }));
    let mut page = String::with_capacity(64 * 1024);
    let written = match format {
        Format::Prometheus => prometheus_text::encode(&mut page, &registry),
        Format::OpenMetrics => text::encode(&mut page, &registry),
    };
    written.expect("a string takes all that is written to it");
    page
}

#[derive(Debug)]
struct Page {
    snapshot: Snapshot,
    version: String,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let Snapshot { totals, .. } = &self.snapshot;
        out.gauge(names::UP, 1)?;
        out.family(names::VERSION, MetricType::Info, |metric| {
            metric.encode_info(&[("version", self.version.as_str())])
        })?;
        self.of_functions(&mut out)?;
        self.of_server(&mut out)?;
        out.gauges(
            names::MEMORY,
            "part",
            &[
                ("jobs", totals.job_bytes as i64),
                ("functions", totals.function_bytes as i64),
                ("outboxes", self.snapshot.outbox_bytes as i64),
                ("store_backlog", self.snapshot.store.as_ref().map_or(0, |store| store.backlog as i64)),
            ],
        )?;
        out.gauge(names::MEMORY_LIMIT, i64::try_from(totals.max_job_bytes).unwrap_or(i64::MAX))?;
        if let Some(bytes) = machine::resident_memory() {
            out.gauge(names::RESIDENT, bytes as i64)?;
        }
        if let Some(store) = &self.snapshot.store {
            of_store(&mut out, store)?;
        }
        if let Some(history) = &self.snapshot.history {
            out.gauge(names::HISTORY_UP, i64::from(history.is_sound))?;
            out.counter(names::HISTORY_WRITTEN, history.written)?;
            out.counter(names::HISTORY_DROPPED, history.dropped)?;
            out.gauge(names::HISTORY_BYTES, history.file as i64)?;
        }
        if let Some(traces) = &self.snapshot.traces {
            out.gauge(names::TRACES_UP, i64::from(!traces.is_failing))?;
            out.counter(names::TRACES_SENT, traces.sent)?;
            out.counter(names::TRACES_DROPPED, traces.dropped)?;
        }
        Ok(())
    }
}

impl Page {
    fn of_functions(&self, out: &mut Out<'_>) -> fmt::Result {
        let functions: Vec<(String, &Function)> = self
            .snapshot
            .functions
            .iter()
            .map(|function| (Printable(&function.seen.name).to_string(), function))
            .collect();
        let mut gauge = |name: Name, number: &dyn Fn(&Function) -> usize| {
            out.family(name, MetricType::Gauge, |metric| {
                functions.iter().try_for_each(|(label, function)| {
                    metric
                        .encode_family(&[("function", label.as_str())])?
                        .encode_gauge(&(number(function) as i64))
                })
            })
        };
        let scheduled = |function: &Function| function.seen.scheduled.iter().sum::<usize>();
        let waiting = |function: &Function| {
            function.seen.ready.iter().sum::<usize>() + scheduled(function) + function.seen.held
        };
        gauge(names::JOBS, &|function| waiting(function) + function.seen.running)?;
        gauge(names::RUNNING, &|function| function.seen.running)?;
        gauge(names::WAITING, &waiting)?;
        gauge(names::WORKERS, &|function| function.seen.workers)?;
        gauge(names::FUNCTION_SCHEDULED, &scheduled)?;
        gauge(names::FUNCTION_HELD, &|function| function.seen.held)?;
        gauge(names::FUNCTION_PAUSED, &|function| usize::from(function.seen.rules.paused))?;

        out.family(names::FUNCTION_QUEUED, MetricType::Gauge, |metric| {
            each_priority(metric, &functions, |function, priority| {
                Some(function.seen.ready[priority as usize] as i64)
            })
        })?;
        out.family(names::FUNCTION_LIMIT, MetricType::Gauge, |metric| {
            each_priority(metric, &functions, |function, priority| {
                function.seen.limits[priority as usize].map(i64::from)
            })
        })?;
        out.family(names::FUNCTION_BOUND, MetricType::Gauge, |metric| {
            for (label, function) in &functions {
                for (bound, number) in bounds(&function.seen.rules) {
                    let labels = [("function", label.as_str()), ("limit", bound)];
                    metric.encode_family(&labels)?.encode_gauge(&number)?;
                }
            }
            Ok(())
        })?;
        out.family(names::FUNCTION_OLDEST, MetricType::Gauge, |metric| {
            for (label, function) in &functions {
                if let Some(oldest) = function.seen.oldest {
                    let age = self.snapshot.at.since(oldest).as_secs_f64();
                    metric.encode_family(&[("function", label.as_str())])?.encode_gauge(&age)?;
                }
            }
            Ok(())
        })?;

        let counted: Vec<(&str, &Counts, bool)> = functions
            .iter()
            .filter_map(|(label, function)| {
                Some((label.as_str(), function.seen.counts.as_deref()?, function.has_histograms))
            })
            .collect();
        let mut counter = |name: Name, number: &dyn Fn(&Counts) -> u64| {
            out.family(name, MetricType::Counter, |metric| {
                counted.iter().try_for_each(|(label, counts, _)| {
                    count(&mut metric.encode_family(&[("function", *label)])?, number(counts))
                })
            })
        };
        counter(names::FUNCTION_SUBMITTED, &|counts| counts.submitted)?;
        counter(names::FUNCTION_COALESCED, &|counts| counts.coalesced)?;
        counter(names::FUNCTION_STARTED, &|counts| counts.started)?;
        counter(names::FUNCTION_SUCCEEDED, &|counts| counts.succeeded)?;
        let mut by_reason = |name: Name, numbers: &dyn Fn(&Counts) -> ByReason| {
            out.family(name, MetricType::Counter, |metric| {
                for (label, counts, _) in &counted {
                    let numbers = numbers(counts);
                    // Most functions know few of them.
                    for reason in Reason::ALL.into_iter().filter(|reason| numbers[*reason as usize] > 0) {
                        let labels = [("function", *label), ("reason", reason.name())];
                        count(&mut metric.encode_family(&labels)?, numbers[reason as usize])?;
                    }
                }
                Ok(())
            })
        };
        by_reason(names::FUNCTION_FAILED, &|counts| counts.failed)?;
        by_reason(names::FUNCTION_RETRIED, &|counts| counts.retried)?;
        let mut histogram = |name: Name, of: &dyn Fn(&Counts) -> Histogram| {
            out.family(name, MetricType::Histogram, |metric| {
                let shown = counted.iter().filter(|(.., has_histograms)| *has_histograms);
                shown.map(|(label, counts, _)| (label, of(counts))).try_for_each(|(label, histogram)| {
                    durations(&mut metric.encode_family(&[("function", *label)])?, &histogram)
                })
            })
        };
        histogram(names::FUNCTION_WAIT, &|counts| counts.wait.clone())?;
        histogram(names::FUNCTION_RUN, &|counts| counts.run.clone())
    }

    fn of_server(&self, out: &mut Out<'_>) -> fmt::Result {
        let Snapshot { totals, counts, .. } = &self.snapshot;
        out.gauge(names::FUNCTIONS, totals.functions as i64)?;
        out.gauge(names::NOT_SHOWN, self.snapshot.not_shown as i64)?;
        let ready =
            Priority::ALL.map(|priority| (priority.name(), self.snapshot.ready[priority as usize] as i64));
        out.gauges(names::QUEUED, "priority", &ready)?;
        out.gauge(names::SCHEDULED, self.snapshot.scheduled as i64)?;
        out.gauge(names::HELD, self.snapshot.held as i64)?;
        out.gauge(names::ALL_RUNNING, totals.running as i64)?;
        out.gauge(names::STORED_ONLY, totals.on_disk_only as i64)?;
        out.gauge(names::SCHEDULES, totals.schedules as i64)?;
        out.counter(names::SUBMITTED, counts.submitted)?;
        out.counter(names::COALESCED, counts.coalesced)?;
        out.counter(names::STARTED, counts.started)?;
        out.counter(names::SUCCEEDED, counts.succeeded)?;
        for (name, numbers) in [(names::FAILED, counts.failed), (names::RETRIED, counts.retried)] {
            out.family(name, MetricType::Counter, |metric| {
                Reason::ALL.into_iter().try_for_each(|reason| {
                    count(&mut metric.encode_family(&[("reason", reason.name())])?, numbers[reason as usize])
                })
            })?;
        }
        out.family(names::WAIT, MetricType::Histogram, |metric| durations(metric, &counts.wait))?;
        out.family(names::RUN, MetricType::Histogram, |metric| durations(metric, &counts.run))?;
        out.gauge(names::CONNECTIONS, self.snapshot.connections as i64)?;
        out.gauge(names::DRAINING, i64::from(totals.draining.is_some()))
    }
}

fn of_store(out: &mut Out<'_>, store: &StoreFacts) -> fmt::Result {
    out.gauge(names::STORE_READY, i64::from(store.state == StoreState::Ready))?;
    out.family(names::STORE_GROUPS, MetricType::Histogram, |metric| {
        let bound = |index| StoreFacts::bound(index).map_or(f64::INFINITY, |bound| bound as f64);
        let buckets: Vec<_> =
            (0..StoreFacts::GROUPS).map(|index| (bound(index), store.groups[index])).collect();
        // Counted apart: what is read together must agree.
        let groups = store.groups.iter().sum();
        metric.encode_histogram::<NoLabelSet>(store.records as f64, groups, &buckets, None)
    })?;
    out.counter(names::STORE_BYTES, store.bytes)?;
    let syncing = Duration::from_micros(store.syncing).as_secs_f64();
    out.family(names::STORE_SYNCING, MetricType::Counter, |metric| {
        metric.encode_counter(&syncing, None::<&Exemplar<NoLabelSet, f64>>)
    })
}

/// What a policy bounds, by its rules' names, and the bounds.
fn bounds(rules: &Rules) -> impl Iterator<Item = (&'static str, f64)> {
    let bounds = [
        ("max_running", rules.max_running.map(|most| most as f64)),
        ("max_waiting", rules.max_waiting.map(|most| most as f64)),
        ("max_waiting_bytes", rules.max_waiting_bytes.map(|most| most as f64)),
        ("rate", rules.spacing.map(|spacing| spacing.as_secs_f64().recip())),
    ];
    bounds.into_iter().filter_map(|(name, bound)| Some((name, bound?)))
}

/// A family of three series a function.
fn each_priority(
    metric: &mut MetricEncoder<'_>,
    functions: &[(String, &Function)],
    number: impl Fn(&Function, Priority) -> Option<i64>,
) -> fmt::Result {
    for (label, function) in functions {
        for priority in Priority::ALL {
            if let Some(number) = number(function, priority) {
                let labels = [("function", label.as_str()), ("priority", priority.name())];
                metric.encode_family(&labels)?.encode_gauge(&number)?;
            }
        }
    }
    Ok(())
}

fn count(metric: &mut MetricEncoder<'_>, number: u64) -> fmt::Result {
    metric.encode_counter(&number, None::<&Exemplar<NoLabelSet, u64>>)
}

/// In seconds, as is the custom. Every second bound is enough here: each is a series.
fn durations(metric: &mut MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
    let bound = |index| Histogram::bound(index).map_or(f64::INFINITY, seconds);
    let coarse = |pair: usize| {
        let last = (2 * pair + 1).min(Histogram::BUCKETS - 1);
        (bound(last), histogram.buckets[2 * pair..=last].iter().sum())
    };
    let buckets: Vec<(f64, u64)> = (0..Histogram::BUCKETS.div_ceil(2)).map(coarse).collect();
    metric.encode_histogram::<NoLabelSet>(seconds(histogram.sum), histogram.count(), &buckets, None)
}

/// Writes families.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family(
        &mut self,
        Name { name, help }: Name,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut self.0.encode_descriptor(name, help, None, kind)?)
    }

    fn gauge(&mut self, name: Name, number: i64) -> fmt::Result {
        self.family(name, MetricType::Gauge, |metric| metric.encode_gauge(&number))
    }

    fn counter(&mut self, name: Name, number: u64) -> fmt::Result {
        self.family(name, MetricType::Counter, |metric| count(metric, number))
    }

    fn gauges(&mut self, name: Name, label: &str, numbers: &[(&str, i64)]) -> fmt::Result {
        self.family(name, MetricType::Gauge, |metric| {
            numbers.iter().try_for_each(|(value, number)| {
                metric.encode_family(&[(label, *value)])?.encode_gauge(number)
            })
        })
    }
}
