//! Bodies of requests: bounded each, bounded together, and bounded in the time they take to come.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::problem::{Kind, Problem};

/// How many bodies of the largest size may be under way at once.
const TOGETHER: usize = 4;

/// Time for a body to come, and a second more for each so many bytes, as for packets.
const PATIENCE: Duration = Duration::from_secs(60);
const BYTES_A_SECOND: u64 = 64 * 1024;

/// Kinds of bodies that are JSON.
pub(super) const JSON: &[&str] = &["application/json"];
/// The same for one that says what is to change (RFC 7396).
pub(super) const PATCH: &[&str] = &["application/json", "application/merge-patch+json"];

/// Refuses a body that is not said to be of one of these kinds.
pub(super) fn must_be(kinds: &[&str], headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kinds.iter().any(|wanted| kind.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    Err(Problem::new(Kind::MEDIA_TYPE, format!("The body must be {}", kinds.join(" or "))))
}

/// The account of all bodies under way.
pub(super) struct Bodies {
    max: usize,
    together: Arc<AtomicUsize>,
}

/// A body that was read. As long as it lives its bytes are accounted for.
pub(super) struct Received {
    pub bytes: Bytes,
    _share: Share,
}

/// What one body takes of the account.
struct Share {
    together: Arc<AtomicUsize>,
    taken: Cell<usize>,
}

impl Bodies {
    /// `max`: bytes of one body.
    pub fn new(max: usize) -> Self {
        Self { max, together: Arc::default() }
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// It is packed, too large, too slow, or there is too much at once.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
        if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(Problem::new(
                Kind::MEDIA_TYPE,
                "Bodies are taken as they are, without `Content-Encoding`",
            ));
        }
        let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if told.is_some_and(|length: usize| length > self.max) {
            return Err(self.too_large());
        }
        let share = Share { together: self.together.clone(), taken: Cell::new(0) };
        let began = Instant::now();
        let mut body = std::pin::pin!(body);
        let mut bytes = BytesMut::new();
        loop {
            let deadline = began + PATIENCE + Duration::from_secs(bytes.len() as u64 / BYTES_A_SECOND);
            let frame =
                timeout_at(deadline, std::future::poll_fn(|context| body.as_mut().poll_frame(context)));
            let Some(frame) = frame.await.map_err(|_| Problem::new(Kind::SLOW, "The body took too long"))?
            else {
                return Ok(Received { bytes: bytes.freeze(), _share: share });
            };
            let frame = frame.map_err(|error| Problem::new(Kind::UNREADABLE, error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.max {
                return Err(self.too_large());
            }
            share.take(data.len(), self.max.saturating_mul(TOGETHER))?;
            bytes.extend_from_slice(&data);
        }
    }

    fn too_large(&self) -> Problem {
        let detail = format!("A body may have {} bytes at most", self.max);
        Problem::new(Kind::TOO_LARGE, detail).with("limit", self.max)
    }
}

impl Share {
    fn take(&self, bytes: usize, most: usize) -> Result<(), Problem> {
        let before = self.together.fetch_add(bytes, Ordering::Relaxed);
        self.taken.set(self.taken.get() + bytes);
        if before + bytes > most {
            let detail = "Too many large bodies are on their way at once";
            return Err(Problem::new(Kind::BUSY, detail).retry_after(1));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.together.fetch_sub(self.taken.get(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(read: Result<Received, Problem>) -> String {
        read.map_or_else(|problem| problem.to_json()["type"].to_string(), |read| read.bytes.len().to_string())
    }

    #[tokio::test]
    async fn one_body_is_bounded_and_all_together_are() {
        let bodies = Bodies::new(10);
        let read = |len: usize| {
            let bodies = &bodies;
            async move { bodies.read(&HeaderMap::new(), Body::from(vec![0; len])).await }
        };
        assert_eq!(kind(read(11).await), "\"/problems/too-large\"");
        let mut held = Vec::new();
        for _ in 0..TOGETHER {
            held.push(read(10).await.ok().unwrap());
        }
        assert_eq!(kind(read(1).await), "\"/problems/busy\"");
        held.pop();
        assert_eq!(kind(read(10).await), "10");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let read = Bodies::new(10).read(&HeaderMap::new(), body).await;
        assert_eq!(kind(read), "\"/problems/too-slow\"");
    }
}
