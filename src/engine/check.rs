//! All that must hold between the tables, in one place. The simulation calls it after each step.

use std::collections::{BTreeMap, HashSet};

use super::Engine;
use super::function::ending;
use super::job::{Job, State};
use super::peer::{Sleep, Stand};
use super::unique::Key;
use super::usage::Usage;
use crate::types::{FunctionId, JobId, Priority};

impl Engine {
    /// Panics, saying what is wrong, unless all tables agree and the rules hold. Costs time in everything there is.
    pub fn check(&self) {
        self.check_jobs();
        self.check_functions();
        self.check_peers();
        if self.hands_out() {
            self.check_no_one_sleeps_beside_a_ready_job();
        }
    }

    /// Panics unless nothing is left of jobs and connections, as must be when all have gone.
    pub fn check_empty(&self) {
        assert_eq!((self.jobs.len(), self.running), (0, 0), "jobs, running jobs");
        assert_eq!((self.over.len(), self.broken_off.len()), (0, 0), "jobs that are over, jobs broken off");
        assert_eq!(self.apart.len(), 0, "jobs that none joins");
        assert_eq!(self.timers.len(), self.schedules.len(), "only schedules may have timers");
        assert_eq!(self.uniques.len(), 0, "unique ids");
        assert_eq!(self.functions.ready_len(), 0, "functions with ready jobs");
        for (_, function) in self.functions.after(None) {
            assert_eq!(
                (function.workers, function.woken, function.line.len()),
                (0, 0, 0),
                "{:?}",
                function.name
            );
        }
    }

    fn check_jobs(&self) {
        let schedules = self.schedules.from(JobId(0)).map(|(_, schedule)| schedule.cost()).sum();
        let mut usage = Usage { bytes: schedules, evicted: 0, waiting_bytes: 0 };
        let (mut running, mut over, mut waiting) = (0, 0, 0);
        let mut waiting_bytes: BTreeMap<FunctionId, u64> = BTreeMap::new();
        for (id, job) in self.jobs.from(JobId(0)) {
            usage.add(&job.content);
            let function = self.functions.get(job.function);
            let is_ready = function.ready[job.priority as usize].contains(job.place(id), id);
            assert_eq!(
                is_ready,
                job.state() == State::Ready,
                "{id:?} stands in the ready set if it is ready"
            );
            usage.bytes += job.result_len();
            usage.waiting_bytes += waits(job);
            let is_waiting = matches!(job.state(), State::Ready | State::Delayed { .. } | State::Held);
            waiting += u64::from(is_waiting);
            waiting_bytes.entry(job.function).and_modify(|bytes| *bytes += waits(job)).or_insert(waits(job));
            if let State::Over { outcome } = job.state() {
                over += 1;
                let at = job.over().map(|over| over.at).expect("it is over");
                assert!(self.over.contains(&(at, id)), "{id:?} is among those that are over");
                assert!(function.over[ending(outcome)].contains(&(at, id)), "{id:?} is so for its function");
                let is_loading = job.over().is_some_and(|over| over.is_loading);
                assert!(is_loading || job.waiting().is_empty(), "no one waits for {id:?}, which is over");
            }
            if let State::Running { by, .. } = job.state() {
                running += 1;
                let peer = self.peers.get(by).expect("a running job has a living worker");
                assert!(peer.ties().holds.contains(&id), "{id:?} is held by its worker");
            }
            if let Some(deadline) = job.deadline() {
                assert!(self.timers.contains(&(deadline, id)), "{id:?} has a timer");
            }
            for conn in job.waiting() {
                let peer = self.peers.get(*conn).expect("who waits is connected");
                assert!(peer.ties().awaits.contains(&id), "{id:?} is awaited by {conn}");
            }
            let is_wanted = job.kept || !job.waiting().is_empty() || job.is_running() || job.over().is_some();
            assert!(is_wanted, "{id:?} is wanted by someone");
            assert_eq!(self.apart.contains(&id), job.never_joined, "{id:?} stands apart if none joins it");
            let key = Key::of(job.function, job.content.unique(), job.content.payload());
            let is_found = !job.never_joined && job.over().is_none_or(|over| over.answers_until.is_some());
            let known = key.map(|key| self.uniques.find(&self.jobs, job.function, key) == Some(id));
            assert!(
                known.is_none_or(|known| known == is_found),
                "{id:?} is found by its unique id if it must be"
            );
        }
        assert_eq!(usage, self.usage, "memory as accounted");
        assert_eq!(running, self.running, "running jobs");
        assert_eq!(waiting, self.waiting().jobs, "waiting jobs");
        assert_eq!(over, self.over.len(), "jobs that are over");
        for (id, function) in self.functions.after(None) {
            let bytes = waiting_bytes.get(&id).copied().unwrap_or_default();
            assert_eq!(bytes, function.waiting_bytes, "bytes that wait for {:?}", function.name);
        }
    }

