//! A scripted peer: one connection that says exactly what a test wants, and expects exactly what the test names.
//!
//! Everything received is kept in order until it is asked for, so a packet too many fails the next expectation.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{PATIENCE, kind, now, readable};

/// One connection to the server under test; client, worker and admin alike.
pub struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    closed: bool,
    echoes: u32,
}

/// One packet from the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u32,
    pub body: Vec<u8>,
}

/// A job as a worker is given it. What the form of the answer leaves out is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub handle: String,
    pub function: Vec<u8>,
    pub unique: Vec<u8>,
    pub reducer: Vec<u8>,
    pub data: Vec<u8>,
}

/// The answer to GET_STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub known: bool,
    pub running: bool,
    pub progress: (String, String),
}

impl Status {
    pub const UNKNOWN: (bool, bool) = (false, false);
    pub const WAITING: (bool, bool) = (true, false);
    pub const RUNNING: (bool, bool) = (true, true);

    /// Known and running, without the progress.
    pub fn state(&self) -> (bool, bool) {
        (self.known, self.running)
    }
}

/// Connecting and leaving.
impl Peer {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Peer {
        Peer::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Peer> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Peer { stream, unread: Vec::new(), closed: false, echoes: 0 })
    }

    /// Says goodbye and waits until the server has closed its side. Gearhouse has forgotten the connection by then.
    #[track_caller]
    pub fn leave(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = now() + PATIENCE;
        while !self.closed {
            self.receive_until(deadline, |peer| peer.closed);
            assert!(now() < deadline, "the server does not close a connection whose peer has left");
        }
        if std::env::var_os("GEARHOUSE_TEST_SERVER").is_some() {
            // gearmand forgets a moment after it has closed, and shows nobody when.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The underlying socket, for tests about sockets.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Sending.
impl Peer {
    /// Bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).unwrap_or_else(|error| panic!("cannot send {}: {error}", readable(bytes)));
    }

    /// Bytes as they are, to a server that may have closed the connection already.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// A packet whose arguments are joined by zero bytes.
    #[track_caller]
    pub fn send(&mut self, kind: u32, arguments: &[&[u8]]) {
        self.send_raw(&request(kind, &arguments.join(&0)));
    }

    /// An admin line, with whatever line end is in it.
    #[track_caller]
    pub fn send_text(&mut self, text: &str) {
        self.send_raw(text.as_bytes());
    }
}

/// Receiving.
impl Peer {
    /// The next packet, whatever it is.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.frame_within(PATIENCE)
    }

    /// The next packet, which must come in this time.
    #[track_caller]
    pub fn frame_within(&mut self, patience: Duration) -> Frame {
        let is_text = |peer: &Peer| peer.unread.first().is_some_and(|&first| first != 0);
        self.receive_until(now() + patience, |peer| is_text(peer) || whole_frame(&peer.unread).is_some());
        assert!(!is_text(self), "expected a packet, got {:?}", readable(&self.unread));
        let Some(length) = whole_frame(&self.unread) else {
            let state = if self.closed { "the connection was closed" } else { "nothing more came" };
            panic!("expected a packet, but {state} after {:?}", readable(&self.unread));
        };
        assert!(
            self.unread.starts_with(b"\0RES"),
            "expected response magic, got {:?}",
            readable(&self.unread)
        );
        let bytes: Vec<u8> = self.unread.drain(..length).collect();
        Frame { kind: number(&bytes[4..8]), body: bytes[12..].to_vec() }
    }

    /// The next packet is this one, byte for byte.
    #[track_caller]
    pub fn expect(&mut self, kind: u32, arguments: &[&[u8]]) {
        let expected = Frame { kind, body: arguments.join(&0) };
        let got = self.frame();
        assert!(got == expected, "expected {expected:?}, got {got:?}");
    }

    /// The next packet is an ERROR with this code.
    #[track_caller]
    pub fn expect_error(&mut self, code: &str) {
        let got = self.frame();
        let (found, text) = split_first(&got.body);
        let right = got.kind == kind::ERROR && found == code.as_bytes() && !text.is_empty();
        assert!(right, "expected ERROR {code} with a text, got {got:?}");
    }

    /// Nothing has been sent to this peer beyond what it has read: a round trip brings nothing but its echo.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        let echo = self.next_echo();
        self.send(kind::ECHO_REQ, &[&echo]);
        let got = self.frame();
        let expected = Frame { kind: kind::ECHO_RES, body: echo };
        assert!(got == expected, "expected nothing but the answer to an echo, got {got:?}");
    }

    /// Nothing arrives for this time, and the connection stays open. For what only time could bring.
    #[track_caller]
    pub fn expect_silence(&mut self, window: Duration) {
        self.receive_until(now() + window, |peer| !peer.unread.is_empty() || peer.closed);
        assert!(self.unread.is_empty(), "expected silence, got {:?}", readable(&self.unread));
        assert!(!self.closed, "expected silence, but the connection was closed");
    }

    /// The server closes the connection without sending anything further.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        self.receive_until(now() + PATIENCE, |peer| !peer.unread.is_empty() || peer.closed);
        assert!(self.unread.is_empty(), "expected a closed connection, got {:?}", readable(&self.unread));
        assert!(self.closed, "expected a closed connection, but it stays open");
    }

    /// Waits until the server has taken in all that this peer has sent. What else it answers stays to be read.
    #[track_caller]
    pub fn settle(&mut self) {
        let echo = self.next_echo();
        self.send(kind::ECHO_REQ, &[&echo]);
        let answer = packet(b"\0RES", kind::ECHO_RES, &echo);
        let found = |peer: &Peer| peer.unread.windows(answer.len()).position(|part| part == answer);
        self.receive_until(now() + PATIENCE, |peer| found(peer).is_some());
        let Some(at) = found(self) else {
            panic!("no answer to an echo after {:?}", readable(&self.unread));
        };
        self.unread.drain(at..at + answer.len());
    }

    /// Text until a line end, which is included.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.try_line(PATIENCE);
        line.unwrap_or_else(|| panic!("expected a line of text, got {:?}", readable(&self.unread)))
    }

    pub fn try_line(&mut self, patience: Duration) -> Option<String> {
        self.receive_until(now() + patience, |peer| peer.unread.contains(&b'\n'));
        let end = self.unread.iter().position(|&byte| byte == b'\n')?;
        Some(text(self.unread.drain(..=end).collect()))
    }

    /// Lines until a lone dot, which is included.
    #[track_caller]
    pub fn list(&mut self) -> String {
        let mut all = String::new();
        loop {
            let line = self.line();
            all.push_str(&line);
            if line == ".\n" {
                return all;
            }
        }
    }

    /// Reads until `enough`, the deadline, or the end of the connection.
    pub fn receive_until(&mut self, deadline: std::time::Instant, enough: impl Fn(&Peer) -> bool) {
        let mut chunk = vec![0; 64 << 10];
        while !enough(self) && !self.closed {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return;
            }
            self.stream.set_read_timeout(Some(left)).expect("a time that is not zero");
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset) => self.closed = true,
                Err(error) => panic!("cannot read: {error}"),
            }
        }
    }

    /// What has arrived and was not asked for yet.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes the first bytes of what has arrived.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        self.unread.drain(..length).collect()
    }

    /// Whether the server has closed the connection, as far as was read.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn next_echo(&mut self) -> Vec<u8> {
        self.echoes += 1;
        format!("round trip {}", self.echoes).into_bytes()
    }
}

