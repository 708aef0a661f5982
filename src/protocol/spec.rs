//! What a submit asks for, kept as the one body it came in.

use bytes::Bytes;

use super::frame::argument;
use super::{Kind, LARGE, Refusal, WriteBuf};

/// The largest body that can be assigned: a handle of up to 63 bytes and its NUL go in front.
const LARGEST: usize = u32::MAX as usize - 64;

/// Function, unique id, reducer and payload of a job: slices of the submit's body.
///
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    body: Bytes,
    /// Ends of function, unique id and reducer; the reducer's equals the unique id's if the kind has none.
    ends: [u16; 3],
    payload_start: u16,
    payload_len: u32,
}

/// A job's parts, wherever they are kept.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The function's name.
    pub function: &'a [u8],
    /// The unique id; empty if none was given.
    pub unique: &'a [u8],
    /// The reducer's name; empty for all but reduce jobs.
    pub reducer: &'a [u8],
    /// The payload, any bytes.
    pub payload: &'a [u8],
    /// The shared memory that the payload lies in, if it does: it need not be copied to be sent.
    pub shared: Option<&'a Bytes>,
}

impl Parts<'_> {
    /// Writes the payload, without a copy if it is large.
    pub fn put_payload(&self, into: &mut WriteBuf) {
        match self.shared {
            Some(shared) if self.payload.len() > LARGE => into.put_shared(&shared.slice_ref(self.payload)),
            _ => into.put_slice(self.payload),
        }
    }
}

impl Spec {
    /// Reads the body of a submit of this kind; also returns the fields between the unique id and the payload.
    ///
    /// # Errors
    /// INVALID_PACKET if a separator is missing, ARGUMENT_TOO_LARGE if the fields before the payload take more
    /// than 65,535 bytes, or if there would be no room for a handle in front of the body within 2^32-1 bytes.
    pub fn parse(kind: Kind, body: Bytes) -> Result<(Spec, Vec<Bytes>), Refusal> {
        if body.len() > LARGEST {
            return Err(Refusal::FRAME_TOO_LARGE);
        }
        let mut ends = Ends { body: &body, from: 0 };
        let function = ends.next(kind)?;
        let unique = ends.next(kind)?;
        let between = kind.arguments().saturating_sub(3);
        let mut extras = Vec::new();
        let mut reducer = unique;
        for index in 0..between {
            let from = ends.from;
            let end = ends.next(kind)?;
            if index == 0 && has_reducer(kind) {
                reducer = end;
            }
            extras.push((from, end));
        }
        let payload_start = u16::try_from(ends.from).map_err(|_| Refusal::NAMES_TOO_LARGE)?;
        let extras = extras.iter().map(|(from, end)| body.slice(*from..*end)).collect();
        // All ends lie before the payload, whose start was just checked.
        let ends = [function, unique, reducer].map(|end| u16::try_from(end).unwrap_or(u16::MAX));
        // The body's length was checked above.
        let payload_len = u32::try_from(body.len() - usize::from(payload_start)).unwrap_or(u32::MAX);
        Ok((Spec { body, ends, payload_start, payload_len }, extras))
    }

    /// The function's name.
    pub fn function(&self) -> &[u8] {
        &self.body[..self.end(0)]
    }

    /// The function's name, sharing the body's memory.
    pub fn function_bytes(&self) -> Bytes {
        self.body.slice(..self.end(0))
    }

    /// The unique id; empty if none was given.
    pub fn unique(&self) -> &[u8] {
        &self.body[self.end(0) + 1..self.end(1)]
    }

    /// The reducer's name; empty for all but reduce jobs.
    pub fn reducer(&self) -> &[u8] {
        if self.ends[1] == self.ends[2] { &[] } else { &self.body[self.end(1) + 1..self.end(2)] }
    }

    /// The spec as it was before it was written down, without its payload: the bytes before the payload, and where
    /// function, unique id and reducer end in them. `None` if those ends are not within the names.
    pub fn from_parts(names: &[u8], ends: [u16; 3], payload_len: u32) -> Option<Spec> {
        let payload_start = u16::try_from(names.len()).ok()?;
        let in_order = ends.is_sorted() && ends[0] < ends[1] && ends[2] < payload_start;
        let body = Bytes::copy_from_slice(names);
        in_order.then_some(Spec { body, ends, payload_start, payload_len })
    }

