//! What a layer costs: processor time, and the rate of multiplications that a direct convolution would need.
//!
//! `cargo bench -p cerb-kernels --bench layers`

use std::time::Instant;

use cerb_kernels::{Arena, Conv, Isa, Shape, Weights};

fn main() {
    let shape = |inputs, outputs, side, stride| Shape {
        inputs,
        outputs,
        side,
        stride,
    };
    let cases = [
        (224, shape(64, 64, 3, 1)),
        (112, shape(128, 128, 3, 1)),
        (56, shape(256, 256, 3, 1)),
        (28, shape(512, 512, 3, 1)),
        (448, shape(3, 64, 7, 1)),
        (448, shape(64, 96, 1, 1)),
    ];
    for isa in Isa::all().into_iter().filter(|isa| isa.name() != "plain") {
        for (side, shape) in cases {
            let filters = vec![0.01; shape.outputs * shape.inputs * shape.side * shape.side];
            let bias = vec![0.0; shape.outputs];
            let weights = Weights {
                filters: &filters,
                bias: &bias,
            };
            let Some(conv) = Conv::new(shape, &weights, true, isa) else {
                return;
            };
            let arena = Arena::default();
            let mut input = arena.map(side, side, shape.inputs);
            input.values_mut().fill(0.5);
            let mut best = f64::MAX;
            for _ in 0..5 {
                let began = Instant::now();
                let made = conv.run(&input, None, &arena);
                best = best.min(began.elapsed().as_secs_f64());
                arena.give_back(made);
            }
            let products = (side * side * filters.len()) as f64;
            println!(
                "{:>7}  {side:>3}²  {:>3} → {:<3}  {}×{}  {:8.2} ms  {:7.1} GMAC/s",
                isa.name(),
                shape.inputs,
                shape.outputs,
                shape.side,
                shape.side,
                best * 1e3,
                products / best / 1e9
            );
        }
    }
}
