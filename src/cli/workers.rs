//! `gearhouse workers`: who is connected, what they do, and how to send them away.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Failure;
use super::api::{Api, ApiError, Query, Remote};
use super::jobs::Most;
use super::show;
use super::tell;

pub(super) const HELP: &str = "\
Examples:
  gearhouse workers                        who works, and on what
  gearhouse workers --function resize      those that do a function
  gearhouse workers --clients              all connections
  gearhouse workers stop 12                no more jobs for it: it is sent away when it is done with those it has
  gearhouse workers disconnect 12 --yes    sent away at once: its jobs go to others

Exit code: 0 done, 1 the server refused, 2 wrong use or no server.";

#[derive(Args, Debug)]
pub(super) struct Workers {
    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    which: Which,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Debug)]
struct Which {
    /// Only those that do such a function; `*` stands for any text
    #[arg(long, value_name = "PATTERN")]
    function: Option<String>,
    /// All connections, not only those that do functions
    #[arg(long)]
    clients: bool,
    /// Most of them to list
    #[arg(long, value_name = "N|all", default_value = "1000")]
    limit: Most,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List workers; this is what `gearhouse workers` alone does
    List {
        #[command(flatten)]
        which: Which,
    },
    /// All that is known of one
    Show {
        /// The number of its connection
        id: u64,
    },
    /// Give them no more jobs, and send them away when they are done with those they have
    Stop {
        /// The numbers of their connections
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
    },
    /// End their connections at once; their jobs go to others
    Disconnect {
        /// The numbers of their connections
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Workers {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.remote.api()?;
        let json = self.remote.json;
        match self.command {
            None => list(&api, self.which, json),
            Some(Command::List { which }) => list(&api, which, json),
            Some(Command::Show { id }) => {
                let worker = api.get(&[b"workers", id.to_string().as_bytes()], &Query::new())?;
                if json { show::say(&worker) } else { show::facts(&show::flat(&told(worker))) }
            }
            Some(Command::Stop { ids }) => each(&api, &ids, "stop", "asked to stop", json),
            Some(Command::Disconnect { ids, yes }) => {
                let named: Vec<String> = ids.iter().map(u64::to_string).collect();
                show::confirm(&format!("disconnect {}", named.join(", ")), yes)?;
                each(&api, &ids, "disconnect", "disconnected", json)
            }
        }
    }
}

fn list(api: &Api, which: Which, json: bool) -> Result<(), Failure> {
    let what: &[u8] = if which.clients { b"clients" } else { b"workers" };
    let query = which.function.map(|function| ("function", function)).into_iter().collect();
    let mut rows = Vec::new();
    let listed = api.list(&[what], &query, which.limit.0, |worker| {
        if json {
            return show::say(&worker);
        }
        rows.push(row(&worker));
        Ok(())
    })?;
    if !json {
        let columns =
            show::columns(["#ID", "ADDRESS", "CLIENT ID", "STATE", "#HEARD", "#AWAITS", "RUNS", "FUNCTIONS"]);
        show::table(&columns, &rows)?;
    }
    if listed.has_more {
        tell(format_args!("there are more; --limit N or --limit all lists them"));
    }
    Ok(())
}

fn row(worker: &Value) -> Vec<String> {
    let is = |field: &str| worker[field] == true;
    let runs = names(worker, "running");
    let state = match () {
        () if is("draining") => "stopping",
        () if runs != "-" => "running",
        () if is("sleeping") => "asleep",
        () => "-",
    };
    let awaiting = match &worker["awaiting"] {
        Value::Array(jobs) => jobs.len().to_string(),
        _ => show::text(worker, "awaiting"),
    };
    vec![
        show::text(worker, "id"),
        show::text(worker, "address"),
        show::text(worker, "client_id"),
        state.to_owned(),
        show::age(&worker["heard"]),
        awaiting,
        runs,
        names(worker, "functions"),
    ]
}

/// A list of names: texts, or objects that have a name in them. A long one is cut.
fn names(item: &Value, field: &str) -> String {
    const MOST: usize = 5;
    let all = item[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = all.iter().take(MOST).map(|entry| match entry {
        Value::Object(_) => show::text(entry, "function"),
        other => show::plain(other),
    });
    let shown = shown.collect::<Vec<_>>().join(" ");
    match all.len() {
        0 => "-".to_owned(),
        count if count > MOST => format!("{shown} and {} more", count - MOST),
        _ => shown,
    }
}

/// A worker whose functions are told by their names.
fn told(mut worker: Value) -> Value {
    if let Some(functions) = worker["functions"].as_array_mut() {
        for function in functions {
            if function.is_object() {
                *function = show::text(function, "function").into();
            }
        }
    }
    worker
}

fn each(api: &Api, ids: &[u64], action: &str, did: &str, json: bool) -> Result<(), Failure> {
    let mut undone = 0;
    for id in ids {
        match api.send("POST", &[b"workers", id.to_string().as_bytes(), action.as_bytes()], None) {
            Ok(answer) if json => {
                show::say(if answer.is_null() { serde_json::json!({ "id": id }) } else { answer })?
            }
            Ok(_) => show::say(format_args!("{id}  {did}"))?,
            Err(error @ ApiError::Refused { .. }) => {
                undone += 1;
                tell(format_args!("{id}: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    match undone {
        0 => Ok(()),
        _ => Err(Failure::refused(format!("not done to {undone} of {}", ids.len()))),
    }
}
