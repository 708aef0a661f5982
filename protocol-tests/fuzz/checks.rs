//! What must hold for any bytes that a peer may send. The fuzz targets call these, and so does the plain test run.
#![allow(dead_code, reason = "each fuzz target calls one of these")]

use bytes::{Buf as _, Bytes, BytesMut};
use gearhouse::engine::{Drain, Engine, Load, Output, Record, Seed, Settings};
use gearhouse::protocol::{
    Admin, Codec, Flavor, Frame, HEADER_LEN, Header, Kind, Magic, Refusal, Request, Response, WriteBuf,
};
use gearhouse::types::{ConnId, JobId, RecordNo, Timestamp};
use tokio_util::codec::Decoder as _;

const MAX_FRAME: u64 = 1 << 16;

const CONN: ConnId = ConnId(1);

/// A connection's bytes: where they are cut changes nothing.
pub fn decode(input: &[u8]) {
    let whole = decoded(input, input.len());
    for piece in [1, 7] {
        assert_eq!(decoded(input, piece), whole, "in pieces of {piece}");
    }
}

/// A packet of any kind with any body: it is understood or refused, whatever it is; the server answers with whole
/// packets and stays sound; and what it forwards means the same when it is sent again.
///
/// The first byte says of what kind, its top bit with which magic.
pub fn request(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let kind = Kind::ALL[usize::from(first & 0x7f) % Kind::ALL.len()];
    let magic = if first & 0x80 == 0 { Magic::Request } else { Magic::Response };
    let request = Request::parse(Frame { magic, kind, body: Bytes::copy_from_slice(body) });
    match &request {
        Request::Submit(submit) => {
            let spec = &submit.spec;
            assert!(body.starts_with(spec.function()) && body.ends_with(spec.payload()));
            assert!(!spec.function().contains(&0) && !spec.unique().contains(&0));
        }
        Request::Work(work) if !work.handle().contains(&0) => {
            let again = Frame { magic: Magic::Request, kind: work.kind(), body: work.body.clone() };
            assert_eq!(Request::parse(again), request, "what is forwarded means the same");
        }
        _ => {}
    }
    let answers = House::new().applies(request);
    let mut left = &answers[..];
    while let Some((header, rest)) = left.split_first_chunk::<HEADER_LEN>() {
        let header = Header::parse(header).expect("an answer has a known kind");
        assert_eq!(header.magic, Magic::Response);
        left = rest.get(header.body_len as usize..).expect("an answer is a whole packet");
    }
    assert!(left.is_empty(), "answers are whole packets");
}

/// A line of text: blanks at its end and the form of its end change nothing; the answer is whole lines.
pub fn admin_line(input: &[u8]) {
    let line = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    let admin = Admin::parse(&line);
    let padded = [&line, &b"  "[..]].concat().into();
    assert_eq!(Admin::parse(&padded), admin, "blanks at the end change nothing");
    if line.first().is_some_and(|byte| *byte != 0) && line.len() < Admin::MAX_LINE {
        for end in [&b"\n"[..], b"\r\n"] {
            let sent = [&line[..], end].concat();
            let (requests, _, rest) = decoded(&sent, sent.len());
            assert_eq!((requests, rest), (vec![Request::Admin(admin.clone())], 0), "one line is one request");
        }
    }
    let answer = House::new().applies(Request::Admin(admin.clone()));
    assert!(answer.ends_with(b"\n"), "an answer is whole lines");
    assert!(!matches!(admin, Admin::List(_)) || answer == b".\n" || answer.ends_with(b"\n.\n"));
}

/// All requests in pieces of so many bytes, why it ended, and how many bytes are left.
fn decoded(bytes: &[u8], piece: usize) -> (Vec<Request>, Option<String>, usize) {
    let (mut codec, mut input, mut requests) = (Codec::new(MAX_FRAME), BytesMut::new(), Vec::new());
    for part in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(part);
        loop {
            match codec.decode(&mut input) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                // How much of what follows was read already is not the same for all cuts, and no matter.
                Err(broken) => return (requests, Some(broken.to_string()), 0),
            }
        }
        assert!(codec.missing(input.len()) > 0 && (codec.is_inside(input.len()) || input.is_empty()));
    }
    (requests, None, input.len())
}

/// A server with one job at work and one queued.
struct House {
    engine: Engine,
    answers: Answers,
}

#[derive(Default)]
struct Answers(WriteBuf);

impl House {
    fn new() -> Self {
        let settings = Settings { handle_prefix: "H".into(), ..Settings::default() };
        let mut house = Self {
            engine: Engine::new(settings, Seed { first_job: JobId(1), hash: 7 }),
            answers: Answers::default(),
        };
        house.engine.connect(CONN, std::net::Ipv4Addr::LOCALHOST.into());
        let submit = |unique: &[u8]| Request::parse(Frame::request(Kind::SubmitJob, &[b"f", unique, b"x"]));
        let can_do = Request::CanDo { function: Bytes::from_static(b"f"), timeout: None };
        for request in [submit(b"u"), submit(b"v"), can_do, Request::Grab(Flavor::All)] {
            house.applies(request);
        }
        house
    }

    /// What is answered.
    fn applies(&mut self, request: Request) -> Vec<u8> {
        self.engine.apply(Timestamp::from_secs(1_800_000_000), CONN, request, &mut self.answers);
        self.engine.check();
        let mut answers = std::mem::take(&mut self.answers.0);
        let len = answers.remaining();
        answers.copy_to_bytes(len).to_vec()
    }
}

impl Output for Answers {
    fn persist(&mut self, _: Record<'_>) -> Result<RecordNo, Refusal> {
        Ok(RecordNo::NONE)
    }

    fn send(&mut self, _: ConnId, _: RecordNo, response: Response<'_>) {
        let before = self.0.len();
        response.encode(&mut self.0);
        assert!(self.0.len() > before, "an answer says something");
    }

    fn hold(&mut self, _: ConnId, _: RecordNo, _: JobId) {}

    fn fill(&mut self, _: ConnId, _: JobId, _: Response<'_>) {}

    fn load(&mut self, _: Load) {}

    fn close(&mut self, _: ConnId, _: &'static str) {}

    fn shutdown(&mut self, _: Drain) {}
}
