//! What training adds to the layers: gradients, each the transpose of its forward pass, and the same bits on every path.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use cerb_kernels::{
    Arena, Conv, Factors, Isa, Layer, Map, Products, Shape, Weights, Window, channel_sums,
    double_and_add, double_backward, mask_by, max_pool, max_pool_backward, moments, norm_backward,
    scale_and_shift,
};

/// Values between -1 and 1 that look random.
fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(next).collect()
}

fn maps(arena: &Arena, count: usize, size: (usize, usize), channels: usize, seed: u32) -> Map {
    let mut map = arena.maps(count, size.0, size.1, channels);
    let stride = map.stride();
    let values = noise(seed, map.pixels() * channels);
    for (pixel, from) in map
        .values_mut()
        .chunks_exact_mut(stride)
        .zip(values.chunks_exact(channels))
    {
        pixel.fill(0.0);
        pixel[..channels].copy_from_slice(from);
    }
    map
}

/// Filters of a layer, and the same as PyTorch lays them.
fn filters(layer: &Layer, seed: u32) -> (Vec<f32>, Vec<f32>) {
    let Shape {
        inputs,
        outputs,
        side,
        ..
    } = layer.shape();
    let area = side * side;
    let torch = noise(seed, outputs * inputs * area);
    let mut ours = vec![0.0; layer.len()];
    for output in 0..outputs {
        for input in 0..inputs {
            for tap in 0..area {
                let value = torch[(output * inputs + input) * area + tap];
                ours[layer.index(output, input, tap)] = value;
            }
        }
    }
    (ours, torch)
}

