//! A small blocking client of the HTTP API: what the commands that look at jobs and steer them speak through.
//!
//! It asks and reads JSON. What the answers mean is the commands' business; a field that this version does not know
//! passes through `--json` all the same.

use std::fmt;
use std::fs;
use std::io::Read;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, Response, Uri, header};

use super::Failure;

/// The port of the HTTP API where none is said.
const DEFAULT_PORT: u16 = 4780;

/// How long the server may take to be reached, and then to begin its answer. A search says within a second how far it
/// came; an action on many jobs waits for the disk.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Rows of one page: as many as the API gives.
const PAGE: usize = 1000;

/// What stands for itself in a path. A dot does not: `..` would be the folder above.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b':');

/// Where the HTTP API is, who asks, and how the answer is to be shown.
#[derive(Args, Clone, Debug)]
pub(super) struct Remote {
    /// The server's HTTP API: a URL, HOST or HOST:PORT
    ///
    /// The variable GEARHOUSE_OPT_HTTP_URL says the same.
    #[arg(
        id = "http_url",
        long = "http",
        value_name = "URL",
        default_value = "http://127.0.0.1:4780",
        global = true
    )]
    url: Url,

    /// Access token, if the server wants one: @FILE takes it from a file
    ///
    /// What is typed here others can see in the list of processes; a file or the variable GEARHOUSE_OPT_TOKEN is better.
    #[arg(long, value_name = "TOKEN|@FILE", global = true, hide_env_values = true)]
    token: Option<String>,

    /// Print the API's JSON, for programs; of a list one item a line
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Remote {
    /// The API at this place. It is not asked for anything yet.
    pub(super) fn api(&self) -> Result<Api, Failure> {
        let token = match self.token.as_deref().map(|token| (token, token.strip_prefix('@'))) {
            Some((_, Some(file))) => {
                let wrong = |error| Failure::usage(format!("cannot read the token in {file}: {error}"));
                Some(fs::read_to_string(file).map_err(wrong)?)
            }
            said => said.map(|(token, _)| token.to_owned()),
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // The environment's proxy is for the world outside; a queue is near.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("gearhouse/", env!("CARGO_PKG_VERSION")));
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(Api { agent: config.build().new_agent(), url: self.url.clone(), token })
    }
}

/// The URL that the API's paths begin with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url(String);

/// Text that is no such URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadUrl {
    /// With TLS.
    #[error("the server speaks no TLS; use http://, through a tunnel (ssh -L) where others could listen")]
    Tls,
    /// Nothing that could be asked.
    #[error("{0:?} is no address of an HTTP API; write HOST, HOST:PORT or http://HOST:PORT")]
    Nonsense(String),
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Url, BadUrl> {
        if text.starts_with("https://") {
            return Err(BadUrl::Tls);
        }
        let nonsense = || BadUrl::Nonsense(text.to_owned());
        let (rest, has_scheme) = text.strip_prefix("http://").map_or((text, false), |rest| (rest, true));
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| nonsense())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(nonsense)?;
        if authority.host().is_empty() || uri.query().is_some() || rest.contains("://") {
            return Err(nonsense());
        }
        let port = match authority.port_u16() {
            // A port that is no number, or none: what is after the last colon outside brackets.
            None if authority.as_str().rsplit(']').next().is_some_and(|tail| tail.contains(':')) => {
                return Err(nonsense());
            }
            None if !has_scheme => format!(":{DEFAULT_PORT}"),
            _ => String::new(),
        };
        Ok(Url(format!("http://{authority}{port}{}", uri.path().trim_end_matches('/'))))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no answer to go on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No one answers there.
    #[error(
        "cannot reach the HTTP API at {url}: {why}; is the server running, and not with --http off? Another address is \
         given by --http URL or the variable GEARHOUSE_OPT_HTTP_URL"
    )]
    Unreachable {
        /// As it was said.
        url: Url,
        /// What the system says.
        why: String,
    },
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(#[source] std::io::Error),
    /// Someone else answers there.
    #[error("what answers at {url} is not Gearhouse's HTTP API: {why}")]
    Stranger {
        /// As it was said.
        url: Url,
        /// What is strange.
        why: String,
    },
    /// The server does not know who asks.
    #[error(
        "the server wants an access token: {0}. Give it by --token @FILE or the variable GEARHOUSE_OPT_TOKEN; \
         `gearhouse token create` makes one"
    )]
    Token(String),
    /// The server says no, as a problem of RFC 9457.
    #[error("the server refused: {why}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it says.
        why: String,
    },
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        match error {
            ApiError::Token(_) | ApiError::Refused { .. } => Failure::refused(error),
            _ => Failure::usage(error),
        }
    }
}

