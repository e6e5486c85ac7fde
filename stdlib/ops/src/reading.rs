//! What operators that read slides share: how slides fail, which parts to read at once,
//! and work over many parts by several threads.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use cerb_engine::{Ctx, OpError};
use cerb_image::{Mask, MaskGeometry, Rgb8, SlideFrame};
use cerb_slide::{Outside, ReadOptions, Resample, Slide, SlideError};

/// Source pixels, per side, that one read may touch: 4096² × 3 bytes are 50 MB.
const SOURCE_SIDE: f64 = 4096.0;

/// Turns a slide's error into an operator's: a file that cannot be read may be so next time, the rest is the slide.
pub(crate) fn slide_error(error: SlideError) -> OpError {
    match error {
        SlideError::Io { .. } => OpError::Infrastructure(error.to_string()),
        other => OpError::Input(other.to_string()),
    }
}

/// Refuses a mask of another slide than one of this size in level-0 pixels: it would be laid where nothing belongs.
pub(crate) fn same_slide(mask: Option<&Mask>, size: [u64; 2]) -> Result<(), OpError> {
    match mask.map(|mask| mask.geometry().slide) {
        Some(own) if own != size => Err(OpError::Input(format!(
            "the mask is of a slide of {} × {} px, and this one has {} × {} px",
            own[0], own[1], size[0], size[1]
        ))),
        _ => Ok(()),
    }
}

/// Refuses a mask of another slide.
pub(crate) fn fits(mask: Option<&Mask>, slide: &Slide) -> Result<(), OpError> {
    let info = slide.info();
    same_slide(mask, [info.width.into(), info.height.into()])
}

/// Writes bytes in GiB.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Returns what objects found on a slide say of it.
pub(crate) fn frame(slide: &Slide) -> Result<SlideFrame, OpError> {
    let info = slide.info();
    Ok(SlideFrame {
        width: info.width.into(),
        height: info.height.into(),
        digest: slide
            .content()
            .ok_or_else(|| OpError::Operator("this slide was not opened as an artifact".into()))?,
        mpp: slide.mpp().map_err(slide_error)?,
    })
}

/// Returns how regions are read: area resampling, white beyond the slide.
pub(crate) fn options(allow_upsample: bool) -> ReadOptions {
    ReadOptions {
        resample: Resample::Area,
        outside: Outside::White,
        allow_upsample,
    }
}

/// A part of a slide, in pixels at some resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Lists the squares of side `side` that cover `width × height`, row after row.
pub(crate) fn parts(width: u32, height: u32, side: u32) -> Vec<Part> {
    let side = side.max(1);
    let axis = |length: u32| {
        (0..length.div_ceil(side)).map(move |i| (i * side, side.min(length - i * side)))
    };
    axis(height)
        .flat_map(|(y, height)| {
            axis(width).map(move |(x, width)| Part {
                x,
                y,
                width,
                height,
            })
        })
        .collect()
}

/// Returns the side of the squares, at `mpp`, whose source pixels fit in memory at once.
pub(crate) fn side_at(slide: &Slide, mpp: f64) -> Result<u32, OpError> {
    let ratio = mpp / slide.mpp().map_err(slide_error)?;
    let levels = slide.info().levels.iter().map(|level| level.downsample);
    let nearest = levels
        .filter(|&downsample| downsample <= ratio * 1.01)
        .fold(1.0, f64::max);
    Ok((SOURCE_SIDE / (ratio / nearest).max(1.0)).clamp(16.0, SOURCE_SIDE) as u32)
}

/// Bounds what a slide keeps of decoded tiles by the memory of the action: a quarter of it.
pub(crate) fn bound(slide: &Slide, ctx: &Ctx) {
    slide.keep_at_most(ctx.memory() / 4);
}

/// Reads one part at a resolution.
pub(crate) fn read(slide: &Slide, mpp: f64, part: &Part) -> Result<Rgb8, OpError> {
    let (x, y) = (part.x.into(), part.y.into());
    slide
        .read_at(mpp, x, y, part.width, part.height, &options(false))
        .map_err(slide_error)
}

/// Returns where the pixels of a mask of a slide at a resolution lie.
pub(crate) fn geometry(slide: &Slide, mpp: f64) -> Result<MaskGeometry, OpError> {
    let info = slide.info();
    Ok(MaskGeometry {
        mpp,
        scale: slide.scale_at(mpp).map_err(slide_error)?,
        slide: [info.width.into(), info.height.into()],
    })
}

/// Lists the squares of side `side` that lie whole on a slide; all of it, when it is smaller than one.
pub(crate) fn whole_tiles(width: u32, height: u32, side: u32) -> Vec<Part> {
    let side = side.min(width).min(height);
    let axis = |length: u32| (0..length / side.max(1)).map(move |i| i * side);
    axis(height)
        .flat_map(|y| {
            axis(width).map(move |x| Part {
                x,
                y,
                width: side,
                height: side,
            })
        })
        .collect()
}

