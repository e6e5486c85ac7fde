//! Convolutions: weights packed once, bias, residual and ReLU in the last store.

use std::cell::RefCell;

use crate::gemm::{self, Finish, Packed};
use crate::isa::{Isa, Work};
use crate::lanes::Lanes;
use crate::map::{Arena, Buffer, Map, PAD};
use crate::winograd::{self, OUT, PRODUCTS, Plane};

/// Output pixels of a direct convolution that are done together.
const PIXELS: usize = 192;

/// The shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Channels read.
    pub inputs: usize,
    /// Channels made.
    pub outputs: usize,
    /// Side of the filter: odd.
    pub side: usize,
    /// Pixels between two outputs; the padding keeps the size at 1.
    pub stride: usize,
}

/// The weights of a convolution, batch norm folded in.
pub struct Weights<'a> {
    /// `[outputs, inputs, side, side]`, as PyTorch has them.
    pub filters: &'a [f32],
    /// One for each output.
    pub bias: &'a [f32],
}

/// A convolution, ready to run.
pub struct Conv {
    shape: Shape,
    relu: bool,
    isa: Isa,
    bias: Buffer,
    kernel: Kernel,
}

pub(crate) enum Kernel {
    /// One matrix for each of the 36 products of a tile.
    Winograd(Vec<Packed>),
    /// `[side · side · inputs, outputs]`.
    Direct(Packed),
}

impl Conv {
    /// Packs the weights for an instruction set; nothing when their lengths do not fit the shape.
    #[must_use]
    pub fn new(shape: Shape, weights: &Weights, relu: bool, isa: Isa) -> Option<Conv> {
        let Shape {
            inputs,
            outputs,
            side,
            stride,
        } = shape;
        let area = side * side;
        let fits = weights.filters.len() == outputs * inputs * area
            && weights.bias.len() == outputs
            && side % 2 == 1
            && stride > 0
            && inputs > 0;
        if !fits {
            return None;
        }
        let mut bias = Buffer::default();
        bias.grow(outputs.next_multiple_of(PAD));
        bias.as_mut_slice()[..outputs].copy_from_slice(weights.bias);
        let of = |output: usize, input: usize| {
            &weights.filters[(output * inputs + input) * area..][..area]
        };
        // What stands in padded channels of the input is zero, and so are their weights.
        let padded = inputs.next_multiple_of(PAD);
        let kernel = if side == 3 && stride == 1 && inputs >= PAD {
            let mut transformed = vec![0.0f32; PRODUCTS * inputs * outputs];
            for output in 0..outputs {
                for input in 0..inputs {
                    let filter: [f64; 9] =
                        std::array::from_fn(|at| f64::from(of(output, input)[at]));
                    for (product, value) in winograd::filter(&filter).into_iter().enumerate() {
                        transformed[(product * inputs + input) * outputs + output] = value;
                    }
                }
            }
            let pack = |product: usize| {
                Packed::new(padded, outputs, isa.width(), |input, output| {
                    match input < inputs {
                        true => transformed[(product * inputs + input) * outputs + output],
                        false => 0.0,
                    }
                })
            };
            Kernel::Winograd((0..PRODUCTS).map(pack).collect())
        } else {
            // A thin input is gathered without its padding.
            let taken = if area == 1 || inputs == padded {
                padded
            } else {
                inputs
            };
            let pack = |at: usize, output: usize| match at % taken {
                input if input < inputs => of(output, input)[at / taken],
                _ => 0.0,
            };
            Kernel::Direct(Packed::new(area * taken, outputs, isa.width(), pack))
        };
        Some(Conv {
            shape,
            relu,
            isa,
            bias,
            kernel,
        })
    }

    /// Joins parts that fit each other.
    pub(crate) fn of_parts(shape: Shape, isa: Isa, bias: Buffer, kernel: Kernel) -> Conv {
        Conv {
            shape,
            relu: false,
            isa,
            bias,
            kernel,
        }
    }

    /// Gives its memory back.
    pub(crate) fn release(self, arena: &Arena) {
        arena.take_back(self.bias);
        match self.kernel {
            Kernel::Winograd(all) => {
                for packed in all {
                    arena.take_back(packed.into_buffer());
                }
            }
            Kernel::Direct(packed) => arena.take_back(packed.into_buffer()),
        }
    }

    /// Returns the shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the matrix of a direct convolution and what it is stored with.
    pub(crate) fn direct(&self) -> Option<(&Packed, Finish<'_>)> {
        let finish = Finish {
            bias: Some(self.bias.as_slice()),
            relu: self.relu,
        };
        match &self.kernel {
            Kernel::Direct(weights) => Some((weights, finish)),
            Kernel::Winograd(_) => None,
        }
    }