/// What clients say.
impl Peer {
    /// SUBMIT_JOB; gives the handle.
    #[track_caller]
    pub fn submit(&mut self, function: &str, unique: &str, data: &[u8]) -> String {
        self.submit_as(kind::SUBMIT_JOB, function, unique, data)
    }

    /// SUBMIT_JOB_BG; gives the handle.
    #[track_caller]
    pub fn submit_bg(&mut self, function: &str, unique: &str, data: &[u8]) -> String {
        self.submit_as(kind::SUBMIT_JOB_BG, function, unique, data)
    }

    /// Any submit of three arguments; gives the handle.
    #[track_caller]
    pub fn submit_as(&mut self, kind: u32, function: &str, unique: &str, data: &[u8]) -> String {
        self.send(kind, &[function.as_bytes(), unique.as_bytes(), data]);
        self.created()
    }

    /// SUBMIT_JOB_EPOCH; gives the handle.
    #[track_caller]
    pub fn submit_at(&mut self, function: &str, unique: &str, seconds: &str, data: &[u8]) -> String {
        self.send(
            kind::SUBMIT_JOB_EPOCH,
            &[function.as_bytes(), unique.as_bytes(), seconds.as_bytes(), data],
        );
        self.created()
    }

    /// The next packet is a JOB_CREATED; gives the handle.
    #[track_caller]
    pub fn created(&mut self) -> String {
        let got = self.frame();
        assert!(got.kind == kind::JOB_CREATED, "expected JOB_CREATED, got {got:?}");
        text(got.body)
    }

