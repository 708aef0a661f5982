//! What a peer asks for: packets parsed into values after which no one looks at NUL bytes again.
//!
//! Parsing is lenient exactly where libraries in the field need it (reference, section 6.2) and nowhere else.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::admin::Admin;
use super::frame::argument;
use super::{Frame, Kind, Magic, Spec};
use crate::types::{Priority, Timestamp};

/// One request, binary or text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Any of the SUBMIT_* packets.
    Submit(Submit),
    /// GRAB_JOB, GRAB_JOB_UNIQ or GRAB_JOB_ALL.
    Grab(Flavor),
    /// Any of the WORK_* packets.
    Work(Work),
    /// CAN_DO and CAN_DO_TIMEOUT.
    CanDo {
        /// The function's name.
        function: Bytes,
        /// How long a job may run; `None` for CAN_DO and for a time-out of zero or no number.
        timeout: Option<Duration>,
    },
    /// CANT_DO, with the function's name.
    CantDo(Bytes),
    /// RESET_ABILITIES.
    ResetAbilities,
    /// PRE_SLEEP.
    PreSleep,
    /// GET_STATUS, with the handle up to its first NUL.
    GetStatus(Bytes),
    /// GET_STATUS_UNIQUE, with the unique id.
    GetStatusUnique(Bytes),
    /// OPTION_REQ, with the option exactly as sent.
    SetOption(Bytes),
    /// SET_CLIENT_ID, with the id.
    SetClientId(Bytes),
    /// ECHO_REQ, with what is to come back.
    Echo(Bytes),
    /// A line of the text protocol.
    Admin(Admin),
    /// A whole packet that makes no sense; the answer is this error and the connection goes on.
    Refused(Refusal),
}

/// A submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// Who waits, and until when.
    pub mode: Mode,
    /// Its place among its function's jobs.
    pub priority: Priority,
    /// Function, unique id, reducer and payload.
    pub spec: Spec,
}

/// Who waits for a job, and when it may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The submitter gets every update and the result.
    Foreground,
    /// No one waits.
    Background,
    /// In the background, not before this time. SUBMIT_JOB_EPOCH.
    At(Timestamp),
    /// In the foreground, not before this time. No packet asks for that.
    ForegroundAt(Timestamp),
    /// In the background, again and again: minute, hour, day of month, month, day of week. SUBMIT_JOB_SCHED.
    Recurring(Box<[Bytes; 5]>),
}

/// Which of the three shapes of JOB_ASSIGN a grab asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// JOB_ASSIGN: handle, function, payload.
    Plain,
    /// JOB_ASSIGN_UNIQ: the unique id too.
    Unique,
    /// JOB_ASSIGN_ALL: the reducer too, if there is one; else JOB_ASSIGN_UNIQ.
    All,
}

/// What a worker says about a job it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What happened.
    pub update: Update,
    /// Handle and data, fit to be forwarded to clients as they stand.
    pub body: Bytes,
    handle_len: usize,
}

impl Work {
    /// The handle's text.
    pub fn handle(&self) -> &[u8] {
        &self.body[..self.handle_len]
    }

    /// What follows the handle.
    pub fn data(&self) -> Bytes {
        self.body.slice(self.body.len() - self.data_len()..)
    }

    /// Bytes that follow the handle.
    pub fn data_len(&self) -> usize {
        self.body.len().saturating_sub(self.handle_len + 1)
    }

    /// The packet kind that carries this.
    pub fn kind(&self) -> Kind {
        match self.update {
            Update::Data => Kind::WorkData,
            Update::Warning => Kind::WorkWarning,
            Update::Status(_) => Kind::WorkStatus,
            Update::Complete => Kind::WorkComplete,
            Update::Fail => Kind::WorkFail,
            Update::Exception => Kind::WorkException,
        }
    }
}

/// The six WORK_* packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// WORK_DATA.
    Data,
    /// WORK_WARNING.
    Warning,
    /// WORK_STATUS.
    Status(StatusNumbers),
    /// WORK_COMPLETE: ends the job.
    Complete,
    /// WORK_FAIL: ends the job.
    Fail,
    /// WORK_EXCEPTION: ends the job (reference, section 3.10).
    Exception,
}

/// How far a job is, as numbers; the text goes to clients unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StatusNumbers {
    /// Done so far.
    pub numerator: u32,
    /// Done at the end.
    pub denominator: u32,
}

