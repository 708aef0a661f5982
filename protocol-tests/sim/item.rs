//! What the server sends, as a peer reads it: packets and lines. Written apart from the server's own code, so that
//! the two can disagree.

use std::fmt;

use bytes::{Buf, Bytes};
use gearhouse::protocol::Kind;

use super::trace::shown;

/// One packet or one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Packet {
        kind: Kind,
        body: Bytes,
    },
    /// Its end included.
    Line(Bytes),
}

impl Item {
    /// Cuts off the first item.
    pub fn first(bytes: &mut Bytes) -> Item {
        if bytes[0] != 0 {
            let end = bytes.iter().position(|byte| *byte == b'\n').expect("text comes in whole lines");
            return Item::Line(bytes.split_to(end + 1));
        }
        assert!(bytes.len() >= 12, "a packet begins with a whole header: {}", shown(bytes));
        assert_eq!(&bytes[..4], b"\0RES", "the server sends response magic");
        bytes.advance(4);
        let number = bytes.get_u32();
        let len = bytes.get_u32() as usize;
        assert!(len <= bytes.len(), "{number}: a body of {len} bytes is whole");
        let kind = Kind::from_number(number).expect("the server sends known kinds");
        Item::Packet { kind, body: bytes.split_to(len) }
    }

    /// All items in these bytes.
    pub fn all(mut bytes: Bytes) -> Vec<Item> {
        let mut items = Vec::new();
        while !bytes.is_empty() {
            items.push(Item::first(&mut bytes));
        }
        items
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Packet { kind, body } if body.is_empty() => f.write_str(kind.name()),
            Item::Packet { kind, body } => write!(f, "{} {}", kind.name(), shown(body)),
            Item::Line(line) => write!(f, "text {}", shown(line)),
        }
    }
}

/// A body up to its first NUL, and what follows it.
pub fn first_argument(body: &Bytes) -> (Bytes, Bytes) {
    match body.iter().position(|byte| *byte == 0) {
        Some(end) => (body.slice(..end), body.slice(end + 1..)),
        None => (body.clone(), Bytes::new()),
    }
}
