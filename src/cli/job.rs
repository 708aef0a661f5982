//! `gearhouse job`: one job, with its log, payload and result.

use std::io;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Failure;
use super::api::{Api, ApiError, Query, Remote};
use super::jobs::{Action, Doing, PriorityName};
use super::show;

pub(super) const HELP: &str = "\
Examples:
  gearhouse job H:box:17                      all that is known of it
  gearhouse job H:box:17 log --follow         what happened to it, and what happens, until it ends
  gearhouse job H:box:17 result > result.png  its result, byte for byte
  gearhouse job H:box:17 retry

Exit code: 0 done, 1 not done, or refused by the server, 2 wrong use or no server.";

/// How long to wait before the log is asked for anew.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub(super) struct Job {
    #[command(flatten)]
    remote: Remote,

    /// The handle that submit printed
    handle: String,

    /// Do not ask before it is destroyed
    #[arg(long, global = true)]
    yes: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// All that is known of it; this is what `gearhouse job HANDLE` alone does
    Show,
    /// What happened to it, the oldest first
    Log {
        /// Go on with what happens, until the job ends
        #[arg(long)]
        follow: bool,
        /// Only entries behind the one with this serial number
        #[arg(long, value_name = "SERIAL")]
        newer_than: Option<u64>,
    },
    /// Its result, byte for byte
    Result,
    /// Its payload, byte for byte
    Payload,
    /// End it: at once if it is queued, when its worker is done if it runs; it never runs again
    Cancel,
    /// Take it out of the line until it is released
    Hold,
    /// Put it back into the line
    Release,
    /// Queue it again, if it failed or waits for another attempt
    Retry,
    /// Queue it now, if it is scheduled
    Run,
    /// Give it another priority
    Priority {
        /// The priority
        to: PriorityName,
    },
    /// Remove it, with all that is kept of it
    Delete,
}

impl Job {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.remote.api()?;
        let json = self.remote.json;
        let handle = self.handle;
        let action = match self.command.unwrap_or(Command::Show) {
            Command::Show => {
                let job = api.get(&[b"jobs", handle.as_bytes()], &Query::new())?;
                return if json { show::say(&job) } else { show::facts(&show::flat(&job)) };
            }
            Command::Log { follow, newer_than } => return log(&api, &handle, follow, newer_than, json),
            Command::Result => return copy(&api, &handle, b"result"),
            Command::Payload => return copy(&api, &handle, b"payload"),
            Command::Cancel => Action::CANCEL,
            Command::Hold => Action::HOLD,
            Command::Release => Action::RELEASE,
            Command::Retry => Action::RETRY,
            Command::Run => Action::RUN,
            Command::Priority { to } => Action::priority(to),
            Command::Delete => Action::DELETE,
        };
        let doing = Doing::new(&api, action, json);
        doing.confirm(&handle, self.yes)?;
        doing.run_on(&[handle])
    }
}

fn copy(api: &Api, handle: &str, what: &[u8]) -> Result<(), Failure> {
    let mut body = api.open(&[b"jobs", handle.as_bytes(), what], &Query::new())?;
    show::written(io::copy(&mut body, &mut io::stdout().lock()).map(drop))
}

/// Whether a log goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    GoesOn,
    Ended,
    /// It was there, has ended, and nothing is kept of it.
    Gone,
}

/// Tells the log and, if it is followed, asks for what is newer until the job has ended and all of it is told.
fn log(api: &Api, handle: &str, follow: bool, from: Option<u64>, json: bool) -> Result<(), Failure> {
    let mut newest = from;
    let mut was_there = false;
    loop {
        // Asked first: what is written up to the end is in the log that is asked for after it.
        let now = if follow { stands(api, handle, was_there)? } else { Standing::Ended };
        let query = newest.map(|serial| ("newer_than", serial.to_string())).into_iter().collect();
        let told = api.list(&[b"jobs", handle.as_bytes(), b"log"], &query, None, |entry| {
            newest = entry["serial"].as_u64().max(newest);
            if json { show::say(&entry) } else { show::say(entry_line(&entry)) }
        });
        match told {
            Err(Failure { code: 1, .. }) if now == Standing::Gone => return Ok(()),
            told => drop(told?),
        }
        if now != Standing::GoesOn {
            return Ok(());
        }
        was_there = true;
        thread::sleep(PAUSE);
    }
}

fn stands(api: &Api, handle: &str, was_there: bool) -> Result<Standing, Failure> {
    let query = vec![("fields", "state".to_owned())];
    match api.get(&[b"jobs", handle.as_bytes()], &query) {
        Ok(job) => Ok(match job["state"].as_str() {
            Some("succeeded" | "failed" | "cancelled") => Standing::Ended,
            _ => Standing::GoesOn,
        }),
        Err(ApiError::Refused { status: 404, .. }) if was_there => Ok(Standing::Gone),
        Err(error) => Err(error.into()),
    }
}

/// Its serial number, when, what, and then whatever else is known.
fn entry_line(entry: &Value) -> String {
    let mut entry = entry.clone();
    let head = ["serial", "at", "what"].map(|field| show::text(&entry, field)).join("  ");
    if let Value::Object(fields) = &mut entry {
        fields.retain(|name, value| !matches!(&**name, "at" | "what" | "serial") && !value.is_null());
    }
    let rest = show::flat(&entry).into_iter().map(|(name, value)| format!("  {name}: {value}"));
    super::table::printable(&std::iter::once(head).chain(rest).collect::<String>())
}
