//! Winograd's F(4×4, 3×3): sixteen outputs of a 3×3 convolution by 36 products in place of 144.
//!
//! Points 0, ±1, ±2 and infinity (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", CVPR 2016). Vectors run over channels; every sum has one order.

use crate::lanes::Lanes;

/// Outputs per side of a tile.
pub(crate) const OUT: usize = 4;
/// Inputs per side of a tile.
pub(crate) const IN: usize = 6;
/// Products per tile.
pub(crate) const PRODUCTS: usize = IN * IN;

/// The weights' transform, G.
const G: [[f64; 3]; IN] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Transforms a 3×3 filter, row-major, in double precision.
pub(crate) fn filter(filter: &[f64; 9]) -> [f32; PRODUCTS] {
    let mut out = [0.0; PRODUCTS];
    for (a, left) in G.iter().enumerate() {
        for (b, right) in G.iter().enumerate() {
            let mut sum = 0.0;
            for (y, l) in left.iter().enumerate() {
                for (x, r) in right.iter().enumerate() {
                    sum += l * filter[3 * y + x] * r;
                }
            }
            out[a * IN + b] = sum as f32;
        }
    }
    out
}

/// Bᵀd of one row or column.
#[inline(always)]
unsafe fn inward<L: Lanes>(d: [L::V; IN]) -> [L::V; IN] {
    // SAFETY: arithmetic alone.
    unsafe {
        let (two, four, five) = (L::splat(2.0), L::splat(4.0), L::splat(-5.0));
        let minus = L::splat(-4.0);
        let a = L::fma(minus, d[2], d[4]);
        let b = L::fma(minus, d[1], d[3]);
        let c = L::sub(d[4], d[2]);
        let e = L::mul(two, L::sub(d[3], d[1]));
        [
            L::fma(four, d[0], L::fma(five, d[2], d[4])),
            L::add(a, b),
            L::sub(a, b),
            L::add(c, e),
            L::sub(c, e),
            L::fma(four, d[1], L::fma(five, d[3], d[5])),
        ]
    }
}

/// Aᵀm of one row or column.
#[inline(always)]
unsafe fn outward<L: Lanes>(m: [L::V; IN]) -> [L::V; OUT] {
    // SAFETY: arithmetic alone.
    unsafe {
        let (two, four, eight) = (L::splat(2.0), L::splat(4.0), L::splat(8.0));
        let (p, q) = (L::add(m[1], m[2]), L::sub(m[1], m[2]));
        let (r, s) = (L::add(m[3], m[4]), L::sub(m[3], m[4]));
        [
            L::add(L::add(m[0], p), r),
            L::fma(two, s, q),
            L::fma(four, r, p),
            L::add(L::fma(eight, s, q), m[5]),
        ]
    }
}

/// What a tile is read from or written to.
#[derive(Clone, Copy)]
pub(crate) struct Plane<P> {
    pub values: P,
    pub height: usize,
    pub width: usize,
    /// Values per pixel.
    pub stride: usize,
}

impl<P> Plane<P> {
    /// Returns the values of one image.
    pub fn values_per_image(&self) -> usize {
        self.height * self.width * self.stride
    }
}

/// Transforms the inputs of the tile whose first output is at row `4·ty`, column `4·tx`.
///
/// # Safety
/// The plane holds `height · width` pixels; `to` takes 36 rows of `plane.stride` values, `apart` apart.
#[inline(always)]
pub(crate) unsafe fn read_tile<L: Lanes>(
    plane: Plane<*const f32>,
    (ty, tx): (usize, usize),
    to: *mut f32,
    apart: usize,
) {
    let (y0, x0) = ((OUT * ty) as isize - 1, (OUT * tx) as isize - 1);
    let (height, width) = (plane.height as isize, plane.width as isize);
    let inside = y0 >= 0 && x0 >= 0 && y0 + 6 <= height && x0 + 6 <= width;
    // SAFETY: pixels outside of the plane are not read; channels are below the stride.
    unsafe {
        for channel in (0..plane.stride).step_by(L::WIDTH) {
            let mut half = [[L::splat(0.0); IN]; IN];
            for x in 0..IN {
                let mut column = [L::splat(0.0); IN];
                for (y, v) in column.iter_mut().enumerate() {
                    let (row, col) = (y0 + y as isize, x0 + x as isize);
                    if inside || (row >= 0 && col >= 0 && row < height && col < width) {
                        let pixel = (row * width + col) as usize * plane.stride;
                        *v = L::load(plane.values.add(pixel + channel));
                    }
                }
                for (row, v) in half.iter_mut().zip(inward::<L>(column)) {
                    row[x] = v;
                }
            }
            for (y, row) in half.into_iter().enumerate() {
                for (x, v) in inward::<L>(row).into_iter().enumerate() {
                    L::store(to.add((y * IN + x) * apart + channel), v);
                }
            }
        }
    }
}

