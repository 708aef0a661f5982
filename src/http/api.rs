//! All paths, and the document that describes them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Info, License, OpenApi, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::Config;

use super::problem::{Kind, Problem};
use super::shared::Shared;
use super::{
    access, answer, audit, control, document, events, facts, functions, health, jobs, load, log, metrics,
    policies, purge, result, schedules, workers,
};

const ABOUT: &str = "Jobs, functions, workers and schedules of one Gearhouse server.\n\n\
    Times are RFC 3339 in UTC, lengths of time are seconds; in a request they may also be text as in `1h 30m`. Text fields are UTF-8; for bytes that are not, the field \
    `NAME_base64` stands instead of `NAME`. Lists have `items` and `next`: give that as `after` for the next page. \
    Every error is a problem as RFC 9457 has it.";

/// Where the document is.
const DOCUMENT: &str = "/api/v1/openapi.json";

/// Headers of every answer that does not set its own. What is answered holds what clients and workers sent: no browser is to
/// guess that it were a page of this server, or to keep it.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// What the page to try it may do: run what came with it, and ask this server.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// Everything that is answered.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let (router, document) = described(&shared.facts.version);
    let document = serde_json::to_value(document).map(|mut document| {
        document::finish(&mut document);
        document.to_string()
    });
    let document = document.unwrap_or_default();
    let page = Arc::new(Config::from(DOCUMENT).validator_url("none"));
    let show = move |path: String| {
        let page = page.clone();
        async move { show_page(&path, page) }
    };
    router
        .route(DOCUMENT, get(|headers: HeaderMap| async move { answer::tagged(&headers, document) }))
        .route("/api", get(async || Redirect::permanent("/api/")))
        .route(
            "/api/",
            get({
                let show = show.clone();
                move || show(String::new())
            }),
        )
        .route("/api/{file}", get(move |Path(file): Path<String>| show(file)))
        .route("/problems/{name}", get(problem))
        .fallback(async || Problem::new(Kind::NOT_FOUND, "There is no such path"))
        .method_not_allowed_fallback(async || Problem::new(Kind::METHOD, "The path has no such method"))
        .layer(middleware::from_fn_with_state(shared.clone(), access::count))
        .layer(middleware::from_fn(add_headers))
        .with_state(shared)
}

/// What the document describes, and the document.
fn described(version: &str) -> (Router<Arc<Shared>>, OpenApi) {
    let mut info = Info::new("Gearhouse", version);
    info.description = Some(ABOUT.to_owned());
    info.license = Some(License::new("MIT OR Apache-2.0"));
    let mut document = OpenApi::new(info, utoipa::openapi::Paths::new());
    let mut components = Components::new();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "Needed if the server was started with --http-tokens; `gearhouse token create` makes one.",
    ));
    components.add_security_scheme("token", SecurityScheme::Http(bearer.build()));
    document.components = Some(components);
    document.security =
        Some(vec![SecurityRequirement::new("token", Vec::<String>::new()), SecurityRequirement::default()]);
    let api = OpenApiRouter::new()
        .merge(facts::routes())
        .merge(jobs::routes())
        .merge(control::routes())
        .merge(log::routes())
        .merge(result::routes())
        .merge(events::routes())
        .merge(audit::routes())
        .merge(functions::routes())
        .merge(purge::routes())
        .merge(policies::routes())
        .merge(workers::routes())
        .merge(schedules::routes())
        .merge(load::routes());
    let root = health::routes().merge(metrics::routes());
    OpenApiRouter::with_openapi(document).merge(root).nest("/api/v1", api).split_for_parts()
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// The page to try the API, or a file of it.
fn show_page(path: &str, page: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(path, page) {
        Ok(Some(file)) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(kind_of(path))),
                (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
            ];
            (headers, file.bytes.into_owned()).into_response()
        }
        Ok(None) => Problem::new(Kind::NOT_FOUND, "The page has no such file").into_response(),
        Err(error) => Problem::new(Kind::BROKEN, error.to_string()).into_response(),
    }
}

/// What the files of the page are.
fn kind_of(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("png") => "image/png",
        _ => "text/html; charset=utf-8",
    }
}

/// What a problem's `type` leads to.
async fn problem(Path(name): Path<String>) -> Result<Response, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| Problem::new(Kind::NOT_FOUND, "There is no such problem"))?;
    let text = format!("{} ({})\n\n{}\n", kind.title, kind.status.as_u16(), kind.about);
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
