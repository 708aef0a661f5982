//! How jobs are written as rows. SQLite does not checksum its data file, so every row carries a CRC32C of its own.
//!
//! All numbers are little-endian. The checksum covers the row's key (its id, its name or its pattern) and everything
//! before it.
//!
//! | row | content |
//! | --- | --- |
//! | `job.meta` | standing, ends of function, unique id and reducer 2 each, payload length 4, if there are terms: length 4 and JSON, names (the submit's body up to its payload), checksum 4 |
//! | `body.body` | the submit's body, checksum 4 |
//! | `result.body` | the body of what the worker said at the end, checksum 4; the key is the id with its bits inverted, so that a payload never passes for a result |
//! | `ops.changes` | changes, checksum 4; a change is tag 1 and id 8, then for `S` (stands) the standing; `D` (done) has no more |
//! | `schedule` | `fields`: the plan as JSON, checksum 4; `meta` and `body` as for a job |
//! | `function.limits` | high 4, normal 4, low 4 (0: none), pinned 1, checksum 4 |
//! | `policy.policy` | the policy as JSON, checksum 4 |
//! | `numbers.next` | the first number that no process has set aside 8, checksum 4 |
//!
//! A standing is ten bytes and what its second byte says there is, in the order of its bits:
//!
//! | bytes | content |
//! | --- | --- |
//! | 1 | bits 0 and 1: priority; 2 to 4: phase (0 waiting, 1 held, 2 running, 3 cancelling, 4 over); 6, in `meta` only: there are terms; 7: always set |
//! | 1 | bit 0: due; 1: handed out once; 2: attempts and losses; 3: first start; 4: last start; 5: place |
//! | 8 | when it was submitted, 0: not known |
//! | 8 | due |
//! | 8 | handed out once: when. Attempts 1, losses 0, first and last start are this |
//! | 4, 4 | attempts, losses |
//! | 8 | first start |
//! | 8 | last start |
//! | 8 | place; without it, it is the job's number |
//! | 1, 8 | if the phase is over: outcome (0 succeeded, 1 cancelled, 2 failed, 3 exception, 4 timed out, 5 lost, 6 lease expired, 7 expired), when |
//!
//! A store that began as format 1 holds rows of that layout until they are over or written anew. Their standing begins
//! with a byte below 3: priority 1, losses 4, place 8, due 8 (0: none); in `ops` its tag is `L`. Their plan is the five
//! fields alone, which begin with no brace.

use bytes::Bytes;
use rusqlite::Row;
use serde::Serialize;

use crate::engine::{Outcome, Phase, Reason, Standing};
use crate::policy::{Plan, Policy, Terms};
use crate::protocol::{MaxQueue, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// A row whose bytes are not what was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum or form is wrong")]
pub(super) struct BadRow;

/// A change to a job that is written already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Stands(JobId, Standing),
    Done(JobId),
}

/// Bytes of the checksum that a row ends with.
pub(super) const SEAL: u64 = 4;

/// Bits of a standing's first byte.
mod first {
    pub const PRIORITY: u8 = 3;
    pub const PHASE: u8 = 7 << 2;
    pub const PHASE_SHIFT: u32 = 2;
    pub const TERMS: u8 = 1 << 6;
    pub const FORMAT_2: u8 = 1 << 7;
}

/// Bits of its second one.
mod has {
    pub const DUE: u8 = 1;
    pub const ONCE: u8 = 1 << 1;
    pub const TRIES: u8 = 1 << 2;
    pub const FIRST_START: u8 = 1 << 3;
    pub const LAST_START: u8 = 1 << 4;
    pub const PLACE: u8 = 1 << 5;
    pub const NOTHING_ELSE: u8 = 0xff << 6;
}

/// What ends a job, in the order of its numbers.
const OUTCOMES: [Outcome; 8] = [
    Outcome::Succeeded,
    Outcome::Cancelled,
    Outcome::Failed(Reason::Failed),
    Outcome::Failed(Reason::Exception),
    Outcome::Failed(Reason::TimedOut),
    Outcome::Failed(Reason::Lost),
    Outcome::Failed(Reason::LeaseExpired),
    Outcome::Failed(Reason::Expired),
];

