//! What stands in the address of a request: parameters and names.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::problem::{Kind, Problem};
use crate::types::Priority;

/// Parameters behind the `?`; one that is not known is refused, not ignored.
pub(super) struct Params<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The library would put a sign of replacement for what is no text, and nothing would be found.
        if percent_decode_str(parts.uri.query().unwrap_or_default()).decode_utf8().is_err() {
            let detail = "A parameter is no UTF-8: names of other bytes are told in paths only";
            return Err(Problem::new(Kind::INVALID, detail));
        }
        let query = Query::try_from_uri(&parts.uri);
        query.map(|Query(params)| Params(params)).map_err(|error| {
            Problem::new(Kind::UNREADABLE, std::error::Error::source(&error).unwrap_or(&error).to_string())
        })
    }
}

/// Which part of a list is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Search {
    /// Only what has to do with such a function; `*` stands for any text.
    pub function: Option<String>,
    /// Most items of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// What polls may say that they have.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `answer::polled` reads")]
pub(super) struct KnownTag {
    /// The `ETag` of the answer before: as long as nothing changed, the answer is 304.
    #[param(rename = "if-none-match")]
    if_none_match: Option<String>,
}

/// The part of the path behind `/api/v1/LIST/`: any bytes, percent-encoded. The router has taken `/api/v1` off.
pub(super) struct Name(pub Bytes);

impl<S: Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let name = parts.uri.path().split('/').nth(2);
        name.map(|name| Name(percent_decode_str(name).collect::<Vec<u8>>().into()))
            .ok_or_else(|| Problem::new(Kind::NOT_FOUND, "There is no such path"))
    }
}

impl Name {
    /// The number of a connection.
    pub fn number(&self) -> Option<u64> {
        std::str::from_utf8(&self.0).ok()?.parse().ok()
    }
}

/// A job's priority.
#[derive(Clone, Copy, Debug, Default, Deserialize, serde::Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Priority)]
pub(super) enum PriorityName {
    High,
    #[default]
    Normal,
    Low,
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::High => Priority::High,
            PriorityName::Normal => Priority::Normal,
            PriorityName::Low => Priority::Low,
        }
    }
}

impl From<Priority> for PriorityName {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => PriorityName::High,
            Priority::Normal => PriorityName::Normal,
            Priority::Low => PriorityName::Low,
        }
    }
}
