//! Regions at a resolution: which level is read, and how it is brought to size.

use cerb_image::Rgb8;

use crate::reader::Target;
use crate::resample::{self, Taps};
use crate::slide::{Level, Outside};
use crate::{Slide, SlideError};

/// Enlarging beyond this must be asked for ([`ReadOptions::allow_upsample`]).
const MOST_ENLARGEMENT: f64 = 1.5;
/// Side of the source square worked on at once, in pixels: 3 MB, about 25 tiles.
const CHUNK: f64 = 1024.0;

/// How a level is brought to the resolution asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resample {
    /// The mean over the area of each pixel, placed in slide coordinates: reading by tiles
    /// gives what reading at once gives. Enlarges linearly.
    #[default]
    Area,
    /// What TIAToolbox 1.3 gives the reference implementation of Cerberus for the same box: cubic
    /// without a low-pass, each box placed and scaled for itself. Tiles do not join exactly.
    Tiatoolbox13,
}

/// The choices of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// How a level is brought to the resolution.
    pub resample: Resample,
    /// What is seen beyond the slide.
    pub outside: Outside,
    /// Whether pixels may be enlarged more than 1.5 times.
    pub allow_upsample: bool,
}

/// Which level serves a resolution.
struct Choice {
    level: usize,
    /// Level pixels per output pixel, x and y, as the slide's geometry has it.
    factor: [f64; 2],
    /// The level's mpp over the one asked for, x and y, with OpenSlide's downsample.
    scale: [f64; 2],
}

impl Slide {
    /// Returns the size of the whole slide at a resolution, in pixels.
    ///
    /// Rounded as the reference does: `round(round(base / downsample) * scale)`, half to even.
    pub fn size_at(&self, mpp: f64) -> Result<(u32, u32), SlideError> {
        let Choice { level, scale, .. } = self.choose(mpp)?;
        let info = self.info();
        let downsample = info.levels[level].downsample;
        let side = |base: u32, scale: f64| {
            ((f64::from(base) / downsample).round_ties_even() * scale)
                .round_ties_even()
                .max(1.0) as u32
        };
        Ok((side(info.width, scale[0]), side(info.height, scale[1])))
    }

    /// Returns level-0 pixels per pixel at a resolution, x and y.
    pub fn scale_at(&self, mpp: f64) -> Result<[f64; 2], SlideError> {
        self.check_mpp(mpp)?;
        Ok(self.resolution()?.map(|base| mpp / base))
    }

    /// Returns the level that a resolution is read from: the smallest that is fine enough.
    ///
    /// Compared after rounding to 3 decimals, as TIAToolbox does, so that 0.5002 mpp serves 0.5 mpp.
    pub fn level_at(&self, mpp: f64) -> Result<usize, SlideError> {
        Ok(self.choose(mpp)?.level)
    }

    /// Reads `width` × `height` pixels at a resolution from (`x`, `y`) in pixels of that resolution.
    pub fn read_at(
        &self,
        mpp: f64,
        x: i64,
        y: i64,
        width: u32,
        height: u32,
        options: &ReadOptions,
    ) -> Result<Rgb8, SlideError> {
        self.check_size(width, height)?;
        let limit = i64::from(u32::MAX);
        if x.abs() > limit || y.abs() > limit {
            return Err(self.bad_request(format!(
                "the region begins at ({x}, {y}), far from any slide"
            )));
        }
        let choice = self.choose(mpp)?;
        let factor = choice.scale[0].max(choice.scale[1]);
        if factor > MOST_ENLARGEMENT && !options.allow_upsample {
            return Err(SlideError::Upsampling {
                path: self.path().to_path_buf(),
                at: mpp,
                mpp: self.mpp()?,
                factor,
                limit: MOST_ENLARGEMENT,
            });
        }
        match options.resample {
            Resample::Area if choice.factor == [1.0, 1.0] => {
                self.read_level(choice.level, x, y, width, height, options.outside)
            }
            Resample::Area => self.read_area(&choice, (x, y), (width, height), options.outside),
            Resample::Tiatoolbox13 => {
                self.read_as_tiatoolbox(&choice, (x, y), (width, height), options.outside)
            }
        }
    }

    fn check_mpp(&self, mpp: f64) -> Result<(), SlideError> {
        // Overviews are read at some tens of mpp.
        if mpp.is_finite() && mpp > 0.0 && mpp <= 1e4 {
            return Ok(());
        }
        Err(self.bad_request(format!("{mpp} is no resolution in µm per pixel")))
    }

