//! Windows looked at by the cores: one each, or one by all together.

use cerb_engine::{Ctx, OpError};
use cerb_image::{Cell, GridHeader};
use cerb_model::CpuNetwork;

use super::tile::Said;
use super::work::{Work, model_error, said};
use crate::reading::{each_by, gib};

/// What a window takes for each pixel it reads, about: the widest maps of all layers at once.
const BYTES_PER_PIXEL: u64 = 1280;
/// What a core is given: more than enough for a window of 448 px.
pub(super) const PER_CORE: u64 = 1 << 29;
/// What the weights take while they are packed.
pub(super) const WEIGHTS: u64 = 3 << 28;

/// Looks at the cells and gives what is said of them in their order.
pub(super) fn look(
    network: CpuNetwork,
    work: &Work,
    cells: &[Cell],
    ctx: &mut Ctx,
    mut take: impl FnMut(Cell, Vec<Said>) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let together = together(&work.grid.header, ctx.memory())?;
    let (network, threads, pool) = if together {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(ctx.threads());
        let pool = pool.build();
        let pool = pool.map_err(|error| OpError::Resources(error.to_string()))?;
        (network.spread(), 1, Some(pool))
    } else {
        (network, ctx.threads(), None)
    };
    let window = |&cell: &Cell| {
        let image = work.image(cell)?;
        let maps = network.infer(&image, &work.names(), work.kept());
        Ok((cell, said(maps.map_err(model_error)?)))
    };
    each_by(
        threads,
        ctx,
        cells,
        "patch",
        |cell| match &pool {
            Some(pool) => pool.install(|| window(cell)),
            None => window(cell),
        },
        |_, (cell, said)| take(cell, said),
    )
}

/// Says whether windows are so large that the cores look at one together, not at one each.
///
/// # Errors
/// When there is no memory for one.
pub(super) fn together(grid: &GridHeader, memory: u64) -> Result<bool, OpError> {
    let takes = window_bytes(grid.input);
    if WEIGHTS + takes > memory {
        return Err(OpError::Resources(format!(
            "the network and a window of {} px take {} and there are {}: cut smaller windows, `input: 448 px, output: 144 px`, or raise --memory",
            grid.input,
            gib(WEIGHTS + takes),
            gib(memory)
        )));
    }
    Ok(takes > PER_CORE)
}

/// Returns the bytes that a window of `side` px takes on a CPU, about.
pub(super) fn window_bytes(side: u32) -> u64 {
    BYTES_PER_PIXEL * u64::from(side).pow(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_for_which_there_is_no_memory_are_refused() {
        let grid = |input| GridHeader {
            mpp: 0.5,
            input,
            output: input - 304,
            stride: input - 304,
            width: 5000,
            height: 5000,
            scale: [1.0, 1.0],
        };
        assert!(!together(&grid(448), 1 << 30).unwrap());
        assert!(together(&grid(1024), 4 << 30).unwrap());
        let refused = together(&grid(2032), 2 << 30).unwrap_err().to_string();
        assert!(
            refused.contains("5.67 GiB") && refused.contains("2.00 GiB"),
            "{refused}"
        );
    }
}
