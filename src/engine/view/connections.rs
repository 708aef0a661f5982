//! Connections as rows: what they can do, what they have, and since when.

use std::time::Duration;

use bytes::Bytes;

use super::{Bounds, Piece, is_visible};
use crate::engine::Engine;
use crate::engine::peer::{Peer, Sleep};
use crate::types::{ConnId, IpAddr, JobId, Pattern, Timestamp};

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnectionRow {
    /// Its number.
    pub id: ConnId,
    /// Where it comes from.
    pub address: IpAddr,
    /// What it calls itself; empty if it did not say.
    pub client_id: Box<str>,
    /// When it came.
    pub connected: Timestamp,
    /// When it last said something.
    pub heard: Timestamp,
    /// It gets no more jobs, and is sent away when it is done with those it has.
    pub draining: bool,
    /// Whether it waits to be woken.
    pub sleeping: bool,
    /// Functions that it registered, by name, with the time that a job may run; not all if there are very many.
    pub functions: Vec<(Bytes, Option<Duration>)>,
    /// How many there are.
    pub function_count: usize,
    /// Handles of jobs that it has; not all if there are very many.
    pub running: Vec<String>,
    /// How many there are.
    pub running_count: usize,
    /// Jobs that it waits for.
    pub awaiting: usize,
}

/// Which connections are asked for.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilter<'a> {
    /// Only those that registered functions.
    pub workers: bool,
    /// Only those that registered one of these.
    pub function: Option<Pattern>,
    /// What may be seen at all; none: everything.
    pub visible: &'a [Pattern],
}

/// Functions and jobs that one row of a connection tells of.
const MOST_NAMES: usize = 1000;

/// Names of connections that one piece copies.
const NAMES_A_PIECE: usize = 5000;

impl Engine {
    /// A piece of the list of connections, by number.
    pub fn connection_rows(
        &self,
        filter: &ConnectionFilter<'_>,
        from: ConnId,
        bounds: Bounds,
    ) -> Piece<ConnectionRow, ConnId> {
        let mut piece = Piece { rows: Vec::new(), looked: 0, next: None };
        let mut names = 0;
        for (conn, peer) in self.peers.from(from) {
            if piece.rows.len() == bounds.rows || piece.looked >= bounds.looks || names >= NAMES_A_PIECE {
                piece.next = Some(conn);
                break;
            }
            piece.looked += 1;
            names += peer.ties().abilities.len();
            if self.is_asked_for(filter, peer) {
                piece.rows.push(self.to_connection_row(conn, peer, filter.visible));
            }
        }
        piece
    }

    /// One connection.
    pub fn connection_row(&self, conn: ConnId, visible: &[Pattern]) -> Option<ConnectionRow> {
        let filter = ConnectionFilter { visible, ..Default::default() };
        let peer = self.peers.get(conn).filter(|peer| self.is_asked_for(&filter, peer))?;
        Some(self.to_connection_row(conn, peer, visible))
    }

    /// Whether all that a connection registered or holds may be seen: what is done to it concerns nothing else.
    pub fn is_whole_visible(&self, conn: ConnId, visible: &[Pattern]) -> bool {
        let Some(peer) = self.peers.get(conn) else { return false };
        let ties = peer.ties();
        let held = ties.holds.iter().filter_map(|id| self.jobs.get(*id)).map(|job| job.function);
        let mut functions = ties.abilities.keys().copied().chain(held);
        visible.is_empty()
            || functions.all(|function| is_visible(visible, &self.functions.get(function).name))
    }

    fn is_asked_for(&self, filter: &ConnectionFilter<'_>, peer: &Peer) -> bool {
        let abilities = &peer.ties().abilities;
        let can_do = |is_asked: &dyn Fn(&[u8]) -> bool| {
            abilities.keys().any(|function| is_asked(&self.functions.get(*function).name))
        };
        (!filter.workers || !abilities.is_empty())
            && (filter.visible.is_empty() || can_do(&|name| is_visible(filter.visible, name)))
            && filter.function.as_ref().is_none_or(|pattern| can_do(&|name| pattern.matches(name)))
    }

    fn to_connection_row(&self, conn: ConnId, peer: &Peer, visible: &[Pattern]) -> ConnectionRow {
        let ties = peer.ties();
        let abilities = ties.abilities.iter().take(MOST_NAMES);
        let mut functions: Vec<_> = abilities
            .map(|(function, ability)| (self.functions.get(*function).name.clone(), ability.timeout))
            .filter(|(name, _)| is_visible(visible, name))
            .collect();
        functions.sort_unstable();
        let is_shown = |id: &JobId| {
            let function = self.jobs.get(*id).map(|job| &self.functions.get(job.function).name);
            function.is_some_and(|name| is_visible(visible, name))
        };
        let mut held: Vec<JobId> = ties.holds.iter().take(MOST_NAMES).copied().filter(is_shown).collect();
        held.sort_unstable();
        ConnectionRow {
            id: conn,
            address: peer.address,
            client_id: peer.client_id.clone(),
            connected: peer.connected,
            heard: peer.heard,
            draining: peer.is_stopping,
            sleeping: peer.sleep == Sleep::Asleep,
            function_count: if visible.is_empty() { ties.abilities.len() } else { functions.len() },
            functions,
            running_count: if visible.is_empty() { ties.holds.len() } else { held.len() },
            running: held.into_iter().map(|id| self.handle(id).to_string()).collect(),
            awaiting: ties.awaits.len(),
        }
    }
}
