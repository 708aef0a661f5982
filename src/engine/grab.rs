//! GRAB_JOB*: the best job over all that a worker can do (reference, section 3.3).

use super::job::Job;
use super::life::attempts_of;
use super::{Engine, Output, Record, What, reply};
use crate::protocol::{Flavor, Response};
use crate::types::{ConnId, FunctionId, RecordNo};

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
        let peer = self.peers.get(conn).filter(|peer| !peer.is_stopping)?;
        let abilities = &peer.ties().abilities;
        let first =
            self.functions.ready().take(abilities.len()).find(|function| abilities.contains_key(function));
        if first.is_some() || self.functions.ready_len() <= abilities.len() {
            return first;
        }
        let keys = abilities.keys().filter_map(|function| self.functions.ready_key(*function));
        keys.min().map(|(_, _, function)| function)
    }

    fn assign(&mut self, conn: ConnId, function: FunctionId, flavor: Flavor, out: &mut impl Output) {
        let serial = self.next_serial();
        let entry = self.functions.change(function);
        let Some((priority, id)) = entry.first() else { return };
        let (Some(job), Some(peer)) = (self.jobs.get_mut(id), self.peers.get_mut(conn)) else { return };

        let timeout = peer.ties().abilities.get(&function).and_then(|ability| ability.timeout);
        let rules = &entry.rules;
        let of_terms = job.terms().and_then(|terms| terms.run_timeout);
        let rule = of_terms.map_or(rules.run_timeout, |said| Some(said).filter(|said| !said.is_zero()));
        let timeout = [timeout, rule].into_iter().flatten().min();
        let lease = rules.lease;
        if let Some(expires) = job.expires() {
            self.timers.remove(&(expires, id));
        }

        let waited = u64::from(job.content.payload_len());
        entry.waiting_bytes -= waited;
        self.usage.waiting_bytes -= waited;
        entry.ready[priority as usize].remove(job.place(id), id);
        entry.running += 1;
        // It may have come from the store: then nothing of its function was counted yet.
        let counts = entry.counts.get_or_insert_default();
        counts.started += 1;
        if job.attempts() == 0 {
            counts.wait.add(self.now.micros_since(job.waits_since()));
        }
        self.running += 1;
        peer.ties_mut().holds.insert(id);
        job.run_by(conn, self.now, serial, timeout, lease);
        let deadline = job.deadline();
        let mut started = RecordNo::NONE;
        if job.kept && out.keeps() {
            // Waited for where attempts are counted out, or a job that ends the server at once would run for ever. With a
            // disk that has no room, work goes on.
            let is_awaited = attempts_of(rules, job).is_some() && out.readiness().is_ok();
            let record = out.persist(Record::Stands { id, standing: job.standing(id) });
            started = record.ok().filter(|_| is_awaited).unwrap_or(RecordNo::NONE);
        }
        self.functions.served(function, self.now);
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, id));
        }
        if out.is_watched() {
            let attempt = self.jobs.get(id).map_or(0, Job::attempts);
            self.note_live(id, What::Started { attempt, worker: self.worker(conn) }, out);
        }

        self.hand_out(conn, id, flavor, started, out);
        self.prefetch(function, out);
    }
}
