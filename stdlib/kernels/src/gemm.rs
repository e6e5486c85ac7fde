//! Products of matrices: rows of inputs by packed columns of weights, in blocks that stay in registers.

use crate::lanes::Lanes;
use crate::map::{Buffer, PAD};

/// Weights `[inputs, outputs]`, packed in panels of two vectors of outputs.
pub(crate) struct Packed {
    inputs: usize,
    outputs: usize,
    values: Buffer,
}

impl Packed {
    /// Packs `weight(input, output)` for vectors of `width` values; outputs are padded to a multiple of 16.
    pub fn new(
        inputs: usize,
        outputs: usize,
        width: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Packed {
        let padded = outputs.next_multiple_of(PAD);
        let mut values = Buffer::default();
        values.grow(inputs * padded);
        let to = values.as_mut_slice();
        let mut at = 0;
        for (from, panel) in panels(padded, width) {
            for input in 0..inputs {
                for output in from..from + panel {
                    to[at] = if output < outputs {
                        weight(input, output)
                    } else {
                        0.0
                    };
                    at += 1;
                }
            }
        }
        Packed {
            inputs,
            outputs: padded,
            values,
        }
    }

    /// Takes memory for a matrix, to be filled by panels; `outputs` is a multiple of 16.
    pub fn of_buffer(inputs: usize, outputs: usize, values: Buffer) -> Packed {
        Packed {
            inputs,
            outputs,
            values,
        }
    }

    /// Returns the memory.
    pub fn into_buffer(self) -> Buffer {
        self.values
    }

    /// Returns the values, panel by panel, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.values.as_mut_slice()
    }

    /// Returns the number of outputs, padding included.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// Lists the first output and the number of outputs of each panel.
pub(crate) fn panels(outputs: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..outputs)
        .step_by(2 * width)
        .map(move |from| (from, (2 * width).min(outputs - from)))
}

/// What a product is stored with.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Added to each row.
    pub bias: Option<&'a [f32]>,
    /// Whether what is negative becomes zero.
    pub relu: bool,
}

/// Multiplies `rows` rows of inputs by packed weights.
///
/// Each sum begins with zero and takes its inputs in their order, one fused multiply-add each.
///
/// # Safety
/// `from` holds `rows` rows of `weights.inputs()` values, `from_stride` apart; `to` takes `rows` rows
/// of `weights.outputs()`, `to_stride` apart; a bias has that many values.
#[inline(always)]
pub(crate) unsafe fn multiply<L: Lanes>(
    rows: usize,
    from: *const f32,
    from_stride: usize,
    weights: &Packed,
    to: *mut f32,
    to_stride: usize,
    finish: Finish,
) {
    let inputs = weights.inputs;
    let packed = weights.values.as_slice().as_ptr();
    for (first, panel) in panels(weights.outputs, L::WIDTH) {
        // SAFETY: a panel begins `inputs` rows of outputs for each output before it.
        let panel_at = unsafe { packed.add(first * inputs) };
        let mut row = 0;
        while row < rows {
            let left = rows - row;
            // SAFETY: the row and the output are inside of what the caller promises.
            unsafe {
                let from = from.add(row * from_stride);
                let to = to.add(row * to_stride + first);
                let bias = finish.bias.map(|bias| bias.as_ptr().add(first));
                let place = Place {
                    inputs,
                    from,
                    from_stride,
                    weights: panel_at,
                    to,
                    to_stride,
                    bias,
                    relu: finish.relu,
                };
                row += match panel == 2 * L::WIDTH {
                    true if left >= L::ROWS => whole_block::<L, 2>(place),
                    true => rows_of::<L, 2, 0>(left, place),
                    false if left >= L::ROWS => whole_block::<L, 1>(place),
                    false => rows_of::<L, 1, 0>(left, place),
                };
            }
        }
    }
}

/// Where a block of a product lies.
#[derive(Clone, Copy)]
struct Place {
    inputs: usize,
    from: *const f32,
    from_stride: usize,
    weights: *const f32,
    to: *mut f32,
    to_stride: usize,
    bias: Option<*const f32>,
    relu: bool,
}

/// Does a block of as many rows as there are registers, where most of the work is done.
///
/// A stride that is known when compiling is part of the rows' addresses; one that is not costs an addition per row
/// and input. These are the strides of the published network and of narrower ones.
#[inline(always)]
unsafe fn whole_block<L: Lanes, const C: usize>(at: Place) -> usize {
    macro_rules! by_stride {
        ($($stride:literal)*) => {
            match at.from_stride {
                // SAFETY: passed on; the stride is the one that is named.
                $($stride => unsafe { rows_of::<L, C, $stride>(L::ROWS, at) },)*
                // SAFETY: passed on.
                _ => unsafe { rows_of::<L, C, 0>(L::ROWS, at) },
            }
        };
    }
    by_stride!(16 32 48 64 96 128 147 256 288 512 576 1152 2304)
}

