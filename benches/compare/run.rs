//! How each kind of scenario is run against a server that was just started.

use std::error::Error;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gearhouse::client::{Client, ClientError};
use gearhouse::load::{Ask, Load, Setup, Tally, Unique};
use gearhouse::protocol::Kind;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::measure::{Figures, Span, insert_quantiles, resident};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a server may take for what it owes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Jobs of a scenario's own measure before what counts.
const WARM_UP: u64 = 2_000;

/// Queued jobs at which a pump waits.
const PUMP_BOUND: u64 = 2_000;

/// Jobs that are submitted and drained at each depth.
const AT_DEPTH: u64 = 20_000;

const DEPTHS: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 3_000_000];

/// The number that marks the timer among the connections.
const TIMER: Token = Token(usize::MAX - 1);

/// How many there are of each.
#[derive(Clone, Copy)]
pub struct Shape {
    pub clients: usize,
    pub outstanding: usize,
    pub workers: usize,
    pub grabs: usize,
    pub payload: usize,
    pub unique: Unique,
}

impl Shape {
    pub const COMMON: Shape =
        Shape { clients: 8, outstanding: 64, workers: 8, grabs: 1, payload: 100, unique: Unique::Each };
}

/// One run.
pub struct Run {
    pub address: SocketAddr,
    pub pid: u32,
    /// What counts and times are divided by: 1, or much if it is only to be seen that all works.
    pub divisor: u64,
}

impl Run {
    /// Background jobs.
    pub fn submit(&self, shape: Shape, jobs: u64) -> Result<Figures> {
        let mut figures = Figures::new();
        let mut load = self.load(shape, Ask::Background)?;
        load.connect_clients(shape.clients)?;
        self.fill(&mut load, self.few(WARM_UP), 5, None)?;
        self.fill(&mut load, self.few(jobs), 2, Some((&mut figures, "cpu", "rate")))?;
        load.check_handles()?;
        self.check_status(load.queued())?;
        insert_quantiles(load.answer_times(), &mut figures);
        Ok(figures)
    }

    /// Workers take and end background jobs that wait.
    pub fn drain(&self, shape: Shape, jobs: u64) -> Result<Figures> {
        let mut figures = Figures::new();
        let mut load = self.load(shape, Ask::Background)?;
        load.connect_clients(shape.clients)?;
        self.fill(&mut load, self.few(jobs), 2, None)?;
        load.check_handles()?;
        load.connect_workers(shape.workers)?;
        load.run(PATIENCE, Load::is_introduced)?;
        if self.take(&mut load, u64::MAX, 3, (&mut figures, "cpu", "rate"))? {
            self.check_status(0)?;
        }
        Ok(figures)
    }

    /// Clients and workers at once, whose jobs have no end: from submit to result, or through a short queue.
    pub fn steady(&self, shape: Shape, ask: Ask) -> Result<Figures> {
        let mut figures = Figures::new();
        let mut load = self.asleep(shape, ask)?;
        let done = |tally: Tally| if ask == Ask::Foreground { tally.answered } else { tally.worked };
        if ask == Ask::Background {
            load.bound_queue(PUMP_BOUND);
        }
        load.allow(u64::MAX);
        load.run(self.briefly(200), |_| false)?;
        load.forget_times();
        let before = load.tally();
        let span = Span::start(self.pid)?;
        load.run(self.briefly(800), |_| false)?;
        let jobs = done(load.tally()) - done(before);
        span.end(jobs, "cpu", "rate", &mut figures)?;
        figures.insert("noops".into(), (load.tally().noops - before.noops) as f64 / jobs as f64);
        insert_quantiles(load.answer_times(), &mut figures);
        self.settle(&mut load)?;
        Ok(figures)
    }

    /// Background jobs that join those of the same unique id.
    pub fn coalesce(&self, shape: Shape, jobs: u64) -> Result<Figures> {
        let Unique::Of(keys) = shape.unique else { return Err("no unique ids to join by".into()) };
        let mut figures = Figures::new();
        let mut load = self.load(shape, Ask::Background)?;
        load.connect_clients(shape.clients)?;
        let submitted = self.fill(&mut load, self.few(jobs), 2, Some((&mut figures, "cpu", "rate")))?;
        load.check_handles()?;
        self.check_status(keys.min(submitted))?;
        load.connect_workers(shape.workers)?;
        load.grab(u64::MAX);
        self.wait(&mut load, "jobs that were joined are not handed out", |load| load.queued() == 0)?;
        Ok(figures)
    }

