//! Lines of JSON in which all that a store holds can leave it and come back: docs/store-format.md.
//!
//! The first line says `store`, the last one `end`, so that a file that was cut short is not taken for a whole one.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{Outcome, Phase, Reason, Record, Standing};
use crate::policy::{Plan, Policy, Terms};
use crate::protocol::{Kind, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// The format of these lines as they are written. Older ones are read as well: what they lack is not known.
pub const FORMAT: u32 = 2;

/// Numbers beyond it are wrong: a server could not count on for long.
const LARGEST_NUMBER: u64 = 1 << 62;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The first one.
    Begin,
    /// A job, the result of one, a recurring job, a function or a policy.
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
    Policy {
        #[serde(borrow)]
        pattern: Cow<'a, str>,
        policy: Cow<'a, Policy>,
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
        #[serde(default, skip_serializing_if = "PhaseName::is_waiting")]
        phase: PhaseName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<OutcomeName>,
        place: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        attempts: u32,
        losses: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        submitted_micros: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_micros: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_start_micros: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_start_micros: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended_micros: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<Cow<'a, Terms>>,
        #[serde(borrow)]
        payload: Text<'a>,
    },
    Result {
        number: u64,
        #[serde(borrow)]
        result: Text<'a>,
    },
    Recurring {
        number: u64,
        #[serde(borrow)]
        function: Text<'a>,
        #[serde(borrow)]
        unique: Text<'a>,
        // In the first format only, which had nothing else of the plan.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        fields: Option<Cow<'a, str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Cow<'a, Plan>>,
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

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PhaseName {
    #[default]
    Waiting,
    Held,
    Running,
    Cancelling,
    Over,
}

impl PhaseName {
    fn is_waiting(&self) -> bool {
        *self == PhaseName::Waiting
    }
}

/// How a job ended, as one word.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeName {
    Succeeded,
    Cancelled,
    Failed,
    Exception,
    TimedOut,
    Lost,
    LeaseExpired,
    Expired,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
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
            Line::Thing(Record::Policy { pattern, policy: Some(policy) }) => {
                Form::Policy { pattern: Cow::Borrowed(pattern), policy: Cow::Borrowed(policy) }
            }
            Line::Thing(Record::Queued { id, standing, spec, terms }) => {
                Form::job(*id, *standing, spec, terms.as_deref())
            }
            Line::Thing(Record::Result { id, body }) => Form::Result { number: id.0, result: Text::of(body) },
            Line::Thing(Record::Scheduled { id, plan, spec }) => Form::Recurring {
                number: id.0,
                function: Text::of(spec.function()),
                unique: Text::of(spec.unique()),
                fields: None,
                plan: Some(Cow::Borrowed(plan)),
                payload: Text::of(spec.payload()),
            },
            // Not a thing, but something that happened to one.
            Line::Thing(
                Record::Stands { .. }
                | Record::Done(_)
                | Record::Unscheduled(_)
                | Record::Policy { policy: None, .. },
            ) => return None,
        })
    }

    fn job(id: JobId, standing: Standing, spec: &'a Spec, terms: Option<&'a Terms>) -> Self {
        let (phase, outcome, ended) = match standing.phase {
            Phase::Waiting => (PhaseName::Waiting, None, None),
            Phase::Held => (PhaseName::Held, None, None),
            Phase::Running => (PhaseName::Running, None, None),
            Phase::Cancelling => (PhaseName::Cancelling, None, None),
            Phase::Over { outcome, at } => (PhaseName::Over, Some(outcome.into()), Some(at)),
        };
        let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
        Form::Job {
            number: id.0,
            function: Text::of(spec.function()),
            unique: Text::of(spec.unique()),
            reducer: has_reducer(spec).then(|| Text::of(spec.reducer())),
            priority: standing.priority.into(),
            phase,
            outcome,
            place: standing.place,
            attempts: standing.attempts,
            losses: standing.losses,
            submitted_micros: micros(Some(standing.submitted)).filter(|micros| *micros > 0),
            due_micros: micros(standing.due),
            first_start_micros: micros(standing.first_start),
            last_start_micros: micros(standing.last_start),
            ended_micros: micros(ended),
            terms: terms.map(Cow::Borrowed),
            payload: Text::of(spec.payload()),
        }
    }
}

