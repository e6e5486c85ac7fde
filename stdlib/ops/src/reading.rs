//! What operators that read slides share: how slides fail, which parts to read at once,
//! and work over many parts by several threads.

use cerb_engine::{Ctx, OpError};
use cerb_image::{Mask, SlideFrame};
use cerb_slide::{Outside, ReadOptions, Resample, Slide, SlideError};
use rayon::prelude::*;

/// Source pixels, per side, that one read may touch: 4096² × 3 bytes are 50 MB.
const SOURCE_SIDE: f64 = 4096.0;

/// Turns a slide's error into an operator's: a file that cannot be read may be so next time, the rest is the slide.
pub(crate) fn slide_error(error: SlideError) -> OpError {
    match error {
        SlideError::Io { .. } => OpError::Infrastructure(error.to_string()),
        other => OpError::Input(other.to_string()),
    }
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
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| OpError::Resources(error.to_string()))?;
    let stopped = ctx.stopper();
    let work = |item: &I| {
        if stopped() {
            Err(OpError::Cancelled)
        } else {
            work(item)
        }
    };
    let mut done = 0;
    // Results of one batch are held at a time: a bound on memory that threads alone set.
    for batch in items.chunks(2 * threads) {
        let results: Vec<Result<T, OpError>> =
            pool.install(|| batch.par_iter().map(work).collect());
        for result in results {
            take(ctx, result?)?;
            done += 1;
        }
        ctx.progress(done, items.len() as u64, unit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;
    use cerb_image::MaskGeometry;

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
}
