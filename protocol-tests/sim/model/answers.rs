//! Questions that any connection may ask in packets.

use bytes::Bytes;
use gearhouse::protocol::Kind;
use gearhouse::types::ConnId;

use super::super::item::first_argument;
use super::super::seen::Seen;
use super::{Job, Model, without_final_nul};

impl Model {
    pub(super) fn get_status(&self, conn: ConnId, handle: &Bytes, seen: &mut Seen) {
        let handle = first_argument(handle).0;
        let number = self.number_of(&handle);
        let job = number.and_then(|number| self.index_of(number)).map(|index| &self.jobs[index]);
        let body = [&handle[..], progress(number.is_some(), job).as_bytes()].join(&0);
        seen.packet(conn, Kind::StatusRes, &body);
    }

    /// A running job of any function, else the newest; `-` and the empty unique id find none.
    pub(super) fn get_status_unique(&self, conn: ConnId, unique: &Bytes, seen: &mut Seen) {
        let named = self
            .jobs
            .iter()
            .filter(|job| job.unique == *unique && !unique.is_empty() && unique != "-" && !job.is_double);
        let job = named.max_by_key(|job| (job.is_running(), job.number));
        let waiting = job.map_or(0, |job| job.waiting.len()).to_string();
        let progress = progress(job.is_some(), job);
        let body = [&unique[..], progress.as_bytes(), waiting.as_bytes()].join(&0);
        seen.packet(conn, Kind::StatusResUnique, &body);
    }

    pub(super) fn set_option(&mut self, conn: ConnId, option: &Bytes, seen: &mut Seen) {
        if without_final_nul(option).eq_ignore_ascii_case(b"exceptions") {
            self.peer(conn).exceptions = true;
            seen.packet(conn, Kind::OptionRes, option);
        } else {
            seen.error(conn, "UNKNOWN_OPTION");
        }
    }

    pub(super) fn set_client_id(&mut self, conn: ConnId, id: &Bytes) {
        let fit = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '_' };
        let id: String = id.iter().take(127).map(fit).collect();
        self.peer(conn).client_id = if id.is_empty() { "-".into() } else { id };
    }
}

fn progress(is_known: bool, job: Option<&Job>) -> String {
    let (numerator, denominator) = job.map_or((0, 0), |job| job.numbers);
    let is_running = job.is_some_and(Job::is_running);
    format!("{}\0{}\0{numerator}\0{denominator}", u8::from(is_known), u8::from(is_running))
}
