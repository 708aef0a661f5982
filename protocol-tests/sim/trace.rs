//! What happened in a run, line by line: dropped, kept for a failure's report and for comparing runs, or printed.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Lines that a failure shows.
const LAST: usize = 40;

/// How much of a body a line shows, in bytes.
const SHOWN: usize = 48;

/// The lines of one run.
pub struct Trace {
    mode: Mode,
    last: VecDeque<String>,
    digest: DefaultHasher,
    /// Where the run is; every line begins with it.
    pub step: usize,
}

/// What becomes of the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: most runs go well, and a run that does not is repeated.
    Off,
    /// The last ones are kept, and all go into the digest.
    Kept,
    /// As `Kept`, and each is printed.
    Printed,
}

impl Trace {
    pub fn new(mode: Mode) -> Self {
        Self { mode, last: VecDeque::new(), digest: DefaultHasher::new(), step: 0 }
    }

    /// Notes a line; it is only put together if someone wants it.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        if self.mode == Mode::Off {
            return;
        }
        let line = format!("{:>5}  {}", self.step, line());
        line.hash(&mut self.digest);
        if self.mode == Mode::Printed {
            println!("{line}");
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The last lines, oldest first.
    pub fn last(&self) -> String {
        self.last.iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Equal for two runs in which the same happened.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }
}

/// Bytes as a line shows them.
pub fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN)];
    let rest = if cut.len() < bytes.len() { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("'{}'{rest}", cut.escape_ascii())
}
