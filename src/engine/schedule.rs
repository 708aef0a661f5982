//! SUBMIT_JOB_SCHED: recurring jobs. Each time its cron fields come round, a schedule submits a background job.
//!
//! The published protocol names five fields and counts days of the week from 0 = Monday. They are read as cron
//! reads them: numbers, names, `*`, lists, ranges and steps; an empty field is `*`. Times are UTC. If the job of the
//! last time is still there, an equal unique id joins the two, so a slow job does not pile up.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr as _;

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Utc};
use croner::{Cron, YEAR_UPPER_LIMIT};

use super::job::Job;
use super::{Engine, Output, Record};
use crate::protocol::{Refusal, Response, Spec};
use crate::types::{ConnId, FunctionId, JobId, Priority, Timestamp};

/// A recurring job.
#[derive(Debug)]
pub(super) struct Schedule {
    pub function: FunctionId,
    /// The five fields as they came.
    pub fields: String,
    pub spec: Spec,
    pub next: Timestamp,
    cron: Box<Cron>,
}

impl Schedule {
    /// Bytes of memory it is accounted with.
    pub fn cost(&self) -> u64 {
        Job::cost_of_schedule(&self.spec)
    }
}

/// All recurring jobs.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    by_id: BTreeMap<JobId, Schedule>,
    /// By what a recurring job is told apart by, as its jobs are: function and unique id, or payload for `-`.
    by_unique: BTreeMap<(FunctionId, Bytes, Bytes), JobId>,
}

impl Schedules {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn contains(&self, id: JobId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn from(&self, from: JobId) -> impl Iterator<Item = (JobId, &Schedule)> {
        self.by_id.range(from..).map(|(id, schedule)| (*id, schedule))
    }

    fn find(&self, function: FunctionId, spec: &Spec) -> Option<JobId> {
        self.by_unique.get(&unique_key(function, spec)?).copied()
    }

    fn insert(&mut self, id: JobId, schedule: Schedule) {
        if let Some(key) = unique_key(schedule.function, &schedule.spec) {
            self.by_unique.insert(key, id);
        }
        self.by_id.insert(id, schedule);
    }

    fn remove(&mut self, id: JobId) -> Option<Schedule> {
        let schedule = self.by_id.remove(&id)?;
        if let Some(key) = unique_key(schedule.function, &schedule.spec) {
            self.by_unique.remove(&key);
        }
        Some(schedule)
    }
}

/// As in [`super::unique`]: empty joins nothing, nor does `-` with an empty payload.
fn unique_key(function: FunctionId, spec: &Spec) -> Option<(FunctionId, Bytes, Bytes)> {
    let payload: &[u8] = if spec.unique() == b"-" { spec.payload() } else { b"" };
    let is_none = spec.unique().is_empty() || (spec.unique() == b"-" && payload.is_empty());
    (!is_none).then(|| (function, Bytes::copy_from_slice(spec.unique()), Bytes::copy_from_slice(payload)))
}

impl Engine {
    /// The same unique id in the same function replaces the schedule and keeps its handle, so that an application
    /// may declare its schedules each time it starts.
    pub(super) fn submit_schedule(
        &mut self,
        conn: ConnId,
        fields: &[Bytes; 5],
        spec: Spec,
        out: &mut impl Output,
    ) -> Result<(), Refusal> {
        let (fields, cron) = parse(fields, self.now)?;
        let next = next_after(&cron, self.now)
            .ok_or_else(|| Refusal::invalid(format!("The schedule '{fields}' never comes round")))?;
        let known = self.functions.find(spec.function());
        let known = known.and_then(|function| self.schedules.find(function, &spec));
        self.check_room_for_schedule(known, &spec)?;
        let function = self.find_or_create_function(spec.function())?;
        let id = known.unwrap_or_else(|| JobId(self.next_number()));
        let schedule = Schedule { function, fields, spec: spec.to_kept(), next, cron: Box::new(cron) };
        let record = out.persist(Record::Scheduled {
            id,
            fields: Cow::Borrowed(&schedule.fields),
            spec: Cow::Borrowed(&schedule.spec),
        })?;
        self.remove_schedule(id);
        self.insert_schedule(id, schedule);
        out.send(conn, record, Response::JobCreated(self.handle(id)));
        Ok(())
    }

