//! A small blocking connection to a job server: what `gearhouse submit`, `work` and `admin` speak through.
//!
//! It sends a packet or a text line and reads the next one. What the packets mean is the caller's business.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use crate::protocol::{BadHeader, Frame, HEADER_LEN, Header, Kind};

/// How long one address may take to answer a connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    timed_out: Arc<AtomicBool>,
}

/// Why there is no answer, or none to go on with.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection could not be made, or broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server ended the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The time set by [`Client::give_up_after`] is over.
    #[error("there was no answer in time")]
    TimedOut,
    /// More than fits into a packet.
    #[error("{0} bytes do not fit into one packet, which holds 4 GiB at most")]
    TooLarge(usize),
    /// The server does not speak the protocol.
    #[error("the server's answer makes no sense: {0}")]
    BadHeader(#[from] BadHeader),
    /// The server answered with an error: its explanation, and its word for it if it has one.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server answered something else than the question was about.
    #[error("the server answered {} where that makes no sense", .0.name())]
    Unexpected(Kind),
}

impl Client {
    /// Connects to the first of these addresses that answers.
    ///
    /// # Errors
    /// What the last address said.
    pub fn connect(addresses: &[SocketAddr]) -> Result<Client, ClientError> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
        for address in addresses {
            match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Client { stream: BufReader::new(stream), timed_out: Arc::default() });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure.into())
    }

    /// Ends the connection after this time, whatever it is doing then: reading and writing fail from there on
    /// with [`ClientError::TimedOut`].
    pub fn give_up_after(&self, time: Duration) -> io::Result<()> {
        let stream = self.handle()?;
        let timed_out = Arc::clone(&self.timed_out);
        thread::spawn(move || {
            thread::sleep(time);
            timed_out.store(true, Ordering::SeqCst);
            // Fails if the connection has ended by itself, which is as good.
            let _ = stream.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// A second handle on the connection, by which another thread can end it.
    pub fn handle(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    /// Sends a packet.
    pub fn send(&mut self, kind: Kind, arguments: &[&[u8]]) -> Result<(), ClientError> {
        let frame = Frame::request(kind, arguments);
        if u32::try_from(frame.body.len()).is_err() {
            return Err(ClientError::TooLarge(frame.body.len()));
        }
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.write(&bytes)
    }

    /// Reads the next packet, whatever it is.
    pub fn receive(&mut self) -> Result<Frame, ClientError> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).map_err(|error| self.broken(error))?;
        let Header { magic, kind, body_len } = Header::parse(&header)?;
        // Memory grows with what arrives, not with what is announced.
        let mut body = Vec::new();
        let read = (&mut self.stream).take(body_len.into()).read_to_end(&mut body);
        match read {
            Ok(length) if length == body_len as usize => Ok(Frame { magic, kind, body: body.into() }),
            Ok(_) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Sends a packet and reads the answer; an ERROR packet becomes an error.
    pub fn ask(&mut self, kind: Kind, arguments: &[&[u8]]) -> Result<Frame, ClientError> {
        self.send(kind, arguments)?;
        let frame = self.receive()?;
        match frame.kind {
            Kind::Error => Err(refused(&frame)),
            _ => Ok(frame),
        }
    }

    /// Sends a text command and reads its answer of one line, which is returned without its end.
    pub fn line(&mut self, command: &[u8]) -> Result<String, ClientError> {
        self.write(&[command, b"\n"].concat())?;
        let line = self.read_line()?;
        match refused_line(&line) {
            Some(error) => Err(error),
            None => Ok(line),
        }
    }

    /// Sends a text command and reads its answer, a list that ends with a lone dot.
    pub fn list(&mut self, command: &[u8]) -> Result<Vec<String>, ClientError> {
        let mut lines = vec![self.line(command)?];
        while lines.last().is_some_and(|line| line != ".") {
            lines.push(self.read_line()?);
        }
        lines.pop();
        Ok(lines)
    }

    fn read_line(&mut self) -> Result<String, ClientError> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(|error| self.broken(error))?;
        match line.strip_suffix(b"\n") {
            Some(line) => Ok(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()),
            None => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.stream.get_mut().write_all(bytes).map_err(|error| self.broken(error))
    }

    fn broken(&self, error: io::Error) -> ClientError {
        match error.kind() {
            _ if self.timed_out.load(Ordering::SeqCst) => ClientError::TimedOut,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                ClientError::Closed
            }
            _ => ClientError::Io(error),
        }
    }
}

/// What an ERROR packet says.
pub fn refused(frame: &Frame) -> ClientError {
    let mut arguments = frame.arguments().map(String::from_utf8_lossy);
    let (code, text) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    ClientError::Refused(format!("{text} ({code})"))
}

/// Lines that refuse begin with ERR; then come a code, a code and a text with pluses for blanks, or a plain text.
fn refused_line(line: &str) -> Option<ClientError> {
    let why = line.strip_prefix("ERR ")?;
    let is_code = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let (code, text) = why.split_once(' ').unwrap_or((why, ""));
    Some(ClientError::Refused(match text {
        "" if is_code(code) => format!("{} ({code})", code.replace('_', " ").to_lowercase()),
        _ if is_code(code) => format!("{} ({code})", text.replace('+', " ")),
        _ => why.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_all_kinds_are_shown_in_words() {
        let shown = |line| refused_line(line).map(|error| error.to_string());
        let refusal = |why: &str| Some(format!("the server refused: {why}"));
        assert_eq!(shown("ERR UNKNOWN_JOB"), refusal("unknown job (UNKNOWN_JOB)"));
        assert_eq!(shown("ERR NOT_ALLOWED from+here+only"), refusal("from here only (NOT_ALLOWED)"));
        assert_eq!(shown("ERR function not found"), refusal("function not found"));
        assert_eq!(shown("OK"), None);
        assert_eq!(shown("ERRATIC\t0\t0\t0"), None);
    }
}
