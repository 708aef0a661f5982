//! What a job carries beside its function: unique id, reducer and payload, in as little memory as can be.

use bytes::Bytes;

use crate::protocol::{LARGE, Parts, Spec};

/// The parts of one job. Its function's name is not repeated: the function has it.
#[derive(Debug)]
pub(super) struct Content {
    text: Text,
    unique_len: u16,
    reducer_len: u16,
    payload_len: u32,
}

#[derive(Debug)]
enum Text {
    /// Unique id, reducer and payload in a row. Without a payload that is on disk only.
    Own(Box<[u8]>),
    /// A large body from the unique id on, as it came.
    Shared(Box<Bytes>),
}

impl Content {
    /// What is to be kept of a submit. Its payload need not be at hand.
    pub fn new(spec: &Spec) -> Content {
        let payload_len = spec.payload_len();
        let text = if spec.is_whole() && spec.len() > LARGE {
            Text::Shared(Box::new(spec.body().slice(spec.function().len() + 1..)))
        } else {
            Text::Own(joined([spec.unique(), spec.reducer(), spec.payload()]))
        };
        // All that precedes the payload is within 65,535 bytes: see `Spec::parse`.
        let [unique_len, reducer_len] =
            [spec.unique(), spec.reducer()].map(|part| u16::try_from(part.len()).unwrap_or(u16::MAX));
        Content { text, unique_len, reducer_len, payload_len }
    }

    /// The unique id; empty if none was given.
    pub fn unique(&self) -> &[u8] {
        &self.bytes()[..usize::from(self.unique_len)]
    }

    /// The payload; empty if it is not at hand.
    pub fn payload(&self) -> &[u8] {
        let bytes = self.bytes();
        if self.is_whole() { &bytes[bytes.len() - self.payload_len as usize..] } else { &[] }
    }

    /// Bytes of the payload, at hand or not.
    pub fn payload_len(&self) -> u32 {
        self.payload_len
    }

    /// Whether the payload is at hand.
    pub fn is_whole(&self) -> bool {
        match &self.text {
            Text::Own(bytes) => bytes.len() == self.names_len() + self.payload_len as usize,
            Text::Shared(_) => true,
        }
    }

    /// The job as it is handed out.
    pub fn parts<'a>(&'a self, function: &'a [u8]) -> Parts<'a> {
        let (unique, reducer, payload) = (self.unique(), self.reducer(), self.payload());
        Parts { function, unique, reducer, payload, shared: self.shared() }
    }

    /// The submit, made anew.
    pub fn to_spec(&self, function: &[u8]) -> Option<Spec> {
        let reducer: &[&[u8]] = if self.reducer_len > 0 { &[self.reducer(), b"\0"] } else { &[] };
        let names = [&[function, b"\0", self.unique(), b"\0"], reducer].concat().concat();
        let function_end = u16::try_from(function.len()).ok()?;
        let unique_end = (function_end + 1).checked_add(self.unique_len)?;
        let reducer_end = if reducer.is_empty() { unique_end } else { unique_end + 1 + self.reducer_len };
        let spec = Spec::from_parts(&names, [function_end, unique_end, reducer_end], self.payload_len)?;
        spec.with_body([&names, self.payload()].concat().into())
    }

    /// The same with its payload on disk only.
    pub fn without_payload(&self) -> Content {
        let text = Text::Own(joined([self.unique(), self.reducer(), &[]]));
        Content { text, ..*self }
    }

    /// The same with its payload, out of the whole body of its submit to this function. `None` if that is another.
    pub fn with_body(&self, function: &[u8], body: Bytes) -> Option<Content> {
        let tail = body.strip_prefix(function)?.strip_prefix(b"\0")?;
        let names = tail.len().checked_sub(self.payload_len as usize)?;
        let payload = &tail[names..];
        let rest = tail[..names].strip_prefix(self.unique())?.strip_prefix(b"\0")?;
        if self.reducer_len > 0 {
            rest.strip_prefix(self.reducer())?.strip_prefix(b"\0")?;
        }
        let text = if body.len() > LARGE {
            Text::Shared(Box::new(body.slice_ref(tail)))
        } else {
            Text::Own(joined([self.unique(), self.reducer(), payload]))
        };
        Some(Content { text, ..*self })
    }

    /// The memory of a large body.
    pub fn shared(&self) -> Option<&Bytes> {
        match &self.text {
            Text::Own(_) => None,
            Text::Shared(body) => Some(body),
        }
    }

    /// Bytes of all parts, the payload's only if it is at hand.
    pub fn len(&self) -> usize {
        self.names_len() + self.payload().len()
    }

    pub fn reducer(&self) -> &[u8] {
        let from = usize::from(self.unique_len) + usize::from(matches!(self.text, Text::Shared(_)));
        // A large body without a reducer has its payload there.
        if self.reducer_len == 0 { &[] } else { &self.bytes()[from..from + usize::from(self.reducer_len)] }
    }

    fn names_len(&self) -> usize {
        usize::from(self.unique_len) + usize::from(self.reducer_len)
    }

    fn bytes(&self) -> &[u8] {
        match &self.text {
            Text::Own(bytes) => bytes,
            Text::Shared(body) => body,
        }
    }
}

fn joined(parts: [&[u8]; 3]) -> Box<[u8]> {
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Kind;

    fn spec(kind: Kind, body: &[u8]) -> Spec {
        Spec::parse(kind, Bytes::copy_from_slice(body)).unwrap().0
    }

    #[test]
    fn the_parts_are_the_same_in_memory_on_disk_only_and_back() {
        for len in [0, 7, LARGE * 2] {
            let payload = vec![b'p'; len];
            let submits: [(Kind, &[u8]); 4] = [
                (Kind::SubmitReduceJob, b"f\0u\0red\0agg\0"),
                (Kind::SubmitReduceJob, b"f\0\0\0agg\0"),
                (Kind::SubmitJob, b"f\0u\0"),
                (Kind::SubmitJobEpoch, b"f\0u\x00123\0"),
            ];
            for (kind, names) in submits {
                let spec = spec(kind, &[names, &payload].concat());
                let same = |content: &Content| {
                    let parts = content.parts(b"f");
                    assert_eq!((parts.unique, parts.reducer), (spec.unique(), spec.reducer()));
                    assert_eq!(parts.payload, spec.payload());
                    assert!(content.is_whole());
                };
                let content = Content::new(&spec);
                same(&content);
                let evicted = content.without_payload();
                assert_eq!((evicted.is_whole(), evicted.payload()), (len == 0, &b""[..]));
                assert_eq!(evicted.unique(), spec.unique());
                same(&evicted.with_body(b"f", spec.body().clone()).unwrap());
                same(&Content::new(&content.to_spec(b"f").unwrap()));
                assert!(evicted.with_body(b"g", spec.body().clone()).is_none());
            }
        }
    }

    #[test]
    fn another_body_is_not_taken() {
        let evicted = Content::new(&spec(Kind::SubmitJob, b"f\0unique\0payload")).without_payload();
        for other in [&b"f\0uniqux\0payload"[..], b"f\0unique\0paylo", b"f", b""] {
            assert!(evicted.with_body(b"f", Bytes::copy_from_slice(other)).is_none());
        }
    }
}
