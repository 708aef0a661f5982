//! `Idempotency-Key`: a request that is sent again because its answer was lost is answered as the first time, and done once.
//!
//! Kept in memory, for a day at most, so long as no more than some thousands came since; forgotten at a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::problem::{Kind, Problem};
use crate::types::Timestamp;

/// Keys that are remembered, and bytes of their answers.
const KEYS: usize = 10_000;
const BYTES: usize = 16 << 20;

/// How long they are.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Longest key.
const LONGEST: usize = 255;

/// The caller's name and what it gave as key.
pub(super) type Key = (Arc<str>, Box<str>);

/// What a request is told apart by from another with the same key.
pub(super) type Fingerprint = [u8; 32];

/// An answer that may be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Bytes,
}

/// All that was answered lately.
#[derive(Default)]
pub(super) struct Answered(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    /// Oldest first; a key that is not in the table any more may still stand here.
    order: VecDeque<(Timestamp, Key)>,
    bytes: usize,
}

struct Entry {
    fingerprint: Fingerprint,
    since: Timestamp,
    /// `None` while it is under way.
    answer: Option<Answer>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Answer this.
    Again(Answer),
    /// Do it, and tell [`Answered::end`] what came of it.
    Do,
}

/// The key of a request, if it has one.
pub(super) fn key_of(headers: &HeaderMap, caller: &Arc<str>) -> Result<Option<Key>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    // A tab would be text, too, but the document knows none.
    let is_printable = |key: &&str| key.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= LONGEST).filter(is_printable);
    let wrong =
        || Problem::new(Kind::UNREADABLE, format!("`Idempotency-Key` must be 1 to {LONGEST} letters"));
    Ok(Some((caller.clone(), key.ok_or_else(wrong)?.into())))
}

/// Of all that makes a request what it is.
pub(super) fn fingerprint(parts: &[&[u8]]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Answered {
    /// What is to be done with a request with this key.
    pub fn begin(&self, now: Timestamp, key: &Key, fingerprint: Fingerprint) -> Result<Verdict, Problem> {
        let mut table = self.lock();
        table.forget(now);
        match table.entries.get(key) {
            Some(entry) if entry.fingerprint != fingerprint => {
                Err(Problem::new(Kind::KEY_REUSED, "Another request came with this `Idempotency-Key`"))
            }
            Some(Entry { answer: Some(answer), .. }) => Ok(Verdict::Again(answer.clone())),
            Some(_) => {
                let detail = "The first request with this `Idempotency-Key` is still under way";
                Err(Problem::new(Kind::IN_PROGRESS, detail).retry_after(1))
            }
            None => {
                table.entries.insert(key.clone(), Entry { fingerprint, since: now, answer: None });
                table.order.push_back((now, key.clone()));
                Ok(Verdict::Do)
            }
        }
    }

    /// What came of a request. `None`: nothing that should be the answer to a second try.
    pub fn end(&self, key: &Key, answer: Option<Answer>) {
        let mut table = self.lock();
        match answer {
            Some(answer) => {
                let size = answer.body.len();
                if let Some(entry) = table.entries.get_mut(key) {
                    entry.answer = Some(answer);
                    table.bytes += size;
                }
            }
            None => drop(table.entries.remove(key)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget(&mut self, now: Timestamp) {
        let is_too_much = |table: &Table| table.order.len() >= KEYS || table.bytes > BYTES;
        while let Some((since, _)) = self.order.front()
            && (is_too_much(self) || now.since(*since) >= LIFE)
        {
            let Some((since, key)) = self.order.pop_front() else { return };
            // One that was given up may have come again since, and stands further behind then.
            if self.entries.get(&key).is_some_and(|entry| entry.since == since) {
                let entry = self.entries.remove(&key);
                self.bytes -= entry.and_then(|entry| entry.answer).map_or(0, |answer| answer.body.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        ("caller".into(), text.into())
    }

    fn answer(text: &'static str) -> Answer {
        Answer { status: 201, location: None, body: Bytes::from_static(text.as_bytes()) }
    }

    fn said(answered: &Answered, now: Timestamp, text: &str, print: u8) -> String {
        match answered.begin(now, &key(text), [print; 32]) {
            Ok(Verdict::Do) => "do".to_owned(),
            Ok(Verdict::Again(answer)) => String::from_utf8(answer.body.to_vec()).unwrap(),
            Err(problem) => problem.to_json()["type"].as_str().unwrap().to_owned(),
        }
    }

    #[test]
    fn a_second_try_is_answered_as_the_first() {
        let (answered, now) = (Answered::default(), Timestamp::from_secs(1));
        assert_eq!(said(&answered, now, "a", 1), "do");
        assert_eq!(said(&answered, now, "a", 1), "/problems/in-progress");
        answered.end(&key("a"), Some(answer("done")));
        assert_eq!(said(&answered, now, "a", 1), "done");
        assert_eq!(said(&answered, now, "a", 2), "/problems/key-reused");
        assert_eq!(said(&answered, now.after(LIFE), "a", 1), "do");
        answered.end(&key("a"), None);
        assert_eq!(said(&answered, now.after(LIFE), "a", 2), "do");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (answered, now) = (Answered::default(), Timestamp::from_secs(1));
        for index in 0..KEYS + 10 {
            let text = index.to_string();
            assert_eq!(said(&answered, now.after(Duration::from_micros(index as u64)), &text, 1), "do");
            answered.end(&key(&text), Some(answer("done")));
        }
        let table = answered.lock();
        assert_eq!((table.entries.len(), table.order.len(), table.bytes), (KEYS, KEYS, 4 * KEYS));
        drop(table);
        let now = now.after(Duration::from_secs(1));
        assert_eq!(said(&answered, now, &KEYS.to_string(), 1), "done");
        assert_eq!(said(&answered, now, "0", 1), "do");
    }
}