/// An ERROR packet: a code that libraries know and a text for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refusal {
    /// One of the codes of the reference, section 2.2.
    pub code: &'static str,
    /// What went wrong.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A packet with response magic that only the server sends.
    pub const MAGIC: Refusal = Refusal::new("INVALID_MAGIC", "Request magic expected");
    /// A kind that a server does not take.
    pub const COMMAND: Refusal = Refusal::new("INVALID_COMMAND", "Command not expected");
    /// OPTION_REQ other than `exceptions`.
    pub const OPTION: Refusal = Refusal::new("UNKNOWN_OPTION", "Server does not recognize given option");
    /// A unique id or reducer over the bound.
    pub const UNIQUE_TOO_LARGE: Refusal = Refusal::new("ARGUMENT_TOO_LARGE", "Unique value too large");
    /// A function name over the bound.
    pub const FUNCTION_TOO_LARGE: Refusal = Refusal::new("ARGUMENT_TOO_LARGE", "Function name too large");
    /// All fields before the payload together over 65,535 bytes.
    pub const NAMES_TOO_LARGE: Refusal =
        Refusal::new("ARGUMENT_TOO_LARGE", "Function, unique id and further fields too large");
    /// A body over the accepted size.
    pub const FRAME_TOO_LARGE: Refusal =
        Refusal::new("ARGUMENT_TOO_LARGE", "Packet larger than this server accepts");
    /// The limit that `maxqueue` set is reached. What else is full begins with these words, and says what it is.
    pub const QUEUE_FULL: Refusal = Refusal::new("QUEUE_ERROR", "Job queue is full");
    /// The memory for jobs is used up.
    pub const MEMORY_FULL: Refusal =
        Refusal::new("QUEUE_ERROR", "Job queue is full: the memory for jobs is used up");
    /// More functions than the server keeps.
    pub const TOO_MANY_FUNCTIONS: Refusal = Refusal::new("QUEUE_ERROR", "Too many functions");
    /// A recurring job is to become what another one is. No packet can ask for that.
    pub const SCHEDULE_EXISTS: Refusal =
        Refusal::new("INVALID_ARGUMENT", "Another schedule has this function and unique id");
    /// The disk is full.
    pub const DISK_FULL: Refusal = Refusal::new(
        "QUEUE_ERROR",
        "The server's disk is full: background jobs are refused until there is room",
    );
    /// The disk failed.
    pub const STORE_FAILED: Refusal = Refusal::new(
        "QUEUE_ERROR",
        "The server's store failed: background jobs are refused until it is restarted",
    );
    /// The server takes nothing new.
    pub const SHUTDOWN: Refusal = Refusal::new("SHUTDOWN", "Server is shutting down");

    const fn new(code: &'static str, text: &'static str) -> Refusal {
        Refusal { code, text: Cow::Borrowed(text) }
    }

    /// A body with fewer separators than its kind has arguments.
    pub fn too_short(kind: Kind) -> Refusal {
        let text = format!("{} needs {} arguments", kind.name(), kind.arguments());
        Refusal { code: "INVALID_PACKET", text: text.into() }
    }

    /// A bound that an operator set on what waits is reached: this one.
    pub fn queue_full(bound: impl Display) -> Refusal {
        let Refusal { code, text } = Refusal::QUEUE_FULL;
        Refusal { code, text: format!("{text}: {bound}").into() }
    }

    /// A field whose value makes no sense.
    pub fn invalid(why: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code: "INVALID_ARGUMENT", text: why.into() }
    }

    /// A WORK_* packet for a job that its sender does not hold.
    pub fn not_held(update: Update) -> Refusal {
        Refusal::new(
            "JOB_NOT_FOUND",
            match update {
                Update::Data | Update::Warning => "Job does not exist on server",
                Update::Status(_) | Update::Complete | Update::Fail => "Job given in work result not found",
                Update::Exception => "An exception was received for a job that does not exist",
            },
        )
    }
}

impl Request {
    /// Reads a packet. Whatever is wrong inside it becomes [`Request::Refused`], since its end is known.
    pub fn parse(frame: Frame) -> Request {
        Request::try_parse(frame).unwrap_or_else(Request::Refused)
    }

