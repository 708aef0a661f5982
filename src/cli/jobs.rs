//! `gearhouse jobs`: searches jobs, and does something to those that were named or found.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::Failure;
use super::api::{Api, Query, Remote};
use super::show;
use super::tell;
use super::values::Span;

pub(super) const HELP: &str = "\
Examples:
  gearhouse jobs                                            the first 100 jobs
  gearhouse jobs --state failed --function 'img.*'          failed jobs of all functions that begin with img.
  gearhouse jobs --payload customer-17 --json               jobs that have this in their payload, for programs
  gearhouse jobs retry --state failed --function resize --all --dry-run     how many would be tried again
  gearhouse jobs cancel H:box:17 H:box:18
  gearhouse jobs priority high --function resize --all

Exit code: 0 done, 1 not done, at least to one of the jobs, or refused by the server, 2 wrong use or no server.";

/// Handles that one request names.
const HANDLES: usize = 1000;

#[derive(Args, Debug)]
pub(super) struct Jobs {
    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    filter: Filter,

    /// Most jobs to list [default: 100], or to do something to
    #[arg(long, value_name = "N|all", global = true)]
    limit: Option<Most>,

    #[command(subcommand)]
    command: Option<Command>,
}

/// Which jobs are meant: those that fit everything said.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Which jobs")]
struct Filter {
    /// Where they are in their life
    #[arg(long, global = true)]
    state: Option<State>,
    /// Their function; `*` stands for any text
    #[arg(long, value_name = "PATTERN", global = true)]
    function: Option<String>,
    /// Their priority
    #[arg(long = "priority", id = "of_priority", value_name = "PRIORITY", global = true)]
    priority: Option<PriorityName>,
    /// Their unique id
    #[arg(long, value_name = "ID", global = true)]
    unique: Option<String>,
    /// Their handle
    #[arg(long, global = true)]
    handle: Option<String>,
    /// Submitted at least so long ago
    #[arg(long, value_name = "DURATION", global = true)]
    min_age: Option<Span>,
    /// Submitted at most so long ago
    #[arg(long, value_name = "DURATION", global = true)]
    max_age: Option<Span>,
    /// The connection that has them: a number that `gearhouse workers` tells
    #[arg(long, value_name = "ID", global = true)]
    worker: Option<u64>,
    /// Text that their payload has in it
    #[arg(long, value_name = "TEXT", global = true)]
    payload: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List jobs; this is what `gearhouse jobs` alone does
    #[command(after_long_help = HELP)]
    List,
    /// End them: queued ones at once, running ones when their worker is done; they never run again
    Cancel(Targets),
    /// Take them out of the line until they are released
    Hold(Targets),
    /// Put held ones back into the line
    Release(Targets),
    /// Queue failed ones again, and those that wait for another attempt
    Retry(Targets),
    /// Queue scheduled ones now
    Run(Targets),
    /// Give them another priority
    Priority {
        /// The priority
        to: PriorityName,
        #[command(flatten)]
        targets: Targets,
    },
    /// Remove them, with all that is kept of them
    Delete(Targets),
}

#[derive(Args, Debug)]
struct Targets {
    /// Handles of the jobs
    #[arg(value_name = "HANDLE")]
    handles: Vec<String>,
    /// Instead of handles: all jobs that the filter finds
    #[arg(long, conflicts_with = "handles")]
    all: bool,
    /// Do nothing: only tell how many jobs it would be done to, and to which of those named it would not
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before something is destroyed
    #[arg(long)]
    yes: bool,
}

/// Where a job is in its life.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Scheduled,
    Queued,
    Held,
    Running,
    Cancelling,
    Succeeded,
    Failed,
    Cancelled,
}

/// A job's priority.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PriorityName {
    High,
    Normal,
    Low,
}

/// A number of rows, or all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Most(pub(super) Option<usize>);

impl std::str::FromStr for Most {
    type Err = String;

    fn from_str(text: &str) -> Result<Most, String> {
        match text.parse() {
            _ if text == "all" => Ok(Most(None)),
            Ok(count) if count > 0 => Ok(Most(Some(count))),
            _ => Err(format!("{text:?} is neither a number from 1 up nor all")),
        }
    }
}