pub(super) fn write_meta(
    id: JobId,
    standing: Standing,
    spec: &Spec,
    terms: Option<&Terms>,
    into: &mut Vec<u8>,
) {
    let terms = terms.map(json);
    write_parts(id, standing, spec, terms.as_deref(), into);
}

fn write_parts(id: JobId, standing: Standing, spec: &Spec, terms: Option<&[u8]>, into: &mut Vec<u8>) {
    into.clear();
    write_standing(id, standing, into);
    for end in spec.ends() {
        into.extend_from_slice(&end.to_le_bytes());
    }
    into.extend_from_slice(&spec.payload_len().to_le_bytes());
    if let Some(terms) = terms {
        into[0] |= first::TERMS;
        into.extend_from_slice(&length(terms).to_le_bytes());
        into.extend_from_slice(terms);
    }
    into.extend_from_slice(spec.names());
    seal(id.0, into);
}

/// What is written of a job beside its payload.
#[derive(Debug, PartialEq)]
pub(super) struct Meta {
    pub standing: Standing,
    /// Without payload.
    pub spec: Spec,
    pub terms: Option<Terms>,
}

pub(super) fn read_meta(id: JobId, row: &[u8]) -> Result<Meta, BadRow> {
    let Parts { standing, spec, terms } = read_parts(id, row)?;
    let terms = terms.map(|terms| serde_json::from_slice(terms).map_err(|_| BadRow)).transpose()?;
    Ok(Meta { standing, spec, terms })
}

/// The row of a job that stands elsewhere now.
pub(super) fn rewrite_meta(
    id: JobId,
    row: &[u8],
    standing: Standing,
    into: &mut Vec<u8>,
) -> Result<(), BadRow> {
    let Parts { spec, terms, .. } = read_parts(id, row)?;
    write_parts(id, standing, &spec, terms, into);
    Ok(())
}

struct Parts<'a> {
    standing: Standing,
    spec: Spec,
    /// Their JSON.
    terms: Option<&'a [u8]>,
}

fn read_parts(id: JobId, row: &[u8]) -> Result<Parts<'_>, BadRow> {
    let mut input = Input(unsealed(id.0, row)?);
    let (standing, has_terms) = input.standing(id)?;
    let ends = [input.u16()?, input.u16()?, input.u16()?];
    let payload_len = input.u32()?;
    let terms = if has_terms { Some(input.counted()?) } else { None };
    let spec = Spec::from_parts(input.0, ends, payload_len).ok_or(BadRow)?;
    Ok(Parts { standing, spec, terms })
}

pub(super) fn write_body(id: JobId, spec: &Spec, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(spec.body());
    seal(id.0, into);
}

pub(super) fn read_body(id: JobId, row: &[u8]) -> Result<&[u8], BadRow> {
    unsealed(id.0, row)
}

/// What the worker said at the end of a job.
pub(super) fn write_result(id: JobId, body: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(body);
    seal(!id.0, into);
}

pub(super) fn read_result(id: JobId, row: &[u8]) -> Result<&[u8], BadRow> {
    unsealed(!id.0, row)
}

/// When a recurring job is submitted.
pub(super) fn write_plan(id: JobId, plan: &Plan, into: &mut Vec<u8>) {
    *into = json(plan);
    seal(id.0, into);
}

pub(super) fn read_plan(id: JobId, row: &[u8]) -> Result<Plan, BadRow> {
    let text = unsealed(id.0, row)?;
    if text.first() == Some(&b'{') {
        return serde_json::from_slice(text).map_err(|_| BadRow);
    }
    // Format 1, whose days of the week are counted as the SCHED packet does.
    let fields = std::str::from_utf8(text).map_err(|_| BadRow)?.to_owned();
    Ok(Plan { fields, monday_is_zero: true, ..Plan::default() })
}

