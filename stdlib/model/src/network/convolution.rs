//! A convolution that multiplies as it is told to: as the device does, in parts that no tensor core can round, or in 16 bits.

use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor};

use crate::precision::Precision;

/// Fewest channels of either side for which 16 bits are used: with fewer a GPU takes a kernel that also adds in them.
const WIDE: usize = 16;

/// How inputs and weights are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Multiply {
    /// As the device multiplies f32: exact on a CPU, and TF32 on a GPU whenever a kernel for it is the fastest.
    Plain,
    /// As sums of a part of 8 significant bits and the rest.
    ///
    /// TF32 keeps 11 of 24 bits. The product of the first parts passes through it unchanged; in the others one factor is
    /// a rest, so what is rounded lies 20 bits below. Sums are f32 in every kernel, and where nothing is rounded
    /// nothing is lost.
    Parts,
    /// In 16 bits, with sums in f32.
    Half(FloatDType),
}

impl Multiply {
    /// Returns how a GPU multiplies in a precision.
    pub(super) fn on_gpu(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::Parts,
            Precision::Bf16 => Self::Half(FloatDType::BF16),
            Precision::F16 => Self::Half(FloatDType::F16),
        }
    }
}

/// A convolution that keeps the size at stride 1.
#[derive(Module, Debug)]
pub(super) struct Convolution {
    weight: Param<Tensor<4>>,
    /// What the first part leaves of the weights.
    rest: Option<Param<Tensor<4>>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    multiply: Multiply,
}

impl Convolution {
    /// Prepares weights `[output, input, height, width]`; the bias is there when the weights have one.
    pub(super) fn new(
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        stride: usize,
        multiply: Multiply,
    ) -> Self {
        let [output, input, _, _] = weight.dims();
        let multiply = match multiply {
            Multiply::Half(_) if output.min(input) < WIDE => Multiply::Parts,
            other => other,
        };
        let (weight, rest) = match multiply {
            Multiply::Plain => (weight, None),
            Multiply::Parts => {
                let (first, rest) = parts(weight);
                (first, Some(Param::from_tensor(rest)))
            }
            Multiply::Half(kind) => (weight.cast(kind), None),
        };
        Self {
            weight: Param::from_tensor(weight),
            rest,
            bias: bias.map(Param::from_tensor),
            stride,
            multiply,
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_by(x, &|x, weight| {
            let [_, _, height, width] = weight.dims();
            let padding = [(height / 2, height / 2), (width / 2, width / 2)];
            let stride = [self.stride, self.stride];
            let options = ConvOptions::new_with_padding(stride, padding, [1, 1], 1);
            conv2d(x, weight, None, options)
        })
    }

    /// Convolves with a kernel of the device.
    fn forward_by(
        &self,
        x: Tensor<4>,
        kernel: &dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let weight = self.weight.val();
        let map = match (self.multiply, &self.rest) {
            (Multiply::Half(kind), _) => kernel(x.cast(kind), weight).cast(FloatDType::F32),
            (Multiply::Parts, Some(rest)) => {
                let (first, left) = parts(x);
                let rest = rest.val();
                let whole = weight.clone() + rest.clone();
                let small = kernel(first.clone(), rest) + kernel(left, whole);
                kernel(first, weight) + small
            }
            _ => kernel(x, weight),
        };
        match &self.bias {
            Some(bias) => {
                let bias = bias.val();
                let [channels] = bias.dims();
                map + bias.reshape([1, channels, 1, 1])
            }
            None => map,
        }
    }
}

/// Divides numbers into what bf16 holds of them and the rest; their sum is the number to the bit.
fn parts<const D: usize>(x: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let first = x.clone().cast(FloatDType::BF16).cast(FloatDType::F32);
    (first.clone(), x - first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    /// Returns numbers in -1 to 1 that use all their bits.
    fn numbers<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
        let value = |index: u32| {
            let mixed = (index ^ seed).wrapping_mul(2_654_435_761);
            (mixed ^ (mixed >> 15)).wrapping_mul(2_246_822_519) as f32 / u32::MAX as f32 * 2.0 - 1.0
        };
        let count = shape.iter().product::<usize>() as u32;
        let values: Vec<f32> = (0..count).map(value).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.try_into_data().unwrap().try_into_vec().unwrap()
    }

    fn plain(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new_with_padding([1, 1], [(1, 1), (1, 1)], [1, 1], 1);
        conv2d(x, weight, None, options)
    }

    /// Convolves as a kernel for tensor cores does that cuts f32 off after TF32's 11 bits.
    fn tf32(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let cut = |x: Tensor<4>| {
            let shape = x.dims();
            let kept = values(x).into_iter().map(|v| v.to_bits() & 0xffff_e000);
            let kept: Vec<f32> = kept.map(f32::from_bits).collect();
            Tensor::from_data(TensorData::new(kept, shape), &Device::flex())
        };
        plain(cut(x), cut(weight))
    }

    fn farthest(a: &[f32], b: &[f32]) -> f32 {
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        apart.fold(0.0, f32::max)
    }

    #[test]
    fn the_parts_of_a_number_are_the_number_to_the_bit() {
        let x: Tensor<1> = numbers([1000], 7) * 3000.0;
        let (first, rest) = parts(x.clone());
        assert_eq!(values(first.clone() + rest), values(x));
        assert!(values(first).iter().all(|v| v.to_bits() & 0xffff == 0));
    }

    #[test]
    fn parts_lose_nothing_to_a_kernel_that_rounds_to_tf32() {
        let (x, weight) = (numbers([1, 64, 12, 12], 1), numbers([64, 64, 3, 3], 2));
        let convolution = Convolution::new(weight.clone(), None, 1, Multiply::Parts);
        let exact = values(plain(x.clone(), weight.clone()));
        let rounded = farthest(&values(tf32(x.clone(), weight)), &exact);
        let by_parts = farthest(&values(convolution.forward_by(x.clone(), &tf32)), &exact);
        let undisturbed = farthest(&values(convolution.forward(x)), &exact);
        assert!(rounded > 5e-3, "{rounded}");
        assert!(
            by_parts < 1e-4 && undisturbed < 1e-4,
            "{by_parts} {undisturbed}"
        );
        assert!(by_parts < rounded / 100.0, "{by_parts} {rounded}");
    }

    #[test]
    fn narrow_layers_are_not_multiplied_in_16_bits() {
        let half = Multiply::on_gpu(Precision::Bf16);
        let of = |output, input| {
            Convolution::new(numbers([output, input, 3, 3], 3), None, 1, half).multiply
        };
        assert_eq!(of(64, 3), Multiply::Parts);
        assert_eq!(of(7, 96), Multiply::Parts);
        assert_eq!(of(64, 64), half);
    }

    #[test]
    fn the_bias_is_added_in_f32_in_every_precision() {
        let bias: Tensor<1> =
            Tensor::from_data(TensorData::new(vec![1024.25f32; 16], [16]), &Device::flex());
        for multiply in [
            Multiply::Plain,
            Multiply::Parts,
            Multiply::Half(FloatDType::BF16),
            Multiply::Half(FloatDType::F16),
        ] {
            let weight = Tensor::<4>::zeros([16, 16, 1, 1], &Device::flex());
            let convolution = Convolution::new(weight, Some(bias.clone()), 1, multiply);
            let map = values(convolution.forward(numbers([1, 16, 2, 2], 4)));
            assert_eq!(map, vec![1024.25; 64], "{multiply:?}");
        }
    }
}
