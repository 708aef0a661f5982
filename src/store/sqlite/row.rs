//! How jobs are written as rows. SQLite does not checksum its data file, so every row carries a CRC32C of its own.
//!
//! All numbers are little-endian. The checksum covers the row's key (its id, or the function's name) and everything
//! before it.
//!
//! | row | content |
//! | --- | --- |
//! | `job.meta` | priority 1, losses 4, place 8, due 8 (0: none), ends of function, unique id and reducer 2 each, payload length 4, names (the submit's body up to its payload), checksum 4 |
//! | `body.body` | the submit's body, checksum 4 |
//! | `ops.changes` | changes, checksum 4; a change is tag 1 and id 8, then for `L` (lost) priority 1, losses 4, place 8, due 8; `D` (done) has no more |
//! | `schedule` | `fields`: the five fields, checksum 4; `meta` and `body` as for a job |
//! | `function.limits` | high 4, normal 4, low 4 (0: none), pinned 1, checksum 4 |
//! | `numbers.next` | the first number that no process has set aside 8, checksum 4 |

use rusqlite::Row;

use crate::engine::Standing;
use crate::protocol::{MaxQueue, Spec};
use crate::types::{JobId, Priority, Timestamp};

/// A row whose bytes are not what was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum or form is wrong")]
pub(super) struct BadRow;

/// A change to a job that is written already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Lost(JobId, Standing),
    Done(JobId),
}

pub(super) fn write_meta(id: JobId, standing: Standing, spec: &Spec, into: &mut Vec<u8>) {
    into.clear();
    write_standing(standing, into);
    for end in spec.ends() {
        into.extend_from_slice(&end.to_le_bytes());
    }
    into.extend_from_slice(&spec.payload_len().to_le_bytes());
    into.extend_from_slice(spec.names());
    seal(id.0, into);
}

/// How a job stands and its spec, without payload.
pub(super) fn read_meta(id: JobId, row: &[u8]) -> Result<(Standing, Spec), BadRow> {
    let mut input = Input(unsealed(id.0, row)?);
    let standing = input.standing()?;
    let ends = [input.u16()?, input.u16()?, input.u16()?];
    let payload_len = input.u32()?;
    let spec = Spec::from_parts(input.0, ends, payload_len).ok_or(BadRow)?;
    Ok((standing, spec))
}

pub(super) fn write_body(id: JobId, spec: &Spec, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(spec.body());
    seal(id.0, into);
}

pub(super) fn read_body(id: JobId, row: &[u8]) -> Result<&[u8], BadRow> {
    unsealed(id.0, row)
}

/// The five fields of a recurring job.
pub(super) fn write_fields(id: JobId, fields: &str, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(fields.as_bytes());
    seal(id.0, into);
}

pub(super) fn read_fields(id: JobId, row: &[u8]) -> Result<&str, BadRow> {
    std::str::from_utf8(unsealed(id.0, row)?).map_err(|_| BadRow)
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

/// The bytes in a column. None if they are of another type by now, which no checksum covers.
pub(super) fn bytes<'a>(found: &'a Row<'_>, column: usize) -> &'a [u8] {
    found.get_ref(column).ok().and_then(|value| value.as_blob().ok()).unwrap_or_default()
}

pub(super) fn write_change(change: Change, into: &mut Vec<u8>) {
    match change {
        Change::Done(id) => {
            into.push(b'D');
            into.extend_from_slice(&id.0.to_le_bytes());
        }
        Change::Lost(id, standing) => {
            into.push(b'L');
            into.extend_from_slice(&id.0.to_le_bytes());
            write_standing(standing, into);
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
            b'L' => Change::Lost(id, input.standing()?),
            _ => return Err(BadRow),
        });
    }
    Ok(changes)
}

fn write_standing(standing: Standing, into: &mut Vec<u8>) {
    into.push(standing.priority as u8);
    into.extend_from_slice(&standing.losses.to_le_bytes());
    into.extend_from_slice(&standing.place.to_le_bytes());
    into.extend_from_slice(&standing.due.map_or(0, Timestamp::as_micros).to_le_bytes());
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

impl Input<'_> {
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

    fn standing(&mut self) -> Result<Standing, BadRow> {
        let priority = *Priority::ALL.get(usize::from(self.u8()?)).ok_or(BadRow)?;
        let (losses, place, due) = (self.u32()?, self.u64()?, self.u64()?);
        let due = (due > 0).then(|| Timestamp::from_micros(due));
        Ok(Standing { priority, due, losses, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Kind;
    use bytes::Bytes;

    fn standing() -> Standing {
        Standing { priority: Priority::Low, due: Some(Timestamp::from_secs(7)), losses: 3, place: 99 }
    }

    #[test]
    fn a_row_reads_back_as_written_and_a_flipped_bit_is_noticed() {
        let body = Bytes::from_static(b"f\0u\0red\0agg\0payload");
        let (spec, _) = Spec::parse(Kind::SubmitReduceJob, body).unwrap();
        let (id, mut row) = (JobId(5), Vec::new());
        write_meta(id, standing(), &spec, &mut row);
        assert_eq!(read_meta(id, &row), Ok((standing(), spec.without_payload())));
        assert_eq!(read_meta(JobId(6), &row), Err(BadRow));
        for bit in 0..row.len() * 8 {
            row[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_meta(id, &row), Err(BadRow));
            row[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn changes_read_back_in_order() {
        let changes = [Change::Done(JobId(1)), Change::Lost(JobId(2), standing()), Change::Done(JobId(3))];
        let mut row = Vec::new();
        changes.iter().for_each(|change| write_change(*change, &mut row));
        seal_changes(8, &mut row);
        assert_eq!(read_changes(8, &row), Ok(changes.to_vec()));
        assert_eq!(read_changes(9, &row), Err(BadRow));
    }

    #[test]
    fn limits_fields_and_numbers_are_sealed_too() {
        let mut row = Vec::new();
        write_limits(b"f", [Some(3), None, Some(u32::MAX)], true, &mut row);
        assert_eq!(read_limits(b"f", &row), Ok(([Some(3), None, Some(u32::MAX)], true)));
        assert_eq!(read_limits(b"g", &row), Err(BadRow));
        write_fields(JobId(4), "0 8 * * *", &mut row);
        assert_eq!(read_fields(JobId(4), &row), Ok("0 8 * * *"));
        row[0] ^= 1;
        assert_eq!(read_fields(JobId(4), &row), Err(BadRow));
        write_number(JobId(77), &mut row);
        assert_eq!(read_number(&row), Ok(JobId(77)));
        row[7] ^= 1;
        assert_eq!(read_number(&row), Err(BadRow));
    }
}
