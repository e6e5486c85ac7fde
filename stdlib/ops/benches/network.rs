//! What the network costs on the CPU: processor time and wall time of one image.
//!
//! `cargo bench -p cerb-ops --bench network` prints a table. With `serve FILE` it writes its weights to
//! FILE and answers lines (`INPUT KEPT THREADS`, where KEPT 0 means all logits) with one line of JSON each, so
//! that `tests/perf/network.py` can time it beside other engines, turn by turn.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use cerb_image::Rgb8;
use cerb_model::{Backbone, CpuNetwork, Head, Weights};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let heads = Head::published();
    let weights = Weights::formula(Backbone::Resnet34, &heads);
    let names: Vec<String> = heads.iter().map(Head::name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (Ok(alone), Ok(spread)) = (CpuNetwork::load(&weights), CpuNetwork::load(&weights)) else {
        return eprintln!("the weights do not load");
    };
    let spread = spread.spread();
    let time = |input: u32, kept: usize, threads: usize| {
        let image = picture(input);
        let network = if threads == 1 { &alone } else { &spread };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let (Ok(pool), began, cpu) = (pool, Instant::now(), cpu()) else {
            return None;
        };
        pool.install(|| match kept {
            0 => network.logits(&image, &names).map(drop),
            kept => network.infer(&image, &names, kept).map(drop),
        })
        .ok()?;
        Some((began.elapsed().as_secs_f64(), self::cpu() - cpu))
    };
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "serve") {
        let path = arguments.get(at + 1).map(Path::new);
        if path.is_none_or(|path| weights.save_safetensors(path).is_err()) {
            return eprintln!("serve FILE: the file cannot be written");
        }
        println!("ready");
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let numbers: Vec<usize> = line.split(' ').flat_map(str::parse).collect();
            let [input, kept, threads] = numbers[..] else {
                return eprintln!("INPUT KEPT THREADS");
            };
            let Some((wall, cpu)) = time(input as u32, kept, threads) else {
                return eprintln!("no such image");
            };
            println!("{{\"wall\": {wall:.4}, \"cpu\": {cpu:.4}}}");
            let _ = std::io::stdout().flush();
        }
        return;
    }
    for (input, kept) in [(448, 0), (448, 144), (1024, 720)] {
        let best = (0..3)
            .filter_map(|_| time(input, kept, 1))
            .map(|(_, cpu)| cpu)
            .fold(f64::MAX, f64::min);
        let area = f64::from(if kept == 0 { input } else { kept as u32 }).powi(2);
        println!(
            "{input:>5} px, {kept:>4} kept: {best:7.3} s, {:.3} s per megapixel",
            best / area * 1e6
        );
    }
}

/// Returns an image of noise.
fn picture(side: u32) -> Rgb8 {
    let data = (0..3 * side * side)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    Rgb8 {
        width: side,
        height: side,
        data,
    }
}

/// Returns the seconds of processor time this process has used.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