    /// One that is replaced makes room: what an application declares at each start is never too much the next time.
    fn check_room_for_schedule(&self, replaced: Option<JobId>, spec: &Spec) -> Result<(), Refusal> {
        let replaced = replaced.and_then(|id| self.schedules.by_id.get(&id));
        let released = replaced.map_or(0, Schedule::cost);
        let is_full = replaced.is_none() && self.schedules.len() >= self.settings.max_functions;
        if is_full || self.usage.bytes - released + Job::cost_of_schedule(spec) > self.settings.max_memory {
            return Err(Refusal::QUEUE_FULL);
        }
        Ok(())
    }

    /// Submits the job of a schedule whose time has come, and sets the next time. Times that passed meanwhile
    /// are not made up for.
    pub(super) fn run_schedule(&mut self, id: JobId, out: &mut impl Output) {
        let Some(schedule) = self.schedules.by_id.get_mut(&id) else { return };
        let (function, spec) = (schedule.function, schedule.spec.clone());
        if let Some(next) = next_after(&schedule.cron, self.now) {
            schedule.next = next;
            self.timers.insert((next, id));
        }
        if self.draining.is_some() {
            return;
        }
        let queued = match self.find_joined(function, &spec) {
            Some(known) => self.join(known, None, out),
            None => self
                .new_job(function, Priority::Normal, None, &spec)
                .and_then(|job| self.create(job, &spec, None, out).map(drop)),
        };
        match queued {
            Ok(()) => self.wake(function, out),
            Err(refusal) => {
                tracing::warn!(schedule = %self.handle(id), "a recurring job was not queued: {refusal}");
            }
        }
    }

    fn insert_schedule(&mut self, id: JobId, schedule: Schedule) {
        self.functions.get_mut(schedule.function).schedules += 1;
        self.usage.bytes += schedule.cost();
        self.timers.insert((schedule.next, id));
        self.schedules.insert(id, schedule);
    }

    /// A recurring job from the log. Times that passed meanwhile are not made up for.
    pub(super) fn restore_schedule(&mut self, id: JobId, fields: &str, spec: Spec) -> Result<(), Refusal> {
        let texts: Vec<Bytes> =
            fields.split(' ').map(|field| Bytes::copy_from_slice(field.as_bytes())).collect();
        let fields = texts.try_into().map_err(|_| Refusal::invalid("A schedule has five fields"))?;
        let (fields, cron) = parse(&fields, self.now)?;
        let next =
            next_after(&cron, self.now).ok_or_else(|| Refusal::invalid("The schedule never comes round"))?;
        let function = self.functions.find_or_create(spec.function());
        self.insert_schedule(id, Schedule { function, fields, spec, next, cron: Box::new(cron) });
        Ok(())
    }

    /// Takes a recurring job out of every table; its end is written.
    pub(super) fn forget_schedule(&mut self, id: JobId) {
        if let Some(function) = self.remove_schedule(id) {
            self.expire_if_unused(function);
        }
    }

