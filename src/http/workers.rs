//! Connections: workers, that registered functions, and clients, that may be anything.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Reader};
use super::answer::{json, polled};
use super::operate::Desk;
use super::page::{self, Cursor as _, gather};
use super::params::{KnownTag, Name, Params, Search};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::values::{Moment, text_or_base64};
use crate::broker::Broker;
use crate::engine::view::{ConnectionFilter, ConnectionRow};
use crate::types::{ConnId, Pattern};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(workers))
        .routes(routes!(worker))
        .routes(routes!(clients))
        .routes(routes!(stop))
        .routes(routes!(disconnect))
}

/// A connection.
#[derive(Serialize, ToSchema)]
struct Connection {
    id: u64,
    address: String,
    /// What it calls itself; empty if it did not say.
    client_id: String,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    connected: Moment,
    /// When it last said something.
    #[schema(value_type = String, format = DateTime)]
    heard: Moment,
    /// It gets no more jobs, and is sent away when it is done with those it has.
    draining: bool,
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
#[schema(as = WorkerAbility)]
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
            connected: Moment(row.connected),
            heard: Moment(row.heard),
            draining: row.draining,
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
    #[schema(required = true)]
    next: Option<String>,
    /// Connections that were looked at for this page.
    looked_at: usize,
}

/// Workers: connections that registered functions
#[utoipa::path(get, operation_id = "list_workers", path = "/workers", tag = "workers", params(KnownTag, Search),
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
#[utoipa::path(get, operation_id = "list_clients", path = "/clients", tag = "workers", params(KnownTag, Search),
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
#[utoipa::path(get, operation_id = "get_worker", path = "/workers/{id}", tag = "workers", params(KnownTag, ("id" = u64, Path)),
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
    polled(&headers, &find(&broker, &caller, &name)?)
}

fn find(broker: &Broker, caller: &Caller, name: &Name) -> Result<Connection, Problem> {
    let visible = caller.functions();
    let row = name.number().and_then(|id| broker.view(|engine| engine.connection_row(ConnId(id), visible)));
    row.map(Connection::from).ok_or_else(|| unknown(name))
}

fn unknown(name: &Name) -> Problem {
    let id = String::from_utf8_lossy(&name.0);
    Problem::new(Kind::NOT_FOUND, format!("There is no connection {id}"))
}

/// The connection that a path names, if all that it does is the caller's business: what is done to it is done to all of that.
fn find_whole(desk: &Desk, name: &Name) -> Result<Connection, Problem> {
    let (broker, caller) = (&desk.broker, &desk.caller);
    let found = find(broker, caller, name)?;
    if broker.view(|engine| engine.is_whole_visible(ConnId(found.id), caller.functions())) {
        return Ok(found);
    }
    Err(Problem::new(
        Kind::NOT_ALLOWED,
        "The worker does other functions too, and the token is not good for those",
    ))
}

/// Give a worker no more jobs
///
/// It is sent away when it is done with those it has. A connection that registered no functions and has no jobs is no worker, and
/// refused. A token that is limited to functions must be good for all that the
/// worker does.
#[utoipa::path(post, operation_id = "stop_worker", path = "/workers/{id}/stop", tag = "workers", params(("id" = u64, Path)),
    responses(
        (status = 200, description = "The connection as it was when it was asked", body = Connection),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn stop(desk: Desk, name: Name) -> Result<Response, Problem> {
    let found = find_whole(&desk, &name)?;
    if found.function_count == 0 && found.running_count == 0 {
        // Closed at once, a client would lose the jobs that it waits for.
        let detail = format!("The connection {} is no worker: it registered no functions", found.id);
        return Err(Problem::new(Kind::CONFLICT, detail));
    }
    let is_done = desk.broker.stop_worker(desk.now(), ConnId(found.id));
    tell(&desk, "stop worker", &name, is_done, &Connection { draining: true, ..found }).await
}

/// End a connection at once
///
/// Its jobs go to others. A token that is limited to functions must be good for all that the worker does.
#[utoipa::path(post, operation_id = "disconnect_worker", path = "/workers/{id}/disconnect", tag = "workers", params(("id" = u64, Path)),
    responses(
        (status = 200, description = "The connection as it was", body = Connection),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn disconnect(desk: Desk, name: Name) -> Result<Response, Problem> {
    let found = find_whole(&desk, &name)?;
    let is_done = desk.broker.disconnect(desk.now(), ConnId(found.id));
    tell(&desk, "disconnect worker", &name, is_done, &found).await
}

async fn tell(
    desk: &Desk,
    action: &str,
    name: &Name,
    is_done: bool,
    found: &Connection,
) -> Result<Response, Problem> {
    if !is_done {
        return Err(unknown(name));
    }
    desk.note(action, format!("{} {}", found.id, found.address).as_bytes(), "done");
    desk.shared.written().await;
    json(StatusCode::OK, found)
}