/// A recurring job, from its columns `fields`, `meta` and `body`.
pub(super) fn read_schedule(id: JobId, [fields, meta, body]: [&[u8]; 3]) -> Result<(Plan, Spec), BadRow> {
    let plan = read_plan(id, fields)?;
    let body = Bytes::copy_from_slice(read_body(id, body)?);
    let spec = read_meta(id, meta)?.spec.with_body(body).ok_or(BadRow)?;
    Ok((plan, spec))
}

pub(super) fn write_policy(pattern: &str, policy: &Policy, into: &mut Vec<u8>) {
    *into = json(policy);
    seal_by(pattern.as_bytes(), into);
}

pub(super) fn read_policy(pattern: &[u8], row: &[u8]) -> Result<(String, Policy), BadRow> {
    let policy = serde_json::from_slice(unsealed_by(pattern, row)?).map_err(|_| BadRow)?;
    let pattern = std::str::from_utf8(pattern).map_err(|_| BadRow)?;
    Ok((pattern.to_owned(), policy))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain values of ours can be written as JSON")
}

/// JSON of ours stays far below 4 GiB: what it holds came in one packet or request.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

pub(super) fn write_limits(name: &[u8], limits: MaxQueue, pinned: bool, into: &mut Vec<u8>) {
    into.clear();
    for limit in limits {
        into.extend_from_slice(&limit.unwrap_or(0).to_le_bytes());
    }
    into.push(pinned.into());
    seal_by(name, into);
}

/// A function's limits, and whether it is pinned.
pub(super) fn read_limits(name: &[u8], row: &[u8]) -> Result<(MaxQueue, bool), BadRow> {
    let mut input = Input(unsealed_by(name, row)?);
    let limits = [input.u32()?, input.u32()?, input.u32()?];
    let pinned = input.u8()? != 0;
    Ok((limits.map(|limit| (limit > 0).then_some(limit)), pinned))
}

pub(super) fn write_number(number: JobId, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&number.0.to_le_bytes());
    seal(1, into);
}

pub(super) fn read_number(row: &[u8]) -> Result<JobId, BadRow> {
    Input(unsealed(1, row)?).u64().map(JobId)
}

/// The bytes in a column, also of text. None if they are of another type by now, which no checksum covers.
pub(super) fn bytes<'a>(found: &'a Row<'_>, column: usize) -> &'a [u8] {
    found.get_ref(column).ok().and_then(|value| value.as_bytes().ok()).unwrap_or_default()
}

pub(super) fn write_change(change: Change, into: &mut Vec<u8>) {
    match change {
        Change::Done(id) => {
            into.push(b'D');
            into.extend_from_slice(&id.0.to_le_bytes());
        }
        Change::Stands(id, standing) => {
            into.push(b'S');
            into.extend_from_slice(&id.0.to_le_bytes());
            write_standing(id, standing, into);
        }
    }
}

/// Ends a row of changes.
pub(super) fn seal_changes(seq: i64, into: &mut Vec<u8>) {
    seal(seq.unsigned_abs(), into);
}

pub(super) fn read_changes(seq: i64, row: &[u8]) -> Result<Vec<Change>, BadRow> {
    let mut input = Input(unsealed(seq.unsigned_abs(), row)?);
    let mut changes = Vec::new();
    while !input.0.is_empty() {
        let tag = input.u8()?;
        let id = JobId(input.u64()?);
        changes.push(match tag {
            b'D' => Change::Done(id),
            b'S' | b'L' => Change::Stands(id, input.standing(id)?.0),
            _ => return Err(BadRow),
        });
    }
    Ok(changes)
}

