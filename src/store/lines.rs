//! Lines of JSON in which all that a store holds can leave it and come back: docs/store-format.md.
//!
//! The first line says `store`, the last one `end`, so that a file that was cut short is not taken for a whole one.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{Record, Standing};
use crate::protocol::{Kind, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// The format of these lines.
pub const FORMAT: u32 = 1;

/// Numbers beyond it are wrong: a server could not count on for long.
const LARGEST_NUMBER: u64 = 1 << 62;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The first one.
    Begin,
    /// A job, a recurring job or a function.
    Thing(Record<'static>),
    /// The last one: all numbers below this one may have been given out.
    End(JobId),
}

/// Why a line is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadLine(String);

impl Line {
    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// It is no JSON, says something unknown or not enough, or something that no store could hold.
    pub fn read(line: &[u8]) -> Result<Line, BadLine> {
        let form: Form<'_> = serde_json::from_slice(line).map_err(|error| BadLine(without_place(&error)))?;
        form.try_into()
    }

    /// Writes the line with its newline; nothing if it holds what happened to a job rather than a thing. Specs must
    /// have their payload at hand.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let Some(form) = Form::of(self) else { return Ok(()) };
        serde_json::to_writer(&mut out, &form)?;
        out.write_all(b"\n")
    }
}

/// As it stands in the line. Its order is the order of what is written.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Form<'a> {
    Store {
        format: u32,
    },
    Function {
        #[serde(borrow)]
        function: Text<'a>,
        max_queue: MaxQueue,
        pinned: bool,
    },
    Job {
        number: u64,
        #[serde(borrow)]
        function: Text<'a>,
        #[serde(borrow)]
        unique: Text<'a>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        reducer: Option<Text<'a>>,
        priority: PriorityName,
        place: u64,
        losses: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_micros: Option<u64>,
        #[serde(borrow)]
        payload: Text<'a>,
    },
    Recurring {
        number: u64,
        #[serde(borrow)]
        function: Text<'a>,
        #[serde(borrow)]
        unique: Text<'a>,
        #[serde(borrow)]
        fields: Cow<'a, str>,
        #[serde(borrow)]
        payload: Text<'a>,
    },
    End {
        next_number: u64,
    },
}

