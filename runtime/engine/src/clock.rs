//! Processor time, where the system tells it.

use rustix::time::{ClockId, clock_gettime};

/// Returns the milliseconds of processor time this thread has used.
pub(crate) fn thread_cpu_ms() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// Returns the milliseconds of processor time this process has used, all threads together.
pub(crate) fn process_cpu_ms() -> u64 {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let millis = time
        .tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}
