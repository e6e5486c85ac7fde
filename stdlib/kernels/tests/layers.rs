//! Layers compared with plain loops in double precision, and every path with every other to the bit.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use cerb_kernels::{Arena, Conv, Isa, Map, Pair, Shape, Weights, Window, double_and_add, max_pool};

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

fn map(arena: &Arena, height: usize, width: usize, channels: usize, seed: u32) -> Map {
    let mut map = arena.map(height, width, channels);
    let stride = map.stride();
    let values = noise(seed, height * width * channels);
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

/// The bits of the channels that count.
fn bits(map: &Map) -> Vec<u32> {
    let pixels = map.values().chunks_exact(map.stride());
    pixels
        .flat_map(|pixel| pixel[..map.channels].iter().map(|v| v.to_bits()))
        .collect()
}

fn plain(input: &Map, shape: Shape, filters: &[f32], bias: &[f32]) -> Vec<f64> {
    let Shape {
        inputs,
        outputs,
        side,
        stride,
    } = shape;
    let (height, width) = (input.height.div_ceil(stride), input.width.div_ceil(stride));
    let mut out = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for o in 0..outputs {
                let mut sum = f64::from(bias[o]);
                for ky in 0..side {
                    for kx in 0..side {
                        let y = (y * stride + ky).wrapping_sub(side / 2);
                        let x = (x * stride + kx).wrapping_sub(side / 2);
                        if y >= input.height || x >= input.width {
                            continue;
                        }
                        let pixel = &input.values()[(y * input.width + x) * input.stride()..];
                        for i in 0..inputs {
                            let weight = filters[((o * inputs + i) * side + ky) * side + kx];
                            sum += f64::from(pixel[i]) * f64::from(weight);
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// Height, width, and the shape: both kernels, sizes that fill no block, thin inputs and outputs.
fn cases() -> Vec<(usize, usize, Shape)> {
    let shape = |inputs, outputs, side, stride| Shape {
        inputs,
        outputs,
        side,
        stride,
    };
    vec![
        (13, 18, shape(16, 32, 3, 1)),
        (8, 8, shape(64, 48, 3, 1)),
        (1, 1, shape(32, 16, 3, 1)),
        (5, 4, shape(130, 20, 3, 1)),
        (20, 17, shape(3, 64, 7, 1)),
        (15, 16, shape(32, 64, 3, 2)),
        (9, 11, shape(64, 128, 1, 2)),
        (14, 15, shape(96, 7, 1, 1)),
        (14, 15, shape(40, 96, 1, 1)),
    ]
}

#[test]
fn convolutions_are_what_plain_loops_give() {
    let arena = Arena::default();
    for (height, width, shape) in cases() {
        let input = map(&arena, height, width, shape.inputs, 1);
        let area = shape.side * shape.side;
        let filters = noise(2, shape.outputs * shape.inputs * area);
        let bias = noise(3, shape.outputs);
        let weights = Weights {
            filters: &filters,
            bias: &bias,
        };
        let conv = Conv::new(shape, &weights, false, Isa::best()).unwrap();
        let made = conv.run(&input, None, &arena);
        let expected = plain(&input, shape, &filters, &bias);
        let pixels = made.values().chunks_exact(made.stride());
        let mut worst: f64 = 0.0;
        for (pixel, expected) in pixels.zip(expected.chunks_exact(shape.outputs)) {
            for (v, e) in pixel.iter().zip(expected) {
                worst = worst.max((f64::from(*v) - e).abs());
            }
            assert!(
                pixel[shape.outputs..].iter().all(|v| *v == 0.0),
                "padding stays zero"
            );
        }
        let terms = (shape.inputs * area) as f64;
        assert!(worst < 2e-6 * terms.sqrt() * 4.0, "{shape:?}: {worst:e}");
    }
}

#[test]
fn every_instruction_set_and_number_of_threads_gives_the_same_bits() {
    let arena = Arena::default();
    assert!(Isa::all().len() > 1 || cfg!(not(target_arch = "x86_64")));
    for (height, width, shape) in cases() {
        let input = map(&arena, height, width, shape.inputs, 4);
        let filters = noise(5, shape.outputs * shape.inputs * shape.side * shape.side);
        let bias = noise(6, shape.outputs);
        let weights = Weights {
            filters: &filters,
            bias: &bias,
        };
        let size = (height.div_ceil(shape.stride), width.div_ceil(shape.stride));
        let residual = map(&arena, size.0, size.1, shape.outputs, 7);
        for residual in [None, Some(&residual)] {
            let run = |isa: Isa, threads: usize| {
                let conv = Conv::new(shape, &weights, true, isa).unwrap();
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                let arena = if threads > 1 {
                    Arena::spread()
                } else {
                    Arena::default()
                };
                bits(&pool.install(|| conv.run(&input, residual, &arena)))
            };
            let expected = run(Isa::best(), 1);
            for isa in Isa::all() {
                for threads in [1, 3] {
                    assert!(
                        run(isa, threads) == expected,
                        "{shape:?} {} {threads}",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn relu_treats_nan_and_zeros_alike_on_every_path() {
    let arena = Arena::default();
    let shape = Shape {
        inputs: 16,
        outputs: 16,
        side: 1,
        stride: 1,
    };
    let mut filters = vec![0.0; 256];
    for i in 0..16 {
        filters[17 * i] = if i % 2 == 0 { 1.0 } else { -1.0 };
    }
    let mut input = map(&arena, 2, 3, 16, 8);
    input.values_mut()[5] = f32::NAN;
    input.values_mut()[6] = -0.0;
    input.values_mut()[7] = f32::INFINITY;
    let weights = Weights {
        filters: &filters,
        bias: &[0.0; 16],
    };
    let made = |isa| {
        bits(
            &Conv::new(shape, &weights, true, isa)
                .unwrap()
                .run(&input, None, &arena),
        )
    };
    for isa in Isa::all() {
        assert_eq!(made(isa), made(Isa::best()), "{}", isa.name());
    }
}

#[test]
fn a_window_on_the_grid_of_tiles_is_the_same_to_the_bit() {
    let arena = Arena::default();
    let input = map(&arena, 40, 36, 32, 9);
    let shape = Shape {
        inputs: 32,
        outputs: 32,
        side: 3,
        stride: 1,
    };
    let filters = noise(10, 32 * 32 * 9);
    let weights = Weights {
        filters: &filters,
        bias: &noise(11, 32),
    };
    let conv = Conv::new(shape, &weights, true, Isa::best()).unwrap();
    let whole = conv.run(&input, None, &arena);
    let window = Window { y: 8..28, x: 4..24 };
    let part = conv.run(&input.cut(&window, &arena), None, &arena);
    // One pixel at the rim saw zeros in place of its neighbours.
    let inner = Window { y: 1..19, x: 1..19 };
    let same = Window { y: 9..27, x: 5..23 };
    assert_eq!(
        bits(&part.cut(&inner, &arena)),
        bits(&whole.cut(&same, &arena))
    );
}

#[test]
fn doubling_is_bilinear_with_half_pixel_centres_and_every_path_agrees() {
    let arena = Arena::default();
    let small = map(&arena, 5, 4, 20, 12);
    let window = Window { y: 0..10, x: 0..8 };
    let skip = map(&arena, 10, 8, 20, 13);
    let doubled = double_and_add(&small, &window, &skip, &window, Isa::best(), &arena);
    for y in 0..10usize {
        for x in 0..8usize {
            let axis = |at: usize, size: usize| {
                let from = ((at as f64 + 0.5) / 2.0 - 0.5).max(0.0);
                let (low, share) = (from.floor() as usize, from.fract());
                [(low, 1.0 - share), ((low + 1).min(size - 1), share)]
            };
            for channel in 0..20 {
                let mut expected = f64::from(skip.values()[(y * 8 + x) * skip.stride() + channel]);
                for (row, a) in axis(y, 5) {
                    for (col, b) in axis(x, 4) {
                        let at = (row * 4 + col) * small.stride() + channel;
                        expected += a * b * f64::from(small.values()[at]);
                    }
                }
                let made = doubled.values()[(y * 8 + x) * doubled.stride() + channel];
                assert!(
                    (f64::from(made) - expected).abs() < 1e-6,
                    "{y} {x} {channel}"
                );
            }
        }
    }
    let part = Window { y: 3..9, x: 2..7 };
    for isa in Isa::all() {
        let whole = double_and_add(&small, &window, &skip, &window, isa, &arena);
        assert_eq!(bits(&whole), bits(&doubled), "{}", isa.name());
        let cut = double_and_add(&small, &part, &skip, &part, isa, &arena);
        assert_eq!(bits(&cut), bits(&doubled.cut(&part, &arena)));
    }
}

#[test]
fn pooling_takes_the_greatest_of_nine() {
    let arena = Arena::default();
    let input = map(&arena, 9, 6, 16, 14);
    let made = max_pool(&input, Isa::best(), &arena);
    assert_eq!((made.height, made.width), (5, 3));
    for y in 0..5usize {
        for x in 0..3usize {
            for channel in 0..16 {
                let mut most = f32::NEG_INFINITY;
                for y in (2 * y).saturating_sub(1)..(2 * y + 2).min(9) {
                    for x in (2 * x).saturating_sub(1)..(2 * x + 2).min(6) {
                        most = most.max(input.values()[(y * 6 + x) * 16 + channel]);
                    }
                }
                assert_eq!(made.values()[(y * 3 + x) * 16 + channel], most);
            }
        }
    }
    for isa in Isa::all() {
        assert_eq!(bits(&max_pool(&input, isa, &arena)), bits(&made));
    }
}

#[test]
fn a_pair_is_its_two_layers_one_after_the_other() {
    let arena = Arena::default();
    let shape = |inputs, outputs| Shape {
        inputs,
        outputs,
        side: 1,
        stride: 1,
    };
    let input = map(&arena, 23, 31, 64, 15);
    let conv = |shape: Shape, seed: u32, relu: bool, isa: Isa| {
        let filters = noise(seed, shape.outputs * shape.inputs);
        let bias = noise(seed + 1, shape.outputs);
        Conv::new(
            shape,
            &Weights {
                filters: &filters,
                bias: &bias,
            },
            relu,
            isa,
        )
        .unwrap()
    };
    let best = Isa::best();
    let hidden = conv(shape(64, 96), 16, true, best).run(&input, None, &arena);
    let apart = conv(shape(96, 3), 18, false, best).run(&hidden, None, &arena);
    for isa in Isa::all() {
        let pair = Pair::new(
            conv(shape(64, 96), 16, true, isa),
            conv(shape(96, 3), 18, false, isa),
        );
        assert_eq!(
            bits(&pair.unwrap().run(&input, &arena)),
            bits(&apart),
            "{}",
            isa.name()
        );
    }
    assert!(
        Pair::new(
            conv(shape(64, 96), 16, true, best),
            conv(shape(64, 3), 18, false, best)
        )
        .is_none()
    );
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let shape = Shape {
        inputs: 4,
        outputs: 4,
        side: 3,
        stride: 1,
    };
    let of = |filters: usize, bias: usize, shape: Shape| {
        let weights = Weights {
            filters: &vec![0.0; filters],
            bias: &vec![0.0; bias],
        };
        Conv::new(shape, &weights, false, Isa::best()).is_some()
    };
    assert!(of(144, 4, shape));
    assert!(!of(143, 4, shape) && !of(144, 3, shape));
    assert!(!of(64, 4, Shape { side: 2, ..shape }));
}

#[test]
fn memory_is_used_again() {
    let arena = Arena::default();
    let first = arena.map(30, 30, 20);
    let at = first.values().as_ptr();
    arena.give_back(first);
    assert_eq!(arena.map(28, 30, 32).values().as_ptr(), at);
}
