//! How answers are given that are the same for many: JSON, tags for what is polled.

use std::hash::BuildHasher as _;
use std::sync::LazyLock;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::KeepAlive;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use foldhash::quality::RandomState;
use serde::Serialize;

use super::problem::{Kind, Problem};

/// Tags are for one process: what was polled before a restart is polled again.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// How often it says so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Any value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    Ok((status, [(header::CONTENT_TYPE, "application/json")], text(value)?).into_response())
}

/// The same with a tag, or nothing but that if the caller has it already.
pub(super) fn polled(headers: &HeaderMap, value: &impl Serialize) -> Result<Response, Problem> {
    Ok(tagged(headers, text(value)?))
}

/// The same of JSON that is made already.
pub(super) fn tagged(headers: &HeaderMap, text: String) -> Response {
    let tag = format!("\"{:016x}\"", HASHER.hash_one(&text));
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| names(known, &tag));
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let tag = [(header::ETAG, tag)];
    match status {
        StatusCode::NOT_MODIFIED => (status, tag).into_response(),
        _ => (status, tag, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
    }
}

/// Whether events are asked for, and not one answer.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.split([',', ';']).any(|kind| kind.trim() == "text/event-stream"))
    })
}

/// A stream that has nothing to tell says so, that no one takes it for dead.
pub(super) fn keep_alive() -> KeepAlive {
    KeepAlive::new().interval(SIGN_OF_LIFE)
}

/// A value as the bytes of its JSON.
pub(super) fn to_bytes(value: &impl Serialize) -> Result<Bytes, Problem> {
    text(value).map(Bytes::from)
}

fn names(known: &HeaderValue, tag: &str) -> bool {
    let Ok(known) = known.to_str() else { return false };
    known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

fn text(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|error| Problem::new(Kind::BROKEN, error.to_string()))
}

/// What is not so is not said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
pub(super) fn is_false(is_so: &bool) -> bool {
    !*is_so
}
