//! Functions as rows, with their counts.

use bytes::Bytes;

use super::{Bounds, Piece, is_visible};
use crate::engine::function::Function;
use crate::engine::job::Job;
use crate::engine::peer::Sleep;
use crate::engine::ready::Ready;
use crate::engine::{Counts, Engine};
use crate::protocol::MaxQueue;
use crate::types::{ConnId, Pattern, Priority, Timestamp};

/// A function.
#[derive(Clone, Debug)]
pub struct FunctionRow {
    /// Its name.
    pub name: Bytes,
    /// Jobs that may be handed out: high, normal, low.
    pub queued: [usize; 3],
    /// Jobs that are not due yet.
    pub scheduled: usize,
    /// Jobs that are held.
    pub held: usize,
    /// Jobs that are over and kept: succeeded, failed, cancelled.
    pub over: [usize; 3],
    /// Jobs that workers have.
    pub running: usize,
    /// When the first of the jobs that may be handed out was submitted.
    pub oldest: Option<Timestamp>,
    /// What happened to its jobs since the server began; `None`: nothing.
    pub counts: Option<Box<Counts>>,
    /// Nothing is handed out, by its policy.
    pub paused: bool,
    /// Connections that registered it.
    pub workers: usize,
    /// Recurring jobs that submit to it.
    pub schedules: usize,
    /// Limits on its jobs: high, normal, low.
    pub limits: MaxQueue,
    /// Stays until it is dropped.
    pub pinned: bool,
}

impl Engine {
    /// A piece of the list of functions, by name.
    pub fn function_rows(
        &self,
        pattern: Option<&Pattern>,
        visible: &[Pattern],
        after: Option<&Bytes>,
        bounds: Bounds,
    ) -> Piece<FunctionRow, Bytes> {
        let prefix = pattern.map_or(&b""[..], Pattern::prefix);
        let is_asked =
            |name: &[u8]| pattern.is_none_or(|pattern| pattern.matches(name)) && is_visible(visible, name);
        let mut piece = Piece { rows: Vec::new(), looked: 0, next: None };
        let mut last: Option<&Bytes> = None;
        for function in self.functions.beginning_with(prefix, after) {
            if !function.name.starts_with(prefix) {
                break;
            }
            if piece.rows.len() == bounds.rows || piece.looked == bounds.looks {
                piece.next = last.or(after).cloned();
                break;
            }
            piece.looked += 1;
            last = Some(&function.name);
            if is_asked(&function.name) {
                piece.rows.push(self.to_function_row(function));
            }
        }
        piece
    }

    /// One function.
    pub fn function_row(&self, name: &[u8]) -> Option<FunctionRow> {
        let id = self.functions.find(name)?;
        Some(self.to_function_row(self.functions.get(id)))
    }

    /// How many of a function's workers are asleep, among so many from this place of its line on; and the place to go on.
    pub fn count_asleep(&self, name: &[u8], from: u64, looks: usize) -> (usize, Option<u64>) {
        let Some(id) = self.functions.find(name) else { return (0, None) };
        let mut line = self.functions.get(id).line.range(from..);
        let is_asleep = |conn: &ConnId| self.peers.get(*conn).is_some_and(|peer| peer.sleep == Sleep::Asleep);
        let asleep = line.by_ref().take(looks).filter(|(_, conn)| is_asleep(conn)).count();
        (asleep, line.next().map(|(place, _)| *place))
    }

    fn to_function_row(&self, function: &Function) -> FunctionRow {
        FunctionRow {
            name: function.name.clone(),
            queued: Priority::ALL.map(|priority| function.ready[priority as usize].len()),
            scheduled: function.delayed.iter().sum(),
            held: function.held,
            over: [0, 1, 2].map(|index| function.over[index].len()),
            running: function.running,
            oldest: self.oldest_queued(function),
            counts: function.counts.clone(),
            paused: function.rules.paused,
            workers: function.workers,
            schedules: function.schedules,
            limits: function.limits,
            pinned: function.pinned,
        }
    }

    /// Since when the first of a function's jobs that may be handed out could be.
    pub(in crate::engine) fn oldest_queued(&self, function: &Function) -> Option<Timestamp> {
        let firsts = function.ready.iter().filter_map(Ready::first);
        let oldest = firsts.filter_map(|id| self.jobs.get(id)).map(Job::ready_since).min();
        // An older version did not write it down.
        oldest.filter(|oldest| oldest.as_micros() > 0)
    }
}
