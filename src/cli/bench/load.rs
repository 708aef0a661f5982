//! The connections that make the load, all in one thread, each a task.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::super::Failure;
use super::Setup;
use super::measure::Meter;
use crate::client::{ClientError, refused};
use crate::protocol::{Frame, Kind};

/// One run's connections and what they have in common.
pub(super) struct Load {
    setup: Setup,
    /// Number of the next job, which is its unique id, as libgearman gives each job one.
    next: Cell<u64>,
    /// Background jobs that were submitted and not yet worked.
    left: Cell<u64>,
}

impl Load {
    pub fn new(setup: Setup) -> Load {
        Load { setup, next: Cell::new(0), left: Cell::new(0) }
    }

    pub fn function(&self) -> &str {
        &self.setup.function
    }

    /// Packets that come back as they are.
    pub async fn echo(&self, meter: &Meter) -> Result<(), Failure> {
        self.clients(meter, |wire| wire.send(Kind::EchoReq, &[&self.setup.payload]), Kind::EchoRes).await
    }

    /// Background jobs.
    pub async fn submit(&self, meter: &Meter) -> Result<(), Failure> {
        let submit = |wire: &mut Wire| {
            self.left.set(self.left.get() + 1);
            self.send_job(wire, Kind::SubmitJobBg);
        };
        self.clients(meter, submit, Kind::JobCreated).await
    }

    /// What is left of the background jobs is taken and ended.
    pub async fn work(&self, meter: &Meter) -> Result<(), Failure> {
        let workers = (0..self.setup.workers).map(|_| self.worker(Some(meter)));
        all(workers).await
    }

    /// Foreground jobs, from submit to result.
    pub async fn round_trip(&self, meter: &Meter) -> Result<(), Failure> {
        let workers = all((0..self.setup.workers).map(|_| self.resident()));
        let clients = all((0..self.setup.clients).map(|_| self.caller(meter)));
        tokio::select! {
            done = clients => done,
            done = workers => done,
        }
    }

    /// Takes background jobs back that no scenario has worked. How many are left all the same.
    pub async fn clean_up(&self) -> Result<u64, Failure> {
        if self.left.get() > 0 {
            self.worker(None).await?;
        }
        Ok(self.left.get())
    }

    fn send_job(&self, wire: &mut Wire, kind: Kind) {
        let number = self.next.get();
        self.next.set(number + 1);
        wire.send(
            kind,
            &[self.setup.function.as_bytes(), number.to_string().as_bytes(), &self.setup.payload],
        );
    }

    /// Connections that keep requests on their way as long as the time lasts; each is answered by one packet.
    async fn clients(&self, meter: &Meter, ask: impl Fn(&mut Wire), answer: Kind) -> Result<(), Failure> {
        let client = || async {
            let mut wire = self.connect().await?;
            let mut begun: VecDeque<Instant> = VecDeque::new();
            loop {
                let now = meter.now();
                while begun.len() < self.setup.outstanding && meter.goes_on(now) {
                    ask(&mut wire);
                    begun.push_back(now);
                }
                if begun.is_empty() {
                    return Ok(());
                }
                wire.exchange().await?;
                let now = meter.now();
                while let Some(frame) = wire.next()? {
                    match (frame.kind, begun.pop_front()) {
                        (kind, Some(begun)) if kind == answer => meter.done(begun, now),
                        _ => return Err(unexpected(&frame)),
                    }
                }
            }
        };
        all((0..self.setup.clients).map(|_| client())).await
    }

    /// Takes one job after the other until there is none.
    async fn worker(&self, meter: Option<&Meter>) -> Result<(), Failure> {
        let mut wire = self.connect_worker().await?;
        let mut begun = Instant::now();
        loop {
            wire.exchange().await?;
            while let Some(frame) = wire.next()? {
                let now = Instant::now();
                match frame.kind {
                    Kind::JobAssign => {
                        wire.complete(&frame);
                        self.left.set(self.left.get().saturating_sub(1));
                        if let Some(meter) = meter {
                            meter.done(begun, now);
                        }
                        begun = now;
                    }
                    Kind::NoJob => return wire.exchange_rest().await,
                    _ => return Err(unexpected(&frame)),
                }
            }
        }
    }

