//! Traces, as OpenTelemetry has them: a span for each job from its submit to its end, and one for each of its attempts. A
//! thread of its own makes them of what the engine says and sends them to a collector; nothing waits for it, and what cannot
//! be sent in time is counted and left out.

mod exporter;
mod otlp;
mod queue;
mod spans;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use self::queue::Facts;

use self::exporter::Exporter;
use self::queue::Queue;
use crate::engine::Note;

/// How long the end of the server waits for what is still to be sent.
const FAREWELL: Duration = Duration::from_secs(5);

/// The way to the collector, for as long as the server runs.
#[derive(Debug)]
pub struct Traces {
    queue: Arc<Queue>,
}

impl Traces {
    /// Sends to this URL from now on. `version` and `handle_prefix`: the server's.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(url: &str, version: &str, handle_prefix: &str) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Queue::default());
        let exporter = Exporter::new(queue.clone(), url, version, handle_prefix);
        thread::Builder::new().name("traces".into()).spawn(move || exporter.run())?;
        Ok(Arc::new(Self { queue }))
    }

    /// Takes the end of a job or of an attempt. Never waits.
    pub fn take(&self, note: Note) {
        self.queue.push(note);
    }

    /// How it goes.
    pub fn facts(&self) -> Facts {
        self.queue.facts()
    }

    /// Sends what is left, so far as that can be done in some seconds.
    pub fn close(&self) {
        match self.queue.close(FAREWELL) {
            Some(0) => {}
            Some(left) => tracing::warn!("the last {left} spans could not be sent before the server ended"),
            None => tracing::warn!("the last spans could not be sent before the server ended"),
        }
    }
}
