//! Finding nuclei by their stain: haematoxylin against its surroundings for the
//! foreground, distance to the rim and density for the seeds.
//!
//! Every step looks at a bounded neighbourhood ([`REACH`]) and sums in a fixed order,
//! so a pixel's result does not depend on the tile it was computed in. Lengths are in
//! pixels at about 0.5 µm. The constants were chosen on one TCGA slide and ten NuCLS
//! tiles together; they are round numbers, and neighbouring values do as well.

use cerb_image::stain::{Separation, Stain, optical_density};
use cerb_image::{Grid, Rgb8, blur};

/// Pixels beyond its own that a result depends on: blur 4, surroundings 20 + 10,
/// distance 13, blur 8, seeds 4.
pub(crate) const REACH: u32 = 64;

/// Optical density, summed over red, green and blue, below which a pixel is glass.
const GLASS: f64 = 0.15;
/// Share of the density that red must have: haematoxylin has 40 % there, eosin 6 %, keratin and blood about 15 %.
const RED_SHARE: f32 = 0.24;
/// Blur of the stain, in pixels: chromatin texture goes, rims stay.
const BLUR: f64 = 1.0;
/// Half side of the square whose mean is the surroundings: 10 µm.
const SURROUNDINGS: usize = 20;
/// How much of the threshold the surroundings decide; the rest the whole slide does.
const LOCAL: f32 = 0.5;
/// How far above its surroundings a nucleus is, in normalised stain.
const CONTRAST: f32 = 0.05;
/// Share of Otsu's threshold that is asked of a nucleus: pale nuclei lie below it.
const LENIENCE: f32 = 0.8;
/// Normalised stain below which nothing is a nucleus.
const FLOOR: f32 = 0.15;
/// Width of the slope from background to nucleus, in normalised stain.
const SLOPE: f32 = 0.2;
/// Largest distance to the rim that counts, in pixels: 6 µm.
const DEEPEST: usize = 12;
/// Weight of the stain beside the distance, in pixels.
const STAIN_WEIGHT: f32 = 2.0;
/// Two seeds are farther apart than this, in pixels: 1.75 µm.
const APART: f64 = 3.5;
/// Smallest gap between the stain's low and high quantile: below it there is no haematoxylin to speak of.
const LEAST_RANGE: f64 = 0.2;
/// Bins of the histogram, over amounts from 0 to 4.
const BINS: usize = 4096;
/// Pixels of tissue, at the low resolution, that a slide's own normalisation takes: 0.004 mm² at 2 mpp.
const LEAST_TISSUE: u64 = 1000;

/// Counts how much haematoxylin the tissue of a slide holds, at low resolution.
#[derive(Clone)]
pub(crate) struct Amounts {
    bins: Vec<u64>,
}

impl Amounts {
    pub(crate) fn new() -> Self {
        Self {
            bins: vec![0; BINS],
        }
    }

    /// Adds the pixels of an image for which `inside` (column, row) holds and which are not glass.
    pub(crate) fn add(&mut self, image: &Rgb8, inside: impl Fn(u32, u32) -> bool) {
        let stain = Separation::hed().channel(image, Stain::Haematoxylin);
        let density = densities();
        for (i, (pixel, amount)) in image.pixels().zip(&stain.data).enumerate() {
            let (x, y) = (i as u32 % image.width, i as u32 / image.width);
            if pixel.iter().map(|&v| density[usize::from(v)]).sum::<f64>() > GLASS && inside(x, y) {
                let bin = (f64::from(*amount) * BINS as f64 / 4.0) as usize;
                self.bins[bin.min(BINS - 1)] += 1;
            }
        }
    }

    /// Adds the counts of another part of the slide.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, other) in self.bins.iter_mut().zip(&other.bins) {
            *own += other;
        }
    }

    fn quantile(&self, share: f64) -> f64 {
        let total: u64 = self.bins.iter().sum();
        let wanted = share * total as f64;
        let mut seen = 0;
        let bin = self.bins.iter().position(|count| {
            seen += count;
            seen as f64 >= wanted
        });
        (bin.unwrap_or(0) as f64 + 0.5) * 4.0 / BINS as f64
    }

    /// Returns what the slide's own staining says; `None` with too little tissue to tell.
    pub(crate) fn normal(&self) -> Option<Normal> {
        if self.bins.iter().sum::<u64>() < LEAST_TISSUE {
            return None;
        }
        let (low, high) = (self.quantile(0.10), self.quantile(0.99));
        let high = high.max(low + LEAST_RANGE);
        // Otsu over 256 levels of the normalised range 0 to 1.5.
        let mut histogram = [0u64; 256];
        for (bin, count) in self.bins.iter().enumerate() {
            let amount = (bin as f64 + 0.5) * 4.0 / BINS as f64;
            let level = ((amount - low) / (high - low) / 1.5 * 256.0).clamp(0.0, 255.0);
            histogram[level as usize] += count;
        }
        let level = cerb_image::otsu::threshold(&histogram)?;
        Some(Normal {
            low: low as f32,
            high: high as f32,
            threshold: (f32::from(level) + 0.5) * 1.5 / 256.0,
        })
    }
}

