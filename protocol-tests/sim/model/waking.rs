//! The rules of waking, as they can be seen from outside. Which sleeper is woken is the engine's choice.
//!
//! * Only a sleeper that can do a ready job is sent a NOOP, and no second one before it has answered.
//! * No one sleeps, without a NOOP, beside a ready job that it can do, unless as many others as there are such jobs
//!   have been woken and have not answered.
//! * A request wakes no more than it made necessary: as many as it made jobs ready, and one for a NOOP whose receiver
//!   can no longer be counted on.
//! * Ready jobs that the rules of their function keep back count for nothing here.
//! * PRE_SLEEP beside a ready job is answered at once.
//! * A NOOP that is not answered within a second is not counted on any longer.

use std::time::Duration;

use bytes::Bytes;
use gearhouse::types::{ConnId, Timestamp};

use super::{Model, Peer, Sleep};

const PATIENCE: Duration = Duration::from_secs(1);

impl Model {
    pub(super) fn one_more_ready(&mut self) {
        self.may_wake = self.may_wake.saturating_add(u64::from(self.settings.wake_per_job));
    }

    /// The rules of a function let more be handed out than before.
    pub(super) fn may_wake_for(&mut self, index: usize) {
        let open = self.open_count(&self.functions[index].name) as u64;
        self.may_wake =
            self.may_wake.saturating_add(open.saturating_mul(u64::from(self.settings.wake_per_job)));
    }

    /// Much may come due at once: one job wakes a worker, and the next step gives that job up.
    pub(super) fn note_open(&mut self) {
        let names = self.functions.iter().map(|function| function.name.clone());
        let open: Vec<Bytes> = names.filter(|name| self.open_count(name) > 0).collect();
        self.were_open.extend(open);
    }

    fn is_or_was_open(&self, name: &Bytes) -> bool {
        self.were_open.contains(name) || self.open_count(name) > 0
    }

    pub(super) fn note_calls(&mut self, called: &[ConnId]) {
        if let Some(conn) = self.must_wake {
            assert!(called.contains(&conn), "{conn} is not left asleep beside a job that it can do");
        }
        assert!(
            called.len() as u64 <= self.may_wake,
            "{called:?} were sent NOOPs where {} are enough",
            self.may_wake
        );
        let now = self.now;
        for conn in called {
            let peer = self.peers.iter().find(|peer| peer.conn == *conn).expect("who is woken is connected");
            assert_eq!(
                peer.sleep,
                Sleep::Asleep,
                "{conn} is sent a NOOP only if it sleeps and was sent none"
            );
            assert!(
                self.functions
                    .iter()
                    .any(|function| peer.can_do(&function.name) && self.is_or_was_open(&function.name)),
                "{conn} is sent a NOOP only for a job that it can do"
            );
            assert!(!peer.is_stopping, "{conn} is asked to stop and is not woken");
            self.peer(*conn).sleep = Sleep::Woken { at: now, given_up: false, unregistered: false };
        }
    }

    /// Each function with ready jobs and sleepers must have enough who were woken; and all these together too.
    pub(super) fn check_waking(&self) {
        if !self.hands_out() {
            return;
        }
        let is_counted_on = |peer: &&Peer| matches!(peer.sleep, Sleep::Woken { given_up: false, .. });
        let mut wanted_in_all = 0;
        let mut woken_in_all: Vec<ConnId> = Vec::new();
        for function in &self.functions {
            let ready = self.open_count(&function.name);
            let can_do = || self.peers.iter().filter(|peer| peer.can_do(&function.name));
            let Some(sleeper) =
                can_do().find(|peer| Self::is_called_for(peer.sleep, peer.is_stopping)).filter(|_| ready > 0)
            else {
                continue;
            };
            let wanted = ready.saturating_mul(self.settings.wake_per_job as usize);
            let woken: Vec<ConnId> = can_do().filter(is_counted_on).map(|peer| peer.conn).collect();
            assert!(
                woken.len() >= wanted,
                "{} sleeps beside {ready} ready jobs of '{}', for which only {woken:?} were woken",
                sleeper.conn,
                function.name.escape_ascii()
            );
            wanted_in_all = wanted.saturating_add(wanted_in_all);
            woken_in_all.extend(woken);
        }
        woken_in_all.sort_unstable();
        woken_in_all.dedup();
        assert!(
            woken_in_all.len() >= wanted_in_all,
            "functions with sleepers need {wanted_in_all} woken workers and have {woken_in_all:?}"
        );
    }

    pub(super) fn give_up_calls(&mut self) {
        for peer in &mut self.peers {
            if let Sleep::Woken { at, given_up: given_up @ false, .. } = &mut peer.sleep
                && at.after(PATIENCE) <= self.now
            {
                *given_up = true;
                self.may_wake += 1;
            }
        }
    }

    pub(super) fn next_call_to_give_up(&self) -> Option<Timestamp> {
        let open = self.peers.iter().filter_map(|peer| match peer.sleep {
            Sleep::Woken { at, given_up: false, unregistered: false } => Some(at.after(PATIENCE)),
            _ => None,
        });
        open.min()
    }
}
