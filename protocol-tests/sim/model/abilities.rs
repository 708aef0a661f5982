//! What a connection can do, and its sleep.

use std::time::Duration;

use bytes::Bytes;
use gearhouse::types::ConnId;

use super::super::seen::Seen;
use super::{Ability, Model, Sleep, without_final_nul};

impl Model {
    /// No answer; beyond a bound the connection is closed.
    pub(super) fn can_do(
        &mut self,
        conn: ConnId,
        function: &Bytes,
        milliseconds: Option<u64>,
        seen: &mut Seen,
    ) {
        let function = match milliseconds {
            Some(_) => function.clone(),
            None => without_final_nul(function),
        };
        let timeout =
            milliseconds.filter(|number| *number > 0).map(|number| Duration::from_millis(number.max(1000)));
        if self.find_or_create_function(&function).is_err() {
            return seen.closed(conn);
        }
        let max_abilities = self.settings.max_abilities;
        let peer = self.peer(conn);
        if let Some(known) = peer.abilities.iter_mut().find(|ability| ability.function == function) {
            known.timeout = timeout;
            return;
        }
        if peer.abilities.len() >= max_abilities {
            return seen.closed(conn);
        }
        peer.abilities.push(Ability { function, timeout });
        if peer.sleep == Sleep::Asleep {
            self.may_wake += 1;
        }
    }

    /// Jobs that it holds already stay with it.
    pub(super) fn unregister(&mut self, conn: ConnId, which: impl Fn(&Bytes) -> bool) {
        let peer = self.peer(conn);
        let before = peer.abilities.len();
        peer.abilities.retain(|ability| !which(&ability.function));
        // If it was woken for this function, another may be woken in its stead.
        if peer.abilities.len() < before
            && let Sleep::Woken { given_up: false, unregistered, .. } = &mut peer.sleep
        {
            *unregistered = true;
            self.may_wake += 1;
        }
    }

    /// Answered at once if there is something to do.
    pub(super) fn pre_sleep(&mut self, conn: ConnId) {
        self.answer_call(conn);
        self.peer(conn).sleep = Sleep::Asleep;
        if !self.candidates(conn).is_empty() {
            self.may_wake += 1;
            self.must_wake = Some(conn);
        }
    }

    /// The connection shows that it is awake. Whoever counted on it may wake another.
    pub(super) fn answer_call(&mut self, conn: ConnId) {
        let peer = self.peer(conn);
        let before = std::mem::replace(&mut peer.sleep, Sleep::Awake);
        if matches!(before, Sleep::Woken { given_up: false, .. }) {
            self.may_wake += 1;
        }
    }
}