/// Bytes: as text if they are UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "expected text, or {\"base64\": …}")]
enum Text<'a> {
    Utf8(#[serde(borrow)] Cow<'a, str>),
    Base64 { base64: Cow<'a, str> },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaxQueue {
    high: Option<u32>,
    normal: Option<u32>,
    low: Option<u32>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PriorityName {
    High,
    Normal,
    Low,
}

impl<'a> Form<'a> {
    fn of(line: &'a Line) -> Option<Self> {
        Some(match line {
            Line::Begin => Form::Store { format: FORMAT },
            Line::End(JobId(next_number)) => Form::End { next_number: *next_number },
            Line::Thing(Record::Function { name, limits: [high, normal, low], pinned }) => Form::Function {
                function: Text::of(name),
                max_queue: MaxQueue { high: *high, normal: *normal, low: *low },
                pinned: *pinned,
            },
            Line::Thing(Record::Queued { id, standing, spec }) => Form::Job {
                number: id.0,
                function: Text::of(spec.function()),
                unique: Text::of(spec.unique()),
                reducer: has_reducer(spec).then(|| Text::of(spec.reducer())),
                priority: standing.priority.into(),
                place: standing.place,
                losses: standing.losses,
                due_micros: standing.due.map(Timestamp::as_micros),
                payload: Text::of(spec.payload()),
            },
            Line::Thing(Record::Scheduled { id, fields, spec }) => Form::Recurring {
                number: id.0,
                function: Text::of(spec.function()),
                unique: Text::of(spec.unique()),
                fields: Cow::Borrowed(fields),
                payload: Text::of(spec.payload()),
            },
            // Not a thing, but something that happened to one.
            Line::Thing(Record::Lost { .. } | Record::Done(_) | Record::Unscheduled(_)) => return None,
        })
    }
}

impl TryFrom<Form<'_>> for Line {
    type Error = BadLine;

    fn try_from(form: Form<'_>) -> Result<Line, BadLine> {
        Ok(Line::Thing(match form {
            Form::Store { format: FORMAT } => return Ok(Line::Begin),
            Form::Store { format } => {
                let why = format!("format {format} is not known here, only {FORMAT}: use a newer version");
                return Err(BadLine(why));
            }
            Form::End { next_number } => return Ok(Line::End(JobId(number(next_number)?))),
            Form::Function { function, max_queue: MaxQueue { high, normal, low }, pinned } => {
                Record::Function {
                    name: Cow::Owned(name("function", function)?),
                    limits: [high, normal, low].map(|limit| limit.filter(|limit| *limit > 0)),
                    pinned,
                }
            }
            Form::Job {
                number: id,
                function,
                unique,
                reducer,
                priority,
                place,
                losses,
                due_micros,
                payload,
            } => {
                let due = due_micros.filter(|micros| *micros > 0).map(Timestamp::from_micros);
                let (priority, place) = (priority.into(), number(place)?);
                let mut names = vec![name("function", function)?, name("unique", unique)?];
                let kind = match reducer {
                    Some(reducer) => {
                        // The aggregator after it is used by no server.
                        names.extend([name("reducer", reducer)?, Vec::new()]);
                        Kind::SubmitReduceJobBackground
                    }
                    None => Kind::SubmitJobBg,
                };
                let standing = Standing { priority, due, losses, place };
                let spec = Cow::Owned(spec(kind, names, payload)?);
                Record::Queued { id: JobId(number(id)?), standing, spec }
            }
            Form::Recurring { number: id, function, unique, fields, payload } => {
                let names = vec![name("function", function)?, name("unique", unique)?];
                let spec = Cow::Owned(spec(Kind::SubmitJobBg, names, payload)?);
                Record::Scheduled { id: JobId(number(id)?), fields: Cow::Owned(fields.into_owned()), spec }
            }
        }))
    }
}

fn number(number: u64) -> Result<u64, BadLine> {
    match number {
        1..LARGEST_NUMBER => Ok(number),
        _ => Err(BadLine(format!("{number} is not a number of a job: they go from 1 to 2^62 - 1"))),
    }
}

fn name(what: &str, text: Text<'_>) -> Result<Vec<u8>, BadLine> {
    let bytes = text.into_bytes(what)?;
    if bytes.contains(&0) {
        return Err(BadLine(format!("{what} holds a byte of value 0, which names cannot")));
    }
    Ok(bytes)
}

fn spec(kind: Kind, mut names: Vec<Vec<u8>>, payload: Text<'_>) -> Result<Spec, BadLine> {
    names.push(payload.into_bytes("payload")?);
    let parsed = Spec::parse(kind, Bytes::from(names.join(&0)));
    parsed.map(|(spec, _)| spec).map_err(|refusal| BadLine(refusal.to_string()))
}

fn has_reducer(spec: &Spec) -> bool {
    let [_, unique, reducer] = spec.ends();
    unique != reducer
}

/// Every line is text of its own for serde: its "line 1" would be taken for the file's.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => format!("{} at column {}", &text[..end], error.column()),
        None => text,
    }
}

impl Text<'_> {
    fn of(bytes: &[u8]) -> Text<'_> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Utf8(Cow::Borrowed(text)),
            Err(_) => Text::Base64 { base64: Cow::Owned(BASE64.encode(bytes)) },
        }
    }

    fn into_bytes(self, what: &str) -> Result<Vec<u8>, BadLine> {
        match self {
            Text::Utf8(text) => Ok(text.into_owned().into_bytes()),
            Text::Base64 { base64 } => BASE64
                .decode(base64.as_bytes())
                .map_err(|error| BadLine(format!("the base64 of {what} is wrong: {error}"))),
        }
    }
}

