//! `gearhouse admin`: the text protocol's commands, answered as tables for people and as JSON for programs.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use chrono::DateTime;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::table::{self, Column};
use super::{Failure, Server};
use crate::client::{Client, ClientError};
use crate::protocol::Kind;

pub(super) const HELP: &str = "\
Examples:
  gearhouse admin status                       functions, their jobs and workers
  gearhouse admin workers --json               connections, for programs
  gearhouse admin max-queue resize 1000        refuse jobs of `resize` beyond 1000
  gearhouse admin cancel H:box:17
  gearhouse admin --server jobs.example.com status

Exit code: 0 done, 1 the server refused, 2 wrong use or no server.";

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(super) struct Admin {
    #[command(flatten)]
    server: Server,

    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Functions: jobs in all, running jobs, workers
    Status,
    /// Functions: waiting jobs by priority, workers
    PriorityStatus,
    /// Connections, with the functions their workers do
    Workers,
    /// Jobs: handle, how often put back, whether in the background
    Jobs,
    /// Unique ids of all jobs
    UniqueJobs,
    /// Recurring jobs, with their fields and next time
    Schedules,
    /// One job, by its function and unique id
    Unique {
        /// Its function
        function: OsString,
        /// Its unique id
        unique: OsString,
    },
    /// The server's version
    Version,
    /// Whether the server answers
    Ping,
    /// Whether the server takes all that is asked of it: background jobs too
    ///
    /// Exit code 1 and the reason if it does not: its disk is full or failed, or it is ending.
    Ready,
    /// Limit the jobs of a function, in all or by priority; without numbers: no limit
    ///
    /// A job is refused if its function has as many jobs already, waiting and running, whatever their priority.
    #[command(after_help = "\
Examples:
  gearhouse admin max-queue resize               no limit
  gearhouse admin max-queue resize 1000          one limit for all
  gearhouse admin max-queue resize 0 1000 500    high without limit, normal 1000, low 500")]
    MaxQueue {
        /// The function
        function: OsString,
        /// One limit, or three: for high, normal and low; 0: no limit
        #[arg(num_args = 0..=3, value_names = ["N|HIGH", "NORMAL", "LOW"])]
        limits: Vec<u32>,
    },
    /// Make a function that stays until it is dropped
    CreateFunction {
        /// The function
        function: OsString,
    },
    /// Remove a function that has neither jobs nor workers
    DropFunction {
        /// The function
        function: OsString,
    },
    /// Cancel a job, or end a recurring one
    Cancel {
        /// The handle that submit printed
        handle: OsString,
    },
    /// End the server when running jobs are done
    Shutdown {
        /// First do what is queued too
        #[arg(long)]
        drain: bool,
    },
}

impl Admin {
    pub(super) fn run(self) -> Result<(), Failure> {
        let question = Question::of(&self.command)?;
        let mut client = self.server.must_connect()?;
        client.give_up_after(PATIENCE).map_err(Failure::usage)?;
        let answer = question.ask(&mut client).map_err(|error| match error {
            ClientError::Refused(_) => Failure::refused(error),
            other => Failure::usage(other),
        })?;
        let mut out = io::stdout().lock();
        let written = if self.json { answer.as_json(&mut out) } else { answer.for_people(&mut out) };
        match written.and_then(|()| out.flush()) {
            // As `| head` does when it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| Failure::usage(format!("cannot write the answer: {error}"))),
        }
    }
}

/// What is asked, and what kind of answer to expect.
enum Question {
    List(&'static [u8], &'static [Field]),
    Unique(Vec<u8>),
    Version,
    Ping,
    Order(Vec<u8>),
}

impl Question {
    fn of(command: &Command) -> Result<Question, Failure> {
        Ok(match command {
            Command::Status => Question::List(b"status", &[FUNCTION, TOTAL, RUNNING, WORKERS]),
            Command::PriorityStatus => {
                Question::List(b"prioritystatus", &[FUNCTION, HIGH, NORMAL, LOW, WORKERS])
            }
            Command::Workers => Question::List(b"workers", &[CONNECTION, ADDRESS, ID, FUNCTIONS]),
            Command::Jobs => Question::List(b"show jobs", &[HANDLE, RETRIES, ABANDONED, BACKGROUND]),
            Command::UniqueJobs => Question::List(b"show unique jobs", &[UNIQUE]),
            Command::Schedules => {
                Question::List(b"show schedules", &[HANDLE, FUNCTION, UNIQUE, FIELDS, NEXT])
            }
            Command::Unique { function, unique } => {
                Question::Unique(line(b"show unique", &[word(function)?, word(unique)?]))
            }
            Command::Version => Question::Version,
            Command::Ping => Question::Ping,
            Command::Ready => Question::Order(b"ready".to_vec()),
            Command::MaxQueue { limits, .. } if limits.len() == 2 => {
                return Err(Failure::usage("give one limit for all priorities, or three: HIGH NORMAL LOW"));
            }
            Command::MaxQueue { function, limits } => {
                let mut words = vec![word(function)?.to_vec()];
                words.extend(limits.iter().map(|limit| limit.to_string().into_bytes()));
                Question::Order(line(b"maxqueue", &words))
            }
            Command::CreateFunction { function } => {
                Question::Order(line(b"create function", &[word(function)?]))
            }
            Command::DropFunction { function } => Question::Order(line(b"drop function", &[word(function)?])),
            Command::Cancel { handle } => Question::Order(line(b"cancel job", &[word(handle)?])),
            Command::Shutdown { drain: false } => Question::Order(b"shutdown".to_vec()),
            Command::Shutdown { drain: true } => Question::Order(b"shutdown graceful".to_vec()),
        })
    }