/// How a slide is stained: which amounts of haematoxylin are little and much on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Normal {
    /// Amount that becomes 0: the tissue's lowest tenth.
    pub(crate) low: f32,
    /// Amount that becomes 1: the tissue's highest hundredth.
    pub(crate) high: f32,
    /// Otsu's threshold between the two.
    pub(crate) threshold: f32,
}

/// Returns the pseudo-probabilities of nuclear inside and rim, of the shape of `image`.
///
/// Both together are above a half on nuclei; the inside alone is so on one small seed
/// per nucleus, and falls off from there, for a watershed to part what touches.
/// `keep` says, per pixel, where nuclei may be.
pub(crate) fn nuclei(image: &Rgb8, normal: &Normal, keep: &[bool]) -> (Grid<f32>, Grid<f32>) {
    let stain = normalised(image, normal);
    let probability = probability(image, &stain, normal, keep);
    let relief = relief(&probability, &stain);
    let seeds = seeds(&probability, &relief);
    let top = DEEPEST as f32 + 2.0 * STAIN_WEIGHT;
    let mut inner = Grid::filled(stain.width, stain.height, 0.0f32);
    let mut contour = inner.clone();
    for (i, &p) in probability.data.iter().enumerate() {
        let height = (relief.data[i] / top).clamp(0.0, 1.0);
        inner.data[i] = if seeds.data[i] != 0 {
            0.51 + 0.49 * height
        } else {
            0.49 * height * p
        };
        contour.data[i] = (p - inner.data[i]).max(0.0);
    }
    (inner, contour)
}

fn densities() -> [f64; 256] {
    std::array::from_fn(|value| optical_density(value as u8))
}

/// Returns the blurred haematoxylin, 0 to 1 within what is usual on the slide, at most 1.5.
fn normalised(image: &Rgb8, normal: &Normal) -> Grid<f32> {
    let amounts = blur::gaussian(&Separation::hed().channel(image, Stain::Haematoxylin), BLUR);
    amounts.map(|amount| ((amount - normal.low) / (normal.high - normal.low)).clamp(0.0, 1.5))
}

/// Returns how surely each pixel is nucleus: dark against its surroundings, and blue.
fn probability(image: &Rgb8, stain: &Grid<f32>, normal: &Normal, keep: &[bool]) -> Grid<f32> {
    let density = densities().map(|d| d as f32);
    let each = |f: &dyn Fn([u8; 3]) -> f32| {
        let data = image.pixels().map(f).collect();
        blur::gaussian(
            &Grid {
                width: stain.width,
                height: stain.height,
                data,
            },
            BLUR,
        )
    };
    let red = each(&|[r, _, _]| density[usize::from(r)]);
    let all = each(&|pixel| pixel.iter().map(|&v| density[usize::from(v)]).sum());
    let around = surroundings(stain);
    let global = normal.threshold * LENIENCE;
    let mut out = Grid::filled(stain.width, stain.height, 0.0f32);
    for (i, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        let threshold = ((1.0 - LOCAL) * global + LOCAL * (around.data[i] + CONTRAST)).max(FLOOR);
        let dark = 0.5 + (stain.data[i] - threshold) / SLOPE;
        let blue = 0.5 + (red.data[i] / all.data[i].max(0.05) - RED_SHARE) / 0.1;
        out.data[i] = dark.min(blue).clamp(0.0, 1.0);
    }
    out
}

/// Returns the mean of a square around each pixel, smoothed once more; summed in whole
/// numbers, so that it does not depend on where a running sum began.
fn surroundings(stain: &Grid<f32>) -> Grid<f32> {
    const UNIT: f32 = 4096.0;
    let whole = stain.map(|value| (value * UNIT).round() as u64);
    let (first, second) = (SURROUNDINGS, SURROUNDINGS / 2);
    let sums = box_sums(&box_sums(&whole, first), second);
    let sides = ((2 * first + 1) * (2 * second + 1)) as f64;
    sums.map(|sum| (sum as f64 / (sides * sides * f64::from(UNIT))) as f32)
}

