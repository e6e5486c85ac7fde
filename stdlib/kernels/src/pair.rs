//! Two 1×1 convolutions of which only the second's result is stored: a head of the network.

use crate::conv::{Conv, Shared, with_scratch};
use crate::gemm;
use crate::isa::Work;
use crate::lanes::Lanes;
use crate::map::{Arena, Map};

/// Pixels that are done together: what lies between the two stays in the cache.
const PIXELS: usize = 192;

/// A hidden layer of 1×1 filters and the layer behind it.
pub struct Pair {
    hidden: Conv,
    last: Conv,
}

impl Pair {
    /// Joins two convolutions; nothing unless both are 1×1 and the second reads what the first makes.
    #[must_use]
    pub fn new(hidden: Conv, last: Conv) -> Option<Pair> {
        let (one, two) = (hidden.shape(), last.shape());
        let fits = (one.side, one.stride, two.side, two.stride) == (1, 1, 1, 1)
            && one.outputs == two.inputs;
        fits.then_some(Pair { hidden, last })
    }

    /// Runs both over a map.
    ///
    /// # Panics
    /// When the map has other channels than the first reads.
    #[must_use]
    pub fn run(&self, input: &Map, arena: &Arena) -> Map {
        assert_eq!(
            input.channels,
            self.hidden.shape().inputs,
            "channels of the input"
        );
        let mut output = arena.maps(
            input.count,
            input.height,
            input.width,
            self.last.shape().outputs,
        );
        let pixels = input.pixels();
        let to = Shared(output.values_mut().as_mut_ptr());
        let between = output_stride(&self.hidden);
        arena.each(pixels.div_ceil(PIXELS), |at| {
            let to = &to;
            let first = at * PIXELS;
            let count = PIXELS.min(pixels - first);
            with_scratch(PIXELS * between, 0, |middle, _| {
                self.hidden.isa().run(Block {
                    pair: self,
                    from: &input.values()[first * input.stride..],
                    middle,
                    to: to.0.wrapping_add(first * output_stride(&self.last)),
                    count,
                });
            });
        });
        output
    }
}

fn output_stride(conv: &Conv) -> usize {
    conv.shape().outputs.next_multiple_of(crate::map::PAD)
}

struct Block<'a> {
    pair: &'a Pair,
    from: &'a [f32],
    middle: *mut f32,
    to: *mut f32,
    count: usize,
}

impl Work for Block<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let steps = [
            (&self.pair.hidden, self.from.as_ptr(), self.middle),
            (&self.pair.last, self.middle.cast_const(), self.to),
        ];
        for (conv, from, to) in steps {
            if let Some((weights, finish)) = conv.direct() {
                // SAFETY: the scratch and the output hold a block's pixels.
                unsafe {
                    let (inputs, outputs) = (weights.inputs(), weights.outputs());
                    gemm::multiply::<L>(self.count, from, inputs, weights, to, outputs, finish);
                }
            }
        }
    }
}
