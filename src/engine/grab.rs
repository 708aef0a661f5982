//! GRAB_JOB*: the best job over all that a worker can do (reference, section 3.3).

use super::{Engine, Output, reply};
use crate::protocol::{Flavor, Response};
use crate::types::{ConnId, FunctionId};

impl Engine {
    /// Answers with one JOB_ASSIGN* or NO_JOB.
    pub(super) fn grab(&mut self, conn: ConnId, flavor: Flavor, out: &mut impl Output) {
        let woken_for = self.answer_call(conn);
        match self.best_function(conn) {
            Some(function) => self.assign(conn, function, flavor, out),
            None => reply(out, conn, Response::NoJob),
        }
        if let Some(function) = woken_for {
            // It may have taken something else than what it was woken for.
            self.wake(function, out);
        }
    }

    /// The function to serve this connection from: highest priority first, then the one served longest ago.
    ///
    /// Walks what has something to hand out, best first: mostly the connection can do one of the first. It looks no
    /// further than there are functions which the connection can do; then those are fewer to look at.
    pub(super) fn best_function(&self, conn: ConnId) -> Option<FunctionId> {
        if !self.hands_out() {
            return None;
        }
        let abilities = &self.peers.get(conn)?.ties().abilities;
        let first =
            self.functions.ready().take(abilities.len()).find(|function| abilities.contains_key(function));
        if first.is_some() || self.functions.ready_len() <= abilities.len() {
            return first;
        }
        let keys = abilities.keys().filter_map(|function| self.functions.ready_key(*function));
        keys.min().map(|(_, _, function)| function)
    }

    fn assign(&mut self, conn: ConnId, function: FunctionId, flavor: Flavor, out: &mut impl Output) {
        let entry = self.functions.get_mut(function);
        let Some((priority, id)) = entry.first() else { return };
        let (Some(job), Some(peer)) = (self.jobs.get_mut(id), self.peers.get_mut(conn)) else { return };

        entry.ready[priority as usize].remove(job.place(id), id);
        entry.running += 1;
        self.running += 1;
        self.functions.served(function);
        let ties = peer.ties_mut();
        ties.holds.insert(id);
        let timeout = ties.abilities.get(&function).and_then(|ability| ability.timeout);
        let deadline = timeout.map(|timeout| self.now.after(timeout));
        job.run_by(conn, deadline);
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, id));
        }

        self.hand_out(conn, id, flavor, out);
        self.prefetch(function, out);
    }
}
