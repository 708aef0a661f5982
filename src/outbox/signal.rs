//! A sign for one task: set by anyone, seen once. Cheaper for a task that is polled often than a queue of waiters.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

#[derive(Debug, Default)]
pub(super) struct Signal {
    is_set: AtomicBool,
    task: AtomicWaker,
}

impl Signal {
    /// Sets the sign and wakes the task that waits for it, if one does.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Waits until the sign is set, and takes it down. One task at a time.
    pub fn seen(&self) -> impl Future<Output = ()> {
        poll_fn(|context| {
            self.task.register(context.waker());
            // Looked at after the task is known: who sets it in between finds whom to wake.
            if self.is_set.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}
