//! Where connections wait while the store is read. They are served once that is done; who asks whether the server is
//! ready is told how far it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::connection::Rules;
use crate::protocol::Admin;

/// Shut until [`Door::open`].
#[derive(Clone, Debug)]
pub struct Door {
    rules: watch::Sender<Option<Arc<Rules>>>,
    waiting: Arc<AtomicUsize>,
    read: Arc<AtomicU64>,
}

impl Door {
    /// A door that is shut. `read` counts what is read of the store.
    pub fn new(read: Arc<AtomicU64>) -> Self {
        Self { rules: watch::Sender::new(None), waiting: Arc::default(), read }
    }

    /// Lets all in who wait, and all who come.
    pub fn open(&self, rules: Rules) {
        self.rules.send_replace(Some(Arc::new(rules)));
    }

    /// What those are served by who come now; `None` while the door is shut.
    pub(super) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.borrow().clone()
    }

    /// How many are in, or wait.
    pub(super) fn connections(&self) -> usize {
        let inside = self.rules.borrow().as_ref().map_or(0, |rules| rules.broker.connections());
        inside + self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until the door is open. Returns what the peer has sent meanwhile, beside the rules; `None` if it left.
    pub(super) async fn enter(&self, stream: &mut TcpStream) -> Option<(Arc<Rules>, BytesMut)> {
        let mut rules = self.rules.subscribe();
        let mut input = BytesMut::new();
        if let Some(rules) = rules.borrow_and_update().clone() {
            return Some((rules, input));
        }
        let _waiting = Waiting::new(&self.waiting);
        let mut may_ask = true;
        loop {
            tokio::select! {
                opened = rules.changed() => opened.ok()?,
                read = stream.read_buf(&mut input), if may_ask => {
                    if read.ok()? == 0 {
                        return None;
                    }
                    may_ask = self.answer(stream, &mut input).await.ok()?;
                }
            }
            if let Some(rules) = rules.borrow_and_update().clone() {
                return Some((rules, input));
            }
        }
    }

    /// Answers whole lines that ask whether the server is ready. Whether more such may follow: anything else is left
    /// for later, and nothing behind it is read.
    async fn answer(&self, stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<bool> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = BytesMut::from(&input[..end]).freeze();
            if Admin::parse(&line) != Admin::Ready {
                return Ok(false);
            }
            input.advance(end + 1);
            let read = self.read.load(Ordering::Relaxed);
            let answer = format!("ERR LOADING The+store+is+being+read:+{read}+jobs+so+far\r\n");
            stream.write_all(answer.as_bytes()).await?;
        }
        Ok(input.first() != Some(&0) && input.len() < Admin::MAX_LINE)
    }
}

/// One who waits, counted.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::clock::Clock;
    use crate::config::{Config, Limits};
    use crate::engine::{Seed, Settings};
    use crate::net::accept;
    use crate::protocol::{Frame, Kind};
    use crate::types::JobId;
    use tokio::net::TcpListener;

    async fn said(stream: &mut TcpStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes.escape_ascii().to_string()
    }

    #[tokio::test]
    async fn who_waits_is_told_how_far_it_is_and_served_when_the_door_opens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door::new(Arc::new(AtomicU64::new(7)));
        tokio::spawn(accept(listener, Config::default(), 10, door.clone()));

        let mut peer = TcpStream::connect(address).await.unwrap();
        let told = "ERR LOADING The+store+is+being+read:+7+jobs+so+far\r\n";
        peer.write_all(b"ready\r\nREADY\n").await.unwrap();
        assert_eq!(said(&mut peer, 2 * told.len()).await, told.repeat(2).escape_default().to_string());
        assert_eq!(door.connections(), 1);

        // What cannot be answered yet waits, and what comes behind it, too.
        let mut bytes = BytesMut::new();
        Frame::request(Kind::EchoReq, &[b"x\n"]).encode(&mut bytes);
        bytes.extend_from_slice(b"ready\n");
        peer.write_all(&bytes).await.unwrap();
        let settings = Settings::default();
        let broker = Arc::new(Broker::new(settings, Seed { first_job: JobId(1), hash: 1 }, 1000));
        door.open(Rules { broker, clock: Arc::new(Clock::new()), limits: Limits::default() });
        let answers = "\\x00RES\\x00\\x00\\x00\\x11\\x00\\x00\\x00\\x02x\\nOK\\n";
        assert_eq!(said(&mut peer, 14 + 3).await, answers);
        assert_eq!(door.connections(), 1);
    }
}