    /// GET_STATUS.
    #[track_caller]
    pub fn status(&mut self, handle: &str) -> Status {
        self.send(kind::GET_STATUS, &[handle.as_bytes()]);
        let got = self.frame();
        let fields = fields(&got.body);
        assert!(got.kind == kind::STATUS_RES && fields.len() == 5, "expected STATUS_RES, got {got:?}");
        assert_eq!(fields[0], handle, "STATUS_RES names another job");
        status(&fields[1..])
    }

    /// GET_STATUS_UNIQUE; gives the status and the number of clients that wait.
    #[track_caller]
    pub fn status_unique(&mut self, unique: &str) -> (Status, String) {
        self.send(kind::GET_STATUS_UNIQUE, &[unique.as_bytes()]);
        let got = self.frame();
        let fields = fields(&got.body);
        let right = got.kind == kind::STATUS_RES_UNIQUE && fields.len() == 6;
        assert!(right, "expected STATUS_RES_UNIQUE, got {got:?}");
        assert_eq!(fields[0], unique, "STATUS_RES_UNIQUE names another unique id");
        (status(&fields[1..]), fields[5].clone())
    }

    #[track_caller]
    pub fn expect_complete(&mut self, handle: &str, data: &[u8]) {
        self.expect(kind::WORK_COMPLETE, &[handle.as_bytes(), data]);
    }

    #[track_caller]
    pub fn expect_data(&mut self, handle: &str, data: &[u8]) {
        self.expect(kind::WORK_DATA, &[handle.as_bytes(), data]);
    }

    #[track_caller]
    pub fn expect_fail(&mut self, handle: &str) {
        self.expect(kind::WORK_FAIL, &[handle.as_bytes()]);
    }
}

/// What workers say.
impl Peer {
    #[track_caller]
    pub fn can_do(&mut self, function: &str) {
        self.send(kind::CAN_DO, &[function.as_bytes()]);
    }

    #[track_caller]
    pub fn can_do_timeout(&mut self, function: &str, milliseconds: &str) {
        self.send(kind::CAN_DO_TIMEOUT, &[function.as_bytes(), milliseconds.as_bytes()]);
    }

    #[track_caller]
    pub fn cant_do(&mut self, function: &str) {
        self.send(kind::CANT_DO, &[function.as_bytes()]);
    }

    #[track_caller]
    pub fn reset_abilities(&mut self) {
        self.send(kind::RESET_ABILITIES, &[]);
    }

    /// PRE_SLEEP alone; a NOOP may follow.
    #[track_caller]
    pub fn pre_sleep(&mut self) {
        self.send(kind::PRE_SLEEP, &[]);
    }

    /// PRE_SLEEP when nothing waits: afterwards the server knows that this worker sleeps.
    #[track_caller]
    pub fn sleep(&mut self) {
        self.pre_sleep();
        self.expect_nothing();
    }

    #[track_caller]
    pub fn expect_noop(&mut self) {
        self.expect(kind::NOOP, &[]);
    }

    /// GRAB_JOB, with what came of it.
    #[track_caller]
    pub fn grab(&mut self) -> Option<Assigned> {
        self.grab_as(kind::GRAB_JOB)
    }

    /// Any form of GRAB_JOB, with what came of it.
    #[track_caller]
    pub fn grab_as(&mut self, kind: u32) -> Option<Assigned> {
        self.send(kind, &[]);
        self.assigned()
    }

