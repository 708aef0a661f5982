//! A server without sockets: reads go in, answers go nowhere.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use gearhouse::broker::{BATCH, Broker, turn};
use gearhouse::engine::{Lister, Seed, Settings};
use gearhouse::outbox::{Outbox, Sink};
use gearhouse::protocol::{Codec, Listing, Request, WriteBuf};
use gearhouse::types::{ConnId, JobId, Timestamp};
use tokio_util::codec::Decoder as _;

use crate::support;

const NOW: Timestamp = Timestamp::from_secs(1);

/// The queues of a server that keeps nothing beyond its process.
pub struct Server {
    broker: Broker,
    /// What a thread keeps for its connections: memory of reads and of batches.
    input: BytesMut,
    batch: Vec<Request>,
}

/// A connection.
pub struct Peer {
    conn: ConnId,
    outbox: Arc<Outbox>,
    codec: Codec,
}

/// A socket that takes everything.
#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn write(&self, bytes: &mut WriteBuf) -> io::Result<()> {
        bytes.advance(bytes.len());
        Ok(())
    }
}

impl Server {
    /// An empty one.
    pub fn new() -> Self {
        // As the threads that serve connections do.
        turn::begin();
        let settings = Settings { handle_prefix: support::PREFIX.into(), ..Settings::default() };
        // A fixed seed: the tables are the same in every run.
        let broker = Broker::new(settings, Seed { first_job: JobId(1), hash: 7 }, 1 << 20);
        Self { broker, input: BytesMut::new(), batch: Vec::new() }
    }

    /// A new connection.
    pub fn connect(&self) -> Peer {
        let (conn, outbox) = self.broker.open(Ipv4Addr::LOCALHOST.into());
        outbox.open(Box::new(Nowhere));
        Peer { conn, outbox, codec: Codec::new(1 << 20) }
    }

    /// What a connection's task does with one read, up to the end of the turn.
    pub fn read(&mut self, peer: &mut Peer, read: &[u8]) {
        self.input.extend_from_slice(read);
        while let Ok(Some(request)) = peer.codec.decode(&mut self.input) {
            self.batch.push(request);
            if self.batch.len() == BATCH {
                self.broker.apply(NOW, peer.conn, &peer.outbox, &mut self.batch);
            }
        }
        if !self.batch.is_empty() {
            self.broker.apply(NOW, peer.conn, &peer.outbox, &mut self.batch);
        }
        turn::end();
    }

    /// What `status` answers.
    pub fn status(&self) -> String {
        let (mut lister, mut text) = (Lister::new(Listing::Status), Vec::new());
        while self.broker.list(&mut lister, 1000, &mut text) {}
        String::from_utf8_lossy(&text).into_owned()
    }
}
