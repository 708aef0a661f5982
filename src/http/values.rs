//! Values as they stand in JSON: moments, and bytes that may be no text.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

use crate::types::Timestamp;

/// A moment as RFC 3339 has it, in UTC, with microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        let micros = i64::try_from(self.0.as_micros()).ok();
        let moment =
            micros.and_then(DateTime::<Utc>::from_timestamp_micros).unwrap_or(DateTime::<Utc>::MAX_UTC);
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
        assert!(shown(u64::MAX).contains("+262142-12-31"));
    }
}
