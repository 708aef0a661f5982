//! What must hold for any input; shared by the fuzz targets and the replay of their corpus.

use bytes::{Bytes, BytesMut};
use gearhouse::protocol::{Admin, Codec, Request};
use tokio_util::codec::Decoder as _;

/// Any bytes are decoded without a panic, and to the same requests however they are cut.
pub fn decode(input: &[u8]) {
    let whole = decoded(input, input.len());
    for piece in [1, 7] {
        assert_eq!(decoded(input, piece), whole, "in pieces of {piece}");
    }
}

/// The requests in `input`, received in pieces of so many bytes, and whether the connection is still understood.
fn decoded(input: &[u8], piece: usize) -> (Vec<Request>, bool) {
    let (mut codec, mut bytes, mut requests) = (Codec::new(1 << 16), BytesMut::new(), Vec::new());
    for part in input.chunks(piece.max(1)) {
        bytes.extend_from_slice(part);
        loop {
            match codec.decode(&mut bytes) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(_) => return (requests, false),
            }
        }
    }
    (requests, true)
}

/// Any line is parsed without a panic, and blanks at its end change nothing.
pub fn admin_line(line: &[u8]) {
    let padded = [line, b"  "].concat();
    assert_eq!(Admin::parse(&Bytes::from(padded)), Admin::parse(&Bytes::copy_from_slice(line)));
}