/// Returns the sum of the square of half side `radius` around each pixel; edges are repeated.
fn box_sums(grid: &Grid<u64>, radius: usize) -> Grid<u64> {
    let mut across = Grid::filled(grid.width, grid.height, 0u64);
    for y in 0..grid.height {
        let row = grid.row(y);
        slide_sum(
            row.len(),
            radius,
            |i| row[i],
            |i, sum| across.data[y * grid.width + i] = sum,
        );
    }
    let mut out = Grid::filled(grid.width, grid.height, 0u64);
    for x in 0..grid.width {
        slide_sum(
            grid.height,
            radius,
            |i| across.at(x, i),
            |i, sum| out.set(x, i, sum),
        );
    }
    out
}

fn slide_sum(
    length: usize,
    radius: usize,
    value: impl Fn(usize) -> u64,
    mut give: impl FnMut(usize, u64),
) {
    if length == 0 {
        return;
    }
    let clamped = |i: isize| value(i.clamp(0, length as isize - 1) as usize);
    let reach = radius as isize;
    let mut sum: u64 = (-reach..=reach).map(clamped).sum();
    for i in 0..length as isize {
        give(i as usize, sum);
        sum = sum + clamped(i + reach + 1) - clamped(i - reach);
    }
}

/// Returns the landscape whose hills are nuclei: distance to the rim, and the stain.
fn relief(probability: &Grid<f32>, stain: &Grid<f32>) -> Grid<f32> {
    let mut relief = blur::gaussian(&depth(probability), 1.0);
    let stain = blur::gaussian(stain, 2.0);
    for (relief, stain) in relief.data.iter_mut().zip(&stain.data) {
        *relief += STAIN_WEIGHT * stain;
    }
    relief
}

/// Returns the Euclidean distance to the nearest pixel that is no nucleus, up to [`DEEPEST`].
fn depth(probability: &Grid<f32>) -> Grid<f32> {
    let (width, height) = (probability.width, probability.height);
    let limit = DEEPEST as u32 + 1;
    // Distance to the nearest background within the column, then the best of the columns beside.
    let mut column = Grid::filled(width, height, limit);
    for x in 0..width {
        let mut run = limit;
        for y in 0..height {
            run = if probability.at(x, y) > 0.5 {
                (run + 1).min(limit)
            } else {
                0
            };
            column.set(x, y, run);
        }
        run = limit;
        for y in (0..height).rev() {
            run = if probability.at(x, y) > 0.5 {
                (run + 1).min(limit)
            } else {
                0
            };
            column.set(x, y, run.min(column.at(x, y)));
        }
    }
    let mut out = Grid::filled(width, height, 0.0f32);
    for y in 0..height {
        let row = column.row(y);
        for (x, out) in out.row_mut(y).iter_mut().enumerate() {
            if row[x] == 0 {
                continue;
            }
            let (from, to) = (x.saturating_sub(DEEPEST), (x + DEEPEST + 1).min(width));
            let squared = (from..to)
                .map(|c| row[c] * row[c] + (c.abs_diff(x) * c.abs_diff(x)) as u32)
                .min();
            *out = (squared.unwrap_or(0) as f32).sqrt().min(DEEPEST as f32);
        }
    }
    out
}