/// Takes at most `most`, as evenly as can be.
pub(crate) fn spread<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let taken = all.len().min(most);
    (0..taken).map(|i| all[i * all.len() / taken]).collect()
}

/// Says which pixels at some resolution lie under a mask that was made at a coarser one.
pub(crate) struct Under<'a> {
    mask: Option<&'a Mask>,
    scale: [f64; 2],
}

impl<'a> Under<'a> {
    /// `scale` is the level-0 pixels per pixel; without a mask every pixel counts.
    pub(crate) fn new(mask: Option<&'a Mask>, scale: [f64; 2]) -> Self {
        Self { mask, scale }
    }

    /// Says whether the pixel's centre lies on the mask.
    pub(crate) fn holds(&self, x: i64, y: i64) -> bool {
        self.mask.is_none_or(|mask| {
            let at = |v: i64, axis: usize| {
                ((v as f64 + 0.5) * self.scale[axis] / mask.geometry().scale[axis]).floor()
            };
            let (x, y) = (at(x, 0), at(y, 1));
            x >= 0.0 && y >= 0.0 && mask.get(x as u32, y as u32)
        })
    }

    /// Says whether any pixel of a part may lie on the mask.
    pub(crate) fn any(&self, part: Part) -> bool {
        self.mask.is_none_or(|mask| {
            let at =
                |v: u32, axis: usize| f64::from(v) * self.scale[axis] / mask.geometry().scale[axis];
            let (x0, y0) = (at(part.x, 0).floor() as u32, at(part.y, 1).floor() as u32);
            let (x1, y1) = (
                at(part.x + part.width, 0).ceil() as u32,
                at(part.y + part.height, 1).ceil() as u32,
            );
            mask.any_in(x0, y0, x1, y1)
        })
    }
}

/// Works on each item with the threads this action may use, and takes the results in
/// the order of the items; reports progress and stops when told to.
pub(crate) fn each<I: Sync, T: Send>(
    ctx: &mut Ctx,
    items: &[I],
    unit: &str,
    work: impl Fn(&I) -> Result<T, OpError> + Sync,
    take: impl FnMut(&mut Ctx, T) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let threads = ctx.threads();
    each_by(threads, ctx, items, unit, work, take)
}

/// As [`each`], with a number of threads of its own.
pub(crate) fn each_by<I: Sync, T: Send>(
    threads: usize,
    ctx: &mut Ctx,
    items: &[I],
    unit: &str,
    work: impl Fn(&I) -> Result<T, OpError> + Sync,
    mut take: impl FnMut(&mut Ctx, T) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let stopped = ctx.stopper();
    let queue = Queue::new(items.len(), 2 * threads);
    std::thread::scope(|scope| {
        // Whatever ends the taking ends the work.
        let _end = End(&queue);
        for _ in 0..threads {
            scope.spawn(|| {
                let _end = EndOnPanic(&queue);
                while let Some(at) = queue.next() {
                    let done = match stopped() {
                        true => Err(OpError::Cancelled),
                        false => work(&items[at]),
                    };
                    queue.put(at, done);
                }
            });
        }
        for at in 0..items.len() {
            let done = queue.take(at).unwrap_or(Err(OpError::Cancelled));
            take(ctx, done?)?;
            ctx.progress(at as u64 + 1, items.len() as u64, unit);
        }
        Ok(())
    })
}

/// Items that threads work on, no more than a few ahead of the one whose result is taken next: a bound on memory
/// that threads alone set.
struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    count: usize,
    ahead: usize,
}

struct State<T> {
    /// The next item to work on, and how many results were taken.
    next: usize,
    taken: usize,
    done: BTreeMap<usize, Result<T, OpError>>,
    ended: bool,
}

impl<T> Queue<T> {
    fn new(count: usize, ahead: usize) -> Self {
        let state = State {
            next: 0,
            taken: 0,
            done: BTreeMap::new(),
            ended: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            count,
            ahead,
        }
    }

    /// Waits until `ready` gives something, or until all is over.
    fn wait<R>(&self, mut ready: impl FnMut(&mut State<T>) -> Option<R>) -> Option<R> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = ready(&mut state) {
                return Some(found);
            }
            if state.ended {
                return None;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next(&self) -> Option<usize> {
        let next = self.wait(|state| {
            if state.ended || state.next == self.count {
                return Some(None);
            }
            (state.next < state.taken + self.ahead).then(|| {
                state.next += 1;
                Some(state.next - 1)
            })
        });
        next.flatten()
    }

    fn put(&self, at: usize, done: Result<T, OpError>) {
        self.tell(|state| {
            state.done.insert(at, done);
        });
    }

    /// Waits for the result of an item; nothing when the thread that worked on it panicked.
    fn take(&self, at: usize) -> Option<Result<T, OpError>> {
        let done = self.wait(|state| state.done.remove(&at));
        self.tell(|state| state.taken = at + 1);
        done
    }

    fn tell(&self, change: impl FnOnce(&mut State<T>)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// Ends the queue when it goes.
struct End<'a, T>(&'a Queue<T>);

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        self.0.tell(|state| state.ended = true);
    }
}

