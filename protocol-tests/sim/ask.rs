//! What a peer asks, as it means it, and the bytes it sends. The model is told what was meant; the server gets the
//! bytes. Written apart from the server's own code, so that the two can disagree.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use gearhouse::protocol::{Flavor, Kind, Listing};
use gearhouse::types::Priority;

use super::trace::shown;

/// One request.
#[derive(Clone, Debug)]
pub enum Ask {
    Submit(Submit),
    Grab(Flavor),
    Work(Work),
    /// CAN_DO, or CAN_DO_TIMEOUT if there are milliseconds.
    CanDo {
        function: Bytes,
        milliseconds: Option<u64>,
    },
    CantDo(Bytes),
    ResetAbilities,
    PreSleep,
    GetStatus(Bytes),
    GetStatusUnique(Bytes),
    Option(Bytes),
    ClientId(Bytes),
    Echo(Bytes),
    Admin(Admin),
    /// A whole packet that makes no sense, and the code of the ERROR it deserves.
    Nonsense {
        magic: &'static [u8; 4],
        kind: Kind,
        body: Bytes,
        code: &'static str,
    },
    /// Bytes after which the connection is closed; and whether an ERROR comes first.
    Breaking {
        bytes: Bytes,
        is_answered: bool,
    },
}

/// Any of the submits.
#[derive(Clone, Debug)]
pub struct Submit {
    pub form: Form,
    pub function: Bytes,
    pub unique: Bytes,
    pub payload: Bytes,
}

