//! Windows dealt to devices: whoever is free takes the next ones, as many as it has memory for, and the answers
//! come in the order of the windows.
//!
//! Who answered, and with how many at once, changes nothing of the order and nothing of what is answered. A device that
//! runs out of memory is given fewer; one without memory for a single window goes, and the others take what it held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use cerb_engine::{Ctx, OpError};

/// Full batches that went well before one is doubled.
const STEADY: usize = 4;
/// How long a thread that waits goes without a look at whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What answers for windows: a GPU with its own network.
pub(super) trait Answers: Sync {
    /// What is looked at.
    type Window: Send;
    /// What is said of it.
    type Answer: Send;

    /// Returns what it is called in messages.
    fn name(&self) -> String;

    /// Answers for windows that go through together, in their order.
    fn answer(&self, windows: &[Self::Window]) -> Result<Vec<Self::Answer>, Trouble>;
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no memory for so many; the error is told when there is none for a single one.
    NoMemory(OpError),
    /// Anything else, which fewer windows would not change.
    Failed(OpError),
}

/// How many windows go through together: a power of two, which changes as memory is found or missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    now: usize,
    most: usize,
    steady: usize,
    shrunk: bool,
}

impl Batch {
    /// Begins with `first` and never takes more than `most`; both are rounded down to powers of two.
    pub(super) fn new(first: usize, most: usize) -> Self {
        let power = |count: usize| 1 << count.max(1).ilog2();
        let most = power(most);
        Self {
            now: power(first).min(most),
            most,
            steady: 0,
            shrunk: false,
        }
    }

    /// So many went well: after some full ones twice as many are tried.
    fn went_well(&mut self, count: usize) {
        self.steady += usize::from(count == self.now);
        if self.steady >= STEADY && self.now < self.most {
            (self.now, self.steady) = (2 * self.now, 0);
        }
    }

    /// So many were too many, and are never tried again; false when that was one.
    fn shrink(&mut self, count: usize) -> bool {
        if count <= 1 {
            return false;
        }
        // Half of the power of two at or above it: less than was tried, so this ends.
        self.now = count.next_power_of_two() / 2;
        (self.most, self.steady, self.shrunk) = (self.now, 0, true);
        true
    }
}

/// Looks at `count` windows with the devices; `read` brings windows by their numbers, `take` is given the answers in order.
pub(super) fn deal<D: Answers>(
    ctx: &mut Ctx,
    devices: Vec<(D, Batch)>,
    count: usize,
    read: impl Fn(&[usize]) -> Vec<Result<D::Window, OpError>> + Sync,
    mut take: impl FnMut(&mut Ctx, usize, D::Answer) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let stopped = ctx.stopper();
    let ahead = devices.iter().map(|(_, batch)| 2 * batch.most).sum();
    let table = Table::new(count, ahead, devices.len(), &stopped);
    let sizes: Vec<AtomicUsize> = devices
        .iter()
        .map(|(_, batch)| AtomicUsize::new(batch.now))
        .collect();
    let done = std::thread::scope(|scope| {
        // Whatever ends the taking ends the work.
        let _end = End(&table);
        for ((device, batch), size) in devices.iter().zip(&sizes) {
            let (table, read) = (&table, &read);
            // Nothing waits in between: one batch is looked at while the next is read.
            let (send, receive) = sync_channel(0);
            scope.spawn(move || {
                let _end = EndOnPanic(table);
                fetch(table, size, read, &send);
            });
            scope.spawn(move || {
                let _end = EndOnPanic(table);
                work(table, size, device, *batch, &receive);
            });
        }
        for at in 0..count {
            let (answer, notes) = table.take(at);
            notes.into_iter().for_each(|note| ctx.note(note));
            take(ctx, at, answer?)?;
            ctx.progress(at as u64 + 1, count as u64, "patch");
        }
        Ok(())
    });
    table.notes().into_iter().for_each(|note| ctx.note(note));
    done
}

/// Windows and their numbers.
struct Run<W> {
    numbers: Vec<usize>,
    windows: Vec<W>,
}