    fn remove_schedule(&mut self, id: JobId) -> Option<FunctionId> {
        let schedule = self.schedules.remove(id)?;
        self.timers.remove(&(schedule.next, id));
        self.usage.bytes -= schedule.cost();
        self.functions.get_mut(schedule.function).schedules -= 1;
        Some(schedule.function)
    }
}

/// Years that are searched for the next time. A day like Monday, 29 February, comes after 40 years at most; what never
/// comes, as 30 February, must not be looked for until the end of the calendar while everyone else waits.
const YEARS: i32 = 100;

fn parse(fields: &[Bytes; 5], now: Timestamp) -> Result<(String, Cron), Refusal> {
    let mut texts = Vec::with_capacity(5);
    for field in fields {
        let text = std::str::from_utf8(field).ok().map(str::trim);
        let text = text.filter(|text| text.chars().all(|char| char.is_ascii_graphic()) && text.len() <= 256);
        let text = text.ok_or_else(|| Refusal::invalid("A field of the schedule is not readable"))?;
        texts.push(if text.is_empty() { "*" } else { text });
    }
    let shown = texts.join(" ");
    let invalid = |why: String| Refusal::invalid(format!("The schedule '{shown}' is not valid: {why}"));
    // croner takes a list without an entry for one that names nothing, and would try every hour of every year.
    if texts.iter().any(|text| text.split(',').any(str::is_empty)) {
        return Err(invalid("a list has an empty entry".to_owned()));
    }
    let weekdays = cron_weekdays(texts[4]).map_err(invalid)?;
    texts[4] = &weekdays;
    let year = calendar(now).map_or(YEAR_UPPER_LIMIT, |now| now.year()).min(YEAR_UPPER_LIMIT);
    let years = format!("{year}-{}", (year + YEARS).min(YEAR_UPPER_LIMIT));
    let pattern = format!("0 {} {years}", texts.join(" "));
    let cron = Cron::from_str(&pattern).map_err(|error| invalid(error.to_string()))?;
    Ok((shown, cron))
}

/// Cron counts from Sunday and takes 7 for it too; the protocol counts from 0 = Monday. So each number moves by one.
fn cron_weekdays(field: &str) -> Result<String, String> {
    let mut moved = String::with_capacity(field.len() + 2);
    for (index, part) in field.split(',').enumerate() {
        if index > 0 {
            moved.push(',');
        }
        let (days, step) = part.split_once('/').map_or((part, None), |(days, step)| (days, Some(step)));
        for (index, day) in days.split('-').enumerate() {
            if index > 0 {
                moved.push('-');
            }
            match day.parse::<u8>() {
                Ok(day @ 0..=6) => moved.push(char::from(b'1' + day)),
                Ok(day) => return Err(format!("days of the week are 0 (Monday) to 6 (Sunday), not {day}")),
                Err(_) if day == "*" && step.is_some() => moved.push_str("1-7"),
                Err(_) => moved.push_str(day),
            }
        }
        if let Some(step) = step {
            moved.push('/');
            moved.push_str(step);
        }
    }
    Ok(moved)
}

fn next_after(cron: &Cron, now: Timestamp) -> Option<Timestamp> {
    let next = cron.find_next_occurrence(&calendar(now)?, false).ok()?;
    u64::try_from(next.timestamp_micros()).ok().map(Timestamp::from_micros)
}

fn calendar(now: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(i64::try_from(now.as_micros()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Drain, Seed, Settings};
    use crate::protocol::{Frame, Kind, Request};
    use crate::types::RecordNo;

    fn next(fields: [&'static str; 5], now: &str) -> Result<String, Refusal> {
        let now = DateTime::parse_from_rfc3339(now).unwrap().timestamp_micros();
        let now = Timestamp::from_micros(now as u64);
        let (_, cron) = parse(&fields.map(|field| Bytes::from_static(field.as_bytes())), now)?;
        let next = next_after(&cron, now).unwrap();
        let next = DateTime::<Utc>::from_timestamp_micros(next.as_micros() as i64).unwrap();
        Ok(next.format("%a %F %T").to_string())
    }

    #[test]
    fn fields_mean_what_cron_means_by_them() {
        let now = "2026-11-25T10:20:30Z"; // a Wednesday
        assert_eq!(next(["*", "*", "*", "*", "*"], now).unwrap(), "Wed 2026-11-25 10:21:00");
        assert_eq!(next(["*/15", "", "", "", ""], now).unwrap(), "Wed 2026-11-25 10:30:00");
        assert_eq!(next(["0", "0", "1", "1", "*"], now).unwrap(), "Fri 2027-01-01 00:00:00");
        assert_eq!(next(["5,50", "3-4", "*", "*", "*"], now).unwrap(), "Thu 2026-11-26 03:05:00");
    }

    #[test]
    fn the_week_begins_with_monday_as_zero() {
        let now = "2026-11-25T10:20:30Z"; // a Wednesday
        assert_eq!(next(["0", "0", "*", "*", "0"], now).unwrap(), "Mon 2026-11-30 00:00:00");
        assert_eq!(next(["0", "0", "*", "*", "6"], now).unwrap(), "Sun 2026-11-29 00:00:00");
        assert_eq!(next(["0", "0", "*", "*", "5-6"], now).unwrap(), "Sat 2026-11-28 00:00:00");
        assert_eq!(next(["0", "0", "*", "*", "*/6"], now).unwrap(), "Sun 2026-11-29 00:00:00");
        assert_eq!(next(["0", "0", "*", "*", "SUN"], now).unwrap(), "Sun 2026-11-29 00:00:00");
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let now = "2026-11-25T10:20:30Z";
        let invalid = [
            ["60", "*", "*", "*", "*"],
            ["a", "*", "*", "*", "*"],
            ["*", "*", "*", "*", "7"],
            [",", "*", "*", "*", "*"],
            ["1,", "*", "*", "*", "*"],
            ["*", "*", "*", "*", ","],
        ];
        for fields in invalid {
            let refusal = next(fields, now).unwrap_err();
            assert_eq!(refusal.code, "INVALID_ARGUMENT");
            assert!(refusal.text.contains("not valid"), "{refusal}");
        }
    }

    #[test]
    fn what_never_comes_is_not_looked_for_until_the_end_of_time() {
        let now = Timestamp::from_secs(1_800_000_000);
        let next = |fields: [&'static str; 5]| {
            let (_, cron) = parse(&fields.map(|field| Bytes::from_static(field.as_bytes())), now).unwrap();
            assert!(cron.pattern.year_match(2027 + YEARS).unwrap());
            assert!(!cron.pattern.year_match(2027 + YEARS + 1).unwrap());
            next_after(&cron, now)
        };
        assert_eq!(next(["0", "0", "30", "2", "*"]), None);
        assert_eq!(next(["0", "0", "31W", "2,4,6", "*"]), None);
        assert!(next(["0", "0", "29", "2", "+MON"]).is_some(), "in 2044");
    }

    /// Whether the answers that came were ERRORs.
    #[derive(Default)]
    struct Refused(Vec<bool>);

    impl Output for Refused {
        fn persist(&mut self, _: Record<'_>) -> Result<RecordNo, Refusal> {
            Ok(RecordNo::NONE)
        }

        fn send(&mut self, _: ConnId, _: RecordNo, response: Response<'_>) {
            self.0.push(matches!(response, Response::Error(_)));
        }

        fn hold(&mut self, _: ConnId, _: RecordNo, _: JobId) {}

        fn fill(&mut self, _: ConnId, _: JobId, _: Response<'_>) {}

        fn load(&mut self, _: JobId) {}

        fn close(&mut self, _: ConnId, _: &'static str) {}

        fn shutdown(&mut self, _: Drain) {}
    }

    const CONN: ConnId = ConnId(1);

    fn engine(settings: Settings) -> Engine {
        let mut engine = Engine::new(settings, Seed { first_job: JobId(1), hash: 1 });
        engine.connect(CONN, core::net::Ipv4Addr::LOCALHOST.into());
        engine
    }

    fn submit(kind: Kind, arguments: &[&[u8]]) -> Request {
        Request::parse(Frame::request(kind, arguments))
    }

    #[test]
    fn a_recurring_job_that_joins_a_foreground_job_stays_when_its_client_leaves() {
        let (mut engine, mut out) = (engine(Settings::default()), Refused::default());
        let every_minute: &[&[u8]] = &[b"f", b"u", b"*", b"*", b"*", b"*", b"*", b""];
        engine.apply(Timestamp::default(), CONN, submit(Kind::SubmitJobSched, every_minute), &mut out);
        engine.apply(Timestamp::default(), CONN, submit(Kind::SubmitJob, &[b"f", b"u", b""]), &mut out);
        engine.advance(Timestamp::from_secs(60), &mut out);
        assert_eq!(engine.jobs.len(), 1);
        engine.disconnect(Timestamp::from_secs(61), CONN, &mut out);
        assert_eq!(engine.jobs.len(), 1);
    }

    #[test]
    fn what_was_declared_can_be_declared_again_when_there_is_no_room_for_more() {
        let every_minute: &[&[u8]] = &[b"f", b"u", b"*", b"*", b"*", b"*", b"*", &[b'x'; 200]];
        let another: &[&[u8]] = &[b"f", b"v", b"*", b"*", b"*", b"*", b"*", &[b'x'; 200]];
        let bounds = [
            Settings { max_functions: 1, ..Settings::default() },
            Settings { max_memory: 700, ..Settings::default() },
        ];
        for settings in bounds {
            let (mut engine, mut out) = (engine(settings), Refused::default());
            for arguments in [every_minute, every_minute, another] {
                engine.apply(Timestamp::default(), CONN, submit(Kind::SubmitJobSched, arguments), &mut out);
            }
            assert_eq!(out.0, [false, false, true]);
        }
    }
}