/// The word for a value on the command line, which is that of the API too.
pub(super) fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Filter {
    fn query(&self) -> Query {
        let Filter { state, function, priority, unique, handle, min_age, max_age, worker, payload } =
            self.clone();
        let seconds = |Span(span): Span| span.as_secs_f64().to_string();
        let all = [
            ("state", state.map(word)),
            ("function", function),
            ("priority", priority.map(word)),
            ("unique", unique),
            ("handle", handle),
            ("min_age", min_age.map(seconds)),
            ("max_age", max_age.map(seconds)),
            ("worker", worker.map(|worker| worker.to_string())),
            ("payload", payload),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// As the body of an action says it.
    fn to_json(&self) -> Value {
        let is_number = |name: &str| matches!(name, "min_age" | "max_age" | "worker");
        let value = |name: &str, text: String| match serde_json::from_str(&text) {
            Ok(number) if is_number(name) => number,
            _ => Value::String(text),
        };
        Value::Object(
            self.query().into_iter().map(|(name, text)| (name.to_owned(), value(name, text))).collect(),
        )
    }
}

impl Jobs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.remote.api()?;
        let (action, targets) = match self.command {
            None | Some(Command::List) => {
                let Most(limit) = self.limit.unwrap_or(Most(Some(100)));
                return list(&api, &self.filter.query(), limit, self.remote.json);
            }
            Some(Command::Cancel(targets)) => (Action::CANCEL, targets),
            Some(Command::Hold(targets)) => (Action::HOLD, targets),
            Some(Command::Release(targets)) => (Action::RELEASE, targets),
            Some(Command::Retry(targets)) => (Action::RETRY, targets),
            Some(Command::Run(targets)) => (Action::RUN, targets),
            Some(Command::Priority { to, targets }) => (Action::priority(to), targets),
            Some(Command::Delete(targets)) => (Action::DELETE, targets),
        };
        let has_filter = !self.filter.query().is_empty();
        match (targets.handles.is_empty(), targets.all) {
            (true, false) => {
                return Err(Failure::usage(
                    "name the jobs by their handles, or say --all for all that the filter finds",
                ));
            }
            (false, _) if has_filter || self.limit.is_some() => {
                return Err(Failure::usage(
                    "jobs are named by handles or found by a filter with --all, not both",
                ));
            }
            _ => {}
        }
        let mut doing = Doing::new(&api, action, self.remote.json);
        if targets.all {
            let found = Found { filter: &self.filter, limit: self.limit.and_then(|Most(limit)| limit) };
            if targets.dry_run {
                let count = doing.count(&found)?;
                return doing.say_count(count);
            }
            if action.destroys && !targets.yes {
                match doing.count(&found)? {
                    // There is nothing to ask about.
                    0 => return doing.end(),
                    count => doing.confirm(&counted(count), false)?,
                }
            }
            return doing.run_on_found(&found);
        }
        if targets.dry_run {
            return doing.try_on(&targets.handles);
        }
        doing.confirm(&counted(targets.handles.len()), targets.yes)?;
        doing.run_on(&targets.handles)
    }
}

/// Jobs that a filter finds, or the first so many of them.
struct Found<'a> {
    filter: &'a Filter,
    limit: Option<usize>,
}

fn read_count(value: &Value) -> usize {
    value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

pub(super) fn counted(jobs: usize) -> String {
    format!("{jobs} job{}", if jobs == 1 { "" } else { "s" })
}

/// Lists jobs.
fn list(api: &Api, query: &Query, limit: Option<usize>, json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let listed = api.list(&[b"jobs"], query, limit, |job| {
        if json {
            return show::say(&job);
        }
        rows.push(row(&job));
        Ok(())
    })?;
    if !json {
        let columns = show::columns([
            "HANDLE",
            "FUNCTION",
            "STATE",
            "PRIORITY",
            "#AGE",
            "#ATTEMPTS",
            "#PAYLOAD",
            "WORKER",
            "UNIQUE",
        ]);
        show::table(&columns, &rows)?;
    }
    if listed.has_more {
        tell(format_args!("there are more; --limit N or --limit all lists them"));
    }
    Ok(())
}

fn row(job: &Value) -> Vec<String> {
    let state = match job["reason"].as_str() {
        Some(reason) => format!("{} ({reason})", show::text(job, "state")),
        None => show::text(job, "state"),
    };
    let worker = &job["worker"];
    let worker = match worker["client_id"].as_str() {
        Some(id) if !id.is_empty() && id != "-" => format!("{}/{id}", show::text(worker, "id")),
        _ => show::text(worker, "id"),
    };
    vec![
        show::text(job, "handle"),
        show::text(job, "function"),
        state,
        show::text(job, "priority"),
        show::age(&job["submitted"]),
        show::text(job, "attempts"),
        show::text(job, "payload_size"),
        worker,
        show::text(job, "unique"),
    ]
}

/// What is done to jobs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    name: &'static str,
    priority: Option<PriorityName>,
    destroys: bool,
}

impl Action {
    pub(super) const CANCEL: Action = Action { name: "cancel", priority: None, destroys: true };
    pub(super) const HOLD: Action = Action { name: "hold", priority: None, destroys: false };
    pub(super) const RELEASE: Action = Action { name: "release", priority: None, destroys: false };
    pub(super) const RETRY: Action = Action { name: "retry", priority: None, destroys: false };
    pub(super) const RUN: Action = Action { name: "run", priority: None, destroys: false };
    pub(super) const DELETE: Action = Action { name: "delete", priority: None, destroys: true };

