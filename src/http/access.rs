//! Who may ask for what, and how often.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::{Kind, Problem};
use super::shared::Shared;
use super::tokens::{self, Scope, Token, TokensError};
use crate::engine::view::is_visible;
use crate::types::{Pattern, Timestamp};

/// Those who are counted at once; who has asked for nothing lately is forgotten before.
const MOST_COUNTED: usize = 10_000;

/// The address that a request came from, as the listener saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote(pub IpAddr);

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Who is counted and remembered: the token's name, or the address.
    pub key: Arc<str>,
    pub address: IpAddr,
    scope: Scope,
    functions: Arc<[Pattern]>,
}

impl Caller {
    /// Whether this function is any of the caller's business.
    pub fn sees(&self, function: &[u8]) -> bool {
        is_visible(&self.functions, function)
    }

    /// The functions that are the caller's business; none: all.
    pub fn functions(&self) -> &[Pattern] {
        &self.functions
    }

    fn must(self, scope: Scope) -> Result<Self, Problem> {
        if self.scope >= scope {
            return Ok(self);
        }
        let detail = format!("This needs a token of scope {scope}; yours is {}", self.scope);
        Err(Problem::new(Kind::NOT_ALLOWED, detail))
    }
}

/// One who may look.
pub(super) struct Reader(pub Caller);

/// One who may submit.
pub(super) struct Submitter(pub Caller);

/// One who may change what others submitted, and how the server works.
pub(super) struct Operator(pub Caller);

macro_rules! callers {
    ($($kind:ident $scope:ident;)*) => {$(
        impl FromRequestParts<Arc<Shared>> for $kind {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
                // `count` has put it there for every request.
                let asked = parts.extensions.get::<Result<Caller, Problem>>().cloned();
                let caller = asked.unwrap_or_else(|| shared.access.caller(parts))?;
                caller.must(Scope::$scope).map($kind)
            }
        }
    )*};
}

callers! { Reader Read; Submitter Submit; Operator Operate; }

/// The rules.
pub(super) struct Access {
    /// `None`: whoever reaches the server from this machine may do everything.
    tokens: Option<Mutex<Known>>,
    rates: Mutex<Rates>,
}

/// The tokens as they were read last.
struct Known {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    tokens: Vec<Token>,
}

impl Access {
    /// `rate`: requests a second, for each token or address.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn new(tokens: Option<&Path>, rate: Option<u32>) -> Result<Self, TokensError> {
        let tokens = tokens.map(Known::read).transpose()?.map(Mutex::new);
        Ok(Self { tokens, rates: Mutex::new(Rates { rate: rate.map(f64::from), buckets: HashMap::new() }) })
    }

    /// Whether callers need a token.
    pub fn has_tokens(&self) -> bool {
        let is_any =
            |known: &Mutex<Known>| !known.lock().unwrap_or_else(PoisonError::into_inner).tokens.is_empty();
        self.tokens.as_ref().is_some_and(is_any)
    }

    /// Who asks; no one who must not.
    fn caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        let address = address(parts);
        let Some(known) = &self.tokens else {
            only_from_here(&parts.headers)?;
            let functions = Arc::default();
            return Ok(Caller { key: address.to_string().into(), address, scope: Scope::Operate, functions });
        };
        let text = bearer(&parts.headers).ok_or_else(|| {
            Problem::new(Kind::NO_TOKEN, "The header `Authorization: Bearer TOKEN` is missing")
        })?;
        let hash = tokens::hash(text.as_bytes());
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.look();
        // All are compared: the time tells nothing of which was nearly right.
        let found =
            known.tokens.iter().fold(None, |found, token| if token.is(&hash) { Some(token) } else { found });
        let Some(Token { name, scope, functions, .. }) = found.cloned() else {
            return Err(Problem::new(Kind::NO_TOKEN, "The token is unknown here"));
        };
        Ok(Caller { key: name, address, scope, functions })
    }
}

impl Known {
    fn read(path: &Path) -> Result<Self, TokensError> {
        Ok(Self { path: path.to_owned(), seen: stamp(path), tokens: tokens::read(path)? })
    }

