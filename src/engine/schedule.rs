//! SUBMIT_JOB_SCHED: recurring jobs. Each time its cron fields come round, a schedule submits a background job.
//!
//! The published protocol names five fields and counts days of the week from 0 = Monday. They are read as cron
//! reads them: numbers, names, `*`, lists, ranges and steps; an empty field is `*`. Times are UTC. If the job of the
//! last time is still there, an equal unique id joins the two, so a slow job does not pile up. Over HTTP a schedule may
//! have a time zone, count days as cron does, and say what becomes of times that were missed or overlap.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr as _;

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Utc};
use chrono_tz::Tz;
use croner::{Cron, YEAR_UPPER_LIMIT};

use super::job::Job;
use super::{Engine, Output, Record};
use crate::policy::{Misfire, Overlap, Plan};
use crate::protocol::{Refusal, Response, Spec};
use crate::types::{ConnId, FunctionId, JobId, Priority, RecordNo, Timestamp};

/// A recurring job.
#[derive(Debug)]
pub(super) struct Schedule {
    pub function: FunctionId,
    pub plan: Plan,
    pub spec: Spec,
    pub next: Timestamp,
    cron: Box<Cron>,
    zone: Tz,
}

impl Schedule {
    /// Bytes of memory it is accounted with.
    pub fn cost(&self) -> u64 {
        Job::cost_of_schedule(&self.spec)
    }

    /// Its fields in plain words, if there are any that are true.
    pub fn words(&self) -> Option<String> {
        if !can_be_told(&self.plan.fields) {
            return None;
        }
        let words = self.cron.describe();
        // The years that are searched are ours, not the schedule's.
        Some(words.split_once(", in year ").map_or(words.clone(), |(words, _)| format!("{words}.")))
    }

    /// The next times it is submitted, at most so many.
    pub fn next_times(&self, from: Timestamp, most: usize) -> Vec<Timestamp> {
        let next = |after: &Timestamp| next_after(&self.cron, self.zone, *after);
        std::iter::successors(next(&from), next).take(most).collect()
    }

    /// A plan that is understood, from now on.
    fn new(function: FunctionId, plan: Plan, spec: Spec, now: Timestamp) -> Result<Self, Refusal> {
        let (fields, cron) = parse(&plan.fields, plan.monday_is_zero, now)?;
        let zone = zone(&plan.zone)?;
        let next = next_after(&cron, zone, now)
            .ok_or_else(|| Refusal::invalid(format!("The schedule '{fields}' never comes round")))?;
        let plan = Plan { fields, ..plan };
        Ok(Self { function, plan, spec, next, cron: Box::new(cron), zone })
    }
}

/// Whether the library's words for these fields are true. It says "every 2 hours" for a step, also for one in a range, one that
/// is larger than the field, and one after which the next hour, day or year begins too early.
fn can_be_told(fields: &str) -> bool {
    let is_even = |(field, size): (&str, u32)| match field.split_once('/') {
        None => true,
        Some(("*", step)) => {
            step.parse().is_ok_and(|step| step == 1 || (step > 1 && size % step == 0 && size >= step))
        }
        Some(_) => false,
    };
    // Months have no one number of days; none is divided by one.
    let sizes = [60, 24, 0, 12, 0];
    fields.split(' ').zip(sizes).all(is_even)
}