    pub(super) fn priority(to: PriorityName) -> Action {
        Action { name: "priority", priority: Some(to), destroys: false }
    }

    fn body(&self, jobs: (&str, Value)) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("action".to_owned(), self.name.into());
        body.extend(self.priority.map(|to| ("priority".to_owned(), word(to).into())));
        body.insert(jobs.0.to_owned(), jobs.1);
        body
    }
}

/// An action under way, with what came of it so far.
pub(super) struct Doing<'a> {
    api: &'a Api,
    action: Action,
    json: bool,
    done: u64,
    undone: u64,
}

impl<'a> Doing<'a> {
    pub(super) fn new(api: &'a Api, action: Action, json: bool) -> Self {
        Self { api, action, json, done: 0, undone: 0 }
    }

    /// Asks first, if the action destroys.
    pub(super) fn confirm(&self, what: &str, yes: bool) -> Result<(), Failure> {
        if self.action.destroys {
            show::confirm(&format!("{} {what}", self.action.name), yes)
        } else {
            Ok(())
        }
    }

    /// Does it to these jobs.
    pub(super) fn run_on(mut self, handles: &[String]) -> Result<(), Failure> {
        for handles in handles.chunks(HANDLES) {
            let body = self.action.body(("handles", json!(handles)));
            let answer = self.send(body)?;
            self.tell(&answer)?;
        }
        self.end()
    }

    /// Tells what would become of these jobs.
    fn try_on(mut self, handles: &[String]) -> Result<(), Failure> {
        let mut matched = 0;
        for handles in handles.chunks(HANDLES) {
            let mut body = self.action.body(("handles", json!(handles)));
            body.insert("dry_run".to_owned(), true.into());
            let answer = self.send(body)?;
            matched += read_count(&answer["matched"]);
            self.tell(&answer)?;
        }
        self.say_count(matched)
    }

    /// Does it to all that a filter finds.
    fn run_on_found(mut self, found: &Found<'_>) -> Result<(), Failure> {
        self.each_found(found, false, |doing, answer| {
            doing.tell(answer)?;
            Ok(answer["results"].as_array().map_or(0, Vec::len))
        })?;
        self.end()
    }

    /// How many jobs a filter finds.
    fn count(&mut self, found: &Found<'_>) -> Result<usize, Failure> {
        let mut matched = 0;
        self.each_found(found, true, |_, answer| {
            let count = read_count(&answer["matched"]);
            matched += count;
            Ok(count)
        })?;
        Ok(matched)
    }

    /// Asks until there are no more or as many as are wanted; `hear` tells how many an answer was about.
    fn each_found(
        &mut self,
        found: &Found<'_>,
        dry_run: bool,
        mut hear: impl FnMut(&mut Self, &Value) -> Result<usize, Failure>,
    ) -> Result<(), Failure> {
        let (mut left, mut after) = (found.limit, Value::Null);
        loop {
            let mut body = self.action.body(("filter", found.filter.to_json()));
            let more = [
                ("dry_run", dry_run.then_some(true.into())),
                ("limit", left.map(Value::from)),
                ("after", Some(after).filter(|after| !after.is_null())),
            ];
            body.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
            let answer = self.send(body)?;
            let count = hear(self, &answer)?;
            left = left.map(|left| left.saturating_sub(count));
            after = answer["next"].clone();
            if after.is_null() || left == Some(0) {
                return Ok(());
            }
        }
    }

    fn say_count(&self, matched: usize) -> Result<(), Failure> {
        if self.json {
            return show::say(json!({ "matched": matched }));
        }
        show::say(format_args!("{} {}: nothing was done", self.action.name, counted(matched)))
    }

    fn send(&self, body: Map<String, Value>) -> Result<Value, Failure> {
        Ok(self.api.send("POST", &[b"jobs", b"actions"], Some(&Value::Object(body)))?)
    }

    fn tell(&mut self, answer: &Value) -> Result<(), Failure> {
        for result in answer["results"].as_array().into_iter().flatten() {
            let reason = result["reason"].as_str();
            match reason {
                None => self.done += 1,
                Some(_) => self.undone += 1,
            }
            if self.json {
                show::say(result)?;
                continue;
            }
            let (handle, outcome) = (show::text(result, "handle"), show::text(result, "outcome"));
            match reason {
                None => show::say(format_args!("{handle}  {outcome}"))?,
                Some(reason) => show::say(format_args!("{handle}  not done: {reason}"))?,
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        let Doing { action, done, undone, .. } = self;
        match (done, undone) {
            (_, 0) if done != 1 && !self.json => {
                tell(format_args!("{}: done to {}", action.name, counted(done as usize)));
                Ok(())
            }
            (_, 0) => Ok(()),
            (0, 1) => Err(Failure::refused(format!("{}: not done", action.name))),
            _ => Err(Failure::refused(format!(
                "{}: done to {}, not to {undone}",
                action.name,
                counted(done as usize)
            ))),
        }
    }
}