    /// Runs it over a map, zeros around; a residual of the output's shape is added before the ReLU.
    ///
    /// Parts run on the threads of the current rayon pool; their number changes no bit.
    ///
    /// # Panics
    /// When the map has other channels than the shape, or the residual another size than the output:
    /// a mistake of whoever wires the layers.
    #[must_use]
    pub fn run(&self, input: &Map, residual: Option<&Map>, arena: &Arena) -> Map {
        let stride = self.shape.stride;
        let (height, width) = (input.height.div_ceil(stride), input.width.div_ceil(stride));
        let mut output = arena.maps(input.count, height, width, self.shape.outputs);
        assert_eq!(input.channels, self.shape.inputs, "channels of the input");
        if let Some(residual) = residual {
            let size = (residual.count, residual.height, residual.width);
            assert_eq!(size, (input.count, height, width), "size of the residual");
            assert_eq!(residual.stride, output.stride, "channels of the residual");
        }
        let to = Shared(output.values_mut().as_mut_ptr());
        let size = (height, width);
        match &self.kernel {
            Kernel::Winograd(weights) => self.by_tiles(weights, input, residual, &to, size, arena),
            Kernel::Direct(weights) => self.by_pixels(weights, input, &to, size, arena),
        }
        if let (Kernel::Direct(_), Some(residual)) = (&self.kernel, residual) {
            add(&mut output, residual, self.relu);
        }
        output
    }

    fn by_tiles(
        &self,
        weights: &[Packed],
        input: &Map,
        residual: Option<&Map>,
        to: &Shared,
        (height, width): (usize, usize),
        arena: &Arena,
    ) {
        let (rows, columns) = (height.div_ceil(OUT), width.div_ceil(OUT));
        let (from_stride, to_stride) = (input.stride, weights[0].outputs());
        let block = match self.shape.inputs {
            ..=64 => 24,
            65..=128 => 48,
            _ => 96,
        };
        let per_image = rows * columns;
        let tiles = input.count * per_image;
        arena.each(tiles.div_ceil(block), |at| {
            let first = at * block;
            let count = block.min(tiles - first);
            with_scratch(
                PRODUCTS * block * from_stride,
                PRODUCTS * block * to_stride,
                |read, made| {
                    self.isa.run(Tiles {
                        weights,
                        bias: self.bias.as_slice(),
                        relu: self.relu,
                        from: Plane {
                            values: input.values().as_ptr(),
                            height: input.height,
                            width: input.width,
                            stride: from_stride,
                        },
                        residual: residual.map(|map| map.values().as_ptr()),
                        to: Plane {
                            values: to.0,
                            height,
                            width,
                            stride: to_stride,
                        },
                        columns,
                        per_image,
                        first,
                        count,
                        block,
                        read,
                        made,
                    });
                },
            );
        });
    }

    fn by_pixels(
        &self,
        weights: &Packed,
        input: &Map,
        to: &Shared,
        (height, width): (usize, usize),
        arena: &Arena,
    ) {
        let pixels = input.count * height * width;
        let per_tap = weights.inputs() / (self.shape.side * self.shape.side);
        let bare = (per_tap != input.stride).then(|| bare(input));
        let taps = bare.as_deref().unwrap_or(input.values());
        arena.each(pixels.div_ceil(PIXELS), |at| {
            let first = at * PIXELS;
            let count = PIXELS.min(pixels - first);
            with_scratch(PIXELS * weights.inputs(), 0, |gathered, _| {
                self.isa.run(Pixels {
                    weights,
                    shape: self.shape,
                    finish: Finish {
                        bias: Some(self.bias.as_slice()),
                        relu: self.relu,
                    },
                    input,
                    taps,
                    to: to.0,
                    size: (height, width),
                    first,
                    count,
                    gathered,
                });
            });
        });
    }
}

/// Copies the channels that count.
pub(crate) fn bare(map: &Map) -> Vec<f32> {
    let pixels = map.values().chunks_exact(map.stride);
    pixels
        .flat_map(|pixel| &pixel[..map.channels])
        .copied()
        .collect()
}

/// Adds a residual to what a direct convolution made; none of ours has both.
fn add(output: &mut Map, residual: &Map, relu: bool) {
    for (value, more) in output.values_mut().iter_mut().zip(residual.values()) {
        *value += more;
        if relu && *value <= 0.0 {
            *value = 0.0;
        }
    }
}

/// Output memory that blocks write to, each to pixels of its own.
pub(crate) struct Shared(pub *mut f32);

// SAFETY: blocks write to disjoint pixels, and nobody reads before all have ended.
unsafe impl Sync for Shared {}

impl Shared {
    /// Returns the pointer; a closure that names the field alone would capture it without the promise above.
    pub fn get(&self) -> *mut f32 {
        self.0
    }
}

thread_local! {
    static SCRATCH: RefCell<(Buffer, Buffer)> = RefCell::default();
}

/// Lends this thread's scratch memory.
pub(crate) fn with_scratch(one: usize, other: usize, work: impl FnOnce(*mut f32, *mut f32)) {
    SCRATCH.with_borrow_mut(|(first, second)| {
        first.grow(one);
        second.grow(other);
        work(
            first.as_mut_slice().as_mut_ptr(),
            second.as_mut_slice().as_mut_ptr(),
        );
    });
}

