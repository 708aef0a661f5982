//! Recurring jobs as rows.

use bytes::Bytes;

use super::{Bounds, Piece, is_visible};
use crate::engine::Engine;
use crate::policy::Plan;
use crate::protocol::Spec;
use crate::types::{JobId, Pattern, Timestamp};

/// A recurring job.
#[derive(Clone, Debug)]
pub struct ScheduleRow {
    /// Its number.
    pub id: JobId,
    /// Its handle.
    pub handle: String,
    /// The function that it submits to.
    pub function: Bytes,
    /// The unique id of its jobs.
    pub unique: Box<[u8]>,
    /// When and how it is submitted.
    pub plan: Plan,
    /// Its fields in plain words, if there are any that are true.
    pub words: Option<String>,
    /// The next times, if they were asked for.
    pub next_times: Vec<Timestamp>,
    /// When it next submits.
    pub next: Timestamp,
    /// Bytes of its jobs' payload.
    pub payload_size: u32,
}

/// Next times that a row of a recurring job tells.
const NEXT_TIMES: usize = 5;

impl Engine {
    /// A piece of the list of recurring jobs, by number.
    pub fn schedule_rows(
        &self,
        pattern: Option<&Pattern>,
        visible: &[Pattern],
        from: JobId,
        bounds: Bounds,
    ) -> Piece<ScheduleRow, JobId> {
        let mut piece = Piece { rows: Vec::new(), looked: 0, next: None };
        for (id, schedule) in self.schedules.from(from) {
            if piece.rows.len() == bounds.rows || piece.looked == bounds.looks {
                piece.next = Some(id);
                break;
            }
            piece.looked += 1;
            let function = &self.functions.get(schedule.function).name;
            if pattern.is_none_or(|pattern| pattern.matches(function)) && is_visible(visible, function) {
                piece.rows.push(ScheduleRow {
                    id,
                    handle: self.handle(id).to_string(),
                    function: function.clone(),
                    unique: schedule.spec.unique().into(),
                    plan: schedule.plan.clone(),
                    words: schedule.words(),
                    next_times: schedule.next_times(self.now, NEXT_TIMES),
                    next: schedule.next,
                    payload_size: schedule.spec.payload_len(),
                });
            }
        }
        piece
    }

    /// One recurring job.
    pub fn schedule_row(&self, id: JobId) -> Option<ScheduleRow> {
        let bounds = Bounds { looks: 1, rows: 1 };
        self.schedule_rows(None, &[], id, bounds).rows.pop().filter(|row| row.id == id)
    }

    /// A recurring job as it was made: its plan, and what its jobs are made of.
    pub fn schedule_parts(&self, id: JobId) -> Option<(Plan, Spec)> {
        self.schedules.get(id).map(|schedule| (schedule.plan.clone(), schedule.spec.clone()))
    }
}
