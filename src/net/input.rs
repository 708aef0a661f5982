//! What a connection has read and not yet understood. One that waits owns no memory for it: reads go into a buffer of
//! the thread, which a connection has from a read until all that came whole is carried out.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::LARGE;

/// What one read takes at most, and what a thread keeps for it. Nothing that lies in a thread's buffer is kept for
/// long, since all that is kept and not [`LARGE`] is copied.
const READ: usize = LARGE;

thread_local! {
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// The bytes that were read.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub bytes: BytesMut,
    /// `bytes` is the thread's buffer.
    is_lent: bool,
}

impl Input {
    /// Appends what the peer sent. `missing`: how many bytes the packet that was begun lacks at least; they are read
    /// in place when they are many, and memory grows with what has come, not with what was announced.
    ///
    /// Returns 0 when the peer sends no more. Nothing is lost if this is cancelled.
    pub async fn read<S>(&mut self, io: &mut S, missing: usize) -> io::Result<usize>
    where
        S: AsyncRead + Unpin,
    {
        if missing > READ {
            self.bytes.reserve(missing.min(self.bytes.len().max(READ)));
            return io.read_buf(&mut self.bytes).await;
        }
        poll_fn(|context| {
            let mut buffer = SPARE.take().unwrap_or_default();
            buffer.reserve(READ);
            let read = pin!(io.read_buf(&mut (&mut buffer).limit(READ))).poll(context);
            if let Poll::Ready(Ok(1..)) = read {
                if self.bytes.is_empty() {
                    self.bytes = std::mem::take(&mut buffer);
                    self.is_lent = true;
                } else {
                    self.bytes.extend_from_slice(&buffer);
                }
            }
            give_back(buffer);
            read
        })
        .await
    }

    /// To be called when all that came whole is carried out: what is left is kept, the memory around it is not.
    pub fn settle(&mut self) {
        if self.is_lent || self.bytes.is_empty() {
            let rest = BytesMut::from(&self.bytes[..]);
            let buffer = std::mem::replace(&mut self.bytes, rest);
            if std::mem::take(&mut self.is_lent) {
                give_back(buffer);
            }
        }
    }
}

impl From<BytesMut> for Input {
    fn from(bytes: BytesMut) -> Self {
        Self { bytes, is_lent: false }
    }
}

fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    SPARE.set(Some(buffer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_waits_owns_no_memory_and_the_next_read_takes_the_same_buffer() {
        let mut input = Input::default();
        for _ in 0..3 {
            assert_eq!(input.read(&mut &b"packet"[..], 1).await.unwrap(), 6);
            let place = input.bytes.as_ptr();
            let packet = input.bytes.split_to(6);
            assert_eq!((&packet[..], packet.as_ptr()), (&b"packet"[..], place));
            drop(packet);
            input.settle();
            assert_eq!(input.bytes.capacity(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_left_is_kept_and_what_comes_is_put_behind_it() {
        let mut input = Input::default();
        input.read(&mut &b"whole par"[..], 1).await.unwrap();
        drop(input.bytes.split_to(6));
        input.settle();
        assert!(input.bytes.capacity() < 100, "it does not hold the thread's buffer");
        input.read(&mut &b"tial"[..], 4).await.unwrap();
        assert_eq!(&input.bytes[..], b"partial");
        input.settle();
        assert_eq!(&input.bytes[..], b"partial");
    }
}