    /// Works and sleeps until the scenario ends.
    async fn resident(&self) -> Result<(), Failure> {
        let mut wire = self.connect_worker().await?;
        loop {
            wire.exchange().await?;
            while let Some(frame) = wire.next()? {
                match frame.kind {
                    Kind::JobAssign => wire.complete(&frame),
                    Kind::NoJob => wire.send(Kind::PreSleep, &[]),
                    Kind::Noop => wire.send(Kind::GrabJob, &[]),
                    _ => return Err(unexpected(&frame)),
                }
            }
        }
    }

    /// Submits foreground jobs and waits for their results.
    async fn caller(&self, meter: &Meter) -> Result<(), Failure> {
        let mut wire = self.connect().await?;
        let mut begun: VecDeque<Instant> = VecDeque::new();
        let mut running: HashMap<Bytes, Instant> = HashMap::new();
        loop {
            let now = meter.now();
            while begun.len() + running.len() < self.setup.outstanding && meter.goes_on(now) {
                self.send_job(&mut wire, Kind::SubmitJob);
                begun.push_back(now);
            }
            if begun.is_empty() && running.is_empty() {
                return Ok(());
            }
            wire.exchange().await?;
            let now = meter.now();
            while let Some(frame) = wire.next()? {
                let handle = frame.arguments().next().map(|handle| frame.body.slice_ref(handle));
                match (frame.kind, handle) {
                    (Kind::JobCreated, Some(handle)) => {
                        running.extend(begun.pop_front().map(|begun| (handle, begun)));
                    }
                    (Kind::WorkComplete, Some(handle)) => match running.remove(&handle) {
                        Some(begun) => meter.done(begun, now),
                        None => return Err(unexpected(&frame)),
                    },
                    _ => return Err(unexpected(&frame)),
                }
            }
        }
    }

    async fn connect_worker(&self) -> Result<Wire, Failure> {
        let mut wire = self.connect().await?;
        wire.send(Kind::CanDo, &[self.setup.function.as_bytes()]);
        wire.send(Kind::GrabJob, &[]);
        Ok(wire)
    }

    async fn connect(&self) -> Result<Wire, Failure> {
        let stream = TcpStream::connect(&self.setup.addresses[..])
            .await
            .map_err(|error| Failure::usage(format!("cannot connect to the server: {error}")))?;
        stream.set_nodelay(true).map_err(broken)?;
        Ok(Wire { stream, input: BytesMut::new(), output: BytesMut::new() })
    }
}

/// One connection: what is to be sent gathers until the next exchange.
struct Wire {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    fn send(&mut self, kind: Kind, arguments: &[&[u8]]) {
        Frame::request(kind, arguments).encode(&mut self.output);
    }

    /// Ends a job and asks for the next.
    fn complete(&mut self, job: &Frame) {
        let handle = job.arguments().next().unwrap_or_default();
        self.send(Kind::WorkComplete, &[handle, b""]);
        self.send(Kind::GrabJob, &[]);
    }

    /// Sends all that has gathered and waits until something comes.
    async fn exchange(&mut self) -> Result<(), Failure> {
        self.exchange_rest().await?;
        self.input.reserve(64 * 1024);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(Failure::refused(ClientError::Closed)),
            Ok(_) => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }

    /// Sends all that has gathered.
    async fn exchange_rest(&mut self) -> Result<(), Failure> {
        self.stream.write_all_buf(&mut self.output).await.map_err(broken)
    }

    fn next(&mut self) -> Result<Option<Frame>, Failure> {
        Frame::decode(&mut self.input).map_err(Failure::refused)
    }
}

/// Waits for all; the first that fails ends it.
async fn all(tasks: impl Iterator<Item = impl Future<Output = Result<(), Failure>>>) -> Result<(), Failure> {
    try_join_all(tasks).await.map(drop)
}

fn broken(error: std::io::Error) -> Failure {
    Failure::refused(format!("the connection broke: {error}"))
}

fn unexpected(frame: &Frame) -> Failure {
    Failure::refused(match frame.kind {
        Kind::Error => refused(frame),
        kind => ClientError::Unexpected(kind),
    })
}
