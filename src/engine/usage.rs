//! What all jobs together take.

use super::content::Content;
use super::job::Job;

/// The account of memory.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Bytes that all jobs and recurring jobs are accounted with.
    pub bytes: u64,
    /// Jobs whose payloads are on disk only.
    pub evicted: usize,
    /// Bytes of payload of all that wait.
    pub waiting_bytes: u64,
}

/// What waits, over all functions: queued, scheduled and held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Jobs.
    pub jobs: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Usage {
    pub fn add(&mut self, content: &Content) {
        self.bytes += Job::cost(content);
        self.evicted += usize::from(!content.is_whole());
    }

    pub fn remove(&mut self, content: &Content) {
        self.bytes -= Job::cost(content);
        self.evicted -= usize::from(!content.is_whole());
    }
}
