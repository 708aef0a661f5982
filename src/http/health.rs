//! Whether the server lives, and whether it takes all that is asked of it: for load balancers and supervisors.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Described, Kind, Problem};
use super::shared::Shared;
use crate::protocol::Refusal;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// Whether the server lives
#[utoipa::path(get, operation_id = "get_health", path = "/healthz", tag = "server", security(()),
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the server takes all that is asked of it
#[utoipa::path(get, operation_id = "get_readiness", path = "/readyz", tag = "server", security(()),
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "It starts, ends, or cannot write to its disk", body = Described,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn readyz(State(shared): State<Arc<Shared>>) -> Result<&'static str, Problem> {
    let broker = shared.broker()?;
    if broker.view(|engine| engine.totals().draining.is_some()) {
        return Err(Problem::new(Kind::UNAVAILABLE, Refusal::SHUTDOWN.text));
    }
    broker.readiness()?;
    Ok("ok\n")
}
