//! What the server answers, and how it is written: straight into the receiver's line of bytes.

use std::fmt::Write as _;

use bytes::Bytes;

use super::{Flavor, HEADER_LEN, Handle, Header, Kind, Magic, Parts, Refusal, StatusNumbers, WriteBuf};

/// One answer, borrowing what it tells of.
#[derive(Clone, Debug)]
pub enum Response<'a> {
    /// JOB_CREATED.
    JobCreated(Handle<'a>),
    /// JOB_ASSIGN, JOB_ASSIGN_UNIQ or JOB_ASSIGN_ALL.
    Assign {
        /// The shape the worker asked for.
        flavor: Flavor,
        /// The job's handle.
        handle: Handle<'a>,
        /// The job.
        parts: Parts<'a>,
    },
    /// NO_JOB.
    NoJob,
    /// NOOP.
    Noop,
    /// A WORK_* packet as the worker sent it.
    Work {
        /// Which of them.
        kind: Kind,
        /// Handle and data.
        body: &'a Bytes,
    },
    /// WORK_FAIL on the server's own account.
    WorkFail(Handle<'a>),
    /// STATUS_RES.
    Status {
        /// The handle as asked for.
        handle: &'a [u8],
        /// How far the job is; `None` if the server does not know it.
        progress: Option<Progress>,
    },
    /// STATUS_RES_UNIQUE.
    StatusUnique {
        /// The unique id as asked for.
        unique: &'a [u8],
        /// How far the job is; `None` if the server does not know it.
        progress: Option<Progress>,
        /// How many foreground submits wait for it.
        waiting: usize,
    },
    /// ECHO_RES.
    Echo(&'a Bytes),
    /// OPTION_RES.
    Option(&'a Bytes),
    /// ERROR.
    Error(&'a Refusal),
    /// Text of the admin protocol, line ends included.
    Text(&'a [u8]),
}

/// What GET_STATUS tells of a job that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether a worker has it.
    pub running: bool,
    /// The worker's last WORK_STATUS.
    pub numbers: StatusNumbers,
}

impl Response<'_> {
    /// Writes the packet, or the text.
    pub fn encode(&self, into: &mut WriteBuf) {
        match self {
            Response::JobCreated(handle) => handle.with_bytes(|text| short(into, Kind::JobCreated, text)),
            Response::WorkFail(handle) => handle.with_bytes(|text| short(into, Kind::WorkFail, text)),
            Response::NoJob => short(into, Kind::NoJob, &[]),
            Response::Noop => short(into, Kind::Noop, &[]),
            Response::Assign { flavor, handle, parts } => {
                handle.with_bytes(|text| assign(into, *flavor, text, parts));
            }
            Response::Work { kind, body } => shared(into, *kind, body),
            Response::Echo(body) => shared(into, Kind::EchoRes, body),
            Response::Option(body) => shared(into, Kind::OptionRes, body),
            Response::Status { handle, progress } => status(into, Kind::StatusRes, handle, *progress, None),
            Response::StatusUnique { unique, progress, waiting } => {
                status(into, Kind::StatusResUnique, unique, *progress, Some(*waiting));
            }
            Response::Error(refusal) => {
                let text = refusal.text.as_bytes();
                let header = header(Kind::Error, refusal.code.len() + 1 + text.len());
                into.put_slices([&header, refusal.code.as_bytes(), b"\0", text]);
            }
            Response::Text(text) => into.put_slice(text),
        }
    }
}

fn header(kind: Kind, body_len: usize) -> [u8; HEADER_LEN] {
    // Bodies are bounded below 4 GiB where they are read.
    let body_len = u32::try_from(body_len).unwrap_or(u32::MAX);
    Header { magic: Magic::Response, kind, body_len }.to_bytes()
}

fn short(into: &mut WriteBuf, kind: Kind, body: &[u8]) {
    into.put_slices([&header(kind, body.len()), body]);
}

fn shared(into: &mut WriteBuf, kind: Kind, body: &Bytes) {
    into.put_slice(&header(kind, body.len()));
    into.put_shared(body);
}

fn assign(into: &mut WriteBuf, flavor: Flavor, handle: &[u8], parts: &Parts<'_>) {
    let Parts { function, unique, reducer, payload, .. } = *parts;
    let rest = payload.len();
    let nul = b"\0";
    match flavor {
        Flavor::Plain => {
            let header = header(Kind::JobAssign, handle.len() + function.len() + 2 + rest);
            into.put_slices([&header, handle, nul, function, nul]);
        }
        Flavor::All if !reducer.is_empty() => {
            let fields = handle.len() + function.len() + unique.len() + reducer.len() + 4;
            let header = header(Kind::JobAssignAll, fields + rest);
            into.put_slices([&header, handle, nul, function, nul, unique, nul, reducer, nul]);
        }
        Flavor::Unique | Flavor::All => {
            let fields = handle.len() + function.len() + unique.len() + 3;
            let header = header(Kind::JobAssignUniq, fields + rest);
            into.put_slices([&header, handle, nul, function, nul, unique, nul]);
        }
    }
    parts.put_payload(into);
}

fn status(into: &mut WriteBuf, kind: Kind, name: &[u8], progress: Option<Progress>, waiting: Option<usize>) {
    let known = u8::from(progress.is_some());
    let running = u8::from(progress.is_some_and(|progress| progress.running));
    let StatusNumbers { numerator, denominator } =
        progress.map(|progress| progress.numbers).unwrap_or_default();
    let mut fields = format!("\0{known}\0{running}\0{numerator}\0{denominator}");
    if let Some(waiting) = waiting {
        // Writing to a String cannot fail.
        let _ = write!(fields, "\0{waiting}");
    }
    into.put_slices([&header(kind, name.len() + fields.len()), name, fields.as_bytes()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Spec;
    use crate::types::JobId;
    use bytes::Buf;

    fn written(response: &Response<'_>) -> Vec<u8> {
        let mut line = WriteBuf::default();
        response.encode(&mut line);
        line.copy_to_bytes(line.remaining()).to_vec()
    }

    #[test]
    fn an_assignment_has_the_shape_that_was_asked_for() {
        let handle = Handle { prefix: "H:x", id: JobId(7) };
        let (reduce, _) =
            Spec::parse(Kind::SubmitReduceJob, Bytes::from_static(b"f\0u\0red\0agg\0data")).unwrap();
        let (plain, _) = Spec::parse(Kind::SubmitJob, Bytes::from_static(b"f\0u\0data")).unwrap();
        let assigned = |flavor, spec: &Spec| {
            let bytes = written(&Response::Assign { flavor, handle, parts: spec.parts() });
            let kind = Kind::from_number(u32::from_be_bytes(bytes[4..8].try_into().unwrap())).unwrap();
            (kind, String::from_utf8(bytes[HEADER_LEN..].to_vec()).unwrap())
        };
        assert_eq!(assigned(Flavor::Plain, &reduce), (Kind::JobAssign, "H:x:7\0f\0data".into()));
        assert_eq!(assigned(Flavor::Unique, &reduce), (Kind::JobAssignUniq, "H:x:7\0f\0u\0data".into()));
        assert_eq!(assigned(Flavor::All, &reduce), (Kind::JobAssignAll, "H:x:7\0f\0u\0red\0data".into()));
        assert_eq!(assigned(Flavor::All, &plain), (Kind::JobAssignUniq, "H:x:7\0f\0u\0data".into()));
    }

    #[test]
    fn no_status_field_is_ever_empty() {
        let unknown = written(&Response::Status { handle: b"H:x:9", progress: None });
        assert_eq!(&unknown[HEADER_LEN..], b"H:x:9\x000\x000\x000\x000");
        let unique = written(&Response::StatusUnique { unique: b"U", progress: None, waiting: 0 });
        assert_eq!(&unique[HEADER_LEN..], b"U\x000\x000\x000\x000\x000");
    }
}
