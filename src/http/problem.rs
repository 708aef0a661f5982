//! What went wrong, as RFC 9457 has it: `application/problem+json`. Every answer that is no success is one of these.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::protocol::Refusal;

/// One kind of problem. Its name is the end of its `type`, which is a page of this server too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind {
    pub name: &'static str,
    pub title: &'static str,
    pub status: StatusCode,
    /// What a reader of the page is told beside the title.
    pub about: &'static str,
}

macro_rules! kinds {
    ($($constant:ident $name:literal $status:ident $title:literal $about:literal;)*) => {
        impl Kind {
            $(pub const $constant: Kind =
                Kind { name: $name, title: $title, status: StatusCode::$status, about: $about };)*
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$constant),*];
        }
    };
}

kinds! {
    UNREADABLE "unreadable" BAD_REQUEST "The request cannot be read"
        "A parameter, a header or the body is not of the form that the OpenAPI document describes.";
    NO_TOKEN "no-token" UNAUTHORIZED "An access token is needed"
        "Send `Authorization: Bearer TOKEN` with a token that `gearhouse token create` made.";
    NOT_ALLOWED "not-allowed" FORBIDDEN "This is not allowed"
        "The token's scope or its function patterns do not include this.";
    FOREIGN_PAGE "foreign-page" FORBIDDEN "A page of another site asked"
        "Without tokens only programs of this machine and the server's own page are answered.";
    NOT_FOUND "not-found" NOT_FOUND "There is nothing of this name"
        "The path names no job, function, connection or page of this server.";
    METHOD "method-not-allowed" METHOD_NOT_ALLOWED "This cannot be done here"
        "The header `Allow` tells which methods the path has.";
    CONFLICT "not-possible" CONFLICT "This is not possible as things stand"
        "What was asked for is not done to a job, or whatever it is, in the state that it is in; the detail tells why.";
    IN_USE "in-use" CONFLICT "It is in use"
        "A function is dropped when it has neither jobs nor workers nor schedules.";
    IN_PROGRESS "in-progress" CONFLICT "A request with this idempotency key is not answered yet"
        "Try again when the first one is answered.";
    TOO_LARGE "too-large" PAYLOAD_TOO_LARGE "The body is too large"
        "The option --http-max-body sets how large a body may be.";
    MEDIA_TYPE "media-type" UNSUPPORTED_MEDIA_TYPE "The body is of another kind"
        "The header `Content-Type` must name one of the kinds that the OpenAPI document lists, and nothing is to be packed.";
    INVALID "invalid" UNPROCESSABLE_ENTITY "The request makes no sense"
        "It can be read, but a value in it cannot be.";
    KEY_REUSED "key-reused" UNPROCESSABLE_ENTITY "The idempotency key was used for another request"
        "Use a new key for each new request.";
    TOO_MANY "too-many-requests" TOO_MANY_REQUESTS "Too many requests"
        "The option --http-rate sets how many requests a second a token or an address may send.";
    SLOW "too-slow" REQUEST_TIMEOUT "The body did not come in time"
        "A body must come within 60 seconds, and one second more for each 64 KiB.";
    FULL "queue-full" SERVICE_UNAVAILABLE "The queue is full"
        "A limit on waiting jobs or on memory is reached. Try again later.";
    UNAVAILABLE "unavailable" SERVICE_UNAVAILABLE "The server cannot do this now"
        "It starts, ends, or cannot write to its disk; the detail tells which.";
    BUSY "busy" SERVICE_UNAVAILABLE "Too much at once"
        "As many connections or bytes are under way as the server allows.";
    BROKEN "broken" INTERNAL_SERVER_ERROR "The server failed"
        "What it was asked is not at fault; the log tells more.";
}

/// One problem, with what is said of this case.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    more: Map<String, Value>,
    retry_after: Option<u64>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), more: Map::new(), retry_after: None }
    }

    /// Says after how many seconds it may be tried again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds a field.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.more.insert(field.to_owned(), value.into());
        self
    }

    /// The object that is answered.
    pub fn to_json(&self) -> Value {
        let mut all = json!({
            "type": format!("/problems/{}", self.kind.name),
            "title": self.kind.title,
            "status": self.kind.status.as_u16(),
            "detail": self.detail,
        });
        if let Value::Object(fields) = &mut all {
            fields.extend(self.more.clone());
        }
        all
    }
}

impl Problem {
    /// What the queue manager refused, as its ERROR packet tells it.
    pub fn refused(code: &str, text: String) -> Self {
        let kind = match code {
            _ if text == Refusal::FRAME_TOO_LARGE.text => Kind::TOO_LARGE,
            _ if text.starts_with(&*Refusal::QUEUE_FULL.text) || text == Refusal::TOO_MANY_FUNCTIONS.text => {
                Kind::FULL
            }
            _ if text == Refusal::SCHEDULE_EXISTS.text => Kind::CONFLICT,
            "QUEUE_ERROR" | "SHUTDOWN" => Kind::UNAVAILABLE,
            _ => Kind::INVALID,
        };
        let problem = Problem::new(kind, text).with("code", code);
        if kind.status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(1) } else { problem }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Problem::refused(refusal.code, refusal.text.into_owned())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.kind.status, kind, self.to_json().to_string()).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind == Kind::NO_TOKEN {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A problem (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes what `Problem::to_json` writes")]
pub(super) struct Described {
    /// `/problems/NAME`; the page of this path tells more.
    r#type: String,
    /// The same for every problem of this type.
    title: String,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened here.
    detail: String,
    /// The code of Gearman's ERROR packet, if the queue manager refused.
    code: Option<String>,
}
