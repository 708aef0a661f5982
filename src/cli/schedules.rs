//! `gearhouse schedules`: recurring jobs.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::Failure;
use super::api::{Api, Query, Remote};
use super::jobs::{Most, word};
use super::show;
use super::tell;

pub(super) const HELP: &str = "\
Examples:
  gearhouse schedules                                                  all of them, with their next time
  gearhouse schedules create report '30 8 * * Mon-Fri' --zone Europe/Berlin --payload daily
  gearhouse schedules change H:box:4 --cron '*/10 * * * *' --overlap skip
  gearhouse schedules run H:box:4                                      submits its job now, once
  gearhouse schedules pause H:box:4

Exit code: 0 done, 1 the server refused, 2 wrong use or no server.";

#[derive(Args, Debug)]
pub(super) struct Schedules {
    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    which: Which,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Debug)]
struct Which {
    /// Only those that submit to such a function; `*` stands for any text
    #[arg(long, value_name = "PATTERN")]
    function: Option<String>,
    /// Most schedules to list
    #[arg(long, value_name = "N|all", default_value = "1000")]
    limit: Most,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List schedules; this is what `gearhouse schedules` alone does
    List {
        #[command(flatten)]
        which: Which,
    },
    /// One schedule, in words and with its next times
    Show {
        /// Its handle
        handle: String,
    },
    /// Submit a job to a function again and again
    Create {
        /// The function
        function: String,
        /// Minute, hour, day of month, month, day of week, as crontab has them: 0 is Sunday
        cron: String,
        /// Its jobs' unique id
        #[arg(long, value_name = "ID")]
        unique: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Change what is said; the rest stays
    Change {
        /// Its handle
        handle: String,
        /// Its new cron fields
        #[arg(long, value_name = "FIELDS")]
        cron: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Submit nothing until it is resumed
    Pause {
        /// Its handle
        handle: String,
    },
    /// Submit again
    Resume {
        /// Its handle
        handle: String,
    },
    /// Submit its job now, once more than its times say
    Run {
        /// Its handle
        handle: String,
    },
    /// End it; jobs that it submitted stay
    Delete {
        /// Its handle
        handle: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
struct How {
    /// The time zone that the fields are meant in, as Europe/Berlin
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Its jobs' payload
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// File with its jobs' payload; `-` for standard input
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// What becomes of a time that passed while no server ran
    #[arg(long)]
    misfire: Option<Misfire>,
    /// What happens when the job of the last time is still there
    #[arg(long)]
    overlap: Option<Overlap>,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Misfire {
    /// It is not made up for
    Skip,
    /// One job is submitted for all such times
    Once,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Overlap {
    /// Another is submitted
    Allow,
    /// None is submitted
    Skip,
}

impl How {
    fn body(self) -> Result<Map<String, Value>, Failure> {
        let payload = match (self.payload, self.payload_file) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(file)) => {
                let mut bytes = Vec::new();
                let read = match file.to_str() {
                    Some("-") => std::io::stdin().read_to_end(&mut bytes).map(|_| bytes),
                    _ => fs::read(&file),
                };
                let wrong = |error| format!("cannot read the payload in {}: {error}", file.display());
                Some(read.map_err(|error| Failure::usage(wrong(error)))?)
            }
            (None, None) => None,
        };
        let payload = payload.map(|bytes| match String::from_utf8(bytes) {
            Ok(text) => ("payload", json!(text)),
            Err(error) => ("payload_base64", json!(BASE64_STANDARD.encode(error.as_bytes()))),
        });
        let fields = [
            self.zone.map(|zone| ("zone", zone.into())),
            payload,
            self.misfire.map(|misfire| ("misfire", word(misfire).into())),
            self.overlap.map(|overlap| ("overlap", word(overlap).into())),
        ];
        Ok(fields
            .into_iter()
            .flatten()
            .map(|(name, value): (&str, Value)| (name.to_owned(), value))
            .collect())
    }
}

impl Schedules {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.remote.api()?;
        let json = self.remote.json;
        let one = |value: Value| match json {
            true => show::say(if value.is_null() { json!({}) } else { value }),
            false => show::facts(&show::flat(&value)),
        };
        match self.command {
            None => list(&api, self.which, json),
            Some(Command::List { which }) => list(&api, which, json),
            Some(Command::Show { handle }) => {
                one(api.get(&[b"schedules", handle.as_bytes()], &Query::new())?)
            }
            Some(Command::Create { function, cron, unique, how }) => {
                let mut body = how.body()?;
                body.insert("function".to_owned(), function.into());
                body.insert("cron".to_owned(), cron.into());
                body.extend(unique.map(|unique| ("unique".to_owned(), unique.into())));
                one(api.send("POST", &[b"schedules"], Some(&Value::Object(body)))?)
            }
            Some(Command::Change { handle, cron, how }) => {
                let mut body = how.body()?;
                body.extend(cron.map(|cron| ("cron".to_owned(), cron.into())));
                if body.is_empty() {
                    return Err(Failure::usage(
                        "nothing is to be changed; see gearhouse schedules change --help",
                    ));
                }
                one(api.send("PATCH", &[b"schedules", handle.as_bytes()], Some(&Value::Object(body)))?)
            }
            Some(Command::Pause { handle }) => one(act(&api, &handle, "pause")?),
            Some(Command::Resume { handle }) => one(act(&api, &handle, "resume")?),
            Some(Command::Run { handle }) => one(act(&api, &handle, "run")?),
            Some(Command::Delete { handle, yes }) => {
                show::confirm(&format!("delete the schedule {handle}"), yes)?;
                one(api.send("DELETE", &[b"schedules", handle.as_bytes()], None)?)
            }
        }
    }
}

fn act(api: &Api, handle: &str, action: &str) -> Result<Value, Failure> {
    Ok(api.send("POST", &[b"schedules", handle.as_bytes(), action.as_bytes()], None)?)
}

fn list(api: &Api, which: Which, json: bool) -> Result<(), Failure> {
    let query = which.function.map(|function| ("function", function)).into_iter().collect();
    let mut rows = Vec::new();
    let listed = api.list(&[b"schedules"], &query, which.limit.0, |schedule| {
        if json {
            return show::say(&schedule);
        }
        rows.push(row(&schedule));
        Ok(())
    })?;
    if !json {
        let columns = show::columns(["HANDLE", "FUNCTION", "CRON", "ZONE", "NEXT", "STATE", "UNIQUE"]);
        show::table(&columns, &rows)?;
    }
    if listed.has_more {
        tell(format_args!("there are more; --limit N or --limit all lists them"));
    }
    Ok(())
}

fn row(schedule: &Value) -> Vec<String> {
    let is_paused = schedule["paused"] == true;
    vec![
        show::text(schedule, "handle"),
        show::text(schedule, "function"),
        show::text(schedule, "cron"),
        schedule["zone"].as_str().filter(|zone| !zone.is_empty()).unwrap_or("UTC").to_owned(),
        if is_paused { "-".to_owned() } else { show::age(&schedule["next_run"]) },
        if is_paused { "paused" } else { "-" }.to_owned(),
        show::text(schedule, "unique"),
    ]
}
