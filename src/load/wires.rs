//! Many connections in one thread: what is to be sent gathers until the next turn, and leaves in one write each.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use super::LoadError;
use crate::client::ClientError;

/// How much one read takes at most.
const READ: usize = 256 * 1024;

/// How many connections are served in one turn at most.
const EVENTS: usize = 1024;

#[derive(Debug)]
pub(super) struct Wires {
    poll: Poll,
    events: Events,
    wires: Vec<Wire>,
    /// Numbers of those with something to send.
    dirty: Vec<usize>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    /// Part of a packet whose rest has not come.
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of the output was sent.
    sent: usize,
    is_dirty: bool,
}

impl Wires {
    pub fn new() -> io::Result<Wires> {
        Ok(Wires {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            wires: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; READ],
        })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Connects to the first address that answers. The number of the connection, counted from 0.
    pub fn connect(&mut self, addresses: &[SocketAddr]) -> Result<usize, LoadError> {
        let stream = std::net::TcpStream::connect(addresses).map_err(LoadError::Connect)?;
        self.add(stream).map_err(LoadError::Broken)
    }

    fn add(&mut self, stream: std::net::TcpStream) -> io::Result<usize> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let number = self.wires.len();
        self.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        self.wires.push(Wire { stream, input: Vec::new(), output: Vec::new(), sent: 0, is_dirty: false });
        Ok(number)
    }

    /// Where to put what is to be sent.
    pub fn output(&mut self, number: usize) -> &mut Vec<u8> {
        let wire = &mut self.wires[number];
        if !wire.is_dirty {
            wire.is_dirty = true;
            self.dirty.push(number);
        }
        &mut wire.output
    }

    /// Sends, waits at most so long for what comes, and has it received: told the connection's number, the bytes and
    /// where to put answers, `receive` returns how many bytes it understood.
    pub fn turn(
        &mut self,
        patience: Duration,
        mut receive: impl FnMut(usize, &[u8], &mut Vec<u8>) -> Result<usize, LoadError>,
    ) -> Result<(), LoadError> {
        self.flush()?;
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(LoadError::Broken(error)),
            _ => {}
        }
        for event in &self.events {
            let Token(number) = event.token();
            let Some(wire) = self.wires.get_mut(number) else { continue };
            if event.is_readable() {
                wire.read(&mut self.scratch, |bytes, out| receive(number, bytes, out))?;
            }
            if !wire.output.is_empty() && !wire.is_dirty {
                wire.is_dirty = true;
                self.dirty.push(number);
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), LoadError> {
        // Those that were read last are written first. The order decides whether a worker's GRAB_JOB finds the next
        // client's job in the queue already: the other order makes more workers sleep, on every server.
        for number in self.dirty.drain(..).rev() {
            let wire = &mut self.wires[number];
            wire.is_dirty = false;
            wire.flush()?;
        }
        Ok(())
    }
}

impl Wire {
    fn read(
        &mut self,
        scratch: &mut [u8],
        mut receive: impl FnMut(&[u8], &mut Vec<u8>) -> Result<usize, LoadError>,
    ) -> Result<(), LoadError> {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err(ClientError::Closed.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LoadError::Broken(error)),
            };
            self.input.extend_from_slice(&scratch[..count]);
            let understood = receive(&self.input, &mut self.output)?;
            self.input.drain(..understood);
            // Less than was asked for is all there was: epoll tells of what comes later.
            if count < scratch.len() {
                return Ok(());
            }
        }
    }

    /// Sends what the socket takes; epoll tells when it takes more.
    fn flush(&mut self) -> Result<(), LoadError> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LoadError::Broken(error)),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }
}
