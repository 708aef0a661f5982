//! Replays one dialogue against a server.
//!
//! Two steps are stricter here than a pause would be. Where a recording waits so that the server can take in packets
//! without a reply, the replay makes a round trip on every connection; where it waits after closing, the replay
//! waits until the server lists one connection fewer. Text is read until it matches, not until a silence: a byte too
//! many is found by the next expectation on that connection, or by the look at what is left over at the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::dialogue::{Bindings, Dialogue, Match, Step, compare, fill};
use super::differences::{Difference, Instead};
use crate::support::peer::whole_frame;
use crate::support::{PATIENCE, Peer, eventually, now, readable};

/// Replays a dialogue, with the given differences from what was recorded.
pub fn replay(dialogue: &Dialogue, address: SocketAddr, differences: &[Difference]) {
    let mut replay =
        Replay { address, peers: BTreeMap::new(), bindings: Bindings::new(), place: String::new() };
    for (index, step) in dialogue.steps.iter().enumerate() {
        let mut of_this_step = differences.iter().filter(|d| d.dialogue == dialogue.name && d.step == index);
        let difference = of_this_step.next();
        assert!(of_this_step.next().is_none(), "two differences for one step of {}", dialogue.name);
        replay.place = format!("{} step {index}", dialogue.name);
        if let Some(difference) = difference {
            replay.place += &format!(", where Gearhouse differs because: {}", difference.why);
        }
        replay.step(step, difference.map(|difference| &difference.instead));
    }
    replay.place = format!("{} after its last step", dialogue.name);
    replay.nothing_is_left_over();
}

struct Replay {
    address: SocketAddr,
    peers: BTreeMap<String, Peer>,
    bindings: Bindings,
    /// Where we are, for failure messages.
    place: String,
}

impl Replay {
    fn step(&mut self, step: &Step, instead: Option<&Instead>) {
        let Some(conn) = &step.conn else {
            assert!(step.settle_ms.is_some(), "{}: a step without a connection waits", self.place);
            self.peers.values_mut().for_each(Peer::settle);
            return;
        };
        if step.close {
            return self.close(conn);
        }
        if let Some(template) = &step.send {
            let bytes = fill(template, &self.bindings);
            return self.peer(conn).send_raw(&bytes);
        }
        if step.expect_close {
            return self.peer(conn).expect_closed();
        }
        let recorded_window = step.expect_nothing_ms.map(Duration::from_millis);
        match (instead, &step.expect, recorded_window) {
            (Some(Instead::Nothing), _, _) => self.nothing(conn, Duration::from_millis(250)),
            (None, None, Some(window)) => self.nothing(conn, window),
            (Some(Instead::Reply(template)), _, _) => self.reply(conn, step, template),
            (None, Some(template), _) => self.reply(conn, step, template),
            (None, None, None) => panic!("{}: a step of no known kind", self.place),
        }
    }

    fn reply(&mut self, conn: &str, step: &Step, template: &str) {
        if step.unordered_lines {
            return self.lines_in_any_order(conn, template);
        }
        let patience = step.within_ms.map_or(PATIENCE, Duration::from_millis);
        let mut bindings = self.bindings.clone();
        let place = self.place.clone();
        let peer = self.peer(conn);
        let decided = |peer: &Peer, bindings: &mut Bindings| match compare(template, peer.unread(), bindings)
        {
            Match::Unfinished => None,
            decided => Some(decided),
        };
        peer.receive_until(now() + patience, |peer| decided(peer, &mut bindings.clone()).is_some());
        let Some(Match::Whole(length)) = decided(peer, &mut bindings) else {
            peer.receive_until(now() + Duration::from_millis(100), |_| false);
            let received = readable(peer.unread());
            panic!("{place}\nexpected on {conn}: {template}\nreceived: {received}\nbound: {bindings:?}");
        };
        let taken = peer.take(length);
        self.bindings = bindings;
        if step.frame.as_deref() != Some("TEXT") {
            // A packet is exactly one packet: the template's own length can't hide a second one.
            assert_eq!(whole_frame(&taken), Some(length), "{}: one packet", self.place);
        }
    }

    fn lines_in_any_order(&mut self, conn: &str, template: &str) {
        let place = self.place.clone();
        let list = self.peer(conn).list();
        let mut expected: Vec<&str> = template.split_inclusive("\\n").collect();
        for line in list.split_inclusive('\n') {
            let matches = |template: &&str| {
                compare(template, line.as_bytes(), &mut self.bindings.clone()) == Match::Whole(line.len())
            };
            let Some(index) = expected.iter().position(matches) else {
                panic!("{place}\nthis line is not expected: {line:?}\nexpected: {expected:?}\nall: {list:?}");
            };
            expected.remove(index);
        }
        assert!(expected.is_empty(), "{place}\nthese lines are missing: {expected:?}\nall: {list:?}");
    }

    fn nothing(&mut self, conn: &str, window: Duration) {
        let place = self.place.clone();
        let peer = self.peer(conn);
        peer.receive_until(now() + window, |peer| !peer.unread().is_empty() || peer.is_closed());
        assert!(peer.unread().is_empty(), "{place}\nexpected nothing, received: {}", readable(peer.unread()));
        assert!(!peer.is_closed(), "{place}\nexpected nothing, but the connection was closed");
    }

    fn close(&mut self, conn: &str) {
        let mut observer = Peer::connect(self.address);
        let before = observer.admin("workers").lines().count();
        drop(self.peers.remove(conn));
        eventually("the closed connection disappears from the list", || {
            (observer.admin("workers").lines().count() < before).then_some(())
        });
        observer.leave();
    }

    fn nothing_is_left_over(&mut self) {
        for (conn, peer) in &mut self.peers {
            if peer.is_closed() {
                continue;
            }
            peer.settle();
            let rest = readable(peer.unread());
            assert!(rest.is_empty(), "{}, {conn} has received more than was expected: {rest}", self.place);
        }
        // Closed in an orderly way, so that the next dialogue on this server finds it alone.
        for (_, peer) in std::mem::take(&mut self.peers) {
            peer.leave();
        }
    }

    fn peer(&mut self, conn: &str) -> &mut Peer {
        self.peers.entry(conn.to_owned()).or_insert_with(|| Peer::connect(self.address))
    }
}