impl From<Priority> for PriorityName {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => PriorityName::High,
            Priority::Normal => PriorityName::Normal,
            Priority::Low => PriorityName::Low,
        }
    }
}

impl From<PriorityName> for Priority {
    fn from(priority: PriorityName) -> Self {
        match priority {
            PriorityName::High => Priority::High,
            PriorityName::Normal => Priority::Normal,
            PriorityName::Low => Priority::Low,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(unique: &[u8], reducer: Option<&[u8]>, payload: &[u8]) -> Line {
        let standing = Standing {
            priority: Priority::Low,
            due: Some(Timestamp::from_micros(u64::MAX)),
            losses: u32::MAX,
            place: LARGEST_NUMBER - 1,
        };
        let (kind, parts) = match reducer {
            Some(reducer) => {
                (Kind::SubmitReduceJobBackground, vec![&b"f\xff"[..], unique, reducer, b"", payload])
            }
            None => (Kind::SubmitJobBg, vec![&b"f\xff"[..], unique, payload]),
        };
        let (spec, _) = Spec::parse(kind, Bytes::from(parts.join(&0))).unwrap();
        Line::Thing(Record::Queued { id: JobId(7), standing, spec: Cow::Owned(spec) })
    }

    fn text(line: &Line) -> String {
        let mut text = Vec::new();
        line.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_line_reads_back_as_what_was_written() {
        let all: Vec<u8> = (0..=255).collect();
        let (recurring, _) = Spec::parse(Kind::SubmitJobBg, Bytes::from_static(b"f\0-\0x\0y")).unwrap();
        let lines = [
            Line::Begin,
            Line::End(JobId(1 << 40)),
            job(b"", None, b""),
            job(b"-", Some(b""), "ü\n\u{2028}\"\\".as_bytes()),
            job(b"u", Some(b"r\xfe"), &all),
            Line::Thing(Record::Scheduled {
                id: JobId(1),
                fields: "0 8 * * *".into(),
                spec: Cow::Owned(recurring),
            }),
            Line::Thing(Record::Function {
                name: b"\x80"[..].into(),
                limits: [None, Some(5), None],
                pinned: true,
            }),
        ];
        for line in lines {
            let text = text(&line);
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
            assert_eq!(Line::read(text.as_bytes()), Ok(line), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_stand_as_base64() {
        assert!(text(&job(b"u", None, b"plain")).trim_end().ends_with(r#""payload":"plain"}"#));
        assert!(text(&job(b"u", None, b"\xff\0")).trim_end().ends_with(r#""payload":{"base64":"/wA="}}"#));
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong_with_it() {
        let good = text(&job(b"unique", None, b"x"));
        let cases = [
            ("", "EOF"),
            ("{\"kind\":\"jobs\"}", "jobs"),
            ("{\"kind\":\"end\",\"more\":1}", "more"),
            ("{\"kind\":\"end\"}", "next_number"),
            ("{\"kind\":\"store\",\"format\":2}", "format 2"),
            (&good.replace("\"number\":7", "\"number\":0"), "0 is not a number"),
            (&good.replace("\"number\":7", "\"number\":9223372036854775807"), "2^62"),
            (&good.replace("\"losses\":", "\"loses\":"), "loses"),
            (&good.replace("\"low\"", "\"lowest\""), "lowest"),
            (
                &good.replace("unique\":\"unique", "unique\":\"uni\\u0000que"),
                "unique holds a byte of value 0",
            ),
            (&good.replace(":\"x\"", ":{\"base64\":\"*\"}"), "the base64 of payload"),
            (&good.replace(":\"x\"", ":5"), "expected text"),
        ];
        for (line, named) in cases {
            let error = Line::read(line.as_bytes()).expect_err(line).to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