    fn check_functions(&self) {
        let mut total = 0;
        for (id, function) in self.functions.after(None) {
            total += function.total() + function.over_count();
            assert!(self.functions.is_listed(id), "{:?} is listed under its best priority", function.name);
            for priority in Priority::ALL {
                for (place, id_of) in function.ready[priority as usize].iter() {
                    let job = self.jobs.get(id_of).expect("a ready job exists");
                    assert_eq!((job.function, job.priority, job.place(id_of)), (id, priority, place));
                }
            }
            for (key, conn) in &function.line {
                let ability = self.peers.get(*conn).and_then(|peer| peer.ties().abilities.get(&id));
                let stand = ability.map(|ability| ability.stand);
                assert_eq!(stand, Some(Stand::Line(*key)), "{conn} stands in the line");
            }
        }
        assert_eq!(total, self.jobs.len(), "each job belongs to one function");
    }

    fn check_peers(&self) {
        let (mut workers, mut registered) = (0, 0);
        let mut woken = 0;
        for (conn, peer) in self.peers.from(crate::types::ConnId(0)) {
            let ties = peer.ties();
            registered += ties.abilities.len();
            workers += usize::from(!ties.abilities.is_empty());
            let in_line = ties.abilities.values().filter(|ability| matches!(ability.stand, Stand::Line(_)));
            assert_eq!(
                in_line.count() + ties.absent.len(),
                ties.abilities.len(),
                "{conn}: in line or absent"
            );
            for (index, function) in ties.absent.iter().enumerate() {
                let stand = ties.abilities.get(function).map(|ability| ability.stand);
                assert_eq!(stand, Some(Stand::Absent(index)), "{conn} is absent from a line");
            }
            if peer.sleep == Sleep::Asleep && !peer.is_stopping {
                assert!(ties.absent.is_empty(), "{conn} sleeps and stands in all its lines");
            }
            if let Sleep::Woken { function: Some(function), .. } = peer.sleep {
                woken += 1;
                assert!(ties.abilities.contains_key(&function), "{conn} can do what it was woken for");
            }
            for id in &ties.holds {
                assert!(self.jobs.get(*id).is_some_and(|job| job.is_running_by(conn)), "{conn} holds {id:?}");
            }
            for id in &ties.awaits {
                assert!(
                    self.jobs.get(*id).is_some_and(|job| job.waiting().contains(&conn)),
                    "{conn} awaits {id:?}"
                );
            }
        }
        let functions: Vec<_> = self.functions.after(None).map(|(_, function)| function).collect();
        assert_eq!(workers, self.workers, "connections that can do something");
        assert_eq!(
            registered,
            functions.iter().map(|function| function.workers).sum::<usize>(),
            "registrations"
        );
        assert_eq!(woken, functions.iter().map(|function| function.woken).sum::<usize>(), "woken workers");
    }

    /// The rule of [`super::sleep`].
    fn check_no_one_sleeps_beside_a_ready_job(&self) {
        for (id, function) in self.functions.after(None) {
            let wanted = function.open_count().saturating_mul(self.settings.wake_per_job as usize);
            if function.woken >= wanted {
                continue;
            }
            let line: HashSet<_> = function.line.values().copied().collect();
            for conn in line {
                let asleep =
                    self.peers.get(conn).is_some_and(|peer| peer.sleep == Sleep::Asleep && !peer.is_stopping);
                assert!(!asleep, "{conn} sleeps although {:?} ({id:?}) has ready jobs", function.name);
            }
        }
    }
}

/// Bytes of payload that a job waits with.
fn waits(job: &Job) -> u64 {
    match job.state() {
        State::Ready | State::Delayed { .. } | State::Held => u64::from(job.content.payload_len()),
        State::Running { .. } | State::Over { .. } => 0,
    }
}
