//! What a server's process has used.

use std::io;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Processor time of all threads of a process so far, to the nanosecond.
pub fn processor_time(pid: u32) -> io::Result<Duration> {
    // Zero would be this process.
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(io::ErrorKind::NotFound)?;
    Ok(clock_gettime(clock_getcpuclockid(Pid::from_raw(pid))?)?.into())
}
