//! The pages that are asked for, and what each may take.

use std::time::Duration;

use super::Result;
use super::server::{Answer, Holds, Server};

/// What a page may take.
#[derive(Clone, Copy)]
pub enum Bound {
    /// So many times what it takes where little is held.
    Times(u32),
    /// So long, since it must look at everything; a search says how far it came.
    AtMost(Duration),
}

/// A page.
pub struct Page {
    pub path: &'static str,
    pub accept: &'static str,
    pub bound: Bound,
    /// Whether something must be on it where something is held.
    is_filled: bool,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

/// What a list's first page may take.
const LIST: Bound = Bound::Times(3);

/// A scrape shows as many functions however many there are, but must find the busiest.
const SCRAPE: Bound = Bound::Times(4);

/// A search that finds nothing looks at what it can within its time.
const SEARCH: Bound = Bound::AtMost(Duration::from_secs(1));

impl Page {
    pub fn all(much: Holds) -> Vec<Page> {
        let list = |path| Page { path, accept: "application/json", bound: LIST, is_filled: true };
        let empty = |path| Page { is_filled: false, ..list(path) };
        let search = |path| Page { bound: SEARCH, ..empty(path) };
        let scrape = |accept| Page { path: "/metrics", accept, bound: SCRAPE, is_filled: true };
        let mut pages = vec![
            list("/api/v1/jobs"),
            list("/api/v1/jobs?limit=1000"),
            list("/api/v1/jobs?state=queued"),
            list("/api/v1/jobs?state=scheduled"),
            list("/api/v1/jobs?state=held"),
            list("/api/v1/jobs?state=running"),
            list("/api/v1/jobs?state=cancelled"),
            empty("/api/v1/jobs?state=failed"),
            list("/api/v1/jobs?state=succeeded"),
            list("/api/v1/jobs?function=function-000007"),
            list("/api/v1/jobs?function=function-000007&state=queued"),
            list("/api/v1/jobs?function=held"),
            list("/api/v1/jobs?priority=normal"),
            list("/api/v1/jobs?unique=000000000000000000000000000000000321"),
            list("/api/v1/jobs?handle={handle}"),
            list("/api/v1/jobs?min_age=0"),
            list("/api/v1/jobs?max_age=86400"),
            list("/api/v1/functions"),
            list("/api/v1/functions?limit=1000"),
            list("/api/v1/functions?function=function-*"),
            list("/api/v1/workers"),
            list("/api/v1/clients"),
            list("/api/v1/schedules"),
            list("/api/v1/policies"),
            list("/api/v1/audit"),
            empty("/api/v1/load"),
            list("/api/v1/server"),
            scrape("text/plain"),
            scrape(OPEN_METRICS),
            search("/api/v1/jobs?payload=no%20such%20text"),
            search("/api/v1/jobs?function=*none"),
            search("/api/v1/jobs?priority=low&min_age=0"),
            search("/api/v1/jobs?max_age=0"),
            search("/api/v1/functions?function=*none"),
        ];
        // Of a function that only the full one has: nothing on the others' pages.
        if much.functions > 5_000 {
            pages.push(empty("/api/v1/jobs?function=function-005000"));
        }
        pages
    }

    /// As it stands in the table.
    pub fn name(&self) -> String {
        let path = self.path.strip_prefix("/api/v1").unwrap_or(self.path);
        let format = if self.accept == OPEN_METRICS { " (OpenMetrics)" } else { "" };
        format!("`{path}`{format}")
    }

    /// Looks whether the page is what it is taken for.
    pub fn check(&self, server: &Server, answer: &Answer) -> Result<()> {
        if self.is_filled && server.is_filled && answer.is_empty()? {
            return Err(format!("there is nothing on {}", self.path).into());
        }
        Ok(())
    }
}
