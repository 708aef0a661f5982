//! Cuts what a connection receives into requests, binary and text in any mix (reference, section 1.2).

use std::io;

use bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;

use super::{Admin, BadHeader, Frame, HEADER_LEN, Header, Refusal, Request};

/// The decoder of one connection.
#[derive(Debug)]
pub struct Codec {
    max_frame: u64,
    /// The header of a packet whose body is not complete yet; its bytes are consumed.
    header: Option<Header>,
    /// How much of an incomplete text line was already searched for its end.
    searched: usize,
}

/// After this nothing on the connection can be understood; it must be closed.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The peer does not speak the protocol.
    #[error(transparent)]
    Header(#[from] BadHeader),
    /// A body over the accepted size.
    #[error("a packet of {0} bytes is larger than this server accepts")]
    FrameTooLarge(u32),
    /// A text line without an end.
    #[error("a text line is longer than {} bytes", Admin::MAX_LINE)]
    LineTooLong,
    /// Reading failed; never returned by [`Codec`] itself.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Broken {
    /// What to tell the peer before its connection is closed.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Broken::FrameTooLarge(_) => Some(Refusal::FRAME_TOO_LARGE),
            Broken::Header(_) | Broken::LineTooLong | Broken::Io(_) => None,
        }
    }
}

impl Codec {
    /// A decoder that accepts bodies of up to `max_frame` bytes.
    pub fn new(max_frame: u64) -> Self {
        Self { max_frame, header: None, searched: 0 }
    }

    /// How many bytes more would complete the packet that was begun, given what is buffered; at least 1.
    pub fn missing(&self, buffered: usize) -> usize {
        let body_len = self.header.map_or(HEADER_LEN, |header| header.body_len as usize);
        body_len.saturating_sub(buffered).max(1)
    }

    /// Whether a packet or line was begun and is not complete.
    pub fn is_inside(&self, buffered: usize) -> bool {
        buffered > 0 || self.header.is_some()
    }

    fn binary(&mut self, bytes: &mut BytesMut) -> Result<Option<Request>, Broken> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(first) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
                let header = Header::parse(first)?;
                if u64::from(header.body_len) > self.max_frame {
                    return Err(Broken::FrameTooLarge(header.body_len));
                }
                bytes.advance(HEADER_LEN);
                header
            }
        };
        let body_len = header.body_len as usize;
        if bytes.len() < body_len {
            self.header = Some(header);
            return Ok(None);
        }
        self.header = None;
        let body = bytes.split_to(body_len).freeze();
        Ok(Some(Request::parse(Frame { magic: header.magic, kind: header.kind, body })))
    }

    fn text(&mut self, bytes: &mut BytesMut) -> Result<Option<Request>, Broken> {
        let Some(offset) = bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = bytes.len();
            return if bytes.len() > Admin::MAX_LINE { Err(Broken::LineTooLong) } else { Ok(None) };
        };
        let end = std::mem::take(&mut self.searched) + offset;
        if end > Admin::MAX_LINE {
            return Err(Broken::LineTooLong);
        }
        let mut line = bytes.split_to(end + 1).freeze();
        line.truncate(if line[..end].ends_with(b"\r") { end - 1 } else { end });
        Ok(Some(Request::Admin(Admin::parse(&line))))
    }
}

impl Decoder for Codec {
    type Item = Request;
    type Error = Broken;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Request>, Broken> {
        match (self.header, bytes.first()) {
            (None, None) => Ok(None),
            (Some(_), _) | (None, Some(0)) => self.binary(bytes),
            (None, Some(_)) => self.text(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Kind;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn decode_all(codec: &mut Codec, bytes: &mut BytesMut, into: &mut Vec<Request>) -> Result<(), String> {
        while let Some(request) = codec.decode(bytes).map_err(|broken| broken.to_string())? {
            into.push(request);
        }
        Ok(())
    }

    /// Decodes `input` in pieces that end where `cuts` say.
    fn decode_cut(input: &[u8], cuts: &[usize]) -> (Vec<Request>, Result<(), String>) {
        let (mut codec, mut bytes, mut requests) = (Codec::new(1 << 20), BytesMut::new(), Vec::new());
        let mut from = 0;
        for cut in cuts.iter().copied().chain([input.len()]) {
            bytes.extend_from_slice(&input[from..cut]);
            from = cut;
            if let Err(broken) = decode_all(&mut codec, &mut bytes, &mut requests) {
                return (requests, Err(broken));
            }
        }
        (requests, Ok(()))
    }

    fn dialogue() -> Vec<u8> {
        let mut bytes = BytesMut::new();
        Frame::request(Kind::SubmitJob, &[b"f", b"u", b"some payload"]).encode(&mut bytes);
        bytes.extend_from_slice(b"status\r\n\n");
        Frame::request(Kind::GrabJob, &[]).encode(&mut bytes);
        Frame::request(Kind::EchoReq, &[b"a\0b\n"]).encode(&mut bytes);
        bytes.extend_from_slice(b"maxqueue f 3\n");
        Frame::request(Kind::WorkStatus, &[b"H:x:1", b"1", b"2"]).encode(&mut bytes);
        bytes.to_vec()
    }

    #[test]
    fn a_dialogue_cut_at_any_byte_says_the_same() {
        let input = dialogue();
        let (whole, end) = decode_cut(&input, &[]);
        assert_eq!((whole.len(), end), (7, Ok(())));
        for cut in 0..input.len() {
            assert_eq!(decode_cut(&input, &[cut]).0, whole, "cut at {cut}");
        }
        assert_eq!(decode_cut(&input, &(0..input.len()).collect::<Vec<_>>()).0, whole);
    }

    #[test]
    fn only_the_claim_of_a_large_body_is_refused_not_waited_for() {
        let mut codec = Codec::new(100);
        let header = Header { magic: crate::protocol::Magic::Request, kind: Kind::EchoReq, body_len: 101 };
        let broken = codec.decode(&mut BytesMut::from(&header.to_bytes()[..])).unwrap_err();
        assert_eq!(broken.refusal(), Some(Refusal::FRAME_TOO_LARGE));
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut codec = Codec::new(100);
        let mut bytes = BytesMut::from(&vec![b'x'; Admin::MAX_LINE][..]);
        assert!(codec.decode(&mut bytes).unwrap().is_none());
        bytes.extend_from_slice(b"xx");
        assert!(matches!(codec.decode(&mut bytes), Err(Broken::LineTooLong)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_cuts_never_matter(
            input in prop::collection::vec(prop_oneof![Just(0_u8), Just(b'\n'), Just(b' '), any::<u8>()], 0..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(input.len() + 1);
            prop_assert_eq!(decode_cut(&input, &[]), decode_cut(&input, &[cut]));
        }

        #[test]
        fn any_body_of_any_kind_is_answered_or_understood(
            kind in prop::sample::select(Kind::ALL),
            body in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..80),
        ) {
            let mut bytes = BytesMut::new();
            let magic = crate::protocol::Magic::Request;
            Frame { magic, kind, body: Bytes::from(body) }.encode(&mut bytes);
            Frame::request(Kind::PreSleep, &[]).encode(&mut bytes);
            let (requests, end) = decode_cut(&bytes, &[]);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(requests.len(), 2);
            prop_assert_eq!(&requests[1], &Request::PreSleep);
        }
    }
}
