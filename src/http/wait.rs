//! Jobs that someone waits for: what their workers say, in one answer at the end, or as it comes.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::answer::{self, is_false};
use super::problem::{Described, Kind, Problem};
use super::session::{Ended, Session};
use super::values::text_or_base64;
use crate::engine::Reason;
use crate::engine::view::JobState;
use crate::policy::Terms;
use crate::protocol::{self, Frame, Request, Submit};
use crate::types::JobId;

/// Bytes of WORK_DATA and warnings of a job that are kept for who waits; who wants more follows the stream.
const KEPT: usize = 1 << 20;

/// Bytes that one answer may have in all.
const MOST: usize = 256 << 20;

/// Submits whose jobs are followed to their ends.
pub(super) struct Following {
    session: Session,
    /// Submits, and those of them that were answered.
    count: usize,
    answered: usize,
    /// Submits that were not refused and whose jobs are not over.
    open: usize,
    jobs: HashMap<Bytes, Tracked>,
    /// Of each submit: the least number that its job has if it is new.
    firsts: Vec<JobId>,
    /// The last job that was new.
    newest: JobId,
}

/// A job. Two submits that joined one another have one job, and each packet of it comes twice, one right behind the other.
#[derive(Default)]
struct Tracked {
    submits: Vec<usize>,
    /// Copies of the packet that came last.
    copies: usize,
}

/// What happened to one job.
pub(super) struct Followed {
    pub handle: String,
    /// The submits that it is about.
    pub submits: Vec<usize>,
    pub what: What,
}

pub(super) enum What {
    /// This submit was taken.
    Created {
        /// Which one.
        index: usize,
        /// The job was there already: another submit with its unique id made it.
        joined: bool,
    },
    /// It was not.
    Refused(Problem),
    Data(Bytes),
    Warning(Bytes),
    Status(String, String),
    Result(Bytes),
    Exception(Bytes),
    Failed,
}

impl From<Ended> for Problem {
    fn from(Ended(reason): Ended) -> Self {
        Problem::new(Kind::UNAVAILABLE, format!("Before there was an answer: {reason}")).retry_after(1)
    }
}

impl Following {
    pub async fn begin(session: Session, submits: Vec<(Submit, Terms)>) -> Self {
        let count = submits.len();
        let exceptions = Request::SetOption(Bytes::from_static(b"exceptions"));
        session.send([exceptions]).await;
        let firsts = session.submit(submits).await;
        Self { session, count, answered: 0, open: count, jobs: HashMap::new(), firsts, newest: JobId(0) }
    }

    /// What happens next; `None` when every job is over.
    pub async fn next(&mut self) -> Result<Option<Followed>, Ended> {
        while self.open > 0 || self.answered < self.count {
            let frame = self.session.next().await?;
            if let Some(followed) = self.take(&frame) {
                return Ok(Some(followed));
            }
        }
        Ok(None)
    }

    fn take(&mut self, frame: &Frame) -> Option<Followed> {
        let mut arguments = frame.arguments().map(|argument| frame.body.slice_ref(argument));
        let first = arguments.next()?;
        let mut rest = || arguments.next().unwrap_or_default();
        match frame.kind {
            protocol::Kind::JobCreated => {
                let index = self.answer();
                self.jobs.entry(first.clone()).or_default().submits.push(index);
                let what = What::Created { index, joined: self.has_joined(index, &first) };
                return Some(Followed { handle: text(&first), submits: vec![index], what });
            }
            protocol::Kind::Error => {
                let index = self.answer();
                self.open -= 1;
                let what = What::Refused(Problem::refused(&text(&first), text(&rest())));
                return Some(Followed { handle: String::new(), submits: vec![index], what });
            }
            _ => {}
        }
        let tracked = self.jobs.get_mut(&first)?;
        let is_first = tracked.copies == 0;
        tracked.copies = (tracked.copies + 1) % tracked.submits.len();
        if !is_first {
            return None;
        }
        let what = match frame.kind {
            protocol::Kind::WorkData => What::Data(rest()),
            protocol::Kind::WorkWarning => What::Warning(rest()),
            protocol::Kind::WorkStatus => What::Status(text(&rest()), text(&rest())),
            protocol::Kind::WorkComplete => What::Result(rest()),
            protocol::Kind::WorkException => What::Exception(rest()),
            protocol::Kind::WorkFail => What::Failed,
            _ => return None,
        };
        let submits = tracked.submits.clone();
        if matches!(what, What::Result(_) | What::Exception(_) | What::Failed) {
            // Further copies of its end find no job.
            self.jobs.remove(&first);
            self.open -= submits.len();
        }
        Some(Followed { handle: text(&first), submits, what })
    }

