//! How much of a GPU's memory a window takes, about.

use crate::heads::{Head, HeadKind};
use crate::precision::Precision;

/// Bytes of one full-resolution map of the encoder or of a decoder for each of its pixels: 64 channels of f32.
const MAP: u64 = 64 * 4;
/// What a layer's inputs and outputs are rounded up and laid out anew for, in quarters.
const SLACK: (u64, u64) = (5, 4);

/// Estimates the bytes of a GPU's memory that a window of `input` px takes, `kept` px of whose centre are answered for.
///
/// Counted from the layers, not measured: a batch that is too large for it is halved. Twice there is most in
/// memory. At the stem: its output, what it is summed from, and what batch norm makes of it. At the last block of a
/// decoder: the skips of the encoder, the block's input, its parts or its 16 bits, the same laid out for the
/// kernel, and what it makes. Each head's logits and probabilities come on top.
pub fn window_bytes(input: u32, kept: u32, heads: &[Head], precision: Precision) -> u64 {
    let (all, answered) = (u64::from(input).pow(2), u64::from(kept).pow(2));
    // x0 to x4: each has twice the channels on a quarter of the pixels, but for x1, which has as many.
    let skips = MAP + MAP / 4 + MAP / 8 + MAP / 16 + MAP / 32;
    let maps_of_a_layer = match precision {
        // Input, two parts, both laid out anew, three sums, batch norm.
        Precision::F32 => 9,
        // Input and batch norm in f32; input, the same laid out anew and output in 16 and the output in 32 bits.
        Precision::Bf16 | Precision::F16 => 5,
    };
    let stem = 5 * MAP * all;
    let decodes = heads.iter().any(|head| head.kind != HeadKind::Out);
    let decoder = skips * all
        + if decodes {
            maps_of_a_layer * MAP * answered
        } else {
            0
        };
    let classes: u64 = heads
        .iter()
        .filter(|head| head.kind != HeadKind::Out)
        .map(|head| head.channels as u64)
        .sum();
    let answers = 2 * 4 * classes * answered;
    (stem.max(decoder) + answers) * SLACK.0 / SLACK.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pixels_more_heads_and_more_bits_take_more() {
        let heads = Head::published();
        let of =
            |input, heads: &[Head], precision| window_bytes(input, input - 304, heads, precision);
        let small = of(448, &heads, Precision::F32);
        let large = of(1024, &heads, Precision::F32);
        assert!((200 << 20..500 << 20).contains(&small), "{small}");
        assert!((1 << 30..3 << 30).contains(&large), "{large}");
        assert!(of(1024, &heads[..1], Precision::F32) < large);
        assert!(of(1024, &heads, Precision::Bf16) < large);
        assert!(of(1024, &heads[5..], Precision::F32) < of(1024, &heads[..1], Precision::F32));
    }
}