    /// Foreground jobs that come at a fixed rate, whatever the answers do.
    pub fn open(&self) -> Result<Figures> {
        let shape = Shape { workers: 16, outstanding: 1, ..Shape::COMMON };
        let mut load = self.asleep(shape, Ask::Foreground)?;
        self.at_rate(&mut load, shape.clients, self.briefly(200), None)?;
        let mut figures = Figures::new();
        self.at_rate(&mut load, shape.clients, self.briefly(1_000), Some(&mut figures))?;
        Ok(figures)
    }

    /// One foreground job at a time, with so many workers asleep before each.
    pub fn herd(&self, sleepers: &[usize]) -> Result<Figures> {
        let mut figures = Figures::new();
        let mut load = self.load(Shape { outstanding: 1, ..Shape::COMMON }, Ask::Foreground)?;
        load.connect_clients(1)?;
        let mut workers = 0;
        for sleepers in sleepers {
            while workers < *sleepers {
                let few = (sleepers - workers).min(16);
                load.connect_workers(few)?;
                workers += few;
                load.grab(u64::MAX);
                self.wait(&mut load, "workers do not get to sleep", Load::is_asleep)?;
            }
            let one = |load: &mut Load| {
                load.allow(1);
                self.wait(load, "a job is not done", |load| {
                    load.tally().answered == load.tally().asked && load.is_asleep()
                })
            };
            for _ in 0..5 {
                one(&mut load)?;
            }
            let (end, before) = (load.now() + self.briefly(700), load.tally().answered);
            let span = Span::start(self.pid)?;
            while load.now() < end {
                one(&mut load)?;
            }
            let jobs = load.tally().answered - before;
            span.end(jobs, &format!("cpu@{sleepers}"), &format!("rate@{sleepers}"), &mut figures)?;
        }
        Ok(figures)
    }

    /// Submit and drain with more and more jobs queued, as far as the server gets in its time.
    pub fn depth(&self, unique: Unique) -> Result<Figures> {
        let mut figures = Figures::new();
        let shape = Shape { unique, ..Shape::COMMON };
        let mut load = self.load(shape, Ask::Background)?;
        load.connect_clients(shape.clients)?;
        load.connect_workers(shape.workers)?;
        for depth in DEPTHS {
            let missing = self.few(depth).saturating_sub(load.queued());
            if self.fill(&mut load, missing, 15, None)? < missing {
                break;
            }
            let submit = (&format!("submit cpu@{depth}")[..], &format!("submit rate@{depth}")[..]);
            self.fill(&mut load, self.few(AT_DEPTH), 3, Some((&mut figures, submit.0, submit.1)))?;
            let drain = (&format!("drain cpu@{depth}")[..], &format!("drain rate@{depth}")[..]);
            self.take(&mut load, self.few(AT_DEPTH), 3, (&mut figures, drain.0, drain.1))?;
        }
        load.check_handles()?;
        for what in ["submit", "drain"] {
            let at = |depth: u64| figures.get(&format!("{what} cpu@{depth}"));
            if let (Some(few), Some(many)) = (at(10_000), at(3_000_000)) {
                figures.insert(format!("{what} growth"), many / few);
            }
        }
        Ok(figures)
    }

    /// Jobs of so many functions, and workers that can do all of them.
    pub fn functions(&self, counts: &[u64]) -> Result<Figures> {
        let mut figures = Figures::new();
        for count in counts {
            let shape = Shape { unique: Unique::Empty, workers: 4, ..Shape::COMMON };
            let mut setup = self.setup(shape, Ask::Background);
            setup.functions = (0..*count).map(|number| format!("compare-{count}-{number:06}")).collect();
            let functions = *count * shape.workers as u64;
            let mut load = Load::new(setup)?;
            load.connect_clients(shape.clients)?;
            // The first of each function makes it.
            self.fill(&mut load, self.few(*count), 3, None)?;
            let submit = (&format!("submit cpu@{count}")[..], &format!("submit rate@{count}")[..]);
            self.fill(&mut load, self.few(50_000), 3, Some((&mut figures, submit.0, submit.1)))?;
            let span = Span::start(self.pid)?;
            load.connect_workers(shape.workers)?;
            self.wait(&mut load, "CAN_DO is not taken in", Load::is_introduced)?;
            span.end(
                functions,
                &format!("CAN_DO cpu@{count}"),
                &format!("CAN_DO rate@{count}"),
                &mut figures,
            )?;
            let drain = (&format!("drain cpu@{count}")[..], &format!("drain rate@{count}")[..]);
            self.take(&mut load, u64::MAX, 3, (&mut figures, drain.0, drain.1))?;
        }
        Ok(figures)
    }