fn write_standing(id: JobId, standing: Standing, into: &mut Vec<u8>) {
    let Standing { priority, phase, due, attempts, losses, place, submitted, first_start, last_start } =
        standing;
    let once = first_start.filter(|_| attempts == 1 && losses == 0 && first_start == last_start);
    let (phase, end) = match phase {
        Phase::Waiting => (0, None),
        Phase::Held => (1, None),
        Phase::Running => (2, None),
        Phase::Cancelling => (3, None),
        Phase::Over { outcome, at } => (4, Some((outcome, at))),
    };
    let at = into.len();
    into.extend_from_slice(&[first::FORMAT_2 | phase << first::PHASE_SHIFT | priority as u8, 0]);
    let mut has = 0;
    let mut put = |bit: u8, bytes: &[u8]| {
        has |= bit;
        into.extend_from_slice(bytes);
    };
    put(0, &bytes_of(submitted));
    if let Some(due) = due {
        put(has::DUE, &bytes_of(due));
    }
    if let Some(once) = once {
        put(has::ONCE, &bytes_of(once));
    } else {
        if (attempts, losses) != (0, 0) {
            put(has::TRIES, &attempts.to_le_bytes());
            put(0, &losses.to_le_bytes());
        }
        if let Some(start) = first_start {
            put(has::FIRST_START, &bytes_of(start));
        }
        if let Some(start) = last_start {
            put(has::LAST_START, &bytes_of(start));
        }
    }
    if place != id.0 {
        put(has::PLACE, &place.to_le_bytes());
    }
    if let Some((outcome, at)) = end {
        put(0, &[number_of(outcome)]);
        put(0, &bytes_of(at));
    }
    into[at + 1] = has;
}

fn bytes_of(time: Timestamp) -> [u8; 8] {
    time.as_micros().to_le_bytes()
}

/// Its place in [`OUTCOMES`].
fn number_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::Cancelled => 1,
        Outcome::Failed(Reason::Failed) => 2,
        Outcome::Failed(Reason::Exception) => 3,
        Outcome::Failed(Reason::TimedOut) => 4,
        Outcome::Failed(Reason::Lost) => 5,
        Outcome::Failed(Reason::LeaseExpired) => 6,
        Outcome::Failed(Reason::Expired) => 7,
    }
}

fn seal(id: u64, row: &mut Vec<u8>) {
    seal_by(&id.to_le_bytes(), row);
}

fn seal_by(key: &[u8], row: &mut Vec<u8>) {
    let sum = checksum(key, row);
    row.extend_from_slice(&sum.to_le_bytes());
}

fn unsealed(id: u64, row: &[u8]) -> Result<&[u8], BadRow> {
    unsealed_by(&id.to_le_bytes(), row)
}

