//! Convolutions whose weights change at every step: forward, and the gradients of their inputs and filters.
//!
//! Filters lie as `[side², inputs, outputs]`, outputs padded to a multiple of 16, so that every step over them is a
//! step over vectors. 3×3 convolutions of stride 1 go by Winograd's F(4×4, 3×3) in all three directions: the
//! gradient of the filters is the transposed algorithm, Gᵀ [Σ (Bᵀ x B) ⊙ (A dy Aᵀ)] G. Every sum has one order,
//! whatever the number of threads.

use crate::conv::{Conv, Kernel, Shape, Shared, gather};
use crate::gemm::{self, Packed};
use crate::isa::{Isa, Work};
use crate::lanes::Lanes;
use crate::map::{Arena, Buffer, Map, PAD};
use crate::winograd::{self, OUT, PRODUCTS, Plane};

/// Pixels from which on Winograd's way is the faster one: below, transforming the filters costs more than it saves.
const MANY_PIXELS: usize = 256;

/// Values that a block of gathered inputs holds at most.
const GATHERED: usize = 1 << 20;

/// Pixels whose products are summed before they join the sum of all: what one long sum would lose.
const SUMMED: usize = 1 << 13;

/// How the products of a 3×3 convolution are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// By tiles, with a quarter of the multiplications and ten times the rounding.
    Winograd,
    /// One for each tap, rounded as the published code's are.
    Direct,
}

/// A convolution in training: its shape and how it is done, without its weights.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    shape: Shape,
    products: Products,
    isa: Isa,
}

impl Layer {
    /// Makes the layer of a shape; nothing for an even side or no stride.
    #[must_use]
    pub fn new(shape: Shape, products: Products, isa: Isa) -> Option<Layer> {
        let fits = shape.side % 2 == 1 && shape.stride > 0 && shape.inputs > 0 && shape.outputs > 0;
        fits.then_some(Layer {
            shape,
            products,
            isa,
        })
    }

    /// Returns the shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the inputs that filters have: padded to a multiple of 16, but for thin ones of a side above 1.
    #[must_use]
    pub fn inputs(&self) -> usize {
        let padded = self.shape.inputs.next_multiple_of(PAD);
        match self.shape.side == 1 || self.shape.inputs >= PAD {
            true => padded,
            false => self.shape.inputs,
        }
    }

