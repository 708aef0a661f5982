//! What a connection has read and not yet understood. One that waits owns no memory for it: reads go into a buffer of
//! the thread, which a connection has from a read until all that came whole is carried out.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::broker::turn;
use crate::protocol::LARGE;

/// What one read takes at most, and what a thread keeps for it. Nothing that lies in a thread's buffer is kept for
/// long, since all that is kept and not [`LARGE`] is copied.
pub(super) const READ: usize = LARGE;

/// Memory is taken for no more than so many times what has come of a large packet. What was announced and does not come
/// is memory that is never touched.
const GROWTH: usize = 8;

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
    pub fn read<S>(&mut self, io: &mut S, missing: usize) -> impl Future<Output = io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        // Keeps nothing from one poll to the next.
        poll_fn(move |context| {
            // The end of a large packet, too, and nothing behind it: all of it would have to move to make room.
            if missing > READ || self.bytes.len() > READ {
                self.bytes.reserve(room(self.bytes.len(), missing));
                return pin!(io.read_buf(&mut (&mut self.bytes).limit(turn::share(missing)))).poll(context);
            }
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

/// For how much more of a packet to have memory, when so many bytes of it are here and so many are missing. Counted from
/// its end, so that what is moved when memory grows is a seventh of it, and never most of it.
fn room(here: usize, missing: usize) -> usize {
    let mut size = here + missing;
    while size > here.max(READ) * GROWTH {
        size = size.div_ceil(GROWTH);
    }
    size - here
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

    #[tokio::test]
    async fn a_large_packet_is_not_moved_for_what_comes_behind_it() {
        let sent = vec![b'x'; 3 * READ];
        let mut wire = &sent[..];
        let mut input = Input::default();
        let large = 2 * READ + 9;
        while input.bytes.len() < large {
            input.read(&mut wire, large - input.bytes.len()).await.unwrap();
        }
        assert_eq!(input.bytes.len(), large);
    }

    #[test]
    fn memory_grows_with_what_has_come_and_little_is_moved_for_it() {
        for size in [READ + 1, 1 << 20, (1 << 20) + 1, 100 << 20, u32::MAX as usize] {
            let (mut here, mut moved) = (READ, 0);
            while here < size {
                let grown = here + room(here, size - here);
                assert!(here < grown && grown <= size.min(here * GROWTH), "{grown} for {here} of {size}");
                moved += here;
                here = grown;
            }
            assert!(moved <= size / (GROWTH - 1) + READ + GROWTH, "{moved} bytes of {size} are moved");
        }
    }
}