    /// Everything before the payload.
    pub fn names(&self) -> &[u8] {
        &self.body[..usize::from(self.payload_start)]
    }

    /// Ends of function, unique id and reducer within [`Spec::names`].
    pub fn ends(&self) -> [u16; 3] {
        self.ends
    }

    /// Bytes of the payload, at hand or not.
    pub fn payload_len(&self) -> u32 {
        self.payload_len
    }

    /// Whether the payload is at hand. If not, [`Spec::payload`] is empty.
    pub fn is_whole(&self) -> bool {
        self.body.len() == usize::from(self.payload_start) + self.payload_len as usize
    }

    /// The same without its payload, owning its memory.
    pub fn without_payload(&self) -> Spec {
        Spec { body: Bytes::copy_from_slice(self.names()), ..*self }
    }

    /// The same with its whole body, which must be what it was.
    pub fn with_body(&self, body: Bytes) -> Option<Spec> {
        let whole = Spec { body, ..*self };
        let is_same = whole.is_whole() && whole.names() == self.names();
        is_same.then_some(whole)
    }

    /// The submit's body; without payload if that is not at hand.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The payload, any bytes.
    pub fn payload(&self) -> &[u8] {
        &self.body[usize::from(self.payload_start)..]
    }

    /// The job as it is handed out.
    pub fn parts(&self) -> Parts<'_> {
        let (function, unique, reducer) = (self.function(), self.unique(), self.reducer());
        Parts { function, unique, reducer, payload: self.payload(), shared: Some(&self.body) }
    }

    /// Bytes of memory that keeping this takes, its payload only if it is at hand.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether the body is empty, which no parsed spec is.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The same, fit to be kept for long: see [`LARGE`].
    pub fn to_kept(&self) -> Spec {
        let body =
            if self.body.len() <= LARGE { Bytes::copy_from_slice(&self.body) } else { self.body.clone() };
        Spec { body, ..*self }
    }

    fn end(&self, index: usize) -> usize {
        usize::from(self.ends[index])
    }
}

fn has_reducer(kind: Kind) -> bool {
    matches!(kind, Kind::SubmitReduceJob | Kind::SubmitReduceJobBackground)
}

struct Ends<'a> {
    body: &'a [u8],
    from: usize,
}

impl Ends<'_> {
    /// Where the next argument ends: at its NUL, which is passed over.
    fn next(&mut self, kind: Kind) -> Result<usize, Refusal> {
        let (_, argument) = argument(&self.body[self.from..]).ok_or_else(|| Refusal::too_short(kind))?;
        let end = self.from + argument.len();
        self.from = end + 1;
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found_in_its_place() {
        let (spec, extras) =
            Spec::parse(Kind::SubmitReduceJob, Bytes::from_static(b"f\0u\0red\0agg\0da\0ta")).unwrap();
        assert_eq!((spec.function(), spec.unique(), spec.reducer()), (&b"f"[..], &b"u"[..], &b"red"[..]));
        assert_eq!(spec.payload(), b"da\0ta");
        assert_eq!(extras, ["red", "agg"]);

        let (spec, extras) =
            Spec::parse(Kind::SubmitJobSched, Bytes::from_static(b"f\0\0A\0*\0B\0C\0D\0")).unwrap();
        assert_eq!((spec.unique(), spec.reducer(), spec.payload()), (&b""[..], &b""[..], &b""[..]));
        assert_eq!(extras, ["A", "*", "B", "C", "D"]);
    }

    #[test]
    fn a_missing_separator_is_refused_not_hunted_for() {
        assert!(Spec::parse(Kind::SubmitJob, Bytes::from_static(b"abcde")).is_err());
        assert!(Spec::parse(Kind::SubmitJobEpoch, Bytes::from_static(b"f\0u\0payload")).is_err());
    }
}