/// A question's path: the parts of it behind `/api/v1/`, any bytes.
pub(super) type Parts<'a> = &'a [&'a [u8]];

/// Parameters behind the `?`.
pub(super) type Query = Vec<(&'static str, String)>;

/// The API of one server.
#[derive(Clone, Debug)]
pub(super) struct Api {
    agent: Agent,
    url: Url,
    token: Option<String>,
}

impl Api {
    /// Asks for something.
    pub(super) fn get(&self, parts: Parts, query: &Query) -> Result<Value, ApiError> {
        self.to_json(self.ask("GET", parts, query, None)?)
    }

    /// Asks for something that is no JSON, and does not read it yet.
    pub(super) fn open(&self, parts: Parts, query: &Query) -> Result<impl Read + use<>, ApiError> {
        Ok(self.ask("GET", parts, query, None)?.into_body().into_reader())
    }

    /// Has something done. Null if there is nothing to tell.
    pub(super) fn send(&self, method: &str, parts: Parts, body: Option<&Value>) -> Result<Value, ApiError> {
        self.to_json(self.ask(method, parts, &Query::new(), body)?)
    }

    /// Has something done that the address says all of.
    pub(super) fn act(&self, parts: Parts, query: &Query) -> Result<Value, ApiError> {
        self.to_json(self.ask("POST", parts, query, None)?)
    }

    /// Asks for a list, page by page, until so many items are there. What is behind them, if there is more.
    pub(super) fn list(
        &self,
        parts: Parts,
        query: &Query,
        limit: Option<usize>,
        mut each: impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<Listed, Failure> {
        let mut listed = Listed::default();
        let mut after: Option<String> = None;
        loop {
            let left = limit.map_or(PAGE, |limit| (limit - listed.items).min(PAGE));
            let mut query = query.clone();
            query.push(("limit", left.to_string()));
            query.extend(after.map(|after| ("after", after)));
            let mut page = self.get(parts, &query)?;
            let items = page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            let items = items.ok_or_else(|| self.strange("a list has no items"))?;
            for item in items {
                listed.items += 1;
                each(item)?;
            }
            after = page["next"].as_str().map(str::to_owned);
            listed.has_more = after.is_some();
            if after.is_none() || limit.is_some_and(|limit| listed.items >= limit) {
                return Ok(listed);
            }
        }
    }

    fn ask(
        &self,
        method: &str,
        parts: Parts,
        query: &Query,
        body: Option<&Value>,
    ) -> Result<Response<ureq::Body>, ApiError> {
        let path: Vec<String> = parts.iter().map(|part| encoded(part)).collect();
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value.as_bytes()))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let uri = format!("{}/api/v1/{}{mark}{}", self.url, path.join("/"), query.join("&"));
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let unreachable = |error| {
            let why = match &error {
                ureq::Error::Io(error) => error.to_string(),
                ureq::Error::Timeout(_) => "it does not answer in time".to_owned(),
                other => other.to_string(),
            };
            ApiError::Unreachable { url: self.url.clone(), why }
        };
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let answer = match method {
            "GET" | "DELETE" => self.agent.run(request.body(()).map_err(|error| unreachable(error.into()))?),
            _ => self.agent.run(request.body(bytes).map_err(|error| unreachable(error.into()))?),
        };
        let answer = answer.map_err(unreachable)?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.problem(answer)) }
    }

    fn to_json(&self, answer: Response<ureq::Body>) -> Result<Value, ApiError> {
        let text = read(answer)?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&text)
            .map_err(|error| self.strange(format_args!("its answer is no JSON ({error})")))
    }

    fn problem(&self, answer: Response<ureq::Body>) -> ApiError {
        let status = answer.status();
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/problem+json")) {
            return self.strange(format_args!("it answered {status}"));
        }
        let problem: Value = match read(answer).map(|text| serde_json::from_slice(&text).unwrap_or_default())
        {
            Ok(problem) => problem,
            Err(error) => return error,
        };
        let status = status.as_u16();
        let said = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
        match (said("title"), said("detail")) {
            (why, detail) if detail.is_empty() => ApiError::Refused { status, why },
            (_, detail) if status == 401 => ApiError::Token(detail),
            (title, detail) => {
                ApiError::Refused { status, why: format!("{detail} ({})", title.to_lowercase()) }
            }
        }
    }

    fn strange(&self, why: impl fmt::Display) -> ApiError {
        ApiError::Stranger { url: self.url.clone(), why: why.to_string() }
    }
}

/// How a list went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listed {
    /// Items that were given.
    pub(super) items: usize,
    /// Whether there are others behind them.
    pub(super) has_more: bool,
}

fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, PATH).to_string()
}

fn read(answer: Response<ureq::Body>) -> Result<Vec<u8>, ApiError> {
    let mut text = Vec::new();
    answer.into_body().into_reader().read_to_end(&mut text).map_err(ApiError::Broken)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Url>().map_or_else(|error| error.to_string(), |url| url.to_string())
    }

    #[test]
    fn an_address_is_enough_and_a_url_is_taken_as_it_is() {
        assert_eq!(shown("jobs.example.com"), "http://jobs.example.com:4780");
        assert_eq!(shown("127.0.0.1:81"), "http://127.0.0.1:81");
        assert_eq!(shown("[::1]"), "http://[::1]:4780");
        assert_eq!(shown("http://jobs.example.com"), "http://jobs.example.com");
        assert_eq!(shown("http://proxy:8080/jobs/"), "http://proxy:8080/jobs");
    }

    #[test]
    fn what_is_no_url_says_what_would_be() {
        assert!(shown("https://jobs").contains("no TLS"));
        for text in ["", ":4780", "ftp://host", "a b", "http://", "host?x=1", "user@host", "host:port"] {
            assert!(shown(text).contains("write HOST"), "{text:?}: {}", shown(text));
        }
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_a_path() {
        assert_eq!(encoded(b"img.resize/../x?y"), "img%2Eresize%2F%2E%2E%2Fx%3Fy");
        assert_eq!(encoded(b"H:box:17"), "H:box:17");
        assert_eq!(encoded(b"\xff"), "%FF");
    }
}