/// Ends the queue when its thread panics, so that nobody waits for what it will not give.
struct EndOnPanic<'a, T>(&'a Queue<T>);

impl<T> Drop for EndOnPanic<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.tell(|state| state.ended = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn parts_cover_everything_once() {
        let mut seen = vec![0; 70 * 45];
        for part in parts(70, 45, 16) {
            for y in part.y..part.y + part.height {
                for x in part.x..part.x + part.width {
                    seen[(y * 70 + x) as usize] += 1;
                }
            }
        }
        assert!(seen.iter().all(|&n| n == 1));
    }

    #[test]
    fn tiles_are_spread_and_a_small_slide_is_one() {
        assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 6], 3), [0, 2, 4]);
        assert_eq!(whole_tiles(100, 70, 256)[0].width, 70);
        assert_eq!(whole_tiles(600, 300, 256).len(), 2);
    }

    #[test]
    fn a_coarse_mask_is_found_under_fine_pixels() {
        let mut mask = Mask::new(
            4,
            4,
            MaskGeometry {
                mpp: 8.0,
                scale: [16.0, 16.0],
                slide: [64, 64],
            },
        );
        mask.set(1, 2, true);
        let under = Under::new(Some(&mask), [2.0, 2.0]);
        assert!(under.holds(8, 16) && under.holds(15, 23));
        assert!(!under.holds(7, 16) && !under.holds(16, 16) && !under.holds(-1, 16));
        assert!(under.any(Part {
            x: 0,
            y: 0,
            width: 9,
            height: 17
        }));
        assert!(!under.any(Part {
            x: 0,
            y: 0,
            width: 8,
            height: 17
        }));
    }

    #[test]
    fn results_are_taken_in_order() {
        let (_dir, store) = store();
        let mut ctx = Ctx::detached(&store);
        let items: Vec<u32> = (0..50).collect();
        let mut taken = Vec::new();
        each(
            &mut ctx,
            &items,
            "item",
            |&i| Ok(i * i),
            |_, v| {
                taken.push(v);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(taken, items.iter().map(|i| i * i).collect::<Vec<_>>());
        let failing = each(
            &mut ctx,
            &items,
            "item",
            |&i| {
                if i == 7 {
                    Err(OpError::Input("seven".into()))
                } else {
                    Ok(i)
                }
            },
            |_, _| Ok(()),
        );
        assert_eq!(failing, Err(OpError::Input("seven".into())));
    }

    #[test]
    fn results_are_taken_in_order_and_work_keeps_near_to_them() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (_dir, store) = store();
        let mut ctx = Ctx::detached(&store);
        let items: Vec<usize> = (0..200).collect();
        let taken = AtomicUsize::new(0);
        let work = |&at: &usize| {
            assert!(
                at < taken.load(Ordering::SeqCst) + 6 + 1,
                "{at} is too far ahead"
            );
            Ok(at)
        };
        let mut seen = Vec::new();
        each_by(3, &mut ctx, &items, "item", work, |_, at| {
            seen.push(at);
            taken.store(seen.len(), Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, items);
    }

    #[test]
    fn the_first_failure_in_order_ends_the_work() {
        let (_dir, store) = store();
        let mut ctx = Ctx::detached(&store);
        let items: Vec<u32> = (0..1000).collect();
        let work = |&at: &u32| match at {
            7 | 9 => Err(OpError::Input(at.to_string())),
            _ => Ok(at),
        };
        let mut last = None;
        let ended = each_by(4, &mut ctx, &items, "item", work, |_, at| {
            last = Some(at);
            Ok(())
        });
        assert_eq!((ended, last), (Err(OpError::Input("7".into())), Some(6)));
        let refused = each_by(
            2,
            &mut ctx,
            &items,
            "item",
            |&at| Ok(at),
            |_, at| match at {
                3 => Err(OpError::Input("full".into())),
                _ => Ok(()),
            },
        );
        assert_eq!(refused, Err(OpError::Input("full".into())));
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_at_work_is_no_hang() {
        let (_dir, store) = store();
        let work = |&at: &usize| match at {
            5 => panic!("broken"),
            _ => Ok(at),
        };
        let items: Vec<usize> = (0..50).collect();
        let _ = each_by(
            2,
            &mut Ctx::detached(&store),
            &items,
            "item",
            work,
            |_, _| Ok(()),
        );
    }
}