    /// Returns the outputs that filters have: padded to a multiple of 16.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.shape.outputs.next_multiple_of(PAD)
    }

    /// Returns the number of values of the filters, padding included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.side * self.shape.side * self.inputs() * self.outputs()
    }

    /// Says whether there are no filters: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns where the weight of an output, an input and a tap (row-major) lies.
    #[must_use]
    pub fn index(&self, output: usize, input: usize, tap: usize) -> usize {
        (tap * self.inputs() + input) * self.outputs() + output
    }

    fn by_tiles(&self, pixels: usize) -> bool {
        let Shape { side, stride, .. } = self.shape;
        let fits = side == 3 && stride == 1 && self.shape.inputs >= PAD;
        fits && self.products == Products::Winograd && pixels >= MANY_PIXELS
    }

    /// Convolves; a bias of [`Layer::outputs`] values is added.
    ///
    /// # Panics
    /// When map, filters or bias do not have the layer's lengths: a mistake of whoever wires the layers.
    #[must_use]
    pub fn forward(
        &self,
        input: &Map,
        filters: &[f32],
        bias: Option<&[f32]>,
        arena: &Arena,
    ) -> Map {
        assert_eq!(filters.len(), self.len(), "length of the filters");
        let matrices = Matrices {
            values: filters,
            taps: self.shape.side * self.shape.side,
            inputs: self.inputs(),
            outputs: self.outputs(),
            turned: false,
        };
        self.run(self.shape, &matrices, input, bias, arena)
    }

    /// Returns the gradient of the input, which has `size` rows and columns, from that of the output; what is read
    /// through a side above 1 has at least 16 channels.
    ///
    /// # Panics
    /// As [`Layer::forward`].
    #[must_use]
    pub fn backward(
        &self,
        gradient: &Map,
        filters: &[f32],
        size: (usize, usize),
        arena: &Arena,
    ) -> Map {
        assert_eq!(filters.len(), self.len(), "length of the filters");
        assert_eq!(self.inputs() % PAD, 0, "a thin input has no gradient");
        let (taps, inputs, outputs) = (
            self.shape.side * self.shape.side,
            self.inputs(),
            self.outputs(),
        );
        // The gradient of a convolution is one with the filters turned around, inputs and outputs changed.
        let mut turned = arena.buffer(self.len());
        transpose(filters, taps, inputs, outputs, &mut turned, arena);
        let matrices = Matrices {
            values: &turned.as_slice()[..self.len()],
            taps,
            inputs: outputs,
            outputs: inputs,
            turned: true,
        };
        let shape = Shape {
            inputs: self.shape.outputs,
            outputs: self.shape.inputs,
            side: self.shape.side,
            stride: 1,
        };
        let made = if self.shape.stride == 1 {
            self.run(shape, &matrices, gradient, None, arena)
        } else {
            let apart = set_apart(gradient, self.shape.stride, size, arena);
            let made = self.run(shape, &matrices, &apart, None, arena);
            arena.give_back(apart);
            made
        };
        arena.take_back(turned);
        made
    }

    fn run(
        &self,
        shape: Shape,
        matrices: &Matrices,
        input: &Map,
        bias: Option<&[f32]>,
        arena: &Arena,
    ) -> Map {
        let by_tiles = self.by_tiles(input.pixels());
        let kernel = match by_tiles {
            true => Kernel::Winograd(matrices.transformed(self.isa, arena)),
            false => Kernel::Direct(matrices.packed(self.isa, arena)),
        };
        let mut zero_or_bias = arena.buffer(matrices.outputs);
        let values = zero_or_bias.as_mut_slice();
        values.fill(0.0);
        if let Some(bias) = bias {
            assert_eq!(bias.len(), matrices.outputs, "length of the bias");
            values[..bias.len()].copy_from_slice(bias);
        }
        let conv = Conv::of_parts(shape, self.isa, zero_or_bias, kernel);
        let output = conv.run(input, None, arena);
        conv.release(arena);
        output
    }

    /// Adds the gradient of the filters to `to`, from the layer's input and the gradient of its output.
    ///
    /// # Panics
    /// As [`Layer::forward`].
    pub fn gradient(&self, input: &Map, gradient: &Map, to: &mut [f32], arena: &Arena) {
        assert_eq!(to.len(), self.len(), "length of the filters");
        assert_eq!(input.channels, self.shape.inputs, "channels of the input");
        assert_eq!(
            gradient.channels, self.shape.outputs,
            "channels of the output"
        );
        match self.by_tiles(input.pixels()) {
            true => self.gradient_by_tiles(input, gradient, to, arena),
            false => self.gradient_by_pixels(input, gradient, to, arena),
        }
    }

    fn gradient_by_tiles(&self, input: &Map, gradient: &Map, to: &mut [f32], arena: &Arena) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let columns = input.width.div_ceil(OUT);
        let per_image = input.height.div_ceil(OUT) * columns;
        let tiles = input.count * per_image;
        let block = match inputs.max(outputs) {
            ..=128 => 96,
            _ => 192,
        };
        let mut read = arena.buffer(PRODUCTS * block * inputs);
        let mut spread = arena.buffer(PRODUCTS * block * outputs);
        let mut sums = arena.buffer(PRODUCTS * inputs * outputs);
        sums.as_mut_slice().fill(0.0);
        let read_to = Shared(read.as_mut_slice().as_mut_ptr());
        let spread_to = Shared(spread.as_mut_slice().as_mut_ptr());
        let sums_to = Shared(sums.as_mut_slice().as_mut_ptr());
        for first in (0..tiles).step_by(block) {
            let count = block.min(tiles - first);
            arena.each(count.div_ceil(TILES), |at| {
                self.isa.run(Transforms {
                    input,
                    gradient,
                    columns,
                    per_image,
                    first,
                    tiles: at * TILES..count.min((at + 1) * TILES),
                    read: (read_to.get(), block * inputs),
                    spread: (spread_to.get(), block * outputs),
                });
            });
            arena.each(PRODUCTS, |product| {
                self.isa.run(Outer {
                    count,
                    from: read_to.get().wrapping_add(product * block * inputs),
                    from_stride: inputs,
                    rows: inputs,
                    by: spread_to.get().wrapping_add(product * block * outputs),
                    by_stride: outputs,
                    columns: outputs,
                    sums: sums_to.get().wrapping_add(product * inputs * outputs),
                });
            });
        }
        let to = Shared(to.as_mut_ptr());
        arena.each(inputs, |row| {
            self.isa.run(FilterGradient {
                sums: sums_to.get(),
                to: to.get(),
                inputs,
                outputs,
                row,
            });
        });
        for buffer in [read, spread, sums] {
            arena.take_back(buffer);
        }
    }

    fn gradient_by_pixels(&self, input: &Map, gradient: &Map, to: &mut [f32], arena: &Arena) {
        let Shape { side, stride, .. } = self.shape;
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rows = side * side * inputs;
        let pixels = gradient.pixels();
        let plain = side == 1 && stride == 1;
        let bare = (inputs != input.stride()).then(|| crate::conv::bare(input));
        let taps = bare.as_deref().unwrap_or(input.values());
        let block = if plain {
            SUMMED
        } else {
            (GATHERED / rows).clamp(48, SUMMED)
        };
        let mut gathered = arena.buffer(if plain { 0 } else { block * rows });
        let mut sums = arena.buffer(rows * outputs);
        sums.as_mut_slice().fill(0.0);
        let sums_to = Shared(sums.as_mut_slice().as_mut_ptr());
        let gathered_to = Shared(gathered.as_mut_slice().as_mut_ptr());
        let mut summed = 0;
        for first in (0..pixels).step_by(block) {
            let count = block.min(pixels - first);
            if !plain {
                arena.each(count.div_ceil(GATHER), |at| {
                    let (from, to) = (at * GATHER, count.min((at + 1) * GATHER));
                    // SAFETY: each piece of work has pixels of its own.
                    let gathered = unsafe {
                        std::slice::from_raw_parts_mut(
                            gathered_to.get().add(from * rows),
                            (to - from) * rows,
                        )
                    };
                    let size = (gradient.height, gradient.width);
                    gather(input, taps, side, stride, size, first + from, gathered);
                });
            }
            let from = match plain {
                true => taps.as_ptr().wrapping_add(first * rows),
                false => gathered_to.get().cast_const(),
            };
            let from = Given(from);
            arena.each(rows.div_ceil(ROWS), |at| {
                let row = at * ROWS;
                self.isa.run(Outer {
                    count,
                    from: from.get().wrapping_add(row),
                    from_stride: rows,
                    rows: ROWS.min(rows - row),
                    by: gradient.values()[first * outputs..].as_ptr(),
                    by_stride: outputs,
                    columns: outputs,
                    sums: sums_to.get().wrapping_add(row * outputs),
                });
            });
            summed += count;
            if summed >= SUMMED || first + count == pixels {
                summed = 0;
                let sums = &mut sums.as_mut_slice()[..rows * outputs];
                for (to, sum) in to.iter_mut().zip(sums) {
                    *to += *sum;
                    *sum = 0.0;
                }
            }
        }
        arena.take_back(gathered);
        arena.take_back(sums);
    }
}

