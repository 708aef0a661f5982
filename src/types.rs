//! The small values every part shares: numbers with a meaning, so that one kind cannot pass for another.

use std::fmt::{self, Write as _};
/// Where a peer is, as a value; whoever needs no more of the network than that takes it from here.
pub use std::net::IpAddr;
use std::time::Duration;

/// Microseconds since the Unix epoch. The engine never sees it go back: see [`crate::clock`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment so many microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A moment so many seconds after the Unix epoch; far futures saturate.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Microseconds from `earlier` to this moment, zero if `earlier` is later.
    pub const fn micros_since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from `earlier` to this moment, zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This moment less `span`, not before the epoch.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    /// This moment and `span` more; far futures saturate.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// The number in a job handle `PREFIX:NUMBER`. Counts up, never reused, also not after a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(pub u64);

/// One connection for as long as the process lives. Counts up; never a descriptor number, which the system reuses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A function's place in the engine's table. Never leaves the engine: names are what peers see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FunctionId(pub u32);

/// A position in the log of what must survive a restart. Larger is later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RecordNo(pub u64);

impl RecordNo {
    /// Depends on nothing: may leave at once.
    pub const NONE: RecordNo = RecordNo(0);
}

/// A job's priority. The order of declaration is the order of service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// SUBMIT_JOB_HIGH and SUBMIT_JOB_HIGH_BG.
    High,
    /// All submits that name no priority.
    Normal,
    /// SUBMIT_JOB_LOW and SUBMIT_JOB_LOW_BG.
    Low,
}

impl Priority {
    /// All priorities, first served first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// Its name, as users see it.
    pub const fn name(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

/// Bytes from a peer as text that can't break a line: control characters and what is no UTF-8 stand as `\x0a`.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if char.is_control() { write!(f, "\\x{:02x}", u32::from(char))? } else { f.write_char(char)? }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A function's name, or many of them: `*` stands for any run of bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// A pattern from its text. Every text is one.
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        Self(text.as_ref().into())
    }

    /// Whether it stands for this name; see [`fits`].
    pub fn matches(&self, name: &[u8]) -> bool {
        fits(&self.0, name)
    }

    /// What every name that it stands for begins with.
    pub fn prefix(&self) -> &[u8] {
        self.0.split(|byte| *byte == b'*').next().unwrap_or_default()
    }

    /// The only name that it stands for; `None` if there may be more.
    pub fn exact(&self) -> Option<&[u8]> {
        (!self.0.contains(&b'*')).then_some(&self.0)
    }
}

/// Whether a pattern, in which each `*` stands for any bytes, none included, stands for this name. Takes a time that grows with the product of the two lengths at worst.
pub fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut rest) = (pattern, name);
    // Where to go on if what follows the last `*` fits no further on: that one stands for one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), rest.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, rest));
                pattern = after;
                continue;
            }
            (Some((wanted, after)), Some((found, left))) if wanted == found => {
                (pattern, rest) = (after, left);
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        match retry {
            Some((after, [_, left @ ..])) => {
                retry = Some((after, left));
                (pattern, rest) = (after, left);
            }
            _ => return false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(&self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_bytes() {
        let matching =
            [("img", "img"), ("img.*", "img."), ("img.*", "img.resize"), ("*", ""), ("a*b*c", "aXbbYc")];
        let others = [("img", "img2"), ("img.*", "img"), ("*.a", "b.ab"), ("a*b*c", "aXcYb"), ("", "a")];
        for (pattern, name) in matching {
            assert!(Pattern::new(pattern).matches(name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in others {
            assert!(!Pattern::new(pattern).matches(name.as_bytes()), "{pattern} {name}");
        }
        assert_eq!(
            (Pattern::new("img.*x").prefix(), Pattern::new("img").exact()),
            (&b"img."[..], Some(&b"img"[..]))
        );
    }

    #[test]
    fn what_a_peer_sends_cannot_break_a_line() {
        assert_eq!(Printable(b"a\nb\0c\xffd\x1b[0m").to_string(), r"a\x0ab\x00c\xffd\x1b[0m");
        assert_eq!(Printable("für,\u{85}".as_bytes()).to_string(), r"für,\x85");
    }
}
