//! What is submitted: jobs that tell of themselves, so that whoever is handed one can say whether it is whole.

use crate::support::kind;
use crate::support::peer::{Assigned, request};

/// One submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// No two submits of a data directory share it.
    pub token: u64,
    /// The packet's type.
    pub kind: u32,
    pub function: String,
    pub unique: String,
    /// Empty for all but reduce jobs.
    pub reducer: String,
    /// Not to be run before this time, in seconds since the epoch; 0: at once.
    pub due: u64,
    pub payload: Payload,
}

/// What a job carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Empty,
    /// All that the submit says, then so many bytes that follow from its token.
    Own(usize),
    /// Bytes that many submits share, so that a unique id of `-` joins them.
    Shared(u8),
}

/// What a payload says of the submit that made the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Empty,
    Token { token: u64, kind: u32, due: u64 },
    Shared(u8),
}

/// What submits join by: function, unique id, and the payload where the unique id is `-`.
pub type Key = (String, String, Option<u8>);

impl Submit {
    pub fn is_foreground(&self) -> bool {
        is_foreground(self.kind)
    }

    /// What it joins by, if it can join at all.
    pub fn key(&self) -> Option<Key> {
        let shared = match (self.unique.as_str(), self.payload) {
            ("", _) | ("-", Payload::Empty | Payload::Own(_)) => return None,
            ("-", Payload::Shared(index)) => Some(index),
            _ => None,
        };
        Some((self.function.clone(), self.unique.clone(), shared))
    }

    /// The whole packet.
    pub fn packet(&self) -> Vec<u8> {
        let (function, unique, payload) =
            (self.function.as_bytes(), self.unique.as_bytes(), &self.payload_bytes()[..]);
        let due = self.due.to_string();
        let body = match self.kind {
            kind::SUBMIT_JOB_EPOCH => [function, unique, due.as_bytes(), payload].join(&0),
            kind::SUBMIT_REDUCE_JOB_BACKGROUND => {
                [function, unique, self.reducer.as_bytes(), b"", payload].join(&0)
            }
            _ => [function, unique, payload].join(&0),
        };
        request(self.kind, &body)
    }

    fn payload_bytes(&self) -> Vec<u8> {
        match self.payload {
            Payload::Empty => Vec::new(),
            Payload::Shared(index) => shared(index),
            Payload::Own(size) => {
                let Submit { token, kind, function, unique, reducer, due, .. } = self;
                let head = format!("own|{token}|{kind}|{function}|{unique}|{reducer}|{due}|{size}\0");
                let mut bytes = head.into_bytes();
                bytes.extend(filler(*token, size));
                bytes
            }
        }
    }

    /// Whether a job that says this of itself can have been made by this submit.
    pub fn made(&self, origin: &Origin) -> bool {
        match (origin, self.payload) {
            (Origin::Empty, Payload::Empty) => true,
            (Origin::Shared(index), Payload::Shared(own)) => *index == own,
            (Origin::Token { token, .. }, Payload::Own(_)) => *token == self.token,
            _ => false,
        }
    }
}

/// Whether submits of this type wait for the result.
pub fn is_foreground(kind: u32) -> bool {
    matches!(kind, kind::SUBMIT_JOB | kind::SUBMIT_JOB_HIGH | kind::SUBMIT_JOB_LOW)
}

/// High, normal or low, as 0, 1 and 2.
pub fn priority(kind: u32) -> u8 {
    match kind {
        kind::SUBMIT_JOB_HIGH | kind::SUBMIT_JOB_HIGH_BG => 0,
        kind::SUBMIT_JOB_LOW | kind::SUBMIT_JOB_LOW_BG => 2,
        _ => 1,
    }
}

/// Reads what a job says of itself, and holds it against what came beside the payload.
///
/// # Errors
/// What is not as it was submitted.
pub fn origin(job: &Assigned) -> Result<Origin, String> {
    if job.data.is_empty() {
        return Ok(Origin::Empty);
    }
    let (head, rest) = match job.data.iter().position(|byte| *byte == 0) {
        Some(end) => (&job.data[..end], &job.data[end + 1..]),
        None => (&job.data[..], &[][..]),
    };
    let head = std::str::from_utf8(head).map_err(|_| format!("not a payload of this test: {job:?}"))?;
    let parts: Vec<&str> = head.split('|').collect();
    match parts[..] {
        ["shared", index] => {
            let index = index.parse().map_err(|_| format!("a spoilt payload: {head}"))?;
            if job.data != shared(index) {
                Err(format!("spoilt bytes behind {head}"))
            } else {
                Ok(Origin::Shared(index))
            }
        }
        ["own", token, kind, function, unique, reducer, due, size] => {
            let number = |text: &str| text.parse::<u64>().map_err(|_| format!("a spoilt payload: {head}"));
            let (token, kind, due, size) = (number(token)?, number(kind)?, number(due)?, number(size)?);
            let beside = (&job.function[..], &job.unique[..], &job.reducer[..]);
            let inside = (function.as_bytes(), unique.as_bytes(), reducer.as_bytes());
            if beside != inside {
                return Err(format!(
                    "{head} came as a job of {}",
                    crate::support::readable(&[beside.0, beside.1, beside.2].join(&b'|'))
                ));
            }
            if rest.len() as u64 != size || !filler(token, rest.len()).eq(rest.iter().copied()) {
                return Err(format!("spoilt bytes behind {head}: {} of them", rest.len()));
            }
            Ok(Origin::Token { token, kind: kind as u32, due })
        }
        _ => Err(format!("not a payload of this test: {head}")),
    }
}

fn shared(index: u8) -> Vec<u8> {
    let head = format!("shared|{index}\0");
    head.into_bytes().into_iter().chain(filler(u64::from(index), usize::from(index) * 300)).collect()
}

/// Bytes of every value, zero among them.
fn filler(token: u64, size: usize) -> impl Iterator<Item = u8> {
    let mut state = token.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
}
