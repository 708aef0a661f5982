//! A connection whose server may be gone at any moment.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::kind;
use crate::support::peer::{Assigned, Frame, whole_frame};

pub struct Conn {
    stream: TcpStream,
    unread: Vec<u8>,
    taken: usize,
}

/// What came of reading.
pub enum Got<T> {
    It(T),
    /// Nothing came in the time.
    Silence,
    /// The server is gone.
    Gone,
}

impl Conn {
    pub fn open(address: SocketAddr) -> Option<Conn> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        // A server that neither answers nor ends is a fault, and must not be waited for without end.
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Conn { stream, unread: Vec::new(), taken: 0 })
    }

    /// Whether the server was still there.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next packet; a server that is there must answer.
    pub fn frame(&mut self) -> Option<Frame> {
        match self.frame_within(PATIENCE) {
            Got::It(frame) => Some(frame),
            Got::Gone => None,
            Got::Silence => panic!("the server is there but does not answer for {PATIENCE:?}"),
        }
    }

    pub fn frame_within(&mut self, time: Duration) -> Got<Frame> {
        self.next_within(time, |unread| {
            let length = whole_frame(unread)?;
            let number =
                |at: usize| u32::from_be_bytes([unread[at], unread[at + 1], unread[at + 2], unread[at + 3]]);
            Some((Frame { kind: number(4), body: unread[12..length].to_vec() }, length))
        })
    }

    /// The next line of text, without its end.
    pub fn line(&mut self) -> Option<String> {
        let line = self.next_within(PATIENCE, |unread| {
            let end = unread.iter().position(|byte| *byte == b'\n')?;
            Some((String::from_utf8_lossy(&unread[..end]).trim_end().to_owned(), end + 1))
        });
        match line {
            Got::It(line) => Some(line),
            Got::Gone => None,
            Got::Silence => panic!("the server is there but does not answer for {PATIENCE:?}"),
        }
    }

    fn next_within<T>(&mut self, time: Duration, find: impl Fn(&[u8]) -> Option<(T, usize)>) -> Got<T> {
        loop {
            if let Some((found, length)) = find(&self.unread[self.taken..]) {
                self.taken += length;
                return Got::It(found);
            }
            self.unread.drain(..self.taken);
            self.taken = 0;
            let mut chunk = [0; 16 << 10];
            if self.stream.set_read_timeout(Some(time)).is_err() {
                return Got::Gone;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Got::Gone,
                Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Got::Silence;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Got::Gone,
            }
        }
    }
}

/// The number in a handle.
pub fn number(handle: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(handle);
    let digits = text.rsplit(':').next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("a handle that ends in no number: {text}"))
}

/// A job as it was handed out in answer to GRAB_JOB_ALL.
pub fn assigned(frame: &Frame) -> Assigned {
    let count = if frame.kind == kind::JOB_ASSIGN_ALL { 5 } else { 4 };
    let parts: Vec<&[u8]> = frame.body.splitn(count, |byte| *byte == 0).collect();
    assert!(parts.len() == count, "an argument is missing in {frame:?}");
    let handle = String::from_utf8_lossy(parts[0]).into_owned();
    let part = |index: usize| parts[index].to_vec();
    let reducer = if count == 5 { part(3) } else { Vec::new() };
    Assigned { handle, function: part(1), unique: part(2), reducer, data: part(count - 1) }
}