impl TryFrom<Form<'_>> for Line {
    type Error = BadLine;

    fn try_from(form: Form<'_>) -> Result<Line, BadLine> {
        Ok(Line::Thing(match form {
            Form::Store { format: 1..=FORMAT } => return Ok(Line::Begin),
            Form::Store { format } => {
                let why =
                    format!("format {format} is not known here, only up to {FORMAT}: use a newer version");
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
            Form::Policy { pattern, policy } => Record::Policy {
                pattern: Cow::Owned(pattern.into_owned()),
                policy: Some(Box::new(policy.into_owned())),
            },
            Form::Job {
                number: id,
                function,
                unique,
                reducer,
                priority,
                phase,
                outcome,
                place,
                attempts,
                losses,
                submitted_micros,
                due_micros,
                first_start_micros,
                last_start_micros,
                ended_micros,
                terms,
                payload,
            } => {
                let time = |micros: Option<u64>| micros.map(Timestamp::from_micros);
                let standing = Standing {
                    priority: priority.into(),
                    phase: phase_of(phase, outcome, time(ended_micros))?,
                    due: time(due_micros.filter(|micros| *micros > 0)),
                    attempts,
                    losses,
                    place: number(place)?,
                    submitted: time(submitted_micros).unwrap_or_default(),
                    first_start: time(first_start_micros),
                    last_start: time(last_start_micros),
                };
                let mut names = vec![name("function", function)?, name("unique", unique)?];
                let kind = match reducer {
                    Some(reducer) => {
                        // The aggregator after it is used by no server.
                        names.extend([name("reducer", reducer)?, Vec::new()]);
                        Kind::SubmitReduceJobBackground
                    }
                    None => Kind::SubmitJobBg,
                };
                let spec = Cow::Owned(spec(kind, names, payload)?);
                let terms = terms.map(|terms| Box::new(terms.into_owned()));
                Record::Queued { id: JobId(number(id)?), standing, spec, terms }
            }
            Form::Result { number: id, result } => {
                Record::Result { id: JobId(number(id)?), body: Bytes::from(result.into_bytes("result")?) }
            }
            Form::Recurring { number: id, function, unique, fields, plan, payload } => {
                let names = vec![name("function", function)?, name("unique", unique)?];
                let spec = Cow::Owned(spec(Kind::SubmitJobBg, names, payload)?);
                let plan = match (plan, fields) {
                    (Some(plan), None) => plan.into_owned(),
                    (None, Some(fields)) => {
                        Plan { fields: fields.into_owned(), monday_is_zero: true, ..Plan::default() }
                    }
                    _ => return Err(BadLine("a recurring job has a plan".into())),
                };
                Record::Scheduled { id: JobId(number(id)?), plan: Cow::Owned(plan), spec }
            }
        }))
    }
}

fn phase_of(
    phase: PhaseName,
    outcome: Option<OutcomeName>,
    ended: Option<Timestamp>,
) -> Result<Phase, BadLine> {
    Ok(match (phase, outcome, ended) {
        (PhaseName::Over, Some(outcome), Some(at)) => Phase::Over { outcome: outcome.into(), at },
        (PhaseName::Over, ..) => {
            return Err(BadLine("a job that is over has an outcome and ended_micros".into()));
        }
        (_, Some(_), _) | (_, _, Some(_)) => {
            return Err(BadLine("only a job that is over has an outcome and ended_micros".into()));
        }
        (PhaseName::Waiting, ..) => Phase::Waiting,
        (PhaseName::Held, ..) => Phase::Held,
        (PhaseName::Running, ..) => Phase::Running,
        (PhaseName::Cancelling, ..) => Phase::Cancelling,
    })
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

impl From<Outcome> for OutcomeName {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => OutcomeName::Succeeded,
            Outcome::Cancelled => OutcomeName::Cancelled,
            Outcome::Failed(Reason::Failed) => OutcomeName::Failed,
            Outcome::Failed(Reason::Exception) => OutcomeName::Exception,
            Outcome::Failed(Reason::TimedOut) => OutcomeName::TimedOut,
            Outcome::Failed(Reason::Lost) => OutcomeName::Lost,
            Outcome::Failed(Reason::LeaseExpired) => OutcomeName::LeaseExpired,
            Outcome::Failed(Reason::Expired) => OutcomeName::Expired,
        }
    }
}

