//! What a run uses of memory and disk, measured while it goes on.

use std::time::{Duration, Instant};

use cerb_store::Store;
use serde::{Deserialize, Serialize};

/// Least time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// When the first look is, so that short runs have one too.
const FIRST: Duration = Duration::from_millis(100);
/// A look that took long is not repeated before so many times as long have passed.
const PATIENCE: u32 = 50;

/// What a run used, in bytes; nothing where it could not be measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// Largest resident memory of this process while the run went on.
    pub memory: Option<u64>,
    /// Largest resident memory of a single program that the run started.
    pub programs: Option<u64>,
    /// Bytes that were not in the store before.
    pub stored: Option<u64>,
    /// Largest size of the staging folder, as seen once a second.
    pub scratch: Option<u64>,
    /// Bytes put at the paths of outputs.
    pub published: Option<u64>,
}

/// Looks now and then while a run goes on.
pub(crate) struct Gauge {
    next: Instant,
    /// Peak of the process when the run began.
    peak_before: Option<u64>,
    programs_before: Option<u64>,
    stored_before: u64,
    resident: Option<u64>,
    scratch: Option<u64>,
    pub published: u64,
}

impl Gauge {
    /// Starts.
    pub fn start(store: &Store) -> Gauge {
        let (peak_before, resident) = memory();
        Gauge {
            next: Instant::now() + FIRST,
            peak_before,
            programs_before: programs(),
            stored_before: store.stored_bytes(),
            resident,
            scratch: None,
            published: 0,
        }
    }

    /// Looks, when it is time.
    pub fn look(&mut self, store: &Store) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.resident = self.resident.max(memory().1);
        self.scratch = self.scratch.max(Some(store.staged_bytes()));
        self.next = Instant::now() + EVERY.max(now.elapsed() * PATIENCE);
    }

    /// Returns what was used.
    pub fn end(&self, store: &Store) -> Used {
        let (peak, resident) = memory();
        // The kernel keeps one peak for the whole life of the process. It is the run's when it rose
        // meanwhile; else the run stayed below it, and what was seen is as much as is known.
        // (It could be reset, but then whoever measures this process from outside would be misled.)
        let memory = match peak > self.peak_before {
            true => peak,
            false => self.resident.max(resident),
        };
        Used {
            memory,
            programs: programs().filter(|_| programs() > self.programs_before),
            stored: Some(store.stored_bytes().saturating_sub(self.stored_before)),
            scratch: self.scratch,
            published: Some(self.published),
        }
    }
}

/// Returns the peak of this process and what it holds now, where the system tells.
fn memory() -> (Option<u64>, Option<u64>) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes * 1024)
    };
    (field("VmHWM:"), field("VmRSS:"))
}

/// Returns the peak of the largest program that this process has started and seen end.
#[cfg(target_os = "linux")]
fn programs() -> Option<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `getrusage` writes the one struct, which lives here; all-zero bytes are a valid one,
    // so it may be read even when the call fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let kibibytes = u64::try_from(usage.ru_maxrss).ok()?;
    (kibibytes > 0).then_some(kibibytes * 1024)
}

/// Nothing where it is counted otherwise.
#[cfg(not(target_os = "linux"))]
fn programs() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_held_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let gauge = Gauge::start(&store);
        let held = std::hint::black_box(vec![1_u8; 200 << 20]);
        let used = gauge.end(&store);
        assert!(used.memory.unwrap() >= 200 << 20, "{used:?}");
        drop(held);
    }

    #[test]
    fn what_is_stored_is_counted_once_and_staging_while_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut gauge = Gauge::start(&store);
        gauge.next = Instant::now();
        let scratch = store.scratch().unwrap();
        std::fs::write(scratch.path().join("x"), [0; 5000]).unwrap();
        gauge.look(&store);
        drop(scratch);
        store.put_bytes(&[7; 3000]).unwrap();
        store.put_bytes(&[7; 3000]).unwrap();
        let used = gauge.end(&store);
        assert_eq!((used.stored, used.scratch), (Some(3000), Some(5000)));
    }
}
