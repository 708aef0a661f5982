//! `gearhouse functions`: what waits for each function, and the policies that hold for it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::Failure;
use super::api::{Api, Query, Remote};
use super::jobs::Most;
use super::show;
use super::tell;

pub(super) const HELP: &str = "\
Examples:
  gearhouse functions                                        all functions, with what waits for them
  gearhouse functions show resize                            one, with its policy and where each value comes from
  gearhouse functions policy set resize attempts=5 backoff=10s retry_failed=true
  gearhouse functions policy set 'img.*' max_running=20      for all functions that begin with img.
  gearhouse functions policy unset resize backoff
  gearhouse functions pause resize

Exit code: 0 done, 1 the server refused, 2 wrong use or no server.";

const POLICY_HELP: &str = "\
Values: numbers, true or false, lengths of time as 30s or 1h 30m, sizes as 64MiB, lifo or fifo.

Examples:
  gearhouse functions policy get resize
  gearhouse functions policy set resize attempts=5 retry_failed=true backoff=10s backoff_max=1h
  gearhouse functions policy set 'img.*' rate=50 burst=10 run_timeout=5m
  gearhouse functions policy unset resize                    all that was set for exactly this name or pattern
  gearhouse functions policy list";

#[derive(Args, Debug)]
pub(super) struct Functions {
    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    which: Which,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Debug)]
struct Which {
    /// Only these functions; `*` stands for any text
    #[arg(long, value_name = "PATTERN")]
    function: Option<String>,
    /// Most functions to list
    #[arg(long, value_name = "N|all", default_value = "1000")]
    limit: Most,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List functions; this is what `gearhouse functions` alone does
    List {
        #[command(flatten)]
        which: Which,
    },
    /// One function, with its policy and where each value comes from
    Show {
        /// The function
        function: OsString,
    },
    /// See and set the rules for functions, by name or pattern
    #[command(after_help = POLICY_HELP)]
    Policy {
        #[command(subcommand)]
        command: Policy,
    },
    /// Hand out no jobs of these functions; new ones are accepted
    Pause {
        /// The functions
        #[arg(required = true)]
        functions: Vec<OsString>,
    },
    /// Hand out their jobs again
    Resume {
        /// The functions
        #[arg(required = true)]
        functions: Vec<OsString>,
    },
    /// Delete all their jobs that wait
    Purge {
        /// The functions
        #[arg(required = true)]
        functions: Vec<OsString>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove functions that have neither jobs nor workers
    Drop {
        /// The functions
        #[arg(required = true)]
        functions: Vec<OsString>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand, Debug)]
enum Policy {
    /// All policies, with where they were set
    List,
    /// The rules for a function, with where each comes from; or what was set for a pattern
    Get {
        /// The function or pattern
        name: OsString,
    },
    /// Set values for a function, or for all that fit a pattern; others stay as they are
    Set {
        /// The function, or a pattern in which `*` stands for any text
        name: OsString,
        /// What is set to what
        #[arg(required = true, value_name = "KEY=VALUE")]
        values: Vec<Setting>,
    },
    /// Lift values that were set, or all of them
    Unset {
        /// The function or pattern, as it was set
        name: OsString,
        /// The values; without any, all
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// `key=value`.
#[derive(Clone, Debug)]
struct Setting(String, Value);

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        let (key, value) = text.split_once('=').ok_or(format!("{text:?} is not KEY=VALUE"))?;
        let parsed = serde_json::from_str(value).ok();
        let value = parsed.filter(|value: &Value| value.is_number() || value.is_boolean());
        let value = value.unwrap_or_else(|| text[key.len() + 1..].into());
        Ok(Setting(key.trim().replace('-', "_"), value))
    }
}

impl Functions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.remote.api()?;
        let json = self.remote.json;
        match self.command {
            None => list(&api, self.which, json),
            Some(Command::List { which }) => list(&api, which, json),
            Some(Command::Show { function }) => {
                let found = api.get(&[b"functions", function.as_bytes()], &Query::new())?;
                if json {
                    return show::say(&found);
                }
                show::facts(&show::flat(&without(found, &["policy", "rules"])))?;
                show::say("")?;
                tell_rules(&rules(&api, &function)?)
            }
            Some(Command::Policy { command }) => run_policy(&api, command, json),
            Some(Command::Pause { functions }) => each(&api, &functions, "POST", Some("pause"), json),
            Some(Command::Resume { functions }) => each(&api, &functions, "POST", Some("resume"), json),
            Some(Command::Purge { functions, yes }) => {
                show::confirm(&format!("delete all jobs of {} that wait", named(&functions)), yes)?;
                each(&api, &functions, "POST", Some("purge"), json)
            }
            Some(Command::Drop { functions, yes }) => {
                show::confirm(&format!("drop {}", named(&functions)), yes)?;
                each(&api, &functions, "DELETE", None, json)
            }
        }
    }
}