    fn try_parse(frame: Frame) -> Result<Request, Refusal> {
        let Frame { magic, kind, body } = frame;
        if magic == Magic::Response && !is_work(kind) {
            return Err(Refusal::MAGIC);
        }
        Ok(match kind {
            Kind::SubmitJob => submit(kind, body, Mode::Foreground, Priority::Normal)?,
            Kind::SubmitJobHigh => submit(kind, body, Mode::Foreground, Priority::High)?,
            Kind::SubmitJobLow => submit(kind, body, Mode::Foreground, Priority::Low)?,
            Kind::SubmitReduceJob => submit(kind, body, Mode::Foreground, Priority::Normal)?,
            Kind::SubmitJobBg => submit(kind, body, Mode::Background, Priority::Normal)?,
            Kind::SubmitJobHighBg => submit(kind, body, Mode::Background, Priority::High)?,
            Kind::SubmitJobLowBg => submit(kind, body, Mode::Background, Priority::Low)?,
            Kind::SubmitReduceJobBackground => submit(kind, body, Mode::Background, Priority::Normal)?,
            Kind::SubmitJobEpoch => submit_epoch(body)?,
            Kind::SubmitJobSched => submit_sched(body)?,
            Kind::GrabJob => Request::Grab(Flavor::Plain),
            Kind::GrabJobUniq => Request::Grab(Flavor::Unique),
            Kind::GrabJobAll => Request::Grab(Flavor::All),
            Kind::WorkData => work(Update::Data, body),
            Kind::WorkWarning => work(Update::Warning, body),
            Kind::WorkComplete => work(Update::Complete, body),
            Kind::WorkException => work(Update::Exception, body),
            Kind::WorkFail => work_fail(body),
            Kind::WorkStatus => work_status(body),
            Kind::CanDo => Request::CanDo { function: without_final_nul(body), timeout: None },
            Kind::CanDoTimeout => can_do_timeout(body),
            Kind::CantDo => Request::CantDo(without_final_nul(body)),
            Kind::ResetAbilities => Request::ResetAbilities,
            Kind::PreSleep => Request::PreSleep,
            Kind::GetStatus => Request::GetStatus(up_to_nul(body)),
            Kind::GetStatusUnique => Request::GetStatusUnique(body),
            Kind::OptionReq => Request::SetOption(body),
            Kind::SetClientId => Request::SetClientId(body),
            Kind::EchoReq => Request::Echo(body),
            Kind::Unused
            | Kind::Noop
            | Kind::JobCreated
            | Kind::NoJob
            | Kind::JobAssign
            | Kind::EchoRes
            | Kind::Error
            | Kind::StatusRes
            | Kind::AllYours
            | Kind::OptionRes
            | Kind::JobAssignUniq
            | Kind::JobAssignAll
            | Kind::StatusResUnique => return Err(Refusal::COMMAND),
        })
    }
}

/// The kinds that johnewart's Java workers send with response magic.
fn is_work(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::WorkStatus
            | Kind::WorkComplete
            | Kind::WorkFail
            | Kind::WorkException
            | Kind::WorkData
            | Kind::WorkWarning
    )
}

fn submit(kind: Kind, body: Bytes, mode: Mode, priority: Priority) -> Result<Request, Refusal> {
    let (spec, _) = Spec::parse(kind, body)?;
    Ok(Request::Submit(Submit { mode, priority, spec }))
}

fn submit_epoch(body: Bytes) -> Result<Request, Refusal> {
    let (spec, extras) = Spec::parse(Kind::SubmitJobEpoch, body)?;
    let seconds = extras.first().map_or(0, |text| leading_number(text));
    let mode = Mode::At(Timestamp::from_secs(seconds));
    Ok(Request::Submit(Submit { mode, priority: Priority::Normal, spec }))
}

fn submit_sched(body: Bytes) -> Result<Request, Refusal> {
    let (spec, extras) = Spec::parse(Kind::SubmitJobSched, body)?;
    let fields = extras.try_into().map_err(|_| Refusal::too_short(Kind::SubmitJobSched))?;
    Ok(Request::Submit(Submit { mode: Mode::Recurring(Box::new(fields)), priority: Priority::Normal, spec }))
}

/// Handle and data. Perl's and PHP's Net_Gearman workers leave the separator out when the data is empty.
fn work(update: Update, body: Bytes) -> Request {
    match argument(&body) {
        Some((_, handle)) => Request::Work(Work { update, handle_len: handle.len(), body }),
        None => Request::Work(Work { update, handle_len: body.len(), body: joined(&[&body, b""]) }),
    }
}

fn work_fail(body: Bytes) -> Request {
    let body = without_final_nul(body);
    Request::Work(Work { update: Update::Fail, handle_len: body.len(), body })
}

