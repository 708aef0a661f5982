//! How the API's answers look to people: ages, counts, states in colour; and questions before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use serde_json::Value;

use super::Failure;
use super::table::{self, Column};
use crate::clock::Clock;
use crate::types::Timestamp;

/// What stands where there is nothing to say: programs that cut a table at its blanks find all its columns.
const NOTHING: &str = "-";

/// Text, a number or a truth of an answer. Bytes that are no text, which the API tells in another field, with escapes.
pub(super) fn text(item: &Value, field: &str) -> String {
    match &item[field] {
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(is_so) => if *is_so { "yes" } else { "no" }.to_owned(),
        Value::Null => {
            bytes(item, field).map_or(NOTHING.to_owned(), |bytes| bytes.escape_ascii().to_string())
        }
        other => other.to_string(),
    }
}

/// A name of an answer as it is, whatever its bytes.
pub(super) fn name(item: &Value, field: &str) -> Vec<u8> {
    let text = item[field].as_str().map(|text| text.as_bytes().to_vec());
    text.or_else(|| bytes(item, field)).unwrap_or_default()
}

fn bytes(item: &Value, field: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(item[format!("{field}_base64")].as_str()?).ok()
}

/// A moment of an answer.
pub(super) fn moment(value: &Value) -> Option<Timestamp> {
    let moment = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    u64::try_from(moment.timestamp_micros()).ok().map(Timestamp::from_micros)
}

/// How long ago a moment of an answer was, or how soon it will be.
pub(super) fn age(value: &Value) -> String {
    let Some(moment) = moment(value) else { return NOTHING.to_owned() };
    let now = Clock::new().now();
    if moment > now { format!("in {}", span(moment.since(now))) } else { span(now.since(moment)) }
}

/// A number of seconds of an answer.
pub(super) fn seconds(value: &Value) -> String {
    let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.map_or(NOTHING.to_owned(), span)
}

/// A length of time in at most six characters: the two units that matter.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0 if span.subsec_millis() == 0 && !span.is_zero() => format!("{}us", span.subsec_micros()),
        0 if !span.is_zero() => format!("{}ms", span.subsec_millis()),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ if days < 100 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// Whether people look at standard output, and want colours.
pub(super) fn in_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Rows as a table, with states in colour on a terminal.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> Result<(), Failure> {
    written(table::write_in(in_colour(), io::stdout().lock(), columns, rows))
}

/// One item as lines of names and values.
pub(super) fn facts(facts: &[(String, String)]) -> Result<(), Failure> {
    written(table::write_facts(in_colour(), io::stdout().lock(), facts))
}

/// Fields that people look for first, in this order; the others follow by name.
const FIRST: [&str; 12] = [
    "handle",
    "id",
    "function",
    "state",
    "reason",
    "priority",
    "submitted",
    "due",
    "first_start",
    "last_start",
    "ended",
    "attempts",
];

/// An object's fields as names and values for [`facts`]; what is in an object in it, with both names.
pub(super) fn flat(item: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let Value::Object(fields) = item else { return all };
    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
    let place = |name: &str| FIRST.iter().position(|first| *first == name.trim_end_matches("_base64"));
    fields.sort_by_key(|(name, _)| place(name).unwrap_or(FIRST.len()));
    for (name, value) in fields {
        let shown = name.strip_suffix("_base64").unwrap_or(name);
        match value {
            Value::Object(_) => {
                all.extend(flat(value).into_iter().map(|(inner, value)| (format!("{shown} {inner}"), value)));
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(plain).collect();
                let items = if items.is_empty() { NOTHING.to_owned() } else { items.join(" ") };
                all.push((shown.to_owned(), items));
            }
            _ => {
                let told = text(item, shown);
                let ago = moment(value).map(|_| format!("{told}  ({})", age(value)));
                all.push((shown.to_owned(), ago.unwrap_or(told)));
            }
        }
    }
    all
}

/// Columns of a table: titles, those of numbers with `#` before them.
pub(super) fn columns<const N: usize>(titles: [&'static str; N]) -> [Column; N] {
    titles.map(|title| match title.strip_prefix('#') {
        Some(title) => Column { title, is_number: true },
        None => Column { title, is_number: false },
    })
}

/// A value as it is written in a line: text without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A line on standard output.
pub(super) fn say(what: impl std::fmt::Display) -> Result<(), Failure> {
    written(writeln!(io::stdout().lock(), "{what}"))
}

/// A reader that has seen enough, as `| head` has, ends a command quietly.
pub(super) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result.and_then(|()| io::stdout().flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Failure { code: 0, message: String::new() })
        }
        Err(error) => Err(Failure::usage(format!("cannot write the answer: {error}"))),
    }
}

/// Asks before something is destroyed. Where no one can be asked, `--yes` must have been said.
pub(super) fn confirm(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{what}? There is no terminal to ask on: say --yes if you mean it"
        )));
    }
    let refused = |error| Failure::usage(format!("cannot ask: {error}"));
    write!(io::stderr(), "{what}? [y/N] ").map_err(refused)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(refused)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::refused("nothing was done"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use serde_json::json;

    #[test]
    fn a_length_of_time_has_the_two_units_that_matter() {
        let shown = |seconds: f64| span(Duration::from_secs_f64(seconds));
        assert_eq!(shown(0.0), "0s");
        assert_eq!(shown(0.000_25), "250us");
        assert_eq!(shown(0.25), "250ms");
        assert_eq!(shown(59.9), "59s");
        assert_eq!(shown(61.0), "1m01s");
        assert_eq!(shown(7500.0), "2h05m");
        assert_eq!(shown(90000.0), "1d01h");
        assert_eq!(shown(86400.0 * 400.0), "400d");
    }

    #[test]
    fn what_is_no_text_is_shown_with_escapes_and_kept_as_it_is() {
        let item = json!({"function_base64": "Zv8=", "unique": "", "n": 3, "is": true});
        assert_eq!(text(&item, "function"), "f\\xff");
        assert_eq!(name(&item, "function"), b"f\xff");
        assert_eq!((text(&item, "unique"), text(&item, "nothing")), ("-".into(), "-".into()));
        assert_eq!((text(&item, "n"), text(&item, "is")), ("3".into(), "yes".into()));
    }

    #[test]
    fn an_object_is_told_field_by_field() {
        let item = json!({"handle": "H:a:1", "queued": {"high": 1}, "functions": ["f", "g"], "running": []});
        let told = flat(&item);
        let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (&**name, &**value)).collect();
        let told: BTreeSet<(&str, &str)> = told.into_iter().collect();
        let all = [("functions", "f g"), ("handle", "H:a:1"), ("queued high", "1"), ("running", "-")];
        assert_eq!(told, BTreeSet::from(all));
    }
}