    /// Whether the job of a submit that was answered just now was there before.
    fn has_joined(&mut self, index: usize, handle: &[u8]) -> bool {
        let (Some(job), Some(first)) = (self.session.number(handle), self.firsts.get(index)) else {
            return false;
        };
        let is_new = job >= *first && job > self.newest;
        if is_new {
            self.newest = job;
        }
        !is_new
    }

    /// How a job ended that failed, and why, as far as it is still known.
    fn end_of(&self, handle: &str) -> (EndName, Option<&'static str>) {
        match self.session.job(handle.as_bytes()) {
            Some(row) if matches!(row.state, JobState::Cancelled | JobState::Cancelling) => {
                (EndName::Cancelled, None)
            }
            Some(row) if row.state == JobState::Failed => (EndName::Failed, row.reason.map(Reason::name)),
            _ => (EndName::Failed, None),
        }
    }

    /// Submits are answered in their order.
    fn answer(&mut self) -> usize {
        self.answered += 1;
        self.answered - 1
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A job that is over.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = FinishedJob)]
pub(super) struct Finished {
    handle: String,
    state: EndName,
    /// Whether it was there already: another submit with its unique id made it.
    #[serde(skip_serializing_if = "is_false")]
    joined: bool,
    /// Why it failed, as far as that is kept: see `reason` of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What its worker gave as its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    /// What its worker said of why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_base64: Option<String>,
    /// What its worker sent before the result, in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    /// What its worker warned of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Data or warnings are not told to their end: they are too long. Follow the stream to have all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobEnd)]
enum EndName {
    Succeeded,
    Failed,
    Cancelled,
}

/// What became of each job of an array, in its order.
#[derive(Serialize, ToSchema)]
#[schema(as = JobOutcomes)]
pub(super) struct ManyFinished {
    #[schema(value_type = Vec<DescribedOutcome>)]
    items: Vec<Outcome>,
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Outcome {
    Finished(Box<Finished>),
    Refused { problem: Value },
}

/// What became of one job of an array: its handle, and if it was waited for how it ended; or the problem that refused it.
#[derive(ToSchema)]
#[schema(as = JobOutcome)]
#[expect(dead_code, reason = "describes the items of what is answered to an array")]
struct DescribedOutcome {
    handle: Option<String>,
    state: Option<EndName>,
    joined: Option<bool>,
    reason: Option<String>,
    result: Option<String>,
    result_base64: Option<String>,
    exception: Option<String>,
    exception_base64: Option<String>,
    data: Option<String>,
    data_base64: Option<String>,
    warnings: Option<Vec<String>>,
    truncated: Option<bool>,
    problem: Option<Described>,
}

/// What was heard of a job that is not over.
#[derive(Default)]
struct Heard {
    data: Vec<u8>,
    warnings: Vec<String>,
    bytes: usize,
    truncated: bool,
}

impl Heard {
    fn has_room(&mut self, more: &Bytes) -> bool {
        self.bytes += more.len();
        self.truncated |= self.bytes > KEPT;
        !self.truncated
    }