/// Transforms the products of a tile back and stores what lies inside of the plane.
///
/// # Safety
/// `from` holds 36 rows of `plane.stride` values, `apart` apart; the bias has `plane.stride` values; a residual
/// has the shape of the plane.
#[inline(always)]
pub(crate) unsafe fn write_tile<L: Lanes>(
    from: *const f32,
    apart: usize,
    bias: *const f32,
    residual: Option<*const f32>,
    relu: bool,
    (ty, tx): (usize, usize),
    plane: Plane<*mut f32>,
) {
    // SAFETY: pixels outside of the plane are not written; channels are below the stride.
    unsafe {
        for channel in (0..plane.stride).step_by(L::WIDTH) {
            let mut half = [[L::splat(0.0); IN]; OUT];
            for x in 0..IN {
                let mut column = [L::splat(0.0); IN];
                for (y, v) in column.iter_mut().enumerate() {
                    *v = L::load(from.add((y * IN + x) * apart + channel));
                }
                for (row, v) in half.iter_mut().zip(outward::<L>(column)) {
                    row[x] = v;
                }
            }
            let bias = L::load(bias.add(channel));
            for (y, row) in half.into_iter().enumerate() {
                let row_at = OUT * ty + y;
                if row_at >= plane.height {
                    break;
                }
                for (x, v) in outward::<L>(row).into_iter().enumerate() {
                    let col_at = OUT * tx + x;
                    if col_at >= plane.width {
                        break;
                    }
                    let pixel = (row_at * plane.width + col_at) * plane.stride + channel;
                    let mut v = L::add(v, bias);
                    if let Some(residual) = residual {
                        v = L::add(v, L::load(residual.add(pixel)));
                    }
                    if relu {
                        v = L::max(v, L::splat(0.0));
                    }
                    L::store(plane.values.add(pixel), v);
                }
            }
        }
    }
}

/// G g of one column of a filter.
#[inline(always)]
unsafe fn filter_half<L: Lanes>(g: [L::V; 3]) -> [L::V; IN] {
    // SAFETY: arithmetic alone.
    unsafe {
        let sixth = L::splat(-1.0 / 6.0);
        let outer = L::add(g[0], g[2]);
        let wide = L::fma(
            L::splat(1.0 / 6.0),
            g[2],
            L::mul(L::splat(1.0 / 24.0), g[0]),
        );
        [
            L::mul(L::splat(0.25), g[0]),
            L::mul(sixth, L::add(outer, g[1])),
            L::mul(sixth, L::sub(outer, g[1])),
            L::fma(L::splat(1.0 / 12.0), g[1], wide),
            L::fma(L::splat(-1.0 / 12.0), g[1], wide),
            g[2],
        ]
    }
}

/// Transforms 3×3 filters, a vector of them: G g Gᵀ.
///
/// # Safety
/// The instruction set of `L` must be there.
#[inline(always)]
pub(crate) unsafe fn filter_lanes<L: Lanes>(filter: [[L::V; 3]; 3]) -> [[L::V; IN]; IN] {
    // SAFETY: arithmetic alone.
    unsafe {
        let mut half = [[L::splat(0.0); 3]; IN];
        for x in 0..3 {
            let column = [filter[0][x], filter[1][x], filter[2][x]];
            for (row, v) in half.iter_mut().zip(filter_half::<L>(column)) {
                row[x] = v;
            }
        }
        let mut products = [[L::splat(0.0); IN]; IN];
        for (row, half) in products.iter_mut().zip(half) {
            *row = filter_half::<L>(half);
        }
        products
    }
}

