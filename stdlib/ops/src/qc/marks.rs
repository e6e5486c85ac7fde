//! Marks on tissue: the share they cover, and the tissue without them.

use cerb_engine::{Misfit, OpError, Origin};
use cerb_image::units::Mpp;
use cerb_image::{Grid, Mask};
use cerb_slide::Slide;

use crate::reading::{Part, Under, geometry, slide_error};

/// Makes a grid for the pixels of a slide at a resolution.
pub(super) fn grid(slide: &Slide, mpp: f64) -> Result<Grid<u8>, OpError> {
    let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
    Ok(Grid::filled(width as usize, height as usize, 0u8))
}

/// Puts the values of a part in its place.
pub(super) fn put<T: Copy>(grid: &mut Grid<T>, part: &Part, values: &[T]) {
    let from = part.x as usize;
    for (y, row) in values.chunks_exact(part.width as usize).enumerate() {
        grid.row_mut(part.y as usize + y)[from..from + row.len()].copy_from_slice(row);
    }
}

/// Makes a mask of marks found at a resolution.
pub(super) fn mask(slide: &Slide, mpp: f64, marks: &Grid<u8>) -> Result<Mask, OpError> {
    Ok(Mask::from_grid(marks, geometry(slide, mpp)?))
}

/// Returns the tissue that no mark covers, and the share that is covered: 0 of no tissue.
pub(super) fn without(tissue: &Mask, marks: &Mask) -> (Mask, f64) {
    let under = Under::new(Some(marks), tissue.geometry().scale);
    let mut clean = tissue.clone();
    for y in 0..tissue.height() {
        for x in 0..tissue.width() {
            if tissue.get(x, y) && under.holds(x.into(), y.into()) {
                clean.set(x, y, false);
            }
        }
    }
    let covered = tissue.count() - clean.count();
    let share = covered as f64 / tissue.count().max(1) as f64;
    (clean, share)
}

/// Refuses what is no overview: finer than 2 mpp.
pub(super) fn check(at: Mpp) -> Result<(), Misfit> {
    if (2.0..=32.0).contains(&at.0) {
        return Ok(());
    }
    Err(Misfit {
        code: "qc::out_of_range",
        title: "marks are looked for on an overview".into(),
        labels: vec![(
            Origin::Param("at".into()),
            format!("{} mpp is not between 2 and 32 mpp", at.0),
        )],
        help: Some("`at: 8 mpp`".into()),
    })
}
