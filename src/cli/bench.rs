//! `gearhouse bench`: how fast a job server is, measured from one client machine. Any Gearman server will do.

mod measure;
mod report;

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::measure::{Figures, Meter};
use super::values::{Size, Span};
use super::{Failure, Server, tell};
use crate::load::{Ask, Load, LoadError, Setup, Unique};
use crate::protocol::Kind;

/// How long the progress bar stands still at most.
const GLANCE: Duration = Duration::from_millis(100);

pub(super) const HELP: &str = "\
Scenarios, each with jobs of one function that only this run knows:
  echo         packets that the server only sends back: what the network and the machine cost
  submit       background jobs, as many as fit into the time; with a durable server, each is on its disk
  work         workers take and end what `submit` left, one job at a time
  round-trip   foreground jobs, from their submit to their result

Examples:
  gearhouse bench                                        all of them, 5 seconds each
  gearhouse bench submit --clients 1 --outstanding 1     how long one submit takes
  gearhouse bench --server gearmand.example.com --json   the same questions to another server
  gearhouse bench --pid $(pidof gearmand)                with the server's processor time a job, if it runs here

The generator is one thread. Where it is the bottleneck (its processor is busy), look at the processor time a job.
Jobs that a run had to leave behind are told at its end.

Exit code: 0 done, 1 the server refused or lost something, 2 wrong use or no server.";

#[derive(Args, Debug)]
pub(super) struct Bench {
    #[command(flatten)]
    server: Server,

    /// What to measure, in this order [default: all]
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,

    /// Connections that submit
    #[arg(long, value_name = "N", default_value = "8")]
    clients: NonZeroUsize,

    /// Connections that work
    #[arg(long, value_name = "N", default_value = "8")]
    workers: NonZeroUsize,

    /// Requests that each client has on their way at once
    #[arg(long, value_name = "N", default_value = "64")]
    outstanding: NonZeroUsize,

    /// Payload of each job, 8 bytes at least: they carry its number
    #[arg(long, value_name = "SIZE", default_value = "100")]
    payload: Size,

    /// How long each scenario submits
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    time: Span,

    /// Process number of the server, if it runs on this machine: adds its processor time a job
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Scenario {
    Echo,
    Submit,
    Work,
    RoundTrip,
}

impl Scenario {
    const ALL: [Scenario; 4] = [Scenario::Echo, Scenario::Submit, Scenario::Work, Scenario::RoundTrip];

    fn name(self) -> &'static str {
        match self {
            Scenario::Echo => "echo",
            Scenario::Submit => "submit",
            Scenario::Work => "work",
            Scenario::RoundTrip => "round-trip",
        }
    }
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let scenarios = if self.scenarios.is_empty() { &Scenario::ALL[..] } else { &self.scenarios };
        if scenarios.iter().find(|scenario| **scenario != Scenario::Echo) == Some(&Scenario::Work) {
            return Err(Failure::usage("there is nothing to work: name submit before work"));
        }
        let setup = self.setup()?;
        let function = setup.functions.concat();
        let mut load = Load::new(setup)?;
        let mut figures = Vec::new();
        for scenario in scenarios {
            figures.push(self.measure(&mut load, *scenario)?);
            load.disconnect()?;
        }
        // Whoever asked for `submit` alone does not want the jobs.
        if load.queued() > 0 {
            load.connect_workers(1)?;
            load.grab(u64::MAX);
            load.run(Duration::MAX, Load::is_asleep)?;
        }
        if load.queued() > 0 {
            tell(format_args!("{} jobs of function {function} could not be taken back", load.queued()));
        }
        let written = if self.json { report::json(&figures) } else { report::table(&figures) };
        written.map_err(|error| Failure::usage(format!("cannot write the figures: {error}")))
    }

    fn setup(&self) -> Result<Setup, Failure> {
        let payload = usize::try_from(self.payload.0).unwrap_or(usize::MAX);
        if !(Setup::LEAST_PAYLOAD..=Setup::MOST_PAYLOAD).contains(&payload) {
            return Err(Failure::usage("--payload is 8 bytes to 1 GiB"));
        }
        let server = &self.server.server;
        Ok(Setup {
            addresses: server
                .to_connect()
                .map_err(|error| Failure::usage(format!("cannot find the addresses of {server}: {error}")))?,
            // No one else knows it.
            functions: vec![format!("gearhouse-bench-{}-{}", std::process::id(), measure::micros())],
            payload,
            unique: Unique::Each,
            ask: Ask::Echo,
            outstanding: self.outstanding.get(),
            // Not all servers know the other ways to ask for a job.
            grab: Kind::GrabJob,
            grabs: 1,
        })
    }

    fn measure(&self, load: &mut Load, scenario: Scenario) -> Result<Figures, Failure> {
        match scenario {
            Scenario::Echo => load.ask(Ask::Echo),
            Scenario::Submit => load.ask(Ask::Background),
            Scenario::RoundTrip => load.ask(Ask::Foreground),
            Scenario::Work => {}
        }
        if matches!(scenario, Scenario::Work | Scenario::RoundTrip) {
            load.connect_workers(self.workers.get())?;
        }
        if scenario != Scenario::Work {
            load.connect_clients(self.clients.get())?;
        }
        load.forget_times();
        let shows_progress = !self.json && std::io::stderr().is_terminal();
        let meter = Meter::start(scenario.name(), self.time.0, self.pid, shows_progress)?;
        let before = load.tally();
        load.grab(u64::MAX);
        if scenario == Scenario::Work {
            while !load.run(GLANCE, Load::is_asleep)? {
                meter.show(load.tally().worked - before.worked);
            }
            return meter.finish(load.tally().worked - before.worked, load.grab_times().clone());
        }
        load.allow(u64::MAX);
        let end = load.now() + self.time.0;
        while load.now() < end {
            load.run((end - load.now()).min(GLANCE), |_| false)?;
            meter.show(load.tally().answered - before.answered);
        }
        load.allow(0);
        load.run(Duration::MAX, |load| load.tally().answered == load.tally().asked)?;
        meter.finish(load.tally().answered - before.answered, load.answer_times().clone())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        match error {
            LoadError::Connect(_) => Failure::usage(error),
            _ => Failure::refused(error),
        }
    }
}