/// Which submit.
#[derive(Clone, Debug)]
pub enum Form {
    Plain { priority: Priority, background: bool },
    Reduce { reducer: Bytes, background: bool },
    Epoch { seconds: u64 },
    Sched { fields: [&'static str; 5] },
}

/// Any of the WORK_* packets.
#[derive(Clone, Debug)]
pub struct Work {
    pub kind: Kind,
    pub handle: Bytes,
    /// What follows the handle and a NUL; without it the NUL is left out too, as some libraries do.
    pub data: Option<Bytes>,
    /// Sent with `\0RES`, as some libraries do.
    pub with_response_magic: bool,
}

/// A line of text.
#[derive(Clone, Debug)]
pub enum Admin {
    List(Listing),
    Version,
    Ready,
    CreateFunction(Bytes),
    DropFunction(Bytes),
    CancelJob(Bytes),
    MaxQueue(Bytes, Vec<u32>),
    ShowUnique(Bytes, Bytes),
    Shutdown { graceful: bool },
    Unknown(Bytes),
}

/// All lists.
pub const LISTINGS: [Listing; 6] = [
    Listing::Status,
    Listing::PriorityStatus,
    Listing::Workers,
    Listing::Jobs,
    Listing::UniqueJobs,
    Listing::Schedules,
];

impl Submit {
    pub fn kind(&self) -> Kind {
        match self.form {
            Form::Plain { priority: Priority::High, background: false } => Kind::SubmitJobHigh,
            Form::Plain { priority: Priority::High, background: true } => Kind::SubmitJobHighBg,
            Form::Plain { priority: Priority::Normal, background: false } => Kind::SubmitJob,
            Form::Plain { priority: Priority::Normal, background: true } => Kind::SubmitJobBg,
            Form::Plain { priority: Priority::Low, background: false } => Kind::SubmitJobLow,
            Form::Plain { priority: Priority::Low, background: true } => Kind::SubmitJobLowBg,
            Form::Reduce { background: false, .. } => Kind::SubmitReduceJob,
            Form::Reduce { background: true, .. } => Kind::SubmitReduceJobBackground,
            Form::Epoch { .. } => Kind::SubmitJobEpoch,
            Form::Sched { .. } => Kind::SubmitJobSched,
        }
    }

    /// Whether the submitter gets the updates and the result.
    pub fn is_foreground(&self) -> bool {
        matches!(self.form, Form::Plain { background: false, .. } | Form::Reduce { background: false, .. })
    }

    /// The body as it is sent.
    pub fn body(&self) -> Bytes {
        let seconds;
        let between: &[&[u8]] = match &self.form {
            Form::Plain { .. } => &[],
            Form::Reduce { reducer, .. } => &[reducer, b"aggregator"],
            Form::Epoch { seconds: number } => {
                seconds = number.to_string();
                &[seconds.as_bytes()]
            }
            Form::Sched { fields } => &fields.map(str::as_bytes),
        };
        let mut fields: Vec<&[u8]> = vec![&self.function, &self.unique];
        fields.extend(between);
        fields.push(&self.payload);
        fields.join(&0).into()
    }
}

impl Work {
    fn body(&self) -> Bytes {
        match &self.data {
            Some(data) => [&self.handle[..], data].join(&0).into(),
            None => self.handle.clone(),
        }
    }
}

impl Ask {
    /// The bytes to send. `crlf`: how a line of text ends.
    pub fn encode(&self, crlf: bool) -> Bytes {
        let packet = |kind: Kind, body: &[u8]| packet(b"\0REQ", kind, body);
        match self {
            Ask::Submit(submit) => packet(submit.kind(), &submit.body()),
            Ask::Grab(Flavor::Plain) => packet(Kind::GrabJob, b""),
            Ask::Grab(Flavor::Unique) => packet(Kind::GrabJobUniq, b""),
            Ask::Grab(Flavor::All) => packet(Kind::GrabJobAll, b""),
            Ask::Work(work) if work.with_response_magic => self::packet(b"\0RES", work.kind, &work.body()),
            Ask::Work(work) => packet(work.kind, &work.body()),
            Ask::CanDo { function, milliseconds: None } => packet(Kind::CanDo, function),
            Ask::CanDo { function, milliseconds: Some(milliseconds) } => {
                let body = [&function[..], milliseconds.to_string().as_bytes()].join(&0);
                packet(Kind::CanDoTimeout, &body)
            }
            Ask::CantDo(function) => packet(Kind::CantDo, function),
            Ask::ResetAbilities => packet(Kind::ResetAbilities, b""),
            Ask::PreSleep => packet(Kind::PreSleep, b""),
            Ask::GetStatus(handle) => packet(Kind::GetStatus, handle),
            Ask::GetStatusUnique(unique) => packet(Kind::GetStatusUnique, unique),
            Ask::Option(option) => packet(Kind::OptionReq, option),
            Ask::ClientId(id) => packet(Kind::SetClientId, id),
            Ask::Echo(body) => packet(Kind::EchoReq, body),
            Ask::Admin(admin) => [&admin.line()[..], if crlf { b"\r\n" } else { b"\n" }].concat().into(),
            Ask::Nonsense { magic, kind, body, .. } => self::packet(magic, *kind, body),
            Ask::Breaking { bytes, .. } => bytes.clone(),
        }
    }
}

impl Admin {
    fn line(&self) -> Vec<u8> {
        let (words, names): (&str, &[&[u8]]) = match self {
            Admin::List(Listing::Status) => ("status", &[]),
            Admin::List(Listing::PriorityStatus) => ("prioritystatus", &[]),
            Admin::List(Listing::Workers) => ("workers", &[]),
            Admin::List(Listing::Jobs) => ("show jobs", &[]),
            Admin::List(Listing::UniqueJobs) => ("show unique jobs", &[]),
            Admin::List(Listing::Schedules) => ("show schedules", &[]),
            Admin::Version => ("version", &[]),
            Admin::Ready => ("ready", &[]),
            Admin::CreateFunction(name) => ("create function", &[name]),
            Admin::DropFunction(name) => ("drop function", &[name]),
            Admin::CancelJob(handle) => ("cancel job", &[handle]),
            Admin::ShowUnique(name, unique) => ("show unique", &[name, unique]),
            Admin::Shutdown { graceful: true } => ("shutdown graceful", &[]),
            Admin::Shutdown { graceful: false } => ("shutdown", &[]),
            Admin::Unknown(word) => return word.to_vec(),
            Admin::MaxQueue(name, limits) => {
                let limits: String = limits.iter().map(|limit| format!(" {limit}")).collect();
                return [b"maxqueue ", &name[..], limits.as_bytes()].concat();
            }
        };
        let mut line = words.as_bytes().to_vec();
        for name in names {
            line.push(b' ');
            line.extend_from_slice(name);
        }
        line
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.encode(false);
        match self {
            Ask::Admin(_) | Ask::Breaking { .. } => write!(f, "{}", shown(&bytes)),
            _ => {
                let number = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                let name = Kind::from_number(number).map_or("?", Kind::name);
                write!(f, "{name} {}", shown(&bytes[12..]))
            }
        }
    }
}

fn packet(magic: &[u8; 4], kind: Kind, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_slice(magic);
    bytes.put_u32(kind as u32);
    bytes.put_u32(u32::try_from(body.len()).expect("bodies are small here"));
    bytes.put_slice(body);
    bytes.freeze()
}