fn inner(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Layers of the network and odd ones: wide and narrow, thin, strided, few pixels and many, sides that no tile fits.
const SHAPES: [(usize, (usize, usize), Shape); 9] = [
    (2, (18, 22), shape(16, 16, 3, 1)),
    (1, (37, 19), shape(64, 96, 3, 1)),
    (3, (5, 7), shape(32, 48, 3, 1)),
    (2, (9, 9), shape(160, 64, 3, 1)),
    (2, (20, 16), shape(3, 64, 7, 1)),
    (2, (12, 20), shape(32, 64, 3, 2)),
    (2, (12, 20), shape(32, 64, 1, 2)),
    (2, (11, 13), shape(64, 7, 1, 1)),
    (1, (130, 70), shape(20, 24, 3, 1)),
];

const fn shape(inputs: usize, outputs: usize, side: usize, stride: usize) -> Shape {
    Shape {
        inputs,
        outputs,
        side,
        stride,
    }
}

#[test]
fn forward_is_the_convolution_of_inference() {
    for (seed, (count, size, shape)) in (1..).zip(SHAPES) {
        let arena = Arena::exact();
        let layer = Layer::new(shape, Products::Winograd, Isa::best()).unwrap();
        let (ours, torch) = filters(&layer, seed);
        let mut bias = noise(seed + 50, shape.outputs);
        let conv = Conv::new(
            shape,
            &Weights {
                filters: &torch,
                bias: &bias,
            },
            false,
            Isa::best(),
        )
        .unwrap();
        bias.resize(layer.outputs(), 0.0);
        let input = maps(&arena, count, size, shape.inputs, seed + 100);
        let made = layer.forward(&input, &ours, Some(&bias), &arena);
        let wanted = conv.run(&input, None, &arena);
        let far = made.values().iter().zip(wanted.values());
        let far = far.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        // Few pixels are done directly here and by tiles there.
        assert!(far < 1e-3, "{shape:?}: {far}");
    }
}

#[test]
fn gradients_are_the_transpose_of_the_convolution() {
    for (seed, (count, size, shape)) in (1..).zip(SHAPES) {
        let arena = Arena::exact();
        let layer = Layer::new(shape, Products::Winograd, Isa::best()).unwrap();
        let (filters, _) = filters(&layer, seed);
        let input = maps(&arena, count, size, shape.inputs, seed + 100);
        let output = layer.forward(&input, &filters, None, &arena);
        let gradient = maps(
            &arena,
            count,
            (output.height, output.width),
            shape.outputs,
            seed + 200,
        );
        // <y, g> = <x, backward(g)> = <w, gradient(x, g)>, the operator being linear in both.
        let wanted = inner(output.values(), gradient.values());
        let close = |made: f64| (made - wanted).abs() < 1e-4 * (wanted.abs() + 100.0);
        let mut of_filters = vec![0.0; layer.len()];
        layer.gradient(&input, &gradient, &mut of_filters, &arena);
        let made = inner(&filters, &of_filters);
        assert!(close(made), "{shape:?}: filters {made} for {wanted}");
        if shape.inputs >= 16 {
            let back = layer.backward(&gradient, &filters, size, &arena);
            let made = inner(input.values(), back.values());
            assert!(close(made), "{shape:?}: input {made} for {wanted}");
        }
    }
}

#[test]
fn the_gradient_of_filters_is_that_of_plain_loops() {
    for (seed, (count, size, shape)) in (1..).zip(SHAPES) {
        let arena = Arena::exact();
        let layer = Layer::new(shape, Products::Winograd, Isa::best()).unwrap();
        let input = maps(&arena, count, size, shape.inputs, seed + 100);
        let out = (size.0.div_ceil(shape.stride), size.1.div_ceil(shape.stride));
        let gradient = maps(&arena, count, out, shape.outputs, seed + 200);
        let mut made = vec![0.5; layer.len()];
        layer.gradient(&input, &gradient, &mut made, &arena);
        let half = shape.side / 2;
        for (output, channel, tap) in [(0, 0, 0), (3, 1, shape.side * shape.side - 1), (6, 2, 0)] {
            let mut wanted = 0.5;
            for image in 0..count {
                for y in 0..out.0 {
                    for x in 0..out.1 {
                        let from = (y * shape.stride + tap / shape.side).wrapping_sub(half);
                        let column = (x * shape.stride + tap % shape.side).wrapping_sub(half);
                        if from < size.0 && column < size.1 {
                            let at = (image * size.0 + from) * size.1 + column;
                            let by = (image * out.0 + y) * out.1 + x;
                            wanted += f64::from(input.values()[at * input.stride() + channel])
                                * f64::from(gradient.values()[by * gradient.stride() + output]);
                        }
                    }
                }
            }
            let made = f64::from(made[layer.index(output, channel, tap)]);
            assert!(
                (made - wanted).abs() < 1e-3,
                "{shape:?}: {made} for {wanted}"
            );
        }
    }
}

#[test]
fn all_paths_and_any_number_of_threads_give_the_same_bits() {
    let run = |isa: Isa, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut all = Vec::new();
            for (seed, (count, size, shape)) in (1..).zip(SHAPES) {
                let arena = Arena::exact();
                let layer = Layer::new(shape, Products::Winograd, isa).unwrap();
                let (filters, _) = filters(&layer, seed);
                let input = maps(&arena, count, size, shape.inputs, seed + 100);
                let output = layer.forward(&input, &filters, None, &arena);
                let mut of_filters = vec![0.0; layer.len()];
                layer.gradient(&input, &output, &mut of_filters, &arena);
                all.extend([bits(output.values()), bits(&of_filters)]);
                if shape.inputs >= 16 {
                    let back = layer.backward(&output, &filters, size, &arena);
                    all.push(bits(back.values()));
                }
                let measured = moments(&output, isa, &arena);
                let factors = Factors {
                    scale: measured.variance.clone(),
                    shift: measured.mean.clone(),
                };
                let mut back = scale_and_shift(&output, &factors, Some(&output), true, isa, &arena);
                let weight = vec![0.75; output.stride()];
                let made = norm_backward(&mut back, &output, &measured, &weight, 1e-5, isa, &arena);
                all.extend([bits(back.values()), bits(&made.scale), bits(&made.shift)]);
                if back.height.is_multiple_of(2) && back.width.is_multiple_of(2) {
                    all.push(bits(double_backward(&back, isa, &arena).values()));
                }
            }
            all
        })
    };
    let wanted = run(Isa::best(), 1);
    for isa in Isa::all() {
        for threads in [1, 3] {
            assert!(run(isa, threads) == wanted, "{} on {threads}", isa.name());
        }
    }
}