/// What became of a recurring job that was put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Put {
    /// Its number.
    pub id: JobId,
    /// Whether it was made, not changed.
    pub is_new: bool,
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

    pub fn get(&self, id: JobId) -> Option<&Schedule> {
        self.by_id.get(&id)
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
        let plan = Plan { fields: joined(fields)?, monday_is_zero: true, ..Plan::default() };
        let (put, record) = self.put_schedule(None, plan, spec, out)?;
        out.send(conn, record, Response::JobCreated(self.handle(put.id)));
        Ok(())
    }

    /// Makes a recurring job, or gives the one with this number, or else the one with this function and unique id,
    /// another plan and payload. With the record that must be safe before that is told.
    ///
    /// # Errors
    /// The plan is not understood or never comes round, there is no room, or the store cannot keep it. Of one that is named by
    /// its number: there is no such one, or another one has this function and unique id.
    pub fn put_schedule(
        &mut self,
        id: Option<JobId>,
        plan: Plan,
        spec: Spec,
        out: &mut impl Output,
    ) -> Result<(Put, RecordNo), Refusal> {
        self.check_submit(&spec)?;
        let function = self.functions.find(spec.function());
        let known = function.and_then(|function| self.schedules.find(function, &spec));
        let known = match (id, known) {
            (Some(id), _) if !self.schedules.contains(id) => {
                return Err(Refusal::invalid("There is no such schedule"));
            }
            (Some(id), Some(other)) if other != id => return Err(Refusal::SCHEDULE_EXISTS),
            (id, known) => id.or(known),
        };
        // Refused before anything is changed.
        Schedule::new(FunctionId(0), plan.clone(), spec.to_kept(), self.now)?;
        self.make_room_for_schedule(known, &spec, out)?;
        let function = self.find_or_create_function(spec.function())?;
        let schedule = Schedule::new(function, plan, spec.to_kept(), self.now)?;
        let id = known.unwrap_or_else(|| JobId(self.next_number()));
        let record = out.persist(Record::Scheduled {
            id,
            plan: Cow::Borrowed(&schedule.plan),
            spec: Cow::Borrowed(&schedule.spec),
        })?;
        let before = self.remove_schedule(id);
        self.insert_schedule(id, schedule);
        if let Some(left) = before.filter(|before| *before != function) {
            self.expire_if_unused(left);
        }
        Ok((Put { id, is_new: known.is_none() }, record))
    }

    /// A recurring job stops being submitted, or goes on. Whether there is such a one.
    ///
    /// # Errors
    /// The store cannot keep it.
    pub fn pause_schedule(
        &mut self,
        id: JobId,
        paused: bool,
        out: &mut impl Output,
    ) -> Result<bool, Refusal> {
        let Some(schedule) = self.schedules.by_id.get_mut(&id) else { return Ok(false) };
        let plan = Plan { paused, ..schedule.plan.clone() };
        out.persist(Record::Scheduled {
            id,
            plan: Cow::Borrowed(&plan),
            spec: Cow::Borrowed(&schedule.spec),
        })?;
        schedule.plan = plan;
        Ok(true)
    }

    /// A recurring job ends. Whether there was such a one.
    ///
    /// # Errors
    /// The store cannot keep it.
    pub fn delete_schedule(&mut self, id: JobId, out: &mut impl Output) -> Result<bool, Refusal> {
        if !self.schedules.contains(id) {
            return Ok(false);
        }
        // Whoever is told that it is gone must not see it again after a crash.
        out.persist(Record::Unscheduled(id))?;
        self.forget_schedule(id);
        Ok(true)
    }

    /// Submits the job of a recurring job now, whatever its plan. The number of the job that was submitted, or joined.
    ///
    /// # Errors
    /// There is no such recurring job, or a submit would be refused.
    pub fn run_schedule_now(&mut self, id: JobId, out: &mut impl Output) -> Result<JobId, Refusal> {
        let schedule = self.schedules.get(id).ok_or_else(|| Refusal::invalid("There is no such schedule"))?;
        let (function, spec) = (schedule.function, schedule.spec.clone());
        self.submit_scheduled(id, function, &spec, out)
    }

    /// One that is replaced makes room: what an application declares at each start is never too much the next time.
    fn make_room_for_schedule(
        &mut self,
        replaced: Option<JobId>,
        spec: &Spec,
        out: &mut impl Output,
    ) -> Result<(), Refusal> {
        let replaced = replaced.and_then(|id| self.schedules.by_id.get(&id));
        let released = replaced.map_or(0, Schedule::cost);
        if replaced.is_none() && self.schedules.len() >= self.settings.max_functions {
            return Err(Refusal::queue_full("there are as many schedules as max-functions allows"));
        }
        self.make_room(Job::cost_of_schedule(spec).saturating_sub(released), out)
    }

    /// Submits the job of a schedule whose time has come, and sets the next time.
    pub(super) fn run_schedule(&mut self, id: JobId, out: &mut impl Output) {
        let Some(schedule) = self.schedules.by_id.get_mut(&id) else { return };
        let (function, spec) = (schedule.function, schedule.spec.clone());
        if let Some(next) = next_after(&schedule.cron, schedule.zone, self.now) {
            schedule.next = next;
            self.timers.insert((next, id));
        }
        let (is_paused, overlap) = (schedule.plan.paused, schedule.plan.overlap);
        let last_job = JobId(schedule.plan.last_job);
        let is_there = overlap == Overlap::Skip && self.live(last_job).is_some();
        if !is_paused
            && !is_there
            && self.draining.is_none()
            && let Err(refusal) = self.submit_scheduled(id, function, &spec, out)
        {
            tracing::warn!(schedule = %self.handle(id), "a recurring job was not queued: {refusal}");
        }
        self.remember_run(id, out);
    }

    fn submit_scheduled(
        &mut self,
        id: JobId,
        function: FunctionId,
        spec: &Spec,
        out: &mut impl Output,
    ) -> Result<JobId, Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::SHUTDOWN);
        }
        let job = match self.find_joined(function, spec) {
            Some(answer) if self.live(answer).is_none() => return Ok(answer),
            Some(known) => self.join(known, None, out).map(|()| known)?,
            None => {
                let job = self.new_job(function, Priority::Normal, None, spec, out)?;
                self.create(job, spec, None, out)?
            }
        };
        if let Some(schedule) = self.schedules.by_id.get_mut(&id) {
            schedule.plan.last_job = job.0;
        }
        self.wake(function, out);
        Ok(job)
    }

    /// Writes what a restart must know of what a schedule did. If that fails it is forgotten.
    fn remember_run(&mut self, id: JobId, out: &mut impl Output) {
        let Some(schedule) = self.schedules.by_id.get_mut(&id) else { return };
        if schedule.plan.has_memory() {
            schedule.plan.next = schedule.next.as_micros();
            let (plan, spec) = (Cow::Borrowed(&schedule.plan), Cow::Borrowed(&schedule.spec));
            let _ = out.persist(Record::Scheduled { id, plan, spec });
        }
    }

    fn insert_schedule(&mut self, id: JobId, schedule: Schedule) {
        let function = self.functions.get_mut(schedule.function);
        function.schedules += 1;
        function.is_memory = false;
        self.usage.bytes += schedule.cost();
        self.timers.insert((schedule.next, id));
        self.schedules.insert(id, schedule);
    }

    /// A recurring job from the log. Times that passed meanwhile are made up for by one, if its plan says so.
    pub(super) fn restore_schedule(&mut self, id: JobId, plan: Plan, spec: Spec) -> Result<(), Refusal> {
        let missed = plan.misfire == Misfire::Once && plan.next > 0 && plan.next <= self.now.as_micros();
        let function = self.make_function(spec.function());
        let mut schedule = Schedule::new(function, plan, spec, self.now)?;
        if missed {
            schedule.next = self.now;
        }
        self.insert_schedule(id, schedule);
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

/// The five fields of a packet as one text.
fn joined(fields: &[Bytes; 5]) -> Result<String, Refusal> {
    let mut texts = Vec::with_capacity(5);
    for field in fields {
        let text = std::str::from_utf8(field).ok().map(str::trim);
        let text = text.filter(|text| text.chars().all(|char| char.is_ascii_graphic()));
        let text = text.ok_or_else(|| Refusal::invalid("A field of the schedule is not readable"))?;
        texts.push(if text.is_empty() { "*" } else { text });
    }
    Ok(texts.join(" "))
}

fn zone(name: &str) -> Result<Tz, Refusal> {
    if name.is_empty() {
        return Ok(Tz::UTC);
    }
    name.parse().map_err(|_| Refusal::invalid(format!("There is no time zone {name:?}; as in Europe/Berlin")))
}

fn parse(fields: &str, monday_is_zero: bool, now: Timestamp) -> Result<(String, Cron), Refusal> {
    let mut texts: Vec<&str> = fields.split_whitespace().collect();
    if texts.len() != 5 || fields.len() > 5 * 257 || !fields.is_ascii() {
        return Err(Refusal::invalid("A schedule has five fields of at most 256 characters"));
    }
    let shown = texts.join(" ");
    let invalid = |why: String| Refusal::invalid(format!("The schedule '{shown}' is not valid: {why}"));
    // croner takes a list without an entry for one that names nothing, and would try every hour of every year.
    if texts.iter().any(|text| text.split(',').any(str::is_empty)) {
        return Err(invalid("a list has an empty entry".to_owned()));
    }
    let weekdays =
        if monday_is_zero { cron_weekdays(texts[4]).map_err(invalid)? } else { texts[4].to_owned() };
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

fn next_after(cron: &Cron, zone: Tz, now: Timestamp) -> Option<Timestamp> {
    let next = cron.find_next_occurrence(&calendar(now)?.with_timezone(&zone), false).ok()?;
    u64::try_from(next.timestamp_micros()).ok().map(Timestamp::from_micros)
}

fn calendar(now: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(i64::try_from(now.as_micros()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Drain, Load, Seed, Settings};
    use crate::protocol::{Frame, Kind, Request};

    fn next(fields: [&'static str; 5], now: &str) -> Result<String, Refusal> {
        let now = DateTime::parse_from_rfc3339(now).unwrap().timestamp_micros();
        let now = Timestamp::from_micros(now as u64);
        let fields = joined(&fields.map(|field| Bytes::from_static(field.as_bytes())))?;
        let (_, cron) = parse(&fields, true, now)?;
        let next = next_after(&cron, Tz::UTC, now).unwrap();
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
            let (_, cron) = parse(&fields.join(" "), true, now).unwrap();
            assert!(cron.pattern.year_match(2027 + YEARS).unwrap());
            assert!(!cron.pattern.year_match(2027 + YEARS + 1).unwrap());
            next_after(&cron, Tz::UTC, now)
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

        fn load(&mut self, _: Load) {}

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
    fn words_are_told_only_where_they_are_true() {
        let words = |fields: &str| {
            let plan = Plan { fields: fields.to_owned(), ..Plan::default() };
            let (spec, _) = Spec::parse(Kind::SubmitJobBg, Bytes::from_static(b"f\0\0")).unwrap();
            Schedule::new(FunctionId(0), plan, spec, Timestamp::default()).unwrap().words()
        };
        for fields in ["30 8 * * Mon-Fri", "*/15 */6 * * *", "0 0 1,15 */3 *", "* * * * *", "0 12 29 2 1-5"] {
            assert!(words(fields).is_some(), "{fields}");
        }
        for fields in [
            "15,45 0-6/2 1-7 * *",
            "0 0 * 1-6/2 *",
            "*/90 * * * *",
            "*/40 * * * *",
            "0 */5 * * *",
            "0 0 */2 * *",
            "0 0 * * */2",
            "5-59/15 * * * *",
            "*/15,7 * * * *",
        ] {
            assert_eq!(words(fields), None, "{fields}");
        }
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
        let every_minute: &[&[u8]] = &[b"f", b"u", b"*", b"*", b"*", b"*", b"*", &[b'x'; 600]];
        let another: &[&[u8]] = &[b"f", b"v", b"*", b"*", b"*", b"*", b"*", &[b'x'; 600]];
        let bounds = [
            Settings { max_functions: 1, ..Settings::default() },
            Settings { max_memory: 1300, ..Settings::default() },
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
