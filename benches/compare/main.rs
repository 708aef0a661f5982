//! The comparison behind docs/performance.md: Gearhouse beside gearmand, in memory, on this machine.
//!
//! `cargo bench --bench compare` runs all of it, half an hour or so, and prints the table; it ends with exit code 1 if
//! anything falls short by more than a tenth. Servers take turns within a round, each run has a fresh one, and ratios
//! are taken within a round, so that what else the machine does concerns all. `-- --help` shows what can be chosen. The
//! load is that of `gearhouse bench` ([`gearhouse::load`]): one thread, which checks all that comes back.

mod measure;
mod plot;
mod run;
mod scenarios;
mod servers;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use self::measure::Figures;
use self::run::{Result, Run};
use self::scenarios::Scenario;
use self::servers::{Pinned, Server};

/// Gearhouse beside gearmand
#[derive(Parser)]
struct Options {
    /// How often each server runs each scenario
    #[arg(long, default_value = "5")]
    rounds: u32,

    /// Scenarios, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    scenarios: Vec<String>,

    /// Servers, separated by commas [default: all that are found]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    servers: Vec<String>,

    /// One server more; {port} stands for its port, {dir} for a directory of its own
    #[arg(long, value_name = "NAME=COMMAND", value_parser = Server::parse)]
    server: Vec<(String, String)>,

    /// Another build of Gearhouse than the one beside this bench
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_gearhouse"))]
    gearhouse: PathBuf,

    /// Where the figures are kept: all of them, of each run
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/compare.json"))]
    json: PathBuf,

    /// Only shows the table of such a file again
    #[arg(long)]
    table: bool,

    /// Only draws the growth curves of such a file, into docs/images
    #[arg(long)]
    plot: bool,

    /// Only shows that everything works: a fiftieth of the load, one round, and no verdict
    #[arg(long)]
    smoke: bool,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// What came of one run.
#[derive(Serialize, Deserialize, Clone)]
struct Outcome {
    scenario: String,
    server: String,
    round: u32,
    figures: Figures,
    /// What was wrong, if it failed.
    error: Option<String>,
}

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing fell short.
fn compare(options: &Options) -> Result<bool> {
    if options.table || options.plot {
        let outcomes: Vec<Outcome> = serde_json::from_slice(&fs::read(&options.json)?)?;
        if options.plot {
            plot::draw(&outcomes, concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images").as_ref())?;
            return Ok(true);
        }
        return Ok(table::print(&outcomes));
    }
    let (scenarios, servers) = (chosen_scenarios(options)?, chosen_servers(options)?);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut outcomes = Vec::new();
    for round in 1..=if options.smoke { 1 } else { options.rounds } {
        for scenario in &scenarios {
            for server in servers.iter().filter(|server| server.runs(&scenario.name)) {
                let outcome = one(scenario, server, round, if options.smoke { 50 } else { 1 })?;
                let said = outcome.error.clone().unwrap_or_else(|| table::summary(&outcome.figures));
                eprintln!("{round} {:22}{:20}{said}", outcome.scenario, outcome.server);
                outcomes.push(outcome);
            }
        }
        serde_json::to_writer(io::BufWriter::new(fs::File::create(&options.json)?), &outcomes)?;
    }
    let all_ran = outcomes.iter().all(|outcome| outcome.error.is_none());
    Ok(if options.smoke { all_ran } else { table::print(&outcomes) && all_ran })
}

fn one(scenario: &Scenario, server: &Server, round: u32, divisor: u64) -> Result<Outcome> {
    let _pinned = if scenario.is_pinned { Some(Pinned::to_one()?) } else { None };
    let running = server.start()?;
    let run = Run { address: running.address, pid: running.pid(), divisor };
    let (figures, error) = match (scenario.run)(&run) {
        Ok(figures) => (figures, None),
        Err(error) => (Figures::new(), Some(format!("FAILED: {error}"))),
    };
    Ok(Outcome { scenario: scenario.name.clone(), server: server.name.clone(), round, figures, error })
}

fn chosen_scenarios(options: &Options) -> Result<Vec<Scenario>> {
    let all = Scenario::all();
    if let Some(unknown) = options.scenarios.iter().find(|name| all.iter().all(|known| known.name != **name))
    {
        let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        return Err(format!("there is no scenario {unknown}; there are {}", names.join(", ")).into());
    }
    let is_chosen = |name: &String| options.scenarios.is_empty() || options.scenarios.contains(name);
    Ok(all.into_iter().filter(|scenario| is_chosen(&scenario.name)).collect())
}

fn chosen_servers(options: &Options) -> Result<Vec<Server>> {
    let mut all = Server::all(&options.gearhouse);
    all.extend(options.server.iter().map(|(name, command)| Server::new(name, command.clone(), &[])));
    if let Some(unknown) = options.servers.iter().find(|name| all.iter().all(|known| known.name != **name)) {
        let names: Vec<&str> = all.iter().map(|server| server.name.as_str()).collect();
        return Err(format!("there is no server {unknown} here; there are {}", names.join(", ")).into());
    }
    let is_chosen = |name: &String| options.servers.is_empty() || options.servers.contains(name);
    Ok(all.into_iter().filter(|server| is_chosen(&server.name)).collect())
}
