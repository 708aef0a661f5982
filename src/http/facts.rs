//! What the server is and holds, in one answer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::answer::polled;
use super::params::KnownTag;
use super::problem::{Described, Problem};
use super::shared::{Queues, Shared};
use super::values::Moment;
use crate::engine::Drain;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(server))
}

/// The server: what it is, and what it holds.
#[derive(Serialize, ToSchema)]
struct Server {
    version: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started: Moment,
    state: State_,
    /// Where Gearman is spoken.
    listen: Vec<String>,
    /// Where HTTP is spoken.
    http: Vec<String>,
    store: Store,
    /// Threads that serve Gearman connections.
    threads: usize,
    connections: Connections,
    memory: Memory,
    jobs: Jobs,
    functions: usize,
    schedules: usize,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ServerState)]
enum State_ {
    /// It takes and hands out jobs.
    Serving,
    /// It ends when what is queued is done.
    DrainingQueued,
    /// It ends when what runs is done.
    DrainingRunning,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ServerStore)]
struct Store {
    kind: StoreKind,
    /// The data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// Whether it takes new jobs.
    ready: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StoreKind {
    Sqlite,
    Memory,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ServerConnections)]
struct Connections {
    /// Open now, those of HTTP requests that wait for jobs among them.
    open: usize,
    max: usize,
}

/// Bytes, as they are accounted for.
#[derive(Serialize, ToSchema)]
#[schema(as = ServerMemory)]
struct Memory {
    jobs: u64,
    functions: u64,
    /// What all jobs together may take.
    max: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ServerJobs)]
struct Jobs {
    /// That are not over.
    total: usize,
    running: usize,
    /// Queued, scheduled or held.
    waiting: u64,
    /// Bytes of their payloads.
    waiting_bytes: u64,
    /// Most that may wait, over all functions; without it, as many as fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_waiting: Option<u64>,
    /// Most bytes of payload that may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_waiting_bytes: Option<u64>,
    /// Whose payloads are on disk only.
    on_disk_only: usize,
    /// With a unique id that others may join.
    unique: usize,
}

/// The server's facts
#[utoipa::path(get, operation_id = "get_server", path = "/server", tag = "server", params(KnownTag),
    responses(
        (status = 200, description = "What it is and holds", body = Server, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn server(
    State(shared): State<Arc<Shared>>,
    Queues(broker): Queues,
    Reader(_): Reader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let facts = &shared.facts;
    let totals = broker.view(|engine| engine.totals());
    let texts = |addresses: &[std::net::SocketAddr]| addresses.iter().map(ToString::to_string).collect();
    let directory = facts.data_dir.as_ref().map(|directory| directory.display().to_string());
    polled(
        &headers,
        &Server {
            version: facts.version.clone(),
            started: Moment(facts.started),
            state: match totals.draining {
                None => State_::Serving,
                Some(Drain::Queued) => State_::DrainingQueued,
                Some(Drain::Running) => State_::DrainingRunning,
            },
            listen: texts(&facts.listen),
            http: texts(&facts.http),
            store: Store {
                kind: if directory.is_some() { StoreKind::Sqlite } else { StoreKind::Memory },
                directory,
                ready: broker.readiness().is_ok(),
            },
            threads: facts.threads,
            connections: Connections { open: broker.connections(), max: facts.max_connections },
            memory: Memory {
                jobs: totals.job_bytes,
                functions: totals.function_bytes,
                max: facts.max_memory,
            },
            jobs: Jobs {
                total: totals.jobs,
                running: totals.running,
                waiting: totals.waiting.jobs,
                waiting_bytes: totals.waiting.bytes,
                max_waiting: totals.max_waiting,
                max_waiting_bytes: totals.max_waiting_bytes,
                on_disk_only: totals.on_disk_only,
                unique: totals.uniques,
            },
            functions: totals.functions,
            schedules: totals.schedules,
        },
    )
}
