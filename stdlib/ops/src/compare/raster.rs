//! Goldens of `Mask` and `Maps`: by the pixels that differ, and by how much.

use std::fs;
use std::path::Path;

use cerb_engine::{Golden, OpError, Tolerance};
use cerb_image::{Maps, Mask};
use cerb_store::{Artifact, Store, Stored, Tree};

use super::golden::short;

/// Most that a value may differ; the tier "numeric".
const VALUE: f64 = 5e-4;
/// Largest share of pixels whose greatest channel may be another; the tier "numeric".
const GREATEST: f64 = 1e-4;
/// Side of the squares that maps are read in, px.
const SIDE: u32 = 1024;

/// Masks: by the share of pixels that differ; none may when nothing is said.
pub(super) struct KeptMask;

impl Golden for KeptMask {
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        store: &Store,
    ) -> Result<Option<String>, OpError> {
        let most = match within {
            None => 0.0,
            Some(Tolerance::Share(share)) => share,
            Some(Tolerance::Amount(_)) => {
                let what = "masks agree to a share of their pixels: write `within 0.1 %`";
                return Err(OpError::Input(what.to_owned()));
            }
        };
        let (kept, new) = (
            Mask::from_png(&fs::read(golden)?)?,
            Mask::open(made, store)?,
        );
        let frame = |mask: &Mask| {
            let mpp = mask.geometry().mpp;
            format!("{} × {} px at {mpp} mpp", mask.width(), mask.height())
        };
        if frame(&kept) != frame(&new) {
            let (new, kept) = (frame(&new), frame(&kept));
            return Ok(Some(format!("it is {new}, and {kept} was kept")));
        }
        let (mut differ, mut first) = (0u64, None);
        for y in 0..kept.height() {
            for x in 0..kept.width() {
                if kept.get(x, y) != new.get(x, y) {
                    differ += 1;
                    first.get_or_insert((x, y));
                }
            }
        }
        let all = u64::from(kept.width()) * u64::from(kept.height());
        let share = differ as f64 / all.max(1) as f64;
        Ok(first.filter(|_| share > most).map(|(x, y)| {
            format!(
                "{differ} of {all} pixels differ, {} % and {} % may; the first is {x}, {y}",
                short(100.0 * share),
                short(100.0 * most)
            )
        }))
    }
}

/// Maps: by their values, and by which channel is the greatest.
pub(super) struct KeptMaps;

impl Golden for KeptMaps {
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        store: &Store,
    ) -> Result<Option<String>, OpError> {
        let (value, greatest) = match within {
            None => (Some(VALUE), Some(GREATEST)),
            Some(Tolerance::Amount(most)) => (Some(most), None),
            Some(Tolerance::Share(most)) => (None, Some(most)),
        };
        let mut tree = Tree::default();
        gather(golden, "", store, &mut tree)?;
        let kept = Stored::tree(Maps::KIND, store.put_tree(&tree)?, made.fields.clone());
        let (kept, new) = (Maps::open(&kept, store)?, Maps::open(made, store)?);
        let frame = |maps: &Maps| {
            let header = maps.header();
            let heads = header
                .heads
                .iter()
                .map(|(name, channels)| format!("{name} ({channels})"));
            let heads = heads.collect::<Vec<_>>().join(", ");
            format!(
                "{heads}: {} × {} px at {} mpp",
                header.width, header.height, header.mpp
            )
        };
        if frame(&kept) != frame(&new) {
            let (new, kept) = (frame(&new), frame(&kept));
            return Ok(Some(format!("it is {new}; {kept} was kept")));
        }
        for head in kept.header().heads.keys() {
            let found = Head::of(head, &kept, &new)?;
            if let (Some(most), true) = (value, found.largest.0 > value.unwrap_or(f64::MAX)) {
                let (far, [x, y]) = found.largest;
                return Ok(Some(format!(
                    "`{head}` differs by {} at {x}, {y}, {} over the bound of {}",
                    short(far),
                    short(far - most),
                    short(most)
                )));
            }
            let share = found.others as f64 / found.pixels.max(1) as f64;
            if let (Some(most), true) = (greatest, share > greatest.unwrap_or(1.0)) {
                return Ok(Some(format!(
                    "the greatest channel of `{head}` is another on {} of {} pixels, {} % and {} % may",
                    found.others,
                    found.pixels,
                    short(100.0 * share),
                    short(100.0 * most)
                )));
            }
        }
        Ok(None)
    }
}

/// How one head differs.
struct Head {
    /// The largest difference, and where.
    largest: (f64, [i64; 2]),
    /// Pixels whose greatest channel is another.
    others: u64,
    /// Pixels of the squares that are not blank.
    pixels: u64,
}