    fn ask(&self, client: &mut Client) -> Result<Answer, ClientError> {
        Ok(match self {
            Question::List(command, fields) => {
                Answer::Rows(fields, client.list(command)?.iter().map(|line| cut(line, fields)).collect())
            }
            Question::Unique(command) => {
                let line = client.line(command)?;
                Answer::Row(cut(after_ok(&line), UNIQUE_FIELDS))
            }
            Question::Version => Answer::Value("version", after_ok(&client.line(b"version")?).to_owned()),
            Question::Ping => {
                let echo = client.ask(Kind::EchoReq, &[b"gearhouse"])?;
                match echo.kind {
                    Kind::EchoRes if echo.body == "gearhouse" => Answer::Done,
                    other => return Err(ClientError::Unexpected(other)),
                }
            }
            Question::Order(command) => {
                client.line(command)?;
                Answer::Done
            }
        })
    }
}

fn line(command: &[u8], words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    words.iter().fold(command.to_vec(), |line, word| [&line, &b" "[..], word.as_ref()].concat())
}

/// The text protocol cuts its lines at blanks and has no way to quote them.
fn word(text: &OsStr) -> Result<&[u8], Failure> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(Failure::usage(format!(
            "{text:?} cannot be said in the text protocol, which has no empty words and none with blanks"
        )));
    }
    Ok(bytes)
}

/// Values come as `OK VALUE`; Perl's server leaves the OK out.
fn after_ok(line: &str) -> &str {
    line.strip_prefix("OK ").unwrap_or(line)
}

/// A field of a list: its title for people, its key for programs, and how it is read.
#[derive(Clone, Copy)]
struct Field {
    title: &'static str,
    key: &'static str,
    kind: FieldKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    Text,
    Number,
    YesNo,
    /// Means something in gearmand only.
    Unused,
    /// Seconds since the Unix epoch.
    Time,
    /// Words, separated by blanks, after a colon.
    Words,
}

const fn field(title: &'static str, key: &'static str, kind: FieldKind) -> Field {
    Field { title, key, kind }
}

const FUNCTION: Field = field("FUNCTION", "function", FieldKind::Text);
const TOTAL: Field = field("JOBS", "jobs", FieldKind::Number);
const RUNNING: Field = field("RUNNING", "running", FieldKind::Number);
const WORKERS: Field = field("WORKERS", "workers", FieldKind::Number);
const HIGH: Field = field("HIGH", "high", FieldKind::Number);
const NORMAL: Field = field("NORMAL", "normal", FieldKind::Number);
const LOW: Field = field("LOW", "low", FieldKind::Number);
const CONNECTION: Field = field("CONNECTION", "connection", FieldKind::Number);
const ADDRESS: Field = field("ADDRESS", "address", FieldKind::Text);
const ID: Field = field("ID", "id", FieldKind::Text);
const FUNCTIONS: Field = field("FUNCTIONS", "functions", FieldKind::Words);
const HANDLE: Field = field("HANDLE", "handle", FieldKind::Text);
const RETRIES: Field = field("RETRIES", "retries", FieldKind::Number);
const ABANDONED: Field = field("", "", FieldKind::Unused);
const BACKGROUND: Field = field("BACKGROUND", "background", FieldKind::YesNo);
const UNIQUE: Field = field("UNIQUE", "unique", FieldKind::Text);
const FIELDS: Field = field("FIELDS", "fields", FieldKind::Text);
const NEXT: Field = field("NEXT", "next", FieldKind::Time);
const STATE: Field = field("STATE", "state", FieldKind::Text);
const DONE: Field = field("DONE", "done", FieldKind::Number);
const OF: Field = field("OF", "of", FieldKind::Number);
const WAITING: Field = field("CLIENTS", "clients", FieldKind::Number);

const UNIQUE_FIELDS: &[Field] = &[HANDLE, STATE, DONE, OF, WAITING];

