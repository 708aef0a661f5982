//! Connections: workers, that registered functions, and clients, that may be anything.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Reader};
use super::answer::polled;
use super::page::{self, Cursor as _, gather};
use super::params::{Name, Params};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::values::text_or_base64;
use crate::broker::Broker;
use crate::engine::view::{ConnectionFilter, ConnectionRow};
use crate::types::{ConnId, Pattern};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(workers)).routes(routes!(worker)).routes(routes!(clients))
}

/// A connection.
#[derive(Serialize, ToSchema)]
struct Connection {
    id: u64,
    address: String,
    /// What it calls itself; empty if it did not say.
    client_id: String,
    /// Whether it waits to be woken.
    sleeping: bool,
    /// Functions that it registered, by name; 1000 at most.
    functions: Vec<Ability>,
    /// How many there are.
    function_count: usize,
    /// Jobs that it has; 1000 at most.
    running: Vec<String>,
    /// How many there are.
    running_count: usize,
    /// Jobs that it waits for.
    awaiting: usize,
}

/// A function that a worker registered.
#[derive(Serialize, ToSchema)]
struct Ability {
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_base64: Option<String>,
    /// Seconds that a job may run, if the worker said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<f64>,
}

impl From<ConnectionRow> for Connection {
    fn from(row: ConnectionRow) -> Self {
        let functions = row.functions.into_iter().map(|(name, timeout)| {
            let (function, function_base64) = text_or_base64(&name);
            Ability { function, function_base64, timeout: timeout.map(|timeout| timeout.as_secs_f64()) }
        });
        Connection {
            id: row.id.0,
            address: row.address.to_string(),
            client_id: row.client_id.into(),
            sleeping: row.sleeping,
            functions: functions.collect(),
            function_count: row.function_count,
            running: row.running,
            running_count: row.running_count,
            awaiting: row.awaiting,
        }
    }
}

/// A page of connections.
#[derive(Serialize, ToSchema)]
struct ConnectionPage {
    items: Vec<Connection>,
    /// Give this as `after` for the next page; null: this is the last.
    next: Option<String>,
    /// Connections that were looked at for this page.
    looked_at: usize,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Search {
    /// Only those that registered such a function; `*` stands for any text.
    function: Option<String>,
    /// Most connections of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Workers: connections that registered functions
#[utoipa::path(get, path = "/workers", tag = "workers", params(Search),
    responses(
        (status = 200, description = "A page of them", body = ConnectionPage, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn workers(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Params(search): Params<Search>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    list(&broker, &caller, search, true, &headers).await
}

/// All connections; with a token that is limited to functions, those that registered one of them
#[utoipa::path(get, path = "/clients", tag = "workers", params(Search),
    responses(
        (status = 200, description = "A page of them", body = ConnectionPage, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn clients(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Params(search): Params<Search>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    list(&broker, &caller, search, false, &headers).await
}

async fn list(
    broker: &Broker,
    caller: &Caller,
    search: Search,
    workers: bool,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let limit = page::limit(search.limit)?;
    let function = search.function.map(Pattern::new);
    let filter = ConnectionFilter { workers, function, visible: caller.functions() };
    let from = ConnId::read(search.after.as_deref())?.unwrap_or(ConnId(0));
    let page = gather(
        from,
        limit,
        |from, bounds| broker.view(|engine| engine.connection_rows(&filter, *from, bounds)),
        page::all::<_, Connection>,
    );
    let page = page.await?;
    polled(headers, &ConnectionPage { items: page.items, next: page.next, looked_at: page.looked })
}

/// One connection, worker or not
#[utoipa::path(get, path = "/workers/{id}", tag = "workers", params(("id" = u64, Path)),
    responses(
        (status = 200, description = "The connection", body = Connection, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn worker(
    Queues(broker): Queues,
    Reader(caller): Reader,
    name: Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let visible = caller.functions();
    let row = name.number().and_then(|id| broker.view(|engine| engine.connection_row(ConnId(id), visible)));
    let row = row.ok_or_else(|| {
        let id = String::from_utf8_lossy(&name.0);
        Problem::new(Kind::NOT_FOUND, format!("There is no connection {id}"))
    })?;
    polled(&headers, &Connection::from(row))
}
