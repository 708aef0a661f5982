//! The end of a turn: what a thread's connections sent to each other is written once the thread has nothing else to do.
//!
//! A connection that is sent something by many others in one turn is written to once, and its task need not run. Threads
//! that do not serve connections write at once.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use crate::outbox::Outbox;

/// Outboxes that may wait for the end of a turn.
const MOST_OUTBOXES: usize = 64;

/// Batches that may be applied before what waits is written.
const MOST_BATCHES: u32 = 16;

/// What is read or written of a large packet before others have their turn: while others have small things to say, and
/// when they have been silent for a while.
const SHARE: usize = 64 * 1024;
const SHARE_AMONG_SILENT: usize = 256 * 1024;

/// Shares after the last batch for which others count as not silent.
const AWHILE: u32 = 32;

/// How long something long rests while others are heard: the shortest time that tokio's timers know.
const REST: Duration = Duration::from_millis(1);

thread_local! {
    static SHARES: Cell<u32> = const { Cell::new(0) };
    static IS_SERVING: Cell<bool> = const { Cell::new(false) };
    static WAITING: RefCell<Vec<Arc<Outbox>>> = const { RefCell::new(Vec::new()) };
    static BATCHES: Cell<u32> = const { Cell::new(0) };
}

/// This thread serves connections, and calls [`end`] whenever it has nothing else to do.
pub fn begin() {
    IS_SERVING.set(true);
}

/// Writes all that waits.
pub fn end() {
    BATCHES.set(0);
    // Taken out first: writing must not find the list in use.
    let mut waiting = WAITING.take();
    for outbox in waiting.drain(..) {
        outbox.attend();
    }
    WAITING.set(waiting);
}

/// How much of so many bytes may be read or written now. Then it is the turn of others whom the thread serves.
pub fn share(bytes: usize) -> usize {
    if bytes <= SHARE {
        return bytes;
    }
    bytes.min(if is_among_others() { SHARE } else { SHARE_AMONG_SILENT })
}

/// Whether others have said something lately, asked by who begins a share of something long.
pub fn is_among_others() -> bool {
    let shares = SHARES.get();
    SHARES.set(shares.saturating_add(1));
    shares < AWHILE
}

/// Lets others have their turn, in the middle of something long: this thread's connections, and other threads of the
/// machine, such as a client that was just answered and would else wait until the system takes the processor away.
pub async fn pass() {
    end();
    std::thread::yield_now();
    tokio::task::yield_now().await;
}

/// Leaves the processor to others for a while, in the middle of something long that can wait.
pub async fn rest() {
    tokio::time::sleep(REST).await;
}

/// This outbox was sent something. To be followed by [`end_batch`] when no lock is held.
pub(super) fn note(outbox: Arc<Outbox>) {
    WAITING.with_borrow_mut(|waiting| waiting.push(outbox));
}

/// A batch was applied.
pub(super) fn end_batch() {
    SHARES.set(0);
    BATCHES.set(BATCHES.get() + 1);
    let count = WAITING.with_borrow(Vec::len);
    let is_enough = count >= MOST_OUTBOXES || BATCHES.get() >= MOST_BATCHES || !IS_SERVING.get();
    if count > 0 && is_enough {
        end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_heard_for_a_while_after_a_batch() {
        for _ in 0..2 {
            end_batch();
            assert!((0..AWHILE).all(|_| is_among_others()));
            assert!(!is_among_others());
            assert_eq!(share(usize::MAX), SHARE_AMONG_SILENT);
        }
    }
}
