//! The HTTP API of a real server, from outside, by a client of another make.

mod access;
mod afterwards;
mod control;
mod documents;
mod errors;
mod lists;
mod operate;
mod scale;
mod submits;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::{PATIENCE, Server, eventually};

/// The HTTP API of a server.
#[derive(Clone)]
pub struct Api {
    base: String,
    agent: ureq::Agent,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

/// A server with its API on a free port, ready.
#[track_caller]
pub fn serve(options: &[&str]) -> (Server, Api) {
    let server = Server::serve(&[&["--http", "127.0.0.1:0"], options].concat());
    let api = Api::of(&server);
    // On connections of their own, which nobody keeps.
    let ask = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", api.address());
    eventually("the server is ready", || {
        let mut stream = TcpStream::connect(api.address()).ok()?;
        stream.write_all(ask.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
    (server, api)
}

impl Api {
    /// Where the server says that it is.
    #[track_caller]
    pub fn of(server: &Server) -> Api {
        let base = eventually("the server logs where HTTP is", || {
            let log = server.log();
            let (_, rest) = log.split_once("HTTP on ")?;
            Some(rest.split_once("/api/")?.0.to_owned())
        });
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Api { base, agent: config.build().into(), token: None }
    }

    /// The same, asked with a token.
    pub fn with_token(&self, token: &str) -> Api {
        Api { base: self.base.clone(), agent: self.agent.clone(), token: Some(token.trim().to_owned()) }
    }

    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("an address")
    }

    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut answer = self.begin(method, path, headers, body);
        let mut read = Vec::new();
        answer.body_mut().as_reader().read_to_end(&mut read).expect("the answer's body");
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body: read }
    }

    /// The answer before its body is read.
    #[track_caller]
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> ureq::http::Response<ureq::Body> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body).expect("a request");
        self.agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    /// What a GET that goes well answers.
    #[track_caller]
    pub fn look(&self, path: &str) -> Value {
        self.get(path).ok()
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Submits one job and gives its handle.
    #[track_caller]
    pub fn submit(&self, job: &Value) -> String {
        let answer = self.post("/api/v1/jobs", job);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["handle"].as_str().expect("a handle").to_owned()
    }

    /// All items of a list, page by page.
    #[track_caller]
    pub fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.look(&format!("{path}{after}"));
            items.extend(page["items"].as_array().expect("items").iter().cloned());
            let Some(next) = page["next"].as_str() else { return items };
            after = format!("{}after={next}", if path.contains('?') { '&' } else { '?' });
        }
    }
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The JSON of an answer that is no problem.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        self.json()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// It is this problem, in the form that RFC 9457 gives it.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{name}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        let is_text = |field: &str| problem[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_text("title") && is_text("detail"), "{problem}");
        problem
    }
}
