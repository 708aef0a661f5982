//! Bytes on their way out: small parts flattened, large bodies chained, so that one vectored write sends many packets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::LARGE;

/// Lines' memory that a thread keeps for the next line, and the most that one of them may have.
const SPARES: usize = 64;
const SPARE_BYTES: usize = 16 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A line of bytes to be written. Empty, it owns no memory.
#[derive(Debug, Default)]
pub struct WriteBuf {
    chain: VecDeque<Bytes>,
    tail: Vec<u8>,
    len: usize,
}

impl WriteBuf {
    /// Appends a copy of these bytes.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.put_slices([bytes]);
    }

    /// Appends copies of these, one after the other.
    pub fn put_slices<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let len = parts.iter().map(|part| part.len()).sum();
        self.begin();
        self.tail.reserve(len);
        for part in parts {
            self.tail.extend_from_slice(part);
        }
        self.len += len;
    }

    /// Appends these bytes, without a copy if they are many.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() <= LARGE {
            self.put_slice(bytes);
        } else {
            self.seal();
            self.chain.push_back(bytes.clone());
            self.len += bytes.len();
        }
    }

    /// Lines are short-lived and many: their memory goes from one to the next.
    fn begin(&mut self) {
        if self.tail.capacity() == 0
            && let Some(spare) = SPARE.with_borrow_mut(Vec::pop)
        {
            self.tail = spare;
        }
    }

    /// Moves everything in `other` to the end of this line.
    pub fn append(&mut self, other: &mut WriteBuf) {
        if self.len == 0 {
            std::mem::swap(self, other);
            return;
        }
        self.seal();
        self.chain.append(&mut other.chain);
        self.tail = std::mem::take(&mut other.tail);
        self.len += std::mem::take(&mut other.len);
    }

    /// The first parts of the line, so many bytes at most, for one write; returns how many parts. A payload's beginning goes
    /// with the names in front of it: GearmaNode reads 64 KiB at once, and loses the end of a packet of which fewer than 12
    /// bytes are left, as of 1 MiB and a byte that begins a read.
    pub fn chunks_within<'a>(&'a self, mut limit: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.chain.iter().map(|part| &part[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            let part = &part[..part.len().min(limit)];
            if part.is_empty() {
                break;
            }
            *slice = IoSlice::new(part);
            limit -= part.len();
            count += 1;
        }
        count
    }

    /// Bytes not yet written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives back what memory it holds; for a connection that falls silent.
    pub fn release(&mut self) {
        if self.len == 0 {
            let WriteBuf { mut tail, .. } = std::mem::take(self);
            tail.clear();
            if (1..=SPARE_BYTES).contains(&tail.capacity()) {
                SPARE.with_borrow_mut(|spare| {
                    if spare.len() < SPARES {
                        spare.push(tail)
                    }
                });
            }
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.chain.push_back(std::mem::take(&mut self.tail).into());
        }
    }
}

impl Buf for WriteBuf {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.chain.front().map_or(&self.tail, |first| first)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.chunks_within(usize::MAX, slices)
    }

    fn advance(&mut self, mut count: usize) {
        self.len = self.len.checked_sub(count).expect("a writer cannot have written more than it was given");
        while let Some(first) = self.chain.front_mut() {
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.chain.pop_front();
        }
        if count == self.tail.len() {
            // Keeps the memory for the next answers.
            self.tail.clear();
        } else if count > 0 {
            let mut rest = Bytes::from(std::mem::take(&mut self.tail));
            rest.advance(count);
            self.chain.push_back(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(parts in prop::collection::vec((prop_oneof![0_usize..9000, LARGE - 9..LARGE + 9], any::<bool>()), 0..12),
                                           steps in prop::collection::vec(1_usize..7000, 1..20)) {
            let (mut line, mut expected) = (WriteBuf::default(), Vec::new());
            for (index, (len, shared)) in parts.iter().enumerate() {
                let part = Bytes::from(vec![index as u8; *len]);
                if *shared { line.put_shared(&part) } else { line.put_slice(&part) }
                expected.extend_from_slice(&part);
            }
            let mut other = WriteBuf::default();
            other.put_slice(b"end");
            line.append(&mut other);
            expected.extend_from_slice(b"end");

            let mut written = Vec::new();
            let mut steps = steps.iter().cycle();
            while line.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 4];
                let taken = *steps.next().unwrap();
                let count = line.chunks_within(taken, &mut slices);
                let offered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                prop_assert!(!offered.is_empty() && offered.len() <= taken);
                prop_assert!(offered.len() == taken.min(line.len()) || count == slices.len());
                let taken = offered.len();
                written.extend_from_slice(&offered[..taken]);
                line.advance(taken);
            }
            prop_assert_eq!(written, expected);
            prop_assert!(line.is_empty());
        }
    }
}