/// Reads for one device what it is to look at next.
fn fetch<W, A>(
    table: &Table<A>,
    size: &AtomicUsize,
    read: impl Fn(&[usize]) -> Vec<Result<W, OpError>>,
    send: &SyncSender<Run<W>>,
) {
    while let Some(numbers) = table.claim(size.load(Ordering::Relaxed)) {
        let mut run = Run {
            numbers: Vec::new(),
            windows: Vec::new(),
        };
        for (at, window) in numbers.iter().copied().zip(read(&numbers)) {
            match window {
                Ok(window) => {
                    run.numbers.push(at);
                    run.windows.push(window);
                }
                Err(error) => table.put(at, Err(error)),
            }
        }
        if let Err(unsent) = send.send(run) {
            // The device has gone.
            return table.give_back(unsent.0.numbers);
        }
    }
}

/// Answers on one device for what is read for it.
fn work<D: Answers>(
    table: &Table<D::Answer>,
    size: &AtomicUsize,
    device: &D,
    mut batch: Batch,
    runs: &Receiver<Run<D::Window>>,
) {
    let mut told = false;
    for run in runs {
        let (mut numbers, mut windows) = (run.numbers.as_slice(), run.windows.as_slice());
        while !windows.is_empty() {
            if table.is_over() {
                return;
            }
            let count = batch.now.min(windows.len());
            match device.answer(&windows[..count]) {
                Ok(answers) if answers.len() == count => {
                    let answered = numbers.iter().copied().zip(answers);
                    answered.for_each(|(at, answer)| table.put(at, Ok(answer)));
                    (numbers, windows) = (&numbers[count..], &windows[count..]);
                    batch.went_well(count);
                    if batch.shrunk && !told {
                        told = true;
                        table.note(format!(
                            "{} ran out of memory and goes on with {} at once",
                            device.name(),
                            windows_of(batch.most)
                        ));
                    }
                }
                Ok(answers) => {
                    let error = format!("{} answers for {count} windows", answers.len());
                    return table.fail(numbers[0], OpError::Operator(error));
                }
                Err(Trouble::NoMemory(error)) => {
                    if !batch.shrink(count) {
                        return table.leave(&device.name(), numbers, error);
                    }
                }
                Err(Trouble::Failed(error)) => return table.fail(numbers[0], error),
            }
            size.store(batch.now, Ordering::Relaxed);
        }
    }
}

fn windows_of(count: usize) -> String {
    match count {
        1 => "1 window".to_owned(),
        many => format!("{many} windows"),
    }
}

/// What is to be looked at, by whom all ask and to whom all answer.
struct Table<'a, A> {
    state: Mutex<State<A>>,
    changed: Condvar,
    count: usize,
    /// How many windows may be under way beyond the next that is taken: a bound on memory.
    ahead: usize,
    stopped: &'a (dyn Fn() -> bool + Sync),
}

struct State<A> {
    /// The next window that nobody has claimed, and how many answers were taken.
    next: usize,
    taken: usize,
    /// What devices held that went.
    returned: BTreeSet<usize>,
    done: BTreeMap<usize, Result<A, OpError>>,
    answered: usize,
    devices: usize,
    /// Why the last device went.
    left: Option<OpError>,
    notes: Vec<String>,
    over: bool,
}

impl<'a, A> Table<'a, A> {
    fn new(
        count: usize,
        ahead: usize,
        devices: usize,
        stopped: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let state = State {
            next: 0,
            taken: 0,
            returned: BTreeSet::new(),
            done: BTreeMap::new(),
            answered: 0,
            devices,
            left: None,
            notes: Vec::new(),
            over: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            count,
            ahead,
            stopped,
        }
    }

    /// Waits until `ready` gives something; nothing when all is over or to be stopped.
    fn wait<R>(&self, mut ready: impl FnMut(&mut State<A>) -> Option<R>) -> Option<R> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = ready(&mut state) {
                return Some(found);
            }
            if state.over || (self.stopped)() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tell<R>(&self, change: impl FnOnce(&mut State<A>) -> R) -> R {
        let changed = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        changed
    }

