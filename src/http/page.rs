//! Lists come in pages: how far one goes, where the next begins, and how long a search may take.

use std::future::{Ready, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::problem::{Kind, Problem};
use crate::broker::turn;
use crate::clock::Stopwatch;
use crate::engine::view::{Bounds, JobCursor, Piece};
use crate::types::{ConnId, FunctionId, JobId, Priority, Timestamp};

/// Rows of a page unless the caller says otherwise, and the most that it may say.
pub(super) const DEFAULT: usize = 100;
pub(super) const MOST: usize = 1000;

/// Entries that are looked at, and rows that are copied, under one lock.
const LOOKS: usize = 500;
const ROWS: usize = 250;

/// How long one request may look. What it has found then is the page.
const PATIENCE: Duration = Duration::from_millis(400);

/// How many rows were asked for.
pub(super) fn limit(said: Option<usize>) -> Result<usize, Problem> {
    let limit = said.unwrap_or(DEFAULT);
    if (1..=MOST).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new(Kind::INVALID, format!("`limit` must be between 1 and {MOST}, not {limit}")))
}

/// For rows that are all kept, in another shape.
pub(super) fn all<R, T: From<R>>(rows: Vec<R>) -> Ready<Result<Vec<T>, Problem>> {
    ready(Ok(rows.into_iter().map(T::from).collect()))
}

/// What came of a search.
pub(super) struct Page<R> {
    pub items: Vec<R>,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Entries that were looked at.
    pub looked: usize,
}

/// Puts pieces together until the page is full, the list is at its end, or time is up. Between two pieces others have their
/// turn; if the caller goes, no further piece is asked for.
///
/// `piece` is given where to go on and what it may do; `keep` says what becomes of the rows of a piece.
pub(super) async fn gather<R, C: Cursor, T, K: Future<Output = Result<Vec<T>, Problem>>>(
    from: C,
    limit: usize,
    mut piece: impl FnMut(&C, Bounds) -> Piece<R, C>,
    mut keep: impl FnMut(Vec<R>) -> K,
) -> Result<Page<T>, Problem> {
    let watch = Stopwatch::start();
    let mut from = from;
    let mut page = Page { items: Vec::new(), next: None, looked: 0 };
    loop {
        let rows = ROWS.min(limit - page.items.len());
        let Piece { rows, looked, next } = piece(&from, Bounds { looks: LOOKS, rows });
        page.looked += looked;
        page.items.extend(keep(rows).await?);
        let Some(next) = next else { return Ok(page) };
        if page.items.len() >= limit || watch.elapsed() >= PATIENCE {
            page.next = Some(next.to_text());
            return Ok(page);
        }
        from = next;
        turn::pass().await;
    }
}

/// Where a list goes on, as the caller is given it. What it says is the server's business only.
pub(super) trait Cursor: Sized {
    fn to_text(&self) -> String;
    fn parse(text: &str) -> Option<Self>;

    /// What the caller gave.
    fn read(text: Option<&str>) -> Result<Option<Self>, Problem> {
        let wrong = || Problem::new(Kind::INVALID, "`after` is not the `next` of a page of this list");
        text.map(|text| Self::parse(text).ok_or_else(wrong)).transpose()
    }
}

impl Cursor for JobCursor {
    fn to_text(&self) -> String {
        match self {
            JobCursor::Number(id) => format!("n{}", id.0),
            JobCursor::Named(function) => format!("u{}", function.0),
            JobCursor::Ready(priority, place, id) => format!("r{}.{place}.{}", *priority as usize, id.0),
            JobCursor::Running(conn, id) => format!("w{conn}.{}", id.0),
            JobCursor::Due(when, id) => format!("d{}.{}", when.as_micros(), id.0),
            JobCursor::Held(id) => format!("h{}", id.0),
            JobCursor::Over(at, id) => format!("o{}.{}", at.as_micros(), id.0),
            JobCursor::Recent(at, id) => format!("l{}.{}", at.as_micros(), id.0),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers = text.get(1..)?.split('.').map(|number| number.parse().ok());
        let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
        Some(match (text.as_bytes()[0], &numbers[..]) {
            (b'n', [id]) => JobCursor::Number(JobId(*id)),
            (b'u', [function]) => JobCursor::Named(FunctionId(u32::try_from(*function).ok()?)),
            (b'r', [priority, place, id]) => {
                let priority = Priority::ALL.get(usize::try_from(*priority).ok()?)?;
                JobCursor::Ready(*priority, *place, JobId(*id))
            }
            (b'w', [conn, id]) => JobCursor::Running(ConnId(*conn), JobId(*id)),
            (b'd', [when, id]) => JobCursor::Due(Timestamp::from_micros(*when), JobId(*id)),
            (b'h', [id]) => JobCursor::Held(JobId(*id)),
            (b'o', [at, id]) => JobCursor::Over(Timestamp::from_micros(*at), JobId(*id)),
            (b'l', [at, id]) => JobCursor::Recent(Timestamp::from_micros(*at), JobId(*id)),
            _ => return None,
        })
    }
}

/// The name after which a list of functions goes on; none at its beginning.
pub(super) struct AfterName(pub Option<Bytes>);

impl Cursor for AfterName {
    fn to_text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0.as_deref().unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Self> {
        BASE64_URL_SAFE_NO_PAD.decode(text).ok().map(|name| AfterName(Some(name.into())))
    }
}

impl Cursor for ConnId {
    fn to_text(&self) -> String {
        format!("c{self}")
    }

    fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('c')?.parse().ok().map(ConnId)
    }
}

impl Cursor for JobId {
    fn to_text(&self) -> String {
        format!("s{}", self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('s')?.parse().ok().map(JobId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_written_and_nothing_else_does() {
        let (job, conn, when) = (JobId(u64::MAX), ConnId(7), Timestamp::from_micros(3));
        let cursors = [
            JobCursor::Number(job),
            JobCursor::Named(FunctionId(7)),
            JobCursor::Ready(Priority::Low, 5, job),
            JobCursor::Running(conn, job),
            JobCursor::Due(when, job),
        ];
        for cursor in cursors {
            assert_eq!(JobCursor::parse(&cursor.to_text()), Some(cursor));
        }
        for text in ["", "n", "n1.2", "r3.1.1", "x1", "n-1", "é1", "d1", "n99999999999999999999"] {
            assert_eq!(JobCursor::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_page_ends_when_it_is_full_and_goes_on_from_there() {
        let piece = |from: &JobId, bounds: Bounds| {
            let last = (from.0 + bounds.rows as u64).min(600);
            let rows: Vec<u64> = (from.0..last).collect();
            Piece { looked: rows.len(), rows, next: (last < 600).then_some(JobId(last)) }
        };
        let page = gather(JobId(0), 400, piece, all::<u64, u64>).await.ok().unwrap();
        assert_eq!((page.items.len(), page.looked, page.next.as_deref()), (400, 400, Some("s400")));
        let page = gather(JobId(400), 400, piece, all::<u64, u64>).await.ok().unwrap();
        assert_eq!((page.items, page.next), ((400..600).collect(), None));
    }
}
