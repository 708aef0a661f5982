//! Where Gearhouse answers otherwise than gearmand did when the dialogues were recorded.

/// One step of one dialogue. The W numbers are those of docs/compatibility.md.
#[derive(Debug)]
pub struct Difference {
    pub dialogue: &'static str,
    /// Counted from 0.
    pub step: usize,
    pub instead: Instead,
    pub why: &'static str,
}

/// What Gearhouse does at that step.
#[derive(Debug)]
pub enum Instead {
    /// It answers this.
    Reply(&'static str),
    /// It stays silent.
    Nothing,
}

use Instead::{Nothing, Reply};

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        dialogue: "error_packets",
        step: 5,
        instead: Reply("\\x00RES\\x00\\x00\\x00\\x08{{size}}{{H1}}"),
        why: "SUBMIT_JOB_SCHED is implemented",
    },
    Difference {
        dialogue: "error_packets",
        step: 23,
        instead: Reply("\\x00RES\\x00\\x00\\x00\\x08{{size}}{{H2}}"),
        why: "a unique id may have up to 1024 bytes",
    },
    Difference {
        dialogue: "can_do_timeout_expiry",
        step: 7,
        instead: Nothing,
        why: "W30: an ERROR for a late result is fatal to worker libraries, so it is swallowed",
    },
    Difference {
        dialogue: "maxqueue",
        step: 3,
        instead: Reply("OK\\n"),
        why: "W25: Python's admin clients want exactly OK and a line feed",
    },
    Difference { dialogue: "maxqueue", step: 11, instead: Reply("OK\\n"), why: "W25, as above" },
    Difference { dialogue: "maxqueue", step: 21, instead: Reply("OK\\n"), why: "W25, as above" },
    Difference {
        dialogue: "wart_exception_without_option_has_trailing_nul",
        step: 6,
        instead: Reply("\\x00RES\\x00\\x00\\x00\\x0e{{size}}{{H1}}"),
        why: "W6: WORK_FAIL carries the bare handle, else clients do not know the job",
    },
    Difference {
        dialogue: "wart_exception_without_option_has_trailing_nul",
        step: 8,
        instead: Nothing,
        why: "W6: workers that send WORK_FAIL after WORK_EXCEPTION must not get an ERROR",
    },
    Difference {
        dialogue: "wart_coalesce_onto_abandoned_job",
        step: 4,
        instead: Reply("\\x00RES\\x00\\x00\\x00\\x08{{size}}{{H2}}"),
        why: "W5: a job nobody waits for is gone, so the second submit is a job of its own",
    },
    Difference {
        dialogue: "wart_coalesce_onto_abandoned_job",
        step: 7,
        instead: Reply("\\x00RES\\x00\\x00\\x00\\x0b{{size}}{{H2}}\\x00f\\x00y"),
        why: "W5, as above",
    },
    Difference {
        dialogue: "wart_background_job_lost_when_attached_client_leaves",
        step: 7,
        instead: Reply("\\x00RES\\x00\\x00\\x00\\x0b{{size}}{{H1}}\\x00f\\x00x"),
        why: "W4: a job that was promised to a background client outlives every other client",
    },
    Difference {
        dialogue: "wart_lost_wakeup_after_unanswered_noop",
        step: 13,
        instead: Reply("\\x00RES\\x00\\x00\\x00\\x06\\x00\\x00\\x00\\x00"),
        why: "W3: a worker that sleeps again can be woken again",
    },
    Difference {
        dialogue: "wart_unique_of_64_bytes_is_corrupted",
        step: 4,
        instead: Reply(
            "\\x00RES\\x00\\x00\\x00\\x1f{{size}}{{H1}}\\x00f\\x00\
             uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\\x00DATA",
        ),
        why: "W10: a unique id arrives as it was sent",
    },
    Difference {
        dialogue: "wart_create_function_drops_last_byte",
        step: 3,
        instead: Reply("abcd\\t0\\t0\\t0\\n.\\n"),
        why: "W14: a bare line feed ends a name as CR LF does",
    },
];
