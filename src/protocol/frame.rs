//! One packet: a header of 12 bytes and a body (reference, section 1.1).

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::value;
use nom::number::complete::be_u32;
use nom::{IResult, Parser};

use super::Kind;

/// Bytes of a header: magic, kind and body length, four each.
pub const HEADER_LEN: usize = 12;

/// Bodies over so many bytes own their memory, and are shared from socket to socket. All others may lie in a buffer
/// with much else, and are copied when they are kept.
pub const LARGE: usize = 64 * 1024;

/// Which way a packet says that it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Magic {
    /// `\0REQ`: to the server.
    Request,
    /// `\0RES`: from the server.
    Response,
}

impl Magic {
    /// The four bytes on the wire.
    pub const fn bytes(self) -> &'static [u8; 4] {
        match self {
            Magic::Request => b"\0REQ",
            Magic::Response => b"\0RES",
        }
    }
}

/// The first 12 bytes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Direction as the sender states it.
    pub magic: Magic,
    /// What the packet is.
    pub kind: Kind,
    /// Body length in bytes, the header not counted: any 32-bit number.
    pub body_len: u32,
}

/// A header after which nothing on the connection can be trusted to be a packet boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadHeader {
    /// Neither `\0REQ` nor `\0RES`.
    #[error("a packet began with neither REQ nor RES magic")]
    Magic,
    /// A number that is no packet kind.
    #[error("packet kind {0} does not exist")]
    Kind(u32),
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Header, BadHeader> {
        let (_, (magic, number, body_len)) = fields(bytes).map_err(|_| BadHeader::Magic)?;
        let kind = Kind::from_number(number).ok_or(BadHeader::Kind(number))?;
        Ok(Header { magic, kind, body_len })
    }

    /// Writes the header.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(self.magic.bytes());
        bytes[4..8].copy_from_slice(&(self.kind as u32).to_be_bytes());
        bytes[8..].copy_from_slice(&self.body_len.to_be_bytes());
        bytes
    }
}

fn fields(input: &[u8]) -> IResult<&[u8], (Magic, u32, u32)> {
    let magic = alt((
        value(Magic::Request, tag(&Magic::Request.bytes()[..])),
        value(Magic::Response, tag(&Magic::Response.bytes()[..])),
    ));
    (magic, be_u32, be_u32).parse(input)
}

/// What follows, and one argument that a NUL byte ends; the NUL is in neither. `None` without one.
pub(super) fn argument(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(0, input)?;
    Some((&input[end + 1..], &input[..end]))
}

/// A whole packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Direction as the sender states it.
    pub magic: Magic,
    /// What the packet is.
    pub kind: Kind,
    /// All arguments as they were sent.
    pub body: Bytes,
}

impl Frame {
    /// A request from these arguments, joined by NUL bytes. At most 2^32-1 bytes in all.
    pub fn request(kind: Kind, arguments: &[&[u8]]) -> Frame {
        Frame { magic: Magic::Request, kind, body: arguments.join(&0).into() }
    }

    /// Appends header and body.
    pub fn encode(&self, into: &mut BytesMut) {
        // Longer bodies cannot be built: every path into a frame is bounded below 4 GiB.
        let body_len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        into.reserve(HEADER_LEN + self.body.len());
        into.put_slice(&Header { magic: self.magic, kind: self.kind, body_len }.to_bytes());
        into.put_slice(&self.body);
    }

    /// Cuts the next whole packet off; `None` if it has not come wholly.
    ///
    /// # Errors
    /// What comes next is no packet.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Frame>, BadHeader> {
        let Some(header) = input.first_chunk() else { return Ok(None) };
        let Header { magic, kind, body_len } = Header::parse(header)?;
        let length = HEADER_LEN + body_len as usize;
        if input.len() < length {
            return Ok(None);
        }
        let body = input.split_to(length).freeze().slice(HEADER_LEN..);
        Ok(Some(Frame { magic, kind, body }))
    }

    /// The arguments, as many as the kind has; the last one may contain NUL bytes. Fewer if separators are missing.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        let expected = self.kind.arguments();
        self.body.splitn(expected.max(1), |byte| *byte == 0).take(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written() {
        for kind in Kind::ALL {
            for magic in [Magic::Request, Magic::Response] {
                let header = Header { magic, kind: *kind, body_len: 0xfedc_ba98 };
                assert_eq!(Header::parse(&header.to_bytes()), Ok(header));
            }
        }
    }

    #[test]
    fn packets_are_cut_off_when_they_are_whole() {
        let mut bytes = BytesMut::new();
        let frame = Frame::request(Kind::EchoReq, &[b"hello"]);
        frame.encode(&mut bytes);
        let mut cut = bytes.split_off(bytes.len() - 1);
        assert_eq!(Frame::decode(&mut bytes), Ok(None));
        bytes.unsplit(cut.split());
        frame.encode(&mut bytes);
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame.clone())));
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame)));
        assert_eq!(Frame::decode(&mut bytes), Ok(None));
    }

    #[test]
    fn the_last_argument_keeps_its_nul_bytes() {
        let frame = Frame::request(Kind::SubmitJob, &[b"f", b"", b"a\0b"]);
        assert_eq!(frame.arguments().collect::<Vec<_>>(), [&b"f"[..], b"", b"a\0b"]);
    }
}