/// Gᵀ m of one row or column.
#[inline(always)]
unsafe fn gradient_half<L: Lanes>(m: [L::V; IN]) -> [L::V; 3] {
    // SAFETY: arithmetic alone.
    unsafe {
        let (sixth, minus) = (L::splat(1.0 / 6.0), L::splat(-1.0 / 6.0));
        let (near, far) = (L::add(m[1], m[2]), L::add(m[3], m[4]));
        let (quarter, rest) = (L::splat(0.25), L::splat(1.0 / 24.0));
        let middle = L::mul(L::splat(1.0 / 12.0), L::sub(m[3], m[4]));
        [
            L::fma(quarter, m[0], L::fma(minus, near, L::mul(rest, far))),
            L::fma(minus, L::sub(m[1], m[2]), middle),
            L::add(L::mul(sixth, L::sub(far, near)), m[5]),
        ]
    }
}

/// Transforms the gradient of transformed filters into that of the filters: Gᵀ m G.
///
/// # Safety
/// The instruction set of `L` must be there.
#[inline(always)]
pub(crate) unsafe fn filter_gradient<L: Lanes>(products: [[L::V; IN]; IN]) -> [[L::V; 3]; 3] {
    // SAFETY: arithmetic alone.
    unsafe {
        let mut half = [[L::splat(0.0); IN]; 3];
        for x in 0..IN {
            let mut column = [L::splat(0.0); IN];
            for (v, row) in column.iter_mut().zip(&products) {
                *v = row[x];
            }
            for (row, v) in half.iter_mut().zip(gradient_half::<L>(column)) {
                row[x] = v;
            }
        }
        half.map(|row| gradient_half::<L>(row))
    }
}

/// A d of one row or column: the outward transform, transposed.
#[inline(always)]
unsafe fn spread<L: Lanes>(d: [L::V; OUT]) -> [L::V; IN] {
    // SAFETY: arithmetic alone.
    unsafe {
        let (two, four, eight) = (L::splat(2.0), L::splat(4.0), L::splat(8.0));
        let (even, odd) = (L::add(d[0], d[2]), L::add(d[1], d[3]));
        let far_even = L::fma(four, d[2], d[0]);
        let far_odd = L::fma(eight, d[3], L::mul(two, d[1]));
        [
            d[0],
            L::add(even, odd),
            L::sub(even, odd),
            L::add(far_even, far_odd),
            L::sub(far_even, far_odd),
            d[3],
        ]
    }
}

/// Transforms the gradient of the tile whose first output is at row `4·ty`, column `4·tx`: A d Aᵀ, zeros outside.
///
/// # Safety
/// As [`read_tile`].
#[inline(always)]
pub(crate) unsafe fn spread_tile<L: Lanes>(
    plane: Plane<*const f32>,
    (ty, tx): (usize, usize),
    to: *mut f32,
    apart: usize,
) {
    let (y0, x0) = (OUT * ty, OUT * tx);
    // SAFETY: pixels outside of the plane are not read; channels are below the stride.
    unsafe {
        for channel in (0..plane.stride).step_by(L::WIDTH) {
            let mut half = [[L::splat(0.0); OUT]; IN];
            for x in 0..OUT {
                let mut column = [L::splat(0.0); OUT];
                for (y, v) in column.iter_mut().enumerate() {
                    let (row, col) = (y0 + y, x0 + x);
                    if row < plane.height && col < plane.width {
                        let pixel = (row * plane.width + col) * plane.stride;
                        *v = L::load(plane.values.add(pixel + channel));
                    }
                }
                for (row, v) in half.iter_mut().zip(spread::<L>(column)) {
                    row[x] = v;
                }
            }
            for (y, row) in half.into_iter().enumerate() {
                for (x, v) in spread::<L>(row).into_iter().enumerate() {
                    L::store(to.add((y * IN + x) * apart + channel), v);
                }
            }
        }
    }
}
