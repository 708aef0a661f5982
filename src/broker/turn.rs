//! The end of a turn: what a thread's connections sent to each other is written once the thread has nothing else to do.
//!
//! A connection that is sent something by many others in one turn is written to once, and its task need not run. Threads
//! that do not serve connections write at once.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::outbox::Outbox;

/// Outboxes that may wait for the end of a turn.
const MOST_OUTBOXES: usize = 64;

/// Batches that may be applied before what waits is written.
const MOST_BATCHES: u32 = 16;

thread_local! {
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

/// This outbox was sent something. To be followed by [`end_batch`] when no lock is held.
pub(super) fn note(outbox: Arc<Outbox>) {
    WAITING.with_borrow_mut(|waiting| waiting.push(outbox));
}

/// A batch was applied.
pub(super) fn end_batch() {
    BATCHES.set(BATCHES.get() + 1);
    let count = WAITING.with_borrow(Vec::len);
    let is_enough = count >= MOST_OUTBOXES || BATCHES.get() >= MOST_BATCHES || !IS_SERVING.get();
    if count > 0 && is_enough {
        end();
    }
}
