//! CAN_DO, CAN_DO_TIMEOUT, CANT_DO, RESET_ABILITIES: what a connection can do.
//!
//! They decide what it is handed from now on; a job it holds already stays with it.

use std::time::Duration;

use bytes::Bytes;

use super::peer::{Sleep, Stand};
use super::{Engine, Output};
use crate::protocol::Refusal;
use crate::types::{ConnId, FunctionId};

impl Engine {
    /// Registers a function, or gives a registered one a new time-out. Has no answer; a connection that goes
    /// beyond a bound is closed, since an ERROR here would be taken for the answer to something else.
    pub(super) fn can_do(
        &mut self,
        conn: ConnId,
        function: &Bytes,
        timeout: Option<Duration>,
        out: &mut impl Output,
    ) {
        let function = match self.find_or_create_function(function) {
            Ok(function) => function,
            Err(Refusal { text, .. }) => {
                tracing::debug!(%conn, "registration refused: {text}");
                return out.close(conn, "it registered a function beyond the server's bounds");
            }
        };
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let is_asleep = peer.sleep == Sleep::Asleep;
        let ties = peer.ties_mut();
        if let Some(ability) = ties.abilities.get_mut(&function) {
            ability.timeout = timeout;
            return;
        }
        if ties.abilities.len() >= self.settings.max_abilities {
            return out.close(conn, "it registered more functions than allowed");
        }
        self.workers += usize::from(ties.abilities.is_empty());
        ties.insert(function, timeout);
        let entry = self.functions.change(function);
        entry.workers += 1;
        entry.is_memory = false;
        if is_asleep {
            self.stand_in_lines(conn);
            self.wake(function, out);
        }
    }

    /// Unregisters a function.
    pub(super) fn cant_do(&mut self, conn: ConnId, function: &Bytes, out: &mut impl Output) {
        if let Some(function) = self.functions.find(function) {
            self.unregister(conn, function, out);
        }
    }

    /// Unregisters all functions.
    pub(super) fn reset_abilities(&mut self, conn: ConnId, out: &mut impl Output) {
        let Some(peer) = self.peers.get(conn) else { return };
        let mut functions: Vec<FunctionId> = peer.ties().abilities.keys().copied().collect();
        functions.sort_unstable();
        for function in functions {
            self.unregister(conn, function, out);
        }
    }

    fn unregister(&mut self, conn: ConnId, function: FunctionId, out: &mut impl Output) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let Some(ability) = peer.ties_mut().remove(function) else { return };
        self.workers -= usize::from(peer.ties().abilities.is_empty());
        let entry = self.functions.change(function);
        entry.workers -= 1;
        if let Stand::Line(key) = ability.stand {
            entry.line.remove(&key);
        }
        if let Sleep::Woken { function: woken_for, .. } = &mut peer.sleep
            && *woken_for == Some(function)
        {
            *woken_for = None;
            entry.woken -= 1;
            self.wake(function, out);
        }
        self.expire_if_unused(function);
    }
}
