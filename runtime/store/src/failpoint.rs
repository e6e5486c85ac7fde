//! Points at which a test may end the process or fail a write, to prove the crash rules on the real program.
//!
//! `CERB_FAILPOINT=blob.sealed` ends the process as `kill -9` would when it gets there,
//! `blob.sealed#3` the third time, and `blob.sealed=full` makes the step fail as on a full disk.
//! Without the variable a point costs one atomic load, so the program that is shipped is the one tested.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Armed {
    name: String,
    at: u64,
    full: bool,
    seen: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn parse(text: &str) -> Option<Armed> {
    let (text, full) = match text.strip_suffix("=full") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (name, at) = match text.split_once('#') {
        Some((name, at)) => (name, at.parse().ok()?),
        None => (text, 1),
    };
    (!name.is_empty()).then(|| Armed {
        name: name.to_string(),
        at,
        full,
        seen: AtomicU64::new(0),
    })
}

/// Says whether a kind of fault is asked for, every time: `CERB_FAILPOINT=lock.none` is a filesystem without locks.
pub fn is_armed(class: &str, step: &str) -> bool {
    armed().is_some_and(|armed| armed.name.split_once('.') == Some((class, step)))
}

fn armed() -> Option<&'static Armed> {
    let armed = ARMED.get_or_init(|| {
        std::env::var("CERB_FAILPOINT")
            .ok()
            .as_deref()
            .and_then(parse)
    });
    armed.as_ref()
}

/// Passes a point; `class` and `step` together are its name.
pub fn reach(class: &str, step: &str) -> io::Result<()> {
    let Some(armed) = armed() else { return Ok(()) };
    if armed.name.split_once('.') != Some((class, step)) {
        return Ok(());
    }
    if armed.seen.fetch_add(1, Ordering::SeqCst) + 1 != armed.at {
        return Ok(());
    }
    if armed.full {
        return Err(io::ErrorKind::StorageFull.into());
    }
    crate::system::die()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_named_counted_and_may_fail_instead_of_ending() {
        let read = |text| parse(text).map(|armed| (armed.name, armed.at, armed.full));
        assert_eq!(read("blob.sealed"), Some(("blob.sealed".into(), 1, false)));
        assert_eq!(
            read("blob.sealed#3"),
            Some(("blob.sealed".into(), 3, false))
        );
        assert_eq!(
            read("tree.created#2=full"),
            Some(("tree.created".into(), 2, true))
        );
        assert_eq!(read(""), None);
        assert_eq!(read("blob.sealed#x"), None);
    }

    #[test]
    fn nothing_happens_at_a_point_that_is_not_armed() {
        assert!(reach("blob", "no such step").is_ok());
    }
}