/// The fields of a line, which stand between tabs; only `workers` has its own form, `FD IP ID : FUNCTION …`.
fn cut(line: &str, fields: &[Field]) -> Vec<String> {
    let mut cells: Vec<String> = match fields.last() {
        Some(last) if last.kind == FieldKind::Words => {
            line.splitn(fields.len(), ' ').map(str::to_owned).collect()
        }
        _ => line.splitn(fields.len(), '\t').map(str::to_owned).collect(),
    };
    cells.resize(fields.len(), String::new());
    cells
}

fn words(cell: &str) -> impl Iterator<Item = &str> {
    cell.strip_prefix(':').unwrap_or(cell).split_ascii_whitespace()
}

impl Field {
    fn column(&self) -> Column {
        Column { title: self.title, is_number: self.kind == FieldKind::Number }
    }

    fn for_people(&self, cell: &str) -> String {
        match self.kind {
            FieldKind::YesNo => if cell == "1" { "yes" } else { "no" }.to_owned(),
            FieldKind::Time => {
                let time = cell.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
                time.map_or_else(|| cell.to_owned(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
            }
            FieldKind::Words => words(cell).collect::<Vec<_>>().join(" "),
            FieldKind::Text | FieldKind::Number | FieldKind::Unused => cell.to_owned(),
        }
    }

    fn as_json(&self, cell: &str) -> Value {
        match self.kind {
            FieldKind::Number | FieldKind::Time => {
                cell.parse::<u64>().map_or_else(|_| json!(cell), |number| json!(number))
            }
            FieldKind::YesNo => json!(cell == "1"),
            FieldKind::Words => words(cell).collect(),
            FieldKind::Text | FieldKind::Unused => json!(cell),
        }
    }
}

enum Answer {
    Rows(&'static [Field], Vec<Vec<String>>),
    Row(Vec<String>),
    Value(&'static str, String),
    Done,
}

impl Answer {
    fn for_people(&self, out: impl Write) -> io::Result<()> {
        let mut out = out;
        match self {
            Answer::Rows(fields, rows) => table_for_people(out, fields, rows),
            Answer::Row(row) => table_for_people(out, UNIQUE_FIELDS, std::slice::from_ref(row)),
            Answer::Value(_, value) => writeln!(out, "{value}"),
            Answer::Done => writeln!(out, "OK"),
        }
    }

    fn as_json(&self, mut out: impl Write) -> io::Result<()> {
        let object = |fields: &[Field], row: &[String]| -> Value {
            let entries = used(fields, row);
            Value::Object(entries.map(|(field, cell)| (field.key.to_owned(), field.as_json(cell))).collect())
        };
        let value = match self {
            Answer::Rows(fields, rows) => rows.iter().map(|row| object(fields, row)).collect(),
            Answer::Row(row) => object(UNIQUE_FIELDS, row),
            Answer::Value(key, value) => json!({ *key: value }),
            Answer::Done => json!({ "ok": true }),
        };
        writeln!(out, "{value:#}")
    }
}

fn used<'a, T>(fields: &'a [Field], row: &'a [T]) -> impl Iterator<Item = (&'a Field, &'a T)> {
    fields.iter().zip(row).filter(|(field, _)| field.kind != FieldKind::Unused)
}

fn table_for_people(out: impl Write, fields: &[Field], rows: &[Vec<String>]) -> io::Result<()> {
    let columns: Vec<Column> = used(fields, fields).map(|(field, _)| field.column()).collect();
    let shown = |row: &Vec<String>| used(fields, row).map(|(field, cell)| field.for_people(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    table::write(out, &columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_workers_is_cut_at_the_colon_after_the_id_not_in_an_address() {
        let fields = [CONNECTION, ADDRESS, ID, FUNCTIONS];
        assert_eq!(cut("12 ::1 - : f g", &fields), ["12", "::1", "-", ": f g"]);
        assert_eq!(cut("13 127.0.0.1 a:b :", &fields), ["13", "127.0.0.1", "a:b", ":"]);
        assert_eq!(FUNCTIONS.for_people(": f g"), "f g");
        assert_eq!(FUNCTIONS.as_json(": f g"), json!(["f", "g"]));
        assert_eq!(FUNCTIONS.as_json(":"), json!([]));
    }

    #[test]
    fn a_list_of_another_server_with_fewer_fields_is_still_shown() {
        assert_eq!(cut("f\t1\t0", &[FUNCTION, TOTAL, RUNNING, WORKERS]), ["f", "1", "0", ""]);
    }

    #[test]
    fn words_that_would_become_another_command_are_refused() {
        for text in ["", "a b", "f\nshutdown", "f\t"] {
            assert!(word(OsStr::new(text)).is_err(), "{text:?}");
        }
        assert!(word(OsStr::new("f:ü")).is_ok());
    }
}
