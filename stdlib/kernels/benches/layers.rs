//! What the layers of the network cost on one thread: processor time of each kind, and of a whole 448 px image.
//!
//! `cargo bench -p cerb-kernels --bench layers`; products are those of a direct convolution.

use cerb_kernels::{Arena, Conv, Isa, Map, Pair, Shape, Weights, Window, double_and_add, max_pool};
use rustix::time::{ClockId, clock_gettime};

/// Times that one image needs it, what it is, and its sides.
type Layer = (usize, Kind, usize);

#[derive(Clone, Copy)]
enum Kind {
    Conv(Shape),
    /// Channels of the head's output.
    Head(usize),
    /// Channels that are doubled.
    Double(usize),
    Pool,
}

fn main() {
    for isa in Isa::all().into_iter().filter(|isa| isa.name() != "plain") {
        let (mut whole, mut products) = (0.0, 0.0);
        for (count, kind, side) in layers() {
            let (best, of_one) = time(kind, side, isa);
            let share = count as f64 * best;
            whole += share;
            products += count as f64 * of_one;
            println!(
                "{:>7}  {count:>2} × {:<24} {side:>3}²  {:8.2} ms  {:7.1} GMAC/s  {:7.1} ms",
                isa.name(),
                name(kind),
                best * 1e3,
                of_one / best / 1e9,
                share * 1e3
            );
        }
        println!(
            "{:>7}  one image of 448 px: {:.3} s, {:.1} GMAC/s",
            isa.name(),
            whole,
            products / whole / 1e9
        );
    }
}

/// Lists the layers of the published network on 448 px: the encoder, and five decoders with a head each.
fn layers() -> Vec<Layer> {
    let conv = |inputs, outputs, side, stride| {
        Kind::Conv(Shape {
            inputs,
            outputs,
            side,
            stride,
        })
    };
    vec![
        (1, conv(3, 64, 7, 1), 448),
        (1, Kind::Pool, 448),
        (6, conv(64, 64, 3, 1), 224),
        (1, conv(64, 128, 3, 2), 224),
        (1, conv(64, 128, 1, 2), 224),
        (7, conv(128, 128, 3, 1), 112),
        (1, conv(128, 256, 3, 2), 112),
        (1, conv(128, 256, 1, 2), 112),
        (11, conv(256, 256, 3, 1), 56),
        (1, conv(256, 512, 3, 2), 56),
        (1, conv(256, 512, 1, 2), 56),
        (5, conv(512, 512, 3, 1), 28),
        (1, conv(512, 256, 1, 1), 28),
        (1, Kind::Double(256), 56),
        (5, conv(256, 256, 3, 1), 56),
        (5, conv(256, 128, 3, 1), 56),
        (5, Kind::Double(128), 112),
        (5, conv(128, 128, 3, 1), 112),
        (5, conv(128, 64, 3, 1), 112),
        (5, Kind::Double(64), 224),
        (10, conv(64, 64, 3, 1), 224),
        (5, Kind::Double(64), 448),
        (10, conv(64, 64, 3, 1), 448),
        (5, Kind::Head(3), 448),
    ]
}

fn name(kind: Kind) -> String {
    match kind {
        Kind::Conv(shape) => format!(
            "{} → {}  {}×{} / {}",
            shape.inputs, shape.outputs, shape.side, shape.side, shape.stride
        ),
        Kind::Head(outputs) => format!("64 → 96 → {outputs}  head"),
        Kind::Double(channels) => format!("{channels} doubled and added"),
        Kind::Pool => "64 pooled".to_owned(),
    }
}

/// Returns the least processor time of a few runs, and the products of one.
fn time(kind: Kind, side: usize, isa: Isa) -> (f64, f64) {
    let arena = Arena::default();
    let filled = |side: usize, channels: usize| {
        let mut map = arena.map(side, side, channels);
        map.values_mut().fill(0.5);
        map
    };
    let convolution = |shape: Shape| {
        let filters = vec![0.01; shape.outputs * shape.inputs * shape.side * shape.side];
        let weights = Weights {
            filters: &filters,
            bias: &vec![0.0; shape.outputs],
        };
        Conv::new(shape, &weights, true, isa)
    };
    let one = |inputs, outputs| {
        convolution(Shape {
            inputs,
            outputs,
            side: 1,
            stride: 1,
        })
    };
    let area = (side * side) as f64;
    let least = |work: &dyn Fn() -> Map| {
        (0..6)
            .map(|_| {
                let began = cpu();
                let made = work();
                let took = cpu() - began;
                arena.give_back(made);
                took
            })
            .fold(f64::MAX, f64::min)
    };
    match kind {
        Kind::Conv(shape) => {
            let input = filled(side, shape.inputs);
            let products = (shape.inputs * shape.outputs * shape.side * shape.side) as f64 * area;
            let products = products / (shape.stride * shape.stride) as f64;
            let conv = convolution(shape);
            let run = |conv: &Conv| least(&|| conv.run(&input, None, &arena));
            (conv.as_ref().map_or(f64::NAN, run), products)
        }
        Kind::Head(outputs) => {
            let input = filled(side, 64);
            let pair = one(64, 96).zip(one(96, outputs));
            let pair = pair.and_then(|(hidden, last)| Pair::new(hidden, last));
            let run = |pair: &Pair| least(&|| pair.run(&input, &arena));
            let products = (64 * 96 + 96 * outputs) as f64 * area;
            (pair.as_ref().map_or(f64::NAN, run), products)
        }
        Kind::Double(channels) => {
            let (small, skip) = (filled(side / 2, channels), filled(side, channels));
            let window = Window {
                y: 0..side,
                x: 0..side,
            };
            let run = || double_and_add(&small, &window, &skip, &window, isa, &arena);
            (least(&run), 0.0)
        }
        Kind::Pool => {
            let input = filled(side, 64);
            (least(&|| max_pool(&input, isa, &arena)), 0.0)
        }
    }
}

/// Returns the seconds of processor time this thread has used.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
