//! Glands and lumina as the published program finds them: one region of the mask at a time.

use cerb_engine::{Ctx, OpError};
use cerb_image::regions::{self, Region, regions};
use cerb_image::{Grid, Instance, Maps, Mask, Rect};

use crate::reading::gib;

/// Works on each region of the slide, refusing one that does not fit into the memory this action may use.
pub(super) fn each_region(
    maps: &Maps,
    mask: Option<&Mask>,
    ctx: &mut Ctx,
    mut work: impl FnMut(&Region) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let header = maps.header();
    let mask = mask.map(Mask::to_grid);
    let regions = regions(mask.as_ref(), header.width as usize, header.height as usize);
    let total = regions.len() as u64;
    for (done, region) in (0..).zip(&regions) {
        ctx.check()?;
        ctx.progress(done, total, "region");
        fits(region, header.mpp, ctx.memory())?;
        work(region)?;
    }
    Ok(())
}

/// Refuses a region that takes more than `allowed` bytes.
fn fits(region: &Region, mpp: f64, allowed: u64) -> Result<(), OpError> {
    let (bytes, bounds) = (region.bytes(), region.bounds);
    if bytes <= allowed {
        return Ok(());
    }
    Err(OpError::Input(format!(
        "a region of {} × {} px at {mpp} mpp takes {} as published, more than the {} that this action may use; \
         give it more with `--memory`, or leave out `reference`: then no region is held in memory",
        bounds.width(),
        bounds.height(),
        gib(bytes),
        gib(allowed),
    )))
}

/// Reads the channels of a region's heads, halved.
fn half(region: &Region, maps: &Maps, heads: &[(&str, usize)]) -> Result<Vec<Grid<f32>>, OpError> {
    let channels = heads.iter().map(|(_, channels)| channels).sum();
    let read = |rect: Rect| {
        let mut found = Vec::with_capacity(channels);
        for (head, channels) in heads {
            let (x, y) = (rect.x0 as i64, rect.y0 as i64);
            let (width, height) = (rect.width() as u32, rect.height() as u32);
            let window = maps.window(head, x, y, width, height)?;
            found.extend((0..*channels).map(|channel| window.channel(channel)));
        }
        Ok::<_, OpError>(found)
    };
    region.half(channels, read)
}

/// Returns the glands of a region, with types if the maps have them, and their labels.
pub(super) fn glands(
    region: &Region,
    maps: &Maps,
    shapes: &str,
    types: Option<&str>,
) -> Result<(Vec<Instance>, Grid<i32>), OpError> {
    let mut heads = vec![(shapes, 2)];
    heads.extend(types.map(|types| (types, 1)));
    let channels = half(region, maps, &heads)?;
    let labels = regions::glands(&channels[0], &channels[1]);
    let objects = region.objects(&labels, channels.get(2));
    Ok((objects, labels))
}

/// Returns the lumina of a region that lie in glands of these labels.
pub(super) fn lumina(
    region: &Region,
    maps: &Maps,
    shapes: &str,
    glands: &Grid<i32>,
) -> Result<Vec<Instance>, OpError> {
    let channels = half(region, maps, &[(shapes, 2)])?;
    let labels = regions::lumina(&channels[0], &channels[1], glands);
    Ok(region.objects(&labels, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_does_not_fit_is_refused_with_its_size() {
        let region = &regions(None, 100_000, 90_000)[0];
        assert!(fits(region, 0.5, u64::MAX).is_ok());
        let said = fits(region, 0.5, 4 << 30).unwrap_err().to_string();
        assert!(
            said.contains("100000 × 90000 px at 0.5 mpp takes 100.58 GiB"),
            "{said}"
        );
        assert!(said.contains("the 4.00 GiB that"), "{said}");
    }
}
