//! All metrics, each with its name and help. What they mean at length: docs/metrics.md, which a test holds against this.

/// One family of metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    /// Without the endings that the formats ask for: `_total`, `_info`, `_bucket`, ….
    pub name: &'static str,
    pub help: &'static str,
}

macro_rules! names {
    ($($constant:ident = $name:literal, $help:literal;)*) => {
        $(pub(super) const $constant: Name = Name { name: $name, help: $help };)*
        /// All of them, for the test of the documentation.
        #[cfg(test)]
        pub(super) const ALL: &[Name] = &[$($constant),*];
    };
}

names! {
    // The names that exporters for gearmand use, unchanged.
    UP = "gearman_up", "Whether the server answers: always 1 on a page of its own";
    VERSION = "gearman_version", "The version of the server";
    JOBS = "gearman_jobs", "Jobs of the function that are not over: waiting and running";
    RUNNING = "gearman_jobs_running", "Jobs of the function that workers have";
    WAITING = "gearman_jobs_waiting", "Jobs of the function that no worker has: queued, scheduled and held";
    WORKERS = "gearman_workers", "Connections that registered the function";

    // One function's.
    FUNCTION_QUEUED = "gearhouse_function_jobs_queued", "Jobs of the function that may be handed out, by priority";
    FUNCTION_SCHEDULED = "gearhouse_function_jobs_scheduled", "Jobs of the function that are not due yet";
    FUNCTION_HELD = "gearhouse_function_jobs_held",
        "Jobs of the function that wait until an operator releases them";
    FUNCTION_OLDEST = "gearhouse_function_oldest_queued_age_seconds",
        "For how long the first job in the function's line could have been handed out";
    FUNCTION_PAUSED = "gearhouse_function_paused", "1 while nothing of the function is handed out, by its policy";
    FUNCTION_BOUND = "gearhouse_function_limit", "What the function's policy bounds, if it does";
    FUNCTION_LIMIT = "gearhouse_function_jobs_limit", "Most jobs that the function may have, by priority, if limited";
    FUNCTION_SUBMITTED = "gearhouse_function_jobs_submitted", "Jobs that were made";
    FUNCTION_COALESCED = "gearhouse_function_jobs_coalesced", "Submits that joined a job instead";
    FUNCTION_STARTED = "gearhouse_function_jobs_started", "Times that a job was handed to a worker";
    FUNCTION_SUCCEEDED = "gearhouse_function_jobs_succeeded", "Jobs that ended with WORK_COMPLETE";
    FUNCTION_FAILED = "gearhouse_function_jobs_failed", "Jobs that ended otherwise, by reason";
    FUNCTION_RETRIED = "gearhouse_function_jobs_retried",
        "Attempts that ended badly and whose jobs went back, by reason";
    FUNCTION_WAIT = "gearhouse_function_job_wait_seconds", "From when a job could first be handed out until it was";
    FUNCTION_RUN = "gearhouse_function_job_run_seconds",
        "From when a job was handed out until its worker ended or lost it";

    // The whole server's.
    FUNCTIONS = "gearhouse_functions", "Functions there are";
    NOT_SHOWN = "gearhouse_functions_not_shown", "Functions that have no series of their own here: there are too many";
    QUEUED = "gearhouse_jobs_queued", "Jobs that may be handed out, by priority";
    SCHEDULED = "gearhouse_jobs_scheduled", "Jobs that are not due yet";
    HELD = "gearhouse_jobs_held", "Jobs that wait until an operator releases them";
    ALL_RUNNING = "gearhouse_jobs_running", "Jobs that workers have";
    STORED_ONLY = "gearhouse_jobs_payload_on_disk", "Jobs whose payloads are on disk only";
    SCHEDULES = "gearhouse_schedules", "Recurring jobs";
    SUBMITTED = "gearhouse_jobs_submitted", "Jobs that were made";
    COALESCED = "gearhouse_jobs_coalesced", "Submits that joined a job instead";
    STARTED = "gearhouse_jobs_started", "Times that a job was handed to a worker";
    SUCCEEDED = "gearhouse_jobs_succeeded", "Jobs that ended with WORK_COMPLETE";
    FAILED = "gearhouse_jobs_failed", "Jobs that ended otherwise, by reason";
    RETRIED = "gearhouse_jobs_retried", "Attempts that ended badly and whose jobs went back, by reason";
    WAIT = "gearhouse_job_wait_seconds", "From when a job could first be handed out until it was";
    RUN = "gearhouse_job_run_seconds", "From when a job was handed out until its worker ended or lost it";
    CONNECTIONS = "gearhouse_connections", "Connections there are";
    DRAINING = "gearhouse_draining", "1 while the server takes no new jobs since it is about to end";

    MEMORY = "gearhouse_memory_bytes", "Memory by what it is for, as the server accounts for it";
    MEMORY_LIMIT = "gearhouse_memory_limit_bytes", "Memory of jobs beyond which new ones are refused";
    RESIDENT = "gearhouse_resident_memory_bytes", "Memory of the process, as the system counts it";

    STORE_READY = "gearhouse_store_ready", "1 if background jobs are taken, 0 if the disk is full or the store failed";
    STORE_GROUPS = "gearhouse_store_group_records", "Records that were made safe together, by one sync";
    STORE_BYTES = "gearhouse_store_bytes", "Bytes of the records that were made safe";
    STORE_SYNCING = "gearhouse_store_sync_seconds", "Time that it took to make them safe";

    HISTORY_UP = "gearhouse_history_up", "1 if the history file is written, 0 if it cannot be";
    HISTORY_WRITTEN = "gearhouse_history_entries_written", "Entries that were written to the history file";
    HISTORY_DROPPED = "gearhouse_history_entries_dropped", "Entries that could not be written to the history file";
    HISTORY_BYTES = "gearhouse_history_file_bytes", "Size of the history file";

    TRACES_UP = "gearhouse_traces_up", "1 if the collector of traces takes what it is sent, 0 if it does not";
    TRACES_SENT = "gearhouse_traces_spans_sent", "Spans that the collector took";
    TRACES_DROPPED = "gearhouse_traces_spans_dropped", "Spans that could not be sent";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_documented() {
        let document = include_str!("../../docs/metrics.md");
        let missing: Vec<&str> = ALL
            .iter()
            .map(|name| name.name)
            .filter(|name| {
                ["", "_total", "_info"].iter().all(|end| !document.contains(&format!("| `{name}{end}` |")))
            })
            .collect();
        assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
    }
}