/// A block of Winograd tiles.
struct Tiles<'a> {
    weights: &'a [Packed],
    bias: &'a [f32],
    relu: bool,
    from: Plane<*const f32>,
    residual: Option<*const f32>,
    to: Plane<*mut f32>,
    /// Tiles in a row of the map, and in one image.
    columns: usize,
    per_image: usize,
    first: usize,
    count: usize,
    /// Tiles of a whole block.
    block: usize,
    read: *mut f32,
    made: *mut f32,
}

impl Work for Tiles<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (inputs, outputs) = (self.from.stride, self.to.stride);
        let (read_apart, made_apart) = (self.block * inputs, self.block * outputs);
        let place = |tile: usize| {
            let tile = self.first + tile;
            let (image, tile) = (tile / self.per_image, tile % self.per_image);
            (image, (tile / self.columns, tile % self.columns))
        };
        let (of_from, of_to) = (self.from.values_per_image(), self.to.values_per_image());
        // SAFETY: the scratch holds 36 rows for each tile of a block, the planes what they say.
        unsafe {
            for tile in 0..self.count {
                let to = self.read.add(tile * inputs);
                let (image, place) = place(tile);
                let from = Plane {
                    values: self.from.values.add(image * of_from),
                    ..self.from
                };
                winograd::read_tile::<L>(from, place, to, read_apart);
            }
            for (product, weights) in self.weights.iter().enumerate() {
                let plain = Finish {
                    bias: None,
                    relu: false,
                };
                gemm::multiply::<L>(
                    self.count,
                    self.read.add(product * read_apart),
                    inputs,
                    weights,
                    self.made.add(product * made_apart),
                    outputs,
                    plain,
                );
            }
            for tile in 0..self.count {
                let (image, place) = place(tile);
                let to = Plane {
                    values: self.to.values.add(image * of_to),
                    ..self.to
                };
                winograd::write_tile::<L>(
                    self.made.add(tile * outputs),
                    made_apart,
                    self.bias.as_ptr(),
                    self.residual.map(|values| values.add(image * of_to)),
                    self.relu,
                    place,
                    to,
                );
            }
        }
    }
}

/// A block of output pixels of a direct convolution.
struct Pixels<'a> {
    weights: &'a Packed,
    shape: Shape,
    finish: Finish<'a>,
    input: &'a Map,
    /// The input's values, without padding where taps are taken without it.
    taps: &'a [f32],
    to: *mut f32,
    /// Rows and columns of the output.
    size: (usize, usize),
    first: usize,
    count: usize,
    gathered: *mut f32,
}

impl Work for Pixels<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Shape { side, stride, .. } = self.shape;
        let (taken, outputs) = (self.weights.inputs(), self.weights.outputs());
        let pixel = self.input.stride;
        // SAFETY: the scratch holds the inputs of a block's pixels, the output its pixels.
        unsafe {
            let to = self.to.add(self.first * outputs);
            if side == 1 && stride == 1 {
                let from = self.taps.as_ptr().add(self.first * pixel);
                return gemm::multiply::<L>(
                    self.count,
                    from,
                    pixel,
                    self.weights,
                    to,
                    outputs,
                    self.finish,
                );
            }
            let gathered = std::slice::from_raw_parts_mut(self.gathered, self.count * taken);
            gather(
                self.input, self.taps, side, stride, self.size, self.first, gathered,
            );
            gemm::multiply::<L>(
                self.count,
                self.gathered,
                taken,
                self.weights,
                to,
                outputs,
                self.finish,
            );
        }
    }
}

/// Gathers the inputs of the output pixels from `first` on, `side² · channels` for each, zeros where they are outside.
///
/// `taps` are the values of `input`, with or without the padding of its channels; `size` is that of the output.
pub(crate) fn gather(
    input: &Map,
    taps: &[f32],
    side: usize,
    stride: usize,
    size: (usize, usize),
    first: usize,
    gathered: &mut [f32],
) {
    let (height, width) = (input.height, input.width);
    let per_tap = taps.len() / input.pixels();
    let (per_row, taken) = (side * per_tap, side * side * per_tap);
    for (at, pixel) in gathered.chunks_exact_mut(taken).enumerate() {
        let (row_at, x) = ((first + at) / size.1, (first + at) % size.1);
        let (image, y) = (row_at / size.0, row_at % size.0);
        let x = (x * stride).wrapping_sub(side / 2);
        // The taps of a row lie side by side, so they are taken at once where all are inside.
        for (row, to) in pixel.chunks_exact_mut(per_row).enumerate() {
            let y = (y * stride + row).wrapping_sub(side / 2);
            if y >= height {
                to.fill(0.0);
                continue;
            }
            let row_at = (image * height + y) * width;
            if x < width && x + side <= width {
                let from = (row_at + x) * per_tap;
                to.copy_from_slice(&taps[from..from + per_row]);
                continue;
            }
            for (tap, to) in to.chunks_exact_mut(per_tap).enumerate() {
                let x = x.wrapping_add(tap);
                if x < width {
                    let from = (row_at + x) * per_tap;
                    to.copy_from_slice(&taps[from..from + per_tap]);
                } else {
                    to.fill(0.0);
                }
            }
        }
    }
}
