//! A connection goes: what it held is put back, what only it waited for is dropped (reference, sections 3.7, 3.8).

use super::{Engine, Outcome, Output, Reason, What};
use crate::types::{ConnId, JobId};

impl Engine {
    pub(super) fn leave(&mut self, conn: ConnId, out: &mut impl Output) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        // It is gone already.
        peer.is_stopping = false;
        let ties = peer.ties_mut();
        let mut awaited: Vec<JobId> = std::mem::take(&mut ties.awaits).into_iter().collect();
        let mut held: Vec<JobId> = std::mem::take(&mut ties.holds).into_iter().collect();
        // Sets have no order that a replay would repeat.
        awaited.sort_unstable();
        held.sort_unstable();

        let woken_for = self.answer_call(conn);
        self.reset_abilities(conn, out);
        // First what it waited for: a job that it both awaits and holds is wanted by no one.
        for id in awaited {
            self.stop_waiting(conn, id, out);
        }
        for id in held {
            self.put_back(id, Reason::Lost, out);
        }
        if let Some(peer) = self.peers.remove(conn)
            && peer.ties().has_worked()
        {
            self.recents.leave(conn, peer.address, peer.client_id);
        }
        if let Some(function) = woken_for {
            self.wake(function, out);
        }
    }

    fn stop_waiting(&mut self, conn: ConnId, id: JobId, out: &mut impl Output) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.stop_waiting(conn);
        let is_unwanted = job.waiting().is_empty() && !job.kept;
        if is_unwanted && !job.is_running() {
            let function = job.function;
            self.note_live(id, What::Dropped, out);
            self.functions.count_end(function, Outcome::Cancelled);
            self.remove_job(id, out);
        }
    }
}
