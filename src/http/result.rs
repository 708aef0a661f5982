//! What a job's worker said at its end.

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::filter::StateName;
use super::jobs::{find, not_kept};
use super::params::Name;
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use super::values::Raw;
use crate::broker::Broker;
use crate::engine::Reason;
use crate::engine::view::{JobRow, JobState, Payload};
use crate::types::JobId;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(result))
}

/// A job's result
///
/// As its worker gave it; of a job that failed: what its worker said of that. `Content-Type` is the `mime` that the job was
/// submitted with, else what the bytes look like. It is there as long as the job is kept after its end.
#[utoipa::path(get, operation_id = "get_job_result", path = "/jobs/{handle}/result", tag = "jobs", params(("handle" = String, Path)),
    responses(
        (status = 200, description = "All of it", body = inline(Raw), content_type = "*/*"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn result(Queues(broker): Queues, Reader(caller): Reader, name: Name) -> Result<Response, Problem> {
    let row = find(&broker, &caller, &name)?;
    let missing = |why: String| Problem::new(Kind::NOT_FOUND, format!("The job {} {why}", row.handle));
    if !row.state.is_over() {
        return Err(missing("has not ended".to_owned()).with("state", state(&row)));
    }
    let result = match broker.view(|engine| engine.result(row.id)) {
        Some(Payload::Whole(result)) => result,
        Some(Payload::Stored) => read(&broker, row.id).await?,
        None => return Err(not_kept(&row)),
    };
    if result.is_empty() {
        match row.state {
            JobState::Cancelled => return Err(missing("was cancelled".to_owned()).with("state", "cancelled")),
            JobState::Failed => {
                let reason = row.reason.map_or("failed", Reason::name);
                let why = format!("failed ({reason}), and nothing was said of it");
                return Err(missing(why).with("state", "failed"));
            }
            _ => {}
        }
    }
    let said = row.terms.mime.and_then(|mime| HeaderValue::try_from(mime).ok());
    let kind = said.unwrap_or_else(|| HeaderValue::from_static(guess(&result)));
    Ok(([(header::CONTENT_TYPE, kind)], result).into_response())
}

fn state(row: &JobRow) -> Value {
    serde_json::to_value(StateName::from(row.state)).unwrap_or_default()
}

async fn read(broker: &Arc<Broker>, id: JobId) -> Result<Bytes, Problem> {
    let broker = broker.clone();
    let broken = |error: &dyn std::fmt::Display| Problem::new(Kind::BROKEN, error.to_string());
    let read =
        tokio::task::spawn_blocking(move || broker.read_result(id)).await.map_err(|error| broken(&error))?;
    // An empty one is not written.
    read.map(Option::unwrap_or_default).map_err(|error| broken(&error))
}

/// How files begin that jobs often make, and what they are.
const BEGINNINGS: [(&[u8], &str); 6] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"\x1f\x8b\x08", "application/gzip"),
];

/// What bytes look like to who has to show them. No more is told apart than a few kinds of files, text, JSON and the rest: a
/// guess at what a browser would run is none that this server should make.
fn guess(bytes: &[u8]) -> &'static str {
    if let Some((_, kind)) = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        return kind;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return "application/octet-stream" };
    let is_structure = text.trim_start().starts_with(['{', '[']);
    if is_structure && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return "application/json";
    }
    if text.contains('\0') { "application/octet-stream" } else { "text/plain; charset=utf-8" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_are_told_from_the_rest() {
        for (bytes, kind) in [
            (&b"{\"a\": [1]}"[..], "application/json"),
            (b" [1]\n", "application/json"),
            (b"{not json}", "text/plain; charset=utf-8"),
            (b"7", "text/plain; charset=utf-8"),
            (b"", "text/plain; charset=utf-8"),
            (b"<html>", "text/plain; charset=utf-8"),
            (b"\xff", "application/octet-stream"),
            (b"a\0b", "application/octet-stream"),
            (b"\x89PNG\r\n\x1a\n\0", "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"%PDF-1.7", "application/pdf"),
            (b"\x1f\x8b\x08\0", "application/gzip"),
        ] {
            assert_eq!(guess(bytes), kind, "{bytes:?}");
        }
    }
}
