//! What an operator may decide about the queues. Plain values, set once at start.

use std::time::Duration;

use crate::policy::{Policy, Rules};

/// Rules and bounds of the queue manager.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What stands before the colon and the number of every job handle. At most
    /// [`Settings::MAX_HANDLE_PREFIX`] bytes, so that 20 digits fit into the 63 bytes libraries allow.
    pub handle_prefix: String,
    /// What holds for every function, as far as no policy says otherwise.
    pub rules: Rules,
    /// Policies of the configuration file, by pattern.
    pub policies: Vec<(String, Policy)>,
    /// How many sleeping workers are woken for each job that is ready; [`u32::MAX`] wakes all.
    pub wake_per_job: u32,
    /// Every connection behaves as if it had sent OPTION_REQ `exceptions`.
    pub exceptions: bool,
    /// Longest unique id or reducer name, in bytes. Longer ones are answered ARGUMENT_TOO_LARGE.
    pub max_unique: usize,
    /// Longest function name, in bytes.
    pub max_function_name: usize,
    /// Most functions one connection may register; beyond it the connection is closed.
    pub max_abilities: usize,
    /// Most functions that exist at once; a submit or registration that needs one more is refused.
    pub max_functions: usize,
    /// How long a function that has no jobs, workers or limits is still listed.
    pub function_grace: Duration,
    /// Whether the text command `shutdown` is honoured from other machines too.
    pub remote_shutdown: bool,
    /// What the text command `version` answers.
    pub version: String,
    /// What the text command `verbose` answers, in gearmand's words (`ERROR`, `INFO`, …).
    pub verbose: String,
    /// What the text command `getpid` answers.
    pub pid: u32,
    /// Most jobs that wait, over all functions.
    pub max_waiting: Option<u64>,
    /// Most bytes of payload that wait, over all functions.
    pub max_waiting_bytes: Option<u64>,
    /// Most bytes all jobs together may take in memory; beyond it new jobs are answered QUEUE_ERROR. All functions
    /// together may take as much again; beyond it new ones are refused.
    pub max_memory: u64,
}

impl Settings {
    /// Longest handle prefix that leaves room for the colon and a number of 20 digits in 63 bytes.
    pub const MAX_HANDLE_PREFIX: usize = 42;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            handle_prefix: "H:gearhouse".into(),
            rules: Rules::default(),
            policies: Vec::new(),
            wake_per_job: 1,
            exceptions: false,
            max_unique: 1024,
            max_function_name: 8192,
            max_abilities: 100_000,
            max_functions: 1_000_000,
            function_grace: Duration::from_secs(600),
            remote_shutdown: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verbose: "INFO".to_owned(),
            pid: std::process::id(),
            max_waiting: None,
            max_waiting_bytes: None,
            max_memory: 4 << 30,
        }
    }
}