impl Head {
    fn of(head: &str, kept: &Maps, new: &Maps) -> Result<Head, OpError> {
        let mut found = Head {
            largest: (0.0, [0, 0]),
            others: 0,
            pixels: 0,
        };
        for square in kept.squares(SIDE, 0) {
            let [x0, y0, x1, y1] = square.outer.map(i64::from);
            if kept.is_blank(head, x0, y0, x1, y1)? && new.is_blank(head, x0, y0, x1, y1)? {
                continue;
            }
            let (one, other) = (
                kept.read_square(head, &square)?,
                new.read_square(head, &square)?,
            );
            let channels = one.channels.max(1);
            let pixels = one
                .data
                .chunks_exact(channels)
                .zip(other.data.chunks_exact(channels));
            for (at, (one_pixel, other_pixel)) in pixels.enumerate() {
                let place = || [x0 + (at % one.width) as i64, y0 + (at / one.width) as i64];
                for (a, b) in one_pixel.iter().zip(other_pixel) {
                    let far = f64::from((a - b).abs());
                    // What is no number is far from all that is one.
                    let far = match far.is_nan() && a.to_bits() != b.to_bits() {
                        true => f64::INFINITY,
                        false => far,
                    };
                    if far > found.largest.0 {
                        found.largest = (far, place());
                    }
                }
                found.pixels += 1;
                found.others += u64::from(greatest(one_pixel) != greatest(other_pixel));
            }
        }
        Ok(found)
    }
}

/// The greatest channel of a pixel, the first of equals; of one alone, whether it is above one half.
fn greatest(pixel: &[f32]) -> usize {
    if let [one] = pixel {
        return usize::from(*one > 0.5);
    }
    let mut best = 0;
    for (at, value) in pixel.iter().enumerate() {
        if *value > pixel[best] {
            best = at;
        }
    }
    best
}

/// Takes the files below a folder into a tree of the store.
fn gather(folder: &Path, before: &str, store: &Store, tree: &mut Tree) -> Result<(), OpError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), &format!("{name}/"), store, tree)?;
        } else {
            tree.entries.insert(name, store.put_file(&entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{header, store};
    use cerb_image::{MapsHeader, MaskGeometry};
    use std::collections::BTreeMap;

    fn mask(store: &Store, spots: u32) -> Stored {
        let geometry = MaskGeometry {
            mpp: 8.0,
            scale: [16.0, 16.0],
            slide: [640, 640],
        };
        let mut mask = Mask::new(40, 40, geometry);
        for x in 0..spots {
            mask.set(x, 3, true);
        }
        mask.store(store).unwrap()
    }

    #[test]
    fn a_mask_agrees_to_a_share_of_its_pixels() {
        let (dir, store) = store();
        let golden = dir.path().join("mask.png");
        KeptMask.keep(&mask(&store, 4), &golden, &store).unwrap();
        let of = |spots, within| KeptMask.differs(&mask(&store, spots), &golden, within, &store);
        assert_eq!(of(4, None).unwrap(), None);
        assert_eq!(
            of(8, None).unwrap().unwrap(),
            "4 of 1600 pixels differ, 0.25 % and 0 % may; the first is 4, 3"
        );
        assert_eq!(of(8, Some(Tolerance::Share(0.0025))).unwrap(), None);
        assert!(of(8, Some(Tolerance::Share(0.002))).unwrap().is_some());
        assert!(of(4, Some(Tolerance::Amount(1.0))).is_err());
    }

    fn maps(store: &Store, change: f32) -> Stored {
        let header = MapsHeader {
            classes: Default::default(),
            mpp: 0.5,
            scale: [1.0, 1.0],
            width: 20,
            height: 10,
            tile: 10,
            heads: BTreeMap::from([("type".to_owned(), 2)]),
            slide: header().slide,
        };
        let writer = Maps::writer(store, header).unwrap();
        let mut values: Vec<f32> = (0..200)
            .map(|i| if i % 2 == 0 { 0.5 } else { 0.499 })
            .collect();
        values[42] += change;
        let values = BTreeMap::from([("type".to_owned(), values)]);
        writer.put_tile(0, 1, &values).unwrap();
        writer.finish().unwrap().store(store).unwrap()
    }

    #[test]
    fn maps_agree_by_value_and_by_greatest_channel() {
        let (dir, store) = store();
        let golden = dir.path().join("maps");
        KeptMaps.keep(&maps(&store, 0.0), &golden, &store).unwrap();
        let of = |change, within| {
            KeptMaps
                .differs(&maps(&store, change), &golden, within, &store)
                .unwrap()
        };
        assert_eq!(of(0.0, None), None);
        assert_eq!(of(4e-4, None), None);
        let words = of(0.1, None).unwrap();
        assert!(
            words.starts_with("`type` differs by 0.1 at 11, 2, 0.0995 over"),
            "{words}"
        );
        assert_eq!(of(0.1, Some(Tolerance::Amount(0.11))), None);
        assert_eq!(of(0.1, Some(Tolerance::Share(0.001))), None);
        // The first channel falls below the second on one pixel of a hundred in the one tile.
        let words = of(-0.1, Some(Tolerance::Share(0.001))).unwrap();
        assert!(words.contains("is another on 1 of 200 pixels"), "{words}");
    }
}
