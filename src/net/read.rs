//! Reading without a buffer for each connection that waits: an idle connection owns no memory here.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// What one read takes at most, and what a thread keeps for it.
const READ: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Appends what the peer sent. `missing`: how many bytes the packet that was begun lacks at least; they are read
/// in place when they are many, and memory grows with what has come, not with what was announced.
///
/// Returns 0 when the peer sends no more. Nothing is lost if this is cancelled.
pub(super) async fn read_some<S>(io: &mut S, into: &mut BytesMut, missing: usize) -> io::Result<usize>
where
    S: AsyncRead + Unpin,
{
    if missing > READ {
        into.reserve(missing.min(into.len().max(READ)));
        return io.read_buf(into).await;
    }
    poll_fn(|context| {
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
    .await
}
