//! Values as they stand in JSON: moments, and bytes that may be no text.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::types::Timestamp;

/// Bytes as they stand, in the document.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes bodies")]
pub(super) struct Raw(Vec<u8>);

/// The last moment that RFC 3339 has a form for.
const LAST: i64 = 253_402_300_799_999_999;

/// A moment as RFC 3339 has it, in UTC, with microseconds. What is later than its last year is its last moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        let micros = i64::try_from(self.0.as_micros()).unwrap_or(LAST).min(LAST);
        let moment = DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or_default();
        into.serialize_str(&moment.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

/// A field of bytes that are mostly text: as text, or under another name in base64.
pub(super) fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_microseconds_and_the_far_future_is_one_too() {
        let shown = |micros| serde_json::to_string(&Moment(Timestamp::from_micros(micros))).unwrap();
        assert_eq!(shown(1_795_910_400_000_001), "\"2026-11-29T00:00:00.000001Z\"");
        assert_eq!(shown(u64::MAX), "\"9999-12-31T23:59:59.999999Z\"");
        assert_eq!(shown(LAST as u64 - 1), "\"9999-12-31T23:59:59.999998Z\"");
    }
}