impl From<OutcomeName> for Outcome {
    fn from(outcome: OutcomeName) -> Self {
        match outcome {
            OutcomeName::Succeeded => Outcome::Succeeded,
            OutcomeName::Cancelled => Outcome::Cancelled,
            OutcomeName::Failed => Outcome::Failed(Reason::Failed),
            OutcomeName::Exception => Outcome::Failed(Reason::Exception),
            OutcomeName::TimedOut => Outcome::Failed(Reason::TimedOut),
            OutcomeName::Lost => Outcome::Failed(Reason::Lost),
            OutcomeName::LeaseExpired => Outcome::Failed(Reason::LeaseExpired),
            OutcomeName::Expired => Outcome::Failed(Reason::Expired),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Misfire, Overlap};

    fn job(unique: &[u8], reducer: Option<&[u8]>, payload: &[u8]) -> Line {
        let standing = Standing {
            attempts: u32::MAX,
            losses: u32::MAX,
            place: LARGEST_NUMBER - 1,
            first_start: Some(Timestamp::from_micros(2)),
            last_start: Some(Timestamp::from_micros(3)),
            ..standing(Phase::Waiting)
        };
        let (kind, parts) = match reducer {
            Some(reducer) => {
                (Kind::SubmitReduceJobBackground, vec![&b"f\xff"[..], unique, reducer, b"", payload])
            }
            None => (Kind::SubmitJobBg, vec![&b"f\xff"[..], unique, payload]),
        };
        let (spec, _) = Spec::parse(kind, Bytes::from(parts.join(&0))).unwrap();
        let terms = Some(Box::new(Terms { mime: Some("text/plain".into()), ..Terms::default() }));
        Line::Thing(Record::Queued { id: JobId(7), standing, spec: Cow::Owned(spec), terms })
    }

    fn standing(phase: Phase) -> Standing {
        let due = Some(Timestamp::from_micros(u64::MAX));
        Standing { phase, ..Standing::new(JobId(7), Priority::Low, due, Timestamp::from_micros(1)) }
    }

    fn plain(phase: Phase) -> Line {
        let (spec, _) = Spec::parse(Kind::SubmitJobBg, Bytes::from_static(b"f\0\0")).unwrap();
        let (standing, spec) = (standing(phase), Cow::Owned(spec));
        Line::Thing(Record::Queued { id: JobId(7), standing, spec, terms: None })
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
        let at = Timestamp::from_micros(9);
        let plan = Plan {
            fields: "0 8 * * *".into(),
            monday_is_zero: false,
            zone: "Europe/Berlin".into(),
            misfire: Misfire::Once,
            overlap: Overlap::Skip,
            paused: true,
            next: u64::MAX,
            last_job: 6,
        };
        let mut lines = vec![
            plain(Phase::Waiting),
            plain(Phase::Held),
            plain(Phase::Running),
            plain(Phase::Cancelling),
            Line::Thing(Record::Result { id: JobId(7), body: Bytes::from_static(b"done\xff") }),
            Line::Thing(Record::Policy {
                pattern: "mail*".into(),
                policy: Some(Box::new(Policy { attempts: Some(3), rate: Some(0.5), ..Policy::default() })),
            }),
            Line::Begin,
            Line::End(JobId(1 << 40)),
            job(b"", None, b""),
            job(b"-", Some(b""), "ü\n\u{2028}\"\\".as_bytes()),
            job(b"u", Some(b"r\xfe"), &all),
            Line::Thing(Record::Scheduled {
                id: JobId(1),
                plan: Cow::Owned(plan),
                spec: Cow::Owned(recurring),
            }),
            Line::Thing(Record::Function {
                name: b"\x80"[..].into(),
                limits: [None, Some(5), None],
                pinned: true,
            }),
        ];
        let outcomes = [Outcome::Succeeded, Outcome::Cancelled];
        let reasons = [
            Reason::Failed,
            Reason::Exception,
            Reason::TimedOut,
            Reason::Lost,
            Reason::LeaseExpired,
            Reason::Expired,
        ];
        let outcomes = outcomes.into_iter().chain(reasons.map(Outcome::Failed));
        lines.extend(outcomes.map(|outcome| plain(Phase::Over { outcome, at })));
        for line in lines {
            let text = text(&line);
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
            assert_eq!(Line::read(text.as_bytes()), Ok(line), "{text}");
        }
    }

    #[test]
    fn lines_of_the_first_format_are_read_and_what_they_lack_is_not_known() {
        let read = |line: &str| Line::read(line.as_bytes()).unwrap();
        assert_eq!(read(r#"{"kind":"store","format":1}"#), Line::Begin);
        let job = r#"{"kind":"job","number":7,"function":"f","unique":"","priority":"low","place":9,"losses":2,"payload":""}"#;
        let Line::Thing(Record::Queued { standing, terms: None, .. }) = read(job) else { panic!() };
        let new = Standing::new(JobId(9), Priority::Low, None, Timestamp::default());
        assert_eq!(standing, Standing { losses: 2, ..new });
        let recurring =
            r#"{"kind":"recurring","number":8,"function":"f","unique":"","fields":"0 8 * * 0","payload":""}"#;
        let Line::Thing(Record::Scheduled { plan, .. }) = read(recurring) else { panic!() };
        assert_eq!(*plan, Plan { fields: "0 8 * * 0".into(), monday_is_zero: true, ..Plan::default() });
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
            ("{\"kind\":\"store\",\"format\":3}", "format 3"),
            ("{\"kind\":\"store\",\"format\":0}", "format 0"),
            (r#"{"kind":"recurring","number":8,"function":"f","unique":"","payload":""}"#, "a plan"),
            (&good.replace("\"place\"", "\"phase\":\"over\",\"place\""), "has an outcome"),
            (&good.replace("\"place\"", "\"outcome\":\"lost\",\"place\""), "only a job that is over"),
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
