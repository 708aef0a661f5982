//! GET_STATUS, GET_STATUS_UNIQUE and OPTION_REQ: questions that any connection may ask.

use bytes::Bytes;

use super::{Engine, Output, refuse, reply};
use crate::protocol::{Handle, Progress, Refusal, Response, StatusNumbers};
use crate::types::ConnId;

impl Engine {
    /// A recurring job is known and never running; the jobs it submits have handles of their own.
    pub(super) fn get_status(&self, conn: ConnId, handle: &Bytes, out: &mut impl Output) {
        let id = Handle::parse(&self.settings.handle_prefix, handle);
        let of_job = id.and_then(|id| self.live(id)).map(|job| job.progress());
        let of_schedule = || {
            let waits = Progress { running: false, numbers: StatusNumbers::default() };
            id.filter(|id| self.schedules.contains(*id)).map(|_| waits)
        };
        reply(out, conn, Response::Status { handle, progress: of_job.or_else(of_schedule) });
    }

    pub(super) fn get_status_unique(&self, conn: ConnId, unique: &Bytes, out: &mut impl Output) {
        let job = self.uniques.find_anywhere(&self.jobs, unique).and_then(|id| self.live(id));
        let progress = job.map(|job| job.progress());
        let waiting = job.map_or(0, |job| job.waiting().len());
        reply(out, conn, Response::StatusUnique { unique, progress, waiting });
    }

    /// `exceptions` is the only option; its name is matched in any case, with or without a final NUL.
    pub(super) fn set_option(&mut self, conn: ConnId, option: &Bytes, out: &mut impl Output) {
        let name = option.strip_suffix(b"\0").unwrap_or(option);
        if !name.eq_ignore_ascii_case(b"exceptions") {
            return refuse(out, conn, &Refusal::OPTION);
        }
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.exceptions = true;
        }
        reply(out, conn, Response::Option(option));
    }
}
