//! How a worker ends: at the first signal when its jobs are done, at the second at once.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::cli::tell;

/// Shared by all threads of a worker.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stopping: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    /// Connections that wait for a job; ending them is how their threads learn of a stop.
    asleep: HashMap<usize, TcpStream>,
    /// Process groups of commands that run.
    running: HashSet<Pid>,
}

impl Stop {
    /// Listens for SIGTERM, SIGINT and the SIGHUP of a terminal that is closed from here on. Must come before any thread is started.
    pub(super) fn on_signals() -> io::Result<Stop> {
        let stop = Stop(Arc::default());
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        // Threads inherit this, so that only the one below gets the signals; commands start with a clean mask.
        signals.thread_block()?;
        let for_thread = stop.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || for_thread.obey(&signals))?;
        Ok(stop)
    }

    fn obey(&self, signals: &SigSet) {
        while signals.wait().is_ok() {
            let running = self.state().running.len();
            if self.is_stopping() {
                self.stop_now();
            }
            self.stop();
            // Said when it is so: from here on no job is taken.
            if running > 0 {
                tell(format_args!("jobs to finish: {running}; a second signal stops at once"));
            }
        }
    }

    /// No job is taken from here on.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_stopping = true;
        for connection in state.asleep.values() {
            // Fails if the server has ended it already, which is as good.
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.0.stopping.notify_all();
    }

    fn stop_now(&self) -> ! {
        // Held until the end: a job whose command is killed here must not be reported as failed.
        let state = self.state();
        for group in &state.running {
            // It may have ended this moment.
            let _ = killpg(*group, Signal::SIGTERM);
        }
        process::exit(1);
    }

    /// Whether a signal came.
    pub(super) fn is_stopping(&self) -> bool {
        self.state().is_stopping
    }

    /// Waits for so long, or until a signal comes; whether one came.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let state = self.state();
        let waited = self.0.stopping.wait_timeout_while(state, time, |state| !state.is_stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    /// Must be called before waiting for a job on this connection. If it says no, a signal came.
    pub(super) fn may_sleep(&self, worker: usize, connection: TcpStream) -> bool {
        let mut state = self.state();
        if !state.is_stopping {
            state.asleep.insert(worker, connection);
        }
        !state.is_stopping
    }

    /// The wait that [`Stop::may_sleep`] allowed is over.
    pub(super) fn woke(&self, worker: usize) {
        self.state().asleep.remove(&worker);
    }

    /// A command runs in this process group.
    pub(super) fn started(&self, group: Pid) {
        self.state().running.insert(group);
    }

    /// It runs no more.
    pub(super) fn ended(&self, group: Pid) {
        self.state().running.remove(&group);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