    /// Takes up to `most` windows to look at, first what others gave back; nothing when none is left.
    fn claim(&self, most: usize) -> Option<Vec<usize>> {
        let claimed = self.wait(|state| {
            if state.over || (self.stopped)() || state.answered == self.count {
                return Some(None);
            }
            if !state.returned.is_empty() {
                let first: Vec<usize> = state.returned.iter().copied().take(most).collect();
                state.returned.retain(|at| !first.contains(at));
                return Some(Some(first));
            }
            // Others may still give back what they hold.
            let whole = most.min(self.count - state.next);
            if whole == 0 || state.next + whole > state.taken + self.ahead {
                return None;
            }
            state.next += whole;
            Some(Some((state.next - whole..state.next).collect()))
        });
        claimed.flatten()
    }

    fn put(&self, at: usize, answer: Result<A, OpError>) {
        self.tell(|state| {
            state.answered += 1;
            state.done.insert(at, answer);
        });
    }

    fn give_back(&self, numbers: Vec<usize>) {
        self.tell(|state| state.returned.extend(numbers));
    }

    /// A device goes, and gives back what it holds.
    fn leave(&self, name: &str, numbers: &[usize], error: OpError) {
        self.tell(|state| {
            state.devices -= 1;
            state.returned.extend(numbers);
            if state.devices > 0 {
                state.notes.push(format!(
                    "{name} has no memory for one window: the other GPUs go on without it"
                ));
            }
            state.left = Some(error);
        });
    }

    /// A device fails at a window, and goes: nobody is to wait for it.
    fn fail(&self, at: usize, error: OpError) {
        self.tell(|state| {
            state.devices -= 1;
            state.left.get_or_insert(error.clone());
            state.answered += 1;
            state.done.insert(at, Err(error));
        });
    }

    fn note(&self, note: String) {
        self.tell(|state| state.notes.push(note));
    }

    fn notes(&self) -> Vec<String> {
        self.tell(|state| std::mem::take(&mut state.notes))
    }

    fn is_over(&self) -> bool {
        self.tell(|state| state.over)
    }

    /// Waits for an answer, and for what was noted until then.
    fn take(&self, at: usize) -> (Result<A, OpError>, Vec<String>) {
        let answer = self.wait(|state| {
            let done = state.done.remove(&at);
            done.or_else(|| match state.devices {
                0 => state.left.take().map(Err),
                _ => None,
            })
        });
        self.tell(|state| state.taken = at + 1);
        (answer.unwrap_or(Err(OpError::Cancelled)), self.notes())
    }
}

/// Ends the work when it goes.
struct End<'a, A>(&'a Table<'a, A>);

impl<A> Drop for End<'_, A> {
    fn drop(&mut self) {
        self.0.tell(|state| state.over = true);
    }
}

/// Ends the work when its thread panics, so that nobody waits for what it will not give.
struct EndOnPanic<'a, A>(&'a Table<'a, A>);