fn unsealed_by<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], BadRow> {
    let (content, sum) = row.split_last_chunk::<4>().ok_or(BadRow)?;
    if checksum(key, content) == u32::from_le_bytes(*sum) { Ok(content) } else { Err(BadRow) }
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadRow> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(BadRow)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u8(&mut self) -> Result<u8, BadRow> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, BadRow> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, BadRow> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadRow> {
        self.take().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, BadRow> {
        self.u64().map(Timestamp::from_micros)
    }

    fn time_if(&mut self, is_there: bool) -> Result<Option<Timestamp>, BadRow> {
        is_there.then(|| self.time()).transpose()
    }

    /// Bytes after their number.
    fn counted(&mut self) -> Result<&'a [u8], BadRow> {
        let count = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(BadRow)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// How a job stands, and whether terms follow later.
    fn standing(&mut self, id: JobId) -> Result<(Standing, bool), BadRow> {
        let head = self.u8()?;
        let priority = *Priority::ALL.get(usize::from(head & first::PRIORITY)).ok_or(BadRow)?;
        let mut standing = Standing::new(id, priority, None, Timestamp::default());
        if head & first::FORMAT_2 == 0 {
            (standing.losses, standing.place) = (self.u32()?, self.u64()?);
            standing.due = Some(self.time()?).filter(|due| *due > Timestamp::default());
            return if head == priority as u8 { Ok((standing, false)) } else { Err(BadRow) };
        }
        let has = self.u8()?;
        if has & has::NOTHING_ELSE != 0 {
            return Err(BadRow);
        }
        standing.submitted = self.time()?;
        standing.due = self.time_if(has & has::DUE != 0)?;
        if let Some(once) = self.time_if(has & has::ONCE != 0)? {
            (standing.attempts, standing.first_start, standing.last_start) = (1, Some(once), Some(once));
        }
        if has & has::TRIES != 0 {
            (standing.attempts, standing.losses) = (self.u32()?, self.u32()?);
        }
        if has & has::FIRST_START != 0 {
            standing.first_start = Some(self.time()?);
        }
        if has & has::LAST_START != 0 {
            standing.last_start = Some(self.time()?);
        }
        if has & has::PLACE != 0 {
            standing.place = self.u64()?;
        }
        standing.phase = match (head & first::PHASE) >> first::PHASE_SHIFT {
            0 => Phase::Waiting,
            1 => Phase::Held,
            2 => Phase::Running,
            3 => Phase::Cancelling,
            4 => {
                let outcome = *OUTCOMES.get(usize::from(self.u8()?)).ok_or(BadRow)?;
                Phase::Over { outcome, at: self.time()? }
            }
            _ => return Err(BadRow),
        };
        Ok((standing, head & first::TERMS != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Kind;

    const ID: JobId = JobId(5);

    fn new() -> Standing {
        Standing::new(ID, Priority::Normal, None, Timestamp::from_secs(1))
    }

    /// One of each form that a standing takes, with the bytes that it takes.
    fn standings() -> Vec<(Standing, usize)> {
        let at = |secs| Some(Timestamp::from_secs(secs));
        let once = Standing { attempts: 1, first_start: at(2), last_start: at(2), ..new() };
        let odd = Standing {
            priority: Priority::Low,
            due: at(7),
            attempts: u32::MAX,
            losses: 3,
            place: 99,
            first_start: at(2),
            last_start: Some(Timestamp::from_micros(u64::MAX)),
            ..new()
        };
        let mut standings = vec![
            (new(), 10),
            (Standing { priority: Priority::High, due: Some(Timestamp::default()), ..new() }, 18),
            (Standing { phase: Phase::Running, ..once }, 18),
            (Standing { phase: Phase::Cancelling, losses: 1, ..once }, 34),
            (Standing { phase: Phase::Held, last_start: None, ..once }, 26),
            (Standing { first_start: None, attempts: 0, ..once }, 18),
            (Standing { place: 0, ..new() }, 18),
            (odd, 50),
        ];
        let over = |outcome| Phase::Over { outcome, at: Timestamp::from_secs(8) };
        standings.extend(OUTCOMES.map(|outcome| (Standing { phase: over(outcome), ..once }, 27)));
        standings
    }

    fn spec() -> Spec {
        let body = Bytes::from_static(b"f\0u\0red\0agg\0payload");
        Spec::parse(Kind::SubmitReduceJob, body).unwrap().0
    }

    #[test]
    fn a_row_reads_back_as_written_and_a_flipped_bit_is_noticed() {
        let terms = Terms { attempts: Some(3), mime: Some("text/plain".into()), ..Terms::default() };
        for terms in [None, Some(terms)] {
            for (standing, _) in standings() {
                let mut row = Vec::new();
                write_meta(ID, standing, &spec(), terms.as_ref(), &mut row);
                let meta = Meta { standing, spec: spec().without_payload(), terms: terms.clone() };
                assert_eq!(read_meta(ID, &row), Ok(meta));
                assert_eq!(read_meta(JobId(6), &row), Err(BadRow));
                for bit in 0..row.len() * 8 {
                    row[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(read_meta(ID, &row), Err(BadRow));
                    row[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
    }

    #[test]
    fn a_standing_takes_no_more_bytes_than_it_needs() {
        for (standing, bytes) in standings() {
            let mut row = Vec::new();
            write_standing(ID, standing, &mut row);
            assert_eq!(row.len(), bytes, "{standing:?}");
        }
    }

    #[test]
    fn a_job_that_stands_elsewhere_keeps_the_rest_of_its_row() {
        let terms = Terms { keep: Some(std::time::Duration::from_secs(9)), ..Terms::default() };
        for terms in [None, Some(terms)] {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            write_meta(ID, new(), &spec(), terms.as_ref(), &mut before);
            let standing = Standing { phase: Phase::Held, place: 77, ..new() };
            rewrite_meta(ID, &before, standing, &mut after).unwrap();
            assert_eq!(read_meta(ID, &after), Ok(Meta { standing, spec: spec().without_payload(), terms }));
            assert_eq!(rewrite_meta(JobId(6), &before, standing, &mut after), Err(BadRow));
        }
    }

    #[test]
    fn what_format_1_wrote_is_read() {
        let old = [&[2_u8][..], &3_u32.to_le_bytes(), &99_u64.to_le_bytes(), &7_000_000_u64.to_le_bytes()];
        let old = old.concat();
        let due = Some(Timestamp::from_secs(7));
        let standing =
            Standing { losses: 3, place: 99, ..Standing::new(ID, Priority::Low, due, Timestamp::default()) };
        let mut meta = old.clone();
        spec().ends().iter().for_each(|end| meta.extend_from_slice(&end.to_le_bytes()));
        meta.extend_from_slice(&spec().payload_len().to_le_bytes());
        meta.extend_from_slice(spec().names());
        seal(ID.0, &mut meta);
        let spec = spec().without_payload();
        assert_eq!(read_meta(ID, &meta), Ok(Meta { standing, spec, terms: None }));

        let mut changes = [&b"L"[..], &ID.0.to_le_bytes(), &old].concat();
        seal_changes(8, &mut changes);
        assert_eq!(read_changes(8, &changes), Ok(vec![Change::Stands(ID, standing)]));

        let mut fields = b"0 8 * * 0".to_vec();
        seal(ID.0, &mut fields);
        let plan = Plan { fields: "0 8 * * 0".into(), monday_is_zero: true, ..Plan::default() };
        assert_eq!(read_plan(ID, &fields), Ok(plan));
    }

    #[test]
    fn changes_read_back_in_order() {
        let mut changes = vec![Change::Done(JobId(1))];
        changes.extend(standings().into_iter().map(|(standing, _)| Change::Stands(ID, standing)));
        changes.push(Change::Done(JobId(3)));
        let mut row = Vec::new();
        changes.iter().for_each(|change| write_change(*change, &mut row));
        seal_changes(8, &mut row);
        assert_eq!(read_changes(8, &row), Ok(changes));
        assert_eq!(read_changes(9, &row), Err(BadRow));
    }

    #[test]
    fn all_other_rows_are_sealed_too() {
        let mut row = Vec::new();
        write_limits(b"f", [Some(3), None, Some(u32::MAX)], true, &mut row);
        assert_eq!(read_limits(b"f", &row), Ok(([Some(3), None, Some(u32::MAX)], true)));
        assert_eq!(read_limits(b"g", &row), Err(BadRow));
        let plan = Plan { fields: "0 8 * * *".into(), zone: "Asia/Tokyo".into(), ..Plan::default() };
        write_plan(ID, &plan, &mut row);
        assert_eq!(read_plan(ID, &row), Ok(plan));
        row[0] ^= 1;
        assert_eq!(read_plan(ID, &row), Err(BadRow));
        let policy = Policy { attempts: Some(9), ..Policy::default() };
        write_policy("f*", &policy, &mut row);
        assert_eq!(read_policy(b"f*", &row), Ok(("f*".to_owned(), policy)));
        assert_eq!(read_policy(b"g*", &row), Err(BadRow));
        write_number(JobId(77), &mut row);
        assert_eq!(read_number(&row), Ok(JobId(77)));
        row[7] ^= 1;
        assert_eq!(read_number(&row), Err(BadRow));
    }

    #[test]
    fn a_payload_does_not_pass_for_a_result() {
        let mut row = Vec::new();
        write_result(ID, b"f\0u\0x", &mut row);
        assert_eq!(read_result(ID, &row), Ok(&b"f\0u\0x"[..]));
        assert_eq!(read_body(ID, &row), Err(BadRow));
    }
}
