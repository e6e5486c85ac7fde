//! Values that are read while they are made: a reader waits for parts, and goes over to the whole when it is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::hold;
use crate::{Parts, Pieces, Store, StoreError, Stored};

/// Longest sleep, so that a reader that is to stop notices.
const TICK: Duration = Duration::from_millis(50);

/// How an action that makes a growing value stands; shared by it and its readers.
#[derive(Debug, Default)]
pub struct Growth {
    end: Mutex<Option<Option<BTreeMap<String, Stored>>>>,
    changed: Condvar,
}

impl Growth {
    /// Wakes the readers: a part was kept.
    pub fn tell(&self) {
        // A reader between its look and its sleep holds the lock.
        drop(hold(&self.end));
        self.changed.notify_all();
    }

    /// Says that the action has ended: with these outputs, or with nothing. The first end counts.
    pub fn end(&self, outputs: Option<BTreeMap<String, Stored>>) {
        hold(&self.end).get_or_insert(outputs);
        self.changed.notify_all();
    }
}

/// What there is of a growing value.
#[derive(Debug, Clone)]
pub enum Grown {
    /// The part that was asked for.
    Part(Pieces),
    /// All of it: its parts are not asked for any more.
    Whole(Stored),
}

/// A value that is still being made, as a reader sees it.
#[derive(Clone)]
pub struct Growing {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    growth: Arc<Growth>,
    port: String,
    parts: Parts,
    stopped: Box<dyn Fn() -> bool + Send + Sync>,
    waits: Mutex<Waits>,
}

/// The time in which any thread of a reader waited.
#[derive(Default)]
struct Waits {
    /// Threads that wait, and since when there is one.
    now: Option<(usize, Instant)>,
    before: Duration,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Growing")
            .field("parts", &self.inner.parts)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Growing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Growing {
    /// Gives what stands at a port of the action whose parts these are; `stopped` says when not to wait any more.
    pub fn new(
        store: &Store,
        growth: Arc<Growth>,
        port: &str,
        parts: Parts,
        stopped: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let inner = Inner {
            store: store.clone(),
            growth,
            port: port.to_owned(),
            parts,
            stopped: Box::new(stopped),
            waits: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Gives the store that holds it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Says whether its action has ended, so that nothing is gained by reading along.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        hold(&self.inner.growth.end).is_some()
    }

    /// Returns how long its reader has waited: the time in which any of its threads did.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let waits = hold(&self.inner.waits);
        waits.before
            + waits
                .now
                .map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// Waits for a part, or for the whole.
    ///
    /// An error when its action ended with nothing, and when the reader is to stop.
    pub fn wait(&self, name: &str) -> Result<Grown, StoreError> {
        loop {
            if let Some(part) = self.inner.parts.get(name, &[])? {
                return Ok(Grown::Part(part));
            }
            if let Some(whole) = self.sleep()? {
                return Ok(Grown::Whole(whole));
            }
        }
    }

    /// Waits for the whole.
    pub fn whole(&self) -> Result<Stored, StoreError> {
        loop {
            if let Some(whole) = self.sleep()? {
                return Ok(whole);
            }
        }
    }

    /// Sleeps until something was told, or for a moment; gives the whole once it is there.
    fn sleep(&self) -> Result<Option<Stored>, StoreError> {
        let Inner {
            growth,
            port,
            stopped,
            ..
        } = &*self.inner;
        let mut end = hold(&growth.end);
        if end.is_none() {
            self.begin_wait();
            let waited = growth.changed.wait_timeout(end, TICK);
            end = waited.unwrap_or_else(PoisonError::into_inner).0;
            self.end_wait();
        }
        let nothing = |why: &str| Err(StoreError::artifact("growing value", why));
        match &*end {
            Some(Some(outputs)) => match outputs.get(port) {
                Some(whole) => Ok(Some(whole.clone())),
                None => nothing("what was to make it gave nothing"),
            },
            Some(None) => nothing("what was to make it has failed"),
            None if stopped() => nothing("its reader is to stop"),
            None => Ok(None),
        }
    }

    fn begin_wait(&self) {
        let mut waits = hold(&self.inner.waits);
        let (threads, since) = waits.now.unwrap_or((0, Instant::now()));
        waits.now = Some((threads + 1, since));
    }

    fn end_wait(&self) {
        let mut waits = hold(&self.inner.waits);
        match waits.now {
            Some((threads @ 2.., since)) => waits.now = Some((threads - 1, since)),
            Some((_, since)) => {
                waits.before += since.elapsed();
                waits.now = None;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn parts(store: &Store, growth: &Arc<Growth>) -> Parts {
        let growth = Arc::clone(growth);
        let tell = move || growth.tell();
        Parts::new(store, Digest::of(b"toy 1"), Digest::of(b"action"), tell)
    }

    #[test]
    fn a_reader_gets_each_part_when_it_is_made_and_then_the_whole() {
        let (_dir, store) = store();
        let growth = Arc::new(Growth::default());
        let writer = parts(&store, &growth);
        let reader = Growing::new(
            &store,
            Arc::clone(&growth),
            "y",
            parts(&store, &growth),
            || false,
        );
        let blob = store.put_bytes(b"1").unwrap();
        let whole = Stored::blob("File", blob, BTreeMap::new());
        std::thread::scope(|scope| {
            let told = scope.spawn(|| {
                let Grown::Part(part) = reader.wait("1").unwrap() else {
                    panic!("the whole came first")
                };
                assert_eq!(part["a"], blob);
                match reader.wait("2").unwrap() {
                    Grown::Whole(stored) => stored,
                    Grown::Part(_) => panic!("there is no second part"),
                }
            });
            std::thread::sleep(Duration::from_millis(20));
            let piece = Pieces::from([("a".to_owned(), blob)]);
            writer.keep("1", &[], piece).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            growth.end(Some(BTreeMap::from([("y".to_owned(), whole.clone())])));
            assert_eq!(told.join().unwrap(), whole);
        });
    }

    #[test]
    fn nobody_waits_for_what_will_not_come() {
        let (_dir, store) = store();
        let growth = Arc::new(Growth::default());
        let stop = Arc::new(AtomicBool::new(true));
        let stopped = Arc::clone(&stop);
        let reader = Growing::new(
            &store,
            Arc::clone(&growth),
            "y",
            parts(&store, &growth),
            move || stopped.load(Ordering::SeqCst),
        );
        assert!(reader.wait("1").is_err(), "it was told to stop");
        let waited = reader.waited();
        assert!(waited > Duration::ZERO);
        stop.store(false, Ordering::SeqCst);
        growth.end(None);
        assert!(reader.wait("1").is_err() && reader.whole().is_err());
        assert_eq!(reader.waited(), waited, "there was nothing to wait for");
        // The first end counts.
        growth.end(Some(BTreeMap::new()));
        assert!(reader.whole().is_err());
    }
}
