//! What the black-box tests share: a server in its own process, and scripted peers that talk to it over TCP.
//!
//! Nothing here uses the library under test: packet numbers, framing and texts are written down a second time,
//! so that an error in one place cannot hide an equal error in the other.
#![allow(dead_code, unused_imports, reason = "each test module uses its own part")]

pub mod kind;
pub mod peer;
pub mod server;

pub use peer::Peer;
pub use server::Server;

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. Generous, because it only costs time when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until `look` finds something; fails after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, || what.to_owned(), look)
}

/// The same for what takes its time. `what` is asked when that is over, and can tell how things stand then.
#[track_caller]
pub fn within<T>(limit: Duration, what: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < deadline, "waited {limit:?} in vain: {}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The moment, for deadlines.
#[allow(clippy::disallowed_methods, reason = "the server's clock rule does not bind a test's deadlines")]
pub fn now() -> Instant {
    Instant::now()
}

/// Bytes as a reader can follow them: printable ASCII as it is, everything else escaped.
pub fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes.iter().take(600) {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(byte as char),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    if bytes.len() > 600 {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}
