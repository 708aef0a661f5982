//! What operators did: written down when it is done, and told.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, Reader};
use super::answer::polled;
use super::page::{self, Cursor};
use super::params::{KnownTag, Params};
use super::problem::{Described, Kind, Problem};
use super::shared::Shared;
use super::values::Moment;
use crate::history::Audit;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(list))
}

impl Shared {
    /// Writes down what someone did.
    pub fn note_audit(&self, who: &Caller, action: &str, target: String, outcome: String) {
        let Ok(opened) = self.opened() else { return };
        let Some(history) = &opened.history else { return };
        let (time, who, action) = (self.clock.now(), who.key.to_string(), action.to_owned());
        history.audit(Audit { serial: 0, time, who, action, target, outcome });
    }
}

/// Something that an operator did.
#[derive(Serialize, ToSchema)]
#[schema(as = Audit)]
struct Item {
    serial: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// The token's name, or the address.
    who: String,
    action: String,
    /// What it was done to: a handle or several, a filter, a name.
    target: String,
    /// What came of it.
    outcome: String,
}

/// A page of them.
#[derive(Serialize, ToSchema)]
struct AuditPage {
    items: Vec<Item>,
    /// Give this as `after` for the next page; null: this is the last.
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Paged {
    /// Most items of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The number of the entry before which the list goes on.
struct Before(u64);

impl Cursor for Before {
    fn to_text(&self) -> String {
        format!("a{}", self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('a')?.parse().ok().map(Before)
    }
}

/// What operators did
///
/// The latest first. Not for tokens that are limited to some functions.
#[utoipa::path(get, operation_id = "list_audit", path = "/audit", tag = "server", params(KnownTag, Paged),
    responses(
        (status = 200, description = "A page of it", body = AuditPage, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn list(
    State(shared): State<Arc<Shared>>,
    Reader(caller): Reader,
    Params(Paged { limit, after }): Params<Paged>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !caller.functions().is_empty() {
        let detail = "The token is good for some functions only, and this tells of all";
        return Err(Problem::new(Kind::NOT_ALLOWED, detail));
    }
    let limit = page::limit(limit)?;
    let before = Before::read(after.as_deref())?.map(|Before(serial)| serial);
    let mut audits = match shared.opened()?.history.clone() {
        // One more tells whether there is another page.
        Some(history) => {
            super::shared::read_history(history, move |history| history.audits(before, limit + 1)).await?
        }
        None => Vec::new(),
    };
    let is_more = audits.len() > limit;
    audits.truncate(limit);
    let next = audits.last().filter(|_| is_more).map(|last| Before(last.serial).to_text());
    let items = audits.into_iter().map(|audit| Item {
        serial: audit.serial,
        at: Moment(audit.time),
        who: audit.who,
        action: audit.action,
        target: audit.target,
        outcome: audit.outcome,
    });
    polled(&headers, &AuditPage { items: items.collect(), next })
}