    /// GRAB_JOB when a job must be there.
    #[track_caller]
    pub fn take_job(&mut self) -> Assigned {
        self.grab_as(kind::GRAB_JOB_UNIQ).expect("the worker got NO_JOB although a job waits")
    }

    /// The next packet answers a GRAB_JOB.
    #[track_caller]
    pub fn assigned(&mut self) -> Option<Assigned> {
        let got = self.frame();
        let count = match got.kind {
            kind::NO_JOB if got.body.is_empty() => return None,
            kind::JOB_ASSIGN => 3,
            kind::JOB_ASSIGN_UNIQ => 4,
            kind::JOB_ASSIGN_ALL => 5,
            _ => panic!("expected the answer to a GRAB_JOB, got {got:?}"),
        };
        let mut parts = got.body.splitn(count, |&byte| byte == 0).map(<[u8]>::to_vec);
        let mut part = || parts.next().unwrap_or_else(|| panic!("an argument is missing in {got:?}"));
        let (handle, function) = (text(part()), part());
        let unique = if count > 3 { part() } else { Vec::new() };
        let reducer = if count > 4 { part() } else { Vec::new() };
        Some(Assigned { handle, function, unique, reducer, data: part() })
    }

    #[track_caller]
    pub fn complete(&mut self, handle: &str, data: &[u8]) {
        self.send(kind::WORK_COMPLETE, &[handle.as_bytes(), data]);
    }

    #[track_caller]
    pub fn fail(&mut self, handle: &str) {
        self.send(kind::WORK_FAIL, &[handle.as_bytes()]);
    }

    #[track_caller]
    pub fn data(&mut self, handle: &str, data: &[u8]) {
        self.send(kind::WORK_DATA, &[handle.as_bytes(), data]);
    }

    #[track_caller]
    pub fn exception(&mut self, handle: &str, data: &[u8]) {
        self.send(kind::WORK_EXCEPTION, &[handle.as_bytes(), data]);
    }

    #[track_caller]
    pub fn progress(&mut self, handle: &str, numerator: &str, denominator: &str) {
        self.send(kind::WORK_STATUS, &[handle.as_bytes(), numerator.as_bytes(), denominator.as_bytes()]);
    }
}

/// What operators say.
impl Peer {
    /// One admin command without its line end; gives the whole reply.
    #[track_caller]
    pub fn admin(&mut self, command: &str) -> String {
        self.send_text(&format!("{command}\r\n"));
        self.reply()
    }

    /// The reply to an admin command: one line if it begins with OK or ERR, else lines up to a lone dot.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        let first = self.line();
        let single = first.starts_with("OK") || first.starts_with("ERR") || first == ".\n";
        if single { first } else { first + &self.list() }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} \"{}\"", kind::name(self.kind), readable(&self.body))
    }
}

/// A packet to the server, whole.
pub fn request(kind: u32, body: &[u8]) -> Vec<u8> {
    packet(b"\0REQ", kind, body)
}

/// A packet with any magic.
pub fn packet(magic: &[u8; 4], kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a body under 4 GiB");
    [magic, &kind.to_be_bytes(), &length.to_be_bytes(), body].concat()
}

/// The length of the first packet, header included, if all of it is there.
pub fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let length = 12 + number(bytes.get(8..12)?) as usize;
    (bytes.len() >= length).then_some(length)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the server sent text that is not UTF-8")
}

fn split_first(body: &[u8]) -> (&[u8], &[u8]) {
    let end = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
    (&body[..end], body.get(end + 1..).unwrap_or(&[]))
}

fn fields(body: &[u8]) -> Vec<String> {
    body.split(|&byte| byte == 0).map(|part| text(part.to_vec())).collect()
}

#[track_caller]
fn status(fields: &[String]) -> Status {
    let flag = |field: &str| match field {
        "0" => false,
        "1" => true,
        _ => panic!("a status flag must be 0 or 1: {fields:?}"),
    };
    let number = |field: &String| {
        assert!(field.parse::<u64>().is_ok(), "a status number must be decimal digits: {fields:?}");
        field.clone()
    };
    Status {
        known: flag(&fields[0]),
        running: flag(&fields[1]),
        progress: (number(&fields[2]), number(&fields[3])),
    }
}
