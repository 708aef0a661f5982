//! Which jobs are asked for, by a search or by an action on all that it finds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::page::Cursor as _;
use super::params::PriorityName;
use super::problem::{Kind, Problem};
use crate::broker::Broker;
use crate::engine::view::{Found, Has, JobCursor, JobFilter, JobRow, JobState, Payload};
use crate::policy::{seconds, whole};
use crate::types::{ConnId, JobId, Pattern, Priority, Timestamp};

/// Bytes of payloads that are read from the disk in one go.
const READ: u64 = 4 << 20;

/// Which jobs are asked for: those that fit everything said.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobFilter)]
pub(super) struct Filter {
    /// Where they are in their life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,
    /// Their function; `*` stands for any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriorityName>,
    /// Their unique id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
    /// The connection that has them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole::deserialize")]
    pub worker: Option<u64>,
    /// Their handle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// Submitted so long ago, or longer.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub min_age: Option<Duration>,
    /// Submitted so long ago, or less.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub max_age: Option<Duration>,
    /// Text that their payload has in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// The same, ready to be looked for.
pub(super) struct Asked {
    state: Option<JobState>,
    function: Option<Pattern>,
    priority: Option<Priority>,
    unique: Option<Bytes>,
    worker: Option<ConnId>,
    id: Option<JobId>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    has: Option<Arc<Has>>,
}

impl Asked {
    pub fn new(broker: &Broker, filter: Filter, now: Timestamp) -> Result<Self, Problem> {
        let finder = filter.payload.filter(|text| !text.is_empty());
        let finder = finder.map(|text| Finder::new(text.as_bytes()).into_owned());
        let ago = |age: Option<Duration>| age.map(|age| now.before(age));
        // No job has the number zero.
        let id =
            |handle: String| broker.view(|engine| engine.parse_handle(handle.as_bytes())).unwrap_or(JobId(0));
        Ok(Self {
            state: filter.state.map(Into::into),
            function: filter.function.map(Pattern::new),
            priority: filter.priority.map(Into::into),
            unique: filter.unique.map(Bytes::from),
            worker: filter.worker.map(ConnId),
            id: filter.handle.map(id),
            since: ago(filter.max_age),
            until: ago(filter.min_age),
            has: finder.map(|finder| -> Arc<Has> { Arc::new(move |payload| finder.find(payload).is_some()) }),
        })
    }

    /// For who may see these functions.
    pub fn filter<'a>(&'a self, visible: &'a [Pattern]) -> JobFilter<'a> {
        JobFilter {
            state: self.state,
            function: self.function.clone(),
            priority: self.priority,
            unique: self.unique.clone(),
            worker: self.worker,
            id: self.id,
            since: self.since,
            until: self.until,
            payload: self.has.as_deref(),
            visible,
        }
    }

    /// Leaves out jobs whose payloads, which could not be looked through under the lock, have not what is looked for.
    pub async fn decide(&self, broker: &Arc<Broker>, found: Vec<Found>) -> Result<Vec<JobRow>, Problem> {
        let Some(has) = &self.has else { return Ok(found.into_iter().map(|found| found.row).collect()) };
        let mut rows: Vec<(JobRow, bool)> = Vec::with_capacity(found.len());
        let mut stored = Vec::new();
        for Found { row, undecided } in found {
            let fits = match undecided {
                None => true,
                Some(Payload::Whole(payload)) => has(&payload),
                Some(Payload::Stored) => {
                    stored.push(rows.len());
                    false
                }
            };
            rows.push((row, fits));
        }
        let mut stored = &stored[..];
        while !stored.is_empty() {
            let mut bytes = 0;
            let fitting = stored.iter().take_while(|index| {
                bytes += u64::from(rows[**index].0.payload_size);
                bytes <= READ
            });
            let (now, later) = stored.split_at(fitting.count().max(1));
            let wanted: Vec<(JobId, u32)> =
                now.iter().map(|index| (rows[*index].0.id, rows[*index].0.payload_size)).collect();
            let has = has.clone();
            let bodies = read_stored(broker, wanted, move |payload| has(payload)).await?;
            for (index, fits) in now.iter().zip(bodies) {
                rows[*index].1 = fits.unwrap_or(false);
            }
            stored = later;
        }
        Ok(rows.into_iter().filter_map(|(row, fits)| fits.then_some(row)).collect())
    }
}

/// Where a list goes on.
pub(super) fn begin(filter: &JobFilter<'_>, after: Option<&str>) -> Result<JobCursor, Problem> {
    let from = JobCursor::read(after)?;
    if from.is_some_and(|from| !filter.takes(from)) {
        return Err(Problem::new(Kind::INVALID, "`after` is not the `next` of a page with this filter"));
    }
    Ok(from.unwrap_or_else(|| filter.first()))
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobState)]
pub(super) enum StateName {
    /// May be handed out later.
    Scheduled,
    /// May be handed out.
    Queued,
    /// Waits until an operator releases it.
    Held,
    /// A worker has it.
    Running,
    /// A worker has it, and it was cancelled meanwhile.
    Cancelling,
    /// Has ended well.
    Succeeded,
    /// Has ended badly.
    Failed,
    /// Was cancelled.
    Cancelled,
}

impl From<JobState> for StateName {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Scheduled => StateName::Scheduled,
            JobState::Queued => StateName::Queued,
            JobState::Held => StateName::Held,
            JobState::Running => StateName::Running,
            JobState::Cancelling => StateName::Cancelling,
            JobState::Succeeded => StateName::Succeeded,
            JobState::Failed => StateName::Failed,
            JobState::Cancelled => StateName::Cancelled,
        }
    }
}

impl From<StateName> for JobState {
    fn from(state: StateName) -> Self {
        match state {
            StateName::Scheduled => JobState::Scheduled,
            StateName::Queued => JobState::Queued,
            StateName::Held => JobState::Held,
            StateName::Running => JobState::Running,
            StateName::Cancelling => JobState::Cancelling,
            StateName::Succeeded => JobState::Succeeded,
            StateName::Failed => JobState::Failed,
            StateName::Cancelled => JobState::Cancelled,
        }
    }
}

/// What `look` makes of payloads that are on disk; `None` of those that are there no more.
pub(super) async fn read_stored<T: Send + 'static>(
    broker: &Arc<Broker>,
    jobs: Vec<(JobId, u32)>,
    look: impl Fn(&[u8]) -> T + Send + 'static,
) -> Result<Vec<Option<T>>, Problem> {
    let broker = broker.clone();
    let read = move || {
        let ids: Vec<JobId> = jobs.iter().map(|(id, _)| *id).collect();
        let mut found: Vec<Option<T>> = Vec::with_capacity(jobs.len());
        let read = broker.read_stored(&ids, &mut |_, body| {
            let len = jobs[found.len()].1 as usize;
            // The payload is the last of what a submit came with.
            let payload = body.as_ref().and_then(|body| body.get(body.len().checked_sub(len)?..));
            found.push(payload.map(&look));
        });
        read.map(|()| found)
    };
    let broken = |error: &dyn std::fmt::Display| Problem::new(Kind::BROKEN, error.to_string());
    tokio::task::spawn_blocking(read).await.map_err(|error| broken(&error))?.map_err(|error| broken(&error))
}
