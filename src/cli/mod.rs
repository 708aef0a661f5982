//! The command line of `gearhouse`: what can be typed, and how it ends.
//!
//! Each subcommand has a file of its own; [`options`] is the one list of what the server can be told.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "texts of options are written for a terminal: brackets are brackets"
)]

mod address;
mod admin;
mod api;
mod bench;
mod functions;
mod generated;
mod job;
mod jobs;
mod load;
mod options;
mod schedules;
mod serve;
mod show;
mod store;
mod submit;
mod table;
mod token;
mod top;
mod values;
mod work;
mod workers;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{Client, ClientError};
use address::Address;
use options::Options;

/// What environment variables that are options begin with. `GEARHOUSE_PORT` and the like are not: container
/// platforms set such names for reasons of their own.
const ENV_PREFIX: &str = "GEARHOUSE_OPT_";

const EXAMPLES: &str = "\
Try it, in three terminals:
  gearhouse                                 starts a server on port 4730
  gearhouse work upper -- tr a-z A-Z        a worker: `tr` does each job
  gearhouse submit upper 'hello, world'     a client: prints HELLO, WORLD

`gearhouse COMMAND --help` explains a command, with examples.
`gearhouse gearmand --help` is gearmand's own command line, for scripts that start gearmand.";

/// A job server that speaks the Gearman protocol
///
/// Without a command it starts the server, as `gearhouse serve` does.
#[derive(Parser, Debug)]
#[command(name = "gearhouse", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start the server; this is what `gearhouse` alone does
    ///
    /// Clients and workers connect to it with any Gearman library. SIGTERM and SIGINT end it when running jobs
    /// are done, SIGUSR1 when queued ones are done too; SIGHUP opens the log file anew.
    #[command(after_long_help = serve::HELP)]
    Serve(Box<Options>),
    /// Submit a job, and wait for its result
    #[command(after_long_help = submit::HELP)]
    Submit(submit::Submit),
    /// Do jobs: run a command for each
    #[command(after_long_help = work::HELP)]
    Work(work::Work),
    /// Search jobs, and cancel, hold, release, retry, run, prioritise or delete them
    #[command(after_long_help = jobs::HELP)]
    Jobs(jobs::Jobs),
    /// One job: all that is known of it, its log, payload and result
    #[command(after_long_help = job::HELP)]
    Job(job::Job),
    /// Functions: what waits for them, their policies; pause, resume, purge and drop them
    #[command(after_long_help = functions::HELP)]
    Functions(functions::Functions),
    /// Workers and clients: who they are, what they do; send them away
    #[command(after_long_help = workers::HELP)]
    Workers(workers::Workers),
    /// Recurring jobs
    #[command(after_long_help = schedules::HELP)]
    Schedules(schedules::Schedules),
    /// How busy the server was, over time
    #[command(after_long_help = load::HELP)]
    Load(load::Load),
    /// Watch the functions live
    #[command(after_long_help = top::HELP)]
    Top(top::Top),
    /// Look at a running server by Gearman's text protocol, and steer it
    #[command(after_long_help = admin::HELP)]
    Admin(admin::Admin),
    /// Measure how fast a job server is, this one or any other
    #[command(after_long_help = bench::HELP)]
    Bench(bench::Bench),
    /// Look at the store of a stopped server, check it, take its jobs elsewhere
    #[command(after_long_help = store::HELP)]
    Store(store::Store),
    /// Print a script by which a shell completes commands and options
    #[command(after_long_help = generated::COMPLETIONS_HELP)]
    Completions(generated::Completions),
    /// Print or write manual pages
    #[command(after_long_help = generated::MAN_HELP)]
    Man(generated::Man),
    /// Make access tokens for the HTTP API
    #[command(after_long_help = token::HELP)]
    Token(token::Token),
}

/// Where the server is.
#[derive(Args, Clone, Debug)]
struct Server {
    /// The job server: HOST, HOST:PORT, [IPV6]:PORT or :PORT
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4730", global = true)]
    server: Address,
}

impl Server {
    fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.server.to_connect()?)
    }

    /// As [`Server::connect`], for commands that have nothing to do without a server.
    fn must_connect(&self) -> Result<Client, Failure> {
        self.connect().map_err(|error| {
            Failure::usage(format!("cannot connect to the server at {}: {error}", self.server))
        })
    }
}

