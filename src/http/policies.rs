//! The rules for functions, by name and pattern: what is set, and what it comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Reader;
use super::answer::{is_false, json, polled};
use super::body;
use super::document::NewPolicy;
use super::operate::{Desk, to_outcome};
use super::page::{self, Cursor};
use super::params::{KnownTag, Name, Params};
use super::problem::{Described, Kind, Problem};
use super::shared::{Queues, Shared};
use crate::engine::Origin;
use crate::policy::{Policy, Rules};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, patch, delete))
        .routes(routes!(of_function))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// A policy that was set.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyOfPattern)]
struct Set {
    /// The functions that it is for: a name, or a pattern in which `*` stands for any text.
    pattern: String,
    /// `file`: it stands in the configuration file. `operator`: it was set while the server ran, and is kept.
    origin: &'static str,
    policy: Policy,
    /// What the configuration file says for the same pattern, where an operator's policy is laid over it. Not in lists,
    /// where each stands for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Policy>,
}

impl Set {
    fn of(pattern: &str, origin: Origin, policy: &Policy) -> Self {
        Self { pattern: pattern.to_owned(), origin: origin.name(), policy: policy.clone(), file: None }
    }
}

/// A page of policies.
#[derive(Serialize, ToSchema)]
struct PolicyPage {
    items: Vec<Set>,
    /// Give this as `after` for the next page; null: this is the last.
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Search {
    /// Most policies of a page: 100 unless said, at most 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// How many policies come before.
struct Place(usize);

impl Cursor for Place {
    fn to_text(&self) -> String {
        format!("p{}", self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('p')?.parse().ok().map(Place)
    }
}

/// All policies, the least exact first
///
/// In this order they are laid over each other.
#[utoipa::path(get, operation_id = "list_policies", path = "/policies", tag = "policies", params(KnownTag, Search),
    responses(
        (status = 200, description = "A page of them", body = PolicyPage, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn list(
    Queues(broker): Queues,
    Reader(caller): Reader,
    Params(search): Params<Search>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = page::limit(search.limit)?;
    let Place(from) = Place::read(search.after.as_deref())?.unwrap_or(Place(0));
    let mut next = None;
    let items = broker.view(|engine| {
        let mut policies = engine.policies().enumerate().skip(from);
        let mut items = Vec::new();
        for (index, (pattern, origin, policy)) in policies.by_ref() {
            if items.len() == limit {
                next = Some(Place(index).to_text());
                break;
            }
            if caller.sees(pattern.as_bytes()) {
                items.push(Set::of(pattern, origin, policy));
            }
        }
        items
    });
    polled(&headers, &PolicyPage { items, next })
}

/// The policy for exactly this pattern
///
/// What an operator set, and what the configuration file says where that holds, too; or else the latter alone.
#[utoipa::path(get, operation_id = "get_policy", path = "/policies/{pattern}", tag = "policies", params(("pattern" = String, Path), KnownTag),
    responses(
        (status = 200, description = "The policy", body = Set, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn get(
    Queues(broker): Queues,
    Reader(caller): Reader,
    name: Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let pattern = text(&name)?;
    let set = broker.view(|engine| {
        let file = engine.file_policy(pattern);
        match engine.operator_policy(pattern) {
            Some(policy) => Some(Set { file: file.cloned(), ..Set::of(pattern, Origin::Operator, policy) }),
            None => file.map(|policy| Set::of(pattern, Origin::File, policy)),
        }
    });
    let set = set.filter(|_| caller.sees(pattern.as_bytes()));
    polled(&headers, &set.ok_or_else(|| none(pattern))?)
}

/// Set the policy for a pattern
///
/// What it does not say is left to less exact ones. One that says nothing is as good as none.
#[utoipa::path(put, operation_id = "put_policy", path = "/policies/{pattern}", tag = "policies", params(("pattern" = String, Path)),
    request_body = NewPolicy,
    responses(
        (status = 200, description = "The policy as it is now", body = Set),
        (status = 204, description = "Nothing is set for it any more"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn put(desk: Desk, name: Name, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let pattern = text(&name)?;
    desk.must_see(pattern.as_bytes())?;
    let said = desk.read(body::JSON, &headers, body).await?;
    let outcome = to_outcome(&said);
    let policy = parse(said)?;
    set(&desk, "set policy", &outcome, pattern, policy).await
}

/// Change some values of the policy for a pattern
///
/// A JSON merge patch (RFC 7396): null lifts a value. The body may also be called `application/merge-patch+json`.
#[utoipa::path(patch, operation_id = "change_policy", path = "/policies/{pattern}", tag = "policies", params(("pattern" = String, Path)),
    request_body = NewPolicy,
    responses(
        (status = 200, description = "The policy as it is now", body = Set),
        (status = 204, description = "Nothing is set for it any more"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn patch(desk: Desk, name: Name, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let pattern = text(&name)?;
    desk.must_see(pattern.as_bytes())?;
    let changes = desk.read(body::PATCH, &headers, body).await?;
    let outcome = to_outcome(&changes);
    // From here to the change nothing is waited for: no other request comes between.
    let policy = desk.broker.view(|engine| engine.operator_policy(pattern).cloned()).unwrap_or_default();
    let mut values = to_map(&policy);
    for (rule, value) in changes {
        if value.is_null() {
            // So that it is refused if there is no such rule.
            parse(Map::from_iter([(rule.clone(), Value::Null)]))?;
            values.remove(&rule);
        } else {
            values.insert(rule, value);
        }
    }
    let policy = parse(values)?;
    set(&desk, "change policy", &outcome, pattern, policy).await
}

/// Lift the policy for a pattern
///
/// What the configuration file says for it holds again.
#[utoipa::path(delete, operation_id = "delete_policy", path = "/policies/{pattern}", tag = "policies", params(("pattern" = String, Path)),
    responses(
        (status = 204, description = "It is lifted"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn delete(desk: Desk, name: Name) -> Result<Response, Problem> {
    let pattern = text(&name)?;
    desk.must_see(pattern.as_bytes())?;
    if desk.broker.view(|engine| engine.operator_policy(pattern).is_none()) {
        return Err(none_of_operators(&desk, pattern));
    }
    let lifted = desk.broker.set_policy(desk.now(), pattern, None);
    desk.done("lift policy", pattern.as_bytes(), lifted).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What holds for a function.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyOfFunction)]
struct Held {
    function: String,
    /// Every rule; 0: none.
    #[schema(value_type = Policy)]
    rules: Map<String, Value>,
    /// Where each comes from: `default`, `option` (one that the server was started with), `file PATTERN`, or
    /// `operator PATTERN`.
    sources: BTreeMap<String, String>,
}

/// All rules that hold for a function
///
/// Also for one that is not there yet.
#[utoipa::path(get, operation_id = "get_function_policy", path = "/functions/{function}/policy", tag = "policies", params(("function" = String, Path, pattern = "^[^*]+$"), KnownTag),
    responses(
        (status = 200, description = "Each rule, and where it comes from", body = Held, headers(("etag" = String))),
        (status = 304, description = "As it was when the tag of `If-None-Match` was given"),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn of_function(
    Queues(broker): Queues,
    Reader(caller): Reader,
    name: Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let function = exact(&name)?;
    if !caller.sees(function.as_bytes()) {
        return Err(Problem::new(Kind::NOT_FOUND, format!("There is no function {function}")));
    }
    let (fitting, rules, of_options) = broker.view(|engine| {
        let (fitting, rules) = engine.rules_for(function.as_bytes());
        let owned = |(pattern, origin, policy): (&str, Origin, &Policy)| {
            (format!("{} {pattern}", origin.name()), policy.clone())
        };
        let fitting = fitting.into_iter().map(owned).collect::<Vec<_>>();
        (fitting, rules, to_map(&engine.settings().rules.to_policy()))
    });
    let mut rules = to_map(&rules.to_policy());
    let built_in = to_map(&Rules::default().to_policy());
    let source = |rule: &String| if built_in[rule] == of_options[rule] { "default" } else { "option" };
    let mut sources: BTreeMap<String, String> =
        rules.keys().map(|rule| (rule.clone(), source(rule).to_owned())).collect();
    for (source, policy) in fitting {
        for (rule, value) in to_map(&policy) {
            sources.insert(rule.clone(), source.clone());
            // As it was said: a rate is kept as a time, within a microsecond.
            rules.insert(rule, value);
        }
    }
    polled(&headers, &Held { function: function.to_owned(), rules, sources })
}

/// Whether a function hands out jobs.
#[derive(Serialize, ToSchema)]
#[schema(as = FunctionPaused)]
struct Paused {
    function: String,
    paused: bool,
    /// There is no such function yet: it holds from when there is.
    #[serde(skip_serializing_if = "is_false")]
    unknown: bool,
}

/// Hand out no jobs of a function
///
/// New ones are accepted. It is a rule of the operator's policy for exactly this name, and kept.
#[utoipa::path(post, operation_id = "pause_function", path = "/functions/{function}/pause", tag = "functions", params(("function" = String, Path, pattern = "^[^*]+$")),
    responses(
        (status = 200, description = "It is paused", body = Paused),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn pause(desk: Desk, name: Name) -> Result<Response, Problem> {
    set_paused(desk, name, true).await
}

/// Hand out its jobs again
#[utoipa::path(post, operation_id = "resume_function", path = "/functions/{function}/resume", tag = "functions", params(("function" = String, Path, pattern = "^[^*]+$")),
    responses(
        (status = 200, description = "It is not paused", body = Paused),
        (status = "default", description = "A problem", body = Described, content_type = "application/problem+json")))]
async fn resume(desk: Desk, name: Name) -> Result<Response, Problem> {
    set_paused(desk, name, false).await
}

async fn set_paused(desk: Desk, name: Name, paused: bool) -> Result<Response, Problem> {
    let function = exact(&name)?;
    desk.must_see(function.as_bytes())?;
    let policy = desk.broker.view(|engine| {
        let mut policy = engine.operator_policy(function).cloned().unwrap_or_default();
        let (fitting, _) = engine.rules_for(function.as_bytes());
        let is_own = |pattern: &str, origin| pattern == function && origin == Origin::Operator;
        let others = fitting.into_iter().filter(|(pattern, origin, _)| !is_own(pattern, *origin));
        let otherwise = others.filter_map(|(.., policy)| policy.paused).next_back().unwrap_or(false);
        // Said only where it is not so anyway.
        policy.paused = (paused != otherwise).then_some(paused);
        policy
    });
    let done = desk.broker.set_policy(desk.now(), function, Some(policy));
    let action = if paused { "pause function" } else { "resume function" };
    desk.done(action, function.as_bytes(), done).await?;
    let unknown = paused && desk.broker.view(|engine| !engine.has_function(function.as_bytes()));
    json(StatusCode::OK, &Paused { function: function.to_owned(), paused, unknown })
}

async fn set(
    desk: &Desk,
    action: &str,
    outcome: &str,
    pattern: &str,
    policy: Policy,
) -> Result<Response, Problem> {
    let done = desk.broker.set_policy(desk.now(), pattern, Some(policy.clone()));
    desk.done_as(outcome, action, pattern.as_bytes(), done).await?;
    if policy == Policy::default() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    json(StatusCode::OK, &Set::of(pattern, Origin::Operator, &policy))
}

fn none(pattern: &str) -> Problem {
    Problem::new(Kind::NOT_FOUND, format!("No policy is set for {pattern}"))
}

fn none_of_operators(desk: &Desk, pattern: &str) -> Problem {
    if desk.broker.view(|engine| engine.file_policy(pattern).is_none()) {
        return none(pattern);
    }
    let detail =
        format!("The policy for {pattern} is from the configuration file: it can be overlaid, not lifted");
    Problem::new(Kind::CONFLICT, detail)
}

fn to_map(policy: &Policy) -> Map<String, Value> {
    match serde_json::to_value(policy) {
        Ok(Value::Object(values)) => values,
        _ => Map::new(),
    }
}

/// The rules that these values say; if one is wrong, the answer names it.
fn parse(values: Map<String, Value>) -> Result<Policy, Problem> {
    for (rule, value) in &values {
        let alone = Map::from_iter([(rule.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<Policy>(Value::Object(alone)) {
            let is_named = to_map(&Rules::default().to_policy()).contains_key(rule);
            let why = if is_named { format!("{rule}: {error}") } else { error.to_string() };
            return Err(Problem::new(Kind::INVALID, why));
        }
    }
    serde_json::from_value(Value::Object(values))
        .map_err(|error| Problem::new(Kind::INVALID, error.to_string()))
}

/// A pattern is text: it stands in the configuration file, too.
fn text(name: &Name) -> Result<&str, Problem> {
    let text = std::str::from_utf8(&name.0).ok().filter(|text| !text.is_empty());
    text.ok_or_else(|| Problem::new(Kind::INVALID, "Policies are for names that are UTF-8"))
}

/// A name that is no pattern.
fn exact(name: &Name) -> Result<&str, Problem> {
    let text = text(name)?;
    if text.contains('*') {
        let detail = "This is for one function; what holds for all that fit a pattern, `paused` too, is set at \
                      /api/v1/policies, or by `gearhouse functions policy set`";
        return Err(Problem::new(Kind::INVALID, detail));
    }
    Ok(text)
}