    fn finish(self, handle: String, end: What, failed: (EndName, Option<&'static str>)) -> Finished {
        let (mut result, mut exception) = ((None, None), (None, None));
        let (state, reason) = match end {
            What::Result(body) => {
                result = text_or_base64(&body);
                (EndName::Succeeded, None)
            }
            What::Exception(body) => {
                exception = text_or_base64(&body);
                failed
            }
            _ => failed,
        };
        let data = if self.data.is_empty() { (None, None) } else { text_or_base64(&self.data) };
        Finished {
            handle,
            state,
            joined: false,
            reason,
            result: result.0,
            result_base64: result.1,
            exception: exception.0,
            exception_base64: exception.1,
            data: data.0,
            data_base64: data.1,
            warnings: self.warnings,
            truncated: self.truncated,
        }
    }
}

/// Answers when all jobs are over.
pub(super) async fn wait(mut following: Following, is_array: bool) -> Result<Response, Problem> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; following.count];
    let mut have_joined = vec![false; following.count];
    let mut heard: HashMap<String, Heard> = HashMap::new();
    let mut bytes = 0;
    while let Some(Followed { handle, submits, what }) = following.next().await? {
        match what {
            What::Status(..) => {}
            What::Created { index, joined } => have_joined[index] = joined,
            What::Refused(problem) if !is_array => return Err(problem),
            What::Refused(problem) => {
                for index in submits {
                    outcomes[index] = Some(Outcome::Refused { problem: problem.to_json() });
                }
            }
            What::Data(body) => {
                let heard = heard.entry(handle).or_default();
                if heard.has_room(&body) {
                    heard.data.extend_from_slice(&body);
                }
            }
            What::Warning(body) => {
                let heard = heard.entry(handle).or_default();
                if heard.has_room(&body) {
                    heard.warnings.push(text(&body));
                }
            }
            end => {
                if let What::Result(body) | What::Exception(body) = &end {
                    bytes += body.len() * submits.len();
                }
                if bytes > MOST {
                    let detail = "The results are too large for one answer; follow the stream instead";
                    return Err(Problem::new(Kind::BUSY, detail));
                }
                let failed = following.end_of(&handle);
                let finished = heard.remove(&handle).unwrap_or_default().finish(handle, end, failed);
                for index in submits {
                    let finished = Finished { joined: have_joined[index], ..finished.clone() };
                    outcomes[index] = Some(Outcome::Finished(Box::new(finished)));
                }
            }
        }
    }
    let mut items: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    if is_array {
        return answer::json(StatusCode::OK, &ManyFinished { items });
    }
    let item = items.pop().ok_or_else(|| Problem::new(Kind::BROKEN, "A submit was not answered"))?;
    answer::json(StatusCode::OK, &item)
}

/// Answers with what happens, as it happens.
pub(super) async fn follow(mut following: Following, is_array: bool) -> Result<Response, Problem> {
    let first = following.next().await?;
    if let Some(Followed { what: What::Refused(problem), .. }) = &first
        && !is_array
    {
        return Err(problem.clone());
    }
    let events = stream::unfold((Some(following), first), |(following, first)| async {
        let mut following = following?;
        let next = match first {
            Some(first) => Ok(Some(first)),
            None => following.next().await,
        };
        match next {
            Ok(Some(followed)) => {
                let has_failed = matches!(followed.what, What::Failed);
                let end = has_failed.then(|| following.end_of(&followed.handle));
                Some((Ok::<_, Infallible>(to_event(followed, end)), (Some(following), None)))
            }
            Ok(None) => None,
            Err(ended) => {
                let event = Event::default().event("ended").data(Problem::from(ended).to_json().to_string());
                Some((Ok(event), (None, None)))
            }
        }
    });
    Ok(Sse::new(events).keep_alive(answer::keep_alive()).into_response())
}

fn to_event(Followed { handle, submits, what }: Followed, end: Option<(EndName, Option<&str>)>) -> Event {
    let mut fields = Map::new();
    let index = submits.first().copied();
    if !handle.is_empty() {
        fields.insert("handle".to_owned(), handle.into());
    }
    let mut put = |name: &str, body: &[u8]| {
        let (text, base64) = text_or_base64(body);
        match base64 {
            None => fields.insert(name.to_owned(), json!(text)),
            Some(base64) => fields.insert(format!("{name}_base64"), json!(base64)),
        };
    };
    let name = match what {
        What::Data(body) => {
            put("data", &body);
            "data"
        }
        What::Warning(body) => {
            put("warning", &body);
            "warning"
        }
        What::Result(body) => {
            put("result", &body);
            "result"
        }
        What::Exception(body) => {
            put("exception", &body);
            "exception"
        }
        What::Status(numerator, denominator) => {
            let number = |text: String| text.trim().parse::<u64>().map_or(Value::String(text), Value::from);
            fields.insert("numerator".to_owned(), number(numerator));
            fields.insert("denominator".to_owned(), number(denominator));
            "status"
        }
        What::Failed => {
            let (state, reason) = end.unwrap_or((EndName::Failed, None));
            fields.insert("state".to_owned(), json!(state));
            fields.extend(reason.map(|reason| ("reason".to_owned(), json!(reason))));
            "failed"
        }
        What::Created { index, joined } => {
            fields.insert("index".to_owned(), index.into());
            fields.extend(joined.then(|| ("joined".to_owned(), json!(true))));
            "created"
        }
        What::Refused(problem) => {
            fields.insert("index".to_owned(), json!(index));
            fields.insert("problem".to_owned(), problem.to_json());
            "refused"
        }
    };
    Event::default().event(name).data(Value::Object(fields).to_string())
}
