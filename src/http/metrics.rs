//! The metrics page, for those who scrape it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::problem::{Described, Kind, Problem};
use super::shared::Shared;
use crate::observe::{Format, Watch, render};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// The server's numbers, as Prometheus or OpenMetrics has them
#[utoipa::path(get, operation_id = "get_metrics", path = "/metrics", tag = "server",
    responses(
        (status = 200, description = "The page; docs/metrics.md tells what is on it",
            content((String = "text/plain"), (String = "application/openmetrics-text"))),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn metrics(
    State(shared): State<Arc<Shared>>,
    Reader(caller): Reader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let opened = shared.opened()?;
    let (broker, watch) = (opened.broker.clone(), opened.watch.clone());
    let (history, traces) = (opened.history.clone(), opened.traces.clone());
    let accepted: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).collect();
    let format = Format::accepted(Some(&accepted.join(",")));
    let (now, version) = (shared.clock.now(), shared.facts.version.clone());
    // A page of many functions takes some milliseconds, in which others are to be answered.
    let page = tokio::task::spawn_blocking(move || {
        let mut snapshot = watch.snapshot(&broker, now, Watch::FUNCTIONS);
        snapshot.history = history.map(|history| history.facts());
        snapshot.traces = traces.map(|traces| traces.facts());
        snapshot.functions.retain(|function| caller.sees(&function.seen.name));
        render(snapshot, &version, format)
    });
    let page = page.await.map_err(|error| Problem::new(Kind::BROKEN, error.to_string()))?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, format.content_type())], page).into_response())
}