#[test]
fn the_gradient_of_doubling_is_its_transpose() {
    let (isa, arena) = (Isa::best(), Arena::exact());
    for size in [(1, 1), (1, 5), (6, 3)] {
        let map = maps(&arena, 2, size, 20, 3);
        let whole = Window {
            y: 0..2 * size.0,
            x: 0..2 * size.1,
        };
        let mut zero = arena.maps(2, whole.y.end, whole.x.end, 20);
        zero.values_mut().fill(0.0);
        let doubled = double_and_add(&map, &whole, &zero, &whole, isa, &arena);
        let gradient = maps(&arena, 2, (whole.y.end, whole.x.end), 20, 4);
        let back = double_backward(&gradient, isa, &arena);
        let wanted = inner(doubled.values(), gradient.values());
        let made = inner(map.values(), back.values());
        assert!(
            (made - wanted).abs() < 1e-4,
            "{size:?}: {made} for {wanted}"
        );
    }
}

#[test]
fn the_gradient_of_pooling_goes_to_the_first_of_the_greatest() {
    let (isa, arena) = (Isa::best(), Arena::exact());
    let mut map = maps(&arena, 2, (10, 14), 17, 3);
    for value in map.values_mut() {
        // Few different values, so that many are equal.
        *value = (*value * 3.0).round();
    }
    let pooled = max_pool(&map, isa, &arena);
    let gradient = maps(&arena, 2, (5, 7), 17, 4);
    let back = max_pool_backward(&gradient, &map, &arena);
    let made = inner(map.values(), back.values());
    let wanted = inner(pooled.values(), gradient.values());
    assert!((made - wanted).abs() < 1e-3, "{made} for {wanted}");
    // The first of four equal ones takes it.
    map.values_mut().fill(1.0);
    let back = max_pool_backward(&gradient, &map, &arena);
    assert_eq!(back.values()[0], gradient.values()[0]);
    let stride = back.stride();
    assert_eq!(
        back.values()[(14 + 1) * stride],
        gradient.values()[8 * stride]
    );
}

#[test]
fn batch_norm_measures_and_turns_gradients() {
    let (isa, arena) = (Isa::best(), Arena::exact());
    let map = maps(&arena, 2, (9, 11), 20, 7);
    let (pixels, stride, epsilon) = (map.pixels() as f64, map.stride(), 1e-5f64);
    let measured = moments(&map, isa, &arena);
    let weight: Vec<f32> = noise(8, stride);
    let gradient = maps(&arena, 2, (9, 11), 20, 9);
    let mut back = maps(&arena, 2, (9, 11), 20, 9);
    let made = norm_backward(&mut back, &map, &measured, &weight, 1e-5, isa, &arena);
    for channel in [0, 7, 19] {
        let of = |map: &Map| -> Vec<f64> {
            let values = map.values().iter().skip(channel).step_by(stride);
            values.map(|&v| f64::from(v)).collect()
        };
        let (x, g, back) = (of(&map), of(&gradient), of(&back));
        let mean = x.iter().sum::<f64>() / pixels;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / pixels;
        assert!((f64::from(measured.mean[channel]) - mean).abs() < 1e-6);
        assert!((f64::from(measured.variance[channel]) - variance).abs() < 1e-6);
        let scaled: Vec<f64> = x
            .iter()
            .map(|v| (v - mean) / (variance + epsilon).sqrt())
            .collect();
        let sum: f64 = g.iter().sum();
        let product: f64 = g.iter().zip(&scaled).map(|(g, x)| g * x).sum();
        assert!((f64::from(made.shift[channel]) - sum).abs() < 1e-4);
        assert!((f64::from(made.scale[channel]) - product).abs() < 1e-4);
        let factor = f64::from(weight[channel]) / (variance + epsilon).sqrt();
        for ((g, x), made) in g.iter().zip(&scaled).zip(back) {
            let wanted = factor * (g - sum / pixels - x * product / pixels);
            assert!((made - wanted).abs() < 1e-5, "{made} for {wanted}");
        }
    }
}

#[test]
fn masks_and_sums_go_by_channel() {
    let (isa, arena) = (Isa::best(), Arena::exact());
    let mut map = maps(&arena, 2, (3, 5), 18, 7);
    let output = maps(&arena, 2, (3, 5), 18, 8);
    let before = map.values().to_vec();
    mask_by(&mut map, &output, &arena);
    for ((after, before), output) in map.values().iter().zip(before).zip(output.values()) {
        assert_eq!(*after, if *output > 0.0 { before } else { 0.0 });
    }
    let stride = map.stride();
    let wanted: f32 = map.values().iter().skip(17).step_by(stride).sum();
    assert!((channel_sums(&map, isa, &arena)[17] - wanted).abs() < 1e-5);
}
