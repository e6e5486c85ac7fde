//! Time by the clock and of the processor.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Measures what something takes by the clock and of the whole process.
pub(crate) struct Stopwatch {
    began: Instant,
    cpu_ms: u64,
}

impl Stopwatch {
    /// Starts.
    pub fn start() -> Stopwatch {
        Stopwatch {
            began: Instant::now(),
            cpu_ms: process_cpu_ms(),
        }
    }

    /// Returns the milliseconds since the start.
    pub fn wall_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// Returns the milliseconds of processor time since the start.
    pub fn cpu_ms(&self) -> u64 {
        process_cpu_ms().saturating_sub(self.cpu_ms)
    }
}

/// Returns whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the milliseconds of processor time this thread has used.
pub(crate) fn thread_cpu_ms() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// Returns the milliseconds of processor time this process has used, all threads together.
fn process_cpu_ms() -> u64 {
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
