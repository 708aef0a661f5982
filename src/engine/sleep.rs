//! PRE_SLEEP and NOOP, and the one rule for waking.
//!
//! As long as a function has ready jobs that its rules let be handed out, that many of its sleepers (times
//! [`wake_per_job`]), or all of them, have been sent a NOOP for it which they have not answered. [`Engine::wake`]
//! restores the rule and is called wherever it can break: a job became ready; the rules let more be handed out; a woken
//! worker took something else, left, lost the ability, or is overdue.
//!
//! Finding a sleeper must cost nothing per worker or ability. So each function has a line of those who *may* be
//! asleep. Whoever is found awake leaves the line and comes back when it next falls asleep: each step along a line
//! is paid for by the sleep that put the connection there.
//!
//! [`wake_per_job`]: super::Settings::wake_per_job

use std::time::Duration;

use super::peer::{Sleep, Stand, Ties};
use super::{Engine, Output, reply};
use crate::protocol::Response;
use crate::types::{ConnId, FunctionId, Timestamp};

/// How long a woken worker may take to answer before another is woken in its stead.
const PATIENCE: Duration = Duration::from_secs(1);

/// A NOOP that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub overdue: Timestamp,
    pub conn: ConnId,
    pub count: u64,
}

impl Engine {
    /// Answers with NOOP at once if there is something to do, however often it is sent.
    pub(super) fn pre_sleep(&mut self, conn: ConnId, out: &mut impl Output) {
        let woken_for = self.answer_call(conn);
        match self.best_function(conn) {
            Some(function) => self.call(conn, function, out),
            None => {
                if let Some(peer) = self.peers.get_mut(conn) {
                    peer.sleep = Sleep::Asleep;
                }
                self.stand_in_lines(conn);
            }
        }
        if let Some(function) = woken_for {
            self.wake(function, out);
        }
    }

    /// Sends as many NOOPs as the rule asks for.
    pub(super) fn wake(&mut self, function: FunctionId, out: &mut impl Output) {
        if !self.hands_out() {
            return;
        }
        loop {
            let entry = self.functions.get_mut(function);
            let wanted = entry.open_count().saturating_mul(self.settings.wake_per_job as usize);
            if entry.woken >= wanted {
                return;
            }
            let Some((_, conn)) = entry.line.pop_first() else { return };
            let Some(peer) = self.peers.get_mut(conn) else { continue };
            peer.ties_mut().leave_line(function);
            if peer.sleep == Sleep::Asleep && !peer.is_stopping {
                self.call(conn, function, out);
            }
        }
    }

    /// The connection shows that it is awake. Returns the function that counted on it and counts no more; the
    /// caller restores the rule for it.
    pub(super) fn answer_call(&mut self, conn: ConnId) -> Option<FunctionId> {
        let peer = self.peers.get_mut(conn)?;
        let Sleep::Woken { function, .. } = std::mem::replace(&mut peer.sleep, Sleep::Awake) else {
            return None;
        };
        let function = function?;
        self.functions.get_mut(function).woken -= 1;
        Some(function)
    }

    /// Puts a connection that falls asleep into every line it is absent from.
    pub(super) fn stand_in_lines(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let Ties { abilities, absent, .. } = peer.ties_mut();
        for function in absent.drain(..) {
            let Some(ability) = abilities.get_mut(&function) else { continue };
            let key = self.next_number;
            self.next_number += 1;
            ability.stand = Stand::Line(key);
            self.functions.get_mut(function).line.insert(key, conn);
        }
    }

    /// Gives up on NOOPs that were not answered in time, one at a time. Whether there was one to look at.
    pub(super) fn give_up_call(&mut self, out: &mut impl Output) -> bool {
        let Some(call) = self.calls.front().copied().filter(|call| call.overdue <= self.now) else {
            return false;
        };
        self.calls.pop_front();
        let Some(peer) = self.peers.get_mut(call.conn) else { return true };
        if let Sleep::Woken { function: function @ Some(_), call: count } = &mut peer.sleep
            && *count == call.count
            && let Some(function) = function.take()
        {
            self.functions.get_mut(function).woken -= 1;
            self.wake(function, out);
        }
        true
    }

    fn call(&mut self, conn: ConnId, function: FunctionId, out: &mut impl Output) {
        self.forget_answered_calls();
        self.call_count += 1;
        let count = self.call_count;
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.sleep = Sleep::Woken { function: Some(function), call: count };
        }
        self.functions.get_mut(function).woken += 1;
        self.calls.push_back(Call { overdue: self.now.after(PATIENCE), conn, count });
        reply(out, conn, Response::Noop);
    }

    /// Keeps the list of calls as short as what is open; each call is dropped once.
    fn forget_answered_calls(&mut self) {
        while let Some(call) = self.calls.front() {
            let sleep = self.peers.get(call.conn).map(|peer| peer.sleep);
            let is_open =
                matches!(sleep, Some(Sleep::Woken { function: Some(_), call: count }) if count == call.count);
            if is_open {
                return;
            }
            self.calls.pop_front();
        }
    }
}
