//! What a step of training costs: processor time of forward, backward and Adam.
//!
//! `cargo bench -p cerb-train --bench step [-- ENCODER COUNT SIDE]` tells it; after the word `serve`, and with a
//! number of threads behind, it makes a step for each line it reads: `tests/perf/training.py` runs it beside PyTorch.

use std::collections::BTreeMap;
use std::time::Instant;

use cerb_image::random::Random;
use cerb_kernels::{Isa, Products};
use cerb_train::heads::{Backbone, Head, HeadKind};
use cerb_train::{Adam, AdamState, Batch, Network, Plan, Target};
use rustix::time::{ClockId, clock_gettime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|v| v != "--bench")
        .collect();
    let serves = given.first().is_some_and(|v| v == "serve");
    if serves {
        given.remove(0);
        let threads = given.get(3).map_or(Ok(1), |v| v.parse())?;
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    let text = |at: usize, or: &str| given.get(at).cloned().unwrap_or_else(|| or.to_owned());
    let backbone: Backbone = text(0, "resnet34").parse()?;
    let (count, side): (usize, usize) = (text(1, "2").parse()?, text(2, "144").parse()?);
    let network = Network::new(
        backbone,
        &Head::published(),
        Products::Winograd,
        Isa::best(),
    )?;
    let parameters = network.parameters();
    let mut state = parameters.initial(5);
    let mut adam = AdamState::new(parameters);
    let mut random = Random::of(&[1]);
    let pixels = count * side * side;
    let targets: BTreeMap<String, Target> = Head::published()
        .iter()
        .filter(|head| head.kind != HeadKind::Out)
        .map(|head| {
            let classes = (0..pixels as u64).map(|_| random.below(head.channels) as u8);
            let target = Target {
                classes: classes.collect(),
                weights: None,
                present: vec![true; count],
            };
            (head.name(), target)
        })
        .collect();
    let batch = Batch {
        images: (0..3 * pixels as u64)
            .map(|_| random.bits() as u8)
            .collect(),
        count,
        height: side,
        width: side,
        targets,
    };
    let mut gradients = vec![0.0; parameters.len()];
    let mut touched = vec![false; parameters.entries().len()];
    let mut step = || -> Result<String, Box<dyn std::error::Error>> {
        let (begun, used) = (Instant::now(), processor());
        gradients.fill(0.0);
        let losses = network.step(
            &batch,
            &Plan::default(),
            &mut state,
            &mut gradients,
            &mut touched,
            Random::of(&[2]),
        )?;
        let network_alone = processor() - used;
        Adam::default().step(
            parameters, &mut state, &gradients, &touched, 1e-3, &mut adam,
        );
        Ok(format!(
            r#"{{"wall": {:.4}, "cpu": {:.4}, "cpu_without_adam": {network_alone:.4}, "loss": {:.4}}}"#,
            begun.elapsed().as_secs_f64(),
            processor() - used,
            losses.total()
        ))
    };
    if serves {
        println!("ready");
        for line in std::io::stdin().lines() {
            line?;
            println!("{}", step()?);
        }
    } else {
        for _ in 0..5 {
            println!("{}", step()?);
        }
    }
    Ok(())
}

fn processor() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