fn named(functions: &[OsString]) -> String {
    functions.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ")
}

fn list(api: &Api, which: Which, json: bool) -> Result<(), Failure> {
    let query = which.function.map(|function| ("function", function)).into_iter().collect();
    let mut rows = Vec::new();
    let listed = api.list(&[b"functions"], &query, which.limit.0, |function| {
        if json {
            return show::say(&function);
        }
        rows.push(row(&function));
        Ok(())
    })?;
    if !json {
        let columns = show::columns([
            "FUNCTION",
            "#QUEUED",
            "#RUNNING",
            "#WORKERS",
            "#SCHEDULED",
            "#HELD",
            "#OLDEST",
            "#FAILED",
            "STATE",
        ]);
        show::table(&columns, &rows)?;
    }
    if listed.has_more {
        tell(format_args!("there are more; --limit N or --limit all lists them"));
    }
    Ok(())
}

fn row(function: &Value) -> Vec<String> {
    vec![
        show::text(function, "function"),
        sum(&function["queued"]).to_string(),
        show::text(function, "running"),
        show::text(function, "workers"),
        show::text(function, "scheduled"),
        show::text(function, "held"),
        show::age(&function["oldest_queued"]),
        function.get("failed").map_or("-".to_owned(), |failed| sum(failed).to_string()),
        if function["paused"] == true { "paused" } else { "-" }.to_owned(),
    ]
}

/// A number, or all numbers of an object.
pub(super) fn sum(value: &Value) -> u64 {
    match value {
        Value::Object(parts) => parts.values().filter_map(Value::as_u64).sum(),
        other => other.as_u64().unwrap_or(0),
    }
}