/// Tiles that one piece of work transforms.
const TILES: usize = 8;
/// Pixels that one piece of work gathers.
const GATHER: usize = 64;
/// Rows of a gradient that one piece of work sums.
const ROWS: usize = 48;

/// Input memory that pieces of work share.
struct Given(*const f32);

// SAFETY: it is only read.
unsafe impl Sync for Given {}

impl Given {
    fn get(&self) -> *const f32 {
        self.0
    }
}

/// Filters as matrices: `[taps, inputs, outputs]`.
struct Matrices<'a> {
    values: &'a [f32],
    taps: usize,
    inputs: usize,
    outputs: usize,
    /// Whether the last tap is the first.
    turned: bool,
}

impl Matrices<'_> {
    fn tap(&self, tap: usize) -> usize {
        match self.turned {
            true => self.taps - 1 - tap,
            false => tap,
        }
    }

    fn packed(&self, isa: Isa, arena: &Arena) -> Packed {
        let inputs = self.taps * self.inputs;
        let buffer = arena.buffer(inputs * self.outputs);
        let mut packed = Packed::of_buffer(inputs, self.outputs, buffer);
        let to = Shared(packed.values_mut().as_mut_ptr());
        arena.each(inputs, |input| {
            let from = self.tap(input / self.inputs) * self.inputs + input % self.inputs;
            let row = &self.values[from * self.outputs..][..self.outputs];
            let mut left = row;
            for (first, panel) in gemm::panels(self.outputs, isa.width()) {
                let (now, later) = left.split_at(panel);
                // SAFETY: each piece of work has a row of each panel.
                let to = unsafe {
                    std::slice::from_raw_parts_mut(
                        to.get().add(first * inputs + input * panel),
                        panel,
                    )
                };
                to.copy_from_slice(now);
                left = later;
            }
        });
        packed
    }

    fn transformed(&self, isa: Isa, arena: &Arena) -> Vec<Packed> {
        let mut all: Vec<Packed> = (0..PRODUCTS)
            .map(|_| {
                let buffer = arena.buffer(self.inputs * self.outputs);
                Packed::of_buffer(self.inputs, self.outputs, buffer)
            })
            .collect();
        let to: Vec<Shared> = all
            .iter_mut()
            .map(|packed| Shared(packed.values_mut().as_mut_ptr()))
            .collect();
        arena.each(self.inputs, |row| {
            isa.run(FilterRow {
                matrices: self,
                to: &to,
                row,
            });
        });
        all
    }
}