    fn choose(&self, mpp: f64) -> Result<Choice, SlideError> {
        self.check_mpp(mpp)?;
        let base = self.resolution()?;
        let levels = &self.info().levels;
        let scale_of = |level: &Level| base.map(|base| base * level.downsample / mpp);
        let enough = |level: &Level| {
            scale_of(level)
                .iter()
                .all(|s| (s * 1e3).round_ties_even() <= 1e3)
        };
        let level = levels.iter().rposition(enough).unwrap_or(0);
        let chosen = &levels[level];
        let factor = [
            mpp / base[0] / downsample(self.info().width, chosen.width),
            mpp / base[1] / downsample(self.info().height, chosen.height),
        ];
        Ok(Choice {
            level,
            factor,
            scale: scale_of(chosen),
        })
    }

    /// Works through the region in squares, each made from its own piece of the level.
    fn read_area(
        &self,
        choice: &Choice,
        (x, y): (i64, i64),
        (width, height): (u32, u32),
        outside: Outside,
    ) -> Result<Rgb8, SlideError> {
        let level = self.info().levels[choice.level];
        let taps = |axis: usize, first: i64, count: u32| {
            let size = [level.width, level.height][axis];
            let place = |i| outside.place(i, size);
            let factor = choice.factor[axis];
            // Within the rounding of the level choice a pixel is still taken as an area.
            if factor < 0.999 {
                Taps::linear(first, count, factor, place)
            } else {
                Taps::area(first, count, factor, place)
            }
        };
        let step = |factor: f64| ((CHUNK / factor) as u32).max(1) as usize;
        let mut image = Rgb8::filled(width, height, outside.colour());
        for top in (0..height).step_by(step(choice.factor[1])) {
            let rows = (height - top).min(step(choice.factor[1]) as u32);
            let down = taps(1, y + i64::from(top), rows);
            let Some((y0, y1)) = down.span() else {
                continue;
            };
            for left in (0..width).step_by(step(choice.factor[0])) {
                let columns = (width - left).min(step(choice.factor[0]) as u32);
                let across = taps(0, x + i64::from(left), columns);
                let Some((x0, x1)) = across.span() else {
                    continue;
                };
                let (x, y) = (i64::from(x0), i64::from(y0));
                let source =
                    self.read_level(choice.level, x, y, x1 - x0, y1 - y0, Outside::White)?;
                let stride = 3 * width as usize;
                let corner = top as usize * stride + 3 * left as usize;
                let target = Target {
                    data: &mut image.data[corner..],
                    stride,
                };
                resample::apply(&source, &across, &down, target);
            }
        }
        Ok(image)
    }

    /// Follows `read_bounds(…, coord_space="resolution")` of TIAToolbox 1.3: box to level 0 with
    /// corners rounded up, level 0 to the level rounded half to even, then one resize to size.
    fn read_as_tiatoolbox(
        &self,
        choice: &Choice,
        (x, y): (i64, i64),
        (width, height): (u32, u32),
        outside: Outside,
    ) -> Result<Rgb8, SlideError> {
        let downsample = self.info().levels[choice.level].downsample;
        let axis = |at: i64, count: u32, scale: f64| {
            let to_base = (1.0 / downsample) * scale;
            let start = (f64::from(at as f32) / to_base).ceil();
            let length = (f64::from(count) / to_base).ceil();
            (
                (start / downsample).round_ties_even() as i64,
                (length / downsample).round_ties_even() as u32,
            )
        };
        let (left, columns) = axis(x, width, choice.scale[0]);
        let (top, rows) = axis(y, height, choice.scale[1]);
        let source = self.read_level(choice.level, left, top, columns, rows, outside)?;
        if (columns, rows) == (width, height) || source.data.is_empty() {
            return Ok(source);
        }
        Ok(resample::cubic(&source, width, height))
    }
}

/// Level-0 pixels per level pixel along one axis.
///
/// Writers drop the last pixels that fill no pixel of the level, so the ratio of sizes is a
/// little off: where a whole number explains the size it is taken.
fn downsample(base: u32, level: u32) -> f64 {
    let ratio = f64::from(base) / f64::from(level);
    let whole = ratio.round().max(1.0);
    let explained = f64::from(base) / whole;
    if (explained.floor()..=explained.ceil()).contains(&f64::from(level)) {
        whole
    } else {
        ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_lost_their_last_pixels_are_whole_reductions() {
        assert_eq!(downsample(2967, 741), 4.0);
        assert_eq!(downsample(2967, 742), 4.0);
        assert_eq!(downsample(2967, 2967), 1.0);
        assert_eq!(downsample(1000, 300), 1000.0 / 300.0);
    }
}