/// Does as many rows at once as there are registers and rows; returns how many.
#[inline(always)]
unsafe fn rows_of<L: Lanes, const C: usize, const STRIDE: usize>(left: usize, at: Place) -> usize {
    // SAFETY: passed on; a block is no larger than what is left.
    unsafe {
        match left.min(L::ROWS) {
            12.. => block::<L, 12, C, STRIDE>(at),
            8..12 => block::<L, 8, C, STRIDE>(at),
            6..8 => block::<L, 6, C, STRIDE>(at),
            4..6 => block::<L, 4, C, STRIDE>(at),
            2..4 => block::<L, 2, C, STRIDE>(at),
            _ => block::<L, 1, C, STRIDE>(at),
        }
    }
}

#[inline(always)]
unsafe fn block<L: Lanes, const R: usize, const C: usize, const STRIDE: usize>(at: Place) -> usize {
    let stride = if STRIDE == 0 { at.from_stride } else { STRIDE };
    // SAFETY: the place holds R rows of inputs and takes R rows of C vectors.
    unsafe {
        let mut sums = [[L::splat(0.0); C]; R];
        for input in 0..at.inputs {
            let weights = at.weights.add(input * C * L::WIDTH);
            let mut columns = [L::splat(0.0); C];
            for (column, v) in columns.iter_mut().enumerate() {
                *v = L::load(weights.add(column * L::WIDTH));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = L::splat(*at.from.add(row * stride + input));
                for (sum, &column) in sums.iter_mut().zip(&columns) {
                    *sum = L::fma(value, column, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, &sum) in sums.iter().enumerate() {
                let mut sum = sum;
                if let Some(bias) = at.bias {
                    sum = L::add(sum, L::load(bias.add(column * L::WIDTH)));
                }
                if at.relu {
                    sum = L::max(sum, L::splat(0.0));
                }
                L::store(at.to.add(row * at.to_stride + column * L::WIDTH), sum);
            }
        }
    }
    R
}

/// Adds products of rows: `sums[row][column] += Σ from[i][row] · by[i][column]`, in the order of `i`.
///
/// `from` and `by` are where a matrix begins, its stride, and its columns that count; `sums` has those of `by`.
///
/// # Safety
/// Both matrices hold `count` rows; the columns of `by` are a multiple of 16; `sums` takes
/// `[columns of from, columns of by]`.
#[inline(always)]
pub(crate) unsafe fn outer<L: Lanes>(
    count: usize,
    from: (*const f32, usize, usize),
    by: (*const f32, usize, usize),
    sums: *mut f32,
) {
    for (first, panel) in panels(by.2, L::WIDTH) {
        let mut row = 0;
        while row < from.2 {
            // SAFETY: rows and columns are inside of the matrices.
            unsafe {
                let at = OuterPlace {
                    count,
                    from: from.0.add(row),
                    from_stride: from.1,
                    by: by.0.add(first),
                    by_stride: by.1,
                    sums: sums.add(row * by.2 + first),
                    sums_stride: by.2,
                };
                row += match panel == 2 * L::WIDTH {
                    true => outer_rows::<L, 2>(from.2 - row, at),
                    false => outer_rows::<L, 1>(from.2 - row, at),
                };
            }
        }
    }
}

/// Where a block of a sum of products of rows lies.
#[derive(Clone, Copy)]
struct OuterPlace {
    count: usize,
    from: *const f32,
    from_stride: usize,
    by: *const f32,
    by_stride: usize,
    sums: *mut f32,
    sums_stride: usize,
}

/// Does as many rows at once as there are registers and rows; returns how many.
#[inline(always)]
unsafe fn outer_rows<L: Lanes, const C: usize>(left: usize, at: OuterPlace) -> usize {
    // SAFETY: passed on; a block is no larger than what is left.
    unsafe {
        match left.min(L::ROWS) {
            12.. => outer_block::<L, 12, C>(at),
            8..12 => outer_block::<L, 8, C>(at),
            6..8 => outer_block::<L, 6, C>(at),
            4..6 => outer_block::<L, 4, C>(at),
            2..4 => outer_block::<L, 2, C>(at),
            _ => outer_block::<L, 1, C>(at),
        }
    }
}

#[inline(always)]
unsafe fn outer_block<L: Lanes, const R: usize, const C: usize>(at: OuterPlace) -> usize {
    // SAFETY: the place holds R columns of one matrix and C vectors of the other.
    unsafe {
        let mut sums = [[L::splat(0.0); C]; R];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum = L::load(at.sums.add(row * at.sums_stride + column * L::WIDTH));
            }
        }
        for i in 0..at.count {
            let (from, by) = (at.from.add(i * at.from_stride), at.by.add(i * at.by_stride));
            let mut columns = [L::splat(0.0); C];
            for (column, v) in columns.iter_mut().enumerate() {
                *v = L::load(by.add(column * L::WIDTH));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = L::splat(*from.add(row));
                for (sum, &column) in sums.iter_mut().zip(&columns) {
                    *sum = L::fma(value, column, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, &sum) in sums.iter().enumerate() {
                L::store(at.sums.add(row * at.sums_stride + column * L::WIDTH), sum);
            }
        }
    }
    R
}