/// Why a command ends without having done what it was asked.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It was asked for something impossible, or the server could not be reached.
    fn usage(message: impl Display) -> Failure {
        Failure { code: 2, message: message.to_string() }
    }

    /// It was tried, and the answer is no.
    fn refused(message: impl Display) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }
}

/// Writes a line to standard error. If that is gone nobody is left to tell, and work goes on.
fn tell(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// Runs the command line `args`, whose first word is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.len() < 2 {
        args = vec!["gearhouse".into(), "serve".into()];
    }
    let result = parse(args).and_then(|command| match command {
        Command::Serve(options) => serve::run(*options),
        Command::Submit(submit) => submit.run(),
        Command::Work(work) => work.run(),
        Command::Admin(admin) => admin.run(),
        Command::Bench(bench) => bench.run(),
        Command::Store(store) => store.run(),
        Command::Jobs(jobs) => jobs.run(),
        Command::Job(job) => job.run(),
        Command::Functions(functions) => functions.run(),
        Command::Workers(workers) => workers.run(),
        Command::Schedules(schedules) => schedules.run(),
        Command::Load(load) => load.run(),
        Command::Top(top) => top.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Token(token) => token.run(),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                tell(format_args!("error: {message}"));
            }
            ExitCode::from(code)
        }
    }
}

/// Help and complaints are printed here and leave an empty message.
fn parse(args: Vec<OsString>) -> Result<Command, Failure> {
    let mut command = command();
    let parsed = command
        .try_get_matches_from_mut(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    match parsed {
        Ok(Cli { command: Some(parsed) }) => refuse_unknown_variables(&command).map(|()| parsed),
        // `args` was seen to hold more than the name, and clap accepts nothing there but a command.
        Ok(Cli { command: None }) => Err(Failure::usage("a command is missing; try gearhouse --help")),
        Err(error) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = error.print();
            if let Some(variable) = culprit(&error, &command, &args) {
                tell(format_args!("\nThe value comes from the environment variable {variable}."));
            }
            Err(Failure { code: u8::try_from(error.exit_code()).unwrap_or(2), message: String::new() })
        }
    }
}

/// The command line as clap sees it, with a variable for each option of the server and for `--server`.
fn command() -> clap::Command {
    let with_variable = |arg: Arg| {
        let name = format!("{ENV_PREFIX}{}", arg.get_id().as_str().to_uppercase());
        arg.env(name).hide_env(true)
    };
    let mut command = Cli::command()
        .mut_subcommand("serve", |serve| serve.mut_args(with_variable))
        .mut_subcommand("store", |store| store.mut_arg("data_dir", with_variable));
    for name in ["submit", "work", "admin", "bench"] {
        command = command.mut_subcommand(name, |named| named.mut_arg("server", with_variable));
    }
    for name in ["jobs", "job", "functions", "workers", "schedules", "load", "top"] {
        command = command.mut_subcommand(name, |named| {
            let remote = ["http_url", "token"];
            remote.into_iter().fold(named, |named, arg| named.mut_arg(arg, with_variable))
        });
    }
    command
}

fn refuse_unknown_variables(command: &clap::Command) -> Result<(), Failure> {
    let known: BTreeSet<_> = variables(command).map(|(_, name)| name).collect();
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with(ENV_PREFIX) && !known.contains(name.as_ref()) {
            let why = format!(
                "there is no option for the environment variable {name}; the options are those of `gearhouse \
                 serve --help`, in capitals and with _ for -"
            );
            return Err(Failure::usage(why));
        }
    }
    Ok(())
}

/// The options that have a variable, with its name.
fn variables(command: &clap::Command) -> impl Iterator<Item = (&Arg, String)> {
    let args = command.get_subcommands().flat_map(clap::Command::get_arguments);
    args.filter_map(|arg| Some((arg, arg.get_env()?.to_string_lossy().into_owned())))
}

/// The variable that a wrong value came from, if it was not typed.
fn culprit(error: &clap::Error, command: &clap::Command, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let option = argument.split([' ', '=', '[']).next()?;
    let typed = |arg: &OsString| arg.to_string_lossy().split('=').next() == Some(option);
    if args.iter().any(typed) {
        return None;
    }
    // Two commands may have an option of one name, with a variable each.
    let named = command.find_subcommand(args.get(1)?)?;
    let arg = named.get_arguments().find(|arg| arg.get_long() == option.strip_prefix("--"))?;
    let name = arg.get_env()?;
    std::env::var_os(name).map(|_| name.to_string_lossy().into_owned())
}
