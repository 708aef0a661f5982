//! Job handles: `PREFIX:NUMBER` (reference, section 1.5).

use std::fmt;

use crate::types::JobId;

/// A job handle as text: never longer than 63 bytes, no blanks, no NUL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle<'a> {
    /// What stands before the colon, such as `H:host`.
    pub prefix: &'a str,
    /// The job's number.
    pub id: JobId,
}

impl<'a> Handle<'a> {
    /// The job that `text` names, if it is a handle with this prefix, written as the server writes it.
    pub fn parse(prefix: &str, text: &[u8]) -> Option<JobId> {
        let digits = text.strip_prefix(prefix.as_bytes())?.strip_prefix(b":")?;
        if digits.is_empty() || digits.len() > 20 || digits[0] == b'0' {
            return None;
        }
        let number = digits.iter().try_fold(0_u64, |number, digit| match digit {
            b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
            _ => None,
        })?;
        Some(JobId(number))
    }

    /// Passes the handle's text to `f` and returns what it does.
    pub fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let mut text = [0_u8; 64];
        let mut number = itoa::Buffer::new();
        let number = number.format(self.id.0).as_bytes();
        let (prefix, room) = (self.prefix.as_bytes(), 64 - 1 - number.len());
        let prefix = &prefix[..prefix.len().min(room)];
        text[..prefix.len()].copy_from_slice(prefix);
        text[prefix.len()] = b':';
        let end = prefix.len() + 1 + number.len();
        text[prefix.len() + 1..end].copy_from_slice(number);
        f(&text[..end])
    }
}

impl fmt::Display for Handle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.prefix, self.id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_one_job_and_nothing_else_does() {
        let handle = Handle { prefix: "H:host", id: JobId(u64::MAX) };
        handle.with_bytes(|text| {
            assert_eq!(text, handle.to_string().as_bytes());
            assert_eq!(Handle::parse("H:host", text), Some(handle.id));
        });
        for text in ["", "H:host", "H:host:", "H:host:01", "H:host:0", "H:host:+1", "H:hos:1", "H:host:1\0"] {
            assert_eq!(Handle::parse("H:host", text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Handle::parse("H:host", b"H:host:18446744073709551616"), None);
    }
}