/// Handle, numerator, denominator. Perl's `set_status` with one argument leaves the denominator out.
fn work_status(body: Bytes) -> Request {
    let arguments: Vec<&[u8]> = body.splitn(3, |byte| *byte == 0).collect();
    let handle_len = arguments[0].len();
    let numerator = arguments.get(1).copied().unwrap_or(b"0");
    let denominator = arguments.get(2).copied().unwrap_or(b"0");
    let numbers =
        StatusNumbers { numerator: status_number(numerator), denominator: status_number(denominator) };
    let update = Update::Status(numbers);
    let body =
        if arguments.len() == 3 { body.clone() } else { joined(&[arguments[0], numerator, denominator]) };
    Request::Work(Work { update, handle_len, body })
}

/// Function and milliseconds as text. Other forms (no separator, a binary number) mean no time-out, since the
/// reference reads them so; 1 to 999 become 1000 as there.
fn can_do_timeout(body: Bytes) -> Request {
    let Some((text, function)) = argument(&body) else {
        return Request::CanDo { function: body, timeout: None };
    };
    let milliseconds = leading_number(text);
    let timeout = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.max(1000)));
    Request::CanDo { function: body.slice(..function.len()), timeout }
}

fn without_final_nul(body: Bytes) -> Bytes {
    match body.split_last() {
        Some((0, rest)) => body.slice(..rest.len()),
        _ => body,
    }
}

fn up_to_nul(body: Bytes) -> Bytes {
    match argument(&body) {
        Some((_, text)) => body.slice(..text.len()),
        None => body,
    }
}

fn joined(arguments: &[&[u8]]) -> Bytes {
    let mut body = BytesMut::with_capacity(arguments.iter().map(|argument| argument.len() + 1).sum());
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            body.extend_from_slice(b"\0");
        }
        body.extend_from_slice(argument);
    }
    body.freeze()
}

/// The number that a text begins with, after blanks; 0 if none or negative. Larger numbers saturate.
fn leading_number(text: &[u8]) -> u64 {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// A WORK_STATUS number as GET_STATUS shows it: what it begins with, saturating (reference, section 3.14).
fn status_number(text: &[u8]) -> u32 {
    u32::try_from(leading_number(text)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, body: &'static [u8]) -> Request {
        Request::parse(Frame { magic: Magic::Request, kind, body: Bytes::from_static(body) })
    }

    fn forwarded(kind: Kind, body: &'static [u8]) -> Bytes {
        match parse(kind, body) {
            Request::Work(work) => work.body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn results_without_a_separator_are_empty_results() {
        assert_eq!(forwarded(Kind::WorkComplete, b"H:x:1"), "H:x:1\0");
        assert_eq!(forwarded(Kind::WorkData, b"H:x:1\0"), "H:x:1\0");
        assert_eq!(forwarded(Kind::WorkStatus, b"H:x:1\x005"), "H:x:1\x005\x000");
        assert_eq!(forwarded(Kind::WorkFail, b"H:x:1\0"), "H:x:1");
    }

    #[test]
    fn status_numbers_are_what_the_text_begins_with() {
        let cases: [(&[u8], u32); 7] = [
            (b"007", 7),
            (b"abc", 0),
            (b"1.5", 1),
            (b" 5", 5),
            (b"6x", 6),
            (b"", 0),
            (b"99999999999999999999999", u32::MAX),
        ];
        for (text, number) in cases {
            assert_eq!(status_number(text), number, "{text:?}");
        }
    }

    #[test]
    fn time_outs_are_milliseconds_of_at_least_a_second() {
        let timeout = |body| match parse(Kind::CanDoTimeout, body) {
            Request::CanDo { timeout, function } => (timeout.map(|t| t.as_millis()), function),
            other => panic!("{other:?}"),
        };
        assert_eq!(timeout(b"f\x00300"), (Some(1000), Bytes::from_static(b"f")));
        assert_eq!(timeout(b"f\x002000").0, Some(2000));
        assert_eq!(timeout(b"f\x0099999999999999999999").0, Some(u128::from(u64::MAX)));
        for none in [&b"f\x000"[..], b"f\0", b"f\0-5", b"f", b"f\0\0\0\0\x05"] {
            assert_eq!(timeout(none), (None, Bytes::from_static(b"f")), "{none:?}");
        }
    }

    #[test]
    fn response_magic_is_taken_for_work_only() {
        let parse = |kind| {
            Request::parse(Frame { magic: Magic::Response, kind, body: Bytes::from_static(b"H:x:1\0") })
        };
        assert!(matches!(parse(Kind::WorkComplete), Request::Work(_)));
        assert_eq!(parse(Kind::EchoReq), Request::Refused(Refusal::MAGIC));
        assert_eq!(parse(Kind::GrabJob), Request::Refused(Refusal::MAGIC));
    }
}