/// An action on each of these functions, told one by one. One that cannot be done does not stop the others.
fn each(
    api: &Api,
    functions: &[OsString],
    method: &str,
    action: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let mut undone = 0;
    for function in functions {
        let mut parts = vec![&b"functions"[..], function.as_bytes()];
        parts.extend(action.map(str::as_bytes));
        let name = function.to_string_lossy();
        let did = match (action, method) {
            (Some("pause"), _) => "paused",
            (Some("resume"), _) => "resumed",
            (Some("purge"), _) => "purged",
            _ => "dropped",
        };
        let answer = match action {
            Some("purge") => purge(api, function),
            _ => api.send(method, &parts, None),
        };
        match answer {
            Ok(answer) if json => show::say(if answer.is_null() {
                serde_json::json!({ "function": name, "outcome": did })
            } else {
                answer
            })?,
            Ok(answer) => {
                let count = answer["purged"]
                    .as_u64()
                    .map(|count| format!(" {}", super::jobs::counted(count as usize)));
                let ahead = if answer["unknown"] == true {
                    "; there is no such function yet: it holds from when there is"
                } else {
                    ""
                };
                show::say(format_args!("{name}  {did}{}{ahead}", count.unwrap_or_default()))?;
            }
            Err(error @ super::api::ApiError::Refused { .. }) => {
                undone += 1;
                tell(format_args!("{name}: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    match undone {
        0 => Ok(()),
        _ => Err(Failure::refused(format!("not done to {undone} of {}", functions.len()))),
    }
}

/// Deletes what waits, for as often as the server wants to be asked.
fn purge(api: &Api, function: &OsStr) -> Result<Value, super::api::ApiError> {
    let (mut purged, mut query) = (0, Query::new());
    loop {
        let answer = api.act(&[b"functions", function.as_bytes(), b"purge"], &query)?;
        purged += sum(&answer["purged"]);
        let Some(next) = answer["next"].as_str() else { return Ok(serde_json::json!({ "purged": purged })) };
        query = vec![("after", next.to_owned())];
    }
}

fn run_policy(api: &Api, command: Policy, json: bool) -> Result<(), Failure> {
    match command {
        Policy::Get { name } | Policy::Set { name, .. } | Policy::Unset { name, .. } if name.is_empty() => {
            Err(Failure::usage("name a function, or a pattern with `*`"))
        }
        Policy::List => {
            let mut rows = Vec::new();
            api.list(&[b"policies"], &Query::new(), None, |policy| {
                if json {
                    return show::say(&policy);
                }
                let values = values(&policy["policy"]).into_iter();
                let values: Vec<String> = values.map(|(name, value)| format!("{name}={value}")).collect();
                rows.push(vec![
                    show::text(&policy, "pattern"),
                    show::text(&policy, "origin"),
                    values.join(" "),
                ]);
                Ok(())
            })?;
            if json { Ok(()) } else { show::table(&show::columns(["PATTERN", "SET BY", "VALUES"]), &rows) }
        }
        Policy::Get { name } if name.as_bytes().contains(&b'*') => {
            let policy = api.get(&at(&name), &Query::new())?;
            if json { show::say(&policy) } else { tell_layers(&policy) }
        }
        Policy::Get { name } => {
            let rules = rules(api, &name)?;
            if json { show::say(&rules) } else { tell_rules(&rules) }
        }
        Policy::Set { name, values } => {
            let values: Map<String, Value> =
                values.into_iter().map(|Setting(key, value)| (key, value)).collect();
            set(&api.send("PATCH", &at(&name), Some(&Value::Object(values)))?, json)
        }
        Policy::Unset { name, keys } if keys.is_empty() => {
            api.send("DELETE", &at(&name), None)?;
            if json { show::say("{}") } else { Ok(()) }
        }
        Policy::Unset { name, keys } => {
            let values: Map<String, Value> =
                keys.into_iter().map(|key| (key.replace('-', "_"), Value::Null)).collect();
            set(&api.send("PATCH", &at(&name), Some(&Value::Object(values)))?, json)
        }
    }
}

/// Where an operator's policy is.
fn at(pattern: &OsStr) -> [&[u8]; 2] {
    [b"policies", pattern.as_bytes()]
}

/// An operator's policy, as it is set now; perhaps nothing is left of it.
fn set(policy: &Value, json: bool) -> Result<(), Failure> {
    match policy {
        Value::Null if json => show::say("{}"),
        policy if json => show::say(policy),
        policy => show::facts(&values(&policy["policy"])),
    }
}

/// The rules of a policy as they are written to set them.
fn values(policy: &Value) -> Vec<(String, String)> {
    let rules = policy.as_object().into_iter().flatten();
    rules.map(|(rule, value)| (rule.clone(), show::plain(value))).collect()
}

/// What is set for a pattern: each value, and whether an operator or the file says it.
fn tell_layers(set: &Value) -> Result<(), Failure> {
    let origin = show::text(set, "origin");
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (source, policy) in [("file", &set["file"]), (&*origin, &set["policy"])] {
        let layer = values(policy).into_iter();
        rows.extend(layer.map(|(rule, value)| (rule.clone(), vec![rule, value, source.to_owned()])));
    }
    show::table(&show::columns(["RULE", "VALUE", "FROM"]), &rows.into_values().collect::<Vec<_>>())
}

/// The rules that hold for a function.
fn rules(api: &Api, name: &OsStr) -> Result<Value, Failure> {
    Ok(api.get(&[b"functions", name.as_bytes(), b"policy"], &Query::new())?)
}

/// The rules as a table: each value, and whether it is built in, from the file or an operator's, and by which pattern.
fn tell_rules(answer: &Value) -> Result<(), Failure> {
    let Some(rules) = answer["rules"].as_object() else { return Ok(()) };
    let row = |(name, value): (&String, &Value)| {
        let value = if value.is_null() { "-".to_owned() } else { show::plain(value) };
        vec![name.clone(), value, show::text(&answer["sources"], name)]
    };
    show::table(&show::columns(["RULE", "VALUE", "FROM"]), &rules.iter().map(row).collect::<Vec<_>>())
}

fn without(item: Value, names: &[&str]) -> Value {
    match item {
        Value::Object(mut fields) => {
            fields.retain(|name, _| !names.contains(&&**name));
            Value::Object(fields)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_setting_is_a_number_a_truth_or_a_text() {
        let value = |text: &str| text.parse::<Setting>().map(|Setting(key, value)| json!([key, value]));
        assert_eq!(value("attempts=3"), Ok(json!(["attempts", 3])));
        assert_eq!(value("retry-failed=true"), Ok(json!(["retry_failed", true])));
        assert_eq!(value("backoff=1h 30m"), Ok(json!(["backoff", "1h 30m"])));
        assert_eq!(value("order=lifo"), Ok(json!(["order", "lifo"])));
        assert!(value("attempts").is_err());
    }

    #[test]
    fn parts_are_added_up() {
        assert_eq!(sum(&json!({"high": 1, "normal": 2, "low": 3})), 6);
        assert_eq!((sum(&json!(4)), sum(&json!(null))), (4, 0));
    }
}
