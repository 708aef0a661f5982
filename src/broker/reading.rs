//! What whoever watches the server is told: plain values, taken in slices, each under a short lock.

use super::Broker;
use super::log::StoreFacts;
use crate::engine::view::Totals;
use crate::engine::{Counts, FunctionTally};

/// Functions looked at under one lock.
const SLICE: usize = 256;

/// The server's numbers at one moment, and the functions that changed since the last reading.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Functions that changed.
    pub changed: Vec<FunctionTally>,
    /// The server as a whole.
    pub totals: Totals,
    /// What happened to jobs of functions that are gone.
    pub gone: Counts,
    /// What the store is doing; `None`: nothing is kept beyond the process.
    pub store: Option<StoreFacts>,
    /// Connections there are.
    pub connections: usize,
}

impl Broker {
    /// Reads what changed since the last reading. There can be one who reads.
    ///
    /// Functions are looked at in slices, so the numbers of one function agree with each other, and those of two may be
    /// some milliseconds apart.
    pub fn read(&self) -> Reading {
        let mut changed = Vec::new();
        self.lock().begin_look();
        while self.lock().look(SLICE, &mut changed) {}
        let (totals, gone) = {
            let engine = self.lock();
            (engine.totals(), engine.counts_of_gone())
        };
        Reading {
            changed,
            totals,
            gone,
            store: self.storage.as_ref().map(|storage| storage.log.facts()),
            connections: self.connections(),
        }
    }

    /// Bytes that wait for peers to read them. Asks every connection.
    pub fn outbox_bytes(&self) -> usize {
        self.directory.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::engine::{Reason, Seed, SeenFunction, Settings};
    use crate::policy::Rules;
    use crate::protocol::{Frame, Kind, Request};
    use crate::types::{JobId, Timestamp};

    fn broker(settings: Settings) -> Broker {
        let settings = Settings { handle_prefix: "H".into(), ..settings };
        Broker::new(settings, Seed { first_job: JobId(1), hash: 1 }, 1 << 20)
    }

    /// One connection that says all this.
    fn say(broker: &Broker, packets: &[(Kind, &[&[u8]])]) -> crate::types::ConnId {
        let (conn, outbox) = broker.open(Ipv4Addr::LOCALHOST.into());
        for (kind, arguments) in packets {
            let request = Request::parse(Frame::request(*kind, arguments));
            broker.apply(Timestamp::from_secs(1), conn, &outbox, &mut vec![request]);
        }
        conn
    }

    fn only(reading: &Reading) -> &SeenFunction {
        let [only] = reading.changed.as_slice() else { panic!("{:?} is one function", reading.changed) };
        only.seen.as_ref().unwrap()
    }

    fn failed(counts: &Counts) -> Vec<Reason> {
        Reason::ALL.into_iter().filter(|reason| counts.failed[*reason as usize] > 0).collect()
    }

    const SUBMIT: (Kind, &[&[u8]]) = (Kind::SubmitJobBg, &[b"f", b"", b"x"]);
    const CAN_DO: (Kind, &[&[u8]]) = (Kind::CanDo, &[b"f"]);
    const GRAB: (Kind, &[&[u8]]) = (Kind::GrabJob, &[]);

    #[test]
    fn each_thing_that_happens_to_a_job_is_counted_once() {
        let broker = broker(Settings::default());
        let unique: (Kind, &[&[u8]]) = (Kind::SubmitJobBg, &[b"f", b"u", b"x"]);
        say(&broker, &[SUBMIT, SUBMIT, unique, unique, CAN_DO, GRAB, GRAB, GRAB]);
        let reading = broker.read();
        let (seen, counts) = (only(&reading), only(&reading).counts.clone().unwrap());
        assert_eq!((seen.ready, seen.running, seen.workers), ([0; 3], 3, 1));
        assert_eq!((counts.submitted, counts.coalesced, counts.started), (3, 1, 3));
        assert_eq!((counts.succeeded, failed(&counts)), (0, vec![]));

        let ends: [(Kind, &[&[u8]]); 3] = [
            (Kind::WorkComplete, &[b"H:4", b""]),
            (Kind::WorkFail, &[b"H:5"]),
            (Kind::WorkException, &[b"H:6", b"why"]),
        ];
        say(&broker, &[&[SUBMIT, SUBMIT, SUBMIT, CAN_DO, GRAB, GRAB, GRAB], ends.as_slice()].concat());
        let counts = only(&broker.read()).counts.clone().unwrap();
        assert_eq!((counts.submitted, counts.started, counts.succeeded), (6, 6, 1));
        assert_eq!(failed(&counts), [Reason::Failed, Reason::Exception]);
    }

    #[test]
    fn a_job_that_its_worker_lost_is_counted_as_tried_again_until_it_is_given_up() {
        let broker = broker(Settings {
            rules: Rules { attempts: Some(2), ..Rules::default() },
            ..Settings::default()
        });
        let timed: (Kind, &[&[u8]]) = (Kind::CanDoTimeout, &[b"f", b"1"]);
        let conn = say(&broker, &[SUBMIT, timed, GRAB]);
        broker.advance(Timestamp::from_secs(3600));
        let counts = only(&broker.read()).counts.clone().unwrap();
        assert_eq!((counts.retried[Reason::TimedOut as usize], failed(&counts)), (1, vec![]));

        broker.close(Timestamp::from_secs(3600), conn);
        let conn = say(&broker, &[CAN_DO, GRAB]);
        broker.close(Timestamp::from_secs(3600), conn);
        let counts = only(&broker.read()).counts.clone().unwrap();
        assert_eq!((counts.retried.iter().sum::<u64>(), failed(&counts)), (1, vec![Reason::Lost]));
    }

    #[test]
    fn only_what_changed_is_read_and_what_goes_is_said() {
        let grace = Duration::from_secs(10);
        let broker = broker(Settings { function_grace: grace, ..Settings::default() });
        let conn = say(&broker, &[CAN_DO, (Kind::SubmitJob, &[b"g", b"", b""])]);
        assert_eq!(broker.read().changed.len(), 2);
        assert!(broker.read().changed.is_empty());
        say(&broker, &[(Kind::SubmitJobBg, &[b"g", b"", b""])]);
        assert_eq!(only(&broker.read()).name, b"g".as_slice());

        // `g` keeps a job, `f` is unused from now on.
        broker.close(Timestamp::from_secs(2), conn);
        assert_eq!(broker.read().changed.len(), 2);
        // A place that others had meanwhile is told once, as what it is now.
        for hour in 1..4 {
            broker.advance(Timestamp::from_secs(hour * 3600));
            let conn = say(&broker, &[(Kind::CanDo, &[b"h"])]);
            broker.close(Timestamp::from_secs(hour * 3600), conn);
        }
        broker.advance(Timestamp::from_secs(5 * 3600));
        let reading = broker.read();
        assert_eq!(reading.changed.len(), 1);
        assert!(reading.changed[0].seen.is_none());
        assert_eq!((reading.totals.functions, reading.gone.submitted), (1, 0));
    }
}