    /// `status` of so many functions, and what jobs that come at a fixed rate notice of it.
    pub fn admin(&self, functions: usize) -> Result<Figures> {
        let mut setup = self.setup(Shape::COMMON, Ask::Foreground);
        setup.functions = (0..functions).map(|number| format!("other-{number:06}")).collect();
        let mut others = Load::new(setup)?;
        others.connect_workers(1)?;
        self.wait(&mut others, "CAN_DO is not taken in", Load::is_introduced)?;
        let shape = Shape { clients: 4, outstanding: 1, ..Shape::COMMON };
        let mut load = self.asleep(shape, Ask::Foreground)?;
        let mut admin = Client::connect(&[self.address])?;
        let poll = |admin: &mut Client| -> std::result::Result<bool, ClientError> {
            Ok(admin.list(b"status")?.iter().filter(|line| line.starts_with("other-")).count() == functions)
        };
        let mut figures = Figures::new();
        let span = Span::start(self.pid)?;
        let polls = self.few(50);
        for _ in 0..polls {
            if !poll(&mut admin)? {
                return Err("`status` leaves functions out".into());
            }
        }
        span.end(polls, "status cpu", "status rate", &mut figures)?;
        self.at_rate(&mut load, shape.clients, self.briefly(200), None)?;
        self.at_rate(&mut load, shape.clients, self.briefly(2_000), Some(&mut figures))?;
        let (is_over, mut polled) = (AtomicBool::new(false), Figures::new());
        let answers = thread::scope(|scope| {
            let poller = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    if !poll(&mut admin)? {
                        return Ok(false);
                    }
                    // The pace of a monitor that asks very often.
                    thread::sleep(Duration::from_millis(20));
                }
                Ok::<bool, ClientError>(true)
            });
            let done = self.at_rate(&mut load, shape.clients, self.briefly(2_000), Some(&mut polled));
            is_over.store(true, Ordering::Relaxed);
            done.map(|()| poller.join())
        })?;
        match answers {
            Ok(Ok(true)) => {}
            Ok(Err(error)) => return Err(error.into()),
            _ => return Err("`status` leaves functions out while jobs flow".into()),
        }
        figures.insert("p99 polled".into(), polled["p99"]);
        figures.insert("p99 growth".into(), polled["p99"] / figures["p99"]);
        Ok(figures)
    }

    /// Memory of a queued job.
    pub fn memory(&self) -> Result<Figures> {
        let shape = Shape { unique: Unique::Empty, ..Shape::COMMON };
        let mut load = self.load(shape, Ask::Background)?;
        load.connect_clients(shape.clients)?;
        self.fill(&mut load, self.few(WARM_UP), 5, None)?;
        let before = self.settled_memory()?;
        let jobs = self.fill(&mut load, self.few(1_000_000), 10, None)?;
        let bytes = self.settled_memory()?.saturating_sub(before) as f64 / jobs as f64;
        Ok(Figures::from([("bytes".to_owned(), bytes)]))
    }

    /// Memory of a connection that does nothing.
    pub fn memory_idle(&self) -> Result<Figures> {
        let (first, many) = (16, self.few(10_000) as usize);
        let mut load = self.load(Shape::COMMON, Ask::Echo)?;
        let mut before = 0;
        for number in 0..first + many {
            if number == first {
                before = self.settled_memory()?;
            }
            load.connect_clients(1)?;
            load.ask_one(number, load.now());
            self.wait(&mut load, "a connection is not served", |load| load.tally().answered > number as u64)?;
        }
        let bytes = self.settled_memory()?.saturating_sub(before) as f64 / many as f64;
        Ok(Figures::from([("bytes".to_owned(), bytes)]))
    }

    fn setup(&self, shape: Shape, ask: Ask) -> Setup {
        Setup {
            addresses: vec![self.address],
            functions: vec!["compare".into()],
            payload: shape.payload,
            unique: shape.unique,
            ask,
            outstanding: shape.outstanding,
            // What libgearman's workers send.
            grab: Kind::GrabJobUniq,
            grabs: shape.grabs,
        }
    }

    fn load(&self, shape: Shape, ask: Ask) -> Result<Load> {
        Ok(Load::new(self.setup(shape, ask))?)
    }

    /// Clients that have not asked yet, and workers asleep.
    fn asleep(&self, shape: Shape, ask: Ask) -> Result<Load> {
        let mut load = self.load(shape, ask)?;
        load.connect_clients(shape.clients)?;
        load.connect_workers(shape.workers)?;
        load.grab(u64::MAX);
        self.wait(&mut load, "workers do not get to sleep", Load::is_asleep)?;
        Ok(load)
    }

    /// Submits so many jobs, or as many as are done in so many seconds. How many.
    fn fill(
        &self,
        load: &mut Load,
        jobs: u64,
        seconds: u64,
        into: Option<(&mut Figures, &str, &str)>,
    ) -> Result<u64> {
        let before = load.tally().answered;
        load.forget_times();
        let span = Span::start(self.pid)?;
        load.allow(jobs);
        load.run(Duration::from_secs(seconds), |load| load.tally().answered - before >= jobs)?;
        if let Some((figures, cpu, rate)) = into {
            span.end(load.tally().answered - before, cpu, rate, figures)?;
        }
        load.allow(0);
        self.wait(load, "jobs are not acknowledged", |load| load.tally().answered == load.tally().asked)?;
        Ok(load.tally().answered - before)
    }

    /// Workers take so many jobs, or all, or as many as they get in so many seconds. Whether the queue is empty.
    fn take(
        &self,
        load: &mut Load,
        jobs: u64,
        seconds: u64,
        into: (&mut Figures, &str, &str),
    ) -> Result<bool> {
        let (before, all) = (load.tally().worked, load.queued());
        let jobs = jobs.min(all);
        let span = Span::start(self.pid)?;
        load.grab(if jobs == all { u64::MAX } else { jobs });
        load.run(Duration::from_secs(seconds), |load| {
            load.tally().worked - before >= jobs && load.is_idle()
        })?;
        let (figures, cpu, rate) = into;
        span.end(load.tally().worked - before, cpu, rate, figures)?;
        load.grab(0);
        self.wait(load, "workers get no answer", Load::is_idle)?;
        if load.is_asleep() && load.queued() > 0 {
            return Err(format!("{} jobs are not handed out", load.queued()).into());
        }
        Ok(load.queued() == 0)
    }

    /// 2,000 foreground jobs a second.
    fn at_rate(
        &self,
        load: &mut Load,
        clients: usize,
        time: Duration,
        into: Option<&mut Figures>,
    ) -> Result<()> {
        let interval = Duration::from_micros(500);
        let jobs = u32::try_from(time.as_micros() / interval.as_micros())?;
        // Polling counts in milliseconds; a timer among the connections does not.
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let fd = timer.as_fd().as_raw_fd();
        load.registry().register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
        timer.set(Expiration::Interval(TimeSpec::from_duration(interval)), TimerSetTimeFlags::empty())?;
        let start = load.now();
        load.forget_times();
        let (before, span) = (load.tally().answered, Span::start(self.pid)?);
        for job in 0..jobs {
            let due = start + interval * (job + 1);
            while load.now() < due {
                load.turn(PATIENCE)?;
                // Fails if a packet came before the timer: it was not due then.
                let _ = timer.wait();
            }
            load.ask_one(job as usize % clients, due);
        }
        self.settle(load)?;
        load.registry().deregister(&mut SourceFd(&fd))?;
        if let Some(figures) = into {
            span.end(load.tally().answered - before, "cpu", "rate", figures)?;
            insert_quantiles(load.answer_times(), figures);
        }
        Ok(())
    }

    /// No more requests; all that were sent come to their end.
    fn settle(&self, load: &mut Load) -> Result<()> {
        load.allow(0);
        self.wait(load, "jobs are lost", |load| {
            load.tally().answered == load.tally().asked && load.queued() == 0
        })
    }

    fn wait(&self, load: &mut Load, what_is_wrong: &str, until: impl FnMut(&Load) -> bool) -> Result<()> {
        if load.run(PATIENCE, until)? { Ok(()) } else { Err(what_is_wrong.into()) }
    }

    /// The server knows of as many jobs as we do.
    fn check_status(&self, jobs: u64) -> Result<()> {
        let mut counted = 0;
        for line in Client::connect(&[self.address])?.list(b"status")? {
            counted += line.split('\t').nth(1).unwrap_or_default().parse::<u64>()?;
        }
        if counted == jobs {
            Ok(())
        } else {
            Err(format!("`status` counts {counted} jobs, not {jobs}").into())
        }
    }

    /// Memory once the server has come to rest.
    fn settled_memory(&self) -> Result<u64> {
        thread::sleep(Duration::from_millis(200));
        Ok(resident(self.pid)?)
    }

    fn few(&self, count: u64) -> u64 {
        (count / self.divisor).max(1)
    }

    fn briefly(&self, millis: u64) -> Duration {
        Duration::from_millis(self.few(millis))
    }
}
