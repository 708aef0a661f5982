//! Reading without a buffer for each connection that waits: an idle connection owns no memory here.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// What one read takes at most, and what a thread keeps for it.
pub(super) const READ: usize = 64 * 1024;

/// What is read or written of a large packet in one go: then it is the turn of others whom the thread serves.
pub(super) const SHARE: usize = 256 * 1024;

/// Memory is taken for no more than so many times what has come of a large packet. What was announced and does not come
/// is memory that is never touched.
const GROWTH: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Appends what the peer sent. `missing`: how many bytes the packet that was begun lacks at least; they are read
/// in place when they are many, and memory grows with what has come, not with what was announced.
///
/// Returns 0 when the peer sends no more. Nothing is lost if this is cancelled.
pub(super) fn read_some<S>(
    io: &mut S,
    into: &mut BytesMut,
    missing: usize,
) -> impl Future<Output = io::Result<usize>>
where
    S: AsyncRead + Unpin,
{
    poll_fn(move |context| {
        if missing > READ {
            into.reserve(room(into.len(), missing));
            // Keeps nothing from one poll to the next.
            return pin!(io.read_buf(&mut into.limit(SHARE))).poll(context);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(&mut *io).poll_read(context, &mut buf) {
                Poll::Ready(Ok(())) => {
                    into.extend_from_slice(buf.filled());
                    Poll::Ready(Ok(buf.filled().len()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
    })
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

#[cfg(test)]
mod tests {
    use super::*;

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
