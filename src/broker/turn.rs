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

/// A batch was applied that sent something to these.
pub(super) fn note(outboxes: impl Iterator<Item = Arc<Outbox>>) {
    if !IS_SERVING.get() {
        outboxes.for_each(|outbox| outbox.attend());
        return;
    }
    let count = WAITING.with_borrow_mut(|waiting| {
        waiting.extend(outboxes);
        waiting.len()
    });
    BATCHES.set(BATCHES.get() + 1);
    if count >= MOST_OUTBOXES || (count > 0 && BATCHES.get() >= MOST_BATCHES) {
        end();
    }
}