/// Changes inputs and outputs of filters.
fn transpose(
    from: &[f32],
    taps: usize,
    inputs: usize,
    outputs: usize,
    to: &mut Buffer,
    arena: &Arena,
) {
    let to = Shared(to.as_mut_slice().as_mut_ptr());
    arena.each(taps * outputs / PAD, |at| {
        let (tap, first) = (at / (outputs / PAD), at % (outputs / PAD) * PAD);
        for input in 0..inputs {
            let row = &from[(tap * inputs + input) * outputs + first..][..PAD];
            for (output, &value) in row.iter().enumerate() {
                // SAFETY: each piece of work has outputs of its own.
                unsafe {
                    let row = (tap * outputs + first + output) * inputs;
                    *to.get().add(row + input) = value;
                }
            }
        }
    });
}

/// Sets pixels apart, zeros between them.
fn set_apart(map: &Map, stride: usize, (height, width): (usize, usize), arena: &Arena) -> Map {
    let mut apart = arena.maps(map.count, height, width, map.channels);
    let pixel = map.stride();
    let row = width * pixel;
    let to = Shared(apart.values_mut().as_mut_ptr());
    arena.each(map.count * height, |at| {
        let (image, y) = (at / height, at % height);
        // SAFETY: each piece of work has a row of its own.
        let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at * row), row) };
        to.fill(0.0);
        if y % stride == 0 && y / stride < map.height {
            let from = (image * map.height + y / stride) * map.width * pixel;
            let from = map.values()[from..][..map.width * pixel].chunks_exact(pixel);
            for (to, from) in to.chunks_exact_mut(pixel).step_by(stride).zip(from) {
                to.copy_from_slice(from);
            }
        }
    });
    apart
}