impl<A> Drop for EndOnPanic<'_, A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.tell(|state| state.over = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;
    use std::sync::{Arc, Barrier};

    /// A device that squares numbers, as long as it has memory for them.
    struct Fake {
        /// How many it has memory for at once; it shrinks by `leaks` with every call.
        room: AtomicUsize,
        leaks: usize,
        slow: Duration,
        fails_at: Option<usize>,
        /// Where it waits for the others when it is first asked.
        meets: Option<Arc<Barrier>>,
        asked: Mutex<Vec<usize>>,
    }

    impl Fake {
        fn with_room(room: usize) -> Self {
            Self {
                room: AtomicUsize::new(room),
                leaks: 0,
                slow: Duration::ZERO,
                fails_at: None,
                meets: None,
                asked: Mutex::default(),
            }
        }
    }

    impl Answers for &Fake {
        type Window = usize;
        type Answer = usize;

        fn name(&self) -> String {
            "GPU 7 (fake)".to_owned()
        }

        fn answer(&self, windows: &[usize]) -> Result<Vec<usize>, Trouble> {
            let first = {
                let mut asked = self.asked.lock().unwrap();
                asked.push(windows.len());
                asked.len() == 1
            };
            if let (true, Some(others)) = (first, &self.meets) {
                others.wait();
            }
            std::thread::sleep(self.slow);
            let room = self.room.load(Ordering::SeqCst);
            self.room
                .store(room.saturating_sub(self.leaks), Ordering::SeqCst);
            if windows.len() > room {
                return Err(Trouble::NoMemory(OpError::Resources("no room".into())));
            }
            match self.fails_at {
                Some(at) if windows.contains(&at) => {
                    Err(Trouble::Failed(OpError::Operator("broken".into())))
                }
                _ => Ok(windows.iter().map(|&window| window * window).collect()),
            }
        }
    }

    fn read(numbers: &[usize]) -> Vec<Result<usize, OpError>> {
        numbers.iter().copied().map(Ok).collect()
    }

    /// Deals `count` windows and returns how it ended, what was taken and what was noted.
    fn dealt(
        devices: &[(&Fake, Batch)],
        count: usize,
    ) -> (Result<(), OpError>, Vec<usize>, Vec<String>) {
        let (_dir, store) = store();
        let mut ctx = Ctx::detached(&store);
        let mut taken = Vec::new();
        let ended = deal(&mut ctx, devices.to_vec(), count, read, |_, at, answer| {
            assert_eq!(at, taken.len());
            taken.push(answer);
            Ok(())
        });
        (ended, taken, ctx.notes().to_vec())
    }

    fn squares(count: usize) -> Vec<usize> {
        (0..count).map(|at| at * at).collect()
    }

    #[test]
    fn a_batch_halves_when_it_is_too_large_and_never_tries_that_many_again() {
        let mut batch = Batch::new(20, 100);
        assert_eq!((batch.now, batch.most), (16, 64));
        assert!(batch.shrink(16));
        assert_eq!((batch.now, batch.most), (8, 8));
        for _ in 0..100 {
            batch.went_well(8);
        }
        assert_eq!(batch.now, 8);
        // A part of a batch says as much about all that are larger.
        assert!(batch.shrink(3));
        assert_eq!(batch.now, 2);
        assert!(batch.shrink(2) && !batch.shrink(1));
    }

    #[test]
    fn a_batch_doubles_when_full_ones_went_well() {
        let mut batch = Batch::new(1, 4);
        let mut seen = Vec::new();
        for _ in 0..4 * STEADY {
            seen.push(batch.now);
            batch.went_well(batch.now);
        }
        assert_eq!(seen.iter().filter(|&&now| now == 1).count(), STEADY);
        assert_eq!((batch.now, batch.most), (4, 4));
        let mut batch = Batch::new(2, 4);
        (0..100).for_each(|_| batch.went_well(1));
        assert_eq!(batch.now, 2);
    }

    #[test]
    fn one_that_fails_and_one_without_room_end_the_work() {
        let mut broken = Fake::with_room(4);
        broken.fails_at = Some(6);
        let small = Fake::with_room(0);
        let [broken, small] = meeting([broken, small]);
        let devices = [(&small, Batch::new(2, 2)), (&broken, Batch::new(2, 2))];
        let (ended, taken, _) = dealt(&devices, 40);
        assert!(ended.is_err() && taken.len() < 40, "{ended:?}");
    }

    #[test]
    fn answers_come_in_the_order_of_the_windows_whoever_gave_them() {
        for count in [0, 1, 7, 100] {
            let mut slow = Fake::with_room(8);
            slow.slow = Duration::from_millis(3);
            let quick = Fake::with_room(8);
            let devices = [(&slow, Batch::new(2, 2)), (&quick, Batch::new(8, 8))];
            let (ended, taken, notes) = dealt(&devices, count);
            assert_eq!((ended, taken, notes.len()), (Ok(()), squares(count), 0));
        }
    }

    /// Lets each of two devices answer only when both were asked.
    fn meeting(mut devices: [Fake; 2]) -> [Fake; 2] {
        let barrier = Arc::new(Barrier::new(2));
        for device in &mut devices {
            device.meets = Some(Arc::clone(&barrier));
        }
        devices
    }

    #[test]
    fn every_device_is_given_work() {
        // Where one were given all, the other would be waited for in vain.
        let [one, two] = &meeting([Fake::with_room(8), Fake::with_room(8)]);
        let devices = [(one, Batch::new(1, 1)), (two, Batch::new(1, 1))];
        let (ended, taken, _) = dealt(&devices, 40);
        assert_eq!((ended, taken), (Ok(()), squares(40)));
        let asked = |fake: &Fake| fake.asked.lock().unwrap().len();
        assert_eq!(asked(one) + asked(two), 40);
    }

    #[test]
    fn a_device_out_of_memory_goes_on_with_fewer_and_that_is_said_once() {
        let small = Fake::with_room(3);
        let (ended, taken, notes) = dealt(&[(&small, Batch::new(16, 16))], 50);
        assert_eq!((ended, taken), (Ok(()), squares(50)));
        assert_eq!(
            notes,
            ["GPU 7 (fake) ran out of memory and goes on with 2 windows at once"]
        );
        let asked = small.asked.lock().unwrap();
        assert_eq!(asked[..3], [16, 8, 4]);
        assert!(asked[3..].iter().all(|&count| count <= 2), "{asked:?}");
    }

    #[test]
    fn a_device_whose_memory_goes_away_comes_to_an_end() {
        let mut leaking = Fake::with_room(64);
        leaking.leaks = 1;
        let (ended, taken, _) = dealt(&[(&leaking, Batch::new(64, 64))], 100_000);
        assert_eq!(ended, Err(OpError::Resources("no room".into())));
        assert_eq!(taken, squares(taken.len()));
        assert!(leaking.asked.lock().unwrap().len() < 100);
    }

    #[test]
    fn a_device_without_memory_for_one_window_goes_and_the_others_do_its_work() {
        let [none, some] = &meeting([Fake::with_room(0), Fake::with_room(4)]);
        let devices = [(none, Batch::new(8, 8)), (some, Batch::new(4, 4))];
        let (ended, taken, notes) = dealt(&devices, 60);
        assert_eq!((ended, taken), (Ok(()), squares(60)));
        assert_eq!(
            notes,
            ["GPU 7 (fake) has no memory for one window: the other GPUs go on without it"]
        );
    }

    #[test]
    fn when_no_device_has_memory_the_reason_is_told() {
        let (one, two) = (Fake::with_room(0), Fake::with_room(0));
        let (ended, taken, _) = dealt(&[(&one, Batch::new(8, 8)), (&two, Batch::new(8, 8))], 60);
        assert_eq!(ended, Err(OpError::Resources("no room".into())));
        assert!(taken.is_empty());
    }

    #[test]
    fn a_failure_ends_the_work_in_its_place() {
        let mut broken = Fake::with_room(4);
        broken.fails_at = Some(9);
        let (ended, taken, _) = dealt(&[(&broken, Batch::new(1, 1))], 60);
        assert_eq!(ended, Err(OpError::Operator("broken".into())));
        assert_eq!(taken, squares(9));
    }

    #[test]
    fn a_window_that_cannot_be_read_fails_in_its_place() {
        let (_dir, store) = store();
        let mut ctx = Ctx::detached(&store);
        let torn = |numbers: &[usize]| {
            let window = |&at: &usize| match at {
                5 => Err(OpError::Input("torn".into())),
                _ => Ok(at),
            };
            numbers.iter().map(window).collect()
        };
        let mut last = None;
        let whole = Fake::with_room(4);
        let devices = vec![(&whole, Batch::new(4, 4))];
        let ended = deal(&mut ctx, devices, 20, torn, |_, at, _| {
            last = Some(at);
            Ok(())
        });
        assert_eq!((ended, last), (Err(OpError::Input("torn".into())), Some(4)));
    }

    #[test]
    fn a_refusal_to_take_ends_the_work() {
        let (_dir, store) = store();
        let mut ctx = Ctx::detached(&store);
        let whole = Fake::with_room(4);
        let devices = vec![(&whole, Batch::new(4, 4))];
        let ended = deal(&mut ctx, devices, 1000, read, |_, at, _| match at {
            3 => Err(OpError::Input("full".into())),
            _ => Ok(()),
        });
        assert_eq!(ended, Err(OpError::Input("full".into())));
        assert!(whole.asked.lock().unwrap().len() < 20);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_at_work_is_no_hang() {
        let (_dir, store) = store();
        let broken = |numbers: &[usize]| -> Vec<Result<usize, OpError>> {
            assert!(!numbers.contains(&6), "broken");
            read(numbers)
        };
        let whole = Fake::with_room(4);
        let devices = vec![(&whole, Batch::new(2, 2))];
        let _ = deal(
            &mut Ctx::detached(&store),
            devices,
            50,
            broken,
            |_, _, _| Ok(()),
        );
    }
}
