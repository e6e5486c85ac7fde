//! What a step of training costs: processor time of forward, backward and Adam.
//!
//! `cargo bench -p cerb-train --bench step [-- ENCODER COUNT SIDE]`; all heads learn. `tests/perf/training.py` runs it
//! beside PyTorch.

use std::collections::BTreeMap;
use std::time::Instant;

use cerb_kernels::{Isa, Products};
use cerb_train::heads::{Backbone, Head, HeadKind};
use cerb_train::{Adam, AdamState, Batch, Network, Plan, Random, Target};
use rustix::time::{ClockId, clock_gettime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|v| v != "--bench")
        .collect();
    let text = |at: usize, or: &str| given.get(at).cloned().unwrap_or_else(|| or.to_owned());
    let backbone: Backbone = text(0, "resnet34").parse()?;
    let (count, side): (usize, usize) = (text(1, "2").parse()?, text(2, "144").parse()?);
    let products = match text(3, "winograd").as_str() {
        "direct" => Products::Direct,
        _ => Products::Winograd,
    };
    let network = Network::new(backbone, &Head::published(), products, Isa::best())?;
    let parameters = network.parameters();
    let mut state = parameters.initial(5);
    let mut adam = AdamState::new(parameters);
    let random = Random::new(1, &[]);
    let pixels = count * side * side;
    let targets: BTreeMap<String, Target> = Head::published()
        .iter()
        .filter(|head| head.kind != HeadKind::Out)
        .map(|head| {
            let classes =
                (0..pixels as u64).map(|at| (random.at(at / 40) % head.channels as u64) as u8);
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
            .map(|at| random.at(at) as u8)
            .collect(),
        count,
        height: side,
        width: side,
        targets,
    };
    let mut gradients = vec![0.0; parameters.len()];
    let mut touched = vec![false; parameters.entries().len()];
    for step in 0..5 {
        let (begun, used) = (Instant::now(), processor());
        gradients.fill(0.0);
        let losses = network.step(
            &batch,
            &Plan::default(),
            &mut state,
            &mut gradients,
            &mut touched,
            random,
        )?;
        let half = processor() - used;
        Adam::default().step(
            parameters, &mut state, &gradients, &touched, 1e-3, &mut adam,
        );
        println!(
            "step {step}: loss {:.4}, {:.3} s wall, {:.3} s CPU; of it Adam {:.3} s CPU; {} threads",
            losses.total(),
            begun.elapsed().as_secs_f64(),
            processor() - used,
            processor() - used - half,
            rayon::current_num_threads(),
        );
    }
    Ok(())
}

fn processor() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