/// Transforms the filters of one input.
struct FilterRow<'a> {
    matrices: &'a Matrices<'a>,
    to: &'a [Shared],
    row: usize,
}

impl Work for FilterRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Matrices {
            values,
            inputs,
            outputs,
            ..
        } = *self.matrices;
        for (first, panel) in gemm::panels(outputs, L::WIDTH) {
            for column in (0..panel).step_by(L::WIDTH) {
                // SAFETY: inside of the filters and of the panels.
                unsafe {
                    let mut taps = [[L::splat(0.0); 3]; 3];
                    for (tap, v) in taps.as_flattened_mut().iter_mut().enumerate() {
                        let row = self.matrices.tap(tap) * inputs + self.row;
                        *v = L::load(values.as_ptr().add(row * outputs + first + column));
                    }
                    let at = first * inputs + self.row * panel + column;
                    let products = winograd::filter_lanes::<L>(taps);
                    for (to, v) in self.to.iter().zip(products.as_flattened()) {
                        L::store(to.get().add(at), *v);
                    }
                }
            }
        }
    }
}

/// Transforms tiles of an input and of a gradient.
struct Transforms<'a> {
    input: &'a Map,
    gradient: &'a Map,
    columns: usize,
    per_image: usize,
    /// First tile of the block.
    first: usize,
    tiles: std::ops::Range<usize>,
    /// Where a block begins, and how far apart its products are.
    read: (*mut f32, usize),
    spread: (*mut f32, usize),
}

impl Work for Transforms<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let plane = |map: &Map, image: usize| {
            let plane = Plane {
                values: map.values().as_ptr(),
                height: map.height,
                width: map.width,
                stride: map.stride(),
            };
            Plane {
                values: plane.values.wrapping_add(image * plane.values_per_image()),
                ..plane
            }
        };
        for tile in self.tiles {
            let of_all = self.first + tile;
            let (image, of_image) = (of_all / self.per_image, of_all % self.per_image);
            let place = (of_image / self.columns, of_image % self.columns);
            // SAFETY: tiles are inside of the maps, and the block has room for them.
            unsafe {
                let from = plane(self.input, image);
                let to = self.read.0.add(tile * from.stride);
                winograd::read_tile::<L>(from, place, to, self.read.1);
                let from = plane(self.gradient, image);
                let to = self.spread.0.add(tile * from.stride);
                winograd::spread_tile::<L>(from, place, to, self.spread.1);
            }
        }
    }
}

/// Adds products of rows: `sums[row][column] += Σ from[i][row] · by[i][column]`.
struct Outer {
    count: usize,
    from: *const f32,
    from_stride: usize,
    rows: usize,
    by: *const f32,
    by_stride: usize,
    columns: usize,
    sums: *mut f32,
}

impl Work for Outer {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: whoever makes one gives memory of these sizes.
        unsafe {
            gemm::outer::<L>(
                self.count,
                (self.from, self.from_stride, self.rows),
                (self.by, self.by_stride, self.columns),
                self.sums,
            );
        }
    }
}

/// Transforms the sums of one input back and adds them to the gradient.
struct FilterGradient {
    sums: *const f32,
    to: *mut f32,
    inputs: usize,
    outputs: usize,
    row: usize,
}

impl Work for FilterGradient {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let apart = self.inputs * self.outputs;
        for column in (0..self.outputs).step_by(L::WIDTH) {
            let at = self.row * self.outputs + column;
            // SAFETY: inside of the sums and of the gradient.
            unsafe {
                let mut products = [[L::splat(0.0); winograd::IN]; winograd::IN];
                for (product, v) in products.as_flattened_mut().iter_mut().enumerate() {
                    *v = L::load(self.sums.add(product * apart + at));
                }
                let taps = winograd::filter_gradient::<L>(products);
                for (tap, &v) in taps.as_flattened().iter().enumerate() {
                    let to = self.to.add(tap * apart + at);
                    L::store(to, L::add(L::load(to), v));
                }
            }
        }
    }
}
