//! `gearhouse bench`: how fast a job server is, measured from one client machine. Any Gearman server will do.

mod load;
mod measure;
mod report;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};

use self::load::Load;
use self::measure::{Figures, Meter};
use super::values::{Size, Span};
use super::{Failure, Server, tell};

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

    /// Payload of each job
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

/// What the loads share.
#[derive(Debug)]
struct Setup {
    addresses: Vec<SocketAddr>,
    /// Function that no one else knows.
    function: String,
    clients: usize,
    workers: usize,
    outstanding: usize,
    payload: Vec<u8>,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let scenarios = if self.scenarios.is_empty() { &Scenario::ALL[..] } else { &self.scenarios };
        if scenarios.iter().find(|scenario| **scenario != Scenario::Echo) == Some(&Scenario::Work) {
            return Err(Failure::usage("there is nothing to work: name submit before work"));
        }
        let setup = Setup {
            addresses: self.server.server.to_connect().map_err(|error| {
                Failure::usage(format!("cannot find the addresses of {}: {error}", self.server.server))
            })?,
            function: format!("gearhouse-bench-{}-{}", std::process::id(), measure::micros()),
            clients: self.clients.get(),
            workers: self.workers.get(),
            outstanding: self.outstanding.get(),
            payload: vec![b'x'; usize::try_from(self.payload.0).unwrap_or(usize::MAX)],
        };
        // One thread: what it costs must not depend on what else this machine does.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::usage(format!("cannot start: {error}")))?;
        let shows_progress = !self.json && std::io::stderr().is_terminal();
        let figures = runtime.block_on(async {
            let load = Load::new(setup);
            let mut figures = Vec::new();
            for scenario in scenarios {
                let meter = Meter::start(scenario.name(), self.time.0, self.pid, shows_progress)?;
                match scenario {
                    Scenario::Echo => load.echo(&meter).await?,
                    Scenario::Submit => load.submit(&meter).await?,
                    Scenario::Work => load.work(&meter).await?,
                    Scenario::RoundTrip => load.round_trip(&meter).await?,
                }
                figures.push(meter.finish()?);
            }
            // Whoever asked for `submit` alone does not want the jobs.
            let left = load.clean_up().await?;
            if left > 0 {
                tell(format_args!("{left} jobs of function {} could not be taken back", load.function()));
            }
            Ok::<Vec<Figures>, Failure>(figures)
        })?;
        let written = if self.json { report::json(&figures) } else { report::table(&figures) };
        written.map_err(|error| Failure::usage(format!("cannot write the figures: {error}")))
    }
}