    /// Reads the file again if it is another: a token that was taken out of it is good no more.
    fn look(&mut self) {
        let stamp = stamp(&self.path);
        if stamp == self.seen {
            return;
        }
        self.seen = stamp;
        match tokens::read(&self.path) {
            Ok(tokens) => {
                tracing::info!("the file of access tokens was read anew: {} tokens", tokens.len());
                self.tokens = tokens;
            }
            Err(error) => tracing::error!("{error}; the tokens read before stay good"),
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn address(parts: &Parts) -> IpAddr {
    parts.extensions.get().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |Remote(address)| *address)
}

/// Without tokens a page of any site, open in a browser on this machine, could ask too: by the address, or by a name of its
/// own that leads here. Browsers say where a request comes from and whom it is meant for; programs that do not are let in.
fn only_from_here(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    let refuse = |detail: String| Err(Problem::new(Kind::FOREIGN_PAGE, detail));
    if let Some(host) = host.filter(|host| !is_here(host)) {
        return refuse(format!(
            "Without tokens this server is called by the names localhost, 127.0.0.1 and [::1] only, not {host}"
        ));
    }
    if let Some(origin) = text(header::ORIGIN)
        && origin.strip_prefix("http://") != host
    {
        return refuse(format!("A page of {origin} may not ask"));
    }
    Ok(())
}

/// Whether a `Host` header names this machine's loopback.
fn is_here(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Counts requests: by the token if it is a good one, else by the address, so that guessing is bounded too.
pub(super) async fn count(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let caller = shared.access.caller(&parts);
    let key = match &caller {
        Ok(caller) if shared.access.tokens.is_some() => caller.key.clone(),
        _ => network(address(&parts)).to_string().into(),
    };
    parts.extensions.insert(caller);
    let now = shared.clock.now();
    shared.access.rates.lock().unwrap_or_else(PoisonError::into_inner).take(key, now)?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Whoever has one IPv6 address mostly has all of its last 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// A bucket for each who asks: it holds what may be asked for in two seconds, and refills.
struct Rates {
    rate: Option<f64>,
    buckets: HashMap<Arc<str>, (f64, Timestamp)>,
}

impl Rates {
    fn take(&mut self, key: Arc<str>, now: Timestamp) -> Result<(), Problem> {
        let Some(rate) = self.rate else { return Ok(()) };
        let most = rate * 2.0;
        let level = |left: f64, at: Timestamp| (left + now.since(at).as_secs_f64() * rate).min(most);
        if self.buckets.len() >= MOST_COUNTED && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, (left, at)| level(*left, *at) < most);
            if self.buckets.len() >= MOST_COUNTED {
                return Err(Problem::new(Kind::TOO_MANY, "Too many different callers at once").retry_after(1));
            }
        }
        let (left, at) = self.buckets.entry(key).or_insert((most, now));
        *left = level(*left, *at);
        *at = now;
        if *left < 1.0 {
            let wait = ((1.0 - *left) / rate).ceil() as u64;
            let detail = format!("At most {rate} requests a second");
            return Err(Problem::new(Kind::TOO_MANY, detail).retry_after(wait.max(1)));
        }
        *left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_and_refills() {
        let mut rates = Rates { rate: Some(2.0), buckets: HashMap::new() };
        let begin = Timestamp::from_secs(1);
        let mut taken = |key: &str, now| (0..9).filter(|_| rates.take(key.into(), now).is_ok()).count();
        assert_eq!(taken("a", begin), 4);
        assert_eq!(taken("b", begin), 4);
        assert_eq!(taken("a", begin.after(Duration::from_secs(1))), 2);
        assert_eq!(taken("a", begin.after(Duration::from_secs(100))), 4);
    }

    #[test]
    fn who_has_asked_for_nothing_lately_is_forgotten() {
        let mut rates = Rates { rate: Some(2.0), buckets: HashMap::new() };
        let begin = Timestamp::from_secs(1);
        for caller in 0..MOST_COUNTED {
            assert!(rates.take(caller.to_string().into(), begin).is_ok());
        }
        assert!(rates.take("one more".into(), begin).is_err());
        assert!(rates.take("7".into(), begin).is_ok());
        assert!(rates.take("one more".into(), begin.after(Duration::from_secs(1))).is_ok());
        assert!(rates.buckets.len() < 10);
    }

    #[test]
    fn only_the_loopback_is_here() {
        for host in ["localhost", "LOCALHOST:4780", "127.0.0.1:1", "[::1]:4780", "[::1]", "127.3.2.1"] {
            assert!(is_here(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:4780", "10.0.0.1", "127.0.0.1.evil.example", ""]
        {
            assert!(!is_here(host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let asked = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            only_from_here(&headers).is_ok()
        };
        assert!(asked("127.0.0.1:4780", None));
        assert!(asked("127.0.0.1:4780", Some("http://127.0.0.1:4780")));
        assert!(!asked("127.0.0.1:4780", Some("http://evil.example")));
        assert!(!asked("127.0.0.1:4780", Some("http://127.0.0.1:8000")));
        assert!(!asked("127.0.0.1:4780", Some("null")));
        assert!(!asked("evil.example:4780", Some("http://evil.example:4780")));
    }
}