/// Returns 1 on and right beside the highest points of the landscape that are nuclei.
fn seeds(probability: &Grid<f32>, relief: &Grid<f32>) -> Grid<u8> {
    let (width, height) = (relief.width as isize, relief.height as isize);
    let reach = APART as isize;
    let near: Vec<(isize, isize)> = (-reach..=reach)
        .flat_map(|dy| (-reach..=reach).map(move |dx| (dx, dy)))
        .filter(|&(dx, dy)| ((dx * dx + dy * dy) as f64) <= APART * APART && (dx, dy) != (0, 0))
        .collect();
    let inside = |x: isize, y: isize| (0..width).contains(&x) && (0..height).contains(&y);
    let index = |x: isize, y: isize| (y * width + x) as usize;
    let mut seeds = Grid::filled(relief.width, relief.height, 0u8);
    for y in 0..height {
        for x in 0..width {
            let own = relief.data[index(x, y)];
            if probability.data[index(x, y)] <= 0.5 || own <= 1.0 {
                continue;
            }
            let highest = near.iter().all(|&(dx, dy)| {
                !inside(x + dx, y + dy) || relief.data[index(x + dx, y + dy)] <= own
            });
            if !highest {
                continue;
            }
            // A square of nine: enough to be kept as a marker.
            for (dx, dy) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy))) {
                if inside(x + dx, y + dy) && probability.data[index(x + dx, y + dy)] > 0.5 {
                    seeds.data[index(x + dx, y + dy)] = 1;
                }
            }
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;
    use cerb_image::nuclei::{Options, split};

    const PINK: [u8; 3] = [235, 180, 210];
    const BLUE: [u8; 3] = [90, 60, 140];
    const NORMAL: Normal = Normal {
        low: 0.05,
        high: 0.6,
        threshold: 0.35,
    };

    /// Returns pink tissue with blue discs (x, y, radius).
    fn discs(discs: &[(i32, i32, i32)]) -> Rgb8 {
        let mut image = Rgb8::filled(120, 120, PINK);
        for &(cx, cy, r) in discs {
            for y in 0..120 {
                for x in 0..120 {
                    if (x - cx).pow(2) + (y - cy).pow(2) <= r * r {
                        image.set(x as u32, y as u32, BLUE);
                    }
                }
            }
        }
        image
    }

    fn count(image: &Rgb8) -> i32 {
        let (inner, contour) = nuclei(image, &NORMAL, &vec![true; 120 * 120]);
        let labels = split(&inner, &contour, &Options::default());
        let mut found: Vec<_> = labels.data.iter().filter(|&&l| l != 0).collect();
        found.sort_unstable();
        found.dedup();
        found.len() as i32
    }

    #[test]
    fn a_blue_disc_is_a_nucleus_and_pink_is_none() {
        assert_eq!(count(&discs(&[(60, 60, 8)])), 1);
        assert_eq!(count(&discs(&[])), 0);
    }

    #[test]
    fn touching_discs_are_parted() {
        assert_eq!(count(&discs(&[(50, 60, 8), (64, 60, 8)])), 2);
        assert_eq!(count(&discs(&[(47, 60, 7), (62, 60, 7), (54, 74, 7)])), 3);
    }

    #[test]
    fn dark_red_is_no_nucleus() {
        let mut image = discs(&[]);
        for (x, y) in (40..70).flat_map(|y| (40..70).map(move |x| (x, y))) {
            image.set(x, y, [150, 20, 40]);
        }
        assert_eq!(count(&image), 0);
    }

    #[test]
    fn nothing_is_found_where_nothing_is_to_be_kept() {
        let image = discs(&[(60, 60, 8)]);
        let (inner, contour) = nuclei(&image, &NORMAL, &vec![false; 120 * 120]);
        assert!(inner.data.iter().chain(&contour.data).all(|&v| v == 0.0));
    }

    #[test]
    fn a_result_depends_on_nothing_beyond_its_reach() {
        let wide = {
            let mut image = Rgb8::filled(300, 300, PINK);
            for y in 0..300 {
                for x in 0..300 {
                    if (x * x + 3 * x * y + 7 * y) % 211 < 70 {
                        image.set(x, y, BLUE);
                    }
                }
            }
            image
        };
        let reach = REACH as usize;
        let size = 300 - 2 * 37;
        let mut cut = Rgb8::filled(size, size, PINK);
        for y in 0..size {
            for x in 0..size {
                cut.set(x, y, wide.at(x + 37, y + 37));
            }
        }
        let (all, _) = nuclei(&wide, &NORMAL, &vec![true; 300 * 300]);
        let (part, _) = nuclei(&cut, &NORMAL, &vec![true; (size * size) as usize]);
        for y in reach..size as usize - reach {
            for x in reach..size as usize - reach {
                assert_eq!(
                    part.at(x, y).to_bits(),
                    all.at(x + 37, y + 37).to_bits(),
                    "{x}, {y}"
                );
            }
        }
    }

    #[test]
    fn normalisation_needs_tissue() {
        let mut amounts = Amounts::new();
        amounts.add(&Rgb8::filled(100, 100, [250, 250, 250]), |_, _| true);
        assert_eq!(amounts.normal(), None);
        amounts.add(
            &discs(&[(30, 30, 10), (60, 60, 10), (90, 90, 10)]),
            |_, _| true,
        );
        let normal = amounts.normal().unwrap();
        assert!(
            normal.low < normal.high && normal.threshold > 0.0 && normal.threshold < 1.0,
            "{normal:?}"
        );
    }
}
